//! Listening sockets that come from another process, or go there: a service manager before, a
//! successor after.
//!
//! A socket that two processes have is one socket with one queue. As long as one of them has it,
//! clients are neither refused nor reset: who connects waits until either accepts. So a restart
//! passes the sockets on first, and the predecessor stops accepting when the successor has them:
//!
//! ```text
//!   predecessor   serving ──▶ sends the sockets ──▶ stops accepting, finishes what it has ──▶ ends
//!   successor                  receives them ──▶ serving
//! ```

use std::env;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::driver::handing::{self, PASSED_MAX};

/// What stands before sockets on their way: that it is them, and how many there are in all.
const GREETING: [u8; 4] = *b"sock";

/// Passed sockets are taken once: each belongs to one owner.
static WERE_TAKEN: AtomicBool = AtomicBool::new(false);

/// A TCP socket that listens, and belongs to no core: it is `Send`, and can be passed to another
/// process.
///
/// [`ListenOptions::listen_on`](super::ListenOptions::listen_on) makes a listener of it;
/// [`ServeOptions::serve_sockets_on`](super::ServeOptions::serve_sockets_on) serves several on many
/// cores. `examples/restart.rs` shows a restart that refuses nobody.
pub struct ListeningSocket {
    fd: OwnedFd,
    name: Option<String>,
}

impl ListeningSocket {
    pub(super) fn new(fd: OwnedFd) -> ListeningSocket {
        ListeningSocket { fd, name: None }
    }

