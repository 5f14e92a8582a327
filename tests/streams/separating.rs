//! Separators and lines: the wrong one of several, one that is cut in two, a line that is lost.

use std::io::ErrorKind;

use corio::io::LimitOverrun;
use corio::net::TcpStream;
use futures_util::StreamExt;

use crate::support::{Random, assert_kind, bounded, pair, poll_once, settle};

fn consumed(error: &std::io::Error) -> usize {
    let overrun: Option<&LimitOverrun> = error.get_ref().and_then(|it| it.downcast_ref());
    overrun.unwrap_or_else(|| panic!("{error}")).consumed
}

async fn send_now(writer: &TcpStream, bytes: &[u8]) {
    writer.write(bytes).await.unwrap();
    writer.flush().await.unwrap();
    settle().await;
}

#[corio::test]
async fn of_several_separators_the_one_that_ends_first_counts_whatever_their_order() {
    let (writer, mut reader) = pair().await;
    send_now(&writer, b"one\r\ntwo;three\nabcd.").await;
    let ends: [&[u8]; 3] = [b"\r\n", b";", b"\n"];
    assert_eq!(reader.read_until(ends, 80).await.unwrap(), b"one\r\n");
    assert_eq!(reader.read_until(&ends[..], 80).await.unwrap(), b"two;");
    assert_eq!(reader.read_until(ends.to_vec(), 80).await.unwrap(), b"three\n");
    // The longer one begins first and ends last.
    assert_eq!(reader.read_until(["abcd", "bc"], 80).await.unwrap(), b"abc");
    assert_eq!(reader.read_until(&[b".", b"d"], 80).await.unwrap(), b"d");
}

#[corio::test]
async fn one_of_several_separators_is_found_though_all_come_in_pieces() {
    let (writer, mut reader) = pair().await;
    let reading = corio::spawn(async move {
        let ends: [&[u8]; 2] = [b"--end--", b"\n"];
        let first = reader.read_until(ends, 100).await.unwrap();
        (first, reader.read_until(ends, 100).await.unwrap())
    });
    for piece in ["body--e", "nd-", "x\n-", "-end", "--"] {
        send_now(&writer, piece.as_bytes()).await;
    }
    let (first, second) = bounded(reading).await.unwrap();
    assert_eq!((&first[..], &second[..]), (&b"body--end-x\n"[..], &b"--end--"[..]));
}

#[corio::test]
async fn throwing_away_what_an_overrun_names_never_cuts_a_separator() {
    const END: &[u8] = b"<end>";
    let mut random = Random::new(7);
    for _ in 0..50 {
        let (writer, mut reader) = pair().await;
        let mut record = vec![b'.'; random.below(60)];
        record.extend_from_slice(END);
        let cut = random.below(record.len());
        send_now(&writer, &record[..cut]).await;
        let sending = corio::spawn(async move {
            corio::yield_now().await;
            writer.write(&record[cut..]).await.unwrap();
            writer
        });
        let mut left = Vec::new();
        bounded(async {
            loop {
                match reader.read_until([END, b"<never>"], 7).await {
                    Ok(bytes) => break left = bytes,
                    Err(error) => {
                        let count = consumed(&error);
                        assert!(count > 0, "no way on");
                        reader.read_exact(&mut vec![0; count]).await.unwrap();
                    }
                }
            }
        })
        .await;
        assert!(left.ends_with(END) && left.len() <= 7, "{left:?}");
        drop(bounded(sending).await);
    }
}

#[corio::test]
async fn an_overrun_without_a_match_keeps_what_may_begin_a_separator() {
    let (writer, mut reader) = pair().await;
    send_now(&writer, b"123456<e").await;
    let error = reader.read_until(["<end>", "\n"], 8).await.unwrap_err();
    assert_eq!(consumed(&error), 4, "eight bytes, less one that is a byte short");
    let error = reader.read_until("<e>", 2).await.unwrap_err();
    assert_eq!(consumed(&error), 6);
}

#[corio::test]
async fn lines_end_with_the_input_and_the_last_needs_no_end() {
    let (writer, mut reader) = pair().await;
    writer.writelines(["one\n", "\n", "a longer one\n", "rest"]).await.unwrap();
    writer.shutdown().await.unwrap();
    assert!(!reader.at_eof(), "unread lines are there");
    let mut lines = reader.lines(80);
    let mut found = Vec::new();
    while let Some(line) = bounded(lines.next()).await {
        found.push(line.unwrap());
    }
    assert_eq!(found, [&b"one\n"[..], b"\n", b"a longer one\n", b"rest"]);
    assert!(bounded(lines.next()).await.is_none());
    drop(lines);
    assert!(reader.at_eof());
}

#[corio::test]
async fn lines_that_are_dropped_have_taken_only_what_they_gave() {
    let (writer, mut reader) = pair().await;
    send_now(&writer, b"one\ntw").await;
    let mut lines = reader.lines(80);
    assert_eq!(bounded(lines.next()).await.unwrap().unwrap(), b"one\n");
    assert!(poll_once(lines.next()).is_none());
    drop(lines);
    send_now(&writer, b"o\n").await;
    let mut lines = reader.lines(80);
    assert_eq!(bounded(lines.next()).await.unwrap().unwrap(), b"two\n");
}

#[corio::test]
async fn lines_stop_at_one_that_is_too_long_and_leave_it_in_the_stream() {
    let (writer, mut reader) = pair().await;
    send_now(&writer, b"12\n12345\n").await;
    let mut lines = reader.lines(3);
    assert_eq!(bounded(lines.next()).await.unwrap().unwrap(), b"12\n");
    let error = bounded(lines.next()).await.unwrap().unwrap_err();
    assert_eq!(consumed(&error), 5);
    assert!(bounded(lines.next()).await.is_none(), "an error was repeated for ever");
    drop(lines);
    assert_eq!(reader.read_line(6).await.unwrap(), b"12345\n");
}

#[corio::test]
async fn parts_that_are_written_together_stay_together() {
    let (writer, mut reader) = pair().await;
    let big = vec![b'x'; 100_000];
    let (first, second) = futures_util::join!(
        writer.writelines([&big[..], b"1", b"\n"]),
        writer.writelines([&big[..], b"2", b"\n"]),
    );
    let _ = (first.unwrap(), second.unwrap());
    for number in [b'1', b'2'] {
        let line = bounded(reader.read_line(100_002)).await.unwrap();
        assert_eq!((line.len(), line[100_000]), (100_002, number));
    }
    writer.writelines::<&[u8]>([]).await.unwrap();
}

#[corio::test]
async fn a_stream_is_closing_from_its_shutdown_or_its_abort_on() {
    let (writer, reader) = pair().await;
    assert!(!writer.is_closing() && !reader.is_closing());
    bounded(writer.shutdown()).await.unwrap();
    assert!(writer.is_closing() && !reader.is_closing());
    assert_kind(writer.write(b"x").await, ErrorKind::BrokenPipe);
    reader.abort();
    assert!(reader.is_closing() && !reader.at_eof());
}

#[corio::test]
async fn a_read_until_nothing_is_refused_even_with_unread_bytes() {
    let (writer, mut reader) = pair().await;
    send_now(&writer, b"x").await;
    for separators in [vec![], vec![&b""[..]], vec![b"x", b""]] {
        let reading = reader.read_until(separators, 9);
        let polled = std::panic::AssertUnwindSafe(reading);
        let outcome = futures_util::FutureExt::catch_unwind(polled).await;
        assert!(outcome.is_err(), "it was accepted");
    }
    assert_eq!(reader.read_until(b"x", 9).await.unwrap(), b"x");
}
