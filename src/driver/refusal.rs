//! Why the ring is refused: the fact, the likely cause, and the cure for this environment.
//!
//! Both the error of a start and `corio probe` take their words from here. The kernel answers only
//! a number, and the same number for several causes, so a cause is looked for in the facts of
//! `environment.rs`, the certain ones first. A refusal is either *unavailable* (io_uring cannot be
//! had here, whatever its size, and epoll takes its place) or a *shortage* (of locked memory or
//! descriptors, which is told and never answered by another driver).

use std::fmt;
use std::io;

use super::{BufferConfig, Container, Environment, Limit, RingSize};

/// Why a ring is refused. The error of `Builder::build` holds one: `error.get_ref()`.
#[derive(Clone, PartialEq, Debug)]
pub struct Refusal {
    answer: Answer,
    cause: Cause,
    size: RingSize,
    environment: Environment,
}

/// What came of asking for a ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    /// The number of an error.
    Error(i32),
    /// The process was killed by this signal.
    Killed(i32),
}

/// The likely cause of a refusal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Cause {
    /// `kernel.io_uring_disabled`.
    Sysctl,
    /// A filter on system calls, such as a container's profile.
    Seccomp,
    /// SELinux or AppArmor.
    SecurityModule,
    /// A policy of which there is no trace in this process.
    UnseenPolicy,
    /// The kernel has no io_uring, or one too old.
    Kernel,
    /// A sandbox with a kernel of its own.
    Sandbox,
    /// RLIMIT_MEMLOCK.
    LockedMemory,
    /// RLIMIT_NOFILE.
    Descriptors,
    /// The descriptors of the whole machine.
    SystemDescriptors,
    /// None of these.
    Unknown,
}

/// One way to mend a cause.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Cure {
    /// Who is to be told: `docker`, `systemd`, `sysctl` ...
    pub place: &'static str,
    /// What to write there, on one line or several.
    pub text: &'static str,
    /// Whether this is for the environment that the process runs in.
    pub applies: bool,
}

impl Refusal {
    pub(super) fn new(error: i32, size: RingSize, environment: Environment) -> Refusal {
        let cause = Cause::of(error, &environment);
        Refusal { answer: Answer::Error(error), cause, size, environment }
    }

    /// What a start with the default settings makes of this answer of the kernel, the number of an
    /// error, in this environment.
    pub fn of_error(number: i32, environment: &Environment) -> Refusal {
        Refusal::new(number, RingSize::default(), environment.clone())
    }

    /// What to say of a process that was killed by this signal when it asked for a ring.
    pub fn of_signal(number: i32, environment: &Environment) -> Refusal {
        Refusal {
            answer: Answer::Killed(number),
            cause: if number == libc::SIGSYS { Cause::Seccomp } else { Cause::Unknown },
            size: RingSize::default(),
            environment: environment.clone(),
        }
    }

    /// The refusal that an error of `Builder::build` holds, if it is one.
    pub fn in_error(error: &io::Error) -> Option<&Refusal> {
        error.get_ref().and_then(|inner| inner.downcast_ref::<Refusal>())
    }

    /// The number of the kernel's error; absent if it killed the process instead.
    pub fn error_number(&self) -> Option<i32> {
        match self.answer {
            Answer::Error(number) => Some(number),
            Answer::Killed(_) => None,
        }
    }

    /// The likely cause.
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// Whether the ring cannot be had here at all, rather than for want of resources.
    pub fn is_unavailable(&self) -> bool {
        match self.answer {
            Answer::Error(number) => {
                let unavailable =
                    [libc::EPERM, libc::EACCES, libc::ENOSYS, libc::EOPNOTSUPP, libc::EINVAL];
                unavailable.contains(&number)
            }
            Answer::Killed(_) => false,
        }
    }

    /// What happened.
    pub fn fact(&self) -> String {
        match self.answer {
            Answer::Killed(libc::SIGSYS) => {
                "io_uring is refused: the process is killed (SIGSYS) when it asks for a ring".into()
            }
            Answer::Killed(signal) => {
                format!("io_uring is refused: asking for a ring ends the process (signal {signal})")
            }
            Answer::Error(number) => {
                let is_shortage = is_shortage(number);
                let what =
                    if is_shortage { "a ring cannot be made" } else { "io_uring is refused" };
                format!("{what} ({})", error_name(number))
            }
        }
    }

