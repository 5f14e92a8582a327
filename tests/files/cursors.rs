//! A file as a stream: reads that run ahead, writes that are joined, and the place between them.

use std::io::{ErrorKind, SeekFrom};

use corio::fs::{self, File, OpenOptions};
use futures_util::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, AsyncWriteExt, StreamExt};

use super::Folder;
use super::support::{Random, assert_kind, bounded, numbered, poll_once, until};

#[corio::test]
async fn a_cursor_reads_and_writes_as_std_does() {
    let folder = Folder::new().await;
    let (ours_path, theirs_path) = (folder.join("ours"), folder.join("theirs"));
    for path in [&ours_path, &theirs_path] {
        fs::write(path, numbered(0, 100_000)).await.unwrap();
    }
    let options = OpenOptions::new().read(true).write(true);
    let mut ours = options.open(&ours_path).await.unwrap().cursor(0);
    let mut theirs = std::fs::OpenOptions::new().read(true).write(true).open(&theirs_path).unwrap();
    use std::io::{Read, Seek, Write};
    let mut random = Random::new(7);
    for round in 0..400 {
        match random.below(4) {
            0 => {
                let size = random.below(40_000);
                let (mut found, mut due) = (Vec::new(), Vec::new());
                (&mut ours).take(size as u64).read_to_end(&mut found).await.unwrap();
                (&mut theirs).take(size as u64).read_to_end(&mut due).unwrap();
                assert!(found == due, "round {round}: {size} bytes");
            }
            1 => {
                let bytes = vec![round as u8; random.below(9_000)];
                ours.write_all(&bytes).await.unwrap();
                theirs.write_all(&bytes).unwrap();
            }
            2 => {
                let to = SeekFrom::Start(random.below(120_000) as u64);
                assert_eq!(ours.seek(to).await.unwrap(), theirs.seek(to).unwrap());
            }
            _ => {
                let to = match random.below(2) {
                    0 => SeekFrom::End(-(random.below(1_000) as i64)),
                    _ => SeekFrom::Current(random.below(1_000) as i64),
                };
                assert_eq!(ours.seek(to).await.unwrap(), theirs.seek(to).unwrap());
            }
        }
        assert_eq!(ours.position(), theirs.stream_position().unwrap(), "round {round}");
    }
    ours.flush().await.unwrap();
    assert!(std::fs::read(&ours_path).unwrap() == std::fs::read(&theirs_path).unwrap());
}

#[corio::test]
async fn a_dropped_wait_of_a_cursor_loses_neither_bytes_nor_the_place() {
    let folder = Folder::new().await;
    let path = folder.join("file");
    let length = 700_000;
    fs::write(&path, numbered(0, length)).await.unwrap();
    let mut cursor = File::open(&path).await.unwrap().cursor(0);
    let mut found = Vec::new();
    let mut buffer = vec![0; 10_000];
    while found.len() < length {
        for _ in 0..2 {
            if let Some(count) = poll_once(cursor.read(&mut buffer)) {
                found.extend_from_slice(&buffer[..count.unwrap()]);
            }
        }
        let count = bounded(cursor.read(&mut buffer)).await.unwrap();
        found.extend_from_slice(&buffer[..count]);
    }
    assert!(found == numbered(0, length));
}

#[corio::test]
async fn a_cursor_that_is_dropped_writes_the_rest_in_the_background() {
    let folder = Folder::new().await;
    let path = folder.join("file");
    let mut cursor = File::create(&path).await.unwrap().cursor(0);
    cursor.write_all(&numbered(0, 500_000)).await.unwrap();
    drop(cursor);
    until(|| std::fs::metadata(&path).unwrap().len() == 500_000).await;
    assert!(std::fs::read(&path).unwrap() == numbered(0, 500_000));
}

#[corio::test]
async fn lines_are_read_from_a_position_on_and_what_is_appended_later_comes_too() {
    let folder = Folder::new().await;
    let path = folder.join("log");
    fs::write(&path, "skipped\nfirst\nsecond").await.unwrap();
    let mut cursor = File::open(&path).await.unwrap().cursor(8);
    let mut line = String::new();
    cursor.read_line(&mut line).await.unwrap();
    assert_eq!(line, "first\n");
    line.clear();
    cursor.read_line(&mut line).await.unwrap();
    assert_eq!(line, "second");
    assert_eq!(cursor.read_line(&mut line).await.unwrap(), 0, "that is the end, for now");
    let log = OpenOptions::new().append(true).open(&path).await.unwrap();
    log.append(" and more\n").await.unwrap();
    cursor.read_line(&mut line).await.unwrap();
    assert_eq!(line, "second and more\n");
    let lines: Vec<_> = File::open(&path).await.unwrap().cursor(0).lines().collect().await;
    assert_eq!(lines.len(), 3);
}

#[corio::test]
async fn a_seek_to_nowhere_is_an_error_and_the_place_stays() {
    let folder = Folder::new().await;
    let path = folder.join("file");
    fs::write(&path, "0123456789").await.unwrap();
    let mut cursor = File::open(&path).await.unwrap().cursor(4);
    assert_kind(cursor.seek(SeekFrom::Current(-5)).await, ErrorKind::InvalidInput);
    assert_kind(cursor.seek(SeekFrom::End(-11)).await, ErrorKind::InvalidInput);
    assert_kind(cursor.seek(SeekFrom::Start(u64::MAX)).await, ErrorKind::InvalidInput);
    let mut rest = String::new();
    cursor.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "456789");
}

