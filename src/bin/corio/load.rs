//! The load generator: one task per connection, all on one core of corio.
//!
//! Each task writes a batch of messages (one, unless pipelining is asked for), reads until all of
//! it has come back, and writes the next. It has to be cheap, or the server idles and its figures
//! are wrong: nothing is allocated or copied for a message, replies are compared in the stream's
//! own inbox, and the clock is read once per arrival.
//!
//! A measurement has three phases, and the connections do not notice them: warming up, measuring,
//! ending. At both ends of the measured interval the generator reads the server's CPU clock and the
//! connections' counters, without an await between the two, so they belong to the same moment.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use corio::net::TcpStream;
use corio::signal::{Signal, Signals};
use corio::time::{Duration, Instant};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};

use crate::machine;
use crate::traffic::{Pattern, Phase, Tally};

/// How many connections are being opened at the same moment.
const CONNECTORS: usize = 32;

/// How long one connection may take to open.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Batches of this size and more are queued without a copy; smaller ones are joined in the outbox.
const QUEUED_WHOLE_FROM_BYTES: usize = 4096;

/// Batches of this size and more are timed from after the comparison of the one before.
const TIMED_APART_FROM_BYTES: usize = 4096;

/// How often the progress is shown, and noticed that no connection is left.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

/// How often is looked at whether the connections have ended.
const END_INTERVAL: Duration = Duration::from_millis(5);

/// How long nothing may move while they end: this, and the time for what is in flight at a slow
/// pace.
const SILENCE_LIMIT: Duration = Duration::from_secs(3);
const SLOW_BYTES_PER_S: u64 = 50_000_000;

/// The errno of a process that has no free descriptor.
const EMFILE: i32 = 24;

/// What is to be measured.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) connections: usize,
    pub(crate) size: usize,
    pub(crate) pipeline: usize,
    pub(crate) warmup: Duration,
    pub(crate) duration: Duration,
    /// The process whose CPU time is the server's.
    pub(crate) server_process: Option<u32>,
    pub(crate) progress: bool,
}

/// What was measured.
pub(crate) struct Outcome {
    pub(crate) interval: Duration,
    /// Messages of each connection within the interval.
    pub(crate) messages: Vec<u64>,
    /// Messages of all connections, before and after the interval included.
    pub(crate) messages_in_all: u64,
    pub(crate) latencies_ns: Histogram<u64>,
    pub(crate) server_cpu_ns: Option<u64>,
    pub(crate) error_count: u64,
    pub(crate) first_error: Option<String>,
}

/// Runs the plan. `Ok(None)` when a signal asked for the end.
pub(crate) async fn run(plan: Plan) -> Result<Option<Outcome>, String> {
    let signals = Signals::new([Signal::Interrupt, Signal::Terminate])
        .map_err(|error| format!("cannot wait for signals: {error}"))?;
    corio::select! {
        _ = signals.recv() => Ok(None),
        outcome = measure(&plan) => outcome.map(Some),
    }
}

async fn measure(plan: &Plan) -> Result<Outcome, String> {
    let streams = connect_all(plan).await?;
    let tally = Rc::new(Tally::new(plan.connections));
    let pattern = Pattern::new(plan.size * plan.pipeline);
    let tasks: Vec<_> = streams
        .into_iter()
        .enumerate()
        .map(|(index, stream)| {
            let client = Client { index, size: plan.size, pattern, tally: Rc::clone(&tally) };
            corio::spawn(client.run(stream))
        })
        .collect();

    let progress = progress_bar(plan);
    pass(plan.warmup, &tally, &progress).await;
    let begin = Moment::now(plan, &tally);
    tally.enter(Phase::Measuring);
    pass(plan.duration, &tally, &progress).await;
    let end = Moment::now(plan, &tally);
    tally.enter(Phase::Ending);
    progress.finish_and_clear();

    await_all(tasks, plan, &tally).await;
    let (error_count, first_error) = tally.errors();
    let messages = begin.messages.iter().zip(&end.messages).map(|(begin, end)| end - begin);
    Ok(Outcome {
        interval: end.at.duration_since(begin.at),
        messages: messages.collect(),
        messages_in_all: tally.messages().iter().sum(),
        latencies_ns: tally.latencies_ns(),
        server_cpu_ns: begin.server_cpu_ns.zip(end.server_cpu_ns).map(|(begin, end)| end - begin),
        error_count,
        first_error,
    })
}

/// One end of the measured interval.
struct Moment {
    at: Instant,
    messages: Vec<u64>,
    server_cpu_ns: Option<u64>,
}

impl Moment {
    fn now(plan: &Plan, tally: &Tally) -> Moment {
        let server_cpu_ns = plan.server_process.and_then(|pid| machine::process_cpu_ns(pid).ok());
        Moment { at: Instant::now(), messages: tally.messages(), server_cpu_ns }
    }
}

