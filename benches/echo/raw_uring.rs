//! The hand-written io_uring echo server: what one core can do without futures.
//!
//! It is the yardstick for corio, so it holds nothing that costs: no task, no waker, no timer, no
//! cancellation. It must still lose no byte, else it would measure something easier than an echo.
//!
//! One turn:
//!
//! 1. Drain the completion queue. A receive appends its buffer to the connection's output, a
//!    finished send gives its buffers back.
//! 2. For each connection that got something and has no send in flight: *one* send of all its
//!    output, straight from the provided buffers. The number of sends is what an echo costs, and
//!    two sends in flight on one socket could interleave.
//! 3. Arm receives that ended again, first come, first served, while buffers are free.
//! 4. Enter the kernel once: it takes the sends, runs deferred work and waits for a completion.
//!
//! The ring: `SINGLE_ISSUER | DEFER_TASKRUN | TASKRUN_FLAG | NO_SQARRAY | SUBMIT_ALL | CQSIZE`, its
//! descriptor registered, with one `Submitter` kept, since the crate remembers the registration in
//! there.
//!
//! Named invariants, cited by the SAFETY notes:
//!
//! - `[pool-is-kept]`: the buffers and their ring are never freed. The kernel takes a ring apart
//!   in the background, so no earlier moment is certainly safe, and the process ends soon after.
//!   A static keeps them, so that a leak checker sees that it is meant.
//! - `[lent-until-completion]`: a buffer belongs to the kernel while it is published or named by
//!   a send in flight. Nobody writes it in user space at any time.
//! - `[gather-is-boxed]`: a connection's header and vectors stay where they are until the
//!   connection is released, which waits for its send.
//! - `[accepted-once]`: each result of the accept is a fresh descriptor that nobody else owns.

// The server talks to the kernel about raw memory: pushing entries, entering, publishing buffers.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use io_uring::types::{BufRingEntry, Fd};
use io_uring::{
    CompletionQueue, EnterFlags, IoUring, SubmissionQueue, Submitter, cqueue, opcode, squeue,
};

use crate::server::{Counts, Options, PAGE_BYTES};
use crate::table::Table;

/// The size of a buffer unless the caller says otherwise.
pub const BUFFER_BYTES_DEFAULT: usize = 16 * 1024;
/// How many buffers are published unless the caller says otherwise.
pub const BUFFER_COUNT_DEFAULT: u16 = 256;

const SUBMISSION_ENTRIES: u32 = 256;
const COMPLETION_ENTRIES: u32 = 4096;
const BUFFER_GROUP: u16 = 0;
/// More pieces than this go into the connection's next send.
const VECTORS_MAX: usize = 64;

/// What a completion belongs to: the two low bits of its user data, the connection's
/// place in the table above them.
const KIND_BITS: u32 = 2;
const KIND_ACCEPT: u64 = 0;
const KIND_RECEIVE: u64 = 1;
const KIND_SEND: u64 = 2;
const KIND_STOP: u64 = 3;

/// Serves until `stop` becomes readable.
pub fn serve(
    listener: &TcpListener,
    stop: BorrowedFd<'_>,
    options: &Options,
) -> io::Result<Counts> {
    let mut ring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_no_sqarray()
        .setup_submit_all()
        .setup_cqsize(COMPLETION_ENTRIES)
        .build(SUBMISSION_ENTRIES)?;
    let mut wait_flags = EnterFlags::GETEVENTS;
    if ring.params().is_feature_no_iowait() {
        wait_flags |= EnterFlags::NO_IOWAIT;
    }
    let (mut submitter, submissions, completions) = ring.split();
    submitter.register_ring_fd()?;
    let pool = Pool::register(&submitter, options)?;
    let mut server = Server {
        submitter,
        submissions,
        completions,
        wait_flags,
        spin: options.spin,
        pool,
        listener: listener.as_raw_fd(),
        accepting: false,
        connections: Table::new(),
        ready: Vec::new(),
        parked: VecDeque::new(),
        stopping: false,
        counts: Counts::default(),
    };
    let readable = opcode::PollAdd::new(Fd(stop.as_raw_fd()), libc::POLLIN as u32).build();
    server.push(readable.user_data(KIND_STOP))?;
    server.run()?;
    Ok(server.counts)
}

struct Server<'ring> {
    submitter: Submitter<'ring>,
    submissions: SubmissionQueue<'ring>,
    completions: CompletionQueue<'ring>,
    wait_flags: EnterFlags,
    spin: Duration,
    pool: Pool,
    listener: RawFd,
    accepting: bool,
    connections: Table<Connection>,
    /// Connections with output and no send in flight, in the order they got it.
    ready: Vec<usize>,
    /// Connections whose receive ended although more is wanted, in the order it ended.
    parked: VecDeque<usize>,
    stopping: bool,
    counts: Counts,
}

