//! Pipes and the standard streams: whole, with their ends, and without blocking the loop.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;

use corio::io::{PipeReader, PipeWriter, pipe};
use corio::process::{Command, Stdio};

use crate::stage::{Census, Folder, POLLS, given_up_after, ran_in_a_child};
use crate::support::{Checker, assert_kind, bounded, numbered};

#[corio::test]
async fn megabytes_go_through_a_pipe_and_then_the_end() {
    let (mut reader, writer) = pipe().unwrap();
    let write = async move {
        for position in (0..3_000_000).step_by(30_000) {
            writer.write(&numbered(position, 30_000)).await.unwrap();
        }
        writer.close().await.unwrap();
    };
    let read = async {
        let mut checker = Checker::default();
        while let Some(chunk) = reader.read_chunk().await.unwrap() {
            checker.take(&chunk);
        }
        assert_eq!(checker.position, 3_000_000);
        assert!(reader.at_eof());
    };
    bounded(async { corio::join!(write, read) }).await;
}

#[corio::test]
async fn a_dropped_writer_writes_all_it_was_given() {
    let (mut reader, writer) = pipe().unwrap();
    writer.write_owned(numbered(0, 1_000_000)).await.unwrap();
    drop(writer);
    let mut all = Vec::new();
    bounded(reader.read_to_end(&mut all)).await.unwrap();
    assert!(all == numbered(0, 1_000_000));
}

#[corio::test]
async fn a_writer_without_a_reader_is_told_and_a_shutdown_is_the_end() {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    writer.write(b"nobody reads this").await.unwrap();
    assert_kind(bounded(writer.flush()).await, ErrorKind::BrokenPipe);
    assert_kind(writer.write(b"again").await, ErrorKind::BrokenPipe);

    let (mut reader, writer) = pipe().unwrap();
    writer.write(b"all").await.unwrap();
    bounded(writer.shutdown()).await.unwrap();
    let mut all = Vec::new();
    bounded(reader.read_to_end(&mut all)).await.unwrap();
    assert_eq!(all, b"all");
    assert_kind(writer.write(b"more").await, ErrorKind::BrokenPipe);

    let (mut reader, writer) = pipe().unwrap();
    writer.abort();
    assert!(bounded(reader.read_chunk()).await.unwrap().is_none());
}

#[corio::test]
fn every_operation_can_be_given_up_after_each_poll() {
    if ran_in_a_child(module_path!(), "every_operation_can_be_given_up_after_each_poll", &[]) {
        return;
    }
    corio::run(bounded(async {
        let before = Census::take();
        for polls in 0..POLLS {
            let (mut reader, writer) = pipe().unwrap();
            let mut checker = Checker::default();
            let mut written = 0;
            // The pipe and the outbox are full in the end, and the last write waits.
            while given_up_after(polls.max(1), writer.write(&numbered(written, 30_000)))
                .await
                .is_some()
            {
                written += 30_000;
            }
            let _ = given_up_after(polls, writer.flush()).await;
            let mut buffer = [0; 1000];
            while checker.position < written {
                let read = given_up_after(polls, reader.read(&mut buffer)).await;
                let count = match read {
                    Some(count) => count.unwrap(),
                    None => reader.read(&mut buffer).await.unwrap(),
                };
                checker.take(&buffer[..count]);
            }
            assert!(given_up_after(polls, reader.read(&mut buffer)).await.is_none());
            let _ = given_up_after(polls, writer.close()).await;
            assert!(reader.read_chunk().await.unwrap().is_none(), "the closing goes on");
        }
        before.comes_back().await;
    }));
}

/// What a child of a test does: copies its input to its output, in lines, in capitals.
async fn shout() {
    let mut input = corio::io::stdin().unwrap();
    let output = corio::io::stdout().unwrap();
    let errors = corio::io::stderr().unwrap();
    loop {
        let line = input.read_line(100_000).await.unwrap();
        if line.is_empty() {
            break;
        }
        output.write(&[b"=", &line.to_ascii_uppercase()[..]].concat()).await.unwrap();
    }
    errors.write(b"=the end\n").await.unwrap();
    output.close().await.unwrap();
    errors.close().await.unwrap();
}

