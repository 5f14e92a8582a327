//! What was measured, as a text that is kept: tables of facts, and no opinions.
//!
//! The main table is also put into another text (the README), between two marks, so that it is the
//! same in both.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::plan::{Job, Question};
use crate::runs::{Failure, Measured, Row};
use crate::servers::{self, Places, SERVERS, Server};

/// Where the main table begins and ends in a text that holds more.
const MARKS: (&str, &str) = ("<!-- peers: begin -->\n", "<!-- peers: end -->");

const METHOD: &str = "\
All servers run the same program: one thread, a task for each connection, `TCP_NODELAY`, buffers as
large as the messages and at least 16 KiB, built with the same profile (`lto = \"fat\"`, one codegen
unit). `corio bench` drives them from another CPU and compares every byte that comes back. In each
round all servers are started anew, on one CPU; in a closed loop they take turns of 25 ms or more
within the round (A B C A B C), while the others sleep, so that all of them meet the same machine. A
figure is the median of the rounds, a multiple of corio's is the median of the rounds' ratios, and
`±` is the distance of the farthest round from it. A round in which the machine was disturbed (a
side waited for its CPU, the host took time, a cache line took three times as long from CPU to CPU
before or after it, or a saturated server used less than 90 % of its CPU) is measured again and
counted below.
CPU is that of the server's process, the kernel's TCP included. corio runs with `busy_poll` off, as
the others do, except where a lone connection's latency is the question. `raw-uring` and `raw-epoll`
are written by hand, without a runtime. Pipelined messages are written and read in batches.";

/// A job and what came of it.
pub struct Result {
    pub job: Job,
    pub measured: Measured,
}

pub struct Report {
    title: String,
    versions: Vec<String>,
    absences: Vec<(&'static str, String)>,
    results: Vec<Result>,
}

impl Report {
    pub fn new(places: &Places, title: &str, is_smoke: bool) -> Report {
        let crates =
            ["tokio", "hyper", "monoio", "compio", "kimojio", "glommio", "smol", "io-uring"];
        let mut versions = servers::versions(&places.workspace, &crates);
        let python = std::process::Command::new(&places.python)
            .args(["-c", "import sys, uvloop; print(sys.version.split()[0], uvloop.__version__)"])
            .output();
        if let Ok(output) = python {
            let text = String::from_utf8_lossy(&output.stdout).trim().replace(' ', ", uvloop ");
            versions.push(format!("Python {text}"));
        }
        let absent = |server: &Server| if is_smoke { None } else { server.absence(places) };
        let absences =
            SERVERS.iter().filter_map(|server| Some((server.name, absent(server)?))).collect();
        Report { title: title.to_owned(), versions, absences, results: Vec::new() }
    }

    pub fn add(&mut self, result: Result) {
        self.results.push(result);
    }

    pub fn failures(&self) -> impl Iterator<Item = &Failure> {
        self.results.iter().flat_map(|result| &result.measured.failures)
    }

    /// A part of the requests per second that corio reached in the closed loop of the same shape.
    pub fn rate_of_corio(&self, job: &Job, part: f64) -> Option<f64> {
        let is_same = |it: &&Result| {
            it.job.question == Question::Echo
                && (it.job.connections, it.job.size, it.job.pipeline)
                    == (job.connections, job.size, job.pipeline)
        };
        let result = self.results.iter().find(is_same)?;
        Some(result.number("corio", "requests_per_s")? * part)
    }

    pub fn write(&self, out: &Path) -> std::result::Result<(), String> {
        let text = self.text();
        fs::write(out, text).map_err(|error| format!("cannot write {}: {error}", out.display()))
    }

    /// Puts the main table between the marks of another text.
    pub fn write_into(&self, path: &Path) -> std::result::Result<(), String> {
        let name = path.display();
        let text = fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
        let (before, rest) =
            text.split_once(MARKS.0).ok_or(format!("{name} has no {}", MARKS.0))?;
        let (_, after) = rest.split_once(MARKS.1).ok_or(format!("{name} has no {}", MARKS.1))?;
        let table = self.main_table();
        let text = format!("{before}{}{table}{}{after}", MARKS.0, MARKS.1);
        fs::write(path, text).map_err(|error| format!("{name}: {error}"))
    }

    fn of(&self, question: Question) -> Vec<&Result> {
        self.results.iter().filter(|result| result.job.question == question).collect()
    }

