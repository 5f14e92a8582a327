//! What CPython's own tests of subprocesses ask for and no other test here does. The whole list,
//! case by case, is in docs/ASYNCIO_CASES.md.

use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;

use corio::process::{Command, Stdio};
use corio::signal::Signal;

use crate::stage::{Census, given_up_after, ran_in_a_child};
use crate::support::{assert_kind, bounded, until};

/// Says a line once it runs, then waits for its input to end.
fn speaker() -> Command {
    let mut command = Command::shell("echo here; exec cat");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    command
}

/// `test_kill`, `test_terminate`, `test_send_signal`.
#[corio::test]
async fn each_signal_ends_a_child_as_itself() {
    for signal in [Signal::Kill, Signal::Terminate, Signal::Hangup] {
        let mut child = speaker().spawn().unwrap();
        let line = bounded(child.stdout.as_mut().unwrap().read_line(10)).await.unwrap();
        assert_eq!(line, b"here\n");
        child.send_signal(signal).unwrap();
        assert_eq!(bounded(child.wait()).await.unwrap().signal(), Some(signal.number()));
    }
}

/// `test_stdin_broken_pipe`.
#[corio::test]
async fn writing_to_a_child_that_has_ended_is_told() {
    let mut child = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
    let input = child.stdin.take().unwrap();
    assert!(bounded(child.wait()).await.unwrap().success());
    let large = vec![b'x'; 1 << 20];
    assert_kind(
        bounded(async {
            input.write(&large).await?;
            input.flush().await
        })
        .await,
        ErrorKind::BrokenPipe,
    );
}

/// `test_pause_reading`: what a child says and nobody reads stays with the child.
#[corio::test]
async fn a_child_that_says_more_than_is_read_is_held_up() {
    let mut child = Command::new("head");
    child.args(["-c", "20000000", "/dev/zero"]).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = child.spawn().unwrap();
    let mut output = child.stdout.take().unwrap();
    bounded(output.fill_buf()).await.unwrap();
    // It sleeps, which it has no reason for but a full pipe; and little of it is here.
    let place = format!("/proc/{}/stat", child.id());
    until(|| std::fs::read_to_string(&place).is_ok_and(|it| it.contains(") S "))).await;
    assert!(corio::stats().buffers_in_use <= 32, "{:?}", corio::stats());
    assert!(given_up_after(3, child.wait()).await.is_none());
    let mut rest = Vec::new();
    bounded(output.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest.len(), 20_000_000);
    assert!(bounded(child.wait()).await.unwrap().success());
}

/// `test_read_stdout_after_process_exit`.
#[corio::test]
async fn output_can_be_read_after_the_end_of_the_child() {
    let mut child = Command::shell("head -c 40000 /dev/zero; exit 1");
    let mut child = child.stdout(Stdio::piped()).spawn().unwrap();
    assert_eq!(bounded(child.wait()).await.unwrap().code(), Some(1));
    let mut output = Vec::new();
    let mut pipe = child.stdout.take().unwrap();
    bounded(pipe.read_to_end(&mut output)).await.unwrap();
    assert_eq!(output.len(), 40_000);
}

/// `test_stdin_not_inheritable`: a second child that lives on keeps no pipe of the first one's.
#[corio::test]
async fn no_child_has_the_pipes_of_another() {
    let mut first = speaker().spawn().unwrap();
    let _second = speaker().spawn().unwrap();
    let output = bounded(first.communicate("abc")).await.unwrap();
    assert_eq!(output.stdout, b"here\nabc");
    assert!(output.status.success());
}

/// `test_devnull_input`, `test_devnull_output`, `test_devnull_error`, `test_empty_input`, and a
/// `communicate` with a child that has no pipes at all.
#[corio::test]
async fn each_standard_stream_can_lead_nowhere() {
    let line = "wc -c; echo err >&2";
    let mut command = Command::shell(line);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let output = bounded(command.spawn().unwrap().communicate("ignored")).await.unwrap();
    assert_eq!((output.stdout.trim_ascii(), &output.stderr[..]), (&b"0"[..], &b""[..]));
    let mut command = Command::shell(line);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = bounded(command.spawn().unwrap().communicate("")).await.unwrap();
    assert_eq!((&output.stdout[..], &output.stderr[..]), (&b""[..], &b"err\n"[..]));
    let mut command = Command::new("true");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(bounded(command.spawn().unwrap().communicate("")).await.unwrap().status.success());
}

/// `test_popen_error`, with pipes that were made for it.
#[corio::test]
fn a_program_that_cannot_be_started_leaves_nothing() {
    let test = "a_program_that_cannot_be_started_leaves_nothing";
    if ran_in_a_child(module_path!(), test, &[]) {
        return;
    }
    corio::run(async {
        let before = Census::take();
        for _ in 0..10 {
            let mut command = Command::new("/no/such/program");
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            assert_kind(command.spawn(), ErrorKind::NotFound);
            assert_kind(command.output().await, ErrorKind::NotFound);
        }
        before.comes_back().await;
    });
}

/// `test_create_subprocess_with_pidfd`, `test_subprocess_concurrent`: each loop has its own
/// children, at the same time.
#[corio::test]
fn loops_on_several_threads_wait_each_for_its_own_children() {
    let threads: Vec<_> = (0..3)
        .map(|thread| {
            std::thread::spawn(move || {
                corio::run(bounded(async move {
                    for number in 0..5 {
                        let code = thread * 10 + number;
                        let mut command = Command::shell(format!("cat; exit {code}"));
                        command.stdin(Stdio::piped()).stdout(Stdio::piped());
                        let output = command.spawn().unwrap().communicate("data").await.unwrap();
                        assert_eq!(output.status.code(), Some(code));
                        assert_eq!(output.stdout, b"data");
                    }
                }));
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

/// `test_start_new_session`, by a step before the program begins.
#[corio::test]
async fn a_child_can_begin_in_a_group_of_its_own() {
    let mut command = Command::shell("cut -d ' ' -f 5 /proc/self/stat; exit 8");
    command.stdout(Stdio::piped()).process_group(0);
    let mut child = command.spawn().unwrap();
    let leader = child.id();
    let output = bounded(child.communicate("")).await.unwrap();
    assert_eq!(output.status.code(), Some(8));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.trim().parse(), Ok(leader));
}
