//! Every feature of io_uring that corio uses or could use, each found by running it.
//!
//! A [`Capability`] is one line of a table: its name (the kernel's, in lower case), the version
//! that brought it, what it is for, and its trial. What the kernel *lists* (its own table of
//! operations) and what *works* are two things, so both are asked: a sandbox may list what it
//! refuses. The tables stand beside their trials, by nouns: `ring.rs`, `network.rs`, `cores.rs`,
//! `files.rs`; the trials of what corio uses are those of the start, in `trial.rs`.
#![allow(unsafe_code)] // Submissions that point to lent memory.

mod bugs;
mod cores;
pub(super) mod files;
mod network;
mod ring;

use std::io;
use std::marker::PhantomData;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, squeue};

pub use bugs::KnownBug;

use super::refusal::error_name;
use super::trial::{Operation, Trial, ask, patiently, trial_of, trial_ring, try_flag};
use super::{Feature, FeatureState, Features};

/// A feature of io_uring that corio uses or could use.
#[derive(Clone, Copy)]
pub struct Capability {
    name: &'static str,
    since: &'static str,
    what: &'static str,
    gain: &'static str,
    without: &'static str,
    feature: Option<Feature>,
    always: bool,
    opcode: Option<u8>,
    trial: Trial,
}

/// The tables, with their headings, in the order they are reported.
const GROUPS: [(&str, &[Capability]); 7] = [
    ("set-up", ring::SETUP),
    ("waiting", ring::WAITING),
    ("registration", ring::REGISTRATION),
    ("network", network::TABLE),
    ("cores and cancelling", cores::TABLE),
    ("files", files::USED),
    ("more for files and processes", files::TABLE),
];

impl Capability {
    /// One that corio uses, tried as the start does.
    const fn used(
        feature: Feature,
        since: &'static str,
        what: &'static str,
        gain: &'static str,
        without: &'static str,
    ) -> Capability {
        let (name, trial) = (feature.name(), trial_of(feature));
        let feature = Some(feature);
        Capability { name, since, what, gain, without, feature, always: false, opcode: None, trial }
    }

    /// One that corio could use.
    const fn new(
        name: &'static str,
        since: &'static str,
        trial: Operation,
        what: &'static str,
        gain: &'static str,
        without: &'static str,
    ) -> Capability {
        let (trial, feature) = (Trial::Operation(trial), None);
        Capability { name, since, what, gain, without, feature, always: false, opcode: None, trial }
    }

    /// It is an operation, which the kernel's own table lists.
    const fn listed_as(mut self, opcode: u8) -> Capability {
        self.opcode = Some(opcode);
        self
    }

    /// corio uses it, and has no switch for it.
    const fn always(mut self) -> Capability {
        self.always = true;
        self
    }

    /// All of them with the headings of their groups, in the order they are reported.
    pub fn groups() -> impl Iterator<Item = (&'static str, &'static [Capability])> {
        GROUPS.into_iter()
    }

    /// All of them in one row.
    pub fn all() -> impl Iterator<Item = &'static Capability> {
        GROUPS.into_iter().flat_map(|(_, table)| table)
    }

    /// The one of this name.
    pub fn from_name(name: &str) -> Option<&'static Capability> {
        Capability::all().find(|capability| capability.name == name)
    }

    /// The kernel's name in lower case.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The kernel that brought it; distributions may have it earlier.
    pub fn since(&self) -> &'static str {
        self.since
    }

    /// What it is.
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// What it is good for.
    pub fn gain(&self) -> &'static str {
        self.gain
    }

    /// What corio does without it.
    pub fn without(&self) -> &'static str {
        self.without
    }

    /// Whether corio uses it today, where it works.
    pub fn is_used(&self) -> bool {
        self.always || self.feature.is_some()
    }

    /// The feature of a running ring that it is, which `CORIO_DISABLE` switches off; absent for
    /// what corio does not use yet, or uses without a switch.
    pub fn feature(&self) -> Option<Feature> {
        self.feature
    }
}

impl std::fmt::Debug for Capability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Capability").field(&self.name).finish()
    }
}

