//! Bare descriptors: readiness that is over is waited for again, and the original is its owner's.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use corio::io::AsyncFd;

use crate::stage::{Census, POLLS, given_up_after, ran_in_a_child};
use crate::support::bounded;

fn pair() -> (AsyncFd<UnixStream>, UnixStream) {
    let (mine, theirs) = UnixStream::pair().unwrap();
    mine.set_nonblocking(true).unwrap();
    (AsyncFd::new(mine).unwrap(), theirs)
}

async fn read(fd: &AsyncFd<UnixStream>, buffer: &mut [u8]) -> usize {
    loop {
        let mut ready = fd.readable().await.unwrap();
        if let Ok(count) = ready.try_io(|fd| fd.get_ref().read(buffer)) {
            return count.unwrap();
        }
    }
}

#[corio::test]
async fn readiness_is_remembered_until_it_is_over() {
    let (fd, mut peer) = pair();
    assert!(given_up_after(POLLS, fd.readable()).await.is_none(), "there is nothing");
    peer.write_all(b"two").unwrap();
    let mut buffer = [0; 2];
    assert_eq!(bounded(read(&fd, &mut buffer)).await, 2);
    let again = given_up_after(1, fd.readable()).await;
    assert!(again.is_some(), "it was ready, and nobody found otherwise");
    assert_eq!(bounded(read(&fd, &mut buffer)).await, 1);
    assert!(given_up_after(POLLS, read(&fd, &mut buffer)).await.is_none());
    drop(peer);
    assert_eq!(bounded(read(&fd, &mut buffer)).await, 0, "the end is something to read");
}

#[corio::test]
async fn room_to_write_is_waited_for() {
    let (fd, mut peer) = pair();
    let mut written = 0;
    loop {
        let mut ready = bounded(fd.writable()).await.unwrap();
        match ready.try_io(|fd| fd.get_ref().write(&[7; 10_000])) {
            Ok(count) => written += count.unwrap(),
            Err(_) => break,
        }
    }
    assert!(given_up_after(POLLS, fd.writable()).await.is_none(), "the peer is full");
    peer.read_exact(&mut vec![0; written]).unwrap();
    bounded(fd.writable()).await.unwrap().clear_ready();
}

#[corio::test]
async fn one_descriptor_may_be_watched_twice_and_closed_meanwhile() {
    let (mine, mut theirs) = UnixStream::pair().unwrap();
    let (first, second) = (AsyncFd::new(&mine).unwrap(), AsyncFd::new(&mine).unwrap());
    assert!(given_up_after(2, first.readable()).await.is_none());
    assert!(given_up_after(2, second.readable()).await.is_none());
    drop(first);
    theirs.write_all(b"x").unwrap();
    bounded(second.readable()).await.unwrap().retain_ready();
    drop(second);
    // Closed while a wait for its duplicate stands, and its number is another's at once.
    let fd = AsyncFd::new(mine).unwrap();
    bounded(fd.readable()).await.unwrap().clear_ready();
    let mut mine = fd.into_inner();
    mine.read_exact(&mut [0]).unwrap();
    drop(mine);
    let (other, mut peer) = pair();
    assert!(given_up_after(POLLS, other.readable()).await.is_none());
    peer.write_all(b"y").unwrap();
    bounded(other.readable()).await.unwrap().clear_ready();
}

#[corio::test]
async fn both_directions_can_be_awaited_at_once() {
    let (fd, mut peer) = pair();
    let wait = async { corio::join!(fd.readable(), fd.writable()) };
    peer.write_all(b"x").unwrap();
    let (readable, writable) = bounded(wait).await;
    readable.unwrap().clear_ready();
    writable.unwrap().clear_ready();
    let mut ready = bounded(fd.readable()).await.unwrap();
    let failed = ready.try_io(|_| Err::<(), _>(ErrorKind::NotFound.into()));
    assert_eq!(failed.unwrap().unwrap_err().kind(), ErrorKind::NotFound);
}

#[corio::test]
fn a_wait_can_be_given_up_after_each_poll() {
    if ran_in_a_child(module_path!(), "a_wait_can_be_given_up_after_each_poll", &[]) {
        return;
    }
    corio::run(bounded(async {
        let before = Census::take();
        for polls in 0..POLLS {
            let (fd, mut peer) = pair();
            assert!(given_up_after(polls, fd.readable()).await.is_none());
            peer.write_all(b"x").unwrap();
            assert_eq!(read(&fd, &mut [0; 9]).await, 1);
            let _ = given_up_after(polls, fd.writable()).await;
        }
        before.comes_back().await;
    }));
}
