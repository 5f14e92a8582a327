//! Channels of one core: a value that is lost with a waiter, a receiver that hears nothing of the
//! end, a sender that does not learn that nobody listens.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

use corio::net::{TcpListener, TcpStream};
use corio::sync::{RecvError, TryRecvError, broadcast, oneshot, watch};
use corio::{sleep, spawn, timeout, yield_now};

use crate::hand::{Crowd, hand, now, pause, waiting};

const PATIENCE: Duration = Duration::from_secs(5);
const SEEDS: u64 = 300;

/// Counts the drops of a value.
#[derive(Clone)]
struct Counted(Rc<Cell<usize>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[corio::test]
fn a_oneshot_hands_its_value_over_before_and_after_it_is_asked() {
    let (sender, receiver) = oneshot();
    sender.send(1).unwrap();
    assert_eq!(now(receiver), Ok(1));
    let (sender, receiver) = oneshot();
    let mut receiving = waiting(receiver);
    sender.send(2).unwrap();
    assert_eq!(receiving.woken(), Ok(2));
    assert_eq!(receiving.ready(), Err(RecvError::Closed), "it was one value");
}

#[corio::test]
fn a_sender_that_is_dropped_is_an_error_for_the_receiver() {
    let (sender, receiver) = oneshot::<u8>();
    let mut receiving = waiting(receiver);
    drop(sender);
    assert_eq!(receiving.woken(), Err(RecvError::Closed));
}

#[corio::test]
fn a_oneshot_that_is_cancelled_while_it_is_borrowed_keeps_its_value() {
    let (sender, mut receiver) = oneshot();
    let waiter = waiting(&mut receiver);
    sender.send("kept").unwrap();
    assert_eq!(waiter.wakes(), 1);
    drop(waiter);
    assert_eq!(receiver.try_recv(), Ok("kept"));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));
}

#[corio::test]
fn what_nobody_receives_comes_back_or_is_dropped_once() {
    let drops = Rc::new(Cell::new(0));
    let (sender, receiver) = oneshot();
    drop(receiver);
    assert!(sender.is_closed());
    let refused = sender.send(Counted(Rc::clone(&drops))).unwrap_err();
    assert_eq!(drops.get(), 0);
    drop(refused);
    assert_eq!(drops.get(), 1);
    let (sender, receiver) = oneshot();
    sender.send(Counted(Rc::clone(&drops))).unwrap();
    drop(receiver);
    assert_eq!(drops.get(), 2);
}

#[corio::test]
fn a_sender_hears_that_nobody_needs_the_value() {
    let (mut sender, mut receiver) = oneshot::<u8>();
    let mut closing = waiting(sender.closed());
    receiver.close();
    closing.woken();
    drop(closing);
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));
    assert_eq!(sender.send(1).unwrap_err().0, 1);
}

/// A waker whose clone runs a closure, once: foreign code in the middle of a poll.
struct Meddler;

thread_local! {
    static MEDDLE: RefCell<Option<Box<dyn FnOnce()>>> = const { RefCell::new(None) };
}

