//! Start: the best ring that this kernel gives, found by trials.
//!
//! Each feature is tried with a real operation on a small ring, once a process; versions are never
//! compared, since distributions port features back. There is one trial for each feature, which
//! the start and `corio probe` share: here are the machinery and the trials of what corio uses, in
//! `probe/` those of what it could use. Why a ring is refused is told by `refusal.rs`.
#![allow(unsafe_code)] // The trial ring's own submissions, and registration of the pools.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;
use std::time::Duration;

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Submitter, cqueue, opcode, squeue};

use super::probe::files;
use super::refusal::{self, is_shortage};
use super::socket;
use super::uring::group_number;
use super::{BufferConfig, Feature, FeatureState, Features, Group, Pools, now_ns};

/// How many entries the two queues of a ring have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RingSize {
    pub(crate) submissions: u32,
    pub(crate) completions: u32,
}

impl Default for RingSize {
    fn default() -> RingSize {
        RingSize { submissions: 256, completions: 4096 }
    }
}

impl RingSize {
    /// What is tried where memory may not be locked for this size.
    pub(super) fn smaller(self) -> [RingSize; 2] {
        let quarter = RingSize { completions: (self.completions / 4).max(1), ..self };
        [quarter, RingSize { submissions: (self.submissions / 4).max(1), ..quarter }]
    }
}

const TRIAL_SIZE: RingSize = RingSize { submissions: 8, completions: 32 };

/// The features that are flags of a ring's set-up, with what each cannot stand without.
const FLAGS: [(Feature, Option<Feature>); 6] = [
    (Feature::SingleIssuer, None),
    (Feature::DeferTaskrun, Some(Feature::SingleIssuer)),
    (Feature::CoopTaskrun, None),
    (Feature::TaskrunFlag, Some(Feature::CoopTaskrun)),
    (Feature::SubmitAll, None),
    (Feature::NoSqarray, None),
];

/// What works here. Tried once a process; a refusal is tried anew each time.
pub(super) fn features() -> io::Result<Features> {
    static FEATURES: OnceLock<Features> = OnceLock::new();
    if let Some(features) = FEATURES.get() {
        return Ok(*features);
    }
    let mut features = Features::wanted()?;
    let explain = |error: io::Error| refusal::explain(&error, RingSize::default());
    let mut ring = set_up_for_trial(&mut features).map_err(explain)?;
    if features.lacks_the_base() {
        return Err(explain(io::Error::from_raw_os_error(libc::EINVAL)));
    }
    let nop = ask(&mut ring, &opcode::Nop::new().build(), 1).map_err(explain)?;
    if nop != [(0, false)] {
        let text = format!("io_uring is refused: a no-op answered {nop:?}; cure: report this");
        return Err(io::Error::other(text));
    }
    for feature in Feature::ALL {
        let Trial::Operation(trial) = trial_of(feature) else { continue };
        if features.has(feature) && !judge(trial(&mut ring)).map_err(explain)? {
            features.set(feature, FeatureState::Absent);
        }
    }
    features.settle();
    Ok(*FEATURES.get_or_init(|| features))
}

/// All flags at once; if the kernel does not know them all, each by itself.
fn set_up_for_trial(features: &mut Features) -> io::Result<IoUring> {
    match set_up_patiently(features, TRIAL_SIZE) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
        answer => return answer,
    }
    for (feature, _) in FLAGS {
        if features.has(feature) && !try_flag(feature)? {
            features.set(feature, FeatureState::Absent);
            features.settle();
        }
    }
    set_up_patiently(features, TRIAL_SIZE)
}

/// A ring with this flag, and with nothing that it can stand without.
pub(super) fn try_flag(feature: Feature) -> io::Result<bool> {
    let mut features = Features::none();
    let base = FLAGS.iter().find(|(flag, _)| *flag == feature).and_then(|(_, base)| *base);
    for flag in [Some(feature), base].into_iter().flatten() {
        features.set(flag, FeatureState::Works);
    }
    match set_up_patiently(&features, TRIAL_SIZE) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
        answer => answer.map(|_| true),
    }
}

