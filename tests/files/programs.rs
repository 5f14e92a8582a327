//! Beside real programs: their checksums are those of what was written here, and the other way
//! round.

use std::path::Path;
use std::process::Command;

use corio::fs::{self, File};
use futures_util::{AsyncReadExt, AsyncWriteExt};

use super::Folder;
use super::support::numbered;

/// The checksum that `sha256sum` gives a file.
fn checksum(path: &Path) -> String {
    let output = Command::new("sha256sum").arg("--").arg(path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()[..64].to_owned()
}

#[corio::test]
async fn copies_have_the_checksum_of_the_original() {
    let folder = Folder::new().await;
    let path = folder.join("made by dd");
    let made = Command::new("dd")
        .args(["if=/dev/urandom", "bs=1111", "count=3000", "status=none"])
        .arg(format!("of={}", path.display()))
        .status()
        .unwrap();
    assert!(made.success());
    let due = checksum(&path);
    let bytes = fs::read(&path).await.unwrap();
    assert_eq!(bytes.len(), 1111 * 3000);
    let copied = folder.join("copied");
    fs::copy(&path, &copied).await.unwrap();
    assert_eq!(checksum(&copied), due);
    let written = folder.join("written");
    fs::write(&written, bytes.clone()).await.unwrap();
    assert_eq!(checksum(&written), due);
    let replaced = folder.join("replaced");
    fs::replace(&replaced, bytes.clone()).await.unwrap();
    assert_eq!(checksum(&replaced), due);
    let streamed = folder.join("streamed");
    let mut from = File::open(&path).await.unwrap().cursor(0);
    let mut to = File::create(&streamed).await.unwrap().cursor(0);
    futures_util::io::copy(&mut from, &mut to).await.unwrap();
    to.close().await.unwrap();
    assert_eq!(checksum(&streamed), due);
    let pieces = File::create(folder.join("pieces")).await.unwrap();
    let writes = bytes.chunks(100_000).enumerate().map(|(at, piece)| {
        let piece = piece.to_vec();
        pieces.write_all_at(at as u64 * 100_000, piece)
    });
    futures_util::future::try_join_all(writes).await.unwrap();
    assert_eq!(checksum(&folder.join("pieces")), due);
}

#[corio::test]
async fn a_growing_file_is_followed_as_another_program_writes_it() {
    let folder = Folder::new().await;
    let path = folder.join("log");
    fs::write(&path, "").await.unwrap();
    let script = format!("for n in 1 2 3; do printf 'line %s\\n' $n >> '{}'; done", path.display());
    let mut writer = Command::new("sh").args(["-c", &script]).spawn().unwrap();
    let mut cursor = File::open(&path).await.unwrap().cursor(0);
    let mut text = String::new();
    while text.len() < 21 {
        if cursor.read_to_string(&mut text).await.unwrap() == 0 {
            corio::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
    assert_eq!(text, "line 1\nline 2\nline 3\n");
    writer.wait().unwrap();
}

#[corio::test]
async fn a_file_of_ours_is_whole_for_a_program_that_reads_it_in_pieces() {
    let folder = Folder::new().await;
    let (path, again) = (folder.join("file"), folder.join("again"));
    let file = File::create(&path).await.unwrap();
    let (result, _) = file.write_vectored_at(0, vec![numbered(0, 123_456); 1]).await;
    result.unwrap();
    let copied = Command::new("dd")
        .args(["bs=7", "count=20000", "status=none"])
        .arg(format!("if={}", path.display()))
        .arg(format!("of={}", again.display()))
        .status()
        .unwrap();
    assert!(copied.success());
    assert!(fs::read(&again).await.unwrap() == numbered(0, 123_456));
}