/// One client. Released when nothing of it is in the kernel or in a queue any more.
struct Connection {
    stream: TcpStream,
    /// Received and not yet sent, oldest first; the first `in_flight` of them are being sent.
    output: VecDeque<Piece>,
    in_flight: usize,
    in_flight_bytes: usize,
    receiving: bool,
    parked: bool,
    queued: bool,
    /// The peer sent its end: what is left in `output` still goes out.
    ended: bool,
    /// The socket is broken: what is left in `output` does not matter.
    failed: bool,
    gather: Option<Box<Gather>>,
}

#[derive(Clone, Copy)]
struct Piece {
    buffer: u16,
    bytes: u32,
}

/// The memory that a send of several pieces points to.
struct Gather {
    header: libc::msghdr,
    vectors: [libc::iovec; VECTORS_MAX],
}

impl Server<'_> {
    fn run(&mut self) -> io::Result<()> {
        loop {
            self.drain()?;
            if self.stopping {
                return Ok(());
            }
            self.send_ready()?;
            self.receive_parked()?;
            self.accept_again()?;
            self.pool.publish();
            self.wait()?;
        }
    }

    fn drain(&mut self) -> io::Result<()> {
        self.completions.sync();
        while let Some(entry) = self.completions.next() {
            let slot = (entry.user_data() >> KIND_BITS) as usize;
            match entry.user_data() & ((1 << KIND_BITS) - 1) {
                KIND_RECEIVE => self.on_received(slot, &entry),
                KIND_SEND => self.on_sent(slot, entry.result()),
                KIND_ACCEPT => self.on_accepted(&entry)?,
                _ => self.stopping = true,
            }
        }
        Ok(())
    }

    fn on_accepted(&mut self, entry: &cqueue::Entry) -> io::Result<()> {
        self.accepting = cqueue::more(entry.flags());
        if entry.result() == -libc::ECONNABORTED {
            return Ok(());
        }
        if entry.result() < 0 {
            return Err(io::Error::from_raw_os_error(-entry.result()));
        }
        // SAFETY: the result is a descriptor that is ours alone [accepted-once].
        let stream = unsafe { TcpStream::from_raw_fd(entry.result()) };
        let slot = entry.result() as usize;
        self.connections.insert(slot, Connection::new(stream));
        self.receive(slot)
    }

    fn on_received(&mut self, slot: usize, entry: &cqueue::Entry) {
        let connection = &mut self.connections[slot];
        connection.receiving = cqueue::more(entry.flags());
        let result = entry.result();
        if let Some(buffer) = cqueue::buffer_select(entry.flags()) {
            self.pool.free_count -= 1;
            if result > 0 && !connection.failed {
                connection.output.push_back(Piece { buffer, bytes: result as u32 });
                if connection.in_flight == 0 && !connection.queued {
                    connection.queued = true;
                    self.ready.push(slot);
                }
            } else {
                self.pool.give_back(buffer);
            }
        }
        let goes_on = result > 0 || result == -libc::ENOBUFS;
        if !goes_on {
            connection.ended = true;
            connection.failed |= result < 0;
        } else if !connection.receiving {
            connection.parked = true;
            self.parked.push_back(slot);
        }
        if !goes_on {
            self.release_if_done(slot);
        }
    }

    fn on_sent(&mut self, slot: usize, result: i32) {
        let connection = &mut self.connections[slot];
        for piece in connection.output.drain(..connection.in_flight) {
            self.pool.give_back(piece.buffer);
        }
        connection.in_flight = 0;
        // With MSG_WAITALL a short send means that the socket broke on the way.
        if result != connection.in_flight_bytes as i32 {
            connection.failed = true;
            // A receive that stands ends by this; a socket that is gone already may refuse it.
            let _ = connection.stream.shutdown(Shutdown::Both);
        }
        if connection.failed {
            for piece in connection.output.drain(..) {
                self.pool.give_back(piece.buffer);
            }
        }
        if !connection.output.is_empty() {
            connection.queued = true;
            self.ready.push(slot);
        } else if connection.ended || connection.failed {
            self.release_if_done(slot);
        }
    }

    fn release_if_done(&mut self, slot: usize) {
        let connection = &mut self.connections[slot];
        if connection.failed && connection.in_flight == 0 {
            for piece in connection.output.drain(..) {
                self.pool.give_back(piece.buffer);
            }
        }
        let busy = connection.receiving
            || connection.parked
            || connection.queued
            || connection.in_flight != 0
            || !connection.output.is_empty();
        if !busy && (connection.ended || connection.failed) {
            self.connections.remove(slot);
        }
    }

    /// Sends all the output of each ready connection, one send for each of them.
    fn send_ready(&mut self) -> io::Result<()> {
        for index in 0..self.ready.len() {
            let slot = self.ready[index];
            self.connections[slot].queued = false;
            if self.connections[slot].failed {
                self.release_if_done(slot);
            } else {
                let entry = self.connections[slot].prepare_send(&self.pool);
                self.counts.requests += 1;
                self.push(entry.user_data(user_data(KIND_SEND, slot)))?;
            }
        }
        self.ready.clear();
        Ok(())
    }

    /// First come, first served: a receive armed on an empty pool would end at once.
    fn receive_parked(&mut self) -> io::Result<()> {
        let mut free_count = self.pool.free_count;
        while free_count > 0 {
            let Some(slot) = self.parked.pop_front() else {
                break;
            };
            let connection = &mut self.connections[slot];
            connection.parked = false;
            if connection.failed {
                self.release_if_done(slot);
            } else {
                free_count -= 1;
                self.receive(slot)?;
            }
        }
        Ok(())
    }

    fn receive(&mut self, slot: usize) -> io::Result<()> {
        let connection = &mut self.connections[slot];
        connection.receiving = true;
        let descriptor = Fd(connection.stream.as_raw_fd());
        let entry = opcode::RecvMulti::new(descriptor, BUFFER_GROUP).build();
        self.push(entry.user_data(user_data(KIND_RECEIVE, slot)))
    }

    fn accept_again(&mut self) -> io::Result<()> {
        if self.accepting {
            return Ok(());
        }
        self.accepting = true;
        let entry = opcode::AcceptMulti::new(Fd(self.listener)).build();
        self.push(entry.user_data(KIND_ACCEPT))
    }

    fn push(&mut self, entry: squeue::Entry) -> io::Result<()> {
        while self.submissions.is_full() {
            // A receive may start in here, so the buffers that came back must be visible.
            self.pool.publish();
            self.enter(0)?;
        }
        // SAFETY: what the entry points to lives until its completion: buffers by
        // [pool-is-kept] and [lent-until-completion], header and vectors by [gather-is-boxed].
        let pushed = unsafe { self.submissions.push(&entry) };
        pushed.map_err(io::Error::other)
    }

    /// Returns when there may be completions: polls in user space first if asked to, then blocks.
    fn wait(&mut self) -> io::Result<()> {
        if self.spin.is_zero() {
            return self.enter(1);
        }
        if !self.submissions.is_empty() {
            self.enter(0)?;
        }
        let start = Instant::now();
        loop {
            self.completions.sync();
            if !self.completions.is_empty() {
                return Ok(());
            }
            if self.submissions.taskrun() || self.submissions.cq_overflow() {
                self.enter(0)?;
            } else if start.elapsed() < self.spin {
                std::hint::spin_loop();
            } else {
                return self.enter(1);
            }
        }
    }

    /// Every enter asks for events: only such a one runs the deferred work.
    fn enter(&mut self, completion_count: u32) -> io::Result<()> {
        self.submissions.sync();
        // Entries that were taken but not given back would end the wait at once.
        self.completions.sync();
        let entry_count = self.submissions.len() as u32;
        let flags = self.wait_flags.bits();
        self.counts.enters += 1;
        // SAFETY: no argument is passed, and the flags are among those that the ring offers.
        let entered = unsafe {
            self.submitter.enter::<libc::sigset_t>(entry_count, completion_count, flags, None)
        };
        self.submissions.sync();
        match entered.map_err(|error| (error.raw_os_error(), error)) {
            Ok(_) | Err((Some(libc::EINTR | libc::EAGAIN | libc::EBUSY), _)) => Ok(()),
            Err((_, error)) => Err(error),
        }
    }
}

