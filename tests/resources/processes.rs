//! Children: waited for whoever is dropped, ended when that is asked for, and never mixed up.

use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use corio::process::{Child, Command, Stdio};
use corio::signal::{Signal, Signals};

use crate::stage::{Census, POLLS, given_up_after, ran_in_a_child};
use crate::support::{assert_kind, bounded, until};

fn sleeper() -> Command {
    let mut command = Command::new("sleep");
    command.arg("1000").kill_on_drop(true);
    command
}

fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

async fn runs(child: &Child) {
    let state = format!("/proc/{}/cmdline", child.id());
    until(|| std::fs::read(&state).is_ok_and(|line| !line.is_empty())).await;
}

#[corio::test]
async fn a_status_is_an_exit_code_or_a_signal() {
    let status = bounded(Command::shell("exit 7").status()).await.unwrap();
    assert_eq!(status.code(), Some(7));
    let status = bounded(Command::shell("kill -TERM $$").status()).await.unwrap();
    assert_eq!((status.code(), status.signal()), (None, Some(15)));
    let status = bounded(Command::shell("kill -SEGV $$").status()).await.unwrap();
    assert_eq!(status.signal(), Some(11));
    assert!(bounded(Command::new("true").status()).await.unwrap().success());
    assert_kind(Command::new("no such program").spawn(), ErrorKind::NotFound);
}

#[corio::test]
async fn output_is_collected_and_input_is_empty() {
    let mut command = Command::shell("cat; echo out; echo err >&2; exit 3");
    let output = bounded(command.output()).await.unwrap();
    assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!(output.status.code(), Some(3));
    let mut command = Command::new("sh");
    command.args(["-c", "pwd; echo $A$B"]).env_clear().env("A", "a").env("B", "b");
    let output = bounded(command.env_remove("B").current_dir("/").output()).await.unwrap();
    assert_eq!(output.stdout, b"/\na\n");
}

#[corio::test]
async fn megabytes_through_a_child_block_neither_side() {
    let mut child = Command::new("cat");
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let input: Vec<u8> = (0..3_000_000u32).map(|at| (at / 7) as u8).collect();
    let output = bounded(child.communicate(&input)).await.unwrap();
    assert!(output.stdout == input);
    // A child that reads nothing is no error.
    let mut child = Command::new("true");
    let mut child = child.stdin(Stdio::piped()).spawn().unwrap();
    assert!(bounded(child.communicate(&input)).await.unwrap().status.success());
}

#[corio::test]
async fn a_communicate_that_is_given_up_goes_on_with_the_next() {
    for polls in 0..POLLS {
        let mut child = Command::shell("echo one; cat; sleep 0.01; echo two; echo err >&2");
        child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().unwrap();
        let output = match given_up_after(polls, child.communicate(b"input\n")).await {
            Some(output) => output,
            None => bounded(child.communicate(b"input\n")).await,
        };
        let output = output.unwrap();
        assert_eq!(output.stdout, b"one\ninput\ntwo\n", "after {polls} polls");
        assert_eq!(output.stderr, b"err\n");
        assert!(output.status.success());
    }
}

#[corio::test]
async fn a_grandchild_that_keeps_the_pipe_open_does_not_hold_up_the_wait() {
    let mut command = Command::shell("sleep 1000 & echo $!");
    let mut child = command.stdout(Stdio::piped()).process_group(0).spawn().unwrap();
    let mut output = child.stdout.take().unwrap();
    assert!(bounded(child.wait()).await.unwrap().success());
    let grandchild = bounded(output.read_line(20)).await.unwrap();
    let grandchild: u32 = String::from_utf8(grandchild).unwrap().trim().parse().unwrap();
    assert!(given_up_after(POLLS, output.read_chunk()).await.is_none(), "the pipe is open");
    // Its group is still there, although its leader is gone.
    child.signal_group(Signal::Kill).unwrap();
    assert!(bounded(output.read_chunk()).await.unwrap().is_none());
    until(|| !is_running(grandchild)).await;
}

