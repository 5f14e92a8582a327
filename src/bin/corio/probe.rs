//! `corio probe`: what this machine can do for corio, and what to do about it.
//!
//! The parent reads facts; whatever may kill a process (a seccomp profile does) is tried in
//! children, which tell each step before they take it. So a kill is a finding as any other, and
//! what was found before it is kept.
//!
//! * `probe.rs`: the options, the findings and the verdict;
//! * `probe/child.rs`: the children, and how they tell what they find;
//! * `probe/text.rs`: the findings for a person;
//! * `probe/json.rs`: the findings for a program.
//!
//! Exit codes: 0 the ring in its best configuration; 1 the ring, with something missing; 2 epoll
//! only; 3 nothing starts; 4 the probe itself failed. (A command line that makes no sense ends with
//! 2, as everywhere.)

mod child;
mod json;
mod text;

use std::process::ExitCode;

use clap::Args;
use corio::probe::{
    Capability, Cause, Cure, Environment, Found, KnownBug, Refusal, locked_bytes_of_a_core,
};
use corio::{Driver, FeatureState};

use crate::{Failure, print_line};
use child::{Start, Step};

/// In Docker's format, which Podman and Kubernetes read as well.
const PROFILE: &str = include_str!("../../../docs/seccomp.json");

/// The entries of a ring that nobody made smaller.
const DEFAULT_ENTRIES: (u32, u32) = (256, 4096);

/// Descriptors that a core holds before its first connection: the ring and the bell.
const DESCRIPTORS_OF_A_CORE: u64 = 2;

/// The probe itself could not be run.
const EXIT_FAILED: u8 = 4;

const EXIT_CODES: &str = "\
Exit codes:
  0  io_uring in its best configuration
  1  io_uring, with something missing: it is listed with its cure
  2  epoll only: why, and the cure
  3  nothing starts
  4  the probe itself failed";

/// Show what this machine can do for corio, and what to do about it
///
/// Every feature is found by running it, in a child process: a seccomp profile that kills is a
/// finding, too. Nothing is changed on the machine.
#[derive(Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Options {
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    /// Explain one feature: what it is, what it is good for, what corio does without it
    #[arg(long, value_name = "FEATURE", value_parser = capability)]
    explain: Option<&'static Capability>,
    /// Print all fixes for all environments, not only those that apply here
    #[arg(long)]
    fixes: bool,
    /// Print a seccomp profile for containers that allows what corio needs
    #[arg(long)]
    profile: bool,
    /// Reckon the limits for this many cores [default: the CPUs that this process may use]
    #[arg(long, value_name = "N")]
    cores: Option<usize>,
    /// Be a child of the probe: see the top of probe.rs
    #[arg(long, hide = true)]
    child: Option<Step>,
    /// Try only what comes after this one
    #[arg(long, hide = true, requires = "child", value_parser = capability)]
    after: Option<&'static Capability>,
}

fn capability(name: &str) -> Result<&'static Capability, String> {
    Capability::from_name(name).ok_or_else(|| {
        let known: Vec<_> = Capability::all().map(Capability::name).collect();
        format!("there is no feature `{name}`; known are {}", known.join(", "))
    })
}

/// How well corio runs here. The numbers are the exit codes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Grade {
    Best = 0,
    Degraded = 1,
    EpollOnly = 2,
    Nothing = 3,
}

impl Grade {
    fn name(self) -> &'static str {
        match self {
            Grade::Best => "best",
            Grade::Degraded => "degraded",
            Grade::EpollOnly => "epoll_only",
            Grade::Nothing => "nothing",
        }
    }
}

