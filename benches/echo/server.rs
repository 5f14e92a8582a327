//! What the two raw servers have in common: their options, a listener, the end at a signal, and how
//! they are started as a program.
//!
//! The comparison starts them as child processes, and so does that with other runtimes, whose
//! workspace (`benches/peers`) takes these files as they are.

// Signals, limits and socket options by their C names; each use says why it is sound.
#![allow(unsafe_code)]

use std::fmt::Display;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::str::FromStr;
use std::time::Duration;

use crate::{raw_epoll, raw_uring};

/// Enough for every client of the largest cell to connect at the same moment.
const BACKLOG: i32 = 4096;

pub(crate) const PAGE_BYTES: usize = 4096;

/// What a raw server can be told; `None` is its own default.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) buffer_bytes: Option<usize>,
    pub(crate) buffer_count: Option<u16>,
    /// How long to poll in user space before blocking.
    pub(crate) spin: Duration,
}

/// What a raw server did.
#[derive(Default)]
pub(crate) struct Counts {
    /// Calls of `io_uring_enter` or `epoll_wait`.
    pub(crate) enters: u64,
    /// Sends.
    pub(crate) requests: u64,
}

#[derive(Clone, Copy)]
pub(crate) enum RawServer {
    Uring,
    Epoll,
}

impl RawServer {
    pub(crate) fn named(name: &str) -> Option<RawServer> {
        match name {
            "raw-uring" => Some(RawServer::Uring),
            "raw-epoll" => Some(RawServer::Epoll),
            _ => None,
        }
    }

    pub(crate) fn serve(
        self,
        listener: &TcpListener,
        stop: BorrowedFd<'_>,
        options: &Options,
    ) -> io::Result<Counts> {
        match self {
            RawServer::Uring => raw_uring::serve(listener, stop, options),
            RawServer::Epoll => raw_epoll::serve(listener, stop, options),
        }
    }
}

/// Serves as the command line says, until a signal.
pub(crate) fn serve_until_signalled(name: &str, arguments: &[&str]) -> Result<(), String> {
    let server = RawServer::named(name)
        .ok_or_else(|| format!("`{name}` is not a server: `raw-uring` or `raw-epoll`"))?;
    let mut options = Options::default();
    let mut port = 0;
    for pair in arguments.chunks(2) {
        match *pair {
            ["--port", value] => port = parse(value)?,
            ["--core", value] => pin(parse(value)?)?,
            ["--spin", value] => options.spin = Duration::from_micros(parse(value)?),
            ["--buffer", value] => options.buffer_bytes = Some(parse(value)?),
            ["--buffers", value] => options.buffer_count = Some(parse(value)?),
            _ => return Err(format!("`{}` is not understood", pair.join(" "))),
        }
    }
    let counts = (|| {
        raise_descriptor_limit()?;
        let stop = readable_when_signalled()?;
        let listener = listen(port)?;
        eprintln!("listening on {}", listener.local_addr()?);
        server.serve(&listener, stop.as_fd(), &options)
    })();
    let Counts { enters, requests } = counts.map_err(|error| format!("{name}: {error}"))?;
    println!("{{\"enters\":{enters},\"requests\":{requests}}}");
    Ok(())
}

fn parse<T: FromStr<Err: Display>>(value: &str) -> Result<T, String> {
    value.parse().map_err(|error| format!("`{value}`: {error}"))
}

fn pin(core: usize) -> Result<(), String> {
    let pinned = core_affinity::set_for_current(core_affinity::CoreId { id: core });
    if pinned { Ok(()) } else { Err(format!("core {core} is not available to this process")) }
}

/// A listener whose clients come with Nagle's delay off: Linux hands the option down.
pub(crate) fn listen(port: u16) -> io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let descriptor = listener.as_raw_fd();
    let on: libc::c_int = 1;
    let length = size_of_val(&on) as libc::socklen_t;
    // SAFETY: the option's value is an int that lives across the call, and `length` is its size.
    check(unsafe {
        libc::setsockopt(
            descriptor,
            libc::IPPROTO_TCP,
            libc::TCP_NODELAY,
            (&raw const on).cast(),
            length,
        )
    })?;
    // A second `listen` only changes the backlog, which the standard library sets too low.
    // SAFETY: no memory is passed.
    check(unsafe { libc::listen(descriptor, BACKLOG) })?;
    Ok(listener)
}

/// A descriptor that becomes readable at SIGTERM or SIGINT, which no longer end the process.
fn readable_when_signalled() -> io::Result<OwnedFd> {
    // SAFETY: a signal set is plain data, for which all zeros is a value.
    let mut signals: libc::sigset_t = unsafe { std::mem::zeroed() };
    for signal in [libc::SIGTERM, libc::SIGINT] {
        // SAFETY: the set is ours and initialised.
        check(unsafe { libc::sigaddset(&raw mut signals, signal) })?;
    }
    // SAFETY: the set is initialised, and the old mask may be left out.
    check(unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const signals, ptr::null_mut()) })?;
    // SAFETY: the set is initialised; -1 asks for a new descriptor.
    let made = check(unsafe { libc::signalfd(-1, &raw const signals, libc::SFD_CLOEXEC) })?;
    // SAFETY: the call above made this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}

/// A thousand clients need more descriptors than many systems allow at first.
pub(crate) fn raise_descriptor_limit() -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is ours, and the call fills it in.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the limit is initialised and lives across the call.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    Ok(())
}

/// A C result as a Rust one.
pub(crate) fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
