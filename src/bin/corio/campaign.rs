//! A benchmark from its first round to its last: which server is driven when, and which rounds
//! count.
//!
//! For each number of connections there are rounds, each with fresh processes. Within a round the
//! servers take turns (`turns.rs`), or are measured one after the other where a turn would disturb
//! what is measured. What changes on the machine (its temperature, its neighbours) then meets all
//! of them alike, and they are compared round by round. A round that was disturbed is measured
//! again, half as often as there are rounds; if the machine does not come to rest, all rounds
//! count, and the report says so. The first error ends it all: figures of a server that answers
//! wrongly are no figures.

use std::cell::Cell as Kept;
use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressStyle};

use crate::Failure;
use crate::arguments::Cpu;
use crate::bench_options::{BenchOptions, Placement};
use crate::contender::{self, Contender, Running};
use crate::core_shares::CoreShare;
use crate::facts::Facts;
use crate::figures;
use crate::load::{self, Outcome, Plan, Work};
use crate::machine;
use crate::report::Report;
use crate::steadiness::{self, Watch};

/// Open files besides the connections: the ring, listeners, signals, pipes.
const OTHER_FILES: usize = 64;

/// One measurement of one server.
pub(crate) struct Round {
    /// Rounds of one number were measured together.
    pub(crate) number: usize,
    pub(crate) outcome: Outcome,
    /// How often the server called the kernel, if it tells.
    pub(crate) server_enters: Option<u64>,
    /// What each core of the server did, if it has several.
    pub(crate) cores: Vec<CoreShare>,
    pub(crate) watch: Watch,
    pub(crate) disturbance: Option<String>,
}

/// All that was measured of one server with one number of connections.
pub(crate) struct Cell {
    pub(crate) server: String,
    pub(crate) driver: String,
    pub(crate) connections: usize,
    pub(crate) rounds: Vec<Round>,
    /// Messages of all rounds, dropped ones and the time that is not measured included: what a
    /// counter that watches the server from outside has to be divided by.
    pub(crate) messages_in_all: u64,
    /// Rounds that were disturbed and measured again.
    pub(crate) dropped_count: usize,
}

/// What does not change from round to round.
pub(crate) struct Campaign<'a> {
    pub(crate) options: &'a BenchOptions,
    pub(crate) placement: Placement,
    pub(crate) work: Work,
    pub(crate) connections: Vec<usize>,
    /// Addresses that corio's server listens on.
    pub(crate) addresses: u32,
    /// The quickest hand-over of a cache line so far.
    hand_over_best_ns: Kept<Option<u64>>,
}

