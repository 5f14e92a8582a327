//! Files that the kernel moves into streams and out of them: nothing is lost, doubled or moved,
//! whatever is given up, and no pipe on the way stays open.

use std::future::poll_fn;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use corio::fs::{self, File, OpenOptions};
use corio::io::{PipeReader, PipeWriter};
use corio::net::{TcpListener, TcpStream, UnixStream};
use corio::process::{Command, Stdio};

use crate::stage::{Census, Folder, ran_in_a_child, turn};
use crate::support::{Checker, assert_kind, bounded, numbered, pair, reset_by, settle, until};

/// More than the pipe on the way holds, and no multiple of anything.
const LENGTH: usize = 567_891;

/// After so many polls something is given up that goes on for a while.
const POLLS: [usize; 11] = [0, 1, 2, 3, 4, 5, 7, 10, 14, 20, 30];

/// Turns after which whoever waits for a peer does so.
const TURNS: usize = 30;

async fn numbered_file(folder: &Folder, length: usize) -> File {
    let path = folder.file("numbered");
    std::fs::write(&path, numbered(0, length)).unwrap();
    File::open(path).await.unwrap()
}

/// A file of holes that no socket has room for.
async fn large_file(folder: &Folder) -> File {
    let file = new_file(folder, "large").await;
    file.set_len(1 << 30).await.unwrap();
    file
}

async fn new_file(folder: &Folder, name: &str) -> File {
    File::create(folder.file(name)).await.unwrap()
}

/// The checksum that `sha256sum` gives a file.
async fn checksum(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().next().unwrap().to_owned()
}

/// What still comes, up to the end.
async fn rest_of(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    bounded(stream.read_to_end(&mut bytes)).await.unwrap();
    bytes
}

#[corio::test]
async fn another_program_gets_the_file_with_its_checksum() {
    let folder = Folder::new();
    let file = numbered_file(&folder, LENGTH).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let program = "import socket, hashlib, sys\n\
        peer = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n\
        found = hashlib.sha256()\n\
        while piece := peer.recv(100000): found.update(piece)\n\
        print(found.hexdigest())";
    let mut python = Command::new("python3");
    let port = listener.local_addr().unwrap().port().to_string();
    python.args(["-c", program, &port]).stdout(Stdio::piped()).kill_on_drop(true);
    let mut python = python.spawn().expect("this test needs `python3`: ci/services installs it");
    let stream = bounded(listener.accept()).await.unwrap();
    assert_eq!(bounded(stream.sendfile(&file, ..)).await.unwrap(), LENGTH as u64);
    stream.shutdown().await.unwrap();
    let found = bounded(python.communicate("")).await.unwrap().stdout;
    let due = checksum(&folder.file("numbered")).await;
    assert_eq!(String::from_utf8(found).unwrap().trim(), due);
}

