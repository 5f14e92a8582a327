//! What the program asks `/proc` about: which CPUs it may use, which kernel this is, how many
//! descriptors it may open, and how much CPU time a process has used.
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

/// The CPU time that all threads of the process `pid` have used so far, in nanoseconds.
pub(crate) fn process_cpu_ns(pid: u32) -> io::Result<u64> {
    let mut total_ns = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = thread?.path().join("schedstat");
        match fs::read_to_string(&path) {
            Ok(text) => total_ns += first_number(&text)?,
            // The thread ended between the listing and the reading.
            Err(error) if error.kind() == io::ErrorKind::NotFound && path_is_gone(&path) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(total_ns)
}

/// Tells a thread that ended from a kernel that was built without `schedstat`.
fn path_is_gone(schedstat: &std::path::Path) -> bool {
    schedstat.parent().is_none_or(|thread| !thread.exists())
}

fn first_number(text: &str) -> io::Result<u64> {
    let field = text.split_whitespace().next().and_then(|field| field.parse().ok());
    field.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "schedstat holds no number"))
}

#[cfg(test)]
mod tests {
    use super::parse_cpu_list;

    #[test]
    fn cpu_lists_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse_cpu_list("\t0-1\n"), [0, 1]);
        assert_eq!(parse_cpu_list("3"), [3]);
        assert_eq!(parse_cpu_list("0-2,8,10-11"), [0, 1, 2, 8, 10, 11]);
        assert_eq!(parse_cpu_list(""), [] as [usize; 0]);
    }
}