/// Lets time go by, as long as there is a connection left to measure.
async fn pass(duration: Duration, tally: &Tally, progress: &ProgressBar) {
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

fn progress_bar(plan: &Plan) -> ProgressBar {
    if !plan.progress {
        return ProgressBar::hidden();
    }
    let length = plan.warmup + plan.duration;
    let bar = ProgressBar::new(length.as_millis() as u64);
    let style = ProgressStyle::with_template("measuring {wide_bar} {percent:>3} %, {eta} left");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Waits until every connection has read its last batch and closed. A slow machine gets the time it
/// needs: what counts as silence is that nothing at all moves any more. Connections that still owe
/// an answer then are errors: their server swallowed something or stands still.
async fn await_all(tasks: Vec<corio::JoinHandle<()>>, plan: &Plan, tally: &Tally) {
    let in_flight_bytes = (plan.connections * plan.size * plan.pipeline) as u64;
    let limit = SILENCE_LIMIT + Duration::from_secs(in_flight_bytes / SLOW_BYTES_PER_S);
    let mut moved_at = Instant::now();
    let mut state = (0, 0);
    loop {
        let finished_count = tasks.iter().filter(|task| task.is_finished()).count();
        if finished_count == tasks.len() || moved_at.elapsed() >= limit {
            break;
        }
        let new_state = (finished_count, tally.messages().iter().sum::<u64>());
        if new_state != state {
            (state, moved_at) = (new_state, Instant::now());
        }
        corio::sleep(END_INTERVAL).await;
    }
    for task in tasks.into_iter().filter(corio::JoinHandle::is_finished) {
        if let Err(error) = task.await {
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

/// What one connection's task knows.
struct Client {
    index: usize,
    size: usize,
    pattern: Pattern,
    tally: Rc<Tally>,
}

impl Client {
    async fn run(self, mut stream: TcpStream) {
        let error = self.exchange(&mut stream).await.err();
        self.tally.ended(error.map(|error| format!("connection {}: {error}", self.index)));
        // Every byte came back or the failure is counted: how the connection ends adds nothing.
        let _ = stream.close().await;
    }

    /// Batch after batch, until the measurement ends.
    async fn exchange(&self, stream: &mut TcpStream) -> Result<(), String> {
        let mut sent_at = Instant::now();
        let mut number = 0;
        while !self.tally.is_ending() {
            let batch = self.pattern.batch(self.index, number);
            if batch.len() >= TIMED_APART_FROM_BYTES {
                sent_at = Instant::now();
            }
            let sent = if batch.len() >= QUEUED_WHOLE_FROM_BYTES {
                stream.write_owned(batch).await
            } else {
                stream.write(batch).await
            };
            sent.map_err(|error| format!("sending failed: {error}"))?;
            sent_at = self.receive(stream, batch, number, sent_at).await?;
            number += 1;
        }
        Ok(())
    }

    /// Reads and compares until all of `batch` has come back. Returns when its last byte arrived,
    /// which is also when the next batch is sent.
    async fn receive(
        &self,
        stream: &mut TcpStream,
        batch: &[u8],
        number: u64,
        sent_at: Instant,
    ) -> Result<Instant, String> {
        let mut done = 0;
        let mut messages_done = 0;
        loop {
            let received = stream.fill_buf().await.map_err(|error| self.lost(&error, done))?;
            let arrived_at = Instant::now();
            let expected = &batch[done..];
            let len = received.len();
            if len == 0 || len > expected.len() || *received != expected[..len] {
                return Err(self.wrong(received, expected, number, done));
            }
            stream.consume(len);
            done += len;

            let messages = done / self.size;
            if messages > messages_done {
                let latency_ns = arrived_at.duration_since(sent_at).as_nanos() as u64;
                self.tally.arrived(self.index, (messages - messages_done) as u64, latency_ns);
                messages_done = messages;
            }
            if done == batch.len() {
                return Ok(arrived_at);
            }
        }
    }

    fn lost(&self, error: &io::Error, done: usize) -> String {
        format!("receiving failed with {done} bytes of the batch echoed: {error}")
    }

    /// Says what is wrong with a piece that is not what was sent.
    #[cold]
    fn wrong(&self, received: &[u8], expected: &[u8], number: u64, done: usize) -> String {
        if received.is_empty() {
            let missing = expected.len();
            return format!("the server closed it while {missing} bytes were still to be echoed");
        }
        let wrong = received.iter().zip(expected).position(|(received, sent)| received != sent);
        let Some(wrong) = wrong else {
            let more = received.len() - expected.len();
            return format!("the server sent {more} bytes more than it should");
        };
        let byte = done + wrong;
        let message = number as usize * (expected.len() + done) / self.size + byte / self.size;
        format!(
            "byte {} of message {message} came back as {:#04x}, but {:#04x} was sent",
            byte % self.size,
            received[wrong],
            expected[wrong]
        )
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
async fn connect_all(plan: &Plan) -> Result<Vec<TcpStream>, String> {
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
        match connect(plan.address).await {
            Ok(stream) => opened.push(stream),
            Err(error) => {
                opening.failures.set(opening.failures.get() + 1);
                return Err(connect_failure(&plan, &opening, index, &error));
            }
        }
    }
    Ok(opened)
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
            "nothing listens there; start the server first, or check --connect".to_owned()
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
        _ => "check --connect and the server's own messages".to_owned(),
    };
    let (number, all, address) = (index + 1, plan.connections, plan.address);
    format!("cannot open connection {number} of {all} to {address}: {error}; {cure}")
}
