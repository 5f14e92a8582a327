//! The load generator: one task per connection (`client.rs`), all on one core of corio.
//!
//! A measurement has three phases, and the connections do not notice them: warming up, measuring,
//! ending. At both ends of the measured interval the generator reads the CPU clocks of the server
//! and of itself and the connections' counters, without an await in between, so they belong to the
//! same moment.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

use corio::JoinHandle;
use corio::net::TcpStream;
use corio::signal::{Signal, Signals};
use corio::time::{Duration, Instant};
use hdrhistogram::Histogram;
use indicatif::ProgressBar;

use crate::channels::{self, OtherCore};
use crate::client::{Client, Echo, Http, Pace, Visitor};
use crate::files::{self, BLOCK_BYTES, Reads, Source};
use crate::http;
use crate::idle;
use crate::machine::{self, Times};
use crate::timers;
use crate::traffic::{Pattern, Phase, Tally};
use crate::turns;

/// The name that requests of HTTP are sent to.
const HOST: &str = "localhost";

/// How many connections are being opened at the same moment.
const CONNECTORS: usize = 32;

/// How long one connection may take to open.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// How often the progress is shown, and noticed that no connection is left.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

/// How often is looked at whether the connections have ended.
const END_INTERVAL: Duration = Duration::from_millis(5);

/// How long nothing may move while they end: this, and the time for what is in flight at a slow
/// pace.
pub(crate) const SILENCE_LIMIT: Duration = Duration::from_secs(3);
const SLOW_BYTES_PER_S: u64 = 50_000_000;

/// The errno of a process that has no free descriptor.
const EMFILE: i32 = 24;

/// What the connections do.
#[derive(Clone)]
pub(crate) enum Work {
    /// Messages come back as they were sent.
    Echo { size: usize, pipeline: usize },
    /// Requests for a path are answered.
    Http { path: String, pipeline: usize },
    /// A connection for each message.
    Accept { size: usize },
    /// No server and no connection: timers of this runtime.
    Timer,
    /// No server: reads of a file.
    File(Reads),
    /// No server: numbers go to another core of this process and come back.
    Channel { pipeline: usize, beside: Beside },
    /// Connections that do nothing, between an echo at the beginning and one at the end.
    Idle { size: usize },
}

impl Work {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Work::Echo { .. } => "echo",
            Work::Http { .. } => "http",
            Work::Accept { .. } => "accept",
            Work::Timer => "timer",
            Work::File(_) => "file",
            Work::Channel { .. } => "channel",
            Work::Idle { .. } => "idle",
        }
    }

    /// Connections that send as soon as they were answered, unless a rate is given.
    pub(crate) fn is_echo_like(&self) -> bool {
        matches!(self, Work::Echo { .. } | Work::Http { .. })
    }

    /// Whether there are connections that take a descriptor each.
    pub(crate) fn has_sockets(&self) -> bool {
        !matches!(self, Work::Timer | Work::File(_) | Work::Channel { .. })
    }

    /// Bytes of a message; for HTTP, of the request.
    pub(crate) fn size(&self) -> usize {
        match self {
            Work::Echo { size, .. } | Work::Accept { size } | Work::Idle { size } => *size,
            Work::Timer => 0,
            Work::File(_) => BLOCK_BYTES,
            Work::Channel { .. } => size_of::<u64>(),
            Work::Http { path, .. } => http::request(path, HOST).len(),
        }
    }

    pub(crate) fn pipeline(&self) -> usize {
        match self {
            Work::Echo { pipeline, .. }
            | Work::Http { pipeline, .. }
            | Work::Channel { pipeline, .. } => *pipeline,
            Work::Accept { .. } | Work::Timer | Work::File(_) | Work::Idle { .. } => 1,
        }
    }

    /// The same by plain system calls, where that is something else.
    pub(crate) fn plain(mut self) -> Work {
        if let Work::File(reads) = &mut self {
            reads.is_plain = true;
        }
        self
    }
}

/// How the other core of a `Work::Channel` is to run.
#[derive(Clone, Copy)]
pub(crate) struct Beside {
    pub(crate) cpu: Option<usize>,
    pub(crate) busy_poll: corio::BusyPoll,
}

/// What is to be measured.
#[derive(Clone)]
pub(crate) struct Plan {
    /// Its name.
    pub(crate) server: String,
    pub(crate) address: SocketAddr,
    /// The server listens on so many addresses in a row.
    pub(crate) addresses: u32,
    pub(crate) work: Work,
    pub(crate) connections: usize,
    /// Messages per second of all connections together: an open loop.
    pub(crate) rate: Option<f64>,
    pub(crate) warmup: Duration,
    pub(crate) duration: Duration,
    /// The process whose CPU time is the server's.
    pub(crate) server_process: Option<u32>,
    pub(crate) progress: ProgressBar,
}

