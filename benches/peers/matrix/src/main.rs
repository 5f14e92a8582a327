//! `bench-peers`: corio beside other runtimes, on the same machine in the same hour.
//!
//! ```text
//! bench-peers --corio PROGRAM --peers FOLDER [--python PROGRAM] [--logs FOLDER] --out FILE
//!             [--title TEXT] [--minutes N] [--only TEXT] [--readme FILE] [--smoke]
//! ```
//!
//! It only calls `corio bench`, which starts each server in turn, checks every answer and repeats
//! disturbed rounds. Here is the list of what to measure (`plan.rs`), of the servers
//! (`servers.rs`), and the report (`report.rs`), which is written anew after each job, so that a
//! run that is ended early is not lost. It says what it does and how long it will take. The exit
//! code is 1 if corio failed anywhere, or, under `--smoke`, anybody.

mod plan;
mod report;
mod runs;
mod servers;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use plan::{Budget, Job, Question, SPIN_MICROS, Share};
use report::{Report, Result as JobResult};
use runs::{Bench, Contender};
use servers::{Places, Server};

/// What the command line asks for.
struct Orders {
    corio: PathBuf,
    places: Places,
    out: PathBuf,
    readme: Option<PathBuf>,
    /// The report's: date, kernel, CPU and commit.
    title: String,
    minutes: f64,
    /// Only jobs with this in their titles.
    only: String,
    is_smoke: bool,
}

fn main() -> ExitCode {
    match read_orders().and_then(|orders| measure(&orders)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("bench-peers: {message}");
            ExitCode::FAILURE
        }
    }
}

fn read_orders() -> Result<Orders, String> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let mut orders = Orders {
        corio: PathBuf::new(),
        places: Places {
            peers: PathBuf::new(),
            python: PathBuf::new(),
            workspace: workspace.to_owned(),
            logs: PathBuf::new(),
        },
        out: PathBuf::new(),
        readme: None,
        title: "unnamed".to_owned(),
        minutes: 60.0,
        only: String::new(),
        is_smoke: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--smoke" {
            orders.is_smoke = true;
            continue;
        }
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--corio" => orders.corio = value.into(),
            "--peers" => orders.places.peers = value.into(),
            "--python" => orders.places.python = value.into(),
            "--logs" => orders.places.logs = value.into(),
            "--out" => orders.out = value.into(),
            "--readme" => orders.readme = Some(value.into()),
            "--only" => orders.only = value,
            "--title" => orders.title = value,
            "--minutes" => {
                orders.minutes = value.parse().map_err(|error| format!("`{value}`: {error}"))?;
            }
            _ => return Err(format!("`{word}` is not understood")),
        }
    }
    Ok(orders)
}

fn measure(orders: &Orders) -> Result<(), String> {
    let bench = Bench { corio: orders.corio.clone() };
    let mut report = Report::new(&orders.places, &orders.title, orders.is_smoke);
    let wanted = plan::jobs(orders.is_smoke).into_iter();
    let wanted = wanted.filter(|job| job.title().contains(&orders.only));
    let jobs: Vec<(Job, Vec<&'static Server>)> =
        wanted.map(|job| (job, present(orders, &job))).collect();
    let budget = Budget::new(Duration::from_secs_f64(orders.minutes * 60.0));
    for (number, (job, servers)) in jobs.iter().enumerate() {
        let left: Vec<(Job, usize)> =
            jobs[number..].iter().map(|(job, servers)| (*job, servers.len())).collect();
        let share = budget.share(&left);
        if number == 0 && !orders.is_smoke && share.left.as_secs_f64() > orders.minutes * 60.0 {
            let least = share.left.as_secs_f64() / 60.0;
            eprintln!("{} minutes are too few: it will take about {least:.0}", orders.minutes);
        }
        let (minutes, title) = (share.left.as_secs_f64() / 60.0, job.title());
        let (count, rounds, seconds) = (servers.len() + 1, job.rounds, share.seconds);
        eprintln!(
            "{} of {}: {title}: {count} servers, {rounds} rounds of {seconds:.2} s; {minutes:.1} \
             minutes left",
            number + 1,
            jobs.len(),
        );
        let measured = run(orders, &bench, job, servers, &share, &report);
        for failure in &measured.failures {
            eprintln!("  {} failed: {}", failure.server, failure.message);
        }
        report.add(JobResult { job: *job, measured });
        report.write(&orders.out)?;
    }
    // A part of the matrix would leave holes in the README's table.
    if let Some(readme) = orders.readme.as_ref().filter(|_| orders.only.is_empty()) {
        report.write_into(readme)?;
    }
    eprintln!("written: {}", orders.out.display());
    let counts = |server: &str| orders.is_smoke || server == "corio";
    match report.failures().find(|failure| counts(failure.server)) {
        Some(failure) => Err(format!("{} failed: {}", failure.server, failure.message)),
        None => Ok(()),
    }
}

/// The servers of a job that exist and can do what it asks.
fn present(orders: &Orders, job: &Job) -> Vec<&'static Server> {
    let mut servers = job.servers(orders.is_smoke);
    servers.retain(|server| {
        let can = server.command(&orders.places, job.kind(), job.size).is_some();
        can && server.absence(&orders.places).is_none()
    });
    servers
}