#[corio::test]
async fn what_another_program_sends_has_its_checksum_in_the_file() {
    let folder = Folder::new();
    let mut source = std::fs::File::create(folder.file("source")).unwrap();
    source.write_all(&numbered(0, LENGTH)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut socat = Command::new("socat");
    socat.arg("-u").arg(format!("FILE:{}", folder.file("source").display()));
    socat.arg(format!("TCP:{}", listener.local_addr().unwrap())).kill_on_drop(true);
    let mut socat = socat.spawn().expect("this test needs `socat`: ci/services installs it");
    let mut stream = bounded(listener.accept()).await.unwrap();
    let file = new_file(&folder, "target").await;
    let count = bounded(stream.read_to_file(&file, 0, u64::MAX)).await.unwrap();
    assert_eq!(count, LENGTH as u64);
    assert!(stream.at_eof());
    assert!(bounded(socat.wait()).await.unwrap().success());
    let (due, found) = (folder.file("source"), folder.file("target"));
    assert_eq!(checksum(&found).await, checksum(&due).await);
}

#[corio::test]
async fn ranges_are_sent_as_far_as_the_file_reaches() {
    let folder = Folder::new();
    let file = numbered_file(&folder, 100_000).await;
    let (stream, peer) = pair().await;
    let reader = corio::spawn(rest_of(peer));
    let mut due = Vec::new();
    let mut send = async |from: u64, to: u64, length: usize| {
        let sent = bounded(stream.sendfile(&file, from..to)).await.unwrap();
        assert_eq!(sent, length as u64, "{from}..{to}");
        due.extend_from_slice(&numbered(from, length));
    };
    send(0, 1, 1).await;
    send(4095, 4097, 2).await;
    send(1, 99_999, 99_998).await;
    send(99_000, 200_000, 1_000).await;
    send(100_000, 200_000, 0).await;
    send(u64::MAX - 1, u64::MAX, 0).await;
    send(7, 7, 0).await;
    send(0, u64::MAX, 100_000).await;
    assert_eq!(bounded(stream.sendfile(&file, 99_998..=99_998)).await.unwrap(), 1);
    due.extend_from_slice(&numbered(99_998, 1));
    drop(stream);
    assert!(reader.await.unwrap() == due);
}

#[corio::test]
async fn a_file_goes_out_between_what_was_written_before_and_after_it() {
    let folder = Folder::new();
    let file = Rc::new(numbered_file(&folder, LENGTH).await);
    let (stream, peer) = pair().await;
    let stream = Rc::new(stream);
    let before = vec![b'<'; 300_000];
    let write = {
        let (stream, before) = (Rc::clone(&stream), before.clone());
        corio::spawn(async move { stream.write_owned(before).await })
    };
    write.await.unwrap().unwrap();
    // Both are asked for before a byte of the first file is on its way; nobody reads yet.
    let send = |stream: &Rc<TcpStream>| {
        let (stream, file) = (Rc::clone(stream), Rc::clone(&file));
        corio::spawn(async move { stream.sendfile(&file, ..).await.unwrap() })
    };
    let first = send(&stream);
    turn().await;
    let after = {
        let stream = Rc::clone(&stream);
        corio::spawn(async move { stream.write(b">between<").await.unwrap() })
    };
    turn().await;
    let second = send(&stream);
    turn().await;
    let reader = corio::spawn(rest_of(peer));
    assert_eq!(bounded(first).await.unwrap(), LENGTH as u64);
    bounded(after).await.unwrap();
    assert_eq!(bounded(second).await.unwrap(), LENGTH as u64);
    bounded(stream.write_owned(before.clone())).await.unwrap();
    bounded(stream.shutdown()).await.unwrap();
    drop(stream);
    let whole = numbered(0, LENGTH);
    let due = [&before[..], &whole, b">between<", &whole, &before].concat();
    assert!(reader.await.unwrap() == due);
}

#[corio::test]
async fn what_has_arrived_goes_into_the_file_first_and_the_rest_stays() {
    let folder = Folder::new();
    let (stream, mut peer) = pair().await;
    let length = LENGTH;
    let writer = corio::spawn(async move {
        stream.write_owned(numbered(0, length)).await.unwrap();
        stream
    });
    // Some of it is in the inbox, and the receive stands.
    peer.fill_buf().await.unwrap();
    peer.consume(8);
    let file = new_file(&folder, "file").await;
    file.write_all_at(0, "head").await.unwrap();
    for (position, from, count) in [(4, 8, 1_000), (1_004, 1_008, 500_000)] {
        let read = bounded(peer.read_to_file(&file, position, count as u64)).await.unwrap();
        assert_eq!(read, count as u64);
        assert!(file.read_at(position, count).await.unwrap()[..] == numbered(from, count)[..]);
    }
    assert_eq!(bounded(peer.read_to_file(&file, 0, 0)).await.unwrap(), 0);
    assert_kind(peer.read_to_file(&file, 1 << 63, 1).await, ErrorKind::InvalidInput);
    // The stream goes on where the file ends, by the standing receive again.
    drop(bounded(writer).await.unwrap());
    let mut checker = Checker { position: 501_008 };
    checker.take(&rest_of(peer).await);
    assert_eq!(checker.position, length as u64);
    assert_eq!(file.read_at(0, 4).await.unwrap()[..], *b"head");
}

#[corio::test]
async fn unix_sockets_pipes_and_halves_do_the_same() {
    let folder = Folder::new();
    let file = numbered_file(&folder, LENGTH).await;
    let (a, b) = UnixStream::pair().unwrap();
    let (_, writer) = a.into_split();
    let (mut reader, _) = b.into_split();
    let (mut from_pipe, to_pipe) = corio::io::pipe().unwrap();
    let target = new_file(&folder, "target").await;
    let three = async {
        corio::join!(
            async {
                assert_eq!(writer.sendfile(&file, ..).await.unwrap(), LENGTH as u64);
                drop(writer);
            },
            async {
                let middle = new_file(&folder, "middle").await;
                let count = reader.read_to_file(&middle, 0, u64::MAX).await.unwrap();
                assert_eq!(to_pipe.sendfile(&middle, ..).await.unwrap(), count);
                to_pipe.close().await.unwrap();
            },
            async {
                let count = from_pipe.read_to_file(&target, 0, u64::MAX).await.unwrap();
                assert_eq!(count, LENGTH as u64);
            },
        )
    };
    bounded(three).await;
    assert!(fs::read(folder.file("target")).await.unwrap() == numbered(0, LENGTH));
}

/// Where the kernel has no way through a pipe.
#[corio::test]
async fn what_cannot_be_spliced_goes_through_memory() {
    let folder = Folder::new();
    let file = numbered_file(&folder, 200_000).await;
    // A file that is only appended to, and streams over ordinary files.
    let options = OpenOptions::new().append(true).create(true);
    let log = options.open(folder.file("log")).await.unwrap();
    let output = std::fs::File::create(folder.file("output")).unwrap();
    let output = PipeWriter::from_fd(output).unwrap();
    assert_eq!(bounded(output.sendfile(&file, 8..)).await.unwrap(), 199_992);
    output.close().await.unwrap();
    let input = std::fs::File::open(folder.file("output")).unwrap();
    let mut input = PipeReader::from_fd(input).unwrap();
    assert_eq!(bounded(input.read_to_file(&log, 0, 100_000)).await.unwrap(), 100_000);
    assert!(fs::read(folder.file("log")).await.unwrap() == numbered(8, 100_000));
    // A socket that is asked for descriptors.
    let (a, mut b) = UnixStream::pair().unwrap();
    a.write(b"x").await.unwrap();
    assert!(b.recv_fds(&mut [0; 1]).await.is_ok());
    let send = async {
        assert_eq!(a.sendfile(&file, ..).await.unwrap(), 200_000);
        drop(a);
    };
    let target = new_file(&folder, "target").await;
    let (count, ()) =
        bounded(async { corio::join!(b.read_to_file(&target, 0, 1 << 30), send) }).await;
    assert_eq!(count.unwrap(), 200_000);
    assert!(fs::read(folder.file("target")).await.unwrap() == numbered(0, 200_000));
    // A file whose contents are made as they are read, and that has no length.
    let version = File::open("/proc/version").await.unwrap();
    let (stream, peer) = pair().await;
    bounded(stream.sendfile(&version, ..)).await.unwrap();
    drop(stream);
    assert_eq!(rest_of(peer).await, std::fs::read("/proc/version").unwrap());
}

#[corio::test]
async fn errors_of_either_side_are_told_and_a_streams_stays() {
    let folder = Folder::new();
    let file = numbered_file(&folder, LENGTH).await;
    // The peer is gone.
    let (peer, stream) = crate::support::pair_with_std().await;
    reset_by(peer, &stream).await;
    let error = bounded(async {
        loop {
            if let Err(error) = stream.sendfile(&file, ..).await {
                return error.kind();
            }
        }
    });
    let error = error.await;
    assert!([ErrorKind::ConnectionReset, ErrorKind::BrokenPipe].contains(&error), "{error}");
    assert_kind(stream.write(b"x").await, error);
    assert_kind(stream.sendfile(&file, ..).await, error);
    // One that goes away while it has to be waited for.
    let (stream, peer) = pair().await;
    let large = large_file(&folder).await;
    let mut sending = stream.sendfile(&large, ..);
    assert!(!poll_some(&mut sending, TURNS).await, "nobody reads it");
    peer.abort();
    assert!(bounded(sending).await.is_err());
    // After the end of the write side.
    let (stream, mut peer) = pair().await;
    stream.shutdown().await.unwrap();
    assert_kind(stream.sendfile(&file, ..).await, ErrorKind::BrokenPipe);
    // A file that is not open for reading, or for writing.
    let written_only = OpenOptions::new().write(true).open(folder.file("numbered")).await.unwrap();
    let (stream2, _peer) = pair().await;
    assert!(stream2.sendfile(&written_only, ..).await.is_err());
    stream2.write(b"goes on").await.unwrap();
    peer.write(b"answer").await.unwrap();
    let (mut stream, _) = (stream, peer.fill_buf().await.unwrap());
    assert!(bounded(stream.read_to_file(&file, 0, 6)).await.is_err());
    let answer = bounded(stream.read_chunk()).await.unwrap().unwrap();
    assert_eq!(&answer[..], b"answer", "it stays");
    // A reset after some bytes: these are in the file.
    let (peer, mut stream) = crate::support::pair_with_std().await;
    let target = new_file(&folder, "target").await;
    (&peer).write_all(b"before").unwrap();
    let mut reading = stream.read_to_file(&target, 0, 1_000);
    let mut written = 0;
    bounded(poll_fn(|context| {
        assert!(Pin::new(&mut reading).poll(context).is_pending());
        written = reading.written();
        match written {
            6 => Poll::Ready(()),
            _ => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }))
    .await;
    drop(reading);
    reset_by(peer, &stream).await;
    assert_kind(bounded(stream.read_to_file(&target, 6, 1_000)).await, ErrorKind::ConnectionReset);
    assert_eq!(fs::read(folder.file("target")).await.unwrap(), b"before");
}

/// What does not fit into the file is in the stream, whole and in order.
#[corio::test]
async fn what_could_not_be_written_stays_in_the_stream() {
    let test = "what_could_not_be_written_stays_in_the_stream";
    let prefix = ["env", "--ignore-signal=XFSZ", "prlimit", "--fsize=300000"];
    if ran_in_a_child(module_path!(), test, &prefix) {
        return;
    }
    let folder = Folder::new();
    let (stream, mut peer) = pair().await;
    let writer = corio::spawn(async move {
        stream.write_owned(numbered(0, LENGTH)).await.unwrap();
        stream.close().await
    });
    let file = new_file(&folder, "file").await;
    let mut reading = peer.read_to_file(&file, 0, u64::MAX);
    assert_kind(bounded(&mut reading).await, ErrorKind::FileTooLarge);
    let written = reading.written();
    drop(reading);
    assert!(written <= 300_000);
    let mut checker = Checker { position: written };
    checker.take(&rest_of(peer).await);
    assert_eq!(checker.position, LENGTH as u64);
    drop(bounded(writer).await);
    assert!(file.read_at(0, written as usize).await.unwrap()[..] == numbered(0, written as usize));
}

/// Polls a future so many times, a turn apart; true if it ended.
async fn poll_some<F: Future + Unpin>(future: &mut F, polls: usize) -> bool {
    for _ in 0..polls {
        let polled = poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context))).await;
        if polled.is_ready() {
            return true;
        }
        turn().await;
    }
    false
}

