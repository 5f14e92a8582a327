//! The figures of one cell (a server with a number of connections), out of its rounds; and what is
//! to be said about them.

use hdrhistogram::Histogram;

use crate::campaign::{Cell, Round};
use crate::load::{Outcome, Work};
use crate::machine::Times;
use crate::statistics::Spread;
use crate::steadiness::SATURATED;
use crate::traffic;

/// The percentiles that are reported, by their names in JSON and in the table.
pub(crate) const PERCENTILES: [(&str, &str, f64); 4] =
    [("p50", "p50", 50.0), ("p90", "p90", 90.0), ("p99", "p99", 99.0), ("p99_9", "p99.9", 99.9)];

/// A side that uses more of its CPU than this has none left.
const BUSY: f64 = 0.95;

/// From so many connections on a closed loop is meant to saturate a server.
pub(crate) const CONNECTIONS_TO_SATURATE: usize = 8;

/// How far a closed loop may be from Little's law, as a part; from how many requests for each
/// message in flight on the ends of the measured time do not matter; and up to which size comparing
/// a message takes no time worth mentioning.
const LITTLE_TOLERANCE: f64 = 0.15;
const LITTLE_REQUESTS_EACH: f64 = 50.0;
const LITTLE_BYTES_MAX: usize = 4096;

pub(crate) struct Figures {
    pub(crate) requests: u64,
    pub(crate) seconds: f64,
    pub(crate) requests_per_s: Option<Spread>,
    pub(crate) cpu_ns_per_request: Option<Spread>,
    pub(crate) enters_per_request: Option<Spread>,
    pub(crate) bytes_per_connection: Option<Spread>,
    pub(crate) least_share: Option<f64>,
    /// The parts of a CPU that the two sides used.
    pub(crate) server_share: Option<f64>,
    pub(crate) generator_share: Option<f64>,
    /// Of all rounds together.
    pub(crate) latencies_ns: Histogram<u64>,
    pub(crate) lags_ns: Histogram<u64>,
    /// Messages in flight by Little's law: mean latency × messages per second.
    pub(crate) in_flight: f64,
    pub(crate) error_count: u64,
    pub(crate) first_error: Option<String>,
}

impl Figures {
    pub(crate) fn of(cell: &Cell) -> Figures {
        let outcomes = || cell.rounds.iter().map(|round| &round.outcome);
        let (mut latencies_ns, mut lags_ns) = (traffic::histogram(), traffic::histogram());
        for outcome in outcomes() {
            // Both have the same bounds, so adding cannot fail.
            let _ = latencies_ns.add(&outcome.latencies_ns);
            let _ = lags_ns.add(&outcome.lags_ns);
        }
        let total: u64 = outcomes().map(requests).sum();
        let seconds: f64 = outcomes().map(seconds).sum();
        let share = |times: fn(&Outcome) -> Option<Times>| {
            let shares =
                outcomes().filter_map(|it| Some(times(it)?.used_ns as f64 / 1e9 / seconds_of(it)));
            Spread::of(shares).map(|it| it.median)
        };
        Figures {
            requests: total,
            seconds,
            requests_per_s: Spread::of(outcomes().map(|it| requests(it) as f64 / seconds_of(it))),
            cpu_ns_per_request: Spread::of(cell.rounds.iter().filter_map(cpu_ns_per_request)),
            enters_per_request: Spread::of(cell.rounds.iter().filter_map(enters_per_request)),
            bytes_per_connection: Spread::of(cell.rounds.iter().filter_map(bytes_per_connection)),
            least_share: outcomes().filter_map(least_share).reduce(f64::min),
            server_share: share(|it| it.server),
            generator_share: share(|it| it.generator),
            in_flight: latencies_ns.mean() / 1e9 * total as f64 / seconds.max(f64::MIN_POSITIVE),
            latencies_ns,
            lags_ns,
            error_count: outcomes().map(|it| it.error_count).sum(),
            first_error: outcomes().find_map(|it| it.first_error.clone()),
        }
    }

    /// Whether the load generator was what limited this, as far as can be told.
    pub(crate) fn is_generator_limited(&self, connections: usize, rate: Option<f64>) -> bool {
        let is_busy = self.generator_share.is_some_and(|share| share > BUSY);
        let has_room = self.server_share.is_none_or(|share| share < SATURATED);
        match rate {
            Some(rate) => self.is_behind(rate) && is_busy && has_room,
            None => connections >= CONNECTIONS_TO_SATURATE && is_busy && has_room,
        }
    }

    fn is_behind(&self, rate: f64) -> bool {
        self.requests_per_s.is_some_and(|reached| reached.median < 0.98 * rate)
    }