impl Wake for Meddler {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Meddler {
    fn drop(&mut self) {
        let meddle = MEDDLE.take();
        if let Some(meddle) = meddle {
            meddle();
        }
    }
}

#[corio::test]
fn a_value_that_is_sent_by_the_drop_of_an_old_waker_is_not_lost() {
    let (sender, receiver) = oneshot();
    let mut receiving = hand(receiver);
    assert!(receiving.poll_with(&Waker::from(Arc::new(Meddler))).is_pending());
    MEDDLE.set(Some(Box::new(move || sender.send(5).unwrap())));
    assert_eq!(receiving.ready(), Ok(5), "the new waker replaces the old one, whose drop sends");
}

#[corio::test]
fn a_watcher_misses_versions_and_never_the_last() {
    let (sender, mut receiver) = watch(0);
    assert_eq!(receiver.has_changed(), Ok(false), "the first value counts as seen");
    let mut changing = waiting(receiver.changed());
    sender.send(1).unwrap();
    sender.send(2).unwrap();
    assert_eq!(changing.woken(), Ok(()));
    drop(changing);
    assert_eq!(*receiver.borrow(), 2);
    waiting(receiver.changed());
    sender.send(3).unwrap();
    drop(sender);
    assert_eq!(now(receiver.changed()), Ok(()), "the last value comes before the end");
    assert_eq!(*receiver.borrow_and_update(), 3);
    assert_eq!(now(receiver.changed()), Err(RecvError::Closed));
}

#[corio::test]
fn a_watcher_that_was_woken_and_dropped_has_seen_nothing() {
    let (sender, mut receiver) = watch(0);
    let changing = waiting(receiver.changed());
    sender.send(1).unwrap();
    assert_eq!(changing.wakes(), 1);
    drop(changing);
    assert_eq!(receiver.has_changed(), Ok(true));
    assert_eq!(now(receiver.changed()), Ok(()));
}

#[corio::test]
fn a_watcher_waits_for_the_value_that_it_wants() {
    let (sender, mut receiver) = watch(0);
    let asked = RefCell::new(Vec::new());
    let mut wanted = waiting(receiver.wait_for(|value| {
        asked.borrow_mut().push(*value);
        *value > 1
    }));
    sender.send(1).unwrap();
    wanted.pending();
    sender.send(2).unwrap();
    assert_eq!(*wanted.ready().unwrap(), 2);
    drop(wanted);
    assert_eq!(asked.take(), [0, 1, 2]);
    drop(sender);
    assert!(matches!(now(receiver.wait_for(|value| *value == 9)), Err(RecvError::Closed)));
    assert_eq!(*now(receiver.wait_for(|value| *value == 2)).unwrap(), 2, "it is still there");
}

#[corio::test]
fn a_watched_value_changes_only_if_the_closure_says_so() {
    let (mut sender, receiver) = watch(vec![1]);
    let old = receiver.borrow();
    assert!(!sender.send_if_modified(|_| false));
    assert_eq!(receiver.has_changed(), Ok(false));
    sender.send_modify(|value| value.push(2));
    assert_eq!((&*old, &*receiver.borrow()), (&vec![1], &vec![1, 2]));
    assert_eq!(*sender.send_replace(vec![3]), [1, 2]);
    drop(receiver);
    assert_eq!(sender.send(vec![4]).unwrap_err().0, [4]);
    assert_eq!(*sender.subscribe().borrow(), [3]);
}

#[corio::test]
fn every_receiver_gets_every_value_in_order() {
    let (sender, mut one) = broadcast(4);
    let mut other = sender.subscribe();
    let mut receiving = waiting(one.recv());
    assert_eq!(sender.send(1).ok(), Some(2));
    assert_eq!(receiving.woken(), Ok(1));
    drop(receiving);
    sender.send(2).unwrap();
    let mut late = other.resubscribe();
    assert_eq!((now(one.recv()), now(other.recv()), now(other.recv())), (Ok(2), Ok(1), Ok(2)));
    assert_eq!(late.try_recv(), Err(TryRecvError::Empty));
    assert!(sender.is_empty());
    drop(sender);
    assert_eq!(now(late.recv()), Err(RecvError::Closed));
}

#[corio::test]
fn a_slow_receiver_learns_how_much_it_missed_and_goes_on_with_the_oldest() {
    let (sender, mut slow) = broadcast(2);
    (0..5).for_each(|value| assert_eq!(sender.send(value).ok(), Some(1)));
    assert_eq!((sender.len(), slow.len()), (2, 5));
    assert_eq!(now(slow.recv()), Err(RecvError::Lagged(3)));
    assert_eq!((now(slow.recv()), now(slow.recv())), (Ok(3), Ok(4)));
    assert_eq!(slow.try_recv(), Err(TryRecvError::Empty));
}

#[corio::test]
fn a_broadcast_keeps_nothing_that_nobody_will_take() {
    let drops = Rc::new(Cell::new(0));
    let (sender, slow) = broadcast(3);
    let mut quick = sender.subscribe();
    for _ in 0..5 {
        assert!(sender.send(Rc::new(Counted(Rc::clone(&drops)))).is_ok());
    }
    assert_eq!((drops.get(), sender.len()), (2, 3));
    assert!(matches!(quick.try_recv(), Err(TryRecvError::Lagged(2))));
    drop(quick.try_recv().unwrap());
    drop(slow);
    assert_eq!((drops.get(), sender.len()), (3, 2));
    drop(quick);
    assert_eq!((drops.get(), sender.len()), (5, 0));
    assert!(sender.send(Rc::new(Counted(Rc::clone(&drops)))).is_err());
}

#[corio::test]
fn a_receive_that_was_woken_and_dropped_received_nothing() {
    let (sender, mut receiver) = broadcast(2);
    let receiving = waiting(receiver.recv());
    sender.send(1).unwrap();
    assert_eq!(receiving.wakes(), 1);
    drop(receiving);
    assert_eq!(receiver.try_recv(), Ok(1));
}

#[corio::test]
#[should_panic = "at least one place"]
fn a_broadcast_without_a_place_is_refused() {
    drop(broadcast::<u8>(0));
}

#[corio::test]
fn a_crowd_of_receivers_under_many_seeds_misses_nothing_that_it_is_not_told_of() {
    for seed in 0..SEEDS {
        let (sender, first) = broadcast(3);
        let (told, mut last) = watch(0);
        let mut crowd = Crowd::new(seed);
        for _ in 0..6 {
            let mut receiver = first.resubscribe();
            crowd.add(async move {
                let mut due = 0;
                loop {
                    match receiver.recv().await {
                        Ok(value) => {
                            assert_eq!(value, due, "seed {seed}");
                            due += 1;
                        }
                        Err(RecvError::Lagged(count)) => due += count,
                        Err(RecvError::Closed) => break,
                    }
                    pause().await;
                }
                assert_eq!(due, 12, "seed {seed}");
            });
        }
        drop(first);
        crowd.add(async move {
            let mut seen = 0;
            while last.changed().await.is_ok() {
                let value = *last.borrow_and_update();
                assert!(value > seen, "seed {seed}: went back");
                seen = value;
            }
            assert_eq!(seen, 12, "seed {seed}");
        });
        crowd.jostle(10, 30);
        for value in 0..12 {
            // Nobody may be left to listen.
            let _ = sender.send(value);
            let _ = told.send(value + 1);
            crowd.jostle(4, 30);
        }
        drop((sender, told));
        crowd.finish();
    }
}

#[corio::test]
async fn tasks_are_woken_by_a_timer_and_a_cancelled_one_takes_nothing_along() {
    let (sender, mut receiver) = oneshot();
    assert!(timeout(Duration::from_millis(1), &mut receiver).await.is_err());
    spawn(async move {
        sleep(Duration::from_millis(2)).await;
        sender.send("late").unwrap();
    });
    assert_eq!(timeout(PATIENCE, receiver).await.expect("a wake was lost"), Ok("late"));

    let (sender, mut one) = broadcast(4);
    let mut other = sender.subscribe();
    let cancelled = spawn(async move { one.recv().await });
    let waiting = spawn(async move { other.recv().await });
    yield_now().await;
    // In one turn: both are woken, one is cancelled before it runs.
    sender.send(7).unwrap();
    assert!(cancelled.cancel());
    assert_eq!(timeout(PATIENCE, waiting).await.expect("a wake was lost").unwrap(), Ok(7));
    let _ = cancelled.await;
    assert!(sender.is_empty(), "a receiver that is gone keeps no value");
}

#[corio::test]
async fn select_may_end_any_wait_and_the_next_finds_the_value() {
    let (sender, mut receiver) = watch(0);
    corio::select! {
        biased;
        changed = receiver.changed() => panic!("nothing has changed: {changed:?}"),
        () = yield_now() => {}
    }
    sender.send(1).unwrap();
    assert_eq!(receiver.changed().await, Ok(()));
}

#[corio::test]
fn closing_ends_every_wait_and_what_was_sent_before_is_still_there() {
    let (sender, mut one) = broadcast::<u8>(4);
    let mut other = one.resubscribe();
    let twin = sender.clone();
    let (mut first, mut second) = (waiting(one.recv()), waiting(other.recv()));
    drop(sender);
    first.pending();
    assert_eq!((first.wakes(), second.wakes()), (0, 0), "one sender is left");
    drop(twin);
    assert_eq!((first.woken(), second.woken()), (Err(RecvError::Closed), Err(RecvError::Closed)));

    let (sender, mut receiver) = broadcast(4);
    sender.send(1).unwrap();
    drop(sender);
    assert_eq!((now(receiver.recv()), now(receiver.recv())), (Ok(1), Err(RecvError::Closed)));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));

    let (sender, mut receiver) = watch(0);
    let mut twin = receiver.clone();
    let (mut first, mut second) = (waiting(receiver.changed()), waiting(twin.changed()));
    drop(sender);
    assert_eq!((first.woken(), second.woken()), (Err(RecvError::Closed), Err(RecvError::Closed)));
}

