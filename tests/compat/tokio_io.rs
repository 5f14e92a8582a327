//! tokio's `AsyncReadExt` and `AsyncWriteExt` on corio's streams.

use std::io::{ErrorKind, IoSlice};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};

use crate::support::{Checker, bounded, numbered, pair, pair_with_std, poll_once, reset_by};

#[corio::test]
async fn megabytes_go_to_and_fro_through_tokios_copy() {
    const LENGTH: usize = 3 << 20;
    let (client, server) = pair().await;
    let echo = corio::spawn(async move {
        let (mut reader, mut writer) = server.into_split();
        let count = tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        AsyncWriteExt::shutdown(&mut writer).await.unwrap();
        count
    });
    let (mut reader, mut writer) = client.into_split();
    let writing = async {
        for from in (0..LENGTH).step_by(50_000) {
            let bytes = numbered(from as u64, 50_000.min(LENGTH - from));
            writer.write_all(&bytes).await.unwrap();
        }
        AsyncWriteExt::flush(&mut writer).await.unwrap();
        AsyncWriteExt::shutdown(&mut writer).await.unwrap();
    };
    let reading = async {
        let mut all = Vec::new();
        AsyncReadExt::read_to_end(&mut reader, &mut all).await.unwrap();
        all
    };
    let ((), all) = bounded(async { corio::join!(writing, reading) }).await;
    assert_eq!(all.len(), LENGTH);
    Checker::default().take(&all);
    assert_eq!(echo.await.unwrap(), LENGTH as u64);
}

#[corio::test]
async fn a_read_into_no_room_takes_nothing_and_does_not_wait() {
    let (mut near, far) = pair().await;
    assert_eq!(poll_once(AsyncReadExt::read(&mut near, &mut [])).unwrap().unwrap(), 0);
    far.write(b"ab").await.unwrap();
    let mut one = [0];
    bounded(AsyncReadExt::read_exact(&mut near, &mut one)).await.unwrap();
    assert_eq!(&one, b"a");
    assert_eq!(AsyncBufReadExt::fill_buf(&mut near).await.unwrap(), b"b", "the rest stays");
}

#[corio::test]
async fn slices_are_written_in_order_and_none_twice() {
    let (mut near, mut far) = pair().await;
    let parts = [IoSlice::new(b"one "), IoSlice::new(b""), IoSlice::new(b"two\n")];
    assert!(tokio::io::AsyncWrite::is_write_vectored(&near));
    assert_eq!(bounded(AsyncWriteExt::write_vectored(&mut near, &parts)).await.unwrap(), 8);
    assert_eq!(bounded(far.read_line(20)).await.unwrap(), b"one two\n");
    assert_eq!(bounded(AsyncWriteExt::write_vectored(&mut near, &[])).await.unwrap(), 0);
}

#[corio::test]
async fn a_writer_waits_above_the_mark_although_a_flush_does_not() {
    let (mut near, mut far) = pair().await;
    let mut written = 0;
    let piece = vec![7; 64 << 10];
    // Until the kernel and the outbox are full.
    let mut is_full = false;
    while !is_full {
        match poll_once(AsyncWriteExt::write(&mut near, &piece)) {
            Some(count) => written += count.unwrap(),
            None => {
                corio::sleep(std::time::Duration::from_millis(5)).await;
                is_full = poll_once(AsyncWriteExt::write(&mut near, &[])).is_some()
                    && poll_once(AsyncWriteExt::write(&mut near, &piece[..1])).is_none();
            }
        }
        poll_once(AsyncWriteExt::flush(&mut near)).expect("ready once queued").unwrap();
    }
    let more = corio::spawn(async move { AsyncWriteExt::write_all(&mut near, &piece).await });
    let mut all = vec![0; written];
    bounded(far.read_exact(&mut all)).await.unwrap();
    let mut rest = vec![0; 64 << 10];
    bounded(far.read_exact(&mut rest)).await.unwrap();
    more.await.unwrap().unwrap();
}

#[corio::test]
async fn what_arrived_before_a_reset_is_read_first_and_the_error_stays() {
    let (mut peer, mut stream) = pair_with_std().await;
    std::io::Write::write_all(&mut peer, b"last words").unwrap();
    let mut start = [0; 4];
    bounded(AsyncReadExt::read_exact(&mut stream, &mut start)).await.unwrap();
    reset_by(peer, &stream).await;
    let mut rest = [0; 6];
    bounded(AsyncReadExt::read_exact(&mut stream, &mut rest)).await.unwrap();
    assert_eq!((&start, &rest), (b"last", b" words"));
    for _ in 0..2 {
        let error = bounded(AsyncReadExt::read(&mut stream, &mut start)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}