impl<'a> Campaign<'a> {
    pub(crate) fn new(
        options: &'a BenchOptions,
        work: Work,
        connections_default: usize,
    ) -> Result<Campaign<'a>, Failure> {
        options.check()?;
        let placement = Placement::of(options);
        if let Some(warning) = placement.warning() {
            eprintln!("warning: {warning}");
        }
        let niceness = machine::niceness();
        if niceness > 0 {
            eprintln!(
                "warning: this program runs at nice {niceness}: beside others it waits for its \
                 CPU, up to some 200 ms at a time, and latencies say so; start it without `nice`"
            );
        }
        machine::lift_open_files_limit();
        let connections = options.connections_or(connections_default);
        if work.has_sockets() {
            check_open_files(connections.iter().copied().max().unwrap_or(0))?;
        }
        Ok(Campaign {
            options,
            placement,
            work,
            connections,
            addresses: 1,
            hand_over_best_ns: Kept::new(None),
        })
    }

    /// Measures everything and reports it.
    pub(crate) fn run(self, server_kind: &'static str) -> Result<(), Failure> {
        let contenders = match self.work {
            Work::Timer | Work::Channel { .. } => vec![Contender::Within],
            Work::File(_) => vec![Contender::Within, Contender::Plain],
            _ => self.options.contenders(server_kind, &self.placement, self.addresses),
        };
        let (driver, features) = self.driver_and_features();
        let facts = Facts::collect(&self.placement.describe(), &features);
        let progress = self.progress_bar(contenders.len());
        let mut cells = Vec::new();
        for &connections in &self.connections {
            cells.extend(self.measure(&contenders, &driver, connections, &progress)?);
        }
        progress.finish_and_clear();
        let report = Report {
            work: &self.work,
            rate: self.options.rate,
            seconds: self.options.seconds,
            facts: &facts,
            cells: &cells,
        };
        report.publish(self.options)
    }

    /// All rounds of all servers with this number of connections.
    fn measure(
        &self,
        contenders: &[Contender],
        driver: &str,
        connections: usize,
        progress: &ProgressBar,
    ) -> Result<Vec<Cell>, Failure> {
        let mut cells: Vec<Cell> = contenders
            .iter()
            .map(|contender| Cell {
                server: contender.name(),
                driver: match contender {
                    Contender::Own(_) | Contender::Within => driver.to_owned(),
                    Contender::Plain => "none".to_owned(),
                    Contender::Command { .. } | Contender::Outside { .. } => "outside".to_owned(),
                },
                connections,
                rounds: Vec::new(),
                messages_in_all: 0,
                dropped_count: 0,
            })
            .collect();
        let wanted = self.options.rounds;
        let takes_turns = self.takes_turns(contenders.len(), connections);
        let at_once = if takes_turns { contenders.len() } else { 1 };
        for number in 0..wanted + wanted.div_ceil(2) {
            for (cells, contenders) in cells.chunks_mut(at_once).zip(contenders.chunks(at_once)) {
                let names = cells.iter().map(|cell| shortened(&contender::shown(&cell.server)));
                let names: Vec<String> = names.collect();
                progress.set_message(format!("{}, {connections} connections", names.join(", ")));
                let rounds = self.round(number, contenders, connections, progress)?;
                for (cell, round) in cells.iter_mut().zip(rounds) {
                    cell.messages_in_all += round.outcome.messages_in_all;
                    cell.rounds.push(round);
                    if self.options.rate.is_none() && self.work.is_echo_like() {
                        cell.mark_the_unsaturated(self.placement.is_shared());
                    }
                }
            }
            if cells.iter().any(Cell::has_failed) {
                return Ok(cells);
            }
            // One round alone is not worth a second.
            if wanted == 1 || cells.iter().all(|cell| cell.has_enough(wanted)) {
                break;
            }
        }
        for cell in &mut cells {
            cell.keep(wanted);
        }
        Ok(cells)
    }

    /// Whether the servers take turns within a round: where they are driven as fast as they can.
    fn takes_turns(&self, servers: usize, connections: usize) -> bool {
        let wanted = (servers * connections + OTHER_FILES) as u64;
        let fits = machine::open_files_max().is_none_or(|max| wanted <= max);
        self.options.rate.is_none() && self.work.is_echo_like() && fits
    }

    /// One round of these servers, which take turns in it.
    fn round(
        &self,
        number: usize,
        contenders: &[Contender],
        connections: usize,
        progress: &ProgressBar,
    ) -> Result<Vec<Round>, Failure> {
        let probe = || steadiness::hand_over_ns(self.placement.server, self.placement.load);
        let before = probe();
        let stolen_before_ns = machine::stolen_ns(&self.placement.cpus());
        let started: Result<Vec<Running>, String> =
            contenders.iter().map(Contender::start).collect();
        let servers = started.map_err(Failure::work)?;
        let plan = |(contender, server): (&Contender, &Running)| Plan {
            server: contender.name(),
            address: server.address(),
            addresses: if matches!(contender, Contender::Own(_)) { self.addresses } else { 1 },
            work: match contender {
                Contender::Plain => self.work.clone().plain(),
                _ => self.work.clone(),
            },
            connections,
            rate: self.options.rate,
            warmup: self.options.warmup,
            duration: self.options.seconds,
            server_process: server.process(),
            progress: progress.clone(),
        };
        let mut outcomes = self.run_load(contenders.iter().zip(&servers).map(plan).collect())?;
        let mut counters = Vec::new();
        for (server, outcome) in servers.into_iter().zip(&mut outcomes) {
            let told = server.finish().unwrap_or_else(|failure| {
                outcome.error_count += 1;
                outcome.first_error.get_or_insert(failure);
                None
            });
            counters.push(told.unwrap_or_default());
        }
        let stolen_ns = machine::stolen_ns(&self.placement.cpus()) - stolen_before_ns;
        let after = probe();
        let best = [before, after, self.hand_over_best_ns.get()].into_iter().flatten().min();
        self.hand_over_best_ns.set(best);
        // What the host took is shared out among those who were there.
        let watch = Watch {
            hand_over_ns: (before, after),
            hand_over_best_ns: best,
            stolen_ns: stolen_ns / contenders.len().max(1) as u64,
            is_shared: self.placement.is_shared(),
        };
        let rounds = outcomes.into_iter().zip(counters).map(|(outcome, counters)| Round {
            number,
            disturbance: watch.disturbance(&outcome),
            outcome,
            server_enters: counters["enters"].as_u64(),
            cores: CoreShare::all(&counters),
            watch,
        });
        Ok(rounds.collect())
    }

    /// Runs the load generator on its own CPU, on a runtime like any other.
    fn run_load(&self, plans: Vec<Plan>) -> Result<Vec<Outcome>, Failure> {
        let mut builder = corio::Runtime::builder();
        if let Some(Cpu(cpu)) = self.placement.load {
            builder = builder.pin(cpu);
        }
        if self.placement.is_shared() {
            builder = builder.busy_poll(corio::BusyPoll::Off);
        }
        if let Some(driver) = self.options.driver.filter(|_| !self.work.has_sockets()) {
            builder = builder.driver(driver);
        }
        if let Some(busy_poll) = self.options.load_busy_poll {
            builder = builder.busy_poll(busy_poll.setting());
        }
        let runtime = builder.build().map_err(|error| Failure::work(error.to_string()))?;
        let outcomes = runtime.block_on(load::run(plans)).map_err(Failure::work)?;
        outcomes.ok_or_else(Failure::interrupted)
    }

    /// What corio's server has chosen: the environment's driver, the one asked for, or what starts.
    fn driver_and_features(&self) -> (String, String) {
        if self.options.target.is_some() {
            return ("outside".to_owned(), "outside".to_owned());
        }
        let mut builder = corio::Runtime::builder();
        if let Some(driver) = self.options.driver {
            builder = builder.driver(driver);
        }
        match builder.build() {
            Ok(runtime) => {
                let features = runtime.features();
                (features.driver().name().to_owned(), features.to_string())
            }
            Err(error) => ("none".to_owned(), error.to_string()),
        }
    }

    fn progress_bar(&self, servers: usize) -> ProgressBar {
        if self.options.json || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let each = self.options.warmup + self.options.seconds;
        let count = servers * self.connections.len() * self.options.rounds;
        let bar = ProgressBar::new(each.as_millis() as u64 * count as u64);
        let style = ProgressStyle::with_template("{msg} {wide_bar} {percent:>3} %, {eta} left");
        bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    }
}