#[corio::test]
async fn a_pipe_with_a_name_is_read_and_written_as_it_comes() {
    let folder = Folder::new().await;
    let path = folder.join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let options = OpenOptions::new().write(true);
    let (reader, writer) = corio::join!(File::open(&path), options.open(&path));
    let (mut reader, mut writer) = (reader.unwrap().cursor(0), writer.unwrap().cursor(0));
    let send = async {
        writer.write_all(&numbered(0, 300_000)).await.unwrap();
        writer.close().await.unwrap();
        drop(writer);
    };
    let mut found = Vec::new();
    let ((), read) = bounded(async { corio::join!(send, reader.read_to_end(&mut found)) }).await;
    read.unwrap();
    assert!(found == numbered(0, 300_000));
}

#[corio::test]
async fn the_first_error_of_a_write_stays() {
    let folder = Folder::new().await;
    let path = folder.join("file");
    fs::write(&path, "before").await.unwrap();
    let mut cursor = File::open(&path).await.unwrap().cursor(0);
    cursor.write_all(b"not for writing").await.unwrap();
    assert!(cursor.flush().await.is_err());
    assert!(cursor.flush().await.is_err());
    assert!(cursor.write(b"more").await.is_err());
    assert_eq!(fs::read(&path).await.unwrap(), b"before");
}

/// A file that the page cache does not have, if the file system lets go of it.
async fn cold(path: &std::path::Path, length: usize) -> File {
    fs::write(path, numbered(0, length)).await.unwrap();
    let file = File::open(path).await.unwrap();
    file.sync_all().await.unwrap();
    file.advise(fs::Advice::DontNeed, 0, 0).await.unwrap();
    file
}

#[corio::test]
async fn a_cold_file_whose_waits_are_dropped_is_read_whole_and_in_order() {
    let folder = Folder::new().await;
    let length = 5_000_000;
    let mut cursor = cold(&folder.join("file"), length).await.cursor(0);
    let mut found = Vec::new();
    while found.len() < length {
        for _ in 0..3 {
            let _ = poll_once(cursor.fill_buf()).is_some();
            corio::yield_now().await;
        }
        let shown = bounded(cursor.fill_buf()).await.unwrap();
        assert!(!shown.is_empty(), "it ends after {} bytes", found.len());
        let count = shown.len().min(100_000);
        found.extend_from_slice(&shown[..count]);
        cursor.consume_unpin(count);
    }
    assert!(found == numbered(0, length));
    assert!(bounded(cursor.fill_buf()).await.unwrap().is_empty());
}

#[corio::test]
async fn a_seek_away_from_what_is_read_ahead_finds_what_is_there() {
    let folder = Folder::new().await;
    let length = 4_000_000;
    let mut cursor = cold(&folder.join("file"), length).await.cursor(0);
    let mut random = Random::new(3);
    let mut found = vec![0; 300_000];
    for _ in 0..40 {
        let position = random.below(length - found.len()) as u64;
        cursor.seek(SeekFrom::Start(position)).await.unwrap();
        bounded(cursor.read_exact(&mut found)).await.unwrap();
        assert!(found == numbered(position, found.len()), "at {position}");
    }
}

#[corio::test]
async fn a_cursor_that_is_dropped_with_reads_on_their_way_leaves_none() {
    let folder = Folder::new().await;
    let path = folder.join("file");
    let before = corio::stats().operations_in_flight;
    for wanted in [1, 20_000, 200_000, 2_000_000] {
        let mut cursor = cold(&path, 4_000_000).await.cursor(0);
        let mut found = vec![0; wanted];
        bounded(cursor.read_exact(&mut found)).await.unwrap();
        assert!(found == numbered(0, wanted));
        drop(cursor);
        until(|| corio::stats().operations_in_flight == before).await;
    }
}

#[corio::test]
async fn what_is_appended_behind_an_end_that_was_read_ahead_comes_too() {
    let folder = Folder::new().await;
    let path = folder.join("file");
    // Its end is where a piece ends, so that the pieces behind it are asked for.
    let length = 1 << 20;
    let mut cursor = cold(&path, length).await.cursor(0);
    let mut found = Vec::new();
    bounded(cursor.read_to_end(&mut found)).await.unwrap();
    assert!(found == numbered(0, length));
    let log = OpenOptions::new().append(true).open(&path).await.unwrap();
    for round in 1..4 {
        log.append(numbered((length * round) as u64, length)).await.unwrap();
        bounded(cursor.read_to_end(&mut found)).await.unwrap();
        assert!(found == numbered(0, length * (round + 1)), "round {round}");
    }
}

#[corio::test]
async fn two_cursors_of_one_task_both_come_on() {
    let folder = Folder::new().await;
    let path = folder.join("file");
    let length = 1_000_000;
    fs::write(&path, numbered(0, length)).await.unwrap();
    let (mut one, mut other) = (Vec::new(), Vec::new());
    let mut cursor = File::open(&path).await.unwrap().cursor(0);
    let mut second = File::open(&path).await.unwrap().cursor(0);
    // The first never ends: it begins anew.
    let endless = async {
        loop {
            one.clear();
            cursor.read_to_end(&mut one).await.unwrap();
            cursor.seek(SeekFrom::Start(0)).await.unwrap();
        }
    };
    let whole = async { second.read_to_end(&mut other).await.unwrap() };
    let (endless, whole) = (std::pin::pin!(endless), std::pin::pin!(whole));
    match bounded(futures_util::future::select(endless, whole)).await {
        futures_util::future::Either::Left((never, _)) => never,
        futures_util::future::Either::Right((count, _)) => assert_eq!(count, length),
    }
    assert!(other == numbered(0, length));
}
