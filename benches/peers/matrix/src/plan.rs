//! What is measured, in which order, and how the time is shared out.
//!
//! All jobs have the same number of rounds. What is left of the time is divided by the rounds that
//! are left, before every job anew: a job in which many rounds were repeated makes those behind it
//! shorter, and the whole ends when it was said to.

use std::time::{Duration, Instant};

use crate::servers::{Kind, SERVERS, Server};

/// Rounds of each server; from 4 on a winner may be named.
const ROUNDS: u32 = 5;

/// The least and the most that one round measures.
const SECONDS_MIN: f64 = 0.25;
const SECONDS_MAX: f64 = 4.0;

/// Under load, but not measured.
const WARMUP_S: f64 = 0.2;

/// What a server echoes at least, where it has much to echo.
const BYTES_PER_S: f64 = 4e9;

/// What is kept back for rounds that were disturbed.
const RESERVE: f64 = 1.4;

/// How long servers poll where a lone connection's latency is the question, in microseconds.
pub const SPIN_MICROS: u64 = 200;

/// The question that a job answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Question {
    /// CPU per echoed request, by connections, size and pipeline.
    Echo,
    /// The same for HTTP.
    Http,
    /// Memory of connections that do nothing.
    Idle,
    /// The round trip of a lone connection.
    Lone,
    /// Latency at 80 % of what corio can do.
    Rate,
    /// System calls of a request.
    Calls,
}

/// One run of `corio bench`.
#[derive(Clone, Copy)]
pub struct Job {
    pub question: Question,
    pub connections: u32,
    pub size: usize,
    pub pipeline: u32,
    pub rounds: u32,
}

impl Job {
    pub fn kind(&self) -> Kind {
        if self.question == Question::Http { Kind::Http } else { Kind::Echo }
    }

    pub fn title(&self) -> String {
        let Job { question, connections, size, pipeline, .. } = self;
        format!("{question:?}, {connections} connections, {size} bytes, pipeline {pipeline}")
    }

    /// Who takes part, besides corio.
    pub fn servers(&self, is_smoke: bool) -> Vec<&'static Server> {
        let takes_part = |server: &&Server| {
            let is_asked = !is_smoke || server.is_raw() || server.name == "tokio";
            is_asked && (self.question == Question::Idle || !server.is_for_memory)
        };
        SERVERS.iter().filter(takes_part).collect()
    }

    /// What a round takes besides the measured time, roughly: the start of a server, its
    /// connections, the probes of the machine.
    fn overhead_s(&self) -> f64 {
        let (each_s, servers_s) = match self.question {
            Question::Idle => (0.0004, 0.6),
            _ => (0.0002, 0.3),
        };
        let ending_s = 2.0 * self.flight_s();
        self.warmup_s() + ending_s + servers_s + each_s * f64::from(self.connections)
    }

    /// What all that is in flight takes once through a server, roughly.
    fn flight_s(&self) -> f64 {
        let bytes = f64::from(self.connections) * self.size as f64 * f64::from(self.pipeline);
        bytes / BYTES_PER_S
    }

    fn warmup_s(&self) -> f64 {
        WARMUP_S + 2.0 * self.flight_s()
    }

    /// Longer than others by this, so that every connection has several answers.
    fn extra_s(&self) -> f64 {
        4.0 * self.flight_s()
    }
}

/// All jobs, the most telling ones first.
pub fn jobs(is_smoke: bool) -> Vec<Job> {
    let job = |question, connections, size, pipeline| {
        let rounds = if is_smoke { 1 } else { ROUNDS };
        Job { question, connections, size, pipeline, rounds }
    };
    if is_smoke {
        return vec![
            job(Question::Echo, 4, 64, 16),
            job(Question::Http, 4, 64, 16),
            job(Question::Idle, 50, 64, 1),
            job(Question::Lone, 1, 64, 1),
        ];
    }
    let mut jobs = Vec::new();
    for pipeline in [1, 16] {
        for size in [64, 4096, 65536] {
            for connections in [1, 64, 1000] {
                jobs.push(job(Question::Echo, connections, size, pipeline));
            }
        }
    }
    jobs.push(job(Question::Http, 64, 64, 1));
    jobs.push(job(Question::Http, 64, 64, 16));
    jobs.push(Job { rounds: 3, ..job(Question::Idle, 10_000, 64, 1) });
    jobs.push(job(Question::Lone, 1, 64, 1));
    jobs.push(job(Question::Rate, 64, 64, 1));
    for (connections, pipeline) in [(1, 1), (64, 1), (1000, 1), (64, 16)] {
        jobs.push(Job { rounds: 1, ..job(Question::Calls, connections, 64, pipeline) });
    }
    jobs
}

/// How the time is shared out.
pub struct Budget {
    started_at: Instant,
    total: Duration,
}

/// How one job is to be run.
pub struct Share {
    pub warmup_s: f64,
    pub seconds: f64,
    /// Until everything is done.
    pub left: Duration,
}

impl Budget {
    pub fn new(total: Duration) -> Budget {
        Budget { started_at: Instant::now(), total }
    }

    /// The share of the first of the jobs that are left; each with its number of servers.
    pub fn share(&self, jobs: &[(Job, usize)]) -> Share {
        let rounds = |(job, servers): &(Job, usize)| job.rounds as f64 * (*servers as f64 + 1.0);
        let all: f64 = jobs.iter().map(rounds).sum();
        let fixed_s = |job: &Job| job.overhead_s() + job.extra_s();
        let overheads: f64 = jobs.iter().map(|it| rounds(it) * fixed_s(&it.0)).sum();
        let left = self.total.saturating_sub(self.started_at.elapsed());
        let seconds = (left.as_secs_f64() / RESERVE - overheads) / all.max(1.0);
        let seconds = seconds.clamp(SECONDS_MIN, SECONDS_MAX);
        let expected = (seconds * all + overheads) * RESERVE;
        let (warmup_s, extra_s) =
            jobs.first().map_or((0.0, 0.0), |it| (it.0.warmup_s(), it.0.extra_s()));
        let left = Duration::from_secs_f64(expected);
        Share { warmup_s, seconds: seconds + extra_s, left }
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, Duration, jobs};

    #[test]
    fn the_time_is_used_up_and_not_exceeded() {
        let jobs: Vec<_> = jobs(false).into_iter().map(|job| (job, 11)).collect();
        for minutes in [60.0, 90.0] {
            let share = Budget::new(Duration::from_secs_f64(minutes * 60.0)).share(&jobs);
            let expected = share.left.as_secs_f64() / 60.0;
            assert!((expected / minutes - 1.0).abs() < 0.02, "{expected} of {minutes} minutes");
        }
        let least = Budget::new(Duration::ZERO).share(&jobs);
        println!("at least {:.0} minutes", least.left.as_secs_f64() / 60.0);
        assert!(least.left > Duration::from_secs(60), "too few minutes are seen");
    }
}
