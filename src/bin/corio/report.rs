//! The result of a benchmark: JSON for programs, a table for people, and a page with charts.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::bench_options::BenchOptions;
use crate::campaign::{Cell, Round};
use crate::contender;
use crate::core_shares::{self, CoreShare};
use crate::facts::Facts;
use crate::figures::{self, Figures, PERCENTILES};
use crate::load::Work;
use crate::page;
use crate::statistics::{self, Spread, Verdict};
use crate::{Failure, print_line};

/// The width of the column of names in the table.
const NAME_WIDTH: usize = 26;

pub(crate) struct Report<'a> {
    pub(crate) work: &'a Work,
    pub(crate) rate: Option<f64>,
    /// The time of each round.
    pub(crate) seconds: Duration,
    pub(crate) facts: &'a Facts,
    pub(crate) cells: &'a [Cell],
}

/// What the cores did in the last round.
fn last_shares(cell: &Cell) -> &[CoreShare] {
    cell.rounds.last().map_or(&[], |round| &round.cores)
}

impl Report<'_> {
    /// Prints it, writes the page if one is asked for, and fails if the measurement did.
    pub(crate) fn publish(&self, options: &BenchOptions) -> Result<(), Failure> {
        let figures: Vec<Figures> = self.cells.iter().map(Figures::of).collect();
        if options.json {
            for index in 0..self.cells.len() {
                print_line(&self.json(&figures, index));
            }
        } else {
            print_line(&self.text(&figures));
        }
        for (cell, figures) in self.cells.iter().zip(&figures) {
            for remark in figures.remarks(cell, self.work, self.rate) {
                let (server, connections) = (contender::shown(&cell.server), cell.connections);
                eprintln!("warning: {server}, {connections} connections: {remark}");
            }
        }
        if let Some(path) = &options.html {
            let text = page::render(self, &figures);
            std::fs::write(path, text).map_err(|error| {
                let path = path.display();
                Failure::work(format!("cannot write {path}: {error}; choose another --html"))
            })?;
        }
        self.check(&figures)
    }

    fn check(&self, figures: &[Figures]) -> Result<(), Failure> {
        for (cell, figures) in self.cells.iter().zip(figures) {
            if let Some(first) = &figures.first_error {
                let (count, server) = (figures.error_count, &cell.server);
                let text = format!("errors of {server}: {count}; the first: {first}");
                return Err(Failure::work(text));
            }
        }
        for (cell, figures) in self.cells.iter().zip(figures) {
            if figures.requests == 0 {
                let seen = cell.rounds.iter().find_map(|round| round.disturbance.as_ref());
                let seen = seen.map_or(String::new(), |seen| format!(" (seen here: {seen})"));
                return Err(Failure::work(format!(
                    "nothing was measured: no message came back within {:?}; the messages are too \
                     large for that time, the machine is busy{seen}, or the server stands still; \
                     measure longer with --seconds",
                    self.seconds
                )));
            }
        }
        Ok(())
    }

    /// The object of `--json` for one cell, on one line. The order of the fields is fixed.
    fn json(&self, figures: &[Figures], index: usize) -> String {
        let (cell, its) = (&self.cells[index], &figures[index]);
        let shares = last_shares(cell);
        let median = |spread: Option<Spread>| spread.map(|it| it.median);
        let spread = |spread: Option<Spread>| json_number(spread.map(|it| it.relative()), 4);
        let facts: Vec<_> =
            self.facts.0.iter().map(|(name, value)| (*name, json_string(value))).collect();
        json_object(&[
            ("bench", json_string(self.work.name())),
            ("driver", json_string(&cell.driver)),
            ("connections", cell.connections.to_string()),
            ("size", self.work.size().to_string()),
            ("pipeline", self.work.pipeline().to_string()),
            ("seconds", self.seconds.as_secs_f64().to_string()),
            ("requests", its.requests.to_string()),
            ("requests_per_s", json_number(median(its.requests_per_s), 1)),
            ("latency_us", json_latencies(&its.latencies_ns)),
            ("errors", its.error_count.to_string()),
            ("server_cpu_ns_per_request", json_number(median(its.cpu_ns_per_request), 1)),
            ("server_enters_per_request", json_number(median(its.enters_per_request), 5)),
            ("least_share", json_number(its.least_share, 3)),
            ("measured_seconds", json_number(Some(its.seconds), 4)),
            ("kernel", json_string(&crate::machine::kernel_release())),
            ("server", json_string(&cell.server)),
            ("path", self.path().map_or("null".to_owned(), json_string)),
            ("rounds", cell.rounds.len().to_string()),
            ("rounds_repeated", cell.dropped_count.to_string()),
            ("rounds_disturbed", disturbed_count(cell).to_string()),
            ("requests_per_s_spread", spread(its.requests_per_s)),
            ("server_cpu_spread", spread(its.cpu_ns_per_request)),
            ("rate", json_number(self.rate, 1)),
            ("lag_us", json_latencies(&its.lags_ns)),
            ("server_cpu_share", json_number(its.server_share, 3)),
            ("generator_cpu_share", json_number(its.generator_share, 3)),
            (
                "generator_limited",
                its.is_generator_limited(cell.connections, self.rate).to_string(),
            ),
            ("in_flight", json_number(Some(its.in_flight), 2)),
            ("requests_in_all", cell.messages_in_all.to_string()),
            ("bytes_per_connection", json_number(median(its.bytes_per_connection), 1)),
            ("cores", CoreShare::json(shares)),
            ("imbalance", json_number(core_shares::imbalance(shares), 3)),
            ("core_to_core_ns", json_number(hand_over_ns(cell), 0)),
            ("against", self.json_against(index)),
            ("machine", json_object(&facts)),
        ])
    }

    /// How this cell compares with that of the first server and as many connections.
    fn json_against(&self, index: usize) -> String {
        let Some((first, comparison)) = self.comparison(index) else {
            return "null".to_owned();
        };
        let better = match comparison.verdict {
            Verdict::First => json_string(&self.cells[first].server),
            Verdict::Second => json_string(&self.cells[index].server),
            Verdict::Noise | Verdict::TooFewRounds => "null".to_owned(),
        };
        json_object(&[
            ("server", json_string(&self.cells[first].server)),
            ("metric", json_string(comparison.metric)),
            ("ratio", json_number(Some(comparison.ratios.median), 4)),
            ("ratio_spread", json_number(Some(comparison.ratios.relative()), 4)),
            ("better", better),
        ])
    }

    pub(crate) fn path(&self) -> Option<&str> {
        match self.work {
            Work::Http { path, .. } => Some(path),
            Work::Echo { .. }
            | Work::Accept { .. }
            | Work::Timer
            | Work::File(_)
            | Work::Channel { .. }
            | Work::Idle { .. } => None,
        }
    }

    /// The first server's cell with as many connections, and how this one compares with it.
    pub(crate) fn comparison(&self, index: usize) -> Option<(usize, Comparison)> {
        let connections = self.cells[index].connections;
        let first = self.cells.iter().position(|cell| cell.connections == connections)?;
        if first == index {
            return None;
        }
        Some((first, Comparison::of(&self.cells[first], &self.cells[index])?))
    }

    /// One sentence for each comparison.
    pub(crate) fn verdicts(&self) -> Vec<String> {
        let sentence = |index| {
            let (first, comparison) = self.comparison(index)?;
            let shown = |index: usize| contender::shown(&self.cells[index].server);
            let connections = grouped(self.cells[index].connections as u64);
            let said = comparison.say(&shown(first), &shown(index));
            Some(format!("{connections} connections: {said}"))
        };
        (0..self.cells.len()).filter_map(sentence).collect()
    }

    /// What is measured, in one line.
    pub(crate) fn title(&self) -> String {
        let loop_kind = match self.rate {
            Some(rate) => format!("{} messages per second", grouped(rate.round() as u64)),
            None => "closed loop".to_owned(),
        };
        let what = match self.path() {
            Some(path) => path.to_owned(),
            None => format!("{} bytes", grouped(self.work.size() as u64)),
        };
        let (name, pipeline) = (self.work.name(), self.work.pipeline());
        format!("{name}: {what}, pipeline {pipeline}, {loop_kind}")
    }

    /// What people read, without a line end after its last line.
    fn text(&self, figures: &[Figures]) -> String {
        let mut lines = vec![self.title()];
        for name in ["placement", "kernel", "cpu"] {
            let value = self.facts.0.iter().find(|fact| fact.0 == name);
            lines.push(value.map_or(String::new(), |fact| format!("{name}: {}", fact.1)));
        }
        match (self.cells, figures) {
            ([cell], [figures]) => lines.extend(self.table_of_one(cell, figures)),
            _ => lines.extend(self.table_of_many(figures)),
        }
        for cell in self.cells {
            lines.extend(core_shares::table(last_shares(cell)));
        }
        lines.extend(self.verdicts());
        lines.join("\n")
    }

    fn table_of_one(&self, cell: &Cell, its: &Figures) -> Vec<String> {
        let mut lines = vec![
            String::new(),
            format!(
                "{}, driver {}, {} connections, {} rounds of {:.3} s",
                contender::shown(&cell.server),
                cell.driver,
                grouped(cell.connections as u64),
                cell.rounds.len(),
                self.seconds.as_secs_f64()
            ),
            row("requests", &grouped(its.requests), ""),
            spread_row("requests per second", its.requests_per_s, 0, ""),
        ];
        for (_, name, percentile) in PERCENTILES {
            let ns = its.latencies_ns.value_at_percentile(percentile);
            lines.push(row(&format!("latency {name}"), &micros(ns), "µs"));
        }
        lines.push(row("latency max", &micros(its.latencies_ns.max()), "µs"));
        lines.push(spread_row("server CPU per request", its.cpu_ns_per_request, 0, "ns"));
        lines.push(spread_row("server enters per request", its.enters_per_request, 4, ""));
        if matches!(self.work, Work::Idle { .. }) {
            lines.push(spread_row("memory per connection", its.bytes_per_connection, 0, "bytes"));
        }
        lines.push(known_row("least-served connection", its.least_share, 2, "of the mean"));
        lines.push(percent_row("server's CPU used", its.server_share));
        lines.push(percent_row("load generator's CPU used", its.generator_share));
        lines.push(row("in flight (Little's law)", &format!("{:.1}", its.in_flight), ""));
        if self.rate.is_some() {
            let lag = its.lags_ns.value_at_percentile(99.0);
            lines.push(row("generator's lag p99", &micros(lag), "µs"));
        }
        lines.push(row("errors", &grouped(its.error_count), ""));
        lines
    }

    fn table_of_many(&self, figures: &[Figures]) -> Vec<String> {
        let is_idle = matches!(self.work, Work::Idle { .. });
        let last = if is_idle { "bytes/conn" } else { "enters/req" };
        let mut lines = vec![
            String::new(),
            format!(
                "{:>11}  {:<24}{:>12}{:>7}{:>10}{:>10}{:>11}{:>7}{:>12}{:>7}",
                "connections",
                "server",
                "requests/s",
                "±",
                "p50 µs",
                "p99 µs",
                "CPU ns/req",
                "±",
                last,
                "errors"
            ),
        ];
        for (cell, its) in self.cells.iter().zip(figures) {
            let percent = |it: Option<Spread>| {
                it.map_or("-".to_owned(), |it| format!("{:.1}%", it.relative() * 100.0))
            };
            let number = |it: Option<Spread>, decimals: usize| {
                it.map_or("-".to_owned(), |it| format!("{:.decimals$}", it.median))
            };
            let (last, decimals) = match is_idle {
                true => (its.bytes_per_connection, 0),
                false => (its.enters_per_request, 4),
            };
            let server: String = contender::shown(&cell.server).chars().take(23).collect();
            lines.push(format!(
                "{:>11}  {:<24}{:>12}{:>7}{:>10}{:>10}{:>11}{:>7}{:>12}{:>7}",
                grouped(cell.connections as u64),
                server,
                grouped(its.requests_per_s.map_or(0, |it| it.median.round() as u64)),
                percent(its.requests_per_s),
                micros(its.latencies_ns.value_at_percentile(50.0)),
                micros(its.latencies_ns.value_at_percentile(99.0)),
                number(its.cpu_ns_per_request, 0),
                percent(its.cpu_ns_per_request),
                number(last, decimals),
                grouped(its.error_count),
            ));
        }
        lines.push(String::new());
        lines
    }
}

