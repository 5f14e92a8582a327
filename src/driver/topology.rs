//! Which CPUs this thread may run on, and which of them share a core, a cache or a memory node.
//!
//! Read from `/proc` and `/sys` below a root folder, so that tests can hold up another machine.
//! What the kernel does not tell is taken for one: one node, one cache.

use std::fs;
use std::path::Path;

/// One CPU, with what it shares with others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Cpu {
    /// The memory node (NUMA).
    pub(crate) node: usize,
    /// The first CPU of those that share the last-level cache.
    pub(crate) cache: usize,
    /// The first CPU of those that share the core (hyper-threads).
    pub(crate) core: usize,
    /// The kernel's number.
    pub(crate) id: usize,
}

/// The CPUs that this thread may run on, in the kernel's order.
pub(crate) fn allowed_cpus() -> Vec<Cpu> {
    allowed_below(Path::new("/"))
}

pub(crate) fn allowed_below(root: &Path) -> Vec<Cpu> {
    let text = |path: &str| fs::read_to_string(root.join(path)).ok();
    let status = text("proc/thread-self/status").or_else(|| text("proc/self/status"));
    let status = status.unwrap_or_default();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let nodes = nodes_below(root);
    let ids = allowed.map_or_else(|| vec![0], |list| cpu_list(list.trim()));
    ids.into_iter()
        .map(|id| {
            let place = format!("sys/devices/system/cpu/cpu{id}");
            let first = |path: &str| {
                text(&format!("{place}/{path}"))
                    .and_then(|list| cpu_list(list.trim()).first().copied())
            };
            let cache = (0..=4)
                .rev()
                .find_map(|index| first(&format!("cache/index{index}/shared_cpu_list")));
            let core = first("topology/thread_siblings_list").unwrap_or(id);
            let node = nodes.iter().find(|(_, cpus)| cpus.contains(&id)).map_or(0, |node| node.0);
            Cpu { node, cache: cache.unwrap_or(0), core, id }
        })
        .collect()
}

fn nodes_below(root: &Path) -> Vec<(usize, Vec<usize>)> {
    let Ok(folder) = fs::read_dir(root.join("sys/devices/system/node")) else { return Vec::new() };
    let mut nodes: Vec<_> = folder
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.strip_prefix("node")?.parse().ok()?;
            let list = fs::read_to_string(entry.path().join("cpulist")).ok()?;
            Some((number, cpu_list(list.trim())))
        })
        .collect();
    nodes.sort();
    nodes
}

/// The CPUs that the kernel's notation names, such as `0-3,8`.
pub(super) fn cpu_list(list: &str) -> Vec<usize> {
    let span = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse::<usize>().ok()?..=last.trim().parse::<usize>().ok()?)
    };
    list.split(',').filter_map(span).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lists_are_read_and_nonsense_is_nothing() {
        assert_eq!(cpu_list("0-2,8"), [0, 1, 2, 8]);
        assert_eq!(cpu_list(""), [0_usize; 0]);
        assert_eq!(cpu_list("x,3-1,5"), [5]);
    }

    #[test]
    fn a_machine_of_two_nodes_is_read_as_it_is() {
        let root = std::env::temp_dir().join(format!("corio-topology-{}", std::process::id()));
        let put = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("proc/self/status", "Name:\tx\nCpus_allowed_list:\t1,4-5\n");
        put("sys/devices/system/node/node0/cpulist", "0-3\n");
        put("sys/devices/system/node/node1/cpulist", "4-7\n");
        for (cpu, cache, core) in [(1, "0-3", "0-1"), (4, "4-7", "4-5"), (5, "4-7", "4-5")] {
            put(&format!("sys/devices/system/cpu/cpu{cpu}/cache/index0/shared_cpu_list"), core);
            put(&format!("sys/devices/system/cpu/cpu{cpu}/cache/index3/shared_cpu_list"), cache);
            put(&format!("sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"), core);
        }
        let cpus = allowed_below(&root);
        fs::remove_dir_all(&root).unwrap();
        let cpu = |node, cache, core, id| Cpu { node, cache, core, id };
        assert_eq!(cpus, [cpu(0, 0, 0, 1), cpu(1, 4, 4, 4), cpu(1, 4, 4, 5)]);
        assert_eq!(allowed_below(Path::new("/nowhere")), [cpu(0, 0, 0, 0)]);
    }
}
