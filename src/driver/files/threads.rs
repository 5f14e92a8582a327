//! Operations on helper threads: what the ring cannot do, and all of a file on epoll.
//!
//! ```text
//!   push ──▶ queued ──▶ running ──▶ done ──▶ reaped
//!              │ cancel: taken back, done with ECANCELED
//!              │                      │ after the end of the core: a descriptor is closed
//! ```
//!
//! The helpers are a pool of their own ([`Workers`]): jobs of the program that block for long keep
//! no file waiting. What is left in `done` is reaped in the turn in which its wake is taken: a
//! helper leaves its result first, then posts a ticket, so a loop that saw no result before it
//! slept is woken by the bell.

use std::collections::BTreeMap;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use super::FileOp;
use super::call::call;
use crate::driver::workers::{CancelFlag, Job, Refused, Workers};
use crate::driver::{Completion, Payload, Token, socket};

/// One core's helpers.
#[derive(Default)]
pub(crate) struct Helpers {
    /// Given by the core; without them operations are refused.
    threads: Option<(Workers, Waker)>,
    done: Arc<Done>,
    /// The numbers of the jobs that were not reaped.
    jobs: BTreeMap<Token, u64>,
}

/// What helpers and their core share.
#[derive(Default)]
struct Done {
    results: Mutex<Results>,
    /// There is something to reap. Looked at in each turn, without the lock.
    has_news: AtomicBool,
}

#[derive(Default)]
struct Results {
    list: Vec<(Token, i32, bool)>,
    /// Nobody will reap any more.
    is_closed: bool,
}

impl Done {
    fn lock(&self) -> MutexGuard<'_, Results> {
        self.results.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self, token: Token, result: i32, opens: bool) {
        let mut results = self.lock();
        if results.is_closed {
            drop(results);
            return close_late(result, opens);
        }
        results.list.push((token, result, opens));
        self.has_news.store(true, Ordering::Release);
    }
}

/// Closes a descriptor that came when there was nobody left to own it.
fn close_late(result: i32, opens: bool) {
    if opens && result >= 0 {
        socket::close(result);
    }
}

impl Helpers {
    /// The threads that do the work, and what brings the core round when it is done.
    pub(crate) fn employ(&mut self, workers: Workers, core: Waker) {
        self.threads = Some((workers, core));
    }

    /// Hands an operation over. Its completion comes by [`reap`](Self::reap), whatever happens.
    pub(crate) fn push(&mut self, token: Token, op: FileOp, payload: &mut Payload) {
        let Some((workers, core)) = &self.threads else {
            return self.done.finish(token, -libc::ECANCELED, false);
        };
        let (call, opens) = (call(op, payload), op.opens());
        let (done, core) = (Arc::clone(&self.done), core.clone());
        let run = Box::new(move || {
            done.finish(token, call.run(), opens);
            core.wake();
            None
        });
        let job = Job { run, flag: CancelFlag::default(), spawned_at: Location::caller() };
        match workers.submit(job) {
            Ok(number) => {
                self.jobs.insert(token, number);
            }
            Err(Refused { error, .. }) => {
                let number = error.and_then(|error| error.raw_os_error());
                self.done.finish(token, -number.unwrap_or(libc::ECANCELED), false);
            }
        }
    }

    /// Takes an operation back that no helper has begun; true if it is one of the helpers'.
    pub(crate) fn cancel(&mut self, token: Token) -> bool {
        let (Some(number), Some((workers, _))) = (self.jobs.get(&token), &self.threads) else {
            return false;
        };
        if workers.withdraw(*number).is_some() {
            self.done.finish(token, -libc::ECANCELED, false);
        }
        true
    }

    /// Whether there is something to reap: then the loop does not wait.
    pub(crate) fn has_news(&self) -> bool {
        self.done.has_news.load(Ordering::Acquire)
    }

    pub(crate) fn reap(&mut self, completions: &mut Vec<Completion>) {
        if !self.has_news() {
            return;
        }
        let mut results = self.done.lock();
        self.done.has_news.store(false, Ordering::Relaxed);
        for (token, result, _) in results.list.drain(..) {
            self.jobs.remove(&token);
            completions.push(Completion { token, result, more: false, chunk: None });
        }
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        let mut results = self.done.lock();
        results.is_closed = true;
        let late = std::mem::take(&mut results.list);
        drop(results);
        for (_, result, opens) in late {
            close_late(result, opens);
        }
        // Threads that wait for work end; those that are stuck in a call end after it.
        if let Some((workers, _)) = &self.threads {
            drop(workers.begin_close());
            workers.leave_behind();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use super::*;
    use crate::driver::files::{HERE, OpenHow, Paths};

    fn open_rarity() -> (FileOp, Payload) {
        let how = OpenHow { read: true, ..OpenHow::NOTHING };
        let path = CString::new("/proc/self/personality").expect("there is no zero in it");
        (FileOp::Open { folder: HERE, how }, Paths::one(path))
    }

    #[test]
    fn without_threads_an_operation_is_refused_and_still_completes() {
        let mut helpers = Helpers::default();
        let (op, mut payload) = open_rarity();
        let token = Token::operation(1, 1);
        helpers.push(token, op, &mut payload);
        let mut completions = Vec::new();
        helpers.reap(&mut completions);
        assert_eq!(completions.len(), 1);
        assert_eq!((completions[0].token, completions[0].result), (token, -libc::ECANCELED));
    }

    #[test]
    fn a_descriptor_that_is_opened_after_the_end_is_closed() {
        let done = Arc::new(Done::default());
        let helpers = Helpers { threads: None, done: Arc::clone(&done), jobs: BTreeMap::new() };
        drop(helpers);
        let (op, mut payload) = open_rarity();
        let opened = call(op, &mut payload).run();
        assert!(opened >= 0);
        done.finish(Token::operation(1, 1), opened, true);
        let link = format!("/proc/self/fd/{opened}");
        // Another test may have the number by now, but of another file.
        let is_open = std::fs::read_link(link).is_ok_and(|it| it.ends_with("personality"));
        assert!(!is_open, "the descriptor is still open");
    }
}