    /// The likely cause in words, with its numbers.
    pub fn reason(&self) -> String {
        let environment = &self.environment;
        match self.cause {
            Cause::Sysctl => format!(
                "`kernel.io_uring_disabled` is {}",
                environment.io_uring_disabled.unwrap_or_default()
            ),
            Cause::Seccomp => {
                let by = environment.container.map(|container| match container {
                    Container::Other => "a container's".to_owned(),
                    known => format!("{}'s", known.name()),
                });
                format!(
                    "likely {} seccomp profile, which does not allow the calls of io_uring",
                    by.as_deref().unwrap_or("a")
                )
            }
            Cause::SecurityModule => {
                let module = environment.confining_module();
                format!("likely {}", module.as_deref().unwrap_or("a security module"))
            }
            Cause::UnseenPolicy => "likely a policy of the host: neither the sysctl nor a seccomp \
                                    filter or a security module of this process explains it"
                .to_owned(),
            Cause::Kernel => {
                format!(
                    "Linux {} is too old for corio's ring, or built without",
                    environment.kernel
                )
            }
            Cause::Sandbox => "the sandbox has a kernel of its own, which does not offer it".into(),
            Cause::LockedMemory => format!(
                "{} locks about {} KiB, and RLIMIT_MEMLOCK is {} for all rings of this user \
                 together",
                self.size,
                self.size.locked_bytes().div_ceil(1024),
                kibibytes(environment.locked_memory)
            ),
            Cause::Descriptors => format!(
                "this process has all the descriptors that RLIMIT_NOFILE allows: {}",
                environment
                    .descriptors
                    .soft
                    .map_or("unlimited".to_owned(), |soft| soft.to_string())
            ),
            Cause::SystemDescriptors => "the whole machine has no descriptor left".to_owned(),
            Cause::Unknown => "for no reason that corio knows".to_owned(),
        }
    }

    /// The ways to mend it, those for this environment first.
    pub fn cures(&self) -> Vec<Cure> {
        self.cause.cures(&self.environment)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.fact(), self.reason())?;
        if let Some(cure) = self.cures().first() {
            // An error is one line.
            let line = cure.text.lines().next().unwrap_or_default();
            write!(f, "; cure: {}", line.trim_end_matches(':'))?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

impl Cause {
    /// The certain causes first.
    fn of(error: i32, environment: &Environment) -> Cause {
        let has_filter = environment.seccomp_mode == Some(2);
        match error {
            libc::EPERM | libc::EACCES if environment.is_switched_off() => Cause::Sysctl,
            libc::EPERM | libc::EACCES if has_filter => Cause::Seccomp,
            libc::EPERM | libc::EACCES if environment.confining_module().is_some() => {
                Cause::SecurityModule
            }
            libc::EPERM | libc::EACCES => Cause::UnseenPolicy,
            libc::ENOSYS | libc::EOPNOTSUPP if environment.container == Some(Container::Gvisor) => {
                Cause::Sandbox
            }
            libc::ENOSYS | libc::EOPNOTSUPP if has_filter => Cause::Seccomp,
            // The switch is there only where io_uring is: something hides it.
            libc::ENOSYS if environment.io_uring_disabled.is_some() => Cause::UnseenPolicy,
            libc::EOPNOTSUPP => Cause::Sandbox,
            libc::ENOSYS | libc::EINVAL => Cause::Kernel,
            libc::ENOMEM => Cause::LockedMemory,
            libc::EMFILE => Cause::Descriptors,
            libc::ENFILE => Cause::SystemDescriptors,
            _ => Cause::Unknown,
        }
    }

    /// All causes that have cures.
    pub const ALL: [Cause; 9] = [
        Cause::Sysctl,
        Cause::Seccomp,
        Cause::SecurityModule,
        Cause::UnseenPolicy,
        Cause::Kernel,
        Cause::Sandbox,
        Cause::LockedMemory,
        Cause::Descriptors,
        Cause::SystemDescriptors,
    ];

    /// What it is about, as a heading.
    pub fn title(self) -> &'static str {
        match self {
            Cause::Sysctl => "io_uring is switched off by sysctl",
            Cause::Seccomp => "a seccomp profile refuses io_uring",
            Cause::SecurityModule => "a security module refuses io_uring",
            Cause::UnseenPolicy => "a policy of the host refuses io_uring",
            Cause::Kernel => "the kernel is too old, or built without io_uring",
            Cause::Sandbox => "a sandbox does not offer io_uring",
            Cause::LockedMemory => "too little memory may be locked",
            Cause::Descriptors => "too few descriptors for the process",
            Cause::SystemDescriptors => "too few descriptors for the machine",
            Cause::Unknown => "io_uring is refused for an unknown reason",
        }
    }

    /// The ways to mend it, those for this environment first.
    pub fn cures(self, environment: &Environment) -> Vec<Cure> {
        let is_bare = environment.container.is_none() && environment.service.is_none();
        let here = |place: &str| match place {
            "docker" => environment.container == Some(Container::Docker),
            "podman" => environment.container == Some(Container::Podman),
            "kubernetes" => environment.container == Some(Container::Kubernetes),
            "systemd" => environment.container.is_none() && environment.service.is_some(),
            "shell" => is_bare,
            _ => true,
        };
        let cures = self.known_cures().iter();
        let mut cures: Vec<Cure> =
            cures.map(|(place, text)| Cure { place, text, applies: here(place) }).collect();
        if cures.iter().all(|cure| !cure.applies) {
            // The place is not known, so each may be the one.
            cures.iter_mut().for_each(|cure| cure.applies = true);
        }
        cures.sort_by_key(|cure| !cure.applies);
        cures
    }

    fn known_cures(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Cause::Sysctl => &[(
                "sysctl",
                "`sysctl kernel.io_uring_disabled=0` on the host\n\
                 for good: echo kernel.io_uring_disabled=0 >/etc/sysctl.d/90-io-uring.conf\n\
                 for one group only: kernel.io_uring_disabled=1 and kernel.io_uring_group=GID",
            )],
            Cause::Seccomp => SECCOMP_CURES,
            Cause::SecurityModule => &[(
                "module",
                "allow io_uring in the policy of this process\n\
                 SELinux: `ausearch -m avc -ts recent` shows the denial, `audit2allow` the rule\n\
                 AppArmor: `journalctl -k | grep apparmor` shows it; add `io_uring,` to it",
            )],
            Cause::UnseenPolicy => &[(
                "host",
                "ask whoever runs the host to allow io_uring_setup, io_uring_enter and \
                 io_uring_register; until then corio runs on epoll",
            )],
            Cause::Kernel => &[("kernel", "a kernel from 6.1 on, built with CONFIG_IO_URING=y")],
            Cause::Sandbox => {
                &[("host", "run outside that sandbox (gVisor: another runtime class, as runc)")]
            }
            Cause::LockedMemory => MEMORY_CURES,
            Cause::Descriptors => DESCRIPTOR_CURES,
            Cause::SystemDescriptors => {
                &[("sysctl", "`sysctl fs.file-max`: raise it, or find who holds so many")]
            }
            Cause::Unknown => &[],
        }
    }
}