    pub(super) fn duplicate(fd: &impl AsFd) -> io::Result<ListeningSocket> {
        fd.as_fd().try_clone_to_owned().map(ListeningSocket::new)
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    pub(super) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// The sockets that systemd, or another service manager, passed to this process: `LISTEN_FDS`,
    /// with their names (`LISTEN_FDNAMES`), if `LISTEN_PID` says that they are meant for it. Empty
    /// if none were. They are closed on exec from then on.
    ///
    /// Call it early in `main`, before anything takes descriptors for itself. A second call returns
    /// nothing: each socket has one owner.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the variables make no sense, or one of the descriptors is no TCP socket
    /// that listens.
    #[doc(alias = "sd_listen_fds")]
    pub fn from_service_manager() -> io::Result<Vec<ListeningSocket>> {
        let variable = |name| env::var(name).ok();
        let passed = Passed::read(
            variable("LISTEN_PID"),
            variable("LISTEN_FDS"),
            variable("LISTEN_FDNAMES"),
            process::id(),
        )?;
        if passed.count == 0 || WERE_TAKEN.swap(true, Ordering::SeqCst) {
            return Ok(Vec::new());
        }
        (0..passed.count)
            .map(|index| {
                let fd = handing::take_passed(index as i32).map_err(|error| {
                    invalid(format!("passed socket {index} of {}: {error}", passed.count))
                })?;
                let name = passed.names.get(index).cloned();
                Ok(ListeningSocket { fd, name })
            })
            .collect()
    }

    /// Sends sockets to another process, which has to [`receive`](Self::receive) them. They stay
    /// open here as well. It may block for as long as the other end reads nothing; the bytes are
    /// few.
    ///
    /// # Errors
    ///
    /// The kernel's, such as `BrokenPipe`; `InvalidInput` if there are none.
    pub fn send(sockets: &[ListeningSocket], to: &UnixStream) -> io::Result<()> {
        if sockets.is_empty() {
            return Err(invalid("there are no sockets to send".to_owned()));
        }
        for (number, part) in sockets.chunks(PASSED_MAX).enumerate() {
            let left = (sockets.len() - number * PASSED_MAX) as u32;
            let mut bytes = [0; 8];
            bytes[..4].copy_from_slice(&GREETING);
            bytes[4..].copy_from_slice(&left.to_be_bytes());
            let fds: Vec<_> = part.iter().map(|socket| socket.fd.as_raw_fd()).collect();
            handing::send_with(to.as_fd(), &bytes, &fds)?;
        }
        Ok(())
    }

    /// Receives the sockets that another process [`send`](Self::send)s. It blocks until they are
    /// there: call it before the runtime starts, or in a blocking job.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` if the other end closes before; `InvalidData` if something else comes;
    /// `InvalidInput` if one of the descriptors is no TCP socket that listens.
    pub fn receive(from: &UnixStream) -> io::Result<Vec<ListeningSocket>> {
        let mut sockets = Vec::new();
        loop {
            let mut bytes = [0; 8];
            let fds = handing::receive_with(from.as_fd(), &mut bytes)?;
            let left = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
            if bytes[..4] != GREETING || fds.is_empty() || fds.len() > left {
                let text = "something else than listening sockets was sent";
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            let is_last = fds.len() == left;
            for fd in fds {
                sockets.push(ListeningSocket::try_from(fd)?);
            }
            if is_last {
                return Ok(sockets);
            }
        }
    }

    /// The same socket once more: one queue, which two may accept from.
    ///
    /// # Errors
    ///
    /// The kernel's, such as a lack of descriptors.
    pub fn try_clone(&self) -> io::Result<ListeningSocket> {
        Ok(ListeningSocket { fd: self.fd.try_clone()?, name: self.name.clone() })
    }

    /// The address it listens on.
    ///
    /// # Errors
    ///
    /// The kernel's.
    #[doc(alias = "sockname")]
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        handing::local_address(&self.fd)
    }

    /// Its name, if a service manager gave it one (`FileDescriptorName=`).
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

/// Any descriptor of a TCP socket that listens.
impl TryFrom<OwnedFd> for ListeningSocket {
    type Error = io::Error;

    fn try_from(fd: OwnedFd) -> io::Result<ListeningSocket> {
        handing::check_listening(fd.as_fd())?;
        Ok(ListeningSocket::new(fd))
    }
}

impl From<StdTcpListener> for ListeningSocket {
    fn from(listener: StdTcpListener) -> ListeningSocket {
        ListeningSocket::new(listener.into())
    }
}

impl fmt::Debug for ListeningSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListeningSocket")
            .field("local", &self.local_addr().ok())
            .field("name", &self.name)
            .finish()
    }
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// What the variables of a service manager say.
#[derive(PartialEq, Eq, Debug)]
struct Passed {
    count: usize,
    names: Vec<String>,
}

impl Passed {
    fn read(
        pid: Option<String>,
        fds: Option<String>,
        names: Option<String>,
        own_pid: u32,
    ) -> io::Result<Passed> {
        let none = Passed { count: 0, names: Vec::new() };
        let (Some(pid), Some(fds)) = (pid, fds) else { return Ok(none) };
        let pid: u32 = number(&pid, "LISTEN_PID")?;
        if pid != own_pid {
            // They were meant for a parent that did not take the variables away.
            return Ok(none);
        }
        let count = number(&fds, "LISTEN_FDS")? as usize;
        let names: Vec<String> = match names {
            Some(names) => names.split(':').map(str::to_owned).collect(),
            None => Vec::new(),
        };
        if !names.is_empty() && names.len() != count {
            return Err(invalid(format!(
                "LISTEN_FDNAMES has {} names for {count} descriptors",
                names.len()
            )));
        }
        Ok(Passed { count, names })
    }
}

fn number(text: &str, variable: &str) -> io::Result<u32> {
    let number = text.parse().ok().filter(|number| *number <= i32::MAX as u32 / 2);
    number.ok_or_else(|| invalid(format!("{variable} is `{text}`, which is no such number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pid: &str, fds: &str, names: Option<&str>) -> io::Result<Passed> {
        Passed::read(Some(pid.into()), Some(fds.into()), names.map(Into::into), 7)
    }

    #[test]
    fn variables_are_for_one_process_and_have_to_make_sense() {
        let none = Passed { count: 0, names: vec![] };
        assert_eq!(Passed::read(None, None, None, 7).unwrap(), none);
        assert_eq!(read("8", "2", None).unwrap(), none, "for another process");
        assert_eq!(read("7", "2", None).unwrap(), Passed { count: 2, names: vec![] });
        assert_eq!(read("7", "2", Some("web:admin")).unwrap().names, ["web", "admin"]);
        for (pid, fds, names) in [
            ("7", "-1", None),
            ("7", "4294967295", None),
            ("", "1", None),
            ("7", "1", Some("web:admin")),
        ] {
            let error = read(pid, fds, names).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{pid} {fds} {names:?}");
        }
    }
}
