//! The echo benchmark: corio against hand-written servers on the same kernel interfaces.
//!
//! ```text
//! cargo bench --features cli --bench echo                 all cells, interleaved
//! cargo bench --features cli --bench echo -- 64x64        the cells with this in their name
//! echo serve raw-uring|raw-epoll [--port P] [--core C] [--spin MICROS]
//!                                [--buffer BYTES] [--buffers COUNT]
//! ```
//!
//! `CORIO_BENCH_ROUNDS` (5) and `CORIO_BENCH_SECONDS` (2) size the comparison.
//! `serve` is what the comparison starts as a child process: one raw server, bound to 127.0.0.1,
//! until SIGTERM or SIGINT. Without `--bench`, which `cargo bench` passes and `cargo test` does
//! not, each raw server echoes a few thousand verified messages in this process, and that is all.

// Signals, limits and socket options by their C names; each use says why it is sound.
#![allow(unsafe_code)]

mod raw_epoll;
mod raw_uring;
mod server;
mod smoke;
mod table;
mod versus;

use std::env;
use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments: Vec<String> = env::args().skip(1).collect();
    let compare = arguments.iter().any(|argument| argument == "--bench");
    arguments.retain(|argument| argument != "--bench");
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["serve", name, ref rest @ ..] => server::serve_until_signalled(name, rest),
        _ if compare => versus::compare(&words),
        _ => smoke::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("echo: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Asks a child process, which has not been waited for yet, to end.
fn terminate(process: u32) -> io::Result<()> {
    // SAFETY: no memory is passed.
    server::check(unsafe { libc::kill(process as libc::pid_t, libc::SIGTERM) })?;
    Ok(())
}
