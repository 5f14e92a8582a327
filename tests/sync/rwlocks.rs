//! Readers and writers: together or alone, and nobody is starved.

use corio::sync::{RwLock, RwLockWriteGuard};

use crate::hand::{now, waiting};

#[corio::test]
fn readers_share_and_a_writer_is_alone() {
    let lock = RwLock::new(1);
    let (one, two) = (now(lock.read()), lock.try_read().unwrap());
    assert_eq!(*one + *two, 2);
    assert!(lock.try_write().is_err());
    drop((one, two));
    *now(lock.write()) = 5;
    let writing = lock.try_write().unwrap();
    assert!(lock.try_read().is_err());
    drop(writing);
    assert_eq!(lock.into_inner(), 5);
}

#[corio::test]
fn a_reader_does_not_overtake_a_waiting_writer() {
    let lock = RwLock::new(0);
    let reading = now(lock.read());
    let mut writer = waiting(lock.write());
    assert!(lock.try_read().is_err());
    let mut late = waiting(lock.read());
    drop(reading);
    late.pending();
    drop(writer.woken());
    drop(late.woken());
}

#[corio::test]
fn all_readers_up_to_the_next_writer_go_on_together() {
    let lock = RwLock::new(0);
    let writing = now(lock.write());
    let (mut a, mut b) = (waiting(lock.read()), waiting(lock.read()));
    let mut writer = waiting(lock.write());
    let mut c = waiting(lock.read());
    drop(writing);
    let (a, b) = (a.woken(), b.woken());
    writer.pending();
    c.pending();
    drop(a);
    writer.pending();
    drop(b);
    drop(writer.woken());
    drop(c.woken());
}

#[corio::test]
fn a_dropped_writer_lets_the_readers_behind_it_go_on() {
    let lock = RwLock::new(0);
    let reading = now(lock.read());
    let writer = waiting(lock.write());
    let (mut a, mut b) = (waiting(lock.read()), waiting(lock.read()));
    drop(writer);
    drop((a.woken(), b.woken(), reading));
    drop(lock.try_write().unwrap());
}

#[corio::test]
fn a_grant_of_a_dropped_waiter_goes_on() {
    let lock = RwLock::new(0);
    let writing = now(lock.write());
    let (writer, mut reader) = (waiting(lock.write()), waiting(lock.read()));
    drop(writing);
    assert_eq!(writer.wakes(), 1);
    drop(writer);
    let reading = reader.woken();
    let mut writer = waiting(lock.write());
    drop(reading);
    drop(writer.woken());

    let writing = now(lock.write());
    let reader = waiting(lock.read());
    drop(writing);
    drop(reader);
    drop(lock.try_write().unwrap());
}

#[corio::test]
fn a_writer_that_goes_on_reading_lets_no_writer_in_between() {
    let lock = RwLock::new(0);
    let mut writing = now(lock.write());
    let mut reader = waiting(lock.read());
    let mut writer = waiting(lock.write());
    *writing = 1;
    let reading = RwLockWriteGuard::downgrade(writing);
    assert_eq!((*reading, *reader.woken()), (1, 1));
    writer.pending();
    drop(reading);
    *writer.woken() = 2;
    assert_eq!(format!("{lock:?}"), "RwLock { readers: 0, writing: false, waiters: 0, value: 2 }");
}