    fn text(&self) -> String {
        let mut text = format!("# corio beside other runtimes: {}\n\n", self.title);
        text += "Measured by `ci/bench-peers`. Facts only; what they mean is said in \
                 docs/PERFORMANCE.md.\n\n## The machine\n\n";
        let rows = || self.results.iter().flat_map(|result| &result.measured.rows);
        if let Some(Value::Object(facts)) = rows().next().map(|row| &row.figures["machine"]) {
            for (name, value) in facts {
                text += &format!("* {name}: {}\n", value.as_str().unwrap_or("not told"));
            }
        }
        text += &format!("* peers: {}\n\n## The method\n\n{METHOD}\n\n", self.versions.join(", "));
        text += "## Server CPU per echoed request\n\n";
        text += &self.main_table();
        text += &self.not_ahead();
        let sections: [(&str, Question, &[Column]); 7] = [
            ("Server CPU per echoed request, in µs", Question::Echo, &[CPU]),
            ("Echoed requests per second", Question::Echo, &[REQUESTS]),
            ("System calls per echoed request (`perf stat`)", Question::Calls, &[CALLS]),
            ("HTTP: GET /plaintext", Question::Http, &[TIMES, CPU, REQUESTS]),
            ("10,000 idle connections: bytes of user memory each", Question::Idle, &[MEMORY]),
            ("A lone connection, servers that can poll polling", Question::Lone, &[P50, P99, CPU]),
            ("Latency at 80 % of what corio can do", Question::Rate, &[P50, P99, REQUESTS, CPU]),
        ];
        for (title, question, columns) in sections {
            let results = self.of(question);
            if !results.is_empty() {
                text += &format!("\n## {title}\n\n");
                for column in columns {
                    text += &table(&results, column);
                    text.push('\n');
                }
            }
        }
        text += &self.steadiness();
        text + &self.failed()
    }

    /// corio's CPU, and that of the others as a multiple of it.
    fn main_table(&self) -> String {
        table(&self.of(Question::Echo), &TIMES)
    }

    /// The cells in which corio is not the first of the runtimes.
    fn not_ahead(&self) -> String {
        let results = self.of(Question::Echo);
        let (mut ahead_count, mut items) = (0, String::new());
        for result in &results {
            let Some((best, ratio)) = result.against_best_runtime() else {
                continue;
            };
            let better = result.row(best).map(|row| row.figures["against"]["better"].clone());
            match better.as_ref().and_then(Value::as_str) {
                Some("corio") => ahead_count += 1,
                Some(_) => items += &format!("* {}: {best}, {ratio:.3} times\n", result.cell()),
                None => {
                    let cell = result.cell();
                    items += &format!("* {cell}: {best}, {ratio:.3} times, inside the noise\n");
                }
            }
        }
        let all = results.len();
        let mut text = format!(
            "\nIn {ahead_count} of {all} cells corio takes less CPU than the best of the runtimes, \
             by 5 % or\nmore and in every round.\n"
        );
        if !items.is_empty() {
            text += "The others, with the best runtime and its CPU as a multiple of corio's:\n\n";
            text += &items;
        }
        text
    }

    fn steadiness(&self) -> String {
        let mut text = String::from(
            "\n## How steady it was\n\nRounds that were measured again, rounds that were disturbed \
             and count nevertheless, the least share\nthat a connection got of the mean, by how \
             much mean latency × requests per second is off the\nnumber in flight (Little's law), \
             each the worst of all servers; and where the load generator was the\nlimit.\n\n\
             | run | again | disturbed | least share | Little | generator the limit |\n\
             |---|---|---|---|---|---|\n",
        );
        for result in &self.results {
            let rows = || result.measured.rows.iter();
            let sum =
                |name: &str| -> f64 { rows().filter_map(|row| row.figures[name].as_f64()).sum() };
            let least = rows()
                .filter_map(|row| row.figures["least_share"].as_f64())
                .fold(f64::INFINITY, f64::min);
            let off = rows().filter_map(|row| result.off_little(row)).fold(0.0, f64::max);
            let limited: Vec<&str> = rows()
                .filter(|row| row.figures["generator_limited"] == true)
                .map(|row| row.server)
                .collect();
            text += &format!(
                "| {} | {} | {} | {least:.2} | {:.1} % | {} |\n",
                result.job.title(),
                sum("rounds_repeated"),
                sum("rounds_disturbed"),
                off * 100.0,
                limited.join(", ")
            );
        }
        text
    }

    fn failed(&self) -> String {
        let mut text = String::new();
        for (name, reason) in &self.absences {
            text += &format!("* {name}: {reason}\n");
        }
        for result in &self.results {
            for failure in &result.measured.failures {
                let title = result.job.title();
                text += &format!("* {title}: {}: {}\n", failure.server, failure.message);
            }
        }
        if text.is_empty() {
            return "\nNo server failed.\n".to_owned();
        }
        format!("\n## Servers that failed\n\n{text}")
    }
}

impl Result {
    fn row(&self, server: &str) -> Option<&Row> {
        self.measured.rows.iter().find(|row| row.server == server)
    }

