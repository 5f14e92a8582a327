//! Start: a ladder of trials, from the best ring down, and errors that explain themselves.
//!
//! Each feature is tried with a real operation on a small ring, once a process; versions are never
//! compared, since distributions port features back. A refusal of the ring itself names the fact,
//! the likely cause and the cure.
#![allow(unsafe_code)] // The trial ring's own submissions, and registration of the pools.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, Submitter, cqueue, opcode, squeue};

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

const TRIAL_SIZE: RingSize = RingSize { submissions: 8, completions: 32 };

/// Set-up flags, the newest first: the ladder gives them up in this order.
const LADDER: [Feature; 6] = [
    Feature::NoSqarray,
    Feature::DeferTaskrun,
    Feature::SingleIssuer,
    Feature::TaskrunFlag,
    Feature::CoopTaskrun,
    Feature::SubmitAll,
];

/// What works here. Tried once a process; a refusal is tried anew each time.
pub(super) fn features() -> io::Result<Features> {
    static FEATURES: OnceLock<Features> = OnceLock::new();
    if let Some(features) = FEATURES.get() {
        return Ok(*features);
    }
    let mut features = Features::wanted()?;
    let mut ring = climb_down(&mut features)?;
    try_operations(&mut ring, &mut features)?;
    features.settle();
    Ok(*FEATURES.get_or_init(|| features))
}

/// Gives up one set-up flag after the other until the kernel takes the ring.
fn climb_down(features: &mut Features) -> io::Result<IoUring> {
    for rung in LADDER {
        match set_up(features, TRIAL_SIZE) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                if features.has(rung) {
                    features.set(rung, FeatureState::Absent);
                    features.settle();
                }
            }
            other => return other.map_err(|error| explain_refusal(&error)),
        }
    }
    set_up(features, TRIAL_SIZE).map_err(|error| explain_refusal(&error))
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

/// The ring of a core: of this size, or smaller if memory may not be locked for it.
pub(super) fn build_ring(features: &Features, size: RingSize) -> io::Result<IoUring> {
    let quarter = RingSize { completions: (size.completions / 4).max(1), ..size };
    let small = RingSize { submissions: (size.submissions / 4).max(1), ..quarter };
    let mut refusal = None;
    for size in [size, quarter, small] {
        match set_up(features, size) {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => refusal = Some(error),
            other => return other.map_err(|error| explain_refusal(&error)),
        }
    }
    let error = refusal.unwrap_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM));
    Err(explain_refusal(&error))
}

/// The refusal of a ring, with its likely cause and its cure. The kind is the kernel's.
fn explain_refusal(error: &io::Error) -> io::Error {
    let text = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            let switch = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
            match switch.as_deref().map(str::trim) {
                Ok(level @ ("1" | "2")) => format!(
                    "io_uring is refused (EPERM): `kernel.io_uring_disabled` is {level}; cure: \
                     `sysctl kernel.io_uring_disabled=0`"
                ),
                _ => "io_uring is refused (EPERM): likely a seccomp profile or a security module, \
                      as in containers by default; cure: run with a profile that allows \
                      io_uring_setup, io_uring_enter and io_uring_register"
                    .to_owned(),
            }
        }
        Some(libc::ENOSYS) => "io_uring is refused (ENOSYS): the kernel is built without it, or a \
                               seccomp profile hides it; cure: a kernel from 6.1 on, or a profile \
                               that allows io_uring_setup"
            .to_owned(),
        Some(libc::EOPNOTSUPP) => "io_uring is refused (EOPNOTSUPP): the host or sandbox does not \
                                   support it; cure: run outside that sandbox"
            .to_owned(),
        Some(libc::ENOMEM) => format!(
            "io_uring is refused (ENOMEM): the ring needs about {} KiB of locked memory and \
             RLIMIT_MEMLOCK is {}; cure: raise it (`ulimit -l`, systemd `LimitMEMLOCK=`), or make \
             the ring smaller (`Builder::ring_entries`, `Builder::completion_entries`)",
            ring_memory_bytes(RingSize::default()).div_ceil(1024),
            socket::memlock_limit()
        ),
        Some(libc::EMFILE | libc::ENFILE) => "the ring needs a descriptor and none is left \
                                              (EMFILE): likely RLIMIT_NOFILE; cure: `ulimit -n`"
            .to_owned(),
        Some(libc::EINVAL) => "io_uring is refused (EINVAL): the kernel is older than 5.19; cure: \
                               a kernel from 6.1 on"
            .to_owned(),
        _ => format!("io_uring is refused: {error}"),
    };
    let number = error.raw_os_error().unwrap_or(0);
    io::Error::new(error.kind(), Refusal { number, text })
}