/// The profile is `docs/seccomp.json`, which `corio probe --profile` prints.
const SECCOMP_CURES: &[(&str, &str)] = &[
    (
        "docker",
        "`docker run --security-opt seccomp=corio.json` with the profile that \
         `corio probe --profile` prints",
    ),
    (
        "podman",
        "`podman run --security-opt seccomp=corio.json` with the profile that \
         `corio probe --profile` prints",
    ),
    (
        "kubernetes",
        "in the pod, a securityContext with the profile that `corio probe --profile` prints:\n\
         securityContext:\n\
         \x20 seccompProfile:\n\
         \x20   type: Localhost\n\
         \x20   localhostProfile: profiles/corio.json\n\
         on each node: corio probe --profile >/var/lib/kubelet/seccomp/profiles/corio.json",
    ),
    (
        "systemd",
        "`SystemCallFilter=@system-service io_uring_setup io_uring_enter io_uring_register` in the \
         unit, then `systemctl restart`",
    ),
    (
        "shell",
        "run with a seccomp profile that allows io_uring_setup, io_uring_enter and \
         io_uring_register",
    ),
];

const MEMORY_CURES: &[(&str, &str)] = &[
    ("docker", "`docker run --ulimit memlock=-1`, or a smaller ring (`Builder::ring_entries`)"),
    ("podman", "`podman run --ulimit memlock=-1`, or a smaller ring (`Builder::ring_entries`)"),
    (
        "kubernetes",
        "in the pod, the capability IPC_LOCK, for which the limit does not count:\n\
         securityContext:\n\
         \x20 capabilities:\n\
         \x20   add: [\"IPC_LOCK\"]",
    ),
    ("systemd", "`LimitMEMLOCK=infinity` in the unit, then `systemctl restart`"),
    (
        "shell",
        "`ulimit -l unlimited`, or a smaller ring (`Builder::ring_entries`, \
         `Builder::completion_entries`)\n\
         for good: a line `* - memlock unlimited` in /etc/security/limits.conf",
    ),
];