/// What was measured.
pub(crate) struct Outcome {
    pub(crate) interval: Duration,
    /// Messages of each connection within the interval.
    pub(crate) messages: Vec<u64>,
    /// Messages of all connections, before and after the interval included.
    pub(crate) messages_in_all: u64,
    pub(crate) latencies_ns: Histogram<u64>,
    /// How late the generator itself was, in an open loop.
    pub(crate) lags_ns: Histogram<u64>,
    pub(crate) server: Option<Times>,
    pub(crate) generator: Option<Times>,
    /// Memory of the server for each connection, where connections are idle.
    pub(crate) bytes_per_connection: Option<f64>,
    pub(crate) error_count: u64,
    pub(crate) first_error: Option<String>,
}

impl Outcome {
    /// Both parts of a measurement.
    pub(crate) fn and(mut self, later: Outcome) -> Outcome {
        self.interval += later.interval;
        for (count, more) in self.messages.iter_mut().zip(&later.messages) {
            *count += more;
        }
        self.server = self.server.zip(later.server).map(|(one, other)| one.and(other));
        self.generator = self.generator.zip(later.generator).map(|(one, other)| one.and(other));
        self
    }

    /// With what is known at the end.
    pub(crate) fn told_by(mut self, tally: &Tally) -> Outcome {
        self.messages_in_all = tally.answered_count();
        (self.latencies_ns, self.lags_ns) = (tally.latencies_ns(), tally.lags_ns());
        (self.error_count, self.first_error) = tally.errors();
        self
    }
}

/// Runs the plans, whose servers take turns if there are several. `Ok(None)` when a signal asked
/// for the end.
pub(crate) async fn run(plans: Vec<Plan>) -> Result<Option<Vec<Outcome>>, String> {
    let signals = Signals::new([Signal::Interrupt, Signal::Terminate])
        .map_err(|error| format!("cannot wait for signals: {error}"))?;
    corio::select! {
        _ = signals.recv() => Ok(None),
        outcomes = measure_all(&plans) => outcomes.map(Some),
    }
}

async fn measure_all(plans: &[Plan]) -> Result<Vec<Outcome>, String> {
    match plans {
        [plan] => measure(plan).await.map(|outcome| vec![outcome]),
        _ => turns::measure(plans).await,
    }
}

async fn measure(plan: &Plan) -> Result<Outcome, String> {
    let tally = Rc::new(Tally::new(plan.connections));
    if matches!(plan.work, Work::Idle { .. }) {
        return idle::measure(plan, &tally).await;
    }
    let (tasks, other_core) = start(plan, &tally).await?;
    pass(plan.warmup, &tally, &plan.progress).await;
    let begin = Moment::now(plan, &tally);
    tally.enter(Phase::Measuring);
    pass(plan.duration, &tally, &plan.progress).await;
    let end = Moment::now(plan, &tally);
    tally.enter(Phase::Ending);

    await_all(tasks, plan, &tally).await;
    if let Some(core) = other_core {
        core.ended().await?;
    }
    let mut outcome = outcome(&begin, &end, &tally);
    match plan.work {
        // All of this process is what is measured.
        Work::Timer | Work::File(_) => outcome.generator = None,
        // The other core is what this thread is not.
        Work::Channel { .. } => {
            let both = outcome.server.zip(outcome.generator);
            outcome.server = both.map(|(all, ours)| all.since(ours));
        }
        _ => {}
    }
    Ok(outcome)
}

