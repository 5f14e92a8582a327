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

/// The most entries that one buffer of the kernel's holds: each of ours takes 48 bytes or more.
const ENTRIES_A_BUFFER: usize = (32 << 10) / 48;

/// The most files that are removed at a time, and what the test itself has in flight.
const IN_FLIGHT_MAX: usize = 32 + 4;

/// What a task that is always ready sees of each turn.
#[derive(Default)]
struct Turns {
    /// Entries that the test has got so far.
    entries: Cell<usize>,
    /// The most of them between two looks.
    most_entries: Cell<usize>,
    most_in_flight: Cell<usize>,
    /// The longest time between two looks. What the thread waited for a CPU meanwhile is another
    /// program's time, and is left out.
    longest: Cell<Duration>,
}

/// How long this thread was ready to run and had no CPU: the second number of its `schedstat`.
fn waited_for_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').nth(1).unwrap().parse().unwrap())
}

impl Turns {
    async fn watch(self: Rc<Self>) {
        // The look itself is on neither side.
        let look = || {
            let before = Instant::now();
            (before, waited_for_cpu(), Instant::now(), self.entries.get())
        };
        let mut last = look();
        loop {
            corio::yield_now().await;
            let now = look();
            let own = (now.0 - last.2).saturating_sub(now.1 - last.1);
            self.longest.set(self.longest.get().max(own));
            self.most_entries.set(self.most_entries.get().max(now.3 - last.3));
            let in_flight = corio::stats().operations_in_flight;
            self.most_in_flight.set(self.most_in_flight.get().max(in_flight));
            last = now;
        }
    }

    /// Begins anew: what the test itself did since the last look is on no side.
    async fn begin(&self) {
        // One look ends the turn that is on, the other one begins the next.
        corio::yield_now().await;
        corio::yield_now().await;
        self.longest.take();
        self.most_entries.take();
        self.most_in_flight.take();
    }