const DESCRIPTOR_CURES: &[(&str, &str)] = &[
    ("docker", "`docker run --ulimit nofile=65536`"),
    ("podman", "`podman run --ulimit nofile=65536`"),
    ("kubernetes", "the limit of the node's container runtime: `LimitNOFILE=65536` in its unit"),
    ("systemd", "`LimitNOFILE=65536` in the unit, then `systemctl restart`"),
    (
        "shell",
        "`ulimit -n 65536`, or close what is not needed\n\
         for good: a line `* - nofile 65536` in /etc/security/limits.conf",
    ),
];

/// A want of something that others may give back.
pub(super) fn is_shortage(error: i32) -> bool {
    [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS].contains(&error)
}

/// The refusal of a ring of this size as an error. The kind is the kernel's.
pub(super) fn explain(error: &io::Error, size: RingSize) -> io::Error {
    match error.raw_os_error() {
        Some(number) => {
            io::Error::new(error.kind(), Refusal::new(number, size, Environment::read()))
        }
        None => io::Error::new(error.kind(), format!("io_uring is refused: {error}")),
    }
}

/// A want of descriptors or memory as an error that explains itself; any other as it is.
pub(super) fn explain_shortage(error: io::Error) -> io::Error {
    match error.raw_os_error().is_some_and(is_shortage) {
        true => explain(&error, RingSize::default()),
        false => error,
    }
}

/// Why epoll does not start either.
pub(super) fn explain_epoll(error: io::Error, no_ring: Option<&io::Error>) -> io::Error {
    let Some(number) = error.raw_os_error().filter(|number| !is_shortage(*number)) else {
        return explain_shortage(error);
    };
    let before = no_ring.map_or(String::new(), |no_ring| format!("{no_ring}; and "));
    let text = format!(
        "{before}epoll is refused ({}): likely a seccomp profile; cure: a profile that allows \
         epoll_create1, epoll_ctl and epoll_wait",
        error_name(number)
    );
    io::Error::new(error.kind(), text)
}

/// Whether an error is a refusal for which epoll may take the ring's place.
pub(super) fn is_unavailable(error: &io::Error) -> bool {
    Refusal::in_error(error).is_some_and(Refusal::is_unavailable)
}

/// The kernel's name of an error, or its number.
pub(super) fn error_name(number: i32) -> String {
    let known = [
        (libc::EPERM, "EPERM"),
        (libc::EACCES, "EACCES"),
        (libc::ENOSYS, "ENOSYS"),
        (libc::EOPNOTSUPP, "EOPNOTSUPP"),
        (libc::EINVAL, "EINVAL"),
        (libc::ENOMEM, "ENOMEM"),
        (libc::EMFILE, "EMFILE"),
        (libc::ENFILE, "ENFILE"),
        (libc::EBADF, "EBADF"),
        (libc::EFAULT, "EFAULT"),
        (libc::ENOENT, "ENOENT"),
        (libc::ENOBUFS, "ENOBUFS"),
        (libc::EEXIST, "EEXIST"),
        (libc::EAGAIN, "EAGAIN"),
        (libc::ETIME, "ETIME"),
        (libc::ETIMEDOUT, "ETIMEDOUT"),
        (libc::ECANCELED, "ECANCELED"),
        (libc::EBADFD, "EBADFD"),
        (libc::EROFS, "EROFS"),
        (libc::ENOSPC, "ENOSPC"),
    ];
    let name = known.iter().find(|(value, _)| *value == number).map(|(_, name)| (*name).to_owned());
    name.unwrap_or_else(|| format!("error {number}"))
}

fn kibibytes(limit: Limit) -> String {
    limit.soft.map_or("unlimited".to_owned(), |bytes| format!("{} KiB", bytes / 1024))
}

impl RingSize {
    /// Memory that a ring of this size locks: both queues and the pools' rings.
    pub(crate) fn locked_bytes(self) -> usize {
        let pages = |bytes: usize| bytes.next_multiple_of(4096);
        let pools = BufferConfig::default();
        pages(self.submissions as usize * 64)
            + pages(self.completions as usize * 16 + 256)
            + pages(usize::from(pools.count_max) * 16)
            + pages(usize::from(pools.large_count_max) * 16)
    }
}