/// Says at once what would come to light only when thousands of connections are open.
fn check_open_files(connections: usize) -> Result<(), Failure> {
    let wanted = (connections + OTHER_FILES) as u64;
    match machine::open_files_max() {
        Some(max) if max < wanted => Err(Failure::work(format!(
            "{connections} connections take as many open files in the server and in this program, \
             and this user may open {max}; raise the limit (`ulimit -n {wanted}`, as root where \
             the hard limit is lower; LimitNOFILE= of systemd, --ulimit nofile={wanted} of \
             Docker), or ask for at most {} --connections",
            max.saturating_sub(OTHER_FILES as u64)
        ))),
        _ => Ok(()),
    }
}

/// A command may be long.
fn shortened(name: &str) -> String {
    name.chars().take(24).collect()
}

impl Cell {
    /// Rounds in which the server was not saturated, though it was in others, count as disturbed.
    fn mark_the_unsaturated(&mut self, is_shared: bool) {
        if is_shared || self.connections < figures::CONNECTIONS_TO_SATURATE {
            return;
        }
        let shares: Vec<Option<f64>> =
            self.rounds.iter().map(|round| figures::server_share(&round.outcome)).collect();
        for at in steadiness::unsaturated(&shares) {
            let percent = shares[at].unwrap_or(0.0) * 100.0;
            self.rounds[at].disturbance.get_or_insert_with(|| {
                format!("the server used {percent:.0} % of its CPU, and more in other rounds")
            });
        }
    }

    fn steady_count(&self) -> usize {
        self.rounds.iter().filter(|round| round.disturbance.is_none()).count()
    }

    /// Whether there are so many steady rounds; or as many as that without a single steady one,
    /// which more of them would not change: threads of a server that wait for each other, say.
    fn has_enough(&self, wanted: usize) -> bool {
        let steady_count = self.steady_count();
        steady_count >= wanted || (steady_count == 0 && self.rounds.len() >= wanted)
    }

    fn has_failed(&self) -> bool {
        self.rounds.iter().any(|round| round.outcome.error_count > 0)
    }

    /// Keeps the steady rounds if there are enough of them; otherwise all.
    fn keep(&mut self, wanted: usize) {
        let count = self.rounds.len();
        if self.steady_count() >= wanted {
            self.rounds.retain(|round| round.disturbance.is_none());
        }
        self.dropped_count = count - self.rounds.len();
    }
}
