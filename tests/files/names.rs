//! Names: odd ones, links in a circle, and what becomes of them.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use corio::fs::{self, File, TemporaryFile};

use super::Folder;
use super::support::{assert_kind, until};

#[corio::test]
async fn names_may_be_any_bytes_but_a_zero() {
    let folder = Folder::new().await;
    let odd = folder.path().join(OsStr::from_bytes(b"\xff\xfe new\nline \\ \x01"));
    fs::write(&odd, "odd").await.unwrap();
    assert_eq!(fs::read(&odd).await.unwrap(), b"odd");
    let mut entries = fs::read_dir(folder.path()).await.unwrap();
    let entry = entries.next_entry().await.unwrap().unwrap();
    assert_eq!(entry.path(), odd);
    assert!(entry.file_type().await.unwrap().is_file());
    assert_eq!(entry.metadata().await.unwrap().len(), 3);
    assert!(entries.next_entry().await.unwrap().is_none());
    let other = folder.path().join(OsStr::from_bytes(b"\x80"));
    fs::rename(&odd, &other).await.unwrap();
    assert!(!fs::exists(&odd).await.unwrap());
    assert_eq!(fs::canonicalize(&other).await.unwrap(), other.canonicalize().unwrap());
    fs::remove_file(&other).await.unwrap();
    let zero = folder.path().join("a\0b");
    assert_kind(File::open(&zero).await, ErrorKind::InvalidInput);
    assert_kind(fs::remove_file(&zero).await, ErrorKind::InvalidInput);
    assert_kind(fs::rename("x", &zero).await, ErrorKind::InvalidInput);
    let long = folder.join(&"x".repeat(256));
    assert!(fs::write(&long, "").await.is_err());
}

#[corio::test]
async fn links_in_a_circle_are_errors_and_can_be_removed() {
    let folder = Folder::new().await;
    let (first, second) = (folder.join("first"), folder.join("second"));
    fs::symlink(&second, &first).await.unwrap();
    fs::symlink(&first, &second).await.unwrap();
    assert_eq!(fs::read_link(&first).await.unwrap(), second);
    assert!(File::open(&first).await.is_err());
    assert!(fs::metadata(&first).await.is_err());
    assert!(fs::canonicalize(&first).await.is_err());
    assert!(fs::exists(&first).await.is_err());
    assert!(fs::read_dir(&first).await.is_err());
    assert!(fs::symlink_metadata(&first).await.unwrap().is_symlink());
    fs::remove_dir_all(&first).await.unwrap();
    fs::remove_file(&second).await.unwrap();
    assert_kind(fs::read_link(folder.path()).await, ErrorKind::InvalidInput);
}

#[corio::test]
async fn links_names_and_folders_are_what_std_finds() {
    let folder = Folder::new().await;
    let (file, link, hard) = (folder.join("file"), folder.join("link"), folder.join("hard"));
    fs::write(&file, "contents").await.unwrap();
    fs::symlink("file", &link).await.unwrap();
    fs::hard_link(&file, &hard).await.unwrap();
    assert_eq!(std::fs::read_link(&link).unwrap(), Path::new("file"));
    assert_eq!(fs::read_to_string(&link).await.unwrap(), "contents");
    let (ours, theirs) = (fs::metadata(&link).await.unwrap(), std::fs::metadata(&link).unwrap());
    use std::os::unix::fs::MetadataExt;
    assert_eq!((ours.len(), ours.ino(), ours.dev()), (theirs.len(), theirs.ino(), theirs.dev()));
    assert_eq!((ours.nlink(), ours.mode()), (2, theirs.mode()));
    assert_eq!((ours.uid(), ours.gid()), (theirs.uid(), theirs.gid()));
    assert_eq!(ours.modified().unwrap(), theirs.modified().unwrap());
    assert_eq!(ours.created().ok(), theirs.created().ok());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).await.unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
    let deep = folder.join("a/b/c/d");
    assert_kind(fs::create_dir(&deep).await, ErrorKind::NotFound);
    fs::create_dir_all(&deep).await.unwrap();
    fs::create_dir_all(&deep).await.unwrap();
    assert!(std::fs::metadata(&deep).unwrap().is_dir());
    assert!(fs::create_dir_all(file.join("x")).await.is_err());
    assert_kind(fs::remove_dir(folder.join("a")).await, ErrorKind::DirectoryNotEmpty);
    fs::remove_dir(&deep).await.unwrap();
    assert_kind(fs::remove_file(folder.join("a")).await, ErrorKind::IsADirectory);
    assert_kind(fs::read_dir(&file).await, ErrorKind::NotADirectory);
    assert_kind(fs::metadata(folder.join("nothing")).await, ErrorKind::NotFound);
}

