//! Which features of the ring are used, and why one is not.
//!
//! Names are the kernel's in lower case; `CORIO_DISABLE=name,name` switches them off. States come
//! from trials (`trial.rs`), never from a version number.

use std::fmt;
use std::io;

use super::Driver;

/// A feature of the ring that corio uses when it is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Feature {
    /// One thread submits (6.0).
    SingleIssuer,
    /// Completions are worked off only in the loop's own system call (6.1).
    DeferTaskrun,
    /// No interrupt for completions, where deferring is refused (5.19).
    CoopTaskrun,
    /// The kernel raises a flag when deferred work waits (5.19).
    TaskrunFlag,
    /// No index array between submissions and the kernel (6.6).
    NoSqarray,
    /// A refused submission does not stop those behind it (5.18).
    SubmitAll,
    /// The ring is entered by index, without a descriptor look-up (5.18).
    RegisteredRing,
    /// A wait's deadline is absolute (6.12).
    AbsTimer,
    /// A waiting loop does not count as waiting for a disk (6.15).
    NoIowait,
    /// Receive buffers are taken from a shared pool when bytes arrive (5.19).
    PbufRing,
    /// One receive serves many messages (6.0).
    RecvMultishot,
    /// One accept serves many connections (5.19).
    AcceptMultishot,
    /// One poll serves many events (5.13).
    PollMultishot,
    /// A file is read on the ring, and not on a helper thread (5.6).
    Read,
    /// A file is written on the ring, and not on a helper thread (5.6).
    Write,
    /// Memory for reads past the page cache is registered with the ring (5.1).
    ReadFixed,
    /// Memory for writes past the page cache is registered with the ring (5.1).
    WriteFixed,
    /// A file is opened on the ring, and not on a helper thread (5.6).
    Openat,
    /// A file is opened with rules for its path on the ring, and not on a helper thread (5.6).
    Openat2,
    /// The status of a file is asked for on the ring, and not on a helper thread (5.6).
    Statx,
    /// A file is brought to the disk on the ring, and not on a helper thread (5.1).
    Fsync,
    /// Room is reserved on the disk on the ring, and not on a helper thread (5.6).
    Fallocate,
    /// A file is cut off on the ring, and not on a helper thread (6.9).
    Ftruncate,
    /// It is said how a file will be read on the ring, and not on a helper thread (5.6).
    Fadvise,
    /// A file is renamed on the ring, and not on a helper thread (5.11).
    Renameat,
    /// A file is removed on the ring, and not on a helper thread (5.11).
    Unlinkat,
    /// A folder is made on the ring, and not on a helper thread (5.15).
    Mkdirat,
    /// A symbolic link is made on the ring, and not on a helper thread (5.15).
    Symlinkat,
    /// A file gets a second name on the ring, and not on a helper thread (5.15).
    Linkat,
    /// A file goes into a pipe or comes out of it on the ring, and not on a helper thread (5.7).
    Splice,
}

impl Feature {
    /// All features, in the order they are reported.
    pub const ALL: [Feature; 30] = [
        Feature::SingleIssuer,
        Feature::DeferTaskrun,
        Feature::CoopTaskrun,
        Feature::TaskrunFlag,
        Feature::NoSqarray,
        Feature::SubmitAll,
        Feature::RegisteredRing,
        Feature::AbsTimer,
        Feature::NoIowait,
        Feature::PbufRing,
        Feature::RecvMultishot,
        Feature::AcceptMultishot,
        Feature::PollMultishot,
        Feature::Read,
        Feature::Write,
        Feature::ReadFixed,
        Feature::WriteFixed,
        Feature::Openat,
        Feature::Openat2,
        Feature::Statx,
        Feature::Fsync,
        Feature::Fallocate,
        Feature::Ftruncate,
        Feature::Fadvise,
        Feature::Renameat,
        Feature::Unlinkat,
        Feature::Mkdirat,
        Feature::Symlinkat,
        Feature::Linkat,
        Feature::Splice,
    ];

    /// The kernel's name in lower case, which `CORIO_DISABLE` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Feature::SingleIssuer => "single_issuer",
            Feature::DeferTaskrun => "defer_taskrun",
            Feature::CoopTaskrun => "coop_taskrun",
            Feature::TaskrunFlag => "taskrun_flag",
            Feature::NoSqarray => "no_sqarray",
            Feature::SubmitAll => "submit_all",
            Feature::RegisteredRing => "registered_ring",
            Feature::AbsTimer => "abs_timer",
            Feature::NoIowait => "no_iowait",
            Feature::PbufRing => "pbuf_ring",
            Feature::RecvMultishot => "recv_multishot",
            Feature::AcceptMultishot => "accept_multishot",
            Feature::PollMultishot => "poll_multishot",
            Feature::Read => "read",
            Feature::Write => "write",
            Feature::ReadFixed => "read_fixed",
            Feature::WriteFixed => "write_fixed",
            Feature::Openat => "openat",
            Feature::Openat2 => "openat2",
            Feature::Statx => "statx",
            Feature::Fsync => "fsync",
            Feature::Fallocate => "fallocate",
            Feature::Ftruncate => "ftruncate",
            Feature::Fadvise => "fadvise",
            Feature::Renameat => "renameat",
            Feature::Unlinkat => "unlinkat",
            Feature::Mkdirat => "mkdirat",
            Feature::Symlinkat => "symlinkat",
            Feature::Linkat => "linkat",
            Feature::Splice => "splice",
        }
    }
}

/// What became of a feature at start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum FeatureState {
    /// Tried, and it did what it should.
    Works,
    /// Tried, and this kernel does not have it.
    Absent,
    /// Not tried: another feature that works does the same or it stands on one that does not.
    NotNeeded,
    /// Named in `CORIO_DISABLE`.
    SwitchedOff,
    /// The driver does without the kernel's help what the feature does.
    Emulated,
}

