//! The exact limit on a server's connections, also one over many cores.
//!
//! What is accepted holds a place, also in an inbox, and so does each accept in flight. A core that
//! has a client and finds no place says that it wants one, and then looks again; who gives a place
//! back looks for such cores afterwards. One of the two sees the other, so nobody waits in vain.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::cores::CoreHandle;

/// Places for connections, shared by the listeners of a server.
pub(super) struct Places {
    max: usize,
    listener_count: usize,
    /// Held by connections, or reserved by accepts in flight.
    taken: AtomicUsize,
    /// The cores of a server over many; none otherwise.
    seekers: Vec<Seeker>,
}

/// A core that may have to wait for a place.
struct Seeker {
    core: CoreHandle,
    wants: AtomicBool,
    /// Has the server's listeners there look again.
    look: fn(u64),
    server: u64,
}

impl Places {
    pub(super) fn new(max: usize, listener_count: usize) -> Arc<Places> {
        let (taken, seekers) = (AtomicUsize::new(0), Vec::new());
        Arc::new(Places { max, listener_count, taken, seekers })
    }

    /// For a server over many cores. `look` is called there with the server's number.
    pub(super) fn across(
        max: usize,
        cores: &[CoreHandle],
        server: u64,
        look: fn(u64),
    ) -> Arc<Places> {
        let seeker = |core: &CoreHandle| {
            let wants = AtomicBool::new(false);
            Seeker { core: *core, wants, look, server }
        };
        let seekers = cores.iter().map(seeker).collect();
        Arc::new(Places { max, listener_count: usize::MAX, taken: AtomicUsize::new(0), seekers })
    }

    /// Places that are free to a listener which has reserved so many of them.
    pub(super) fn free_for(&self, own_reserved: usize) -> usize {
        let taken = self.taken.load(Ordering::SeqCst);
        self.max.saturating_sub(taken.saturating_sub(own_reserved))
    }

    /// Whether several listeners share them.
    pub(super) fn are_shared(&self) -> bool {
        self.listener_count > 1
    }

    /// Whether other cores may take them at any moment.
    pub(super) fn are_of_many_cores(&self) -> bool {
        !self.seekers.is_empty()
    }

    /// Takes so many, all or none.
    pub(super) fn try_take(&self, count: usize) -> bool {
        let add = |taken: usize| Some(taken + count).filter(|sum| *sum <= self.max);
        self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add).is_ok()
    }

    /// A connection was accepted, on a place that its accept still has.
    pub(super) fn hold(&self) {
        self.taken.fetch_add(1, Ordering::SeqCst);
    }

    /// Accepts or connections have ended.
    pub(super) fn give_back(&self, count: usize) {
        if count == 0 {
            return;
        }
        self.taken.fetch_sub(count, Ordering::SeqCst);
        for seeker in &self.seekers {
            if seeker.wants.swap(false, Ordering::SeqCst) {
                let (look, server) = (seeker.look, seeker.server);
                // A core that has ended seeks no more.
                let _ = seeker.core.call_soon(move || look(server));
            }
        }
    }

    /// Notes that this core has a client and no place. Look again afterwards.
    pub(super) fn want(&self, core: CoreHandle) {
        for seeker in self.seekers.iter().filter(|it| it.core == core) {
            seeker.wants.store(true, Ordering::SeqCst);
        }
    }

    #[cfg(test)]
    fn taken(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_taken_than_there_are_whoever_takes_and_gives_back() {
        let places = Places::across(7, &[], 0, |_| {});
        let most = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for count in [1, 2, 3, 1] {
                let (places, most) = (&places, &most);
                scope.spawn(move || {
                    for _ in 0..2000 {
                        if places.try_take(count) {
                            most.fetch_max(places.taken(), Ordering::SeqCst);
                            places.give_back(count);
                        }
                    }
                });
            }
        });
        assert!((1..=7).contains(&most.into_inner()));
        assert_eq!(places.taken(), 0);
        assert!(!places.try_take(8));
    }
}