impl fmt::Display for RingSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a ring of {} + {} entries", self.submissions, self.completions)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// A machine on which nothing speaks against the ring.
    fn open() -> Environment {
        Environment::below(Path::new("/nowhere"))
    }

    #[track_caller]
    fn check(error: i32, environment: &Environment, cause: Cause, words: &[&str]) {
        let refusal = Refusal::of_error(error, environment);
        assert_eq!(refusal.cause(), cause, "{refusal}");
        let text = refusal.to_string();
        for word in words {
            assert!(text.contains(word), "`{word}` is not in: {text}");
        }
        assert!(text.contains("; cure: ") && !text.contains('\n'), "{text}");
    }

    #[test]
    fn the_same_number_has_the_cause_that_the_facts_speak_for() {
        let mut facts = open();
        check(libc::EPERM, &facts, Cause::UnseenPolicy, &["(EPERM)", "host"]);
        facts.selinux_enforces = Some(true);
        check(libc::EACCES, &facts, Cause::SecurityModule, &["(EACCES)", "SELinux"]);
        facts.seccomp_mode = Some(2);
        check(libc::EPERM, &facts, Cause::Seccomp, &["a seccomp profile"]);
        facts.io_uring_disabled = Some(2);
        let cure = "sysctl kernel.io_uring_disabled=0";
        check(libc::EPERM, &facts, Cause::Sysctl, &["`kernel.io_uring_disabled` is 2", cure]);
        check(libc::ENOSYS, &facts, Cause::Seccomp, &["(ENOSYS)"]);
        check(libc::ENOSYS, &open(), Cause::Kernel, &["too old", "6.1"]);
        check(libc::EOPNOTSUPP, &open(), Cause::Sandbox, &["(EOPNOTSUPP)"]);
    }

    #[test]
    fn the_cure_is_the_one_for_the_place() {
        let mut facts = open();
        facts.seccomp_mode = Some(2);
        for (container, word) in [
            (Container::Docker, "docker run --security-opt seccomp="),
            (Container::Podman, "podman run --security-opt seccomp="),
            (Container::Kubernetes, "securityContext"),
        ] {
            facts.container = Some(container);
            check(libc::EPERM, &facts, Cause::Seccomp, &[container.name(), word]);
            let cures = Refusal::of_error(libc::EPERM, &facts).cures();
            assert_eq!(cures.iter().filter(|cure| cure.applies).count(), 1, "{cures:?}");
        }
        facts.container = None;
        facts.service = Some("echo.service".to_owned());
        check(libc::EPERM, &facts, Cause::Seccomp, &["SystemCallFilter="]);
        check(libc::ENOMEM, &facts, Cause::LockedMemory, &["LimitMEMLOCK="]);
    }

    #[test]
    fn a_shortage_tells_its_numbers_and_changes_no_driver() {
        let mut facts = open();
        facts.locked_memory = Limit { soft: Some(64 << 10), hard: None };
        facts.descriptors = Limit { soft: Some(20), hard: None };
        let words = ["(ENOMEM)", "256 + 4096 entries", "RLIMIT_MEMLOCK is 64 KiB", "ulimit -l"];
        check(libc::ENOMEM, &facts, Cause::LockedMemory, &words);
        check(libc::EMFILE, &facts, Cause::Descriptors, &["RLIMIT_NOFILE allows: 20", "ulimit -n"]);
        check(libc::ENFILE, &facts, Cause::SystemDescriptors, &["fs.file-max"]);
        for shortage in [libc::ENOMEM, libc::EMFILE, libc::ENFILE] {
            assert!(!Refusal::of_error(shortage, &facts).is_unavailable());
        }
        for refused in [libc::EPERM, libc::EACCES, libc::ENOSYS, libc::EOPNOTSUPP, libc::EINVAL] {
            assert!(Refusal::of_error(refused, &facts).is_unavailable());
        }
    }

    #[test]
    fn a_kill_is_a_refusal_too() {
        let refusal = Refusal::of_signal(libc::SIGSYS, &open());
        assert_eq!((refusal.cause(), refusal.error_number()), (Cause::Seccomp, None));
        assert!(refusal.to_string().contains("killed (SIGSYS)"), "{refusal}");
    }

    #[test]
    fn sixty_cores_fit_under_the_usual_limit_of_locked_memory() {
        let bytes = RingSize::default().locked_bytes();
        assert!(bytes <= 128 << 10, "one core locks {bytes} bytes");
        assert!(60 * bytes <= 8 << 20);
        let pools = BufferConfig::default();
        let initial_bytes = usize::from(pools.initial_count) * pools.size_bytes;
        assert!(initial_bytes <= 1 << 20, "{initial_bytes} bytes of buffers at the start");
    }
}