#[corio::test]
fn a_sending_that_is_given_up_has_sent_exactly_what_it_says() {
    let test = "a_sending_that_is_given_up_has_sent_exactly_what_it_says";
    if ran_in_a_child(module_path!(), test, &[]) {
        return;
    }
    corio::run(async {
        let folder = Folder::new();
        let file = numbered_file(&folder, LENGTH).await;
        let before = Census::take();
        for polls in POLLS {
            let (stream, peer) = pair().await;
            // Of the odd ones somebody reads meanwhile, the even ones meet a full socket.
            let (is_read, tell) = corio::sync::oneshot();
            let reader = corio::spawn(async move {
                if polls % 2 == 0 {
                    let _ = tell.await;
                }
                rest_of(peer).await
            });
            let mut sending = stream.sendfile(&file, 3..);
            let is_over = poll_some(&mut sending, polls).await;
            let sent = sending.sent() as usize;
            drop(sending);
            assert!(!is_over || sent == LENGTH - 3);
            let _ = is_read.send(());
            bounded(stream.write(b"and then")).await.unwrap();
            bounded(stream.close()).await.unwrap();
            let found = bounded(reader).await.unwrap();
            let due = [&numbered(3, sent)[..], b"and then"].concat();
            assert!(found == due, "after {polls} polls, {sent} bytes: {} came", found.len());
        }
        before.comes_back().await;
    });
}

