//! Reads and writes at positions: whole, also where the kernel does less than was asked for.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::rc::Rc;

use bytes::BytesMut;
use corio::fs::{self, Advice, AlignedBuffer, File, OpenOptions};
use corio::io::IncompleteRead;
use futures_util::future::join_all;

use super::Folder;
use super::support::{Random, assert_kind, bounded, numbered};

#[corio::test]
async fn what_is_written_in_pieces_is_read_in_others() {
    let folder = Folder::new().await;
    let file = Rc::new(File::create(folder.join("numbers")).await.unwrap());
    let length = 300_000usize;
    let pieces = (0..length).step_by(7_000).map(|from| {
        let file = Rc::clone(&file);
        let size = 7_000.min(length - from);
        async move { file.write_all_at(from as u64, numbered(from as u64, size)).await.unwrap() }
    });
    bounded(join_all(pieces)).await;
    let mut random = Random::new(3);
    let reads = (0..200).map(|_| {
        let (from, size) = (random.below(length) as u64, random.below(20_000));
        let file = Rc::clone(&file);
        async move {
            let chunk = file.read_at(from, size).await.unwrap();
            let due = size.min(length - from as usize);
            assert!(chunk[..] == numbered(from, due)[..], "{size} bytes at {from}");
        }
    });
    bounded(join_all(reads)).await;
}

#[corio::test]
async fn a_read_behind_the_end_is_empty_and_an_exact_one_says_what_there_was() {
    let folder = Folder::new().await;
    let path = folder.join("short");
    fs::write(&path, "hello").await.unwrap();
    let file = File::open(&path).await.unwrap();
    assert_eq!(&file.read_at(3, 100).await.unwrap()[..], b"lo");
    assert!(file.read_at(5, 100).await.unwrap().is_empty());
    assert!(file.read_at(1 << 40, 1).await.unwrap().is_empty());
    assert!(file.read_at(0, 0).await.unwrap().is_empty());
    assert_eq!(&file.read_exact_at(1, 4).await.unwrap()[..], b"ello");
    let error = file.read_exact_at(3, 100).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    let incomplete: &IncompleteRead = error.get_ref().unwrap().downcast_ref().unwrap();
    assert_eq!((&incomplete.partial[..], incomplete.expected), (&b"lo"[..], Some(100)));
}

#[corio::test]
async fn positions_and_lengths_that_no_file_has_are_errors() {
    let folder = Folder::new().await;
    let file = File::create(folder.join("file")).await.unwrap();
    assert_kind(file.read_at(u64::MAX, 10).await, ErrorKind::InvalidInput);
    assert_kind(file.write_at(u64::MAX, "x").await, ErrorKind::InvalidInput);
    assert_kind(file.write_all_at(1 << 63, "x").await, ErrorKind::InvalidInput);
    assert_kind(file.set_len(u64::MAX).await, ErrorKind::InvalidInput);
    assert_kind(file.allocate(u64::MAX, 1).await, ErrorKind::InvalidInput);
    assert_kind(file.read_at(0, usize::MAX).await, ErrorKind::OutOfMemory);
    assert_eq!(file.metadata().await.unwrap().len(), 0);
}

#[corio::test]
async fn memory_that_is_lent_comes_back_with_what_was_read() {
    let folder = Folder::new().await;
    let path = folder.join("file");
    fs::write(&path, numbered(0, 10_000)).await.unwrap();
    let file = File::open(&path).await.unwrap();
    let (count, bytes) = file.read_at_into(8, Vec::with_capacity(100)).await;
    assert_eq!((count.unwrap(), bytes), (100, numbered(8, 100)));
    let (count, bytes) = file.read_at_into(9_990, vec![7; 100]).await;
    assert_eq!((count.unwrap(), bytes), (10, numbered(9_990, 10)));
    let (count, bytes) = file.read_at_into(0, BytesMut::with_capacity(64)).await;
    assert_eq!((count.unwrap(), &bytes[..64]), (64, &numbered(0, 64)[..]));
    let (count, bytes) = file.read_at_into(9_990, vec![7; 20].into_boxed_slice()).await;
    assert_eq!((count.unwrap(), bytes.len()), (10, 20));
    assert_eq!((&bytes[..10], &bytes[10..]), (&numbered(9_990, 10)[..], &[7; 10][..]));
    let (count, bytes) = file.read_at_into(0, AlignedBuffer::new(512, 512)).await;
    assert_eq!((count.unwrap(), &bytes[..]), (512, &numbered(0, 512)[..]));
    let write_only = OpenOptions::new().write(true).open(&path).await.unwrap();
    let (result, bytes) = write_only.read_at_into(0, vec![7; 100]).await;
    assert!(result.is_err());
    assert_eq!(bytes, [7; 100], "a failed read gives the memory back as it was");
}

