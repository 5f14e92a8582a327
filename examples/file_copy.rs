//! Copies a tree with many files in flight at once, and compares the hashes of all of them.
//!
//! `cargo run --example file_copy -- FROM TO`; without arguments it makes a tree of its own.

use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use corio::fs::{self, File};
use futures_util::stream::{self, TryStreamExt};

/// How many files are copied at a time.
const IN_FLIGHT: usize = 32;
const PIECE_BYTES: usize = 256 << 10;

/// Makes the folders, and lists the files: each with where it goes.
async fn plan(from: PathBuf, to: PathBuf) -> io::Result<Vec<(PathBuf, PathBuf)>> {
    let (mut files, mut folders) = (Vec::new(), vec![(from, to)]);
    while let Some((from, to)) = folders.pop() {
        fs::create_dir_all(&to).await?;
        let mut entries = fs::read_dir(&from).await?;
        while let Some(entry) = entries.next_entry().await? {
            let (kind, pair) =
                (entry.file_type().await?, (entry.path(), to.join(entry.file_name())));
            match () {
                () if kind.is_dir() => folders.push(pair),
                () if kind.is_file() => files.push(pair),
                () => println!("left out: {}", entry.path().display()),
            }
        }
    }
    Ok(files)
}

async fn hash(path: &Path) -> io::Result<u64> {
    let (file, mut hasher, mut position) = (File::open(path).await?, DefaultHasher::new(), 0);
    loop {
        let piece = file.read_at(position, PIECE_BYTES).await?;
        if piece.is_empty() {
            return Ok(hasher.finish());
        }
        hasher.write(&piece);
        position += piece.len() as u64;
    }
}

async fn copy_and_compare(from: PathBuf, to: PathBuf) -> io::Result<u64> {
    let bytes = fs::copy(&from, &to).await?;
    let (theirs, ours) = corio::try_join!(hash(&from), hash(&to))?;
    assert_eq!(theirs, ours, "{} is not what it was copied from", to.display());
    Ok(bytes)
}

#[corio::main]
async fn main() -> io::Result<()> {
    let scratch = fs::TemporaryFolder::new().await?;
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let from = arguments.next().unwrap_or_else(|| scratch.path().join("from"));
    let to = arguments.next().unwrap_or_else(|| scratch.path().join("to"));
    for number in 0..100 {
        let folder = scratch.path().join(format!("from/{}", number % 7));
        fs::create_dir_all(&folder).await?;
        fs::write(folder.join(number.to_string()), vec![number; 10_000 * number as usize]).await?;
    }
    let files = plan(from, to).await?;
    let count = files.len();
    let copies = stream::iter(files.into_iter().map(|(from, to)| Ok(copy_and_compare(from, to))));
    let sizes: Vec<u64> = copies.try_buffer_unordered(IN_FLIGHT).try_collect().await?;
    println!("{count} files, {} bytes: all hashes are the same", sizes.iter().sum::<u64>());
    scratch.remove().await
}
