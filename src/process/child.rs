//! A child that was started.

use std::fmt;
use std::io;
use std::process::{self, ExitStatus, Output};
use std::rc::Rc;

use super::reaper::Reaper;
use crate::executor::Core;
use crate::io::{PipeReader, PipeWriter};
use crate::signal::Signal;

/// A running child, or one that has ended.
///
/// Dropping it lets it run on, unless [`kill_on_drop`](super::Command::kill_on_drop) was asked for.
/// Either way it is waited for when it ends, so it stays no zombie.
///
/// ```
/// use corio::process::{Command, Stdio};
/// # corio::run(async {
/// let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
/// let output = child.communicate(b"through a program").await?;
/// assert_eq!(output.stdout, b"through a program");
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
#[doc(alias = "Process")]
pub struct Child {
    /// Writes to its input, if that is a pipe.
    pub stdin: Option<PipeWriter>,
    /// Reads its output, if that is a pipe.
    pub stdout: Option<PipeReader>,
    /// Reads its errors, if they go to a pipe.
    pub stderr: Option<PipeReader>,
    id: u32,
    reaper: Rc<Reaper>,
    kill_on_drop: bool,
    leads_group: bool,
    collected: Collected,
}

/// What `communicate` has done so far.
#[derive(Default)]
struct Collected {
    has_written: bool,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Child {
    pub(super) fn start(
        core: &Rc<Core>,
        command: &mut process::Command,
        unblocks: &mut bool,
        kill_on_drop: bool,
        leads_group: bool,
    ) -> io::Result<Child> {
        core.check_turning()?;
        let (mut child, pidfd) = core.driver.borrow_mut().start_process(command, unblocks)?;
        let reaper = Reaper::start(core, core.fd(pidfd));
        let mut started = Child {
            stdin: None,
            stdout: None,
            stderr: None,
            id: child.id(),
            reaper,
            kill_on_drop,
            leads_group,
            collected: Collected::default(),
        };
        // Should one of them fail, dropping `started` does what was asked for.
        started.stdin = child.stdin.take().map(PipeWriter::from_fd).transpose()?;
        started.stdout = child.stdout.take().map(PipeReader::from_fd).transpose()?;
        started.stderr = child.stderr.take().map(PipeReader::from_fd).transpose()?;
        Ok(started)
    }

    /// The number of its process. It may be another's once the child has ended.
    #[doc(alias = "pid")]
    #[doc(alias = "get_pid")]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    ///
    /// The kernel's: `ECHILD` where SIGCHLD is ignored, and the kernel forgets children.
    #[doc(alias = "returncode")]
    #[doc(alias = "get_returncode")]
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.reaper.look()
    }

    /// Closes its input, if that is a pipe that is still here, and waits for its end: not for the
    /// end of its output, which others may hold open.
    ///
    /// # Errors
    ///
    /// As [`try_wait`](Self::try_wait).
    ///
    /// # Cancellation
    ///
    /// **Strict**: its end can be waited for again, and stays known.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        self.reaper.ended().await
    }

    /// Writes `input` to its input and ends that, reads its output and its errors to their ends,
    /// and waits for its end. What is no pipe stays empty. That it does not read all of its input
    /// is no error.
    ///
    /// The output ends when the last process that has it is gone: with a grandchild in the
    /// background that may be long after the child.
    ///
    /// # Errors
    ///
    /// The kernel's, of the pipes or the wait.
    ///
    /// # Cancellation
    ///
    /// **Strict**: call it again; what was written and read stays so, and the new `input` counts
    /// only if the old one was not taken.
    pub async fn communicate(&mut self, input: impl AsRef<[u8]>) -> io::Result<Output> {
        let (stdin, collected) = (&mut self.stdin, &mut self.collected);
        let Collected { has_written, stdout: out, stderr: errors } = collected;
        let write = give(stdin, input.as_ref(), has_written);
        let read = collect(&mut self.stdout, out);
        let read_errors = collect(&mut self.stderr, errors);
        futures_util::try_join!(write, read, read_errors)?;
        let status = self.reaper.ended().await?;
        let Collected { stdout, stderr, .. } = std::mem::take(&mut self.collected);
        Ok(Output { status, stdout, stderr })
    }

    /// Sends a signal. To a child that has ended it does nothing.
    ///
    /// # Errors
    ///
    /// The kernel's, such as a lack of rights over a child that has become somebody else.
    pub fn send_signal(&self, signal: Signal) -> io::Result<()> {
        self.reaper.signal(signal)
    }

    /// Asks it to end: SIGTERM.
    ///
    /// # Errors
    ///
    /// As [`send_signal`](Self::send_signal).
    pub fn terminate(&self) -> io::Result<()> {
        self.send_signal(Signal::Terminate)
    }

    /// Ends it: SIGKILL. It has ended once [`wait`](Self::wait) says so.
    ///
    /// # Errors
    ///
    /// As [`send_signal`](Self::send_signal).
    pub fn kill(&self) -> io::Result<()> {
        self.send_signal(Signal::Kill)
    }

    /// Sends a signal to all processes of the group that it leads, also after it has ended itself.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if it was not started with `process_group(0)`; the kernel's, `ESRCH` if
    /// nobody is left in the group.
    #[doc(alias = "killpg")]
    pub fn signal_group(&self, signal: Signal) -> io::Result<()> {
        if !self.leads_group {
            let text = "the child leads no group of its own: start it with `process_group(0)`";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        self.reaper.signal_group(self.id, signal)
    }
}

async fn give(
    stdin: &mut Option<PipeWriter>,
    input: &[u8],
    has_written: &mut bool,
) -> io::Result<()> {
    let Some(writer) = stdin else { return Ok(()) };
    let written = async {
        if !*has_written {
            writer.write(input).await?;
            *has_written = true;
        }
        writer.shutdown().await
    };
    match written.await {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
        _ => {}
    }
    *stdin = None;
    Ok(())
}

async fn collect(pipe: &mut Option<PipeReader>, collected: &mut Vec<u8>) -> io::Result<()> {
    let Some(reader) = pipe else { return Ok(()) };
    reader.read_to_end(collected).await?;
    *pipe = None;
    Ok(())
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.kill_on_drop {
            // It may have become somebody else meanwhile; then it runs on.
            let _ = self.kill();
        }
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child").field("id", &self.id).finish_non_exhaustive()
    }
}
