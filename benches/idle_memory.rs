//! What an idle connection costs: 10,000 of them, each with the task that echoes on it.
//!
//! ```text
//! cargo bench --bench idle_memory
//! ```
//!
//! The clients live in a child process, this program with other arguments, so that only the server
//! is counted here, twice: by an allocator that counts live bytes, and by the pages that are
//! resident. The second holds what the first does not see: the allocator's own overhead, what it
//! keeps free, and the core's receive buffers. Both are compared with what was there before the
//! first connection came, once for connections that never said a word, and once after each has
//! echoed a message. Below the table stand the blocks by size, which name the structures.
//!
//! A figure that is above its target is printed and no failure; an echo that goes wrong is one.
//! `CORIO_BENCH_SIZE` is the number of connections. Without `--bench`, which `cargo bench` passes
//! and `cargo test` does not, there are few, and the figures say nothing.
#![allow(unsafe_code)] // An allocator that counts, and the limit of descriptors.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::env;
use std::error::Error;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{self, SocketAddr};
use std::process::{Child, Command, ExitCode};
use std::rc::Rc;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::time::Duration;

use corio::net::{TcpListener, TcpStream};
use corio::{sleep, spawn, timeout};

const CONNECTIONS: usize = 10_000;
const CONNECTIONS_IN_TESTS: usize = 200;

/// User memory that a connection with its task may cost.
const TARGET_BYTES: isize = 1024;

const MESSAGE_BYTES: usize = 64;

/// Descriptors that either process has beside its connections.
const OTHER_DESCRIPTORS: usize = 64;

const LIMIT: Duration = Duration::from_secs(120);

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["clients", server, control, count] => run_clients(server, control, count),
        _ => run_server(words.contains(&"--bench")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("idle_memory: {error}");
            ExitCode::FAILURE
        }
    }
}

// What is counted.

/// Blocks up to this size are counted by size.
const SMALL_BYTES_MAX: usize = 4096;
const CLASS_BYTES: usize = 8;
const CLASS_COUNT: usize = SMALL_BYTES_MAX / CLASS_BYTES + 1;

static LIVE_BYTES: AtomicIsize = AtomicIsize::new(0);
static LIVE_BLOCKS: [AtomicIsize; CLASS_COUNT] = [const { AtomicIsize::new(0) }; CLASS_COUNT];

/// The system's allocator, which counts what lives.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(bytes: usize, sign: isize) {
    LIVE_BYTES.fetch_add(bytes as isize * sign, Ordering::Relaxed);
    if let Some(class) = LIVE_BLOCKS.get(bytes.div_ceil(CLASS_BYTES)) {
        class.fetch_add(sign, Ordering::Relaxed);
    }
}

// SAFETY: every call is handed on to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller promises what the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: as above; the block came from the system's allocator.
        unsafe { System.dealloc(block, layout) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(layout.size(), -1);
        count(size, 1);
        // SAFETY: as above; the block came from the system's allocator.
        unsafe { System.realloc(block, layout, size) }
    }
}

/// The memory of this process at one moment.
struct Memory {
    heap_bytes: isize,
    resident_bytes: isize,
    blocks: Vec<isize>,
}

impl Memory {
    fn now() -> Outcome<Memory> {
        let blocks = LIVE_BLOCKS.iter().map(|class| class.load(Ordering::Relaxed)).collect();
        let heap_bytes = LIVE_BYTES.load(Ordering::Relaxed);
        let statm = fs::read_to_string("/proc/self/statm")?;
        let pages = statm.split_whitespace().nth(1).ok_or("statm has a second number")?;
        // SAFETY: no memory is passed.
        let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        let resident_bytes = pages.parse::<isize>()? * page_bytes as isize;
        Ok(Memory { heap_bytes, resident_bytes, blocks })
    }
}

