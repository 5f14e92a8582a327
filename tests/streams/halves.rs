//! Halves of a stream, and streams where no runtime runs.

use std::io::{ErrorKind, Read};

use corio::Runtime;
use corio::net::TcpStream;

use crate::support::{
    assert_kind, bounded, is_open, numbered, pair, pair_with_std, poll_once, settle, socket_name,
    until,
};

#[corio::test]
async fn two_halves_of_one_stream_make_it_whole_again_with_its_bytes() {
    let (writer, reader) = pair().await;
    writer.write(b"kept\nby the inbox\n").await.unwrap();
    let (mut read, write) = reader.into_split();
    assert_eq!(bounded(read.read_line(100)).await.unwrap(), b"kept\n");
    write.write(b"answer").await.unwrap();
    let mut whole = read.reunite(write).unwrap();
    assert_eq!(bounded(whole.read_line(100)).await.unwrap(), b"by the inbox\n");
    let mut writer = writer;
    let mut answer = [0; 6];
    bounded(writer.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"answer");
}

#[corio::test]
async fn halves_of_two_streams_are_given_back_and_go_on() {
    let (mut far, near) = pair().await;
    let (_other_far, other) = pair().await;
    let (read, write) = near.into_split();
    let (other_read, other_write) = other.into_split();
    let error = read.reunite(other_write).unwrap_err();
    assert_eq!(error.to_string(), "the two halves are not of the same stream");
    let corio::net::ReuniteError(read, other_write) = error;
    write.write(b"!").await.unwrap();
    bounded(far.read_exact(&mut [0])).await.unwrap();
    read.reunite(write).unwrap();
    other_read.reunite(other_write).unwrap();
}

#[corio::test]
async fn a_socket_is_closed_when_both_of_its_halves_are_gone_and_not_before() {
    for first_gone in ["read", "write"] {
        let (mut far, near) = pair().await;
        let socket = socket_name(&near);
        let (read, write) = near.into_split();
        let mut halves = (Some(read), Some(write));
        match first_gone {
            "read" => drop(halves.0.take()),
            _ => drop(halves.1.take()),
        }
        settle().await;
        assert!(poll_once(far.read(&mut [0])).is_none(), "one half ended the stream");
        if let Some(write) = &halves.1 {
            write.write(b"still open").await.unwrap();
            bounded(far.read_exact(&mut [0; 10])).await.unwrap();
        }
        if let Some(read) = &mut halves.0 {
            far.write(b"still open").await.unwrap();
            bounded(read.read_exact(&mut [0; 10])).await.unwrap();
        }
        drop(halves);
        assert_eq!(bounded(far.read(&mut [0])).await.unwrap(), 0);
        drop(far);
        until(|| !is_open(&socket)).await;
    }
}

/// Every way to use a stream has to say that its runtime is not there.
fn assert_refused(stream: &mut TcpStream) {
    let kind = ErrorKind::Other;
    assert_kind(poll_once(stream.read(&mut [0; 4])).unwrap(), kind);
    assert_kind(poll_once(stream.read_exact(&mut [0; 4])).unwrap(), kind);
    assert_kind(poll_once(stream.read_chunk()).unwrap(), kind);
    assert_kind(poll_once(stream.read_line(4)).unwrap(), kind);
    assert_kind(poll_once(stream.read_to_end(&mut Vec::new())).unwrap(), kind);
    assert_kind(poll_once(stream.fill_buf()).unwrap(), kind);
    assert_kind(poll_once(stream.write(b"x")).unwrap(), kind);
    assert_kind(poll_once(stream.write_owned(b"x")).unwrap(), kind);
    assert_kind(poll_once(stream.flush()).unwrap(), kind);
    assert_kind(poll_once(stream.shutdown()).unwrap(), kind);
}

#[corio::test]
fn a_stream_is_refused_while_its_runtime_rests_and_serves_again_when_it_runs() {
    let runtime = Runtime::new().unwrap();
    let (mut near, mut far) = runtime.block_on(async {
        let (near, far) = pair().await;
        far.write(b"unread\n").await.unwrap();
        (near, far)
    });
    assert_refused(&mut near);
    let other = Runtime::new().unwrap();
    other.block_on(async { assert_refused(&mut near) });
    runtime.block_on(bounded(async {
        assert_eq!(near.read_line(10).await.unwrap(), b"unread\n");
        near.write(b"served").await.unwrap();
        far.read_exact(&mut [0; 6]).await.unwrap();
    }));
    // A close is refused as well, and the drop it ends with waits for the runtime.
    assert_kind(poll_once(near.close()).unwrap(), ErrorKind::Other);
    assert_eq!(runtime.block_on(bounded(far.read(&mut [0]))).unwrap(), 0);
    other.block_on(async { drop(far) });
}

#[corio::test]
fn a_stream_that_outlives_its_runtime_is_refused_and_closes_its_socket() {
    let runtime = Runtime::new().unwrap();
    let (mut peer, mut stream) = runtime.block_on(async {
        let (peer, mut stream) = pair_with_std().await;
        assert!(poll_once(stream.read_chunk()).is_none(), "this arms the receive");
        settle().await;
        (peer, stream)
    });
    let socket = socket_name(&stream);
    let report = runtime.close();
    assert_eq!(report.leaked_operations, 0);
    assert_refused(&mut stream);
    assert!(is_open(&socket));
    drop(stream);
    assert!(!is_open(&socket), "no runtime is left to close it");
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
}

#[corio::test]
fn a_chunk_outlives_its_runtime_and_its_stream() {
    let runtime = Runtime::new().unwrap();
    let chunk = runtime.block_on(async {
        let (writer, mut reader) = pair().await;
        writer.write(&numbered(0, 5000)).await.unwrap();
        bounded(async {
            // All of it in one chunk, however it was sent.
            while reader.fill_buf().await.unwrap().len() < 5000 {
                corio::yield_now().await;
            }
            reader.read_chunk().await.unwrap().unwrap()
        })
        .await
    });
    drop(runtime);
    assert_eq!(&chunk[..], numbered(0, 5000));
}

#[corio::test]
fn bytes_that_a_runtime_ended_before_it_sent_them_are_told_of() {
    let told = std::rc::Rc::<std::cell::RefCell<Vec<String>>>::default();
    let hook = {
        let told = std::rc::Rc::clone(&told);
        move |unhandled: &corio::Unhandled| told.borrow_mut().push(unhandled.to_string())
    };
    let runtime = Runtime::builder().on_unhandled(hook).build().unwrap();
    let (far, near) = runtime.block_on(async {
        let (far, near) = pair().await;
        near.write_owned(vec![0; 64 << 20]).await.unwrap();
        (far, near)
    });
    drop(runtime);
    drop(far);
    assert!(told.borrow().is_empty(), "{:?}", told.borrow());
    drop(near);
    let told = told.borrow();
    assert!(told.len() == 1 && told[0].contains("bytes were sent"), "{told:?}");
}