/// How two servers compare in what matters most and is known of both.
pub(crate) struct Comparison {
    pub(crate) metric: &'static str,
    /// The second's figure as a part of the first's, of each round.
    pub(crate) ratios: Spread,
    pub(crate) verdict: Verdict,
}

impl Comparison {
    fn of(first: &Cell, second: &Cell) -> Option<Comparison> {
        type Figure = fn(&Round) -> Option<f64>;
        let candidates: [(&str, Figure); 3] = [
            ("bytes_per_connection", figures::bytes_per_connection),
            ("server_cpu_ns_per_request", figures::cpu_ns_per_request),
            // Of which less is better as well.
            ("seconds_per_request", figures::seconds_per_request),
        ];
        let ratios = |figure: Figure| {
            let ratio = |one: &Round| {
                let other = second.rounds.iter().find(|other| other.number == one.number)?;
                Some(figure(other)? / figure(one)?.max(f64::MIN_POSITIVE))
            };
            Spread::of(first.rounds.iter().filter_map(ratio))
        };
        let known = |(metric, figure)| Some((metric, ratios(figure)?));
        let (metric, ratios) = candidates.into_iter().find_map(known)?;
        Some(Comparison { metric, ratios, verdict: statistics::verdict(&ratios) })
    }

    fn say(&self, one: &str, other: &str) -> String {
        let what = match self.metric {
            "bytes_per_connection" => "memory per connection",
            "server_cpu_ns_per_request" => "CPU per request",
            _ => "time per request",
        };
        let Spread { median, least, most, .. } = self.ratios;
        let said = match self.verdict {
            Verdict::First => format!("less for `{one}`"),
            Verdict::Second => format!("less for `{other}`"),
            Verdict::Noise => "no difference outside the noise".to_owned(),
            Verdict::TooFewRounds => "too few rounds to tell; at least 4 are needed".to_owned(),
        };
        format!(
            "{what} of `{other}` is {median:.3} times that of `{one}` ({least:.2} to {most:.2}): \
             {said}"
        )
    }
}