/// The refusal of a ring: what the kernel answered, and what to say of it.
#[derive(Debug)]
struct Refusal {
    number: i32,
    text: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Refusal {}

/// Whether the ring cannot be had here at all, rather than for want of resources.
pub(super) fn is_unavailable(error: &io::Error) -> bool {
    let refusal = error.get_ref().and_then(|inner| inner.downcast_ref::<Refusal>());
    refusal.is_some_and(|refusal| {
        let unavailable = [libc::EPERM, libc::EACCES, libc::ENOSYS, libc::EOPNOTSUPP, libc::EINVAL];
        unavailable.contains(&refusal.number)
    })
}

/// Memory that a ring of this size locks: both queues and the pools' rings.
fn ring_memory_bytes(size: RingSize) -> usize {
    let pages = |bytes: usize| bytes.next_multiple_of(4096);
    let pools = BufferConfig::default();
    pages(size.submissions as usize * 64)
        + pages(size.completions as usize * 16 + 256)
        + pages(usize::from(pools.count_max) * 16)
        + pages(usize::from(pools.large_count_max) * 16)
}

/// Registers the rings of both pools. A refusal for want of memory leaves receives without pools.
pub(super) fn register_pools(
    submitter: &Submitter<'_>,
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
                return Err(explain_refusal(&error));
            }
            features.set(Feature::PbufRing, FeatureState::Absent);
            features.settle();
        }
    }
    pools.small.start();
    Ok(())
}

/// Whether a feature works, by a real operation.
type Trial = fn(&mut IoUring) -> io::Result<bool>;

/// A trial: what the operation answered, and whether it went on.
type Answers = Vec<(i32, bool)>;

/// Submits one entry, waits up to 100 ms for `count` completions, and returns what came.
fn ask(ring: &mut IoUring, entry: &squeue::Entry, count: usize) -> io::Result<Answers> {
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

fn try_operations(ring: &mut IoUring, features: &mut Features) -> io::Result<()> {
    let nop = ask(ring, &opcode::Nop::new().build(), 1);
    let nop = nop.map_err(|error| explain_refusal(&error))?;
    if nop != [(0, false)] {
        let text = format!("io_uring is refused: a no-op answered {nop:?}; cure: report this");
        return Err(io::Error::other(text));
    }
    let trials: [(Feature, Trial); 7] = [
        (Feature::RegisteredRing, try_registered_ring),
        (Feature::AbsTimer, try_abs_timer),
        (Feature::NoIowait, try_no_iowait),
        (Feature::PollMultishot, try_poll_multishot),
        (Feature::AcceptMultishot, try_accept_multishot),
        (Feature::PbufRing, try_pbuf_ring),
        (Feature::RecvMultishot, try_recv_multishot),
    ];
    for (feature, trial) in trials {
        if features.has(feature) && !judge(trial(ring))? {
            features.set(feature, FeatureState::Absent);
        }
    }
    Ok(())
}

/// A feature that cannot be tried, say for a filter on the calls that its trial makes, is not used.
/// But a want of descriptors or memory says nothing about it, and passes: that refuses the start,
/// and the next one tries again.
fn judge(tried: io::Result<bool>) -> io::Result<bool> {
    match tried {
        Ok(works) => Ok(works),
        Err(error) if error.raw_os_error().is_some_and(is_shortage) => Err(explain_refusal(&error)),
        Err(error) if error.raw_os_error().is_some() => Ok(false),
        Err(explained) => Err(explained),
    }
}

fn is_shortage(error: i32) -> bool {
    [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS].contains(&error)
}

fn try_registered_ring(ring: &mut IoUring) -> io::Result<bool> {
    let mut submitter = ring.submitter();
    Ok(submitter.register_ring_fd().is_ok() && submitter.unregister_ring_fd().is_ok())
}

fn try_wait(ring: &mut IoUring, flags: EnterFlags, time_ns: u64) -> io::Result<bool> {
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
fn goes_on(answers: &Answers) -> io::Result<bool> {
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

fn trial_pools() -> io::Result<Pools> {
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
fn with_trial_pool(
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
        Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => Err(explain_refusal(&error)),
        Err(_) => Ok(false),
    }
}

/// Cancels the trial's operation and takes its last completions out.
fn end(ring: &mut IoUring, user_data: u64) -> io::Result<()> {
    let answers = ask(ring, &opcode::AsyncCancel::new(user_data).build(), 2)?;
    debug_assert!(!answers.is_empty());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixty_cores_fit_under_the_usual_limit_of_locked_memory() {
        let bytes = ring_memory_bytes(RingSize::default());
        assert!(bytes <= 128 << 10, "one core locks {bytes} bytes");
        assert!(60 * bytes <= 8 << 20);
        let pools = BufferConfig::default();
        let initial_bytes = usize::from(pools.initial_count) * pools.size_bytes;
        assert!(initial_bytes <= 1 << 20, "{initial_bytes} bytes of buffers at the start");
    }
}