#[corio::test]
async fn whole_files_are_read_also_where_their_length_says_nothing() {
    let version = fs::read_to_string("/proc/version").await.unwrap();
    assert_eq!(version, std::fs::read_to_string("/proc/version").unwrap());
    let folder = Folder::new().await;
    let path = folder.join("latin");
    fs::write(&path, b"caf\xe9").await.unwrap();
    assert_kind(fs::read_to_string(&path).await, ErrorKind::InvalidData);
    fs::write(&path, "").await.unwrap();
    assert!(fs::read(&path).await.unwrap().is_empty());
    assert!(fs::read(folder.path()).await.is_err());
}

#[corio::test]
async fn copies_have_contents_and_permissions_and_are_never_made_of_themselves() {
    let folder = Folder::new().await;
    let (from, to) = (folder.join("from"), folder.join("to"));
    fs::write(&from, "short").await.unwrap();
    fs::set_permissions(&from, fs::Permissions::from_mode(0o700)).await.unwrap();
    fs::write(&to, "much longer than the other").await.unwrap();
    assert_eq!(fs::copy(&from, &to).await.unwrap(), 5);
    assert_eq!(std::fs::read(&to).unwrap(), b"short");
    assert_eq!(std::fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o700);
    let hard = folder.join("hard");
    fs::hard_link(&from, &hard).await.unwrap();
    assert_kind(fs::copy(&from, &hard).await, ErrorKind::InvalidInput);
    assert_eq!(std::fs::read(&from).unwrap(), b"short", "it was not emptied");
    assert_kind(fs::copy(folder.path(), &to).await, ErrorKind::InvalidInput);
    let length = fs::copy("/proc/version", &to).await.unwrap();
    assert_eq!(length, std::fs::read("/proc/version").unwrap().len() as u64);
    assert_eq!(std::fs::read(&to).unwrap(), std::fs::read("/proc/version").unwrap());
}

#[corio::test]
async fn a_replaced_file_has_old_or_new_contents_and_keeps_its_permissions() {
    let folder = Folder::new().await;
    let (path, link) = (folder.join("settings"), folder.join("link"));
    fs::replace(&path, "first").await.unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).await.unwrap();
    fs::symlink(&path, &link).await.unwrap();
    let old = File::open(&path).await.unwrap();
    fs::replace(&link, "second").await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"second");
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(&old.read_at(0, 100).await.unwrap()[..], b"first");
    assert!(fs::replace(folder.join("nowhere/file"), "x").await.is_err());
    assert!(fs::replace(folder.path(), "x").await.is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left beside it");
}

#[corio::test]
async fn temporary_files_go_when_they_are_dropped_and_stay_when_they_are_kept() {
    let folder = Folder::new().await;
    let dropped = TemporaryFile::new_in(folder.path()).await.unwrap();
    let path = dropped.path().to_owned();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    drop(dropped);
    until(|| !path.exists()).await;
    let kept = TemporaryFile::new_in(folder.path()).await.unwrap();
    kept.file().write_all_at(0, "kept").await.unwrap();
    let file = kept.keep(folder.join("kept")).await.unwrap();
    assert_eq!(&file.read_at(0, 10).await.unwrap()[..], b"kept");
    let second = TemporaryFile::new_in(folder.path()).await.unwrap();
    assert_kind(second.keep(folder.join("kept")).await, ErrorKind::AlreadyExists);
    let unnamed = fs::unnamed_file(folder.path()).await.unwrap();
    unnamed.write_all_at(0, "complete").await.unwrap();
    unnamed.link(folder.join("named")).await.unwrap();
    assert_kind(unnamed.link(folder.join("named")).await, ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read(folder.join("named")).unwrap(), b"complete");
    until(|| std::fs::read_dir(folder.path()).unwrap().count() == 2).await;
}

#[corio::test]
async fn a_lock_is_waited_for_and_goes_with_the_file() {
    let folder = Folder::new().await;
    let path = folder.join("lock");
    let (first, second) = (File::create(&path).await.unwrap(), File::create(&path).await.unwrap());
    first.lock().await.unwrap();
    assert!(!second.try_lock().await.unwrap());
    assert!(!second.try_lock_shared().await.unwrap());
    let holder = corio::spawn(async move {
        corio::yield_now().await;
        first.unlock().await.unwrap();
        first
    });
    second.lock().await.unwrap();
    let first = holder.await.unwrap();
    assert!(!first.try_lock().await.unwrap());
    drop(second);
    first.lock_shared().await.unwrap();
    let third = File::open(&path).await.unwrap();
    assert!(third.try_lock_shared().await.unwrap());
    assert!(!third.try_lock().await.unwrap());
}