fn disturbed_count(cell: &Cell) -> usize {
    cell.rounds.iter().filter(|round| round.disturbance.is_some()).count()
}

fn hand_over_ns(cell: &Cell) -> Option<f64> {
    let probes = cell.rounds.iter().filter_map(|round| round.watch.hand_over_ns.0);
    Spread::of(probes.map(|ns| ns as f64)).map(|it| it.median)
}

fn json_latencies(latencies: &Histogram<u64>) -> String {
    if latencies.is_empty() {
        return "null".to_owned();
    }
    let mut fields: Vec<(&str, String)> = Vec::new();
    for (name, _, percentile) in PERCENTILES {
        fields.push((name, json_micros(latencies.value_at_percentile(percentile))));
    }
    fields.push(("max", json_micros(latencies.max())));
    json_object(&fields)
}

pub(crate) fn micros(ns: u64) -> String {
    format!("{:.1}", ns as f64 / 1000.0)
}

fn row(name: &str, value: &str, unit: &str) -> String {
    format!("{name:<NAME_WIDTH$}{value:>14} {unit}").trim_end().to_owned()
}

fn known_row(name: &str, value: Option<f64>, decimals: usize, unit: &str) -> String {
    match value {
        Some(value) => row(name, &format!("{value:.decimals$}"), unit),
        None => row(name, "not known", ""),
    }
}

