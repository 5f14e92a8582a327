//! `tail -f`: prints what a file says, and goes on as it grows, by asking for its length.
//!
//! `cargo run --example tail_follow -- FILE`; without one it follows a file that it writes itself,
//! and checks that each line came once.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use corio::fs::{self, File, OpenOptions};

/// How often the file is looked at while nothing comes.
const PAUSE: Duration = Duration::from_millis(20);
const PIECE_BYTES: usize = 64 << 10;

/// Hands on what is in the file and what comes to it, until `take` has enough.
async fn follow(path: &Path, mut take: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    let (file, mut position) = (File::open(path).await?, 0);
    loop {
        let piece = file.read_at(position, PIECE_BYTES).await?;
        position += piece.len() as u64;
        if !piece.is_empty() {
            if take(&piece) {
                return Ok(());
            }
        } else if file.metadata().await?.len() < position {
            eprintln!("the file was cut off: from the start again");
            position = 0;
        } else {
            corio::sleep(PAUSE).await;
        }
    }
}

#[corio::main]
async fn main() -> io::Result<()> {
    if let Some(path) = std::env::args_os().nth(1) {
        return follow(Path::new(&path), |piece| io::stdout().write_all(piece).is_err()).await;
    }
    let folder = fs::TemporaryFolder::new().await?;
    let path = folder.path().join("log");
    fs::write(&path, "").await?;
    let log = OpenOptions::new().append(true).open(&path).await?;
    let writer = corio::spawn(async move {
        for number in 0..10 {
            log.append(format!("line {number}\n")).await?;
            corio::sleep(PAUSE / 4).await;
        }
        io::Result::Ok(())
    });
    let mut text = Vec::new();
    follow(&path, |piece| {
        text.extend_from_slice(piece);
        text.ends_with(b"line 9\n")
    })
    .await?;
    writer.await.expect("the writer ends by itself")?;
    let due: String = (0..10).map(|number| format!("line {number}\n")).collect();
    assert_eq!(String::from_utf8_lossy(&text), due);
    print!("{due}");
    folder.remove().await
}
