//! The probe's children: the program itself with a hidden argument, which does what may kill it.
//!
//! A child says a line before each step and one after it, and flushes both. How it ends belongs to
//! its answer: at a signal the last step that was begun is the one that brought it. A child that is
//! silent for too long is killed, and that is told, too.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use clap::ValueEnum;
use corio::probe::{Capability, Found, Prober, Refusal};
use corio::{Driver, Feature, FeatureState, Runtime, Unhandled};

use crate::print_line;

/// The longest silence of a child: no trial takes more than some tenths of a second.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// What a child does.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    /// Start a runtime as any program would.
    Start,
    /// Start one on epoll.
    Epoll,
    /// Try all capabilities.
    Trials,
}

/// What became of a start.
pub(crate) enum Start {
    Uring {
        /// Entries of both queues.
        entries: (u32, u32),
        states: Vec<(Feature, FeatureState)>,
    },
    /// With the number of the kernel's answer, if the ring was refused.
    Epoll {
        refused: Option<i32>,
    },
    /// A ring that is refused for want of resources.
    Refused {
        number: i32,
    },
    /// Another error, such as a setting that makes no sense.
    Error {
        text: String,
    },
    Killed(i32),
    Hung,
    /// The child ended before it had said anything.
    Ended,
}

/// The child's side.
pub(crate) fn run(step: Step, after: Option<&Capability>) {
    match step {
        Step::Start => print_line(&start_here(None)),
        Step::Epoll => print_line(&start_here(Some(Driver::Epoll))),
        Step::Trials => try_here(after),
    }
}

fn start_here(driver: Option<Driver>) -> String {
    let refused = std::rc::Rc::new(std::cell::Cell::new(None));
    let told = std::rc::Rc::clone(&refused);
    let mut builder = Runtime::builder().on_unhandled(move |unhandled| {
        if let Unhandled::FellBack { reason } = unhandled {
            told.set(Refusal::in_error(reason).and_then(Refusal::error_number));
        }
    });
    if let Some(driver) = driver {
        builder = builder.driver(driver);
    }
    let runtime = match builder.build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return match Refusal::in_error(&error).and_then(Refusal::error_number) {
                Some(number) => format!("refused {number}"),
                None => format!("error {error}"),
            };
        }
    };
    let features = runtime.features();
    match (features.driver(), refused.get()) {
        (Driver::Epoll, Some(number)) => format!("epoll {number}"),
        (Driver::Epoll, None) => "epoll".to_owned(),
        _ => {
            let mut line =
                format!("uring {} {}", features.ring_entries(), features.completion_entries());
            for (feature, state) in features.iter() {
                line += &format!(" {}={}", feature.name(), state_name(state));
            }
            line
        }
    }
}

/// A word for a state, always the same.
pub(crate) fn state_name(state: FeatureState) -> &'static str {
    match state {
        FeatureState::Works => "works",
        FeatureState::Absent => "absent",
        FeatureState::NotNeeded => "not_needed",
        FeatureState::SwitchedOff => "switched_off",
        FeatureState::Emulated => "emulated",
        _ => "unknown",
    }
}

fn state_of_name(name: &str) -> Option<FeatureState> {
    let states = [
        FeatureState::Works,
        FeatureState::Absent,
        FeatureState::NotNeeded,
        FeatureState::SwitchedOff,
        FeatureState::Emulated,
    ];
    states.into_iter().find(|state| state_name(*state) == name)
}

fn try_here(after: Option<&Capability>) {
    // Said before, since making the ring may kill as well.
    print_line("ring");
    let Ok(mut prober) = Prober::new() else { return };
    let skip = after.and_then(|last| Capability::all().position(|it| it.name() == last.name()));
    for capability in Capability::all().skip(skip.map_or(0, |index| index + 1)) {
        print_line(&format!("trying {}", capability.name()));
        let found = prober.try_out(capability);
        let number = found.number().map_or("-".to_owned(), |number| number.to_string());
        print_line(&format!("found {} {} {number}", capability.name(), found.name()));
    }
}

/// How a child ended.
#[derive(Clone, Copy)]
enum End {
    Exited,
    Killed(i32),
    Hung,
}