/// Everything that was found.
pub(crate) struct Findings {
    environment: Environment,
    /// What starting a runtime came to.
    start: Start,
    /// Whether epoll starts, where the first start came to nothing.
    epoll_starts: bool,
    capabilities: Vec<(&'static Capability, Found)>,
    /// Cores that the limits are reckoned for.
    cores: usize,
    /// What CORIO_DRIVER says.
    told: Option<String>,
}

pub(crate) fn main(options: &Options) -> Result<ExitCode, Failure> {
    if let Some(step) = options.child {
        child::run(step, options.after);
        return Ok(ExitCode::SUCCESS);
    }
    if options.profile {
        print_line(PROFILE.trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    if options.fixes {
        print_line(&text::all_fixes(&Environment::read()));
        return Ok(ExitCode::SUCCESS);
    }
    // Not to be mistaken for a verdict.
    let findings =
        Findings::gather(options.cores).map_err(|text| Failure { exit_code: EXIT_FAILED, text })?;
    if let Some(capability) = options.explain {
        print_line(&text::explanation(&findings, capability));
        return Ok(ExitCode::SUCCESS);
    }
    if options.json {
        print_line(&json::object(&findings).to_string());
    } else {
        print_line(&text::page(&findings));
    }
    Ok(ExitCode::from(findings.grade() as u8))
}

impl Findings {
    fn gather(cores: Option<usize>) -> Result<Findings, String> {
        let environment = Environment::read();
        let start = child::start(Step::Start)?;
        let is_running = matches!(start, Start::Uring { .. } | Start::Epoll { .. });
        let epoll = if is_running { None } else { Some(child::start(Step::Epoll)?) };
        Ok(Findings {
            cores: cores.unwrap_or(environment.useful_cores()).max(1),
            environment,
            epoll_starts: matches!(epoll, Some(Start::Epoll { .. })),
            start,
            capabilities: child::capabilities()?,
            told: std::env::var("CORIO_DRIVER").ok().filter(|name| !name.is_empty()),
        })
    }

    pub(crate) fn grade(&self) -> Grade {
        match &self.start {
            Start::Uring { .. } if self.lacks().is_empty() => Grade::Best,
            Start::Uring { .. } => Grade::Degraded,
            Start::Epoll { .. } => Grade::EpollOnly,
            // A setting that makes no sense lets nothing start, whatever the machine could.
            Start::Error { .. } => Grade::Nothing,
            _ if self.epoll_starts => Grade::EpollOnly,
            _ => Grade::Nothing,
        }
    }

    /// What would carry a program that starts here.
    fn driver(&self) -> Option<Driver> {
        match &self.start {
            Start::Uring { .. } => Some(Driver::Uring),
            Start::Epoll { .. } => Some(Driver::Epoll),
            _ => None,
        }
    }

    /// Why the ring is not used, if it is refused.
    fn refusal(&self) -> Option<Refusal> {
        match &self.start {
            Start::Epoll { refused: Some(number) } | Start::Refused { number } => {
                Some(Refusal::of_error(*number, &self.environment))
            }
            Start::Killed(signal) => Some(Refusal::of_signal(*signal, &self.environment)),
            _ => None,
        }
    }

    fn found(&self, name: &str) -> Found {
        let entry = self.capabilities.iter().find(|(capability, _)| capability.name() == name);
        entry.map_or(Found::Untried, |(_, found)| *found)
    }

    /// The refusal of something that corio uses, where the ring itself starts.
    fn partial_refusal(&self) -> Option<Refusal> {
        let used = self.capabilities.iter().filter(|(capability, _)| capability.is_used());
        let mut refused = used.filter_map(|(_, found)| match found {
            Found::Fails(Some(number)) => Some(Refusal::of_error(*number, &self.environment)),
            _ => None,
        });
        refused.find(|refusal| refusal.is_unavailable() && refusal.cause() != Cause::Kernel)
    }

    /// What keeps a ring that starts from its best configuration, each with its cure.
    fn lacks(&self) -> Vec<String> {
        let Start::Uring { entries, states } = &self.start else { return Vec::new() };
        let mut lacks = Vec::new();
        for (feature, state) in states {
            let name = feature.name();
            match (state, self.found(name)) {
                (FeatureState::Absent, Found::Fails(_)) => {
                    lacks.push(format!("{name} does not work here, though the kernel knows it"));
                }
                (FeatureState::Absent, _) => {
                    let since = Capability::from_name(name).map_or("?", Capability::since);
                    lacks.push(format!("{name} is missing: a kernel from {since} on has it"));
                }
                (FeatureState::SwitchedOff, _) => {
                    lacks.push(format!("{name} is switched off: take it out of CORIO_DISABLE"));
                }
                _ => {}
            }
        }
        if entries.0 < DEFAULT_ENTRIES.0 || entries.1 < DEFAULT_ENTRIES.1 {
            lacks.push(format!(
                "the ring is smaller than it should be ({} + {} entries, not {} + {}), for want of \
                 locked memory",
                entries.0, entries.1, DEFAULT_ENTRIES.0, DEFAULT_ENTRIES.1
            ));
        }
        if let Some(limit) = self.short_memlock() {
            lacks.push(format!(
                "locked memory is enough for {} of {} cores with rings of full size",
                limit / locked_bytes_of_a_core() as u64,
                self.cores
            ));
        }
        lacks
    }

    /// The bytes that all cores' rings lock.
    fn locked_bytes(&self) -> u64 {
        self.cores as u64 * locked_bytes_of_a_core() as u64
    }

    /// The limit on locked memory, where it counts and is too low.
    fn short_memlock(&self) -> Option<u64> {
        let limit = self.environment.locked_memory.soft?;
        let is_short = !self.environment.may_lock_memory && limit < self.locked_bytes();
        is_short.then_some(limit)
    }

    /// What to do, those for this environment first.
    fn cures(&self) -> Vec<Cure> {
        if let Some(refusal) = self.refusal() {
            return refusal.cures();
        }
        if let Some(refusal) = self.partial_refusal() {
            return refusal.cures();
        }
        let is_small = matches!(&self.start, Start::Uring { entries, .. }
            if entries.1 < DEFAULT_ENTRIES.1);
        if is_small || self.short_memlock().is_some() {
            return Cause::LockedMemory.cures(&self.environment);
        }
        Vec::new()
    }

    fn known_bugs(&self) -> Vec<&'static KnownBug> {
        KnownBug::of_kernel(&self.environment.kernel).collect()
    }

    /// Why, in a sentence.
    fn why(&self) -> String {
        match &self.start {
            Start::Uring { states, .. } => match self.lacks().len() {
                0 => format!(
                    "io_uring starts, and all {} features that corio uses work",
                    states.len()
                ),
                count => format!("io_uring starts, with {count} thing{} missing", plural(count)),
            },
            Start::Epoll { refused: None } => match &self.told {
                Some(_) => "CORIO_DRIVER says so".to_owned(),
                None => "io_uring was not tried".to_owned(),
            },
            Start::Error { text } => text.clone(),
            Start::Hung => "a start does not come to an end here; report this".to_owned(),
            Start::Ended => "a start ended without a word; report this".to_owned(),
            Start::Epoll { .. } | Start::Refused { .. } | Start::Killed(_) => {
                let refusal = self.refusal().map(|it| format!("{}: {}", it.fact(), it.reason()));
                refusal.unwrap_or_default()
            }
        }
    }

    /// What the person in front of it should do: nothing, or some lines.
    fn to_do(&self) -> Vec<String> {
        let mut lines = self.lacks();
        if self.driver().is_none() && self.epoll_starts {
            lines.push("until that is mended, CORIO_DRIVER=epoll starts on epoll".to_owned());
        }
        if matches!(self.start, Start::Epoll { refused: None }) && self.told.is_some() {
            lines.push("unset CORIO_DRIVER to let corio choose".to_owned());
        }
        for cure in self.cures().iter().filter(|cure| cure.applies) {
            lines.push(format!("{}: {}", cure.place, cure.text));
        }
        lines
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}
