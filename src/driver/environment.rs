//! What this process is allowed here, read from `/proc`, `/sys` and well-known files.
//!
//! Nothing is concluded in this file: it holds facts, each absent where it cannot be read. What
//! they mean for a refused ring is in `refusal.rs`. All files are read below a root folder, so
//! that tests can hold up another machine.

use std::fs;
use std::path::{Path, PathBuf};

use super::socket;

/// What keeps a process from the ring, or bounds it: see [`Environment::read`].
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Environment {
    /// The kernel's release, such as `6.12.1`; `unknown` where `/proc` is not mounted.
    pub kernel: String,
    /// CPUs that this process may run on.
    pub cpu_count: usize,
    /// CPUs' worth of time that the cgroup allows, if it sets a limit.
    pub cpu_quota: Option<f64>,
    /// `kernel.io_uring_disabled` (6.6, or ported back): 0 for all, 1 for the privileged, 2 for
    /// nobody.
    pub io_uring_disabled: Option<u8>,
    /// `kernel.io_uring_group`: who may use it all the same where the switch is 1.
    pub io_uring_group: Option<i64>,
    /// The mode of seccomp: 0 off, 1 strict, 2 a filter.
    pub seccomp_mode: Option<u8>,
    /// Seccomp filters that are stacked on this process (5.9).
    pub seccomp_filters: Option<u32>,
    /// Security modules in effect, such as `selinux` or `apparmor`.
    pub security_modules: Vec<String>,
    /// Whether SELinux refuses, rather than only reports; absent where it is not in effect.
    pub selinux_enforces: Option<bool>,
    /// The label or profile of this process, as its security module names it.
    pub security_label: Option<String>,
    /// What this process is confined by.
    pub container: Option<Container>,
    /// The service unit that systemd runs this process as.
    pub service: Option<String>,
    /// Bytes that all processes of this user may lock: RLIMIT_MEMLOCK.
    pub locked_memory: Limit,
    /// Descriptors that this process may have: RLIMIT_NOFILE.
    pub descriptors: Limit,
    /// CAP_IPC_LOCK: the limit on locked memory does not count.
    pub may_lock_memory: bool,
    /// CAP_SYS_ADMIN: `kernel.io_uring_disabled=1` does not count.
    pub is_privileged: bool,
    /// The effective group and the supplementary ones.
    pub groups: Vec<i64>,
}

/// A resource limit; absent where there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Limit {
    /// What counts.
    pub soft: Option<u64>,
    /// Up to where this process may raise it.
    pub hard: Option<u64>,
}

/// What runs a process apart from the rest of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Container {
    /// A pod of Kubernetes.
    Kubernetes,
    /// Docker.
    Docker,
    /// Podman.
    Podman,
    /// LXC.
    Lxc,
    /// systemd-nspawn.
    Nspawn,
    /// gVisor, a kernel of its own without io_uring.
    Gvisor,
    /// The Windows Subsystem for Linux.
    Wsl,
    /// Another one, or one that does not say which.
    Other,
}

impl Container {
    /// Its name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Container::Kubernetes => "kubernetes",
            Container::Docker => "docker",
            Container::Podman => "podman",
            Container::Lxc => "lxc",
            Container::Nspawn => "systemd-nspawn",
            Container::Gvisor => "gvisor",
            Container::Wsl => "wsl",
            Container::Other => "other",
        }
    }
}

/// Numbers of capabilities.
const CAP_IPC_LOCK: u32 = 14;
const CAP_SYS_ADMIN: u32 = 21;

impl Environment {
    /// Reads it. What cannot be read is absent.
    pub fn read() -> Environment {
        let mut environment = Environment::below(Path::new("/"));
        environment.locked_memory = socket::limit(libc::RLIMIT_MEMLOCK);
        environment.descriptors = socket::limit(libc::RLIMIT_NOFILE);
        environment
    }