fn print_table(before: &Memory, silent: &Memory, spoken: &Memory, count: usize) {
    let each = |bytes: isize| bytes / count as isize;
    let is_judged = count >= CONNECTIONS;
    let verdict = |bytes| match each(bytes) <= TARGET_BYTES {
        _ if !is_judged => "-",
        true => "met",
        false => "MISSED",
    };
    println!("{count} idle connections, each with its task; bytes of user memory for each\n");
    println!("{:<32} {:>8} {:>8} {:>10} {:>8}", "", "heap", "at most", "resident", "at most");
    for (state, memory) in
        [("connected, never spoken", silent), ("echoed once, idle again", spoken)]
    {
        let heap_bytes = memory.heap_bytes - before.heap_bytes;
        let resident_bytes = memory.resident_bytes - before.resident_bytes;
        println!(
            "{state:<32} {:>8} {:>8} {:>10} {:>8}",
            each(heap_bytes),
            verdict(heap_bytes),
            each(resident_bytes),
            verdict(resident_bytes),
        );
    }
    println!("{:<32} {TARGET_BYTES:>8} {:>8} {TARGET_BYTES:>10}", "target", "");
    for (state, memory) in [("never spoken", silent), ("echoed once", spoken)] {
        print_blocks(state, before, memory, count);
    }
}

/// The blocks of which there is about one for each connection or more, and the rest: tables.
fn print_blocks(state: &str, before: &Memory, after: &Memory, count: usize) {
    println!("\nheap blocks, {state}:");
    let mut rest_bytes = after.heap_bytes - before.heap_bytes;
    let classes = before.blocks.iter().zip(&after.blocks).enumerate();
    for (class, (before, after)) in classes {
        let (blocks, bytes) = (after - before, (class * CLASS_BYTES) as isize);
        if blocks.unsigned_abs() >= count.div_ceil(10) {
            rest_bytes -= blocks * bytes;
            let each = blocks as f64 / count as f64;
            println!("{each:>8.2} of {bytes:>4} bytes for each connection");
        }
    }
    let each = rest_bytes as f64 / count as f64;
    println!("{each:>8.1} bytes for each connection in tables and all else");
}

// The server.

/// What the tasks of the connections did.
#[derive(Default)]
struct Tally {
    accepted_count: Cell<usize>,
    ended_count: Cell<usize>,
    echoed_bytes: Cell<usize>,
}

fn run_server(is_measured: bool) -> Outcome<()> {
    let wanted = match env::var("CORIO_BENCH_SIZE") {
        Ok(text) => text.parse().map_err(|_| format!("CORIO_BENCH_SIZE is `{text}`, no number"))?,
        Err(_) if is_measured => CONNECTIONS,
        Err(_) => CONNECTIONS_IN_TESTS,
    };
    let possible = raise_descriptor_limit()?.saturating_sub(OTHER_DESCRIPTORS);
    let count = wanted.min(possible);
    if count < wanted {
        println!("only {count} connections: the hard limit of descriptors allows no more");
    }
    corio::run(async {
        let serving = timeout(LIMIT, serve(count)).await;
        serving.unwrap_or_else(|_| Err(format!("not done within {LIMIT:?}").into()))
    })
}

async fn serve(count: usize) -> Outcome<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let control_listener = TcpListener::bind("127.0.0.1:0").await?;
    let server = listener.local_addr()?;
    let mut child = Clients(start_clients(server, control_listener.local_addr()?, count)?);
    let mut control = control_listener.accept().await?;
    let tally = Rc::new(Tally::default());
    spawn(accept_all(listener, Rc::clone(&tally)));

    echo_once(server).await?;
    wait_for("the first connection to end", || tally.ended_count.get() == 1).await?;
    let before = Memory::now()?;

    ask(&mut control, "connect").await?;
    wait_for("all to be accepted", || tally.accepted_count.get() == count + 1).await?;
    settle().await?;
    let silent = Memory::now()?;

    ask(&mut control, "echo").await?;
    let expected_bytes = (count + 1) * MESSAGE_BYTES;
    wait_for("all to be echoed", || tally.echoed_bytes.get() == expected_bytes).await?;
    settle().await?;
    let spoken = Memory::now()?;
    if tally.ended_count.get() != 1 {
        return Err("a connection ended before its client did".into());
    }

    print_table(&before, &silent, &spoken, count);
    let stats = corio::stats();
    println!(
        "\n{} tasks, {} operations in flight, {} buffers of which {} in use; checksum {}",
        stats.tasks,
        stats.operations_in_flight,
        stats.buffers_total,
        stats.buffers_in_use,
        tally.echoed_bytes.get(),
    );
    control.write(b"end\n").await?;
    control.read_to_end(&mut Vec::new()).await?;
    match child.0.wait()? {
        status if status.success() => Ok(()),
        status => Err(format!("the clients ended with {status}").into()),
    }
}