/// The features of a running ring: `Runtime::features()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Features {
    driver: Driver,
    states: [FeatureState; Feature::ALL.len()],
    /// Entries of the two queues; none before there is a ring.
    entries: (u32, u32),
}

impl Features {
    /// Everything but what `CORIO_DISABLE` names.
    pub(super) fn wanted() -> io::Result<Features> {
        let disabled = std::env::var("CORIO_DISABLE").unwrap_or_default();
        Features::without(&disabled)
    }

    fn without(disabled: &str) -> io::Result<Features> {
        let mut features = Features::all();
        for name in disabled.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let Some(feature) = Feature::ALL.into_iter().find(|it| it.name() == name) else {
                let known: Vec<_> = Feature::ALL.iter().map(|it| it.name()).collect();
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!(
                        "CORIO_DISABLE names `{name}`, which is no feature; known are {}",
                        known.join(", ")
                    ),
                ));
            };
            features.set(feature, FeatureState::SwitchedOff);
        }
        features.settle();
        Ok(features)
    }

    fn of(driver: Driver, state: FeatureState) -> Features {
        Features { driver, states: [state; Feature::ALL.len()], entries: (0, 0) }
    }

    /// Everything, before it was tried.
    pub(super) fn all() -> Features {
        Features::of(Driver::Uring, FeatureState::Works)
    }

    /// Those of a ring that has none.
    pub(crate) fn none() -> Features {
        Features::of(Driver::Uring, FeatureState::Absent)
    }

    /// Whether this kernel is older than 6.1: a ring that works off its completions by interrupts
    /// costs more than epoll. (Switched off for a trial is another matter.)
    pub(super) fn lacks_the_base(&self) -> bool {
        [Feature::SingleIssuer, Feature::DeferTaskrun]
            .into_iter()
            .any(|feature| self.state(feature) == FeatureState::Absent)
    }

    /// What the epoll driver does: standing operations and pools, without the ring.
    pub(super) fn epoll() -> Features {
        let mut features = Features::of(Driver::Epoll, FeatureState::Absent);
        for feature in [
            Feature::PbufRing,
            Feature::RecvMultishot,
            Feature::AcceptMultishot,
            Feature::PollMultishot,
        ] {
            features.set(feature, FeatureState::Emulated);
        }
        features
    }

    /// The driver under the loop.
    pub fn driver(&self) -> Driver {
        self.driver
    }

    /// Entries of the submission queue: what the builder asked for, or less where memory may not be
    /// locked for it; 0 on epoll.
    pub fn ring_entries(&self) -> u32 {
        self.entries.0
    }

    /// Entries of the completion queue, likewise.
    pub fn completion_entries(&self) -> u32 {
        self.entries.1
    }

    pub(super) fn set_entries(&mut self, submissions: u32, completions: u32) {
        self.entries = (submissions, completions);
    }

    /// Takes out what stands on something that is not there, or is not needed beside it.
    pub(super) fn settle(&mut self) {
        let not_needed = |features: &mut Features, feature| {
            if features.has(feature) {
                features.set(feature, FeatureState::NotNeeded);
            }
        };
        if !self.has(Feature::SingleIssuer) {
            not_needed(self, Feature::DeferTaskrun);
        }
        if self.has(Feature::DeferTaskrun) {
            not_needed(self, Feature::CoopTaskrun);
        } else if self.state(Feature::CoopTaskrun) == FeatureState::NotNeeded {
            self.set(Feature::CoopTaskrun, FeatureState::Works);
        }
        if !self.has(Feature::DeferTaskrun) && !self.has(Feature::CoopTaskrun) {
            not_needed(self, Feature::TaskrunFlag);
        }
        if !self.has(Feature::PbufRing) {
            not_needed(self, Feature::RecvMultishot);
        }
    }

    pub(super) fn set(&mut self, feature: Feature, state: FeatureState) {
        self.states[feature as usize] = state;
    }

    /// What became of one feature.
    pub fn state(&self, feature: Feature) -> FeatureState {
        self.states[feature as usize]
    }

    /// Whether a feature is in use.
    pub fn has(&self, feature: Feature) -> bool {
        matches!(self.state(feature), FeatureState::Works | FeatureState::Emulated)
    }

    /// All features with their states.
    pub fn iter(&self) -> impl Iterator<Item = (Feature, FeatureState)> + '_ {
        Feature::ALL.into_iter().zip(self.states)
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.driver.name())?;
        if self.driver == Driver::Epoll {
            return Ok(());
        }
        f.write_str(":")?;
        for (feature, state) in self.iter() {
            match state {
                FeatureState::Works => write!(f, " {}", feature.name())?,
                FeatureState::Absent => write!(f, " -{} (absent)", feature.name())?,
                FeatureState::SwitchedOff => write!(f, " -{} (switched off)", feature.name())?,
                FeatureState::NotNeeded | FeatureState::Emulated => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disabling_a_base_takes_out_what_stands_on_it() {
        let features = Features::without("single_issuer, pbuf_ring").unwrap();
        assert_eq!(features.state(Feature::SingleIssuer), FeatureState::SwitchedOff);
        assert_eq!(features.state(Feature::DeferTaskrun), FeatureState::NotNeeded);
        assert_eq!(features.state(Feature::RecvMultishot), FeatureState::NotNeeded);
        assert!(features.has(Feature::CoopTaskrun), "it takes the place of defer_taskrun");
        assert!(features.has(Feature::TaskrunFlag));
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = Features::without("multishot").unwrap_err().to_string();
        assert!(error.contains("`multishot`") && error.contains("recv_multishot"), "{error}");
    }
}
