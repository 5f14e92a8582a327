//! The result of a benchmark: one JSON object for programs, a table for people.

use hdrhistogram::Histogram;

use crate::load::{Outcome, Plan};
use crate::machine;

/// The percentiles that are reported, by their names in JSON and in the table.
const PERCENTILES: [(&str, &str, f64); 4] =
    [("p50", "p50", 50.0), ("p90", "p90", 90.0), ("p99", "p99", 99.0), ("p99_9", "p99.9", 99.9)];

/// The width of the column of names in the table.
const NAME_WIDTH: usize = 26;

pub(crate) struct Report<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) outcome: &'a Outcome,
    /// The server's driver, or `outside` for a server that was not started here.
    pub(crate) driver: &'a str,
    /// Where server and load generator run, in words.
    pub(crate) placement: &'a str,
    pub(crate) server_enters: Option<u64>,
}

impl Report<'_> {
    /// The object of `--json`, on one line. The order of the fields is fixed.
    pub(crate) fn json(&self) -> String {
        json_object(&[
            ("bench", json_string("echo")),
            ("driver", json_string(self.driver)),
            ("connections", self.plan.connections.to_string()),
            ("size", self.plan.size.to_string()),
            ("pipeline", self.plan.pipeline.to_string()),
            ("seconds", self.plan.duration.as_secs_f64().to_string()),
            ("requests", self.requests().to_string()),
            ("requests_per_s", json_number(Some(self.requests_per_s()), 1)),
            ("latency_us", self.json_latencies()),
            ("errors", self.outcome.error_count.to_string()),
            ("server_cpu_ns_per_request", json_number(self.cpu_ns_per_request(), 1)),
            ("server_enters_per_request", json_number(self.enters_per_request(), 5)),
            ("least_share", json_number(self.least_share(), 3)),
            ("measured_seconds", json_number(Some(self.outcome.interval.as_secs_f64()), 4)),
            ("kernel", json_string(&machine::kernel_release())),
        ])
    }

    /// The table, without a line end after its last line.
    pub(crate) fn table(&self) -> String {
        let plan = self.plan;
        let mut lines = vec![
            format!(
                "echo: {} connections, {} bytes, pipeline {}, driver {}",
                grouped(plan.connections as u64),
                grouped(plan.size as u64),
                plan.pipeline,
                self.driver
            ),
            format!("{}, Linux {}", self.placement, machine::kernel_release()),
            String::new(),
            row("measured", &format!("{:.3}", self.outcome.interval.as_secs_f64()), "s"),
            row("requests", &grouped(self.requests()), ""),
            row("requests per second", &grouped(self.requests_per_s().round() as u64), ""),
        ];
        for (_, name, percentile) in PERCENTILES {
            lines.push(self.latency_row(name, |ns| ns.value_at_percentile(percentile)));
        }
        lines.push(self.latency_row("max", Histogram::max));
        lines.push(known_row("server CPU per request", self.cpu_ns_per_request(), 0, "ns"));
        lines.push(known_row("server enters per request", self.enters_per_request(), 4, ""));
        lines.push(known_row("least-served connection", self.least_share(), 2, "of the mean"));
        lines.push(row("errors", &grouped(self.outcome.error_count), ""));
        lines.join("\n")
    }

    fn json_latencies(&self) -> String {
        let latencies = &self.outcome.latencies_ns;
        let mut fields: Vec<(&str, String)> = Vec::new();
        for (name, _, percentile) in PERCENTILES {
            fields.push((name, json_micros(latencies.value_at_percentile(percentile))));
        }
        fields.push(("max", json_micros(latencies.max())));
        json_object(&fields)
    }

    fn latency_row(&self, name: &str, value_ns: impl Fn(&Histogram<u64>) -> u64) -> String {
        let micros = value_ns(&self.outcome.latencies_ns) as f64 / 1000.0;
        row(&format!("latency {name}"), &format!("{micros:.1}"), "µs")
    }

    fn requests(&self) -> u64 {
        self.outcome.messages.iter().sum()
    }

    fn requests_per_s(&self) -> f64 {
        self.requests() as f64 / self.outcome.interval.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    fn cpu_ns_per_request(&self) -> Option<f64> {
        per(self.outcome.server_cpu_ns?, self.requests())
    }

    /// All requests count here, also those before the measured time: so do the server's enters.
    fn enters_per_request(&self) -> Option<f64> {
        per(self.server_enters?, self.outcome.messages_in_all)
    }

    /// What the least-served connection got, as a part of what it would have got in a fair world.
    fn least_share(&self) -> Option<f64> {
        let least = *self.outcome.messages.iter().min()?;
        per(least * self.outcome.messages.len() as u64, self.requests())
    }
}

fn per(total: u64, count: u64) -> Option<f64> {
    (count > 0).then(|| total as f64 / count as f64)
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

/// Digits in groups of three.
fn grouped(number: u64) -> String {
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
fn json_number(value: Option<f64>, decimals: usize) -> String {
    value.map_or("null".to_owned(), |value| format!("{value:.decimals$}"))
}

fn json_micros(nanoseconds: u64) -> String {
    json_number(Some(nanoseconds as f64 / 1000.0), 3)
}
