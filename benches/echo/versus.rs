//! The comparison: corio's echo server against the raw ones, in interleaved rounds.
//!
//! Every run is a fresh server process on one core and the load generator, `corio bench echo`, on
//! another; the generator checks each byte and reads the server's CPU time from the outside, so
//! all servers are measured by the same clock. One round runs each server of a cell once, and
//! the order turns from round to round: what the machine does meanwhile hits all of them alike.
//! The figure of a cell is the median over the rounds. Beside the ratio of the medians stands the
//! median of the rounds' own ratios: when they differ, the machine was not quiet.
//!
//! The cells whose names begin with `epoll` are about that driver: corio is told to use it, and is
//! compared with the raw epoll server and with tokio's current-thread runtime, which is built in a
//! workspace of its own (`benches/peers`), so that it is no dependency of corio.
//!
//! Missing a target is a result, not a failure: the exit status tells only whether all was run.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

const CORIO: &str = env!("CARGO_BIN_EXE_corio");
/// Where `cargo build --release --manifest-path benches/peers/Cargo.toml` leaves the peer.
const TOKIO_PEER: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/target/release/tokio-peer");
const SERVER_CORE: usize = 0;
const GENERATOR_CORE: usize = 1;
/// At this many connections and more, an enter must serve many requests.
const BATCHING_CONNECTIONS: u32 = 64;
const ENTERS_PER_REQUEST_MAX: f64 = 0.1;
/// How long servers and generator poll before they block where a cell is about polling: none of
/// them blocks there. (The adaptive 20 us would do where a wake costs less than that.)
const SPIN_MICROS: &str = "200";
/// Under load but not measured, in seconds.
const WARMUP_S: f64 = 0.3;
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// What a cell's target is about.
#[derive(Clone, Copy, PartialEq)]
enum Figure {
    ServerCpu,
    RoundTrip,
}

/// Whom corio is compared with.
#[derive(Clone, Copy, PartialEq)]
enum Rival {
    /// The better of the raw servers.
    Raw,
    Tokio,
}

struct Cell {
    name: &'static str,
    connections: u32,
    size_bytes: u32,
    pipeline: u32,
    figure: Figure,
    /// The most that corio may need, as a multiple of what a rival needs.
    targets: &'static [(Rival, f64)],
}

/// What the cells of the epoll driver have to meet.
const EPOLL_TARGETS: &[(Rival, f64)] = &[(Rival::Raw, 1.10), (Rival::Tokio, 1.05)];

/// The cells and targets; a cell about the round trip lets all servers poll before they block.
const CELLS: [Cell; 11] = [
    cell("1x64", [1, 64, 1], Figure::ServerCpu, &[(Rival::Raw, 1.05)]),
    cell("64x64", [64, 64, 1], Figure::ServerCpu, &[(Rival::Raw, 1.05)]),
    cell("1000x64", [1000, 64, 1], Figure::ServerCpu, &[(Rival::Raw, 1.05)]),
    cell("64x4096", [64, 4096, 1], Figure::ServerCpu, &[(Rival::Raw, 1.05)]),
    cell("64x65536", [64, 65536, 1], Figure::ServerCpu, &[(Rival::Raw, 1.10)]),
    cell("64x64-pipeline16", [64, 64, 16], Figure::ServerCpu, &[(Rival::Raw, 1.05)]),
    cell("64x64-pipeline64", [64, 64, 64], Figure::ServerCpu, &[(Rival::Raw, 1.30)]),
    cell("1x64-polling", [1, 64, 1], Figure::RoundTrip, &[(Rival::Raw, 1.10)]),
    cell("epoll-1x64", [1, 64, 1], Figure::ServerCpu, EPOLL_TARGETS),
    cell("epoll-64x64", [64, 64, 1], Figure::ServerCpu, EPOLL_TARGETS),
    cell("epoll-1000x64", [1000, 64, 1], Figure::ServerCpu, EPOLL_TARGETS),
];