#[corio::test]
fn a_reading_that_is_given_up_loses_no_byte() {
    let test = "a_reading_that_is_given_up_loses_no_byte";
    if ran_in_a_child(module_path!(), test, &[]) {
        return;
    }
    corio::run(async {
        let folder = Folder::new();
        let before = Census::take();
        for polls in POLLS {
            let (stream, mut peer) = pair().await;
            let writer = corio::spawn(async move {
                stream.write_owned(numbered(0, LENGTH)).await.unwrap();
                stream.close().await
            });
            if polls % 3 == 0 {
                peer.fill_buf().await.unwrap();
            }
            let file = new_file(&folder, "file").await;
            let mut reading = peer.read_to_file(&file, 0, u64::MAX);
            poll_some(&mut reading, polls).await;
            let written = reading.written();
            drop(reading);
            let rest = rest_of(peer).await;
            // What was on its way when it was dropped is written by now, or will be.
            let due = (LENGTH - rest.len()) as u64;
            until(|| std::fs::metadata(folder.file("file")).unwrap().len() >= due).await;
            let found = fs::read(folder.file("file")).await.unwrap();
            assert!(found.len() as u64 >= written, "after {polls} polls");
            let whole = [&found[..due as usize], &rest].concat();
            assert!(whole == numbered(0, LENGTH), "after {polls} polls, {written} bytes");
            drop(file);
            bounded(writer).await.unwrap().unwrap();
        }
        before.comes_back().await;
    });
}

#[corio::test]
async fn peers_that_do_not_read_hold_up_no_other_file() {
    let folder = Folder::new();
    let file = Rc::new(large_file(&folder).await);
    let mut peers = Vec::new();
    let mut slow = Vec::new();
    for _ in 0..40 {
        let (stream, peer) = pair().await;
        let file = Rc::clone(&file);
        peers.push(peer);
        slow.push(corio::spawn(async move { stream.sendfile(&file, ..).await }));
    }
    for _ in 0..TURNS {
        turn().await;
    }
    settle().await;
    assert!(slow.iter().all(|send| !send.is_finished()), "nobody reads");
    let (stream, peer) = pair().await;
    let reader = corio::spawn(rest_of(peer));
    assert_eq!(bounded(stream.sendfile(&file, ..8 << 20)).await.unwrap(), 8 << 20);
    drop(stream);
    assert_eq!(bounded(reader).await.unwrap().len(), 8 << 20);
    fs::write(folder.file("another"), "contents").await.unwrap();
    for send in slow {
        send.cancel();
        assert!(bounded(send).await.is_err());
    }
}
