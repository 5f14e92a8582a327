//! `corio`, the program that comes with the library: it tells what the machine can do, measures
//! echo servers and runs one.
//!
//! It is an ordinary user of the library: nothing here uses more than corio's public API. The
//! files, in reading order:
//!
//! * `main.rs`: the commands and how the program ends;
//! * `arguments.rs`: what the options accept, and what is said about values they refuse;
//! * `probe.rs`: what this machine can do;
//! * `serving.rs`, `serving_cores.rs`: what all servers have in common, on one core and on several;
//!   `serve_echo.rs`, `serve_http.rs`: the servers;
//! * `http/`: HTTP/1.1 without sockets;
//! * `bench_options.rs`: what all benchmarks have in common; `bench_*.rs`: the benchmarks;
//! * `campaign.rs`: which server is driven when, and which rounds count;
//! * `contender.rs`: the servers that take part, as processes;
//! * `load.rs`: the load generator; `client.rs`: one connection of it; `idle.rs`: many idle ones;
//!   `timers.rs`: timers; `channels.rs`: channels to another core; `files.rs`: reads of a
//!   file;
//! * `traffic.rs`: what is sent, and what each connection has received so far;
//! * `steadiness.rs`: was the machine at rest; `statistics.rs`: rounds in one figure;
//! * `core_shares.rs`: how the work was spread over the cores of a server;
//! * `figures.rs`: the figures of one server; `report.rs`: all of them, as JSON and as a table;
//!   `page.rs` and `chart.rs`: as a page with charts;
//! * `machine.rs`: what the program asks `/proc` about; `facts.rs`: what it tells of the machine.
//!
//! Exit codes: 0 all went well; 1 the work failed (a lost or wrong byte counts); 2 the command line
//! makes no sense; 130 ended by Ctrl-C. Those of `probe` are its verdict.

mod arguments;
mod bench_accept;
mod bench_channel;
mod bench_echo;
mod bench_file;
mod bench_http;
mod bench_idle;
mod bench_options;
mod bench_timer;
mod campaign;
mod channels;
mod chart;
mod client;
mod contender;
mod core_shares;
mod facts;
mod figures;
mod files;
mod http;
mod idle;
mod load;
mod machine;
mod page;
mod probe;
mod report;
mod serve_echo;
mod serve_http;
mod serving;
mod serving_cores;
mod statistics;
mod steadiness;
mod timers;
mod traffic;
mod turns;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  corio probe                                       what can this machine do, and what can you do?
  corio bench echo                                  measure corio's echo server for 5 seconds
  corio bench echo --connections 1000 --size 4096   the same with more and larger traffic
  corio bench http --pipeline 16                    the same for corio's HTTP server
  corio bench http --rate 20000 --html page.html    latency at a given rate, with charts
  corio bench echo --cores 4 --accept round-robin   a server on several cores, core by core
  corio bench echo --against 'my-echo {port}'       compare another server, in turns
  corio serve echo --port 7777                      run the echo server until Ctrl-C";

/// Find out what this machine can do, measure corio on it, or run one of its servers.
///
/// corio is a single-threaded, io_uring based runtime for Linux servers. `corio probe` answers the
/// first question about it: does it run here at its best, and if not, why? `corio bench echo`
/// answers the second one: how much CPU does a request cost here?
#[derive(Parser)]
#[command(name = "corio", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Probe(probe::Options),
    /// Measure a server under load in which every byte is checked
    #[command(subcommand, arg_required_else_help = true)]
    Bench(Box<Bench>),
    /// Run a server, for any load generator to drive
    #[command(subcommand, arg_required_else_help = true)]
    Serve(Serve),
}

#[derive(Subcommand)]
enum Bench {
    Echo(bench_echo::Options),
    Http(bench_http::Options),
    Accept(bench_accept::Options),
    Idle(bench_idle::Options),
    Timer(bench_timer::Options),
    File(bench_file::Options),
    Channel(bench_channel::Options),
}

#[derive(Subcommand)]
enum Serve {
    Echo(serve_echo::Options),
    Http(serve_http::Options),
}

/// Why the program ends without having done its work: the text for people, the code for scripts.
struct Failure {
    exit_code: u8,
    text: String,
}

impl Failure {
    /// The command line makes no sense as a whole. (A single bad value is refused by clap, with the
    /// same exit code.)
    fn usage(text: impl Into<String>) -> Failure {
        Failure { exit_code: 2, text: text.into() }
    }

    /// The work was begun and could not be done.
    fn work(text: impl Into<String>) -> Failure {
        Failure { exit_code: 1, text: text.into() }
    }

    /// The person in front of the terminal wants no more of it.
    fn interrupted() -> Failure {
        Failure { exit_code: 130, text: "stopped by a signal before the end".to_owned() }
    }
}

fn main() -> ExitCode {
    let outcome = match CommandLine::parse().command {
        Command::Probe(options) => probe::main(&options),
        Command::Bench(bench) => measure(&bench).map(done),
        Command::Serve(Serve::Echo(options)) => serve_echo::main(&options).map(done),
        Command::Serve(Serve::Http(options)) => serve_http::main(&options).map(done),
    };
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("error: {}", failure.text);
            ExitCode::from(failure.exit_code)
        }
    }
}

fn measure(bench: &Bench) -> Result<(), Failure> {
    match bench {
        Bench::Echo(options) => bench_echo::main(options),
        Bench::Http(options) => bench_http::main(options),
        Bench::Accept(options) => bench_accept::main(options),
        Bench::Idle(options) => bench_idle::main(options),
        Bench::Timer(options) => bench_timer::main(options),
        Bench::File(options) => bench_file::main(options),
        Bench::Channel(options) => bench_channel::main(options),
    }
}

fn done(_: ()) -> ExitCode {
    ExitCode::SUCCESS
}

/// Prints to standard output. Unlike `println!` it does not panic when the reader has gone
/// (`corio ... | head`): whoever closes the pipe has seen enough.
fn print_line(text: &str) {
    let mut output = std::io::stdout().lock();
    let _ = writeln!(output, "{text}").and_then(|()| output.flush());
}
