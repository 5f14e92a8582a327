//! Trees: large, deep, and under the hands of others.

use std::cell::Cell;
use std::io::ErrorKind;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use corio::fs;
use futures_util::StreamExt;

use super::Folder;
use super::support::{assert_kind, bounded};

/// How many entries the large folder has; `CORIO_TEST_ENTRIES=100000` is the whole of it.
fn entries() -> usize {
    let count = std::env::var("CORIO_TEST_ENTRIES").ok().and_then(|it| it.parse().ok());
    count.unwrap_or(1_000)
}

/// Notes the longest time between two polls of a task that is always ready: a turn's.
struct Watch {
    longest: Rc<Cell<Duration>>,
    task: corio::JoinHandle<()>,
}

impl Watch {
    fn start() -> Watch {
        let longest = Rc::new(Cell::new(Duration::ZERO));
        let noted = Rc::clone(&longest);
        let task = corio::spawn(async move {
            let mut last = Instant::now();
            loop {
                corio::yield_now().await;
                let now = Instant::now();
                noted.set(noted.get().max(now - last));
                last = now;
            }
        });
        Watch { longest, task }
    }

    /// Told, and not judged: a machine that is busy elsewhere has long turns.
    fn tell(self, what: &str) {
        self.task.abort();
        println!("{what}: the longest turn was {:?}", self.longest.get());
    }
}

#[corio::test]
async fn a_large_folder_is_read_and_removed_while_the_loop_turns() {
    let folder = Folder::new().await;
    let tree = folder.join("tree");
    std::fs::create_dir(&tree).unwrap();
    let count = entries();
    for number in 0..count {
        std::fs::File::create(tree.join(format!("an entry of the folder {number}"))).unwrap();
    }
    let watch = Watch::start();
    let mut names: Vec<_> = fs::read_dir(&tree)
        .await
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_owned())
        .collect()
        .await;
    watch.tell(&format!("read_dir of {count} entries"));
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "each entry comes once");
    let watch = Watch::start();
    fs::remove_dir_all(&tree).await.unwrap();
    watch.tell(&format!("remove_dir_all of {count} entries"));
    assert!(!tree.exists());
}

/// A tree of one folder in the other.
fn deep(tree: &Path, depth: usize) {
    let mut path = tree.to_owned();
    for _ in 0..depth {
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("file"), "contents").unwrap();
        path.push("d");
    }
}

#[corio::test]
async fn a_deep_tree_is_removed_without_a_recursion() {
    let folder = Folder::new().await;
    let tree = folder.join("tree");
    deep(&tree, 100);
    bounded(fs::remove_dir_all(&tree)).await.unwrap();
    assert!(!tree.exists());
    assert_kind(fs::remove_dir_all(&tree).await, ErrorKind::NotFound);
}

#[corio::test]
async fn links_in_a_tree_are_removed_and_what_they_point_to_stays() {
    let folder = Folder::new().await;
    let (tree, outside) = (folder.join("tree"), folder.join("outside"));
    std::fs::create_dir_all(tree.join("a/b")).unwrap();
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("precious"), "contents").unwrap();
    for place in ["link", "a/link", "a/b/link"] {
        std::os::unix::fs::symlink(&outside, tree.join(place)).unwrap();
    }
    std::os::unix::fs::symlink(&tree, tree.join("a/b/up")).unwrap();
    std::os::unix::fs::symlink("nowhere", tree.join("a/nowhere")).unwrap();
    let link = folder.join("link to the tree");
    std::os::unix::fs::symlink(&tree, &link).unwrap();
    fs::remove_dir_all(&link).await.unwrap();
    assert!(tree.join("a/b").exists(), "a link alone is removed");
    fs::remove_dir_all(&tree).await.unwrap();
    assert!(!tree.exists());
    assert!(outside.join("precious").exists());
    assert!(fs::remove_dir_all(outside.join("precious")).await.is_err(), "it is no folder");
    assert!(outside.join("precious").exists());
}

/// Somebody exchanges a folder for a link to a precious one, again and again: whatever the removal
/// meets, nothing outside the tree is touched.
#[corio::test]
async fn a_tree_that_changes_under_the_removal_is_never_left() {
    let folder = Folder::new().await;
    let outside = folder.join("outside");
    std::fs::create_dir(&outside).unwrap();
    for number in 0..20 {
        std::fs::write(outside.join(format!("precious {number}")), "contents").unwrap();
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let tree = folder.join("tree");
    let intruder = {
        let (tree, outside, is_over) = (tree.clone(), outside.clone(), Arc::clone(&is_over));
        std::thread::spawn(move || {
            let (inner, aside) = (tree.join("inner"), tree.join("aside"));
            while !is_over.load(Ordering::Relaxed) {
                // Whatever of this fails, the removal was quicker.
                let _ = std::fs::rename(&inner, &aside);
                let _ = std::os::unix::fs::symlink(&outside, &inner);
                let _ = std::fs::remove_file(&inner);
                let _ = std::fs::rename(&aside, &inner);
                std::thread::yield_now();
            }
        })
    };
    for _ in 0..30 {
        // The intruder may have its hands on any of it.
        let _ = std::fs::create_dir_all(tree.join("inner"));
        for number in 0..20 {
            let _ = std::fs::write(tree.join(format!("inner/file {number}")), "contents");
        }
        // Who loses the race for good gets the kernel's error, whichever that is.
        if let Err(error) = fs::remove_dir_all(&tree).await {
            assert!(error.raw_os_error().is_some(), "{error}");
        }
    }
    is_over.store(true, Ordering::Relaxed);
    intruder.join().unwrap();
    // What was written through the link on the way in is there as well.
    let is_there = |number| outside.join(format!("precious {number}")).exists();
    assert!((0..20).all(is_there), "the removal left its tree");
}

#[corio::test]
async fn two_removals_of_one_tree_get_in_each_others_way_without_an_error_inside() {
    let folder = Folder::new().await;
    let tree = folder.join("tree");
    for round in 0..5 {
        for number in 0..30 {
            let inner = tree.join(format!("{round}/{number}"));
            std::fs::create_dir_all(&inner).unwrap();
            std::fs::write(inner.join("file"), "contents").unwrap();
        }
        let (first, second) = corio::join!(fs::remove_dir_all(&tree), fs::remove_dir_all(&tree));
        assert!(first.is_ok() || second.is_ok());
        for error in [first, second].into_iter().filter_map(Result::err) {
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        }
        assert!(!tree.exists());
    }
}