fn percent_row(name: &str, share: Option<f64>) -> String {
    known_row(name, share.map(|share| share * 100.0), 0, "%")
}

fn spread_row(name: &str, spread: Option<Spread>, decimals: usize, unit: &str) -> String {
    let Some(spread) = spread else {
        return row(name, "not known", "");
    };
    let value = match decimals {
        0 => grouped(spread.median.max(0.0).round() as u64),
        _ => format!("{:.decimals$}", spread.median),
    };
    let around = if spread.count > 1 {
        format!("± {:.1} %", spread.relative() * 100.0)
    } else {
        String::new()
    };
    row(name, &value, format!("{unit:<6}{around}").trim_end())
}

/// Digits in groups of three.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// One JSON object with its fields in the order given; the values are JSON already.
pub(crate) fn json_object(fields: &[(&str, String)]) -> String {
    let fields: Vec<String> =
        fields.iter().map(|(name, value)| format!("{}:{value}", json_string(name))).collect();
    format!("{{{}}}", fields.join(","))
}

fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A number with that many decimals; what is not known is `null`.
pub(crate) fn json_number(value: Option<f64>, decimals: usize) -> String {
    value.map_or("null".to_owned(), |value| format!("{value:.decimals$}"))
}

fn json_micros(nanoseconds: u64) -> String {
    json_number(Some(nanoseconds as f64 / 1000.0), 3)
}