/// A small ring for trials, with the flags that work here.
pub(super) fn trial_ring() -> io::Result<IoUring> {
    let mut features = Features::all();
    set_up_for_trial(&mut features)
}

/// The pauses after which a ring is asked for again that found no memory to lock.
const PAUSES_MS: [u64; 5] = [2, 4, 8, 16, 32];

/// Tries again where memory may not be locked: the kernel gives back what a closed ring had locked
/// some 10 to 40 ms later, and says nothing when. A smaller ring than there is room for, or none,
/// would be the worse answer.
pub(super) fn patiently<T>(mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for pause_ms in PAUSES_MS {
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::OutOfMemory => {
                std::thread::sleep(Duration::from_millis(pause_ms));
            }
            answer => return answer,
        }
    }
    attempt()
}

fn set_up_patiently(features: &Features, size: RingSize) -> io::Result<IoUring> {
    patiently(|| set_up(features, size))
}

fn set_up(features: &Features, size: RingSize) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.dontfork().setup_clamp().setup_cqsize(size.completions.max(size.submissions));
    if features.has(Feature::SingleIssuer) {
        builder.setup_single_issuer();
    }
    if features.has(Feature::DeferTaskrun) {
        builder.setup_defer_taskrun();
    }
    if features.has(Feature::CoopTaskrun) {
        builder.setup_coop_taskrun();
    }
    if features.has(Feature::TaskrunFlag) {
        builder.setup_taskrun_flag();
    }
    if features.has(Feature::NoSqarray) {
        builder.setup_no_sqarray();
    }
    if features.has(Feature::SubmitAll) {
        builder.setup_submit_all();
    }
    builder.build(size.submissions)
}

/// The ring of a core.
pub(super) fn build_ring(features: &Features, size: RingSize) -> io::Result<IoUring> {
    set_up(features, size).map_err(|error| refusal::explain(&error, size))
}

/// Registers the rings of both pools. A refusal for want of memory leaves receives without pools.
pub(super) fn register_pools(
    submitter: &Submitter<'_>,
    size: RingSize,
    pools: &Pools,
    features: &mut Features,
) -> io::Result<()> {
    for group in [Group::Small, Group::Large] {
        let pool = pools.pool(group);
        let (address, entries) = pool.make_ring()?;
        // SAFETY: [pool-outlives-chunks] the ring's memory lives as long as the pool, which the
        // driver holds beside the ring.
        let registered = unsafe {
            submitter.register_buf_ring_with_flags(address, entries, group_number(group), 0)
        };
        if let Err(error) = registered {
            pool.drop_ring();
            if error.raw_os_error() == Some(libc::ENOMEM) {
                return Err(refusal::explain(&error, size));
            }
            features.set(Feature::PbufRing, FeatureState::Absent);
            features.settle();
        }
    }
    pools.small.start();
    Ok(())
}

/// How to find out whether a feature works.
#[derive(Clone, Copy)]
pub(super) enum Trial {
    /// Set a ring up with it.
    Flag(Feature),
    /// Use it on a ring.
    Operation(Operation),
}

/// A real operation on a trial ring. False, or an error's number, if it does not work.
pub(super) type Operation = fn(&mut IoUring) -> io::Result<bool>;