/// Starts a task for each connection, and the core at the other end of channels.
pub(crate) async fn start(
    plan: &Plan,
    tally: &Rc<Tally>,
) -> Result<(Vec<JoinHandle<()>>, Option<OtherCore>), String> {
    let streams = match plan.work {
        Work::Echo { .. } | Work::Http { .. } | Work::Idle { .. } => connect_all(plan).await?,
        _ => Vec::new(),
    };
    let begun_at = Instant::now();
    let pace = |index| pace(plan, begun_at, index);
    let messages_per_batch = plan.work.pipeline();
    let streams = streams.into_iter().enumerate();
    let mut other_core = None;
    let tasks = match &plan.work {
        Work::Channel { pipeline, beside } => {
            let (core, all) = OtherCore::start(plan, *beside)?;
            other_core = Some(core);
            let run = |(index, ends)| channels::run(index, *pipeline, ends, Rc::clone(tally));
            all.into_iter().enumerate().map(|one| corio::spawn(run(one))).collect()
        }
        Work::File(reads) => {
            let source = Source::open(reads).await?;
            let tally = || Rc::clone(tally);
            let run = |index| files::run(index, reads.clone(), Rc::clone(&source), tally());
            (0..plan.connections).map(|index| corio::spawn(run(index))).collect()
        }
        Work::Timer => {
            let run = |index| corio::spawn(timers::run(index, Rc::clone(tally)));
            (0..plan.connections).map(run).collect()
        }
        Work::Echo { size, .. } | Work::Idle { size } => {
            let pattern = Pattern::new(size * messages_per_batch);
            let run = |(index, stream)| {
                let (dialogue, tally) = (Echo::new(index, *size, pattern), Rc::clone(tally));
                let pace = pace(index);
                let client = Client { index, messages_per_batch, dialogue, pace, tally };
                corio::spawn(client.run(stream))
            };
            streams.map(run).collect()
        }
        Work::Http { path, pipeline } => {
            // Leaked, as the block of an echo is: it lives as long as the program.
            let batch: &'static [u8] = http::request(path, HOST).repeat(*pipeline).leak();
            let run = |(index, stream)| {
                let (dialogue, tally) = (Http::new(path, batch, *pipeline), Rc::clone(tally));
                let pace = pace(index);
                let client = Client { index, messages_per_batch, dialogue, pace, tally };
                corio::spawn(client.run(stream))
            };
            streams.map(run).collect()
        }
        Work::Accept { size } => {
            let pattern = Pattern::new(*size);
            let run = |index| {
                let (dialogue, tally) = (Echo::new(index, *size, pattern), Rc::clone(tally));
                let pace = pace(index);
                let client = Client { index, messages_per_batch, dialogue, pace, tally };
                corio::spawn(Visitor { client, address: plan.address }.run())
            };
            (0..plan.connections).map(run).collect()
        }
    };
    Ok((tasks, other_core))
}

/// Each connection sends every `connections`th batch of the whole, so that they take turns.
fn pace(plan: &Plan, begun_at: Instant, index: usize) -> Option<Pace> {
    let batch_interval = plan.work.pipeline() as f64 / plan.rate?;
    let first = begun_at.checked_add(Duration::from_secs_f64(batch_interval * index as f64))?;
    let interval = Duration::from_secs_f64(batch_interval * plan.connections as f64);
    Some(Pace { first, interval })
}

/// What lies between two moments.
pub(crate) fn outcome(begin: &Moment, end: &Moment, tally: &Tally) -> Outcome {
    let (error_count, first_error) = tally.errors();
    let messages = begin.messages.iter().zip(&end.messages).map(|(begin, end)| end - begin);
    let between = |(begin, end): (Times, Times)| end.since(begin);
    Outcome {
        interval: end.at.duration_since(begin.at),
        messages: messages.collect(),
        messages_in_all: tally.answered_count(),
        latencies_ns: tally.latencies_ns(),
        lags_ns: tally.lags_ns(),
        server: begin.server.zip(end.server).map(between),
        generator: begin.generator.zip(end.generator).map(between),
        bytes_per_connection: None,
        error_count,
        first_error,
    }
}

/// One end of the measured interval.
pub(crate) struct Moment {
    at: Instant,
    messages: Vec<u64>,
    server: Option<Times>,
    generator: Option<Times>,
}

impl Moment {
    pub(crate) fn now(plan: &Plan, tally: &Tally) -> Moment {
        let mut now = Moment::at(Instant::now(), plan, tally);
        now.at = Instant::now();
        now
    }

    /// What is so now has been so since then.
    pub(crate) fn at(at: Instant, plan: &Plan, tally: &Tally) -> Moment {
        let server = plan.server_process.and_then(|pid| machine::process_times(pid).ok());
        let generator = machine::thread_times();
        Moment { at, messages: tally.messages(), server, generator }
    }
}

/// Lets time go by, as long as there is a connection left to measure.
pub(crate) async fn pass(duration: Duration, tally: &Tally, progress: &ProgressBar) {
    let deadline = Instant::now() + duration;
    while tally.connections_alive() > 0 {
        let left = deadline.duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        let step = left.min(PROGRESS_INTERVAL);
        corio::sleep(step).await;
        progress.inc(step.as_millis() as u64);
    }
}

/// Waits until every connection has read its last batch and closed. A slow machine gets the time it
/// needs: what counts as silence is that nothing at all moves any more. Connections that still owe
/// an answer then are errors: their server swallowed something or stands still.
pub(crate) async fn await_all(tasks: Vec<JoinHandle<()>>, plan: &Plan, tally: &Tally) {
    for (index, task) in tasks.iter().enumerate() {
        // It waits for its time to send, perhaps for long; nothing of it is in flight.
        if tally.is_pausing(index) && task.abort() {
            tally.ended(None);
        }
    }
    let in_flight_bytes = (plan.connections * plan.work.size() * plan.work.pipeline()) as u64;
    let limit = SILENCE_LIMIT + Duration::from_secs(in_flight_bytes / SLOW_BYTES_PER_S);
    let mut moved_at = Instant::now();
    let mut state = (0, 0);
    loop {
        let finished_count = tasks.iter().filter(|task| task.is_finished()).count();
        if finished_count == tasks.len() || moved_at.elapsed() >= limit {
            break;
        }
        let new_state = (finished_count, tally.answered_count());
        if new_state != state {
            (state, moved_at) = (new_state, Instant::now());
        }
        corio::sleep(END_INTERVAL).await;
    }
    for task in tasks.into_iter().filter(JoinHandle::is_finished) {
        if let Err(error) = task.await
            && !error.is_cancelled()
        {
            tally.ended(Some(format!("a connection's task failed: {error}")));
        }
    }
    let silent = tally.connections_alive() as u64;
    if silent > 0 {
        tally.failed(
            silent,
            format!(
                "{silent} connections had no answer to their last messages, and nothing moved for \
                 {limit:?}; likely cause: the server hangs, lost bytes, or accepts no more (its \
                 limit of open files may be reached)"
            ),
        );
    }
}