/// What became of a trial.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Found {
    /// It did what it should.
    Works,
    /// The kernel lists it, or knows it, but it does not work here: the number of the error, if
    /// there was one.
    Fails(Option<i32>),
    /// The kernel does not have it.
    Absent,
    /// Named in `CORIO_DISABLE`, and not tried.
    SwitchedOff,
    /// Trying it ended the process, by this signal.
    Killed(i32),
    /// Not tried, since the trials ended before.
    Untried,
}

impl Found {
    /// A word for it, always the same.
    pub fn name(self) -> &'static str {
        match self {
            Found::Works => "works",
            Found::Fails(_) => "fails",
            Found::Absent => "absent",
            Found::SwitchedOff => "switched_off",
            Found::Killed(_) => "killed",
            Found::Untried => "untried",
        }
    }

    /// The number that goes with the word: of an error or of a signal.
    pub fn number(self) -> Option<i32> {
        match self {
            Found::Fails(number) => number,
            Found::Killed(number) => Some(number),
            _ => None,
        }
    }

    /// The inverse of `name` and `number`, for who sends a finding from one process to another.
    pub fn from_name(name: &str, number: Option<i32>) -> Option<Found> {
        Some(match name {
            "works" => Found::Works,
            "fails" => Found::Fails(number),
            "absent" => Found::Absent,
            "switched_off" => Found::SwitchedOff,
            "killed" => Found::Killed(number?),
            "untried" => Found::Untried,
            _ => return None,
        })
    }

    /// The kernel's name of the error, if there was one.
    pub fn error(self) -> Option<String> {
        match self {
            Found::Fails(number) => number.map(error_name),
            _ => None,
        }
    }
}

/// Tries capabilities out, one after the other, on a small ring.
///
/// Under a seccomp profile that kills, making one or a trial ends the process: `corio probe` runs
/// its trials in a child.
///
/// ```
/// use corio::probe::{Capability, Found, Prober};
/// let Ok(mut prober) = Prober::new() else { return };
/// for capability in Capability::all() {
///     if prober.try_out(capability) == Found::Works {
///         println!("{} works", capability.name());
///     }
/// }
/// ```
pub struct Prober {
    ring: IoUring,
    /// What the kernel lists, asked for when something fails: the question may be refused as well.
    listed: Option<Listed>,
    wanted: Features,
    /// The ring is one thread's.
    _not_send: PhantomData<*const ()>,
}

/// The kernel's table of operations, if it has one.
type Listed = Option<io_uring::Probe>;

impl Prober {
    /// Makes the ring for the trials.
    ///
    /// # Errors
    ///
    /// If the kernel refuses it, with the kernel's error; or if `CORIO_DISABLE` names what corio
    /// does not know.
    pub fn new() -> io::Result<Prober> {
        let wanted = Features::wanted()?;
        let ring = trial_ring()?;
        Ok(Prober { ring, listed: None, wanted, _not_send: PhantomData })
    }

    /// Tries one out. Takes a few microseconds, and at most some tenths of a second.
    pub fn try_out(&mut self, capability: &Capability) -> Found {
        let is_off = |feature| self.wanted.state(feature) == FeatureState::SwitchedOff;
        if capability.feature.is_some_and(is_off) {
            return Found::SwitchedOff;
        }
        let answer = match capability.trial {
            Trial::Flag(feature) => try_flag(feature),
            Trial::Operation(operation) => patiently(|| operation(&mut self.ring)),
        };
        if !matches!(answer, Ok(true)) {
            // The ring may be left with what did not end.
            if let Ok(ring) = trial_ring() {
                self.ring = ring;
            }
        }
        self.judge(capability, answer)
    }

    fn is_listed(&mut self, opcode: u8) -> Option<bool> {
        let listed = self.listed.get_or_insert_with(|| {
            let mut listed = io_uring::Probe::new();
            self.ring.submitter().register_probe(&mut listed).is_ok().then_some(listed)
        });
        listed.as_ref().map(|listed| listed.is_supported(opcode))
    }

    fn judge(&mut self, capability: &Capability, answer: io::Result<bool>) -> Found {
        let number = match answer {
            Ok(true) => return Found::Works,
            Ok(false) => None,
            Err(error) => error.raw_os_error(),
        };
        // What is not in the table is known by the answer: EINVAL is the kernel's word for what it
        // has never heard of.
        let is_known =
            !matches!(number, None | Some(libc::EINVAL | libc::EOPNOTSUPP | libc::ENOSYS));
        let is_listed =
            capability.opcode.and_then(|opcode| self.is_listed(opcode)).unwrap_or(is_known);
        if is_listed { Found::Fails(number) } else { Found::Absent }
    }
}

