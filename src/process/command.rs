//! How a child is started: std's builder, with a loop behind it.

use std::ffi::OsStr;
use std::fmt;
use std::future::Future;
use std::io;
use std::os::unix::process::CommandExt;
use std::panic::Location;
use std::path::Path;
use std::process::{self, ExitStatus, Output, Stdio};

use super::Child;
use crate::executor::Core;
use crate::executor::operation::core_for;

/// A program to be started: as [`std::process::Command`], whose methods it has.
///
/// Signals that this process listens to are not blocked in the child.
///
/// ```
/// use corio::process::Command;
/// # corio::run(async {
/// let output = Command::new("echo").arg("hello").output().await?;
/// assert!(output.status.success());
/// assert_eq!(output.stdout, b"hello\n");
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
#[doc(alias = "create_subprocess_exec")]
#[doc(alias = "subprocess_exec")]
pub struct Command {
    inner: process::Command,
    /// Which of the three standard streams were said.
    said: [bool; 3],
    /// Its children unblock the signals that we listen to.
    unblocks: bool,
    kill_on_drop: bool,
    leads_group: bool,
}

impl Command {
    /// A program by its path, or by its name, which is looked for in `PATH`.
    pub fn new(program: impl AsRef<OsStr>) -> Command {
        Command {
            inner: process::Command::new(program),
            said: [false; 3],
            unblocks: false,
            kill_on_drop: false,
            leads_group: false,
        }
    }

    /// A line for `sh`. Never put what others said into it unquoted: an argument of
    /// [`new`](Self::new) needs no quotes.
    #[doc(alias = "create_subprocess_shell")]
    #[doc(alias = "subprocess_shell")]
    pub fn shell(line: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(line);
        command
    }

    /// Appends an argument.
    pub fn arg(&mut self, argument: impl AsRef<OsStr>) -> &mut Command {
        self.inner.arg(argument);
        self
    }

    /// Appends arguments.
    pub fn args(&mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Command {
        self.inner.args(arguments);
        self
    }

    /// Sets a variable of its environment.
    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Command {
        self.inner.env(name, value);
        self
    }

    /// Takes a variable out of its environment.
    pub fn env_remove(&mut self, name: impl AsRef<OsStr>) -> &mut Command {
        self.inner.env_remove(name);
        self
    }

    /// Lets it begin with no variables.
    pub fn env_clear(&mut self) -> &mut Command {
        self.inner.env_clear();
        self
    }

    /// Where it begins.
    pub fn current_dir(&mut self, folder: impl AsRef<Path>) -> &mut Command {
        self.inner.current_dir(folder);
        self
    }

    /// Its standard input: inherited by default, and nothing for [`output`](Self::output).
    pub fn stdin(&mut self, input: impl Into<Stdio>) -> &mut Command {
        self.inner.stdin(input);
        self.said[0] = true;
        self
    }

    /// Its standard output: inherited by default, and a pipe for [`output`](Self::output).
    pub fn stdout(&mut self, output: impl Into<Stdio>) -> &mut Command {
        self.inner.stdout(output);
        self.said[1] = true;
        self
    }

    /// Its standard error, as [`stdout`](Self::stdout).
    pub fn stderr(&mut self, output: impl Into<Stdio>) -> &mut Command {
        self.inner.stderr(output);
        self.said[2] = true;
        self
    }

    /// The group of processes it joins; 0 makes one of its own, which
    /// [`Child::signal_group`] reaches.
    #[doc(alias = "start_new_session")]
    pub fn process_group(&mut self, group: i32) -> &mut Command {
        self.inner.process_group(group);
        self.leads_group = group == 0;
        self
    }

    /// Whether the child is killed when its [`Child`] is dropped: off by default, it then runs on,
    /// and is waited for all the same.
    pub fn kill_on_drop(&mut self, on: bool) -> &mut Command {
        self.kill_on_drop = on;
        self
    }

    /// The builder of the standard library, for what it has beside.
    pub fn as_std_mut(&mut self) -> &mut process::Command {
        &mut self.inner
    }

    /// Starts it. Making a process takes the thread about a millisecond, as everywhere.
    ///
    /// # Errors
    ///
    /// The kernel's, such as `NotFound` for the program.
    ///
    /// # Panics
    ///
    /// If no runtime runs on this thread.
    #[track_caller]
    pub fn spawn(&mut self) -> io::Result<Child> {
        let (command, unblocks) = (&mut self.inner, &mut self.unblocks);
        Child::start(&Core::current(), command, unblocks, self.kill_on_drop, self.leads_group)
    }

    /// Starts it and waits for its end.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn).
    ///
    /// # Panics
    ///
    /// When it is polled, if no runtime runs on that thread.
    ///
    /// # Cancellation
    ///
    /// **Weak**: the child is started, and runs on unless [`kill_on_drop`](Self::kill_on_drop).
    #[track_caller]
    pub fn status(&mut self) -> impl Future<Output = io::Result<ExitStatus>> {
        let called_at = Location::caller();
        async move {
            core_for(called_at);
            let mut child = self.spawn()?;
            child.wait().await
        }
    }

    /// Starts it, collects what it writes up to the end of its output, and waits for its end. Its
    /// input is empty unless it was said.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Self::spawn), or of its pipes.
    ///
    /// # Panics
    ///
    /// When it is polled, if no runtime runs on that thread.
    ///
    /// # Cancellation
    ///
    /// **Weak**: the child is started, and runs on unless [`kill_on_drop`](Self::kill_on_drop); its
    /// output is lost.
    #[track_caller]
    pub fn output(&mut self) -> impl Future<Output = io::Result<Output>> {
        let called_at = Location::caller();
        async move {
            core_for(called_at);
            if !self.said[0] {
                self.inner.stdin(Stdio::null());
            }
            if !self.said[1] {
                self.inner.stdout(Stdio::piped());
            }
            if !self.said[2] {
                self.inner.stderr(Stdio::piped());
            }
            self.spawn()?.communicate(b"").await
        }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