    /// As `read`, of the files below a root; limits are not in files that are always readable.
    pub(super) fn below(root: &Path) -> Environment {
        let files = Files { root: root.to_owned() };
        // A filter, and a capability, are of a thread; the process's file is of its first one.
        let status = ["proc/thread-self/status", "proc/self/status"];
        let status = status.iter().find_map(|path| files.text(path)).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(str::trim)
        };
        let capabilities = field("CapEff").and_then(|mask| u64::from_str_radix(mask, 16).ok());
        // The kernel asks for these two outside of every user namespace.
        let map = files.text("proc/self/uid_map");
        let is_outside = map.is_none_or(|map| map.split_whitespace().eq(["0", "0", "4294967295"]));
        let has = |number: u32| is_outside && capabilities.is_some_and(|it| it >> number & 1 == 1);
        let groups = [field("Gid").and_then(|ids| ids.split_whitespace().nth(1)), field("Groups")];
        let groups = groups.into_iter().flatten().flat_map(str::split_whitespace);
        let modules = files.text("sys/kernel/security/lsm").unwrap_or_default();
        let cgroups = files.text("proc/self/cgroup").unwrap_or_default();
        Environment {
            kernel: files.text("proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".to_owned()),
            cpu_count: field("Cpus_allowed_list").map_or(1, |list| cpu_count(list).max(1)),
            cpu_quota: cpu_quota(&files, &cgroups),
            io_uring_disabled: files.number("proc/sys/kernel/io_uring_disabled"),
            io_uring_group: files.number("proc/sys/kernel/io_uring_group"),
            seccomp_mode: field("Seccomp").and_then(|mode| mode.parse().ok()),
            seccomp_filters: field("Seccomp_filters").and_then(|count| count.parse().ok()),
            security_modules: modules
                .split(',')
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect(),
            selinux_enforces: files.number("sys/fs/selinux/enforce").map(|mode: u8| mode == 1),
            security_label: files
                .text("proc/self/attr/current")
                .map(|label| label.trim_end_matches('\0').to_owned())
                .filter(|label| !label.is_empty()),
            container: container(&files, &cgroups),
            service: service(&cgroups),
            locked_memory: Limit::default(),
            descriptors: Limit::default(),
            may_lock_memory: has(CAP_IPC_LOCK),
            is_privileged: has(CAP_SYS_ADMIN),
            groups: groups.filter_map(|id| id.parse().ok()).collect(),
        }
    }

    /// How many cores are worth a loop each here: the CPUs, or less where the cgroup gives less.
    pub fn useful_cores(&self) -> usize {
        let quota = self.cpu_quota.map_or(usize::MAX, |quota| (quota.ceil() as usize).max(1));
        self.cpu_count.min(quota)
    }

    /// Whether `kernel.io_uring_disabled` keeps this process from io_uring.
    pub(super) fn is_switched_off(&self) -> bool {
        match self.io_uring_disabled {
            Some(1) => {
                let is_member = self.io_uring_group.is_some_and(|id| self.groups.contains(&id));
                !self.is_privileged && !is_member
            }
            Some(level) => level >= 2,
            None => false,
        }
    }

    /// The security module that may refuse: SELinux where it enforces, AppArmor where it confines.
    pub(super) fn confining_module(&self) -> Option<String> {
        let label = self.security_label.as_deref().unwrap_or_default();
        if self.selinux_enforces == Some(true) {
            return Some(format!("SELinux (this process is `{label}`)"));
        }
        let is_apparmor = self.security_modules.iter().any(|name| name == "apparmor");
        let is_confined = !label.is_empty() && !label.starts_with("unconfined");
        (is_apparmor && is_confined).then(|| format!("AppArmor (this process is `{label}`)"))
    }
}

/// Files below a root.
struct Files {
    root: PathBuf,
}

impl Files {
    fn text(&self, path: &str) -> Option<String> {
        let bytes = fs::read(self.root.join(path)).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim_end().to_owned())
    }

    fn number<T: std::str::FromStr>(&self, path: &str) -> Option<T> {
        self.text(path)?.trim().parse().ok()
    }

    fn has(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }
}

/// How many CPUs the kernel's notation names, such as `0-3,8`.
fn cpu_count(list: &str) -> usize {
    let span = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        (last + 1).checked_sub(first)
    };
    list.split(',').filter_map(span).sum()
}

