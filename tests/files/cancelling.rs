//! Every operation, dropped after each of its polls: no descriptor, operation or thread's work is
//! left, and the file goes on.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;

use corio::fs::{self, File, OpenOptions};
use futures_util::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use super::support::{bounded, numbered, poll_once, until};
use super::{Folder, open_in};

type Attempt = Pin<Box<dyn Future<Output = ()>>>;

/// A file with some bytes, and a folder to make things in.
struct Stage {
    file: Rc<File>,
    path: PathBuf,
    folder: PathBuf,
}

type Kind = (&'static str, fn(&Stage) -> Attempt);

macro_rules! kinds {
    ($($name:literal: |$stage:ident| $attempt:expr;)*) => {
        &[$(($name, |$stage: &Stage| {
            let (file, path, folder) =
                (Rc::clone(&$stage.file), $stage.path.clone(), $stage.folder.clone());
            let _ = (&file, &path, &folder);
            let $stage = (file, path, folder);
            Box::pin(async move { let _ = $attempt; })
        }),)*]
    };
}

/// All of them; whatever they answer is right, since those that were dropped may have happened.
static KINDS: &[Kind] = kinds! {
    "open": |it| File::open(&it.1).await;
    "open beneath": |it| {
        let folder = fs::Dir::open(&it.2).await.unwrap();
        let _ = folder.metadata("file").await;
        folder.open_file("file").await
    };
    "create": |it| File::create(it.2.join("created")).await;
    "read_at": |it| it.0.read_at(0, 10_000).await;
    "read_at of what is not cached": |it| it.0.read_at(1 << 20, 1 << 20).await;
    "read_exact_at": |it| it.0.read_exact_at(0, 10_000).await;
    "read_at_into": |it| it.0.read_at_into(0, vec![0; 10_000]).await;
    "read_vectored_at": |it| it.0.read_vectored_at(0, vec![vec![0; 3_000]; 3]).await;
    "write_at": |it| it.0.write_at(0, numbered(0, 10_000)).await;
    "write_all_at": |it| it.0.write_all_at(0, numbered(0, 10_000)).await;
    "write_all_at_from": |it| it.0.write_all_at_from(0, numbered(0, 10_000)).await;
    "write_vectored_at": |it| it.0.write_vectored_at(0, vec![numbered(0, 8_000)]).await;
    "append": |it| it.0.append("appended").await;
    "sync_all": |it| it.0.sync_all().await;
    "sync_data": |it| it.0.sync_data().await;
    "set_len": |it| it.0.set_len(2 << 20).await;
    "allocate": |it| it.0.allocate(0, 1 << 20).await;
    "advise": |it| it.0.advise(fs::Advice::DontNeed, 0, 0).await;
    "metadata": |it| it.0.metadata().await;
    "lock": |it| {
        it.0.lock().await.unwrap();
        it.0.unlock().await
    };
    "close": |it| File::open(&it.1).await.unwrap().close().await;
    "cursor": |it| {
        let options = OpenOptions::new().read(true).write(true);
        let mut cursor = options.open(&it.1).await.unwrap().cursor(0);
        cursor.read_exact(&mut [0; 50_000]).await.unwrap();
        cursor.write_all(&numbered(50_000, 300_000)).await.unwrap();
        cursor.flush().await.unwrap();
        cursor.seek(std::io::SeekFrom::End(0)).await
    };
    "read": |it| fs::read(&it.1).await;
    "write": |it| fs::write(it.2.join("written"), "contents").await;
    "copy": |it| fs::copy(&it.1, it.2.join("copied")).await;
    "rename": |it| fs::rename(it.2.join("written"), it.2.join("renamed")).await;
    "hard_link": |it| fs::hard_link(&it.1, it.2.join("hard")).await;
    "symlink": |it| fs::symlink("anywhere", it.2.join("symlink")).await;
    "read_link": |it| fs::read_link(it.2.join("symlink")).await;
    "remove_file": |it| fs::remove_file(it.2.join("symlink")).await;
    "create_dir_all": |it| fs::create_dir_all(it.2.join("tree/a/b")).await;
    "read_dir": |it| {
        let mut entries = fs::read_dir(&it.2).await.unwrap();
        while let Ok(Some(entry)) = entries.next_entry().await {
            let _ = entry.metadata().await;
        }
    };
    "remove_dir_all": |it| fs::remove_dir_all(it.2.join("tree")).await;
    "canonicalize": |it| fs::canonicalize(&it.1).await;
    "exists": |it| fs::exists(&it.1).await;
    "replace": |it| fs::replace(it.2.join("replaced"), "whole").await;
    "temporary": |it| {
        let file = fs::TemporaryFile::new_in(&it.2).await.unwrap();
        file.file().write_all_at(0, "for a while").await.unwrap();
        file.remove().await
    };
    "unnamed": |it| fs::unnamed_file(&it.2).await.unwrap().link(it.2.join("named")).await;
};

/// Lets the loop turn: a yield alone comes back within the turn.
async fn turn() {
    let before = corio::stats().turns;
    while corio::stats().turns == before {
        corio::yield_now().await;
    }
}

/// Polls an attempt so many times, a turn apart; true if it became ready.
async fn poll_some(attempt: &mut Attempt, polls: usize) -> bool {
    for _ in 0..polls {
        let waker = std::future::poll_fn(|context| std::task::Poll::Ready(context.waker().clone()));
        let waker = waker.await;
        if attempt.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_ready() {
            return true;
        }
        turn().await;
    }
    false
}

#[corio::test]
async fn every_operation_can_be_dropped_after_each_poll() {
    for (name, kind) in KINDS {
        let folder = Folder::new().await;
        let path = folder.join("file");
        fs::write(&path, numbered(0, 100_000)).await.unwrap();
        let before = corio::stats();
        let options = OpenOptions::new().read(true).write(true);
        let file = Rc::new(options.open(&path).await.unwrap());
        let stage = Stage { file, path, folder: folder.path().to_owned() };
        for polls in 0..40 {
            let mut attempt = kind(&stage);
            let is_ready = poll_some(&mut attempt, polls).await;
            drop(attempt);
            if is_ready {
                break;
            }
        }
        bounded(kind(&stage)).await;
        until(|| {
            let now = corio::stats();
            now.operations_in_flight <= before.operations_in_flight && now.tasks <= before.tasks
        })
        .await;
        stage.file.write_all_at(0, "goes on").await.unwrap();
        assert_eq!(&stage.file.read_at(0, 7).await.unwrap()[..], b"goes on", "{name}");
        drop(stage);
        assert_eq!(open_in(folder.path()), 0, "{name}: a descriptor stays open");
    }
}

#[corio::test]
async fn ten_thousand_dropped_opens_leave_no_descriptor() {
    let folder = Folder::new().await;
    let path = folder.join("file");
    fs::write(&path, "contents").await.unwrap();
    let before = corio::stats().operations_in_flight;
    for _ in 0..100 {
        let mut opens: Vec<_> = (0..100).map(|_| Box::pin(File::open(&path))).collect();
        for open in &mut opens {
            assert!(poll_once(open.as_mut()).is_none(), "an open is ready later");
        }
        turn().await;
        drop(opens);
    }
    until(|| corio::stats().operations_in_flight <= before).await;
    assert_eq!(open_in(folder.path()), 0);
}

#[corio::test]
fn a_runtime_that_ends_with_operations_in_flight_leaves_no_descriptor() {
    let base = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder =
        base.join(format!("ends-{}-{:?}", std::process::id(), std::thread::current().id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("file");
    std::fs::write(&path, "contents").unwrap();
    let runtime = corio::Runtime::new().unwrap();
    let mut kept: Vec<Pin<Box<dyn Future<Output = std::io::Result<File>>>>> = Vec::new();
    runtime.block_on(async {
        for _ in 0..50 {
            let path = path.clone();
            corio::spawn(async move {
                loop {
                    let file = File::open(&path).await.unwrap();
                    let _ = corio::join!(file.read_at(0, 100), file.metadata(), file.sync_all());
                }
            });
            kept.push(Box::pin(File::open(folder.join("file"))));
        }
        for open in &mut kept {
            let _ = poll_once(open.as_mut());
        }
        for _ in 0..5 {
            turn().await;
        }
    });
    let report = runtime.close();
    assert_eq!(report.leaked_operations, 0, "{report:?}");
    drop(kept);
    assert_eq!(open_in(&folder), 0);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[corio::test]
async fn an_open_that_waits_for_a_pipes_other_end_can_be_given_up() {
    let folder = Folder::new().await;
    let path = folder.join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let options = OpenOptions::new().write(true);
    let mut open = Box::pin(options.open(&path));
    for _ in 0..5 {
        assert!(poll_once(open.as_mut()).is_none(), "nobody reads from the pipe");
        turn().await;
    }
    drop(open);
    // On a helper the open stands until the other end comes; then its descriptor is closed.
    let other = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let before = 0;
    until(|| corio::stats().operations_in_flight <= before + 1).await;
    drop(other);
    until(|| open_in(folder.path()) == 0).await;
}

#[corio::test]
async fn a_soft_end_waits_for_the_write_and_no_longer() {
    let folder = Folder::new().await;
    let file = Rc::new(File::create(folder.join("file")).await.unwrap());
    let writer = {
        let file = Rc::clone(&file);
        corio::spawn(async move {
            for round in 0u64.. {
                file.write_all_at(round * 1_000, numbered(round * 1_000, 1_000)).await.unwrap();
            }
        })
    };
    for _ in 0..20 {
        turn().await;
    }
    writer.cancel();
    assert!(bounded(writer).await.unwrap_err().is_cancelled());
    let length = file.metadata().await.unwrap().len();
    assert_eq!(length % 1_000, 0, "no write is half done");
    assert!(
        file.read_at(0, length as usize).await.unwrap()[..] == numbered(0, length as usize)[..]
    );
    assert_eq!(file.metadata().await.unwrap().len(), length, "nothing is written after the end");
}