#[corio::test]
fn the_standard_streams_may_be_anything() {
    let name = "pipes::the_standard_streams_may_be_anything";
    if crate::child::is_child(name) {
        return corio::run(shout());
    }
    corio::run(bounded(async {
        let folder = Folder::new();
        let program = std::env::current_exe().unwrap();
        let thread = std::thread::current();
        let line = format!(
            "CORIO_TEST_CHILD={0} exec {1} {0} --exact --nocapture --test-threads=1 -q",
            thread.name().unwrap(),
            program.display()
        );
        let words: String = (0..5000).map(|number| format!("word {number}\n")).collect();
        std::fs::write(folder.file("in"), &words).unwrap();
        let expected: String =
            words.lines().map(|line| format!("={}\n", line.to_uppercase())).collect();
        let said = |text: &[u8]| -> String {
            let text = String::from_utf8_lossy(text).into_owned();
            // The harness talks as well, before and after.
            text.lines()
                .filter_map(|it| it.find('=').map(|at| format!("{}\n", &it[at..])))
                .collect()
        };
        let end = "=the end\n".to_owned();

        // Pipes.
        let mut child = Command::shell(&line);
        child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = child.spawn().unwrap().communicate(&words).await.unwrap();
        assert!(said(&output.stdout) == expected, "through pipes");
        assert_eq!(said(&output.stderr), end);

        // Files, which keep what they had.
        std::fs::write(folder.file("out"), "=before\n").unwrap();
        let file = format!("{line} <{0}/in >>{0}/out 2>{0}/err", folder.0.display());
        assert!(Command::shell(file).status().await.unwrap().success());
        let text = std::fs::read(folder.file("out")).unwrap();
        assert!(said(&text) == format!("=before\n{expected}"), "through files");
        assert_eq!(said(&std::fs::read(folder.file("err")).unwrap()), end);

        // A socket, whose other end socat holds.
        let mut socat = Command::new("socat");
        let exec = format!("SYSTEM:'{line} 2>/dev/null'");
        socat.args(["-t", "10", "-", &exec]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let socat = socat.spawn().expect("this test needs `socat`: ci/services installs it");
        let output = { socat }.communicate(&words).await.unwrap();
        assert!(said(&output.stdout) == expected, "through a socket");

        // A terminal, which echoes nothing here and turns no newline.
        let mut socat = Command::new("socat");
        let exec = format!("SYSTEM:'{line} 2>/dev/null',pty,raw,echo=0");
        socat.args(["-t", "10", "-", &exec]).stdin(Stdio::piped()).stdout(Stdio::piped());
        socat.kill_on_drop(true);
        let mut socat = socat.spawn().unwrap();
        socat.stdin.as_ref().unwrap().write(words.as_bytes()).await.unwrap();
        let mut lines = 0;
        while lines < 5000 {
            let line = socat.stdout.as_mut().unwrap().read_line(1000).await.unwrap();
            assert!(!line.is_empty(), "the terminal ended after {lines} lines");
            let text = String::from_utf8(line).unwrap();
            lines += usize::from(text.contains(&format!("=WORD {lines}\n")));
        }
    }));
}

#[corio::test]
async fn a_named_pipe_can_be_taken_over() {
    let folder = Folder::new();
    let path = folder.file("fifo");
    assert!(Command::new("mkfifo").arg(&path).status().await.unwrap().success());
    let both = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    let writer = PipeWriter::from_fd(OwnedFd::from(both.try_clone().unwrap())).unwrap();
    let mut reader = PipeReader::from_fd(OwnedFd::from(both)).unwrap();
    writer.write(b"line\n").await.unwrap();
    assert_eq!(bounded(reader.read_line(10)).await.unwrap(), b"line\n");
}

/// The standard streams of a child that are ordinary files are read and written by the helpers,
/// where the ring does not: the loop's own thread moves none of the bytes.
#[corio::test]
fn ordinary_files_as_standard_streams_do_not_block_the_loop() {
    let name = "pipes::ordinary_files_as_standard_streams_do_not_block_the_loop";
    const LENGTH: usize = 3_000_000;
    if crate::child::is_child(name) {
        return corio::run(async {
            let mut input = corio::io::stdin().unwrap();
            let output = corio::io::stdout().unwrap();
            let before = moved_here();
            let mut found = Vec::new();
            input.read_to_end(&mut found).await.unwrap();
            assert!(found == numbered(0, LENGTH));
            output.write_owned(found).await.unwrap();
            output.close().await.unwrap();
            let moved = moved_here() - before;
            assert!(is_uring() || moved < 100_000, "the loop's thread moved {moved} bytes");
        });
    }
    corio::run(bounded(async {
        let folder = Folder::new();
        let due = numbered(0, LENGTH);
        std::fs::write(folder.file("in"), &due).unwrap();
        let line = format!(
            "CORIO_TEST_CHILD={0} exec {1} {0} --exact --nocapture --test-threads=1 -q",
            std::thread::current().name().unwrap(),
            std::env::current_exe().unwrap().display()
        );
        let line = format!("{line} <{0}/in >{0}/out 2>{0}/err", folder.0.display());
        let status = Command::shell(line).status().await.unwrap();
        let said = std::fs::read_to_string(folder.file("err")).unwrap();
        assert!(status.success(), "{said}");
        // The harness talks before and after.
        let found = std::fs::read(folder.file("out")).unwrap();
        let place = memchr::memmem::find(&found, &due[..64]).expect("the bytes are there");
        assert!(found[place..].starts_with(&due));
    }));
}

fn is_uring() -> bool {
    std::env::var("CORIO_TEST_CHILD").is_ok_and(|name| name.ends_with("_uring"))
}

/// Bytes that reads and writes of this thread have moved so far.
fn moved_here() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    let number = |line: &str| line.split(' ').nth(1).and_then(|it| it.parse::<u64>().ok());
    text.lines().filter(|it| it.contains("char")).filter_map(number).sum()
}