/// The trial of a feature that corio uses.
pub(super) const fn trial_of(feature: Feature) -> Trial {
    let operation: Operation = match feature {
        Feature::SingleIssuer
        | Feature::DeferTaskrun
        | Feature::CoopTaskrun
        | Feature::TaskrunFlag
        | Feature::NoSqarray
        | Feature::SubmitAll => return Trial::Flag(feature),
        Feature::RegisteredRing => try_registered_ring,
        Feature::AbsTimer => try_abs_timer,
        Feature::NoIowait => try_no_iowait,
        Feature::PollMultishot => try_poll_multishot,
        Feature::AcceptMultishot => try_accept_multishot,
        Feature::PbufRing => try_pbuf_ring,
        Feature::RecvMultishot => try_recv_multishot,
        Feature::Read => files::try_read,
        Feature::Write => files::try_write,
        Feature::ReadFixed => files::try_read_fixed,
        Feature::WriteFixed => files::try_write_fixed,
        Feature::Openat => files::try_openat,
        Feature::Openat2 => files::try_openat2,
        Feature::Statx => files::try_statx,
        Feature::Fsync => files::try_fsync,
        Feature::Fallocate => files::try_fallocate,
        Feature::Ftruncate => files::try_ftruncate,
        Feature::Fadvise => files::try_fadvise,
        Feature::Renameat => files::try_renameat,
        Feature::Unlinkat => files::try_unlinkat,
        Feature::Mkdirat => files::try_mkdirat,
        Feature::Symlinkat => files::try_symlinkat,
        Feature::Linkat => files::try_linkat,
        Feature::Splice => files::try_splice,
    };
    Trial::Operation(operation)
}

/// A trial: what the operation answered, and whether it went on.
pub(super) type Answers = Vec<(i32, bool)>;

/// Submits one entry, waits up to 100 ms for `count` completions, and returns what came.
pub(super) fn ask(ring: &mut IoUring, entry: &squeue::Entry, count: usize) -> io::Result<Answers> {
    // SAFETY: [slot-keeps-memory] trial entries point to nothing, or to memory of the caller that
    // outlives this call, at whose end the ring is idle again or is dropped.
    let pushed = unsafe { ring.submission().push(entry) };
    pushed.map_err(|_| io::Error::from_raw_os_error(libc::EBUSY))?;
    let time = Timespec::new().nsec(100_000_000);
    let args = SubmitArgs::new().timespec(&time);
    while let Err(error) = ring.submitter().submit_with_args(count, &args) {
        match error.raw_os_error() {
            Some(libc::ETIME) => break,
            // A signal says nothing about the feature.
            Some(libc::EINTR) => {}
            _ => return Err(error),
        }
    }
    let completions = ring.completion();
    Ok(completions.map(|entry| (entry.result(), cqueue::more(entry.flags()))).collect())
}

/// A feature that cannot be tried, say for a filter on the calls that its trial makes, is not used.
/// But a want of descriptors or memory says nothing about it, and passes: that refuses the start,
/// and the next one tries again.
fn judge(tried: io::Result<bool>) -> io::Result<bool> {
    match tried {
        Ok(works) => Ok(works),
        Err(error) if error.raw_os_error().is_some_and(is_shortage) => Err(error),
        Err(error) if error.raw_os_error().is_some() => Ok(false),
        Err(explained) => Err(explained),
    }
}

fn try_registered_ring(ring: &mut IoUring) -> io::Result<bool> {
    let mut submitter = ring.submitter();
    submitter.register_ring_fd()?;
    submitter.unregister_ring_fd()?;
    Ok(true)
}

pub(super) fn try_wait(ring: &mut IoUring, flags: EnterFlags, time_ns: u64) -> io::Result<bool> {
    let time = Timespec::new().sec(time_ns / 1_000_000_000).nsec((time_ns % 1_000_000_000) as u32);
    let args = SubmitArgs::new().timespec(&time);
    let flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG | flags;
    loop {
        // SAFETY: [plain-call] nothing is submitted; the argument lives through the call.
        let waited = unsafe { ring.submitter().enter(0, 1, flags.bits(), Some(&args)) };
        match waited.map_err(|error| error.raw_os_error()) {
            Err(Some(libc::EINTR)) => {}
            waited => return Ok(waited == Err(Some(libc::ETIME))),
        }
    }
}