/// Runs a child to its end, and returns all that it said.
fn listen_to(step: Step, after: Option<&Capability>) -> Result<(Vec<String>, End), String> {
    let program = std::env::current_exe().map_err(|error| {
        format!("cannot find this program to try things out in a child: {error}")
    })?;
    let mut command = Command::new(program);
    let value = step.to_possible_value().expect("no step is hidden");
    command.args(["probe", "--child", value.get_name()]);
    if let Some(after) = after {
        command.args(["--after", after.name()]);
    }
    if step == Step::Epoll {
        command.env_remove("CORIO_DRIVER").env_remove("CORIO_DISABLE");
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("cannot start a child to try things out in: {error}"))?;
    let output = child.stdout.take().expect("piped");
    let (said, heard) = channel();
    // Ends with the child's output.
    let listener = std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if said.send(line).is_err() {
                return;
            }
        }
    });
    let mut lines = Vec::new();
    let is_hung = loop {
        match heard.recv_timeout(SILENCE_MAX) {
            Ok(line) => lines.push(line),
            Err(RecvTimeoutError::Disconnected) => break false,
            Err(RecvTimeoutError::Timeout) => {
                let _ = child.kill();
                break true;
            }
        }
    };
    let status = child.wait().map_err(|error| format!("cannot wait for a child: {error}"))?;
    drop(heard);
    let _ = listener.join();
    let end = match (is_hung, status.signal()) {
        (true, _) => End::Hung,
        (false, Some(signal)) => End::Killed(signal),
        (false, None) => End::Exited,
    };
    Ok((lines, end))
}

/// Starts a runtime in a child.
pub(crate) fn start(step: Step) -> Result<Start, String> {
    let (lines, end) = listen_to(step, None)?;
    Ok(match (lines.first(), end) {
        (_, End::Hung) => Start::Hung,
        (_, End::Killed(signal)) => Start::Killed(signal),
        (Some(line), End::Exited) => parse_start(line),
        (None, End::Exited) => Start::Ended,
    })
}

fn parse_start(line: &str) -> Start {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let mut words = rest.split(' ');
    let mut number = || words.next().and_then(|word| word.parse().ok());
    match word {
        "uring" => {
            let entries = [number(), number()].map(|count: Option<i64>| count.unwrap_or(0) as u32);
            let states = words.filter_map(|word| {
                let (name, state) = word.split_once('=')?;
                let feature = Feature::ALL.into_iter().find(|feature| feature.name() == name)?;
                Some((feature, state_of_name(state)?))
            });
            Start::Uring { entries: entries.into(), states: states.collect() }
        }
        "epoll" => Start::Epoll { refused: number().map(|number| number as i32) },
        "refused" => Start::Refused { number: number().unwrap_or(0) as i32 },
        _ => Start::Error { text: line.trim_start_matches("error ").to_owned() },
    }
}

/// Tries all capabilities, in as many children as it takes: each kill costs one.
pub(crate) fn capabilities() -> Result<Vec<(&'static Capability, Found)>, String> {
    let mut found: Vec<(&'static Capability, Found)> = Vec::new();
    loop {
        let (lines, end) = listen_to(Step::Trials, found.last().map(|(last, _)| *last))?;
        let mut begun = None;
        for line in &lines {
            let mut words = line.split(' ');
            match (words.next(), words.next().and_then(Capability::from_name)) {
                (Some("trying"), Some(capability)) => begun = Some(capability),
                (Some("found"), Some(capability)) => {
                    let (name, number) = (words.next(), words.next());
                    let number = number.and_then(|number| number.parse().ok());
                    let answer = name.and_then(|name| Found::from_name(name, number));
                    found.push((capability, answer.unwrap_or(Found::Untried)));
                    begun = None;
                }
                _ => {}
            }
        }
        match (end, begun) {
            (End::Killed(signal), Some(capability)) => {
                found.push((capability, Found::Killed(signal)));
            }
            // A hang is as bad as an error without a number.
            (End::Hung, Some(capability)) => found.push((capability, Found::Fails(None))),
            _ => break,
        }
    }
    for capability in Capability::all().skip(found.len()) {
        found.push((capability, Found::Untried));
    }
    Ok(found)
}
