//! A race whose runners start one after the other: asyncio's `staggered_race`.
//!
//! A runner starts when the one before has failed, or has run for the delay. The first that
//! succeeds wins; the others are dropped, those that have not started are never made.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::time::sleep;

/// Runs the futures one after the other, each once the one before has failed or has had `delay`,
/// and side by side from then on. Gives the first success and the number of its future, counted
/// from 0.
///
/// The iterator is asked for a future when it is its turn. Who has lost is dropped.
///
/// # Errors
///
/// If all fail: their errors, in the order of the futures. None if there was no future.
///
/// # Cancellation
///
/// As that of the futures: dropping the race drops those that run.
///
/// ```
/// use corio::time::Duration;
/// # corio::run(async {
/// let servers = ["slow", "quick"].map(|name| async move {
///     corio::sleep(Duration::from_millis(if name == "slow" { 5_000 } else { 1 })).await;
///     Ok::<_, ()>(name)
/// });
/// let won = corio::task::race_staggered(Duration::from_millis(5), servers).await;
/// assert_eq!(won, Ok(("quick", 1)));
/// # });
/// ```
#[doc(alias = "staggered_race")]
pub fn race_staggered<I, F, T, E>(
    delay: Duration,
    futures: I,
) -> impl Future<Output = Result<(T, usize), Vec<E>>>
where
    I: IntoIterator<Item = F>,
    F: Future<Output = Result<T, E>>,
{
    let mut race = Race { running: Vec::new(), failures: Vec::new() };
    async move {
        for (number, future) in futures.into_iter().enumerate() {
            race.running.push((number, Box::pin(future)));
            let mut patience = pin!(sleep(delay));
            let started = poll_fn(|context| {
                loop {
                    match race.poll(context) {
                        Poll::Pending => return patience.as_mut().poll(context).map(|()| None),
                        Poll::Ready(Step::Won(value, number)) => {
                            return Poll::Ready(Some((value, number)));
                        }
                        Poll::Ready(Step::Failed(failed)) if failed == number => {
                            return Poll::Ready(None);
                        }
                        // An earlier one: the last one still has its time.
                        Poll::Ready(Step::Failed(_)) => {}
                    }
                }
            });
            if let Some(won) = started.await {
                return Ok(won);
            }
        }
        while !race.running.is_empty() {
            if let Step::Won(value, number) = poll_fn(|context| race.poll(context)).await {
                return Ok((value, number));
            }
        }
        race.failures.sort_by_key(|(number, _)| *number);
        Err(race.failures.into_iter().map(|(_, error)| error).collect())
    }
}

enum Step<T> {
    Won(T, usize),
    Failed(usize),
}

struct Race<F, E> {
    running: Vec<(usize, Pin<Box<F>>)>,
    failures: Vec<(usize, E)>,
}

impl<F, T, E> Race<F, E>
where
    F: Future<Output = Result<T, E>>,
{
    /// Ready when one has won or failed.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Step<T>> {
        for place in 0..self.running.len() {
            let (number, future) = &mut self.running[place];
            let number = *number;
            match future.as_mut().poll(context) {
                Poll::Pending => {}
                Poll::Ready(Ok(value)) => return Poll::Ready(Step::Won(value, number)),
                Poll::Ready(Err(error)) => {
                    self.failures.push((number, error));
                    drop(self.running.remove(place));
                    return Poll::Ready(Step::Failed(number));
                }
            }
        }
        Poll::Pending
    }
}
