//! The entries of a folder, as a stream. The kernel is asked for them a buffer at a time, on a
//! helper thread; a turn takes one buffer apart, some hundred names.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use futures_util::Stream;

use super::calls::{checked, name, open, status};
use super::{FileType, Metadata};
use crate::driver::{Fd, FileOp, Memory, Op, OpenHow, Payload, RawEntry, StatusFlags, entries};
use crate::executor::Core;
use crate::executor::operation::Operation;

/// What one call fills: about a thousand short names, whose taking apart takes some 50 µs.
const BATCH_BYTES: usize = 32 << 10;

const FOLDER: OpenHow = OpenHow { read: true, folder: true, ..OpenHow::NOTHING };

/// Opens a folder and gives its entries, in the order of the file system, without `.` and `..`.
///
/// What is made or removed meanwhile may be among them or not.
///
/// ```
/// # corio::run(async {
/// # let folder = corio::fs::TemporaryFolder::new().await?;
/// # corio::fs::write(folder.path().join("a file"), "").await?;
/// let mut names = Vec::new();
/// let mut entries = corio::fs::read_dir(folder.path()).await?;
/// while let Some(entry) = entries.next_entry().await? {
///     names.push(entry.file_name().to_owned());
/// }
/// assert_eq!(names, ["a file"]);
/// # folder.remove().await?;
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
///
/// # Errors
///
/// The kernel's; `NotADirectory`.
///
/// # Panics
///
/// If no runtime runs on this thread.
///
/// # Cancellation
///
/// **Strict**: nothing changes, and no descriptor stays open.
#[doc(alias = "scandir")]
#[doc(alias = "listdir")]
pub async fn read_dir(path: impl AsRef<Path>) -> io::Result<ReadDir> {
    let core = Core::current();
    let fd = open(&core, None, name(path.as_ref())?, FOLDER).await?;
    Ok(ReadDir::new(core, fd, path.as_ref()))
}

/// A folder inside of another one, never behind a link.
pub(super) async fn open_folder_in(
    core: &Rc<Core>,
    parent: &Rc<Fd>,
    own: &OsStr,
) -> io::Result<Rc<Fd>> {
    let how = OpenHow { no_follow: true, ..FOLDER };
    open(core, Some(parent), name(Path::new(own))?, how).await
}

/// The entries of a folder: a stream, or [`next_entry`](Self::next_entry).
pub struct ReadDir {
    core: Rc<Core>,
    fd: Rc<Fd>,
    path: Rc<Path>,
    ready: VecDeque<RawEntry>,
    /// The call for the next ones: it belongs to this, so a dropped wait loses no entry.
    asked: Option<Operation>,
    memory: Vec<u8>,
    is_over: bool,
}

impl ReadDir {
    pub(super) fn new(core: Rc<Core>, fd: Rc<Fd>, path: &Path) -> ReadDir {
        let (ready, path) = (VecDeque::new(), Rc::from(path));
        ReadDir { core, fd, path, ready, asked: None, memory: Vec::new(), is_over: false }
    }

    /// The next entry; `None` after the last.
    ///
    /// # Errors
    ///
    /// The kernel's, after which there are none any more.
    ///
    /// # Cancellation
    ///
    /// **Strict**: the next call gives the entry.
    pub async fn next_entry(&mut self) -> io::Result<Option<DirEntry>> {
        std::future::poll_fn(|context| self.poll_entry(context)).await
    }

    /// The entries that have come so far, all at once; none at the end.
    pub(super) async fn next_batch(&mut self) -> io::Result<VecDeque<RawEntry>> {
        std::future::poll_fn(|context| self.poll_batch(context)).await?;
        Ok(std::mem::take(&mut self.ready))
    }

    fn poll_entry(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<DirEntry>>> {
        ready!(self.poll_batch(context))?;
        let raw = self.ready.pop_front();
        Poll::Ready(Ok(raw.map(|raw| {
            let RawEntry { name, inode, kind } = raw;
            let (core, folder) = (Rc::clone(&self.core), Rc::clone(&self.fd));
            DirEntry { core, folder, path: Rc::clone(&self.path), name, inode, kind }
        })))
    }

    /// Ready if there are entries, or if there are none any more.
    fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.ready.is_empty() && !self.is_over {
            if self.asked.is_none() {
                self.core.check_turning()?;
                self.ask();
            }
            let Some(asked) = &mut self.asked else { continue };
            let result = ready!(Pin::new(&mut *asked).poll(context));
            let payload = asked.take_payload();
            self.asked = None;
            match checked(result) {
                Ok(length) => {
                    self.is_over = length == 0;
                    self.ready = self.take_apart(payload, length);
                }
                // The folder was removed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.is_over = true,
                Err(error) => {
                    self.is_over = true;
                    return Poll::Ready(Err(error));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn take_apart(&mut self, payload: Payload, length: usize) -> VecDeque<RawEntry> {
        let Payload::Memory(mut memory) = payload else { return VecDeque::new() };
        memory.set_filled(length);
        let found = entries(memory.as_slice()).into();
        if let Memory::Vec(memory) = memory {
            self.memory = memory;
        }
        found
    }

    fn ask(&mut self) {
        let mut memory = std::mem::take(&mut self.memory);
        memory.clear();
        memory.reserve_exact(BATCH_BYTES);
        let op = Op::File(FileOp::Entries { fd: self.fd.raw() });
        let payload = Payload::Memory(Memory::Vec(memory));
        self.asked = Some(Operation::standing(&self.core, op, payload, &self.fd));
    }
}

impl Stream for ReadDir {
    type Item = io::Result<DirEntry>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_entry(context).map(Result::transpose)
    }
}

impl fmt::Debug for ReadDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadDir").field("path", &self.path).finish_non_exhaustive()
    }
}

/// An entry of a folder.
pub struct DirEntry {
    core: Rc<Core>,
    folder: Rc<Fd>,
    path: Rc<Path>,
    name: OsString,
    inode: u64,
    kind: u32,
}

impl DirEntry {
    /// Its name in the folder; any bytes but a slash and a zero.
    pub fn file_name(&self) -> &OsStr {
        &self.name
    }

    /// The path of the folder, as it was given, and the name.
    pub fn path(&self) -> PathBuf {
        self.path.join(&self.name)
    }

    /// Its number in its file system.
    pub fn ino(&self) -> u64 {
        self.inode
    }

    /// What kind of file it is. Most file systems tell that along with the name; otherwise it is
    /// asked for.
    ///
    /// # Errors
    ///
    /// The kernel's.
    ///
    /// # Cancellation
    ///
    /// **Strict**: nothing changes.
    pub async fn file_type(&self) -> io::Result<FileType> {
        match self.kind {
            0 => Ok(self.metadata().await?.file_type()),
            kind => Ok(FileType::from_kind(kind)),
        }
    }

    /// The status of the entry; of a link, that of the link.
    ///
    /// # Errors
    ///
    /// The kernel's.
    ///
    /// # Cancellation
    ///
    /// **Strict**: nothing changes.
    pub async fn metadata(&self) -> io::Result<Metadata> {
        let own = name(Path::new(OsStr::from_bytes(self.name.as_bytes())))?;
        let flags = StatusFlags::NoFollow;
        status(&self.core, Some(&self.folder), own, flags).await.map(Metadata::new)
    }
}

impl fmt::Debug for DirEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DirEntry").field(&self.path()).finish()
    }
}
