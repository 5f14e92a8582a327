//! Full disks, limits, and a process that is killed: what is lost is told, what was told to be safe
//! is there.

use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use corio::fs::{self, File, OpenOptions};
use futures_util::AsyncWriteExt;

use super::Folder;
use super::child::{is_child, rerun};
use super::support::{assert_kind, numbered};

#[corio::test]
async fn a_full_device_is_told_by_every_kind_of_write() {
    let options = OpenOptions::new().write(true);
    let file = options.open("/dev/full").await.unwrap();
    assert_kind(file.write_at(0, "x").await, ErrorKind::StorageFull);
    assert_kind(file.write_all_at(0, vec![1; 100_000]).await, ErrorKind::StorageFull);
    assert_kind(file.append("x").await, ErrorKind::StorageFull);
    let (result, bytes) = file.write_all_at_from(0, vec![1; 100]).await;
    assert_kind(result, ErrorKind::StorageFull);
    assert_eq!(bytes, [1; 100]);
    let (result, bytes) = file.write_vectored_at(0, vec![vec![1; 100], vec![2; 100]]).await;
    assert_kind(result, ErrorKind::StorageFull);
    assert_eq!(bytes.len(), 2);
    let mut cursor = file.cursor(0);
    let written = cursor.write_all(&[1; 300_000]).await;
    assert_kind(written.and(cursor.flush().await), ErrorKind::StorageFull);
    assert_kind(fs::write("/dev/full", "x").await, ErrorKind::StorageFull);
}

/// Runs the rest of a test in a child that has a small disk of its own; `None` if that is not
/// allowed here.
fn on_a_small_disk(test: &str) -> Option<PathBuf> {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("small-disk");
    if is_child(test) {
        return Some(place);
    }
    std::fs::create_dir_all(&place).unwrap();
    let mount = format!("mount -t tmpfs -o size=256k none {} && exec \"$@\"", place.display());
    let prefix = ["unshare", "--map-root-user", "--mount", "sh", "-c", &mount, "sh"];
    let trial = Command::new(prefix[0]).args(&prefix[1..]).arg("true").output();
    match trial {
        Ok(output) if output.status.success() => drop(rerun(test, &prefix)),
        other => eprintln!("skipped: no small disk can be mounted here ({other:?})"),
    }
    None
}

#[corio::test]
async fn a_full_disk_is_told_and_what_was_written_before_stays() {
    let test = "bad_luck::a_full_disk_is_told_and_what_was_written_before_stays";
    let Some(disk) = on_a_small_disk(test) else { return };
    let path = disk.join("file");
    let file = File::create(&path).await.unwrap();
    file.write_all_at(0, numbered(0, 100_000)).await.unwrap();
    file.sync_all().await.unwrap();
    assert_kind(file.write_all_at(100_000, vec![1; 1 << 20]).await, ErrorKind::StorageFull);
    assert!(file.read_at(0, 100_000).await.unwrap()[..] == numbered(0, 100_000)[..]);
    assert_kind(fs::copy(&path, disk.join("copy")).await, ErrorKind::StorageFull);
    let old = fs::read(&path).await.unwrap();
    assert_kind(fs::replace(&path, vec![2; 1 << 20]).await, ErrorKind::StorageFull);
    assert!(fs::read(&path).await.unwrap() == old, "a failed replacement changes nothing");
    fs::remove_file(disk.join("copy")).await.unwrap();
    let mut names = std::fs::read_dir(&disk).unwrap();
    assert_eq!(names.next().unwrap().unwrap().file_name(), "file");
    assert!(names.next().is_none(), "a failed replacement leaves nothing beside it");
}

#[corio::test]
async fn the_largest_length_of_a_file_is_told() {
    let test = "bad_luck::the_largest_length_of_a_file_is_told";
    let prefix = ["env", "--ignore-signal=XFSZ", "prlimit", "--fsize=65536"];
    if rerun(test, &prefix).is_some() {
        return;
    }
    let folder = Folder::new().await;
    let file = File::create(folder.join("file")).await.unwrap();
    file.write_all_at(0, vec![1; 65_536]).await.unwrap();
    assert_kind(file.write_all_at(65_536, "x").await, ErrorKind::FileTooLarge);
    assert_kind(file.write_all_at(60_000, vec![1; 10_000]).await, ErrorKind::FileTooLarge);
    assert_kind(file.append("x").await, ErrorKind::FileTooLarge);
    assert_kind(file.set_len(65_537).await, ErrorKind::FileTooLarge);
    assert_eq!(file.metadata().await.unwrap().len(), 65_536);
}

/// How many records are waited for until the writer is killed.
const RECORDS: u64 = 20;

#[corio::test]
fn what_was_synced_survives_the_writer_being_killed() {
    const CHILD: &str = "CORIO_TEST_CHILD";
    let test = "bad_luck::what_was_synced_survives_the_writer_being_killed";
    let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
    if is_child(test) {
        let path = std::env::var("CORIO_TEST_FILE").unwrap();
        corio::run(async {
            let file = File::create(path).await?;
            for record in 0.. {
                file.append(numbered(record * 1_000, 1_000)).await?;
                file.sync_all().await?;
                println!("synced {record}");
            }
            std::io::Result::Ok(())
        })
        .unwrap();
        return;
    }
    let name = std::thread::current().name().unwrap().to_owned();
    let path = base.join(format!("killed-{}-{}", std::process::id(), name.replace(':', "-")));
    let mut writer = Command::new(std::env::current_exe().unwrap())
        .args([&name, "--exact", "--nocapture"])
        .env(CHILD, &name)
        .env("CORIO_TEST_FILE", &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(writer.stdout.take().unwrap()).lines();
    let wanted = format!("synced {RECORDS}");
    let is_told = lines.map_while(Result::ok).any(|line| line.contains(&wanted));
    writer.kill().unwrap();
    writer.wait().unwrap();
    assert!(is_told, "the writer ended before");
    let found = std::fs::read(&path).unwrap();
    let safe = (RECORDS as usize + 1) * 1_000;
    assert!(found.len() >= safe, "{} of {safe} bytes that were told to be safe", found.len());
    assert!(found[..safe] == numbered(0, safe)[..]);
    std::fs::remove_file(path).unwrap();
}

#[corio::test]
async fn a_close_waits_for_nobody_and_says_if_the_file_is_in_use() {
    let folder = Folder::new().await;
    let path = folder.join("file");
    fs::write(&path, vec![1; 1 << 20]).await.unwrap();
    let file = File::open(&path).await.unwrap();
    fs::remove_file(&path).await.unwrap();
    file.close().await.unwrap();
    assert_eq!(super::open_in(folder.path()), 0);
}