/// The smallest quota from the process's cgroup up to the root, in either version of cgroups.
fn cpu_quota(files: &Files, cgroups: &str) -> Option<f64> {
    let mut smallest: Option<f64> = None;
    for line in cgroups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let is_second = controllers.is_empty();
        if !is_second && !controllers.split(',').any(|name| name == "cpu") {
            continue;
        }
        let mut path = PathBuf::from(path.trim_start_matches('/'));
        loop {
            let place = path.display().to_string();
            let quota = if is_second {
                second_quota(files, &place)
            } else {
                first_quota(files, controllers, &place)
            };
            smallest = match (smallest, quota) {
                (Some(known), Some(quota)) => Some(known.min(quota)),
                (known, quota) => known.or(quota),
            };
            if !path.pop() {
                break;
            }
        }
    }
    smallest
}

fn second_quota(files: &Files, path: &str) -> Option<f64> {
    let text = ["sys/fs/cgroup", "sys/fs/cgroup/unified"]
        .iter()
        .find_map(|mount| files.text(&format!("{mount}/{path}/cpu.max")))?;
    let (quota, period) = text.split_once(' ')?;
    Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok().filter(|period| *period > 0.0)?)
}

fn first_quota(files: &Files, controllers: &str, path: &str) -> Option<f64> {
    let number = |name: &str| {
        ["cpu", controllers]
            .iter()
            .find_map(|mount| files.number::<f64>(&format!("sys/fs/cgroup/{mount}/{path}/{name}")))
    };
    let (quota, period) = (number("cpu.cfs_quota_us")?, number("cpu.cfs_period_us")?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

/// What is known by its marks; the more special one first.
fn container(files: &Files, cgroups: &str) -> Option<Container> {
    let version = files.text("proc/version").unwrap_or_default();
    // The environment of the first process names its container; only the privileged may read it.
    let first = files.text("proc/1/environ").unwrap_or_default();
    let named = first.split('\0').find_map(|entry| entry.strip_prefix("container="));
    let marks = [
        // What gVisor answers for its kernel has been the same for ever.
        (version.contains("Sun Jan 10 15:06:54 PST 2016"), Container::Gvisor),
        (files.has("var/run/secrets/kubernetes.io"), Container::Kubernetes),
        (cgroups.contains("kubepods"), Container::Kubernetes),
        (files.has("run/.containerenv"), Container::Podman),
        (cgroups.contains("libpod"), Container::Podman),
        (files.has(".dockerenv"), Container::Docker),
        (cgroups.contains("/docker"), Container::Docker),
        (named == Some("podman"), Container::Podman),
        (named.is_some_and(|name| name.starts_with("lxc")), Container::Lxc),
        (cgroups.contains("/lxc"), Container::Lxc),
        (named == Some("systemd-nspawn"), Container::Nspawn),
        (named.is_some(), Container::Other),
        (version.contains("icrosoft"), Container::Wsl),
    ];
    marks.into_iter().find_map(|(is_there, container)| is_there.then_some(container))
}

/// The unit that the process's cgroup belongs to, unless that is a person's session.
fn service(cgroups: &str) -> Option<String> {
    let units = cgroups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let names = units.flat_map(|path| path.split('/'));
    let mut services = names.filter(|name| name.ends_with(".service"));
    services.next_back().filter(|name| !name.starts_with("user@")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another machine: a folder with these files, which is gone at the end of the test.
    struct Machine(PathBuf);

    impl Machine {
        fn with(name: &str, files: &[(&str, &str)]) -> Machine {
            let folder = format!("corio-machine-{}-{name}", std::process::id());
            let machine = Machine(std::env::temp_dir().join(folder));
            for (path, text) in files {
                let path = machine.0.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            machine
        }

        fn read(&self) -> Environment {
            Environment::below(&self.0)
        }
    }

    impl Drop for Machine {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_machine_without_proc_and_sys_has_no_facts() {
        let machine = Machine::with("empty", &[]);
        let found = machine.read();
        assert_eq!((found.kernel.as_str(), found.cpu_count), ("unknown", 1));
        assert_eq!((found.container, found.io_uring_disabled, found.cpu_quota), (None, None, None));
        assert!(!found.is_switched_off() && found.confining_module().is_none());
    }

    #[test]
    fn the_smallest_quota_on_the_way_up_counts_in_both_versions() {
        let second = Machine::with(
            "second",
            &[
                ("proc/self/cgroup", "0::/a.slice/b.service\n"),
                ("proc/self/status", "Cpus_allowed_list:\t0-7,9\n"),
                ("sys/fs/cgroup/a.slice/cpu.max", "150000 100000\n"),
                ("sys/fs/cgroup/a.slice/b.service/cpu.max", "max 100000\n"),
            ],
        );
        let found = second.read();
        assert_eq!((found.cpu_quota, found.cpu_count, found.useful_cores()), (Some(1.5), 9, 2));
        assert_eq!(found.service.as_deref(), Some("b.service"));
        let first = Machine::with(
            "first",
            &[
                ("proc/self/cgroup", "5:cpuacct,cpu:/docker/0a\n3:memory:/\n"),
                ("sys/fs/cgroup/cpu/docker/0a/cpu.cfs_quota_us", "50000\n"),
                ("sys/fs/cgroup/cpu/docker/0a/cpu.cfs_period_us", "100000\n"),
                ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
                ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
            ],
        );
        let found = first.read();
        assert_eq!((found.cpu_quota, found.container), (Some(0.5), Some(Container::Docker)));
    }

    #[test]
    fn the_switch_counts_for_those_it_is_meant_for() {
        let read = |name, level, status: &str| {
            let files = [
                ("proc/sys/kernel/io_uring_disabled", level),
                ("proc/sys/kernel/io_uring_group", "27\n"),
                ("proc/self/status", status),
            ];
            Machine::with(name, &files).read().is_switched_off()
        };
        let nobody = "Gid:\t99\t99\t99\t99\nGroups:\t1 2\nCapEff:\t0000000000000000\n";
        let member = "Gid:\t99\t99\t99\t99\nGroups:\t1 27\nCapEff:\t0000000000000000\n";
        let root = "Gid:\t0\t0\t0\t0\nGroups:\t\nCapEff:\t000001ffffffffff\n";
        assert!(!read("0", "0\n", nobody));
        assert!(read("1n", "1\n", nobody));
        assert!(!read("1m", "1\n", member));
        assert!(!read("1r", "1\n", root));
        assert!(read("2r", "2\n", root));
    }

    #[test]
    fn root_of_a_user_namespace_is_not_privileged() {
        let status = ("proc/self/status", "CapEff:\t000001ffffffffff\n");
        let root = Machine::with("root", &[status, ("proc/self/uid_map", "0 0 4294967295\n")]);
        assert!(root.read().is_privileged && root.read().may_lock_memory);
        let inner = Machine::with("inner", &[status, ("proc/self/uid_map", "0 1000 1\n")]);
        assert!(!inner.read().is_privileged && !inner.read().may_lock_memory);
    }

    #[test]
    fn containers_are_known_by_their_marks() {
        for (name, path, text, container) in [
            ("docker", ".dockerenv", "", Container::Docker),
            ("podman", "run/.containerenv", "", Container::Podman),
            ("pod", "proc/self/cgroup", "0::/kubepods/pod1/2\n", Container::Kubernetes),
            ("nspawn", "proc/1/environ", "A=1\0container=systemd-nspawn\0", Container::Nspawn),
            ("lxc", "proc/1/environ", "container=lxc\0", Container::Lxc),
            ("wsl", "proc/version", "Linux 5.15 microsoft-standard-WSL2", Container::Wsl),
            (
                "gvisor",
                "proc/version",
                "Linux version 4.4.0 #1 SMP Sun Jan 10 15:06:54 PST 2016",
                Container::Gvisor,
            ),
            ("odd", "proc/1/environ", "container=crate\0", Container::Other),
        ] {
            let found = Machine::with(name, &[(path, text)]).read();
            assert_eq!(found.container, Some(container), "{name}");
        }
    }

    #[test]
    fn only_a_module_that_confines_is_named() {
        let apparmor = |name, label| {
            let files = [("sys/kernel/security/lsm", "lockdown,apparmor"), label];
            Machine::with(name, &files).read().confining_module()
        };
        assert_eq!(apparmor("free", ("proc/self/attr/current", "unconfined\n")), None);
        let confined = apparmor("bound", ("proc/self/attr/current", "docker-default (enforce)\n"));
        assert!(confined.unwrap().contains("AppArmor (this process is `docker-default"));
        let selinux = Machine::with("selinux", &[("sys/fs/selinux/enforce", "1")]).read();
        assert!(selinux.confining_module().unwrap().contains("SELinux"));
        let permissive = Machine::with("permissive", &[("sys/fs/selinux/enforce", "0")]).read();
        assert_eq!(permissive.confining_module(), None);
    }
}
