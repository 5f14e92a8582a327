//! What the options accept. A refused value is answered with the fact, the likely cause and the
//! cure; clap puts the option's name before it and ends the program with exit code 2.

use corio::Driver;
use corio::net::AcceptPolicy;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

use crate::machine;

/// The largest message, and the largest batch of pipelined messages.
pub(crate) const BATCH_BYTES_MAX: usize = 64 << 20;

/// The longest user-space poll that makes sense on the command line.
const BUSY_POLL_MICROS_MAX: u64 = 1_000_000;

/// How corio talks to the kernel, by name.
pub(crate) fn driver(text: &str) -> Result<Driver, String> {
    let known = "drivers: uring, epoll";
    Driver::from_name(text).ok_or_else(|| format!("there is no driver `{text}`; {known}"))
}

/// A CPU on which this process may run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cpu(pub(crate) usize);

impl FromStr for Cpu {
    type Err = String;

    fn from_str(text: &str) -> Result<Cpu, String> {
        let allowed = machine::allowed_cpus();
        let number: usize = text.parse().map_err(|_| {
            format!("a CPU is given by its number, one of {}", list_of_cpus(&allowed))
        })?;
        if allowed.is_empty() || allowed.contains(&number) {
            return Ok(Cpu(number));
        }
        Err(format!(
            "this process may not run on CPU {number}: the machine has no such CPU, or taskset or \
             a cgroup withholds it; choose one of {}",
            list_of_cpus(&allowed)
        ))
    }
}

fn list_of_cpus(cpus: &[usize]) -> String {
    let numbers: Vec<String> = cpus.iter().map(usize::to_string).collect();
    numbers.join(", ")
}

/// `--busy-poll`: how long the server polls its ring in user space before it sleeps.
#[derive(Clone, Copy)]
pub(crate) enum BusyPoll {
    Adaptive,
    Off,
    For(Duration),
}

impl BusyPoll {
    /// The library's setting of the same meaning.
    pub(crate) fn setting(self) -> corio::BusyPoll {
        match self {
            BusyPoll::Adaptive => corio::BusyPoll::Adaptive(Duration::from_micros(20)),
            BusyPoll::Off => corio::BusyPoll::Off,
            BusyPoll::For(duration) => corio::BusyPoll::For(duration),
        }
    }

    /// The text which means this value on a command line.
    pub(crate) fn argument(self) -> String {
        match self {
            BusyPoll::Adaptive => "adaptive".to_owned(),
            BusyPoll::Off => "off".to_owned(),
            BusyPoll::For(duration) => duration.as_micros().to_string(),
        }
    }
}

impl FromStr for BusyPoll {
    type Err = String;

    fn from_str(text: &str) -> Result<BusyPoll, String> {
        match (text, text.parse::<u64>()) {
            ("adaptive", _) => Ok(BusyPoll::Adaptive),
            ("off", _) | (_, Ok(0)) => Ok(BusyPoll::Off),
            (_, Ok(micros)) if micros <= BUSY_POLL_MICROS_MAX => {
                Ok(BusyPoll::For(Duration::from_micros(micros)))
            }
            _ => Err(format!(
                "expected `adaptive`, `off` or a number of microseconds up to \
                 {BUSY_POLL_MICROS_MAX}"
            )),
        }
    }
}

/// Which core gets a connection, by name.
pub(crate) fn policy(text: &str) -> Result<AcceptPolicy, String> {
    let known = "policies: reuse-port, round-robin, least-connections";
    AcceptPolicy::from_name(text).ok_or_else(|| format!("there is no policy `{text}`; {known}"))
}

pub(crate) fn cores(text: &str) -> Result<usize, String> {
    within(text, 1, 1024, "each core is a loop on a thread of its own")
}

pub(crate) fn connections(text: &str) -> Result<usize, String> {
    within(text, 1, 1_000_000, "each connection is one client that waits for its echo")
}

pub(crate) fn size(text: &str) -> Result<usize, String> {
    within(text, 1, BATCH_BYTES_MAX, "a message is sent, echoed and compared as a whole")
}

pub(crate) fn pipeline(text: &str) -> Result<usize, String> {
    within(text, 1, 65_536, "it is the number of messages a connection sends before it reads")
}

pub(crate) fn buffers(text: &str) -> Result<u16, String> {
    let count = within(text, 1, 8192, "a core's pool of buffers holds no more")?;
    u16::try_from(count).map_err(|error| error.to_string())
}

pub(crate) fn rounds(text: &str) -> Result<usize, String> {
    within(text, 1, 1000, "each server is measured so often; from 4 on a winner may be named")
}

/// Messages per second.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.1..=1e8).contains(rate));
    rate.ok_or_else(|| {
        "expected a number of messages per second from 0.1 to 100000000, such as `20000`".to_owned()
    })
}

/// A command that starts another server.
pub(crate) fn command(text: &str) -> Result<String, String> {
    if text.contains("{port}") {
        return Ok(text.to_owned());
    }
    Err("the command has to say where it takes the port: write `{port}` there, as in `my-server \
         --port {port}`"
        .to_owned())
}

/// The path of a resource.
pub(crate) fn path(text: &str) -> Result<String, String> {
    let is_plain = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_plain {
        return Ok(text.to_owned());
    }
    Err("expected a path such as `/plaintext`: it begins with `/` and has no spaces".to_owned())
}

fn within(text: &str, min: usize, max: usize, reason: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(format!("expected a whole number from {min} to {max}; {reason}")),
    }
}

/// The measured time: more than nothing, at most a day.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    duration(text).filter(|duration| !duration.is_zero()).ok_or_else(|| {
        "expected a number of seconds above 0 and up to 86400, such as `5` or `0.3`".to_owned()
    })
}

/// The time before the measured time: may be nothing.
pub(crate) fn warmup(text: &str) -> Result<Duration, String> {
    duration(text).ok_or_else(|| {
        "expected a number of seconds from 0 to 86400, such as `0.3`; 0 measures the cold start too"
            .to_owned()
    })
}

fn duration(text: &str) -> Option<Duration> {
    let seconds: f64 = text.parse().ok()?;
    (0.0..=86_400.0).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
}

/// The address of an outside server. A name is looked up here, once, so that the load generator
/// does nothing but talk to it.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let mut found = text.to_socket_addrs().map_err(|error| {
        format!("this is no address ({error}); expected HOST:PORT, such as `127.0.0.1:7777`")
    })?;
    found.next().ok_or_else(|| "this name has no address; check how it is spelt".to_owned())
}
