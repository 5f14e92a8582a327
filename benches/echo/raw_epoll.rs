//! The hand-written epoll echo server: the older way to the same result, and a good one.
//!
//! Edge triggered, every socket registered once for everything. All connections share one receive
//! buffer, since what is received is sent at once: only when the peer is slow to read does a
//! connection keep bytes of its own, and then nothing more is read from it until they are gone.
//!
//! Reading stops at the first receive that does not fill the buffer, which saves the call that
//! would only answer EAGAIN. That is sound for a stream socket: whatever comes later is a new edge.
//! The one thing that must not be taken for "nothing more" is an end that came with the data, and
//! that is what EPOLLRDHUP tells.
//!
//! The buffer starts at a page. Where a large allocation usually starts, 16 bytes into a page,
//! some processors copy from the kernel at half the speed: 65 us a 64 KiB echo instead of 37.

// System calls by their C names: the standard library knows no epoll.
#![allow(unsafe_code)]

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::time::{Duration, Instant};

use crate::server::{Counts, Options, PAGE_BYTES, check};
use crate::table::Table;

/// The size of the one receive buffer unless the caller says otherwise: more than the largest
/// message, so that a receive of it comes back short and needs no second one.
pub const BUFFER_BYTES_DEFAULT: usize = 256 * 1024;

const EVENTS_MAX: usize = 512;
const TOKEN_LISTENER: u64 = u64::MAX;
const TOKEN_STOP: u64 = u64::MAX - 1;
const END_EVENTS: u32 = (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32;

/// Serves until `stop` becomes readable.
pub fn serve(
    listener: &TcpListener,
    stop: BorrowedFd<'_>,
    options: &Options,
) -> io::Result<Counts> {
    listener.set_nonblocking(true)?;
    // SAFETY: no memory is passed.
    let created = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    // SAFETY: the call above made this descriptor, and nobody else has it.
    let epoll = unsafe { OwnedFd::from_raw_fd(created) };
    let buffer_bytes = options.buffer_bytes.unwrap_or(BUFFER_BYTES_DEFAULT);
    let mut server = Server {
        epoll,
        listener: listener.as_raw_fd(),
        connections: Table::new(),
        memory: vec![0; buffer_bytes + PAGE_BYTES],
        buffer_bytes,
        spin: options.spin,
        stopping: false,
        counts: Counts::default(),
    };
    server.watch(server.listener, TOKEN_LISTENER, libc::EPOLLIN)?;
    server.watch(stop.as_raw_fd(), TOKEN_STOP, libc::EPOLLIN)?;
    server.run()?;
    Ok(server.counts)
}

struct Server {
    epoll: OwnedFd,
    listener: RawFd,
    connections: Table<Connection>,
    /// One page more than the buffer, which starts at the first page boundary in it.
    memory: Vec<u8>,
    buffer_bytes: usize,
    spin: Duration,
    stopping: bool,
    counts: Counts,
}

struct Connection {
    descriptor: OwnedFd,
    /// What a short send left over, from `unsent_start` on.
    unsent: Vec<u8>,
    unsent_start: usize,
}

/// What became of a connection in its turn.
enum Outcome {
    Waits,
    Over,
}

impl Server {
    fn run(&mut self) -> io::Result<()> {
        let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX];
        while !self.stopping {
            let event_count = self.wait(&mut events)?;
            for event in &events[..event_count] {
                match event.u64 {
                    TOKEN_LISTENER => self.accept()?,
                    TOKEN_STOP => self.stopping = true,
                    slot => self.turn(slot as usize, event.events),
                }
            }
        }
        Ok(())
    }

    /// Asks again and again without sleeping if told to, then blocks.
    fn wait(&mut self, events: &mut [libc::epoll_event]) -> io::Result<usize> {
        if !self.spin.is_zero() {
            let start = Instant::now();
            while start.elapsed() < self.spin {
                let event_count = self.poll(events, 0)?;
                if event_count > 0 {
                    return Ok(event_count);
                }
            }
        }
        self.poll(events, -1)
    }

    fn poll(&mut self, events: &mut [libc::epoll_event], timeout_ms: i32) -> io::Result<usize> {
        self.counts.enters += 1;
        let (list, limit) = (events.as_mut_ptr(), events.len() as i32);
        // SAFETY: the kernel writes at most `limit` events to the list, which has that many.
        let count = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), list, limit, timeout_ms) };
        match check(count) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            count => Ok(count? as usize),
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
            let (address, length) = (ptr::null_mut(), ptr::null_mut());
            // SAFETY: the call allows both pointers to be null, and then writes no address.
            let accepted = check(unsafe { libc::accept4(self.listener, address, length, flags) });
            let accepted = match accepted.map_err(|error| (error.kind(), error)) {
                Ok(accepted) => accepted,
                Err((io::ErrorKind::WouldBlock, _)) => return Ok(()),
                Err((io::ErrorKind::ConnectionAborted, _)) => continue,
                Err((_, error)) => return Err(error),
            };
            // SAFETY: the call above made this descriptor, and nobody else has it.
            let descriptor = unsafe { OwnedFd::from_raw_fd(accepted) };
            let connection = Connection { descriptor, unsent: Vec::new(), unsent_start: 0 };
            self.connections.insert(accepted as usize, connection);
            let interest = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
            self.watch(accepted, accepted as u64, interest)?;
        }
    }

    fn watch(&self, descriptor: RawFd, token: u64, interest: i32) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest as u32, u64: token };
        let (epoll, add) = (self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD);
        // SAFETY: the event lives across the call, which copies it.
        check(unsafe { libc::epoll_ctl(epoll, add, descriptor, &raw mut event) })?;
        Ok(())
    }

    fn turn(&mut self, slot: usize, events: u32) {
        let connection = &mut self.connections[slot];
        let has_end = events & END_EVENTS != 0;
        let start = self.memory.as_ptr().align_offset(PAGE_BYTES);
        let buffer = &mut self.memory[start..][..self.buffer_bytes];
        let outcome = connection.echo(buffer, has_end, &mut self.counts.requests);
        if matches!(outcome, Ok(Outcome::Over) | Err(_)) {
            // Closing the descriptor takes it out of the epoll set.
            self.connections.remove(slot);
        }
    }
}

