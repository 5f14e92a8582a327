//! Futures that look again before they ask to be woken, where the core polls before it sleeps:
//! whether they find something while they look or have to be woken, nothing is lost, and one that
//! is dropped or forgotten while it looks keeps nobody from his turn.

use std::thread;
use std::time::Duration;

use corio::channel::mpsc;
use corio::{BusyPoll, Runtime, sleep, spawn, yield_now};

use crate::support::{bounded, poll_once};

/// Long enough that a side which is awake is met, short enough that one which is not is left.
const BUDGETS: [BusyPoll; 2] =
    [BusyPoll::For(Duration::from_micros(5)), BusyPoll::Adaptive(Duration::from_micros(50))];

fn on_core<F: Future>(busy_poll: BusyPoll, future: F) -> F::Output {
    let runtime = Runtime::builder().busy_poll(busy_poll).build().unwrap();
    runtime.block_on(bounded(future))
}

/// Pauses that are shorter, and such that are longer than a side looks.
async fn pause(number: usize) {
    match number % 97 {
        0 => sleep(Duration::from_micros(300)).await,
        7 | 31 => yield_now().await,
        _ => {}
    }
}

#[corio::test]
fn numbers_cross_cores_that_look_before_they_sleep() {
    for (busy_poll, capacity) in BUDGETS.into_iter().flat_map(|it| [(it, 1), (it, 256)]) {
        let (sender, mut receiver) = mpsc(capacity);
        let (senders, count) = ([sender.clone(), sender], 300);
        thread::scope(|scope| {
            for (place, sender) in senders.into_iter().enumerate() {
                scope.spawn(move || {
                    on_core(busy_poll, async move {
                        for number in 0..count {
                            pause(number + place).await;
                            sender.send(number).await.unwrap();
                        }
                    });
                });
            }
            scope.spawn(move || {
                on_core(busy_poll, async move {
                    let (mut sum, mut values) = (0, Vec::new());
                    for turn in 0.. {
                        pause(turn).await;
                        let one = receiver.recv().await;
                        receiver.recv_many(&mut values, 5).await;
                        sum += one.unwrap_or(0) + values.drain(..).sum::<usize>();
                        if one.is_none() {
                            break;
                        }
                    }
                    assert_eq!(sum, count * (count - 1), "{busy_poll:?}, {capacity} places");
                });
            });
        });
    }
}

#[corio::test]
fn both_sides_on_one_core_find_each_other() {
    for busy_poll in BUDGETS {
        on_core(busy_poll, async {
            let (sender, mut receiver) = mpsc(2);
            let sending = spawn(async move {
                for number in 0..200 {
                    sender.send(number).await.unwrap();
                }
            });
            for number in 0..200 {
                assert_eq!(receiver.recv().await, Some(number));
            }
            assert_eq!(receiver.recv().await, None);
            sending.await.unwrap();
        });
    }
}

#[corio::test]
fn a_sender_that_is_dropped_while_it_looks_passes_its_turn_on() {
    on_core(BusyPoll::For(Duration::from_secs(1)), async {
        let (sender, mut receiver) = mpsc(1);
        sender.send(0).await.unwrap();
        let mut first = Box::pin(sender.send(1));
        let mut second = Box::pin(sender.send(2));
        let mut third = Box::pin(sender.send(3));
        assert!(poll_once(&mut first).is_none());
        assert!(poll_once(&mut second).is_none());
        assert!(poll_once(&mut third).is_none());
        drop(first);
        assert_eq!(receiver.recv().await, Some(0));
        // What came free is the second's, whoever looks first.
        assert!(poll_once(&mut third).is_none());
        assert!(sender.try_send(9).is_err());
        second.await.unwrap();
        assert_eq!(receiver.recv().await, Some(2));
        third.await.unwrap();
        assert_eq!(receiver.recv().await, Some(3));
    });
}

#[corio::test]
fn a_close_is_heard_by_who_looks() {
    on_core(BusyPoll::For(Duration::from_secs(1)), async {
        let (sender, mut receiver) = mpsc::<u8>(1);
        assert!(poll_once(receiver.recv()).is_none());
        drop(sender);
        assert_eq!(poll_once(receiver.recv()), Some(None), "at once");
        let (sender, receiver) = mpsc(1);
        sender.send(0).await.unwrap();
        let mut sending = Box::pin(sender.send(1));
        assert!(poll_once(&mut sending).is_none());
        drop(receiver);
        assert!(sending.await.is_err());
    });
}