#[corio::test]
async fn vectored_reads_and_writes_fill_one_piece_after_the_other() {
    let folder = Folder::new().await;
    let file = File::create(folder.join("file")).await.unwrap();
    let pieces: Vec<Vec<u8>> = (0..1500).map(|at| numbered(at * 10, 10)).collect();
    let (result, back) = file.write_vectored_at(5, pieces.clone()).await;
    result.unwrap();
    assert_eq!(back, pieces);
    let rooms: Vec<Vec<u8>> = [3, 0, 5_000, 20_000, 10].map(Vec::with_capacity).into();
    let (count, back) = file.read_vectored_at(5, rooms).await;
    assert_eq!(count.unwrap(), 15_000);
    assert_eq!(back.concat(), numbered(0, 15_000));
    assert_eq!(back.iter().map(Vec::len).collect::<Vec<_>>(), [3, 0, 5_000, 9_997, 0]);
    let (result, back) = file.write_all_at_from(0, b"start".to_vec()).await;
    result.unwrap();
    assert_eq!(back, b"start");
    assert_eq!(&file.read_at(0, 5).await.unwrap()[..], b"start");
}

#[corio::test]
async fn appends_go_to_the_end_wherever_it_is() {
    let folder = Folder::new().await;
    let path = folder.join("log");
    let (first, second) = (
        File::create(&path).await.unwrap(),
        OpenOptions::new().append(true).open(&path).await.unwrap(),
    );
    for round in 0..10 {
        first.append(format!("first {round}\n")).await.unwrap();
        second.append(format!("second {round}\n")).await.unwrap();
    }
    let due: String = (0..10).map(|it| format!("first {it}\nsecond {it}\n")).collect();
    assert_eq!(fs::read_to_string(&path).await.unwrap(), due);
    let lines = (0..100).map(|_| first.append("0123456789\n".repeat(100)));
    for appended in bounded(join_all(lines)).await {
        appended.unwrap();
    }
    let text = fs::read_to_string(&path).await.unwrap();
    assert_eq!(text[due.len()..], "0123456789\n".repeat(10_000));
}

#[corio::test]
async fn length_room_advice_and_permissions_are_set() {
    let folder = Folder::new().await;
    let path = folder.join("file");
    let file = File::create_new(&path).await.unwrap();
    assert_kind(File::create_new(&path).await, ErrorKind::AlreadyExists);
    file.set_len(10_000).await.unwrap();
    assert_eq!(file.metadata().await.unwrap().len(), 10_000);
    assert_eq!(&file.read_at(9_990, 100).await.unwrap()[..], [0; 10]);
    file.allocate(0, 20_000).await.unwrap();
    assert_eq!(file.metadata().await.unwrap().len(), 20_000);
    assert!(file.metadata().await.unwrap().blocks() >= 20_000 / 512);
    file.allocate_beyond(0, 200_000).await.unwrap();
    assert_eq!(file.metadata().await.unwrap().len(), 20_000);
    file.write_all_at(4_096, vec![1; 4_096]).await.unwrap();
    file.punch_hole(4_096, 4_096).await.unwrap();
    assert_eq!(&file.read_at(4_096, 4_096).await.unwrap()[..], [0; 4_096]);
    for advice in [Advice::Sequential, Advice::Random, Advice::WillNeed, Advice::DontNeed] {
        file.advise(advice, 0, 0).await.unwrap();
    }
    file.advise(Advice::Normal, 0, 1 << 40).await.unwrap();
    file.set_permissions(fs::Permissions::from_mode(0o640)).await.unwrap();
    assert_eq!(file.metadata().await.unwrap().permissions().mode() & 0o7777, 0o640);
    file.sync_data().await.unwrap();
    file.sync_all().await.unwrap();
    file.close().await.unwrap();
}

#[corio::test]
async fn options_that_contradict_each_other_are_refused_as_in_std() {
    let folder = Folder::new().await;
    let path = folder.join("file");
    for bits in 0..64u32 {
        let on = |bit: u32| bits & (1 << bit) != 0;
        let mut theirs = std::fs::OpenOptions::new();
        theirs.read(on(0)).write(on(1)).append(on(2)).truncate(on(3)).create(on(4));
        theirs.create_new(on(5));
        let ours = OpenOptions::new().read(on(0)).write(on(1)).append(on(2)).truncate(on(3));
        let ours = ours.create(on(4)).create_new(on(5));
        for has_file in [false, true] {
            let prepare = || match has_file {
                true => std::fs::write(&path, "before").unwrap(),
                false => drop(std::fs::remove_file(&path)),
            };
            prepare();
            let due = theirs.open(&path).map(drop).map_err(|error| error.kind());
            let left = std::fs::read(&path).ok();
            prepare();
            let found = ours.open(&path).await.map(drop).map_err(|error| error.kind());
            assert_eq!(found, due, "{theirs:?}, with a file: {has_file}");
            assert_eq!(std::fs::read(&path).ok(), left, "{theirs:?}, with a file: {has_file}");
        }
    }
}

#[corio::test]
async fn a_reader_that_is_always_served_lets_others_run() {
    let folder = Folder::new().await;
    let path = folder.join("cached");
    fs::write(&path, numbered(0, 100_000)).await.unwrap();
    let file = File::open(&path).await.unwrap();
    let is_over = Rc::new(std::cell::Cell::new(false));
    let flag = Rc::clone(&is_over);
    let other = corio::spawn(async move {
        corio::yield_now().await;
        flag.set(true);
    });
    let mut reads = 0;
    while !is_over.get() {
        assert_eq!(file.read_at(0, 4_096).await.unwrap().len(), 4_096);
        reads += 1;
        assert!(reads < 1_000, "nobody else had a turn in {reads} reads");
    }
    other.await.unwrap();
}
