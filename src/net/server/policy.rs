//! Which core gets a connection, and how many each of them has.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Which core of a server gets a connection.
///
/// | | who accepts | what it costs | how even |
/// |---|---|---|---|
/// | `ReusePort` | each core, from a socket of its own | nothing | by a hash: as chance has it |
/// | `RoundRobin` | the first core, for all in turn | a call to another core | at the start |
/// | `LeastConnections` | the first core, for the least loaded | the same | by number |
///
/// A hash is even for thousands of connections, and not for a few long ones: of 64 connections on 4
/// cores one core often has twice as many as another. Where connections are few and long, take
/// `LeastConnections`; where they are many and short, the accepting core would become the limit.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub enum AcceptPolicy {
    /// Each core listens on a socket of its own (SO_REUSEPORT), and the kernel chooses by a hash of
    /// the addresses. The kernel resets what waits in the queue of a socket that is closed.
    #[default]
    ReusePort,
    /// The first core accepts, and hands over to all in turn, itself included.
    RoundRobin,
    /// The first core accepts, and hands over to one that has the fewest connections open.
    LeastConnections,
}

impl AcceptPolicy {
    /// All policies.
    pub const ALL: [AcceptPolicy; 3] =
        [AcceptPolicy::ReusePort, AcceptPolicy::RoundRobin, AcceptPolicy::LeastConnections];

    /// Its name, as on command lines.
    pub fn name(self) -> &'static str {
        match self {
            AcceptPolicy::ReusePort => "reuse-port",
            AcceptPolicy::RoundRobin => "round-robin",
            AcceptPolicy::LeastConnections => "least-connections",
        }
    }

    /// The policy of this name.
    pub fn from_name(name: &str) -> Option<AcceptPolicy> {
        AcceptPolicy::ALL.into_iter().find(|policy| policy.name() == name)
    }
}

/// How many connections each core has, also those that are on their way to it.
pub(super) struct Loads {
    counts: Vec<AtomicUsize>,
    is_gone: Vec<AtomicBool>,
    /// Whose turn it is, and who is preferred among equals.
    next: AtomicUsize,
}

impl Loads {
    pub(super) fn new(count: usize) -> Loads {
        Loads {
            counts: (0..count).map(|_| AtomicUsize::new(0)).collect(),
            is_gone: (0..count).map(|_| AtomicBool::new(false)).collect(),
            next: AtomicUsize::new(0),
        }
    }

    /// Gives a connection to a core, by the policy; `None` if all are gone. Only the core that
    /// accepts calls this, so the others can but become less loaded meanwhile.
    pub(super) fn choose(&self, policy: AcceptPolicy) -> Option<usize> {
        let (count, first) = (self.counts.len(), self.next.load(Ordering::Relaxed));
        let alive = (0..count)
            .map(|step| (first + step) % count)
            .filter(|index| !self.is_gone[*index].load(Ordering::Relaxed));
        let chosen = match policy {
            AcceptPolicy::LeastConnections => alive.min_by_key(|index| self.count(*index)),
            AcceptPolicy::RoundRobin | AcceptPolicy::ReusePort => alive.take(1).last(),
        }?;
        self.next.store((chosen + 1) % count, Ordering::Relaxed);
        self.add(chosen);
        Some(chosen)
    }

    pub(super) fn add(&self, index: usize) {
        self.counts[index].fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn release(&self, index: usize) {
        self.counts[index].fetch_sub(1, Ordering::SeqCst);
    }

    pub(super) fn count(&self, index: usize) -> usize {
        self.counts[index].load(Ordering::SeqCst)
    }

    pub(super) fn counts(&self) -> Vec<usize> {
        (0..self.counts.len()).map(|index| self.count(index)).collect()
    }

    /// The core has ended: it gets nothing any more.
    pub(super) fn gone(&self, index: usize) {
        self.is_gone[index].store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_loaded_core_is_chosen_and_equals_take_turns() {
        let loads = Loads::new(3);
        let chosen: Vec<_> =
            (0..4).map(|_| loads.choose(AcceptPolicy::LeastConnections).unwrap()).collect();
        assert_eq!(chosen, [0, 1, 2, 0]);
        loads.release(2);
        loads.release(2 - 1);
        assert_eq!(loads.choose(AcceptPolicy::LeastConnections), Some(1));
        assert_eq!(loads.choose(AcceptPolicy::LeastConnections), Some(2));
        assert_eq!(loads.counts(), [2, 1, 1]);
    }

    #[test]
    fn turns_are_taken_whatever_the_load_is() {
        let loads = Loads::new(2);
        loads.add(0);
        let chosen: Vec<_> =
            (0..4).map(|_| loads.choose(AcceptPolicy::RoundRobin).unwrap()).collect();
        assert_eq!(chosen, [0, 1, 0, 1]);
    }

    #[test]
    fn cores_that_are_gone_get_nothing() {
        let loads = Loads::new(2);
        loads.gone(0);
        assert_eq!(loads.choose(AcceptPolicy::RoundRobin), Some(1));
        assert_eq!(loads.choose(AcceptPolicy::LeastConnections), Some(1));
        loads.gone(1);
        assert_eq!(loads.choose(AcceptPolicy::LeastConnections), None);
    }

    /// 64 long connections on 4 cores while hundreds of short ones come and go: whatever the order,
    /// no core ever has half as many again as the mean of the long ones.
    #[test]
    fn long_connections_stay_even_under_churn() {
        let loads = Loads::new(4);
        let mut short = std::collections::VecDeque::new();
        let mut long = [0usize; 4];
        let mut random = 7u32;
        for step in 0..2048 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let chosen = loads.choose(AcceptPolicy::LeastConnections).unwrap();
            match step % 32 {
                0 => long[chosen] += 1,
                _ => short.push_back(chosen),
            }
            while short.len() > (random >> 28) as usize {
                let ended = short.remove((random >> 8) as usize % short.len()).unwrap();
                loads.release(ended);
            }
        }
        short.into_iter().for_each(|index| loads.release(index));
        assert_eq!(loads.counts(), long);
        let most = *long.iter().max().unwrap();
        assert!((most as f64) < 1.5 * 16.0, "{long:?}");
    }
}