const fn cell(
    name: &'static str,
    load: [u32; 3],
    figure: Figure,
    targets: &'static [(Rival, f64)],
) -> Cell {
    let [connections, size_bytes, pipeline] = load;
    Cell { name, connections, size_bytes, pipeline, figure, targets }
}

impl Cell {
    /// Whether the cell is about the epoll driver.
    fn is_epoll(&self) -> bool {
        self.targets.iter().any(|(rival, _)| *rival == Rival::Tokio)
    }
}

/// One server of a cell and what was measured of it, one sample a round.
struct Contender {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    samples: Vec<Sample>,
}

struct Sample {
    cpu_ns_per_request: f64,
    requests_per_s: f64,
    p50_us: f64,
    /// Of servers that count them.
    enters_per_request: Option<f64>,
}

struct Settings {
    rounds: usize,
    seconds: f64,
}

/// Runs the cells whose name holds one of the `filters`, or all of them.
pub fn compare(filters: &[&str]) -> Result<(), String> {
    let settings = Settings {
        rounds: (from_environment("CORIO_BENCH_ROUNDS", 5.0)? as usize).max(1),
        seconds: from_environment("CORIO_BENCH_SECONDS", 2.0)?,
    };
    let cells = selected(filters)?;
    // The servers are started with this process's limit, and not all of them raise it.
    crate::server::raise_descriptor_limit()
        .map_err(|error| format!("descriptor limit: {error}"))?;
    print_conditions(&settings);
    let mut verdicts = Vec::new();
    for cell in cells {
        let mut contenders = contenders(cell)?;
        run_rounds(cell, &settings, &mut contenders)?;
        print!("{}", report(cell, &contenders, &mut verdicts));
    }
    let met_count = verdicts.iter().filter(|met| **met).count();
    println!("\ntargets: {met_count} met, {} missed", verdicts.len() - met_count);
    Ok(())
}

/// A cell's whole name selects it alone; otherwise a part of the name is enough.
fn selected(filters: &[&str]) -> Result<Vec<&'static Cell>, String> {
    let matches = |cell: &Cell| {
        filters.iter().any(|filter| {
            let is_name = CELLS.iter().any(|other| other.name == *filter);
            if is_name { cell.name == *filter } else { cell.name.contains(filter) }
        })
    };
    let cells: Vec<_> = CELLS.iter().filter(|cell| filters.is_empty() || matches(cell)).collect();
    if cells.is_empty() {
        let names: Vec<_> = CELLS.iter().map(|cell| cell.name).collect();
        return Err(format!("no cell is called like {filters:?}; there are {}", names.join(", ")));
    }
    Ok(cells)
}

fn from_environment(name: &str, default: f64) -> Result<f64, String> {
    let Ok(text) = env::var(name) else {
        return Ok(default);
    };
    match text.parse() {
        Ok(number) if number > 0.0 => Ok(number),
        _ => Err(format!("{name} is `{text}`, and must be a number above zero")),
    }
}

fn print_conditions(settings: &Settings) {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let model = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, model)| model);
    let count = thread::available_parallelism().map_or(1, usize::from);
    println!("kernel     {}", read("/proc/sys/kernel/osrelease").trim());
    println!("processor  {model}, {count} available to this process");
    println!(
        "method     server on core {SERVER_CORE}, generator on core {GENERATOR_CORE}, loopback, \
         {} interleaved rounds of {} s, medians (smallest..largest)",
        settings.rounds, settings.seconds
    );
}

