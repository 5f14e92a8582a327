//! What the program asks `/proc` about: which CPUs it may use, which kernel this is, how many
//! descriptors it may open, and how much CPU time and memory a process has used.
//!
//! The CPU clock of a process is the sum over its threads of the first field of
//! `/proc/PID/task/*/schedstat`, in nanoseconds. The kernel brings that field up to date at every
//! scheduling event and timer tick, so a process that never sleeps is read up to one tick (1 to
//! 10 ms) late: less than 0.2 % of a measurement of five seconds.

use std::fs;
use std::io;

/// The CPUs on which this process may run, in ascending order; empty when `/proc` cannot be read.
pub(crate) fn allowed_cpus() -> Vec<usize> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.map(parse_cpu_list).unwrap_or_default()
}

/// Reads the kernel's notation for a set of CPUs, such as `0-3,8`.
fn parse_cpu_list(list: &str) -> Vec<usize> {
    let mut cpus = Vec::new();
    for part in list.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) {
            cpus.extend(first..=last);
        }
    }
    cpus
}

/// The release of the running kernel, such as `6.12.1`.
pub(crate) fn kernel_release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".to_owned(), |release| release.trim().to_owned())
}

/// The soft limit of open files of this process (`ulimit -n`).
pub(crate) fn open_files_max() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// How far this process yields to others (`nice`): 0 is usual, 19 the most.
pub(crate) fn niceness() -> i32 {
    niceness_in(&fs::read_to_string("/proc/self/stat").unwrap_or_default()).unwrap_or(0)
}

/// The 19th field of `/proc/PID/stat`. The second is a name in brackets, which may hold anything.
fn niceness_in(stat: &str) -> Option<i32> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(16)?.parse().ok()
}

/// CPU time that was used, and time spent ready to run without a CPU, in nanoseconds.
#[derive(Clone, Copy, Default)]
pub(crate) struct Times {
    pub(crate) used_ns: u64,
    pub(crate) waited_ns: u64,
}

impl Times {
    pub(crate) fn and(self, other: Times) -> Times {
        Times { used_ns: self.used_ns + other.used_ns, waited_ns: self.waited_ns + other.waited_ns }
    }

    pub(crate) fn since(self, earlier: Times) -> Times {
        Times {
            used_ns: self.used_ns.saturating_sub(earlier.used_ns),
            waited_ns: self.waited_ns.saturating_sub(earlier.waited_ns),
        }
    }
}

/// The times of the calling thread.
pub(crate) fn thread_times() -> Option<Times> {
    times(&fs::read_to_string("/proc/thread-self/schedstat").ok()?).ok()
}

fn times(schedstat: &str) -> io::Result<Times> {
    let mut numbers = schedstat.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(used_ns)), Some(Ok(waited_ns))) => Ok(Times { used_ns, waited_ns }),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "schedstat holds no numbers")),
    }
}

/// The times of all threads of a process and of those it has started, which may be the server
/// behind a shell.
pub(crate) fn process_times(pid: u32) -> io::Result<Times> {
    let mut total = Times::default();
    let mut processes = vec![pid];
    while let Some(process) = processes.pop() {
        for thread in fs::read_dir(format!("/proc/{process}/task"))? {
            let thread = thread?.path();
            match fs::read_to_string(thread.join("schedstat")) {
                Ok(text) => {
                    let one = times(&text)?;
                    total.used_ns += one.used_ns;
                    total.waited_ns += one.waited_ns;
                }
                // The thread ended between the listing and the reading.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !thread.exists() => {}
                Err(error) => return Err(error),
            }
            let children = fs::read_to_string(thread.join("children")).unwrap_or_default();
            processes
                .extend(children.split_whitespace().filter_map(|text| text.parse::<u32>().ok()));
        }
    }
    Ok(total)
}

/// Time that the machine's host took away from these CPUs so far, in nanoseconds; to 10 ms.
pub(crate) fn stolen_ns(cpus: &[usize]) -> u64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let of = |cpu: &usize| {
        let name = format!("cpu{cpu} ");
        let line = stat.lines().find_map(|line| line.strip_prefix(&name))?;
        line.split_whitespace().nth(7)?.parse::<u64>().ok()
    };
    cpus.iter().filter_map(of).sum::<u64>() * 10_000_000
}

/// Memory in use that belongs to a process and those it has started, in bytes: their heaps, stacks
/// and buffers.
pub(crate) fn own_memory_bytes(pid: u32) -> Option<u64> {
    let mut total = 0;
    for process in family(pid) {
        let status = match fs::read_to_string(format!("/proc/{process}/status")) {
            Ok(status) => status,
            Err(_) if process == pid => return None,
            // It has ended meanwhile, and its memory is given back.
            Err(_) => continue,
        };
        let kibibytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().trim_end_matches(" kB").parse::<u64>().ok()
        };
        total += (kibibytes("RssAnon:")? + kibibytes("RssShmem:").unwrap_or(0)) << 10;
    }
    Some(total)
}

/// A process, those it has started, and so on: the server may be behind a shell.
fn family(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut next = 0;
    while next < found.len() {
        let threads = fs::read_dir(format!("/proc/{}/task", found[next]));
        for thread in threads.into_iter().flatten().flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|text| text.parse::<u32>().ok()));
        }
        next += 1;
    }
    found
}

/// Lifts the soft limit of open files as far as this user may, for this process and its children.
pub(crate) fn lift_open_files_limit() {
    // Where it is refused the lower limit holds, and a connection that fails for it says so.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
}

#[cfg(test)]
mod tests {
    use super::{niceness_in, parse_cpu_list};

    #[test]
    fn the_niceness_is_found_behind_any_name() {
        let stat = "7 (a) b) 1 2) S 1 7 7 0 -1 4194304 95 0 0 0 0 0 0 0 39 19 1 0 88 3 0";
        assert_eq!(niceness_in(stat), Some(19));
        assert_eq!(niceness_in(""), None);
    }

    #[test]
    fn cpu_lists_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse_cpu_list("\t0-1\n"), [0, 1]);
        assert_eq!(parse_cpu_list("3"), [3]);
        assert_eq!(parse_cpu_list("0-2,8,10-11"), [0, 1, 2, 8, 10, 11]);
        assert_eq!(parse_cpu_list(""), [] as [usize; 0]);
    }
}