async fn accept_all(listener: TcpListener, tally: Rc<Tally>) {
    while let Ok(stream) = listener.accept().await {
        tally.accepted_count.set(tally.accepted_count.get() + 1);
        spawn(echo(stream, Rc::clone(&tally)));
    }
}

/// The handler as a server would have it, but for the counting.
async fn echo(mut stream: TcpStream, tally: Rc<Tally>) -> io::Result<()> {
    let (mut reader, writer) = stream.split();
    while let Some(chunk) = reader.read_chunk().await? {
        let length = chunk.len();
        writer.write_owned(chunk).await?;
        tally.echoed_bytes.set(tally.echoed_bytes.get() + length);
    }
    tally.ended_count.set(tally.ended_count.get() + 1);
    Ok(())
}

/// One connection comes and goes, so that what the first of all costs is not counted.
async fn echo_once(server: SocketAddr) -> Outcome<()> {
    let mut client = TcpStream::connect(server).await?;
    let sent = message(0);
    client.write(&sent).await?;
    let mut received = [0; MESSAGE_BYTES];
    client.read_exact(&mut received).await?;
    client.close().await?;
    if received == sent { Ok(()) } else { Err("the first echo differs".into()) }
}

/// Tells the clients what to do, and waits until they say that it is done.
async fn ask(control: &mut TcpStream, what: &str) -> Outcome<()> {
    control.write(format!("{what}\n").as_bytes()).await?;
    match control.read_line(80).await?.as_slice() {
        b"done\n" => Ok(()),
        _ => Err(format!("the clients failed to {what}").into()),
    }
}

async fn wait_for(what: &str, is_true: impl Fn() -> bool) -> Outcome<()> {
    for _ in 0..10_000 {
        if is_true() {
            return Ok(());
        }
        sleep(Duration::from_millis(1)).await;
    }
    Err(format!("waited in vain for {what}").into())
}

/// Until nothing moves any more: all sends are over and all buffers back.
async fn settle() -> Outcome<()> {
    sleep(Duration::from_millis(50)).await;
    wait_for("the buffers to come back", || corio::stats().buffers_in_use == 0).await
}

/// Raises the soft limit of descriptors to the hard one, and says what it is.
fn raise_descriptor_limit() -> io::Result<usize> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is ours, and the call fills it in.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the limit is initialised and lives across the call.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(limit.rlim_max).unwrap_or(usize::MAX))
}

/// The child, which goes when its parent has failed.
struct Clients(Child);

impl Drop for Clients {
    fn drop(&mut self) {
        // Both fail if it has ended and was waited for, which is what should be.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

// The clients: blocking, and in order.

/// The child inherits the raised limit of descriptors.
fn start_clients(server: SocketAddr, control: SocketAddr, count: usize) -> io::Result<Child> {
    Command::new(env::current_exe()?)
        .args(["clients", &server.to_string(), &control.to_string(), &count.to_string()])
        .spawn()
}

/// A message that no other connection sends.
fn message(number: usize) -> [u8; MESSAGE_BYTES] {
    std::array::from_fn(|place| (number >> (place % 4 * 8)) as u8 ^ place as u8)
}

fn run_clients(server: &str, control: &str, count: &str) -> Outcome<()> {
    let (server, count): (SocketAddr, usize) = (server.parse()?, count.parse()?);
    let mut control = BufReader::new(net::TcpStream::connect(control)?);
    let mut streams = Vec::with_capacity(count);
    let mut line = String::new();
    loop {
        line.clear();
        control.read_line(&mut line)?;
        match line.as_str() {
            "connect\n" => {
                for _ in 0..count {
                    streams.push(net::TcpStream::connect(server)?);
                }
            }
            "echo\n" => echo_all(&mut streams)?,
            "end\n" => return Ok(()),
            _ => return Err(format!("`{line}` is not understood").into()),
        }
        control.get_mut().write_all(b"done\n")?;
    }
}

fn echo_all(streams: &mut [net::TcpStream]) -> Outcome<()> {
    for (number, stream) in streams.iter_mut().enumerate() {
        stream.write_all(&message(number))?;
    }
    for (number, stream) in streams.iter_mut().enumerate() {
        let mut received = [0; MESSAGE_BYTES];
        stream.read_exact(&mut received)?;
        if received != message(number) {
            return Err(format!("connection {number} got another's bytes").into());
        }
    }
    Ok(())
}