impl Connection {
    /// Receives and sends until the socket has nothing more or takes nothing more.
    fn echo(
        &mut self,
        buffer: &mut [u8],
        has_end: bool,
        send_count: &mut u64,
    ) -> io::Result<Outcome> {
        if !self.send_unsent(send_count)? {
            return Ok(Outcome::Waits);
        }
        loop {
            let Some(received) = self.receive(buffer)? else {
                return Ok(Outcome::Waits);
            };
            if received == 0 {
                return Ok(Outcome::Over);
            }
            *send_count += 1;
            let sent = self.send(&buffer[..received])?;
            if sent < received {
                // A short send asks the kernel to say when there is room: an edge will follow.
                self.unsent.extend_from_slice(&buffer[sent..received]);
                return Ok(Outcome::Waits);
            }
            if received < buffer.len() && !has_end {
                return Ok(Outcome::Waits);
            }
        }
    }

    /// Whether everything is sent.
    fn send_unsent(&mut self, send_count: &mut u64) -> io::Result<bool> {
        while self.unsent_start < self.unsent.len() {
            *send_count += 1;
            let sent = self.send(&self.unsent[self.unsent_start..])?;
            if sent == 0 {
                return Ok(false);
            }
            self.unsent_start += sent;
        }
        self.unsent.clear();
        self.unsent_start = 0;
        Ok(true)
    }

    /// `None` when nothing is there, `Some(0)` at the end.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let descriptor = self.descriptor.as_raw_fd();
        let (memory, bytes) = (buffer.as_mut_ptr().cast(), buffer.len());
        // SAFETY: the kernel writes at most `bytes` bytes to the buffer, which has that many.
        let received = unsafe { libc::recv(descriptor, memory, bytes, 0) };
        match usize::try_from(received) {
            Ok(received) => Ok(Some(received)),
            Err(_) => none_if_blocked(None),
        }
    }

    /// How many bytes the socket took; 0 when it has no room.
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        let descriptor = self.descriptor.as_raw_fd();
        let (memory, length) = (bytes.as_ptr().cast(), bytes.len());
        // SAFETY: the kernel reads at most `length` bytes of the slice, which has that many.
        let sent = unsafe { libc::send(descriptor, memory, length, libc::MSG_NOSIGNAL) };
        match usize::try_from(sent) {
            Ok(sent) => Ok(sent),
            Err(_) => none_if_blocked(0),
        }
    }
}

/// The last error, or `nothing` if it only says that the call would have had to wait.
fn none_if_blocked<T>(nothing: T) -> io::Result<T> {
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::WouldBlock { Ok(nothing) } else { Err(error) }
}
