//! Without the ring's operations on files, one by one and all together: helper threads do the work,
//! and nobody can tell but by the clock.

use std::io::ErrorKind;

use corio::fs::{self, DirectFile, File, OpenOptions};
use corio::net::UnixStream;
use corio::{Driver, Feature, Runtime};

use super::Folder;
use super::child::rerun;
use super::support::{bounded, numbered};

/// Those of files.
const FILES: [Feature; 17] = [
    Feature::Read,
    Feature::Write,
    Feature::ReadFixed,
    Feature::WriteFixed,
    Feature::Openat,
    Feature::Openat2,
    Feature::Statx,
    Feature::Fsync,
    Feature::Fallocate,
    Feature::Ftruncate,
    Feature::Fadvise,
    Feature::Renameat,
    Feature::Unlinkat,
    Feature::Mkdirat,
    Feature::Symlinkat,
    Feature::Linkat,
    Feature::Splice,
];

/// Uses each operation once.
async fn round() {
    let folder = Folder::new().await;
    let path = folder.join("a/b/file");
    fs::create_dir_all(folder.join("a/b")).await.unwrap();
    let file = File::create(&path).await.unwrap();
    file.write_all_at(0, numbered(0, 10_000)).await.unwrap();
    file.append("end").await.unwrap();
    file.allocate(0, 20_000).await.unwrap();
    file.set_len(10_003).await.unwrap();
    file.advise(fs::Advice::Random, 0, 0).await.unwrap();
    file.sync_all().await.unwrap();
    assert_eq!(file.metadata().await.unwrap().len(), 10_003);
    assert!(file.read_at(0, 10_000).await.unwrap()[..] == numbered(0, 10_000)[..]);
    fs::hard_link(&path, folder.join("hard")).await.unwrap();
    fs::symlink(&path, folder.join("link")).await.unwrap();
    fs::rename(folder.join("hard"), folder.join("renamed")).await.unwrap();
    assert_eq!(fs::read(folder.join("link")).await.unwrap()[10_000..], *b"end");
    let beneath = fs::Dir::open(folder.path()).await.unwrap();
    assert!(beneath.open_file("a/b/file").await.is_ok());
    assert_eq!(beneath.open_file("../x").await.unwrap_err().kind(), ErrorKind::PermissionDenied);
    let (mut from, to) = UnixStream::pair().unwrap();
    assert_eq!(to.sendfile(&file, ..5_000).await.unwrap(), 5_000);
    assert_eq!(from.read_to_file(&file, 5_000, 5_000).await.unwrap(), 5_000);
    assert!(file.read_at(5_000, 5_000).await.unwrap()[..] == numbered(0, 5_000)[..]);
    file.write_all_at(5_000, numbered(5_000, 5_000)).await.unwrap();
    let nothing = OpenOptions::new().write(true).open(folder.join("nothing")).await;
    assert_eq!(nothing.unwrap_err().kind(), ErrorKind::NotFound);
    if let Ok(direct) =
        DirectFile::open_with(&path, &OpenOptions::new().read(true).write(true)).await
    {
        let mut block = direct.buffer(4096);
        block.resize(4096);
        block.fill(7);
        let (written, block) = direct.write_at(0, block).await;
        written.unwrap();
        let (count, block) = direct.read_at(0, block).await;
        assert_eq!((count.unwrap(), block[4095]), (4096, 7));
    }
    fs::remove_dir_all(folder.join("a")).await.unwrap();
    assert!(!fs::exists(&path).await.unwrap());
}

/// Runs a test in a child in which these are off; true in the parent.
fn without(test: &str, features: &[Feature]) -> bool {
    let names: Vec<_> = features.iter().map(|feature| feature.name()).collect();
    let disable = format!("CORIO_DISABLE={}", names.join(","));
    if rerun(test, &["env", &disable]).is_some() {
        return true;
    }
    let runtime = Runtime::builder().driver(Driver::Uring).build().unwrap();
    for feature in FILES {
        let is_off = features.contains(&feature);
        assert!(!is_off || !runtime.features().has(feature), "{}", feature.name());
    }
    for _ in 0..3 {
        runtime.block_on(bounded(round()));
    }
    let report = runtime.close();
    assert_eq!(report.leaked_operations, 0);
    false
}

#[test]
fn all_of_them_can_be_off() {
    without("switches::all_of_them_can_be_off", &FILES);
}

#[test]
fn one_of_them_can_be_off_while_its_neighbour_is_on() {
    let every_other: Vec<_> = FILES.into_iter().step_by(2).collect();
    without("switches::one_of_them_can_be_off_while_its_neighbour_is_on", &every_other);
}

#[test]
fn the_other_half_can_be_off_as_well() {
    let every_other: Vec<_> = FILES.into_iter().skip(1).step_by(2).collect();
    without("switches::the_other_half_can_be_off_as_well", &every_other);
}