fn contenders(cell: &Cell) -> Result<Vec<Contender>, String> {
    let this_program = env::current_exe().map_err(|error| format!("current program: {error}"))?;
    let polling = cell.figure == Figure::RoundTrip;
    let raw = |name: &str, server: &str, more: &[&str]| {
        let mut arguments = vec!["serve", server, "--port", "0"];
        arguments.extend(more);
        if polling {
            arguments.extend(["--spin", SPIN_MICROS]);
        }
        Contender::new(name, &this_program, &arguments)
    };
    if cell.is_epoll() {
        return Ok(vec![raw("raw-epoll", "raw-epoll", &[]), tokio()?, corio_on_epoll()]);
    }
    let mut contenders =
        vec![raw("raw-uring", "raw-uring", &[]), raw("raw-epoll", "raw-epoll", &[])];
    if cell.size_bytes > 16 * 1024 {
        // Which one is better depends on the caches, so both run and the better one counts.
        let more = ["--buffer", "65536", "--buffers", "32"];
        contenders.push(raw("raw-uring 64K", "raw-uring", &more));
    }
    let busy_poll = if polling { SPIN_MICROS } else { "off" };
    let arguments = ["serve", "echo", "--port", "0", "--busy-poll", busy_poll, "--stats"];
    contenders.push(Contender::new("corio", Path::new(CORIO), &arguments));
    Ok(contenders)
}

fn tokio() -> Result<Contender, String> {
    if !Path::new(TOKIO_PEER).exists() {
        let build = "cargo build --release --manifest-path benches/peers/Cargo.toml";
        return Err(format!("`{TOKIO_PEER}` is missing; build it with `{build}`"));
    }
    Ok(Contender::new("tokio", Path::new(TOKIO_PEER), &["echo", "--port", "0"]))
}

fn corio_on_epoll() -> Contender {
    let arguments = ["serve", "echo", "--port", "0", "--busy-poll", "off", "--stats"];
    let arguments = [&arguments[..], &["--driver", "epoll"]].concat();
    Contender::new("corio", Path::new(CORIO), &arguments)
}

fn run_rounds(
    cell: &Cell,
    settings: &Settings,
    contenders: &mut [Contender],
) -> Result<(), String> {
    for round in 0..settings.rounds {
        for turn in 0..contenders.len() {
            let index = (round + turn) % contenders.len();
            let contender = &mut contenders[index];
            let sample = measure(cell, settings, contender).map_err(|fault| {
                format!("cell {}, {}, round {}: {fault}", cell.name, contender.name, round + 1)
            })?;
            contender.samples.push(sample);
        }
    }
    Ok(())
}

