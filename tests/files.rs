//! Files, on the ring and on helper threads: what is written is there, what is read is right, and
//! what goes wrong is told. One file for each hazard.

#[path = "files/bad_luck.rs"]
mod bad_luck;
#[path = "files/cancelling.rs"]
mod cancelling;
#[path = "support/child.rs"]
mod child;
#[path = "files/cursors.rs"]
mod cursors;
#[path = "files/direct.rs"]
mod direct;
#[path = "files/names.rs"]
mod names;
#[path = "files/positions.rs"]
mod positions;
#[path = "files/programs.rs"]
mod programs;
mod support;
#[path = "files/switches.rs"]
mod switches;
#[path = "files/trees.rs"]
mod trees;

use std::path::PathBuf;

use corio::fs::TemporaryFolder;

/// A folder that is gone at the end of a test, also if that panics: tests look into it with std.
struct Folder(Option<TemporaryFolder>);

impl Folder {
    async fn new() -> Folder {
        Folder(Some(TemporaryFolder::new_in(env!("CARGO_TARGET_TMPDIR")).await.unwrap()))
    }

    fn path(&self) -> &std::path::Path {
        self.0.as_ref().expect("it is there until it is dropped").path()
    }

    fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let Some(folder) = self.0.take() else { return };
        let _ = std::fs::remove_dir_all(folder.keep());
    }
}

/// Descriptors of this process that lead into a folder.
fn open_in(folder: &std::path::Path) -> usize {
    let folder = folder.canonicalize().unwrap();
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    descriptors
        .filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|name| name.starts_with(&folder)))
        .count()
}