/// A waker that notes its number.
struct Note(usize);

thread_local! {
    static NOTES: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

impl Wake for Note {
    fn wake(self: Arc<Self>) {
        NOTES.with_borrow_mut(|notes| notes.push(self.0));
    }
}

#[corio::test]
fn receivers_are_woken_in_the_order_in_which_they_came() {
    let (sender, receiver) = broadcast(1);
    let (told, watcher) = watch(0);
    let mut receivers: Vec<_> = (0..4).map(|_| receiver.resubscribe()).collect();
    let mut watchers: Vec<_> = (0..4).map(|_| watcher.clone()).collect();
    let mut receiving: Vec<_> = receivers.iter_mut().map(|it| hand(it.recv())).collect();
    let mut watching: Vec<_> = watchers.iter_mut().map(|it| hand(it.changed())).collect();
    for number in [2, 0, 3, 1] {
        let waker = Waker::from(Arc::new(Note(number)));
        assert!(receiving[number].poll_with(&waker).is_pending());
        assert!(watching[number].poll_with(&waker).is_pending());
    }
    sender.send(1).unwrap();
    assert_eq!(NOTES.take(), [2, 0, 3, 1]);
    told.send(1).unwrap();
    assert_eq!(NOTES.take(), [2, 0, 3, 1]);
}

#[corio::test]
fn a_capacity_without_bound_costs_nothing_before_it_is_used() {
    let (sender, mut receiver) = broadcast(usize::MAX);
    assert_eq!(sender.capacity(), usize::MAX);
    (0..1000).for_each(|value| assert_eq!(sender.send(value).ok(), Some(1)));
    assert!((0..1000).all(|value| receiver.try_recv() == Ok(value)));
    let (sender, mut receiver) = broadcast(1);
    assert_eq!(sender.send(()).ok(), Some(1));
    assert_eq!(sender.send(()).ok(), Some(1));
    assert_eq!(now(receiver.recv()), Err(RecvError::Lagged(1)));
    assert_eq!(now(receiver.recv()), Ok(()));
}

#[corio::test]
fn a_wait_that_is_leaked_keeps_its_place_and_takes_nothing_from_others() {
    let (sender, mut receiver) = broadcast(4);
    let mut other = sender.subscribe();
    waiting(receiver.recv()).leak();
    let mut waiting_too = waiting(other.recv());
    sender.send(1).unwrap();
    assert_eq!(waiting_too.woken(), Ok(1));
    let (told, mut watcher) = watch(0);
    let mut twin = watcher.clone();
    waiting(watcher.changed()).leak();
    let mut changing = waiting(twin.changed());
    told.send(1).unwrap();
    assert_eq!(changing.woken(), Ok(()));
    drop(told);
}

#[corio::test]
fn many_values_through_channels_for_one_under_many_seeds_arrive_or_come_back() {
    for seed in 0..SEEDS {
        let drops = Rc::new(Cell::new(0));
        let outcomes = Cell::new(0);
        let mut crowd = Crowd::new(seed);
        for _ in 0..6 {
            let (sender, receiver) = oneshot();
            let (value, outcomes) = (Counted(Rc::clone(&drops)), &outcomes);
            crowd.add(async move {
                pause().await;
                // Refused if the receiver was dropped.
                drop(sender.send(value));
                pause().await;
            });
            crowd.add(async move {
                pause().await;
                match receiver.await {
                    Ok(value) => drop(value),
                    Err(error) => assert_eq!(error, RecvError::Closed, "seed {seed}"),
                }
                outcomes.set(outcomes.get() + 1);
            });
        }
        crowd.jostle(40, 12);
        crowd.finish();
        drop(crowd);
        assert_eq!(drops.get(), 6, "seed {seed}: every value is dropped once");
        assert!(outcomes.get() <= 6);
    }
}

#[corio::test]
async fn what_a_socket_received_reaches_every_kind_of_channel() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let mut server = listener.accept().await.unwrap();
    let (once, received) = oneshot();
    let (told, mut watched) = watch(0);
    let (sender, mut heard) = broadcast(8);
    spawn(async move {
        let mut byte = [0];
        server.read_exact(&mut byte).await.unwrap();
        once.send(byte[0]).unwrap();
        told.send(byte[0]).unwrap();
        sender.send(byte[0]).unwrap();
    });
    let waits = spawn(async move {
        let all = corio::join!(received, watched.changed(), heard.recv());
        (all, *watched.borrow())
    });
    yield_now().await;
    client.write(b"!").await.unwrap();
    let ((once, changed, heard), seen) =
        timeout(PATIENCE, waits).await.expect("a wake was lost").unwrap();
    assert_eq!((once, changed, heard, seen), (Ok(b'!'), Ok(()), Ok(b'!'), b'!'));
}