impl std::fmt::Debug for Prober {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Prober")
    }
}

/// An answer of one operation: its result, whether it went on, and the flags.
#[derive(Clone, Copy, Debug)]
struct Answer {
    result: i32,
    flags: u32,
}

const LENT: u64 = 7;

/// Submits an entry that points into `memory`, waits for its last completion and gives both back.
///
/// The memory has to be in vectors or static, so that it stays where it is while it is passed
/// around (a box would claim to be the only way to it, which the kernel does not respect). If the
/// operation does not end in time the memory is leaked: the kernel may still use it.
fn ask_lending<M>(
    ring: &mut IoUring,
    entry: squeue::Entry,
    memory: M,
) -> io::Result<(Vec<Answer>, M)> {
    // SAFETY: [slot-keeps-memory] what the entry points to is in `memory`, which is given back only
    // after the operation's last completion, and otherwise never dropped.
    let pushed = unsafe { ring.submission().push(&entry.user_data(LENT)) };
    pushed.map_err(|_| io::Error::from_raw_os_error(libc::EBUSY))?;
    let time = Timespec::new().nsec(50_000_000);
    let args = SubmitArgs::new().timespec(&time);
    let mut answers = Vec::new();
    for _ in 0..6 {
        let waited = ring.submitter().submit_with_args(1, &args);
        for completion in ring.completion().filter(|entry| entry.user_data() == LENT) {
            answers.push(Answer { result: completion.result(), flags: completion.flags() });
            if !cqueue::more(completion.flags()) {
                return Ok((answers, memory));
            }
        }
        let transient = [libc::ETIME, libc::EINTR];
        match waited.map_err(|error| error.raw_os_error()) {
            Err(Some(number)) if !transient.contains(&number) => {
                std::mem::forget(memory);
                return Err(io::Error::from_raw_os_error(number));
            }
            _ => {}
        }
    }
    std::mem::forget(memory);
    Err(io::Error::from_raw_os_error(libc::ETIMEDOUT))
}

/// As [`ask_lending`], of an operation with one result, which has to be none of an error.
fn result_lending<M>(ring: &mut IoUring, entry: squeue::Entry, memory: M) -> io::Result<(i32, M)> {
    let (answers, memory) = ask_lending(ring, entry, memory)?;
    let first = answers.first().map_or(-libc::ETIMEDOUT, |answer| answer.result);
    checked(first).map(|result| (result, memory))
}

/// The one result of an operation that points to nothing.
fn result_of(ring: &mut IoUring, entry: squeue::Entry) -> io::Result<i32> {
    let answers = ask(ring, &entry, 1)?;
    checked(answers.first().map_or(-libc::ETIMEDOUT, |(result, _)| *result))
}

fn checked(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(result) }
}

/// An operation that must answer this error: it was understood, and had nothing to do.
fn answers_error<T>(answer: io::Result<T>, number: i32) -> io::Result<bool> {
    match answer {
        Ok(_) => Ok(false),
        Err(error) if error.raw_os_error() == Some(number) => Ok(true),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_feature_in_use_is_in_the_tables_once_and_no_name_is_twice() {
        for feature in Feature::ALL {
            let rows = Capability::all().filter(|row| row.feature == Some(feature)).count();
            assert_eq!(rows, 1, "{}", feature.name());
        }
        let mut names: Vec<_> = Capability::all().map(Capability::name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn each_row_says_everything_and_its_version_is_one() {
        for row in Capability::all() {
            for text in [row.name, row.what, row.gain, row.without] {
                assert!(!text.is_empty() && !text.ends_with('.'), "{}: {text}", row.name);
            }
            assert!(bugs::version(row.since).is_some(), "{}: {}", row.name, row.since);
        }
    }

    #[test]
    fn a_finding_survives_its_way_through_text() {
        for found in [
            Found::Works,
            Found::Fails(Some(22)),
            Found::Fails(None),
            Found::Absent,
            Found::SwitchedOff,
            Found::Killed(31),
            Found::Untried,
        ] {
            assert_eq!(Found::from_name(found.name(), found.number()), Some(found));
        }
        assert_eq!(Found::from_name("fine", None), None);
    }
}