/// What the tasks that open connections share.
struct Opening {
    /// Read before the first connection: a process without a free descriptor cannot ask any more.
    open_files_max: Option<u64>,
    next: Cell<usize>,
    failures: Cell<usize>,
}

/// Opens all connections, a bounded number at a time, so that a thousand do not overrun the
/// server's backlog. The first failure stops it.
pub(crate) async fn connect_all(plan: &Plan) -> Result<Vec<TcpStream>, String> {
    let opening = Rc::new(Opening {
        open_files_max: machine::open_files_max(),
        next: Cell::new(0),
        failures: Cell::new(0),
    });
    let connectors: Vec<_> = (0..CONNECTORS.min(plan.connections))
        .map(|_| corio::spawn(connect_some(plan.clone(), Rc::clone(&opening))))
        .collect();
    let mut streams = Vec::with_capacity(plan.connections);
    let mut first_failure = None;
    for connector in connectors {
        match connector.await {
            Ok(Ok(opened)) => streams.extend(opened),
            Ok(Err(failure)) => first_failure = first_failure.or(Some(failure)),
            Err(error) => first_failure = first_failure.or(Some(error.to_string())),
        }
    }
    match first_failure {
        None => Ok(streams),
        Some(failure) => Err(format!("{failure} (errors: {})", opening.failures.get())),
    }
}

async fn connect_some(plan: Plan, opening: Rc<Opening>) -> Result<Vec<TcpStream>, String> {
    let mut opened = Vec::new();
    while opening.next.get() < plan.connections && opening.failures.get() == 0 {
        let index = opening.next.replace(opening.next.get() + 1);
        match connect(address_of(&plan, index)).await {
            Ok(stream) => opened.push(stream),
            Err(error) => {
                opening.failures.set(opening.failures.get() + 1);
                return Err(connect_failure(&plan, &opening, index, &error));
            }
        }
    }
    Ok(opened)
}

/// The addresses take turns.
fn address_of(plan: &Plan, index: usize) -> SocketAddr {
    let mut address = plan.address;
    if let IpAddr::V4(first) = address.ip() {
        let step = index as u32 % plan.addresses.max(1);
        address.set_ip(Ipv4Addr::from_bits(first.to_bits().wrapping_add(step)).into());
    }
    address
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    match corio::timeout(CONNECT_LIMIT, TcpStream::connect(address)).await {
        Ok(connected) => {
            let stream = connected?;
            stream.set_nodelay(true)?;
            Ok(stream)
        }
        Err(_) => {
            let text = format!("no answer within {CONNECT_LIMIT:?}");
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        }
    }
}

/// The fact, the likely cause and the cure of a connection that could not be opened.
fn connect_failure(plan: &Plan, opening: &Opening, index: usize, error: &io::Error) -> String {
    let cure = match (error.raw_os_error(), error.kind()) {
        (Some(EMFILE), _) => {
            let limit = opening.open_files_max.map_or(String::new(), |max| format!(" {max}"));
            let wanted = plan.connections + 64;
            format!(
                "the limit of open files and sockets{limit} is reached; raise it with `ulimit -n \
                 {wanted}` before starting this program, or ask for fewer --connections"
            )
        }
        (_, io::ErrorKind::ConnectionRefused) => {
            "nothing listens there; start the server first, or check --target".to_owned()
        }
        (_, io::ErrorKind::AddrNotAvailable) => {
            "this machine has no free local port left towards that address; ask for fewer \
             --connections, or wait a minute until the ports of earlier ones are free again"
                .to_owned()
        }
        (_, io::ErrorKind::TimedOut) => {
            "the server does not accept fast enough, or a firewall drops packets; ask for fewer \
             --connections"
                .to_owned()
        }
        _ => "check --target and the server's own messages".to_owned(),
    };
    let (number, all, address) = (index + 1, plan.connections, plan.address);
    format!("cannot open connection {number} of {all} to {address}: {error}; {cure}")
}
