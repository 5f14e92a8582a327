//! A disk that fails, on the fake driver: what the kernel cuts short goes on, what it refuses is
//! told, and nothing is swallowed.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::task::Poll;

use futures_util::AsyncWriteExt;

use super::File;
use super::whole::copy_contents;
use crate::driver::{FileOp, Op};
use crate::executor::Core;
use crate::executor::slots_tests::cores::{Heard, fake_core, turns_until};
use crate::task::yield_now;

/// A device is broken, an operation was interrupted.
const EIO: i32 = -libc::EIO;
const EINTR: i32 = -libc::EINTR;

/// What was asked of the disk, in order.
type Asked = Rc<RefCell<Vec<String>>>;

/// A core whose disk gives these answers, one after the other.
fn disk(answers: &[i32]) -> (Rc<Core>, Heard, Asked) {
    let (asked, mut answers) = (Asked::default(), VecDeque::from(answers.to_vec()));
    let notes = Rc::clone(&asked);
    let (core, heard) = fake_core(Some(Box::new(move |fake, _| {
        for token in fake.open() {
            notes.borrow_mut().push(told(fake.flight(token).op));
            let answer = answers.pop_front().expect("no more is asked than was foreseen");
            fake.complete(token, answer, false);
        }
    })));
    (core, heard, asked)
}

fn told(op: Op) -> String {
    match op {
        Op::File(FileOp::Write { position, from, append, .. }) => match (position, append) {
            (_, true) => "append".to_owned(),
            (Some(position), _) => format!("write at {position} from {from}"),
            (None, _) => format!("write on from {from}"),
        },
        Op::File(FileOp::Read { position, length, .. }) => format!("read {length} at {position:?}"),
        Op::File(FileOp::Sync { data_only, .. }) => format!("sync, data only: {data_only}"),
        op => panic!("{op:?} is not asked for in these tests"),
    }
}

/// Runs `body` with a file on such a disk; what was asked has to be `due`.
#[track_caller]
fn check<F, T>(answers: &[i32], due: &[&str], body: impl FnOnce(File) -> F) -> (T, Heard)
where
    F: Future<Output = T>,
{
    let (core, heard, asked) = disk(answers);
    let file = File::new(Rc::clone(&core), core.fd(-1));
    let (outcome, _) = turns_until(&core, body(file));
    core.close();
    assert_eq!(*asked.borrow(), due);
    (outcome, heard)
}

#[track_caller]
fn assert_eio<T>(result: io::Result<T>) {
    assert_eq!(result.err().and_then(|error| error.raw_os_error()), Some(libc::EIO));
}

#[test]
fn a_write_that_is_cut_short_goes_on_behind_what_is_through() {
    let due =
        ["write at 10 from 0", "write at 13 from 3", "write at 13 from 3", "write at 14 from 4"];
    let write = async |file: File| file.write_all_at(10, "0123456789").await;
    let (written, _) = check(&[3, EINTR, 1, 6], &due, write);
    written.unwrap();
}

#[test]
fn an_error_behind_a_short_write_is_told() {
    let due = ["write at 0 from 0", "write at 3 from 3"];
    let (written, _) =
        check(&[3, EIO], &due, async |file: File| file.write_all_at(0, "0123456789").await);
    assert_eio(written);
}

#[test]
fn a_write_that_takes_nothing_does_not_go_on_for_ever() {
    let write = async |file: File| file.write_all_at(0, "0123456789").await;
    let (written, _) = check(&[0], &["write at 0 from 0"], write);
    assert_eq!(written.unwrap_err().kind(), ErrorKind::WriteZero);
}

#[test]
fn an_append_goes_on_with_the_rest_and_tells_its_error() {
    let append = async |file: File| file.append("0123456789").await;
    check(&[4, 6], &["append", "append"], append).0.unwrap();
    assert_eio(check(&[4, EIO], &["append", "append"], append).0);
}

#[test]
fn a_failed_sync_is_told_each_time() {
    let due = ["sync, data only: false", "sync, data only: true", "sync, data only: false"];
    let ((), _) = check(&[EIO, EIO, 0], &due, async |file: File| {
        assert_eio(file.sync_all().await);
        assert_eio(file.sync_data().await);
        file.sync_all().await.unwrap();
    });
}

#[test]
fn a_failed_read_is_told_also_behind_what_was_read_if_all_was_asked_for() {
    let due = ["read 8 at Some(0)", "read 8 at Some(0)"];
    let ((), _) = check(&[EIO, EIO], &due, async |file: File| {
        assert_eio(file.read_at(0, 8).await);
        assert_eio(file.read_exact_at(0, 8).await);
    });
}

#[test]
fn the_first_error_of_a_cursor_stays_and_no_byte_is_sent_behind_it() {
    let due = ["write at 5 from 0", "write at 8 from 3"];
    let ((), heard) = check(&[3, EIO], &due, async |file: File| {
        let mut cursor = file.cursor(5);
        cursor.write_all(b"0123456789").await.unwrap();
        assert_eio(cursor.flush().await);
        assert_eio(cursor.write(b"more").await);
        assert_eio(cursor.close().await);
    });
    assert!(heard.borrow().is_empty(), "it was told already: {heard:?}");
}

#[test]
fn an_error_of_what_a_dropped_cursor_still_had_goes_to_the_hook() {
    let ((), heard) = check(&[EIO], &["write at 0 from 0"], async |file: File| {
        let mut cursor = file.cursor(0);
        cursor.write_all(b"0123456789").await.unwrap();
    });
    let heard = heard.borrow();
    assert!(heard.len() == 1 && heard[0].contains("os error 5"), "{heard:?}");
}

#[test]
fn a_copy_that_is_given_up_keeps_both_files_open_until_the_kernel_is_done() {
    let is_slow = Rc::new(Cell::new(true));
    let slow = Rc::clone(&is_slow);
    let (core, _) = fake_core(Some(Box::new(move |fake, _| {
        for token in fake.open().into_iter().filter(|_| !slow.get()) {
            fake.complete(token, 0, false);
        }
    })));
    let [source, target] = [(); 2].map(|()| File::new(Rc::clone(&core), core.fd(-1)));
    let body = async {
        let files = [&source, &target].map(|file| Rc::downgrade(file.descriptor()));
        let mut copy = Box::pin(copy_contents(&source, &target));
        let polled = poll_fn(|context| Poll::Ready(copy.as_mut().poll(context))).await;
        assert!(polled.is_pending());
        drop(copy);
        drop((source, target));
        yield_now().await;
        let are_open = files.iter().all(|file| file.strong_count() > 0);
        is_slow.set(false);
        while files.iter().any(|file| file.strong_count() > 0) {
            yield_now().await;
        }
        are_open
    };
    let (are_open, _) = turns_until(&core, body);
    assert!(are_open, "the numbers may be another file's by the time the kernel uses them");
    core.close();
}