impl Connection {
    fn new(stream: TcpStream) -> Connection {
        Connection {
            stream,
            output: VecDeque::new(),
            in_flight: 0,
            in_flight_bytes: 0,
            receiving: false,
            parked: false,
            queued: false,
            ended: false,
            failed: false,
            gather: None,
        }
    }

    fn prepare_send(&mut self, pool: &Pool) -> squeue::Entry {
        let descriptor = Fd(self.stream.as_raw_fd());
        if self.output.len() == 1 {
            let piece = self.output[0];
            self.in_flight = 1;
            self.in_flight_bytes = piece.bytes as usize;
            let address = pool.address(piece.buffer);
            return opcode::Send::new(descriptor, address, piece.bytes)
                .flags(libc::MSG_WAITALL)
                .build();
        }
        let gather = self.gather.get_or_insert_with(Gather::boxed);
        self.in_flight = self.output.len().min(VECTORS_MAX);
        self.in_flight_bytes = 0;
        for (vector, piece) in gather.vectors.iter_mut().zip(&self.output) {
            vector.iov_base = pool.address(piece.buffer).cast();
            vector.iov_len = piece.bytes as usize;
            self.in_flight_bytes += vector.iov_len;
        }
        gather.header.msg_iov = gather.vectors.as_mut_ptr();
        gather.header.msg_iovlen = self.in_flight;
        opcode::SendMsg::new(descriptor, &raw const gather.header)
            .flags(libc::MSG_WAITALL as u32)
            .build()
    }
}

