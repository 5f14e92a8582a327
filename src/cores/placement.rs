//! Which CPU each loop gets.

use std::collections::BTreeMap;
use std::io;

use crate::driver::Cpu;

/// How loops are laid out over the CPUs, where there are more CPUs than loops.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub enum Placement {
    /// Close together: the hyper-threads of a core, then the cores of a cache, then those of a
    /// memory node. What the loops share stays in one cache.
    Packed,
    /// Far apart: one loop for each core before a second hyper-thread is used, and caches and nodes
    /// in turn. Each loop gets most of the machine. This is the default.
    #[default]
    Spread,
    /// Packed, on the CPUs of this memory node only.
    Node(usize),
    /// Packed, on the CPUs only that share the last-level cache with this CPU.
    CacheOf(usize),
}

impl Placement {
    /// The CPUs in the order in which loops get them.
    pub(super) fn order(self, mut cpus: Vec<Cpu>) -> io::Result<Vec<Cpu>> {
        cpus.sort();
        match self {
            Placement::Packed => Ok(cpus),
            Placement::Spread => Ok(spread(cpus)),
            Placement::Node(node) => {
                cpus.retain(|cpu| cpu.node == node);
                some(cpus, || format!("memory node {node}"))
            }
            Placement::CacheOf(id) => {
                let cache = cpus.iter().find(|cpu| cpu.id == id).map(|cpu| cpu.cache);
                cpus.retain(|cpu| Some(cpu.cache) == cache);
                some(cpus, || format!("the cache of CPU {id}"))
            }
        }
    }
}

fn some(cpus: Vec<Cpu>, place: impl FnOnce() -> String) -> io::Result<Vec<Cpu>> {
    match cpus.is_empty() {
        false => Ok(cpus),
        true => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("this process may use no CPU of {}; cure: another placement", place()),
        )),
    }
}

/// First threads of cores before second ones; within each, caches in turn, nodes in turn.
fn spread(cpus: Vec<Cpu>) -> Vec<Cpu> {
    let mut threads_seen = BTreeMap::new();
    let mut cores_seen = BTreeMap::new();
    let mut caches: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut ranked: Vec<_> = cpus
        .into_iter()
        .map(|cpu| {
            let thread = count(&mut threads_seen, cpu.core);
            let turn = count(&mut cores_seen, (cpu.cache, thread));
            let known = caches.entry(cpu.node).or_default();
            if !known.contains(&cpu.cache) {
                known.push(cpu.cache);
            }
            let cache = known.iter().position(|cache| *cache == cpu.cache).unwrap_or(0);
            ((thread, turn, cache), cpu)
        })
        .collect();
    ranked.sort();
    ranked.into_iter().map(|(_, cpu)| cpu).collect()
}

/// How often this key was seen before.
fn count<K: Ord>(seen: &mut BTreeMap<K, usize>, key: K) -> usize {
    let count = seen.entry(key).or_insert(0);
    *count += 1;
    *count - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two nodes, two caches each, two cores a cache, two threads a core.
    fn machine() -> Vec<Cpu> {
        let cpu = |id: usize| Cpu { node: id / 8, cache: id / 4 * 4, core: id / 2 * 2, id };
        (0..16).map(cpu).collect()
    }

    fn ids(placement: Placement) -> Vec<usize> {
        placement.order(machine()).unwrap().into_iter().map(|cpu| cpu.id).collect()
    }

    #[test]
    fn packed_loops_share_what_they_can() {
        assert_eq!(ids(Placement::Packed), Vec::from_iter(0..16));
        assert_eq!(ids(Placement::Node(1)), Vec::from_iter(8..16));
        assert_eq!(ids(Placement::CacheOf(5)), [4, 5, 6, 7]);
    }

    #[test]
    fn spread_loops_share_as_little_as_they_can() {
        let order = ids(Placement::Spread);
        assert_eq!(&order[..4], [0, 8, 4, 12], "nodes in turn, then caches");
        assert_eq!(&order[4..8], [2, 10, 6, 14], "then the other core of each cache");
        assert!(order[8..].iter().all(|id| id % 2 == 1), "second threads last: {order:?}");
    }

    #[test]
    fn a_place_that_is_not_there_is_an_error_that_names_it() {
        let error = Placement::Node(7).order(machine()).unwrap_err();
        assert!(error.to_string().contains("memory node 7"), "{error}");
        let error = Placement::CacheOf(99).order(machine()).unwrap_err();
        assert!(error.to_string().contains("CPU 99"), "{error}");
    }
}