fn run(
    orders: &Orders,
    bench: &Bench,
    job: &Job,
    servers: &[&'static Server],
    share: &Share,
    report: &Report,
) -> runs::Measured {
    let mut words = words(job, share);
    if job.question == Question::Rate {
        let Some(rate) = report.rate_of_corio(job, 0.8) else {
            let message = "its requests per second in the closed loop are not known".to_owned();
            let failures = vec![runs::Failure { server: "corio", message }];
            return runs::Measured { rows: Vec::new(), failures };
        };
        words.extend(["--rate".to_owned(), format!("{rate:.0}")]);
    }
    let mut contenders = Vec::new();
    for &server in servers {
        let Some(mut command) = server.command(&orders.places, job.kind(), job.size) else {
            continue;
        };
        if job.question == Question::Lone {
            command.push_str(&server.spin(SPIN_MICROS).unwrap_or_default());
        }
        contenders.push(Contender { server, command });
    }
    if job.question == Question::Calls {
        return count_calls(orders, bench, &words, contenders);
    }
    bench.run(&words, &contenders)
}

/// The arguments of `corio bench`.
fn words(job: &Job, share: &Share) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut add = |name: &str, value: String| words.extend([name.to_owned(), value]);
    add("--connections", job.connections.to_string());
    add("--rounds", job.rounds.to_string());
    add("--warmup", format!("{:.2}", share.warmup_s));
    add("--seconds", format!("{:.2}", share.seconds));
    // Others sleep when there is nothing to do, and CPU per request is what is compared.
    let busy_poll = match job.question {
        Question::Lone => SPIN_MICROS.to_string(),
        _ => "off".to_owned(),
    };
    add("--busy-poll", busy_poll);
    match job.question {
        Question::Http => add("--pipeline", job.pipeline.to_string()),
        Question::Idle => {}
        _ => {
            add("--size", job.size.to_string());
            add("--pipeline", job.pipeline.to_string());
        }
    }
    let bench = match job.question {
        Question::Http => "http",
        Question::Idle => "idle",
        _ => "echo",
    };
    words.insert(0, bench.to_owned());
    words
}

/// Runs each server under `perf stat`, which counts its system calls without stopping it at them.
/// corio's own is one of them here, as a command like the others.
fn count_calls(
    orders: &Orders,
    bench: &Bench,
    words: &[String],
    mut contenders: Vec<Contender>,
) -> runs::Measured {
    let corio = &servers::CORIO;
    let program = orders.corio.display();
    let command = format!("exec '{program}' serve echo --port {{port}} --busy-poll off");
    contenders.insert(0, Contender { server: corio, command });
    let folder = std::env::temp_dir().join(format!("bench-peers-{}", std::process::id()));
    if let Err(error) = fs::create_dir_all(&folder) {
        let message = error.to_string();
        let failures = vec![runs::Failure { server: "corio", message }];
        return runs::Measured { rows: Vec::new(), failures };
    }
    let file = |at: usize| folder.join(at.to_string());
    for (at, contender) in contenders.iter_mut().enumerate() {
        let plain = contender.command.trim_start_matches("exec ").to_owned();
        let counted = file(at).display().to_string();
        // The server is ended by SIGTERM, and perf has to outlive it to write its count.
        contender.command = format!(
            "trap '' TERM; exec perf stat -x, --append -o '{counted}' -e raw_syscalls:sys_enter \
             env --default-signal=TERM {plain}"
        );
    }
    let mut measured = bench.run(words, &contenders);
    // The first row is that of the server that `corio bench` starts by itself: not counted.
    measured.rows.retain(|row| row.figures["server"] != "corio");
    for row in &mut measured.rows {
        let at = contenders.iter().position(|it| it.server.name == row.server);
        let text = at.and_then(|at| fs::read_to_string(file(at)).ok()).unwrap_or_default();
        let count = |line: &str| line.split(',').next()?.parse::<f64>().ok();
        let calls: f64 = text.lines().filter_map(count).sum();
        let requests = row.figures["requests_in_all"].as_f64().unwrap_or(0.0);
        if calls > 0.0 && requests > 0.0 {
            row.figures["calls_per_request"] = (calls / requests).into();
        }
    }
    // What is left behind is a few files of some bytes.
    let _ = fs::remove_dir_all(&folder);
    measured
}