/// Whether a process is there and no zombie that another process has to wait for.
fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.starts_with(" Z"))
}

#[corio::test]
async fn signals_reach_the_child_and_nobody_after_its_end() {
    let mut child = sleeper().spawn().unwrap();
    assert!(child.try_wait().unwrap().is_none());
    child.terminate().unwrap();
    assert_eq!(bounded(child.wait()).await.unwrap().signal(), Some(15));
    assert_eq!(child.try_wait().unwrap().unwrap().signal(), Some(15));
    child.kill().unwrap();
    child.send_signal(Signal::User1).unwrap();
    assert_eq!(bounded(child.wait()).await.unwrap().signal(), Some(15), "it stays known");
    assert_kind(child.signal_group(Signal::Kill), ErrorKind::InvalidInput);
}

#[corio::test]
async fn a_dropped_child_runs_on_unless_it_was_to_be_killed_and_is_no_zombie() {
    let killed = sleeper().spawn().unwrap();
    let pid = killed.id();
    drop(killed);
    until(|| !exists(pid)).await;

    let mut command = Command::new("cat");
    let mut left = command.stdin(Stdio::piped()).spawn().unwrap();
    let (pid, input) = (left.id(), left.stdin.take());
    runs(&left).await;
    drop(left);
    corio::sleep(Duration::from_millis(2)).await;
    assert!(is_running(pid));
    drop(input);
    until(|| !exists(pid)).await;
}

#[corio::test]
fn children_of_a_runtime_that_ended_are_waited_for_by_the_next() {
    let pid = corio::run(async {
        let mut command = Command::new("cat");
        let child = command.stdin(Stdio::piped()).spawn().unwrap();
        runs(&child).await;
        child.id()
    });
    // Its input ended with the runtime, so it ends.
    corio::run(bounded(async {
        let is_gone = async {
            while exists(pid) {
                Command::new("true").status().await.unwrap();
            }
        };
        is_gone.await;
    }));
}

#[corio::test]
async fn a_child_has_no_signal_blocked_that_we_listen_to() {
    let _signals = Signals::new([Signal::User2]).unwrap();
    let output = bounded(Command::new("cat").arg("/proc/self/status").output()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let blocked = text.lines().find(|line| line.starts_with("SigBlk")).unwrap();
    assert_eq!(blocked.split_whitespace().nth(1), Some("0000000000000000"), "{blocked}");
}

#[corio::test]
async fn many_children_at_once_each_have_their_own_end() {
    let children: Vec<_> =
        (0..30).map(|number| Command::shell(format!("exit {number}")).spawn().unwrap()).collect();
    for (number, mut child) in children.into_iter().enumerate() {
        assert_eq!(bounded(child.wait()).await.unwrap().code(), Some(number as i32));
    }
}

#[corio::test]
fn every_wait_can_be_given_up_after_each_poll_and_nothing_is_kept() {
    let test = "every_wait_can_be_given_up_after_each_poll_and_nothing_is_kept";
    if ran_in_a_child(module_path!(), test, &[]) {
        return;
    }
    corio::run(bounded(async {
        let before = Census::take();
        for polls in 0..POLLS {
            let mut command = Command::new("cat");
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.kill_on_drop(true).spawn().unwrap();
            let input = child.stdin.take();
            assert!(given_up_after(polls, child.wait()).await.is_none());
            drop(input);
            assert!(child.wait().await.unwrap().success());
            let _ = given_up_after(polls, command.status()).await;
            let _ = given_up_after(polls, command.output()).await;
            let _ = given_up_after(polls, command.spawn().unwrap().communicate(b"x")).await;
        }
        before.comes_back().await;
        let children = std::fs::read_to_string("/proc/thread-self/children").unwrap();
        assert_eq!(children.trim(), "", "no child is left");
    }));
}