    /// Told, and not judged: a machine that is busy elsewhere has long turns. What a turn has to
    /// do is judged.
    fn tell(&self, what: &str) {
        println!(
            "{what}: the longest turn was {:?}, with at most {} entries and {} operations",
            self.longest.take(),
            self.most_entries.get(),
            self.most_in_flight.get(),
        );
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
    let turns = Rc::new(Turns::default());
    let watch = corio::spawn(Rc::clone(&turns).watch());
    turns.begin().await;
    let mut names: Vec<_> = fs::read_dir(&tree)
        .await
        .unwrap()
        .map(|entry| {
            turns.entries.set(turns.entries.get() + 1);
            entry.unwrap().file_name().to_owned()
        })
        .collect()
        .await;
    turns.tell(&format!("read_dir of {count} entries"));
    assert!(turns.most_entries.get() <= ENTRIES_A_BUFFER);
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "each entry comes once");
    turns.begin().await;
    fs::remove_dir_all(&tree).await.unwrap();
    turns.tell(&format!("remove_dir_all of {count} entries"));
    assert!(turns.most_in_flight.get() <= IN_FLIGHT_MAX);
    watch.abort();
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

/// Somebody exchanges a folder for a link that leads out, as fast as the kernel can: what is opened
/// beneath is never what lies outside.
#[corio::test]
async fn an_open_beneath_a_folder_is_never_led_out_of_it() {
    let folder = Folder::new().await;
    let (site, outside) = (folder.join("site"), folder.join("outside"));
    for place in [site.join("inner"), outside.clone()] {
        std::fs::create_dir_all(place).unwrap();
    }
    std::fs::write(site.join("inner/file"), "inside").unwrap();
    std::fs::write(outside.join("file"), "outside").unwrap();
    std::os::unix::fs::symlink(&outside, site.join("link")).unwrap();
    std::os::unix::fs::symlink("../outside", site.join("way up")).unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let intruder = {
        let (site, is_over) = (site.clone(), Arc::clone(&is_over));
        std::thread::spawn(move || {
            let (inner, link, aside) = (site.join("inner"), site.join("link"), site.join("aside"));
            let mut round = 0;
            while !is_over.load(Ordering::Relaxed) {
                let link = if round % 2 == 0 { &link } else { &site.join("way up") };
                std::fs::rename(&inner, &aside).unwrap();
                std::fs::rename(link, &inner).unwrap();
                std::fs::rename(&inner, link).unwrap();
                std::fs::rename(&aside, &inner).unwrap();
                round += 1;
            }
        })
    };
    let dir = fs::Dir::open(&site).await.unwrap();
    let strictly = fs::OpenOptions::new().read(true).no_symlinks(true);
    let mut inside = 0;
    for round in 0..2_000 {
        let opened = match round % 2 {
            0 => dir.open_file("inner/file").await,
            _ => strictly.open_beneath(&dir, "inner/file").await,
        };
        if let Ok(file) = opened {
            assert_eq!(&file.read_at(0, 20).await.unwrap()[..], b"inside");
            inside += 1;
        }
        if let Ok(found) = dir.metadata("inner/file").await {
            assert_eq!(found.len(), 6, "the one outside is longer");
        }
    }
    is_over.store(true, Ordering::Relaxed);
    intruder.join().unwrap();
    println!("{inside} of 2000 opens found the file inside");
    assert_eq!(
        &dir.open_file("inner/file").await.unwrap().read_at(0, 20).await.unwrap()[..],
        b"inside"
    );
}

#[corio::test]
async fn paths_beneath_a_folder_are_kept_to_their_rules() {
    let folder = Folder::new().await;
    let site = folder.join("site");
    std::fs::create_dir_all(site.join("a/b")).unwrap();
    std::fs::write(folder.join("secret"), "secret").unwrap();
    std::fs::write(site.join("a/file"), "contents").unwrap();
    let link = |says: &str, name: &str| std::os::unix::fs::symlink(says, site.join(name)).unwrap();
    link("a", "short");
    link("../secret", "out");
    link("/etc", "root");
    link("loop", "loop");
    let dir = fs::Dir::open(&site).await.unwrap();
    for path in ["a/file", "./a/b/../file", "short/file", "a//file"] {
        let file = dir.open_file(path).await.unwrap();
        assert_eq!(&file.read_at(0, 10).await.unwrap()[..], b"contents", "{path}");
        assert_eq!(dir.metadata(path).await.unwrap().len(), 8);
    }
    for path in ["..", "../secret", "a/../../secret", "/etc/passwd", "out", "root/passwd"] {
        assert_kind(dir.open_file(path).await, ErrorKind::PermissionDenied);
        assert_kind(dir.metadata(path).await, ErrorKind::PermissionDenied);
        assert_kind(dir.open_dir(path).await, ErrorKind::PermissionDenied);
    }
    assert_kind(dir.open_file("nothing").await, ErrorKind::NotFound);
    assert_kind(dir.open_file("").await, ErrorKind::NotFound);
    assert_kind(dir.open_file("a\0b").await, ErrorKind::InvalidInput);
    assert!(dir.open_file("loop").await.is_err());
    assert_kind(dir.open_dir("a/file").await, ErrorKind::NotADirectory);
    assert_kind(fs::Dir::open(site.join("a/file")).await, ErrorKind::NotADirectory);
    // A folder beneath is a border of its own.
    let inner = dir.open_dir("short").await.unwrap();
    assert!(inner.open_file("file").await.is_ok());
    assert_kind(inner.open_file("../a/file").await, ErrorKind::PermissionDenied);
    let mut names: Vec<_> = inner
        .read_dir()
        .await
        .unwrap()
        .map(|it| it.unwrap().file_name().to_owned())
        .collect()
        .await;
    names.sort_unstable();
    assert_eq!(names, ["b", "file"]);
    // Without any links, beneath a folder or not.
    let strictly = fs::OpenOptions::new().read(true).no_symlinks(true);
    assert!(strictly.open_beneath(&dir, "a/file").await.is_ok());
    assert!(strictly.open_beneath(&dir, "short/file").await.is_err());
    assert!(strictly.open(site.canonicalize().unwrap().join("a/file")).await.is_ok());
    assert!(strictly.open(site.canonicalize().unwrap().join("short/file")).await.is_err());
    // What is made lies beneath as well.
    let new = fs::OpenOptions::new().write(true).create_new(true).mode(0o640);
    new.open_beneath(&dir, "a/new").await.unwrap().write_all_at(0, "made").await.unwrap();
    assert_eq!(std::fs::read(site.join("a/new")).unwrap(), b"made");
    assert_kind(new.open_beneath(&dir, "../new").await, ErrorKind::PermissionDenied);
    assert!(!folder.join("new").exists());
    // The folder is held, whatever its name is.
    std::fs::rename(&site, folder.join("elsewhere")).unwrap();
    assert!(dir.open_file("a/file").await.is_ok());
}