    fn number(&self, server: &str, name: &str) -> Option<f64> {
        self.row(server)?.figures[name].as_f64()
    }

    /// The runtime that takes the least CPU, corio and what is no runtime apart; and its CPU as a
    /// multiple of corio's.
    fn against_best_runtime(&self) -> Option<(&'static str, f64)> {
        let runtimes = SERVERS.iter().filter(|it| it.is_compiled() && !it.is_raw());
        let ratio = |it: &Server| self.row(it.name)?.figures["against"]["ratio"].as_f64();
        let ratios = runtimes.filter_map(|it| Some((it.name, ratio(it)?)));
        ratios.min_by(|one, other| one.1.total_cmp(&other.1))
    }

    /// How far a closed loop is from Little's law, as a part.
    fn off_little(&self, row: &Row) -> Option<f64> {
        let is_closed = row.figures["rate"].is_null() && row.figures["bench"] != "idle";
        let is_closed = is_closed && self.job.pipeline == 1;
        let expected = f64::from(self.job.connections * self.job.pipeline);
        let found = row.figures["in_flight"].as_f64().filter(|_| is_closed)?;
        Some((found / expected - 1.0).abs())
    }

    fn cell(&self) -> String {
        let Job { connections, size, pipeline, question, .. } = self.job;
        let size = if size % 1024 == 0 { format!("{} KiB", size / 1024) } else { size.to_string() };
        let pipelined = if pipeline > 1 { format!(", pipeline {pipeline}") } else { String::new() };
        match question {
            Question::Http | Question::Idle => format!("{connections}{pipelined}"),
            _ => format!("{connections} × {size}{pipelined}"),
        }
    }
}

/// One kind of figure.
struct Column {
    name: &'static str,
    field: &'static str,
    inner: &'static str,
    spread: &'static str,
    unit: f64,
    decimals: usize,
}

const CPU: Column = Column {
    name: "CPU µs",
    field: "server_cpu_ns_per_request",
    inner: "",
    spread: "server_cpu_spread",
    unit: 1e3,
    decimals: 2,
};

/// How many times corio's, which is the one that it is compared with and told in µs.
const TIMES: Column = Column {
    name: "CPU",
    field: "against",
    inner: "ratio",
    spread: "ratio_spread",
    unit: 1.0,
    decimals: 2,
};

const REQUESTS: Column = Column {
    name: "thousand requests/s",
    field: "requests_per_s",
    inner: "",
    spread: "requests_per_s_spread",
    unit: 1e3,
    decimals: 1,
};

const CALLS: Column = Column {
    name: "system calls",
    field: "calls_per_request",
    inner: "",
    spread: "",
    unit: 1.0,
    decimals: 3,
};

const MEMORY: Column = Column {
    name: "bytes",
    field: "bytes_per_connection",
    inner: "",
    spread: "",
    unit: 1.0,
    decimals: 0,
};

const P50: Column = Column {
    name: "p50 µs",
    field: "latency_us",
    inner: "p50",
    spread: "",
    unit: 1.0,
    decimals: 1,
};

const P99: Column = Column { name: "p99 µs", inner: "p99", ..P50 };

impl Column {
    fn show(&self, row: &Row) -> Option<String> {
        let mut value = &row.figures[self.field];
        if self.field == TIMES.field && value.is_null() {
            return CPU.show(row).map(|text| text.replacen(' ', " µs ", 1));
        }
        let mut around = &row.figures;
        if !self.inner.is_empty() {
            around = value;
            value = &value[self.inner];
        }
        let number = value.as_f64()? / self.unit;
        let decimals = self.decimals;
        let spread =
            around.get(self.spread).and_then(Value::as_f64).filter(|_| row.figures["rounds"] != 1);
        let spread = spread.map_or(String::new(), |it| format!(" ±{:.0}%", it * 100.0));
        Some(format!("{number:.decimals$}{spread}"))
    }
}

/// Rows are runs, columns are servers; a server that takes part in none has no column.
fn table(results: &[&Result], column: &Column) -> String {
    let all = std::iter::once("corio").chain(SERVERS.iter().map(|server| server.name));
    let names: Vec<&str> =
        all.filter(|name| results.iter().any(|result| result.row(name).is_some())).collect();
    let mut text = format!("| {} | {} |\n", column.name, names.join(" | "));
    text += &format!("|---|{}\n", "---|".repeat(names.len()));
    for result in results {
        let shown = names.iter().map(|name| {
            let row = result.row(name);
            row.and_then(|row| column.show(row)).unwrap_or("–".to_owned())
        });
        let cells: Vec<String> = shown.collect();
        text += &format!("| {} | {} |\n", result.cell(), cells.join(" | "));
    }
    text
}