fn try_abs_timer(ring: &mut IoUring) -> io::Result<bool> {
    try_wait(ring, EnterFlags::ABS_TIMER, now_ns() + 1000)
}

fn try_no_iowait(ring: &mut IoUring) -> io::Result<bool> {
    try_wait(ring, EnterFlags::NO_IOWAIT, 1000)
}

/// A multishot that was heard of once must say that it goes on.
pub(super) fn goes_on(answers: &Answers) -> io::Result<bool> {
    match answers.first() {
        Some((result, more)) if *result >= 0 => Ok(*more),
        Some((error, _)) => Err(io::Error::from_raw_os_error(-error)),
        None => Ok(false),
    }
}

fn try_poll_multishot(ring: &mut IoUring) -> io::Result<bool> {
    let (near, mut far) = io::pipe()?;
    io::Write::write_all(&mut far, b"x")?;
    let poll = opcode::PollAdd::new(Fd(near.as_raw_fd()), libc::POLLIN as u32).multi(true);
    let answers = ask(ring, &poll.build().user_data(1), 1)?;
    end(ring, 1)?;
    goes_on(&answers)
}

fn try_accept_multishot(ring: &mut IoUring) -> io::Result<bool> {
    let listener = socket::trial_listener()?;
    let client = socket::trial_connect(&listener)?;
    let accept = opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).flags(libc::SOCK_CLOEXEC);
    let answers = ask(ring, &accept.build().user_data(1), 1)?;
    for (result, _) in &answers {
        if *result >= 0 {
            // SAFETY: [fd-is-ours] the kernel just made this descriptor for us.
            drop(unsafe { OwnedFd::from_raw_fd(*result) });
        }
    }
    end(ring, 1)?;
    drop(client);
    goes_on(&answers)
}

pub(super) fn trial_pools() -> io::Result<Pools> {
    Pools::new(&BufferConfig {
        size_bytes: 4096,
        initial_count: 2,
        count_max: 2,
        large_size_bytes: 4096,
        large_count_max: 1,
    })
}

fn try_pbuf_ring(ring: &mut IoUring) -> io::Result<bool> {
    with_trial_pool(ring, |_| Ok(true))
}

fn try_recv_multishot(ring: &mut IoUring) -> io::Result<bool> {
    with_trial_pool(ring, |ring| {
        let listener = socket::trial_listener()?;
        let near = socket::trial_connect(&listener)?;
        let far = socket::trial_accept(&listener)?;
        socket::trial_send(&far)?;
        let receive = opcode::RecvMulti::new(Fd(near.as_raw_fd()), group_number(Group::Small));
        let answers = ask(ring, &receive.build().user_data(1), 1)?;
        end(ring, 1)?;
        goes_on(&answers)
    })
}

/// Runs a trial with a registered pool; false if the kernel would not register it.
pub(super) fn with_trial_pool(
    ring: &mut IoUring,
    trial: impl FnOnce(&mut IoUring) -> io::Result<bool>,
) -> io::Result<bool> {
    let pools = trial_pools()?;
    let (address, entries) = pools.small.make_ring()?;
    let group = group_number(Group::Small);
    // SAFETY: [pool-outlives-chunks] unregistered below, before the pool is dropped.
    let registered =
        unsafe { ring.submitter().register_buf_ring_with_flags(address, entries, group, 0) };
    match registered {
        Ok(()) => {
            pools.small.start();
            let answer = trial(ring);
            ring.submitter().unregister_buf_ring(group)?;
            answer
        }
        Err(error) => Err(error),
    }
}

/// Cancels the trial's operation and takes its last completions out.
pub(super) fn end(ring: &mut IoUring, user_data: u64) -> io::Result<()> {
    let answers = ask(ring, &opcode::AsyncCancel::new(user_data).build(), 2)?;
    debug_assert!(!answers.is_empty());
    Ok(())
}