impl Gather {
    fn boxed() -> Box<Gather> {
        let vector = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        let header = libc::msghdr {
            msg_name: ptr::null_mut(),
            msg_namelen: 0,
            msg_iov: ptr::null_mut(),
            msg_iovlen: 0,
            msg_control: ptr::null_mut(),
            msg_controllen: 0,
            msg_flags: 0,
        };
        Box::new(Gather { header, vectors: [vector; VECTORS_MAX] })
    }
}

fn user_data(kind: u64, slot: usize) -> u64 {
    (slot as u64) << KIND_BITS | kind
}

/// The provided buffers: memory that the kernel picks from when data has arrived.
struct Pool {
    entries: *mut BufRingEntry,
    entry_mask: u16,
    /// Where the kernel reads how far the ring is filled.
    published_tail: &'static AtomicU16,
    tail: u16,
    memory: *mut u8,
    buffer_bytes: usize,
    /// Buffers that are neither filled nor being sent.
    free_count: usize,
}

static KEPT: Mutex<Vec<Vec<Page>>> = Mutex::new(Vec::new());

#[derive(Clone)]
#[repr(C, align(4096))]
struct Page([u8; PAGE_BYTES]);

impl Pool {
    fn register(submitter: &Submitter<'_>, options: &Options) -> io::Result<Pool> {
        let buffer_bytes = options.buffer_bytes.unwrap_or(BUFFER_BYTES_DEFAULT);
        let buffer_count = options.buffer_count.unwrap_or(BUFFER_COUNT_DEFAULT);
        if buffer_bytes == 0 || !buffer_count.is_power_of_two() {
            let fault = "a buffer needs a size, and their number must be a power of two";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, fault));
        }
        let entries_bytes = usize::from(buffer_count) * size_of::<BufRingEntry>();
        let entries = keep_pages(entries_bytes).cast::<BufRingEntry>();
        let memory = keep_pages(usize::from(buffer_count) * buffer_bytes);
        // SAFETY: `entries` starts a zeroed, page-aligned ring that stays [pool-is-kept].
        unsafe {
            submitter.register_buf_ring_with_flags(entries as u64, buffer_count, BUFFER_GROUP, 0)
        }?;
        // SAFETY: `entries` is the address of the ring's first entry, and it is initialised.
        let tail_address = unsafe { BufRingEntry::tail(entries) };
        // SAFETY: the word is aligned, stays [pool-is-kept], and is only accessed atomically.
        let published_tail = unsafe { AtomicU16::from_ptr(tail_address.cast_mut()) };
        let mut pool = Pool {
            entries,
            entry_mask: buffer_count - 1,
            published_tail,
            tail: 0,
            memory,
            buffer_bytes,
            free_count: 0,
        };
        for buffer in 0..buffer_count {
            pool.give_back(buffer);
        }
        pool.publish();
        Ok(pool)
    }

    fn address(&self, buffer: u16) -> *mut u8 {
        self.memory.wrapping_add(usize::from(buffer) * self.buffer_bytes)
    }

    /// The kernel sees it after the next `publish`.
    fn give_back(&mut self, buffer: u16) {
        let address = self.address(buffer);
        let index = usize::from(self.tail & self.entry_mask);
        // SAFETY: the index is below the ring's length, the memory stays [pool-is-kept], and
        // the kernel does not read this entry before the tail passes it.
        let entry = unsafe { &mut *self.entries.wrapping_add(index) };
        entry.set_addr(address as u64);
        entry.set_len(self.buffer_bytes as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
        self.free_count += 1;
    }

    fn publish(&self) {
        self.published_tail.store(self.tail, Ordering::Release);
    }
}

/// Zeroed memory that starts at a page and is never freed [pool-is-kept].
fn keep_pages(bytes: usize) -> *mut u8 {
    let mut pages = vec![Page([0; PAGE_BYTES]); bytes.div_ceil(PAGE_BYTES)];
    let start = pages.as_mut_ptr().cast();
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).push(pages);
    start
}