    /// What a reader has to know before believing the figures.
    pub(crate) fn remarks(&self, cell: &Cell, work: &Work, rate: Option<f64>) -> Vec<String> {
        let mut remarks = Vec::new();
        let percent = |share: Option<f64>| format!("{:.0} %", share.unwrap_or(0.0) * 100.0);
        let is_echo_like = work.is_echo_like();
        if self.is_generator_limited(cell.connections, rate) && is_echo_like {
            let server = match self.server_share {
                Some(_) => format!("and the server {}", percent(self.server_share)),
                None => "and the server's share is not known (--pid tells it)".to_owned(),
            };
            remarks.push(format!(
                "the load generator was the bottleneck: it used {} of its CPU, {server}; believe \
                 the CPU per request, not the requests per second",
                percent(self.generator_share)
            ));
        } else if let Some(rate) = rate
            && self.is_behind(rate)
        {
            let reached = self.requests_per_s.map_or(0.0, |it| it.median);
            remarks.push(format!(
                "{reached:.0} of {rate:.0} messages per second were reached: the server cannot \
                 keep up, and its latency grows for as long as the measurement lasts"
            ));
        } else if rate.is_none()
            && is_echo_like
            && cell.connections >= CONNECTIONS_TO_SATURATE
            && self.server_share.is_some_and(|share| share < SATURATED)
        {
            remarks.push(format!(
                "the server used {} of its CPU only, so it could do more than the requests per \
                 second say; was the machine busy?",
                percent(self.server_share)
            ));
        }
        let (lag, latency) =
            (self.lags_ns.value_at_percentile(99.0), self.latencies_ns.value_at_percentile(99.0));
        if lag > latency / 2 && !self.lags_ns.is_empty() {
            remarks.push(format!(
                "the load generator sent up to {} µs later than intended (p99), which is in the \
                 latencies; polling (--load-busy-poll) makes it more punctual",
                lag / 1000
            ));
        }
        if rate.is_none() {
            remarks.extend(self.remark_on_littles_law(cell, work));
        }
        remarks.extend(self.remarks_on_rounds(cell));
        remarks
    }

    fn remark_on_littles_law(&self, cell: &Cell, work: &Work) -> Option<String> {
        let sent_count = (cell.connections * work.pipeline()) as f64;
        // In a batch, and while a large message is compared, less is in flight than was sent.
        let is_whole = work.pipeline() == 1 && work.size() < LITTLE_BYTES_MAX;
        let is_off = contradicts_littles_law(self.in_flight, sent_count, self.requests, is_whole);
        (work.is_echo_like() && is_off).then(|| {
            format!(
                "mean latency × requests per second says that {:.1} messages were in flight, but \
                 {sent_count} were (Little's law): do not believe the latencies",
                self.in_flight
            )
        })
    }

    fn remarks_on_rounds(&self, cell: &Cell) -> Vec<String> {
        let mut remarks = Vec::new();
        let disturbed: Vec<&String> =
            cell.rounds.iter().filter_map(|round| round.disturbance.as_ref()).collect();
        if let Some(first) = disturbed.first() {
            remarks.push(format!(
                "the machine was not at rest: {} of {} rounds were disturbed (the first: {first})",
                disturbed.len(),
                cell.rounds.len()
            ));
        }
        let unserved = |round: &Round| round.outcome.messages.iter().filter(|&&it| it == 0).count();
        let unserved = cell.rounds.iter().map(unserved).max().unwrap_or(0);
        if unserved > 0 {
            remarks.push(format!(
                "{unserved} of {} connections got no answer within the measured time of a round, \
                 only later; measure longer with --seconds, or look into the server (its limit of \
                 open files may be reached)",
                cell.connections
            ));
        }
        remarks
    }
}

/// In a closed loop as many messages are in flight as there are connections, each with its
/// pipeline. Latency and requests per second are counted apart, and have to agree with that.
fn contradicts_littles_law(found: f64, sent_count: f64, requests: u64, is_whole: bool) -> bool {
    let part = found / sent_count;
    let is_off = part > 1.0 + LITTLE_TOLERANCE || (is_whole && part < 1.0 - LITTLE_TOLERANCE);
    // In a short run the messages at both ends of the measured time weigh too much.
    is_off && requests as f64 >= LITTLE_REQUESTS_EACH * sent_count
}

fn requests(outcome: &Outcome) -> u64 {
    outcome.messages.iter().sum()
}

fn seconds(outcome: &Outcome) -> f64 {
    outcome.interval.as_secs_f64()
}

/// To divide by.
fn seconds_of(outcome: &Outcome) -> f64 {
    seconds(outcome).max(f64::MIN_POSITIVE)
}

/// The part of its CPU that the server used.
pub(crate) fn server_share(outcome: &Outcome) -> Option<f64> {
    Some(outcome.server?.used_ns as f64 / 1e9 / seconds_of(outcome))
}

pub(crate) fn cpu_ns_per_request(round: &Round) -> Option<f64> {
    per(round.outcome.server?.used_ns, requests(&round.outcome))
}

pub(crate) fn bytes_per_connection(round: &Round) -> Option<f64> {
    round.outcome.bytes_per_connection
}

pub(crate) fn seconds_per_request(round: &Round) -> Option<f64> {
    let count = requests(&round.outcome);
    (count > 0).then(|| seconds(&round.outcome) / count as f64)
}

/// All requests count here, also those before the measured time: so do the server's enters.
fn enters_per_request(round: &Round) -> Option<f64> {
    per(round.server_enters?, round.outcome.messages_in_all)
}

/// What the least-served connection got, as a part of what it would have got in a fair world.
fn least_share(outcome: &Outcome) -> Option<f64> {
    let least = *outcome.messages.iter().min()?;
    per(least * outcome.messages.len() as u64, requests(outcome))
}

fn per(total: u64, count: u64) -> Option<f64> {
    (count > 0).then(|| total as f64 / count as f64)
}

#[cfg(test)]
mod tests {
    use super::contradicts_littles_law;

    #[test]
    fn latencies_that_do_not_agree_with_the_number_of_messages_are_seen() {
        assert!(!contradicts_littles_law(62.0, 64.0, 100_000, true));
        assert!(contradicts_littles_law(30.0, 64.0, 100_000, true));
        assert!(contradicts_littles_law(80.0, 64.0, 100_000, false));
        assert!(!contradicts_littles_law(30.0, 64.0, 100_000, false), "batches trickle in");
        assert!(!contradicts_littles_law(30.0, 64.0, 500, true), "too few to tell");
    }
}