/// One run of one server.
fn measure(cell: &Cell, settings: &Settings, contender: &Contender) -> Result<Sample, String> {
    let mut server = Server::start(contender)?;
    let polling = cell.figure == Figure::RoundTrip;
    let output = Command::new(CORIO)
        .args(["bench", "echo", "--rounds", "1", "--json", "--target", &server.address])
        .args(["--pid", &server.child.id().to_string()])
        .args(if polling { &["--load-busy-poll", SPIN_MICROS][..] } else { &[] })
        .args(["--core", &GENERATOR_CORE.to_string()])
        .args(["--connections", &cell.connections.to_string()])
        .args(["--size", &cell.size_bytes.to_string()])
        .args(["--pipeline", &cell.pipeline.to_string()])
        .args(["--seconds", &settings.seconds.to_string()])
        .args(["--warmup", &WARMUP_S.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("the generator does not start: {error}"))?;
    let counts = server.stop()?;
    if !output.status.success() {
        return Err(format!("the generator failed: {}", output.status));
    }
    Sample::read(&String::from_utf8_lossy(&output.stdout), &counts)
}

impl Sample {
    fn read(generated: &str, counts: &str) -> Result<Sample, String> {
        let result = last_json_line(generated)?;
        let server = last_json_line(counts)?;
        let number = |pointer: &str| {
            let value = result.pointer(pointer).and_then(Value::as_f64);
            value.ok_or_else(|| format!("the generator's answer has no number at `{pointer}`"))
        };
        let (errors, requests) = (number("/errors")?, number("/requests")?);
        let seconds = requests / number("/requests_per_s")?;
        if errors != 0.0 || requests == 0.0 {
            return Err(format!("{requests} requests with {errors} errors"));
        }
        let enters = server.pointer("/enters").and_then(Value::as_f64);
        Ok(Sample {
            cpu_ns_per_request: number("/server_cpu_ns_per_request")?,
            requests_per_s: number("/requests_per_s")?,
            p50_us: number("/latency_us/p50")?,
            // The server counted during the warm-up too, at about the same rate.
            enters_per_request: enters
                .map(|enters| enters / requests * seconds / (seconds + WARMUP_S)),
        })
    }

    fn figure(&self, figure: Figure) -> f64 {
        match figure {
            Figure::ServerCpu => self.cpu_ns_per_request,
            Figure::RoundTrip => self.p50_us,
        }
    }
}

fn last_json_line(text: &str) -> Result<Value, String> {
    let line = text.lines().rfind(|line| line.starts_with('{'));
    let line = line.ok_or_else(|| format!("no JSON in the answer `{}`", text.trim()))?;
    serde_json::from_str(line).map_err(|error| format!("`{line}`: {error}"))
}

impl Contender {
    fn new(name: &str, program: &Path, arguments: &[&str]) -> Contender {
        let core = SERVER_CORE.to_string();
        let arguments = arguments.iter().copied().chain(["--core", &core]);
        Contender {
            name: name.to_owned(),
            program: program.to_owned(),
            arguments: arguments.map(str::to_owned).collect(),
            samples: Vec::new(),
        }
    }

    fn is(&self, rival: Rival) -> bool {
        match rival {
            Rival::Raw => self.name.starts_with("raw"),
            Rival::Tokio => self.name == "tokio",
        }
    }

    /// The median of the enters a request; `None` of a server that does not count them.
    fn enters(&self) -> Option<Spread> {
        let counted: Option<Vec<_>> = self.samples.iter().map(|it| it.enters_per_request).collect();
        counted.map(Spread::of)
    }

    fn values(&self, value: impl Fn(&Sample) -> f64) -> Vec<f64> {
        self.samples.iter().map(value).collect()
    }
}

/// A server process, killed if it is not stopped.
struct Server {
    child: Child,
    /// Kept open: a server that writes to a closed standard error would end by it.
    errors: BufReader<ChildStderr>,
    address: String,
}

impl Server {
    fn start(contender: &Contender) -> Result<Server, String> {
        let mut child = Command::new(&contender.program)
            .args(&contender.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("`{}`: {error}", contender.program.display()))?;
        let errors = BufReader::new(child.stderr.take().ok_or("standard error is not piped")?);
        let mut server = Server { child, errors, address: String::new() };
        let mut said = String::new();
        loop {
            let mut line = String::new();
            let length = server.errors.read_line(&mut line).map_err(|error| error.to_string())?;
            if length == 0 {
                return Err(format!("the server ended before it listened: {}", said.trim()));
            }
            if let Some(address) = line.trim().strip_prefix("listening on ") {
                address.clone_into(&mut server.address);
                return Ok(server);
            }
            said.push_str(&line);
        }
    }

    /// Asks the server to end and returns what it printed.
    fn stop(&mut self) -> Result<String, String> {
        crate::terminate(self.child.id()).map_err(|error| format!("SIGTERM: {error}"))?;
        let deadline = Instant::now() + STOP_PATIENCE;
        let status = loop {
            match self.child.try_wait().map_err(|error| error.to_string())? {
                Some(status) => break status,
                None if Instant::now() < deadline => thread::sleep(Duration::from_millis(2)),
                None => {
                    return Err(format!("the server still runs {STOP_PATIENCE:?} after SIGTERM"));
                }
            }
        };
        let mut printed = String::new();
        let mut output = self.child.stdout.take().ok_or("standard output is not piped")?;
        output.read_to_string(&mut printed).map_err(|error| error.to_string())?;
        if status.success() {
            return Ok(printed);
        }
        let mut said = String::new();
        self.errors.read_to_string(&mut said).map_err(|error| error.to_string())?;
        Err(format!("the server failed: {status}: {}", said.trim()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After an orderly stop both have nothing to do and say so.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn report(cell: &Cell, contenders: &[Contender], verdicts: &mut Vec<bool>) -> String {
    let Cell { name, connections, size_bytes, pipeline, .. } = cell;
    let mut text = format!(
        "\n{name}: {connections} connections, {size_bytes} B, pipeline {pipeline}\n\
         {:<15}{:>32}{:>36}{:>34}{:>16}\n",
        "server", "CPU ns/request", "requests/s", "p50 us", "enters/request"
    );
    for contender in contenders {
        let cpu = Spread::of(contender.values(|sample| sample.cpu_ns_per_request));
        let rate = Spread::of(contender.values(|sample| sample.requests_per_s));
        let p50 = Spread::of(contender.values(|sample| sample.p50_us));
        let enters = contender.enters().map(|enters| format!("{:.4}", enters.median));
        let (name, enters) = (&contender.name, enters.unwrap_or_else(|| "not counted".to_owned()));
        let _ = writeln!(
            text,
            "{name:<15}{:>32}{:>36}{:>34}{enters:>16}",
            cpu.with_decimals(0),
            rate.with_decimals(0),
            p50.with_decimals(1)
        );
    }
    for (rival, ratio_max) in cell.targets {
        text.push_str(&verdict_on_ratio(cell, contenders, (*rival, *ratio_max), verdicts));
    }
    text.push_str(&verdict_on_enters(cell, contenders, verdicts));
    text
}

fn verdict_on_ratio(
    cell: &Cell,
    contenders: &[Contender],
    (rival, ratio_max): (Rival, f64),
    verdicts: &mut Vec<bool>,
) -> String {
    let values = |contender: &Contender| contender.values(|sample| sample.figure(cell.figure));
    let median = |contender: &Contender| Spread::of(values(contender)).median;
    let rivals = contenders.iter().filter(|contender| contender.is(rival));
    let best = rivals.min_by(|one, other| median(one).total_cmp(&median(other)));
    let corio = contenders.iter().find(|contender| contender.name == "corio");
    let (Some(best), Some(corio)) = (best, corio) else {
        return String::new();
    };
    let ratio = median(corio) / median(best);
    let by_round = values(corio).iter().zip(values(best)).map(|(ours, best)| ours / best).collect();
    let met = ratio <= ratio_max;
    verdicts.push(met);
    let what = match cell.figure {
        Figure::ServerCpu => "CPU",
        Figure::RoundTrip => "p50",
    };
    format!(
        "{what} corio / {}: {ratio:.3} of medians, by round {}; target {:.2}: {}\n",
        best.name,
        Spread::of(by_round).with_decimals(3),
        ratio_max,
        word(met)
    )
}

fn verdict_on_enters(cell: &Cell, contenders: &[Contender], verdicts: &mut Vec<bool>) -> String {
    let corio = contenders.iter().find(|contender| contender.name == "corio");
    let batches = cell.connections >= BATCHING_CONNECTIONS && !cell.is_epoll();
    let Some(enters) = corio.filter(|_| batches).and_then(Contender::enters) else {
        return String::new();
    };
    let met = enters.median <= ENTERS_PER_REQUEST_MAX;
    verdicts.push(met);
    let spread = enters.with_decimals(4);
    format!("enters corio: {spread}; target {ENTERS_PER_REQUEST_MAX:.2}: {}\n", word(met))
}

fn word(met: bool) -> &'static str {
    if met { "met" } else { "missed" }
}

/// The median of a list of samples, and its ends.
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Spread {
        values.sort_by(f64::total_cmp);
        assert!(!values.is_empty(), "every contender runs at least one round");
        let middle = values.len() / 2;
        let upper = values[middle];
        let lower = values[(values.len() - 1) / 2];
        Spread { median: (lower + upper) / 2.0, min: values[0], max: values[values.len() - 1] }
    }

    fn with_decimals(&self, decimals: usize) -> String {
        let Spread { median, min, max } = self;
        format!("{median:.decimals$} ({min:.decimals$}..{max:.decimals$})")
    }
}
