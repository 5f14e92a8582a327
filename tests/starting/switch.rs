//! `kernel.io_uring_disabled`: 1 keeps out who is not privileged, 2 everybody.
//!
//! The switch is the whole machine's, and other programs run on it. So the real one is set only to
//! 1, which no privileged process notices, and by a shell that sets it back also if this test is
//! killed. The value 2 is held up by a fake: a file bound over the switch, in a mount namespace of
//! its own, and a filter that answers what the kernel would.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use corio::probe::{Cause, Refusal};
use corio::{Driver, Runtime};

use crate::seccomp::{Action, forbid};
use crate::{assert_echoes, child, in_child, is_root, noting, probe};

const SWITCH: &str = "/proc/sys/kernel/io_uring_disabled";

/// What everyone under the switch has to find.
#[track_caller]
fn check_refused(level: u8) {
    let (builder, notes) = noting();
    let runtime = builder.build().unwrap();
    assert_eq!(runtime.features().driver(), Driver::Epoll);
    assert_echoes(&runtime);
    let told = notes.borrow().join("\n");
    let fact = format!("io_uring is refused (EPERM): `kernel.io_uring_disabled` is {level}");
    let cure = "cure: `sysctl kernel.io_uring_disabled=0`";
    assert!(told.contains(&fact) && told.contains(cure), "{told}");
    let error = Runtime::builder().require_io_uring().build().unwrap_err();
    assert_eq!(Refusal::in_error(&error).unwrap().cause(), Cause::Sysctl);
    let (code, page, json) = probe(&[]);
    assert_eq!(code, 2, "{page}");
    assert_eq!(json["environment"]["io_uring_disabled"], level);
    assert!(page.contains("sysctl kernel.io_uring_disabled=0"), "{page}");
}

/// A command that starts another one under a switch that only looks like this.
fn under_a_fake(level: u8) -> Vec<String> {
    let bind = format!("f=$(mktemp) && echo {level} >$f && mount --bind $f {SWITCH} && rm $f");
    // Who is not root is root in a user namespace of its own.
    let namespace = if is_root() { "-m" } else { "-rm" };
    let script = format!("{bind} && exec \"$@\"");
    ["unshare", namespace, "sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
}

/// Goes on without the right to which the switch at 1 does not apply.
const UNPRIVILEGED: [&str; 3] = ["setpriv", "--bounding-set", "-sys_admin"];

#[test]
fn switched_off_for_everybody_is_told_by_the_switch() {
    let test = "switch::switched_off_for_everybody_is_told_by_the_switch";
    let fake = under_a_fake(2);
    if in_child(test, &fake.iter().map(String::as_str).collect::<Vec<_>>()) {
        return;
    }
    assert_eq!(std::fs::read_to_string(SWITCH).unwrap().trim(), "2", "the fake is in place");
    forbid(&[libc::SYS_io_uring_setup], Action::Refuse(libc::EPERM));
    check_refused(2);
}

#[test]
fn switched_off_for_the_unprivileged_is_told_by_the_switch() {
    let test = "switch::switched_off_for_the_unprivileged_is_told_by_the_switch";
    let fake = under_a_fake(1);
    let prefix: Vec<&str> = fake.iter().map(String::as_str).chain(UNPRIVILEGED).collect();
    if in_child(test, &prefix) {
        return;
    }
    assert_eq!(std::fs::read_to_string(SWITCH).unwrap().trim(), "1", "the fake is in place");
    forbid(&[libc::SYS_io_uring_setup], Action::Refuse(libc::EPERM));
    check_refused(1);
}

/// The real switch at 1 until this is dropped, or this process ends.
struct SwitchedOff(Child);

impl SwitchedOff {
    /// Nothing where the switch may not be set, as in most containers.
    fn set() -> Option<SwitchedOff> {
        if !is_off() {
            return None;
        }
        // The end of its input tells the shell that the test is over, however it ended.
        let script = format!("echo 1 >{SWITCH} && echo set && cat >/dev/null; echo 0 >{SWITCH}");
        let mut shell = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut line = String::new();
        let output = shell.stdout.take().expect("piped");
        BufReader::new(output).read_line(&mut line).expect("text");
        let guard = SwitchedOff(shell);
        (line == "set\n").then_some(guard)
    }
}

impl Drop for SwitchedOff {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let status = self.0.wait();
        let is_back = status.is_ok_and(|status| status.success());
        assert!(is_back || std::thread::panicking(), "the switch is not set back: {SWITCH}");
    }
}

/// Where the switch may not be set, as in most containers, the fake above has to do, and this test
/// only finds that out.
#[test]
fn the_real_switch_keeps_the_unprivileged_out_and_the_privileged_in() {
    let test = "switch::the_real_switch_keeps_the_unprivileged_out_and_the_privileged_in";
    if child::is_child(test) {
        assert_eq!(std::fs::read_to_string(SWITCH).unwrap().trim(), "1");
        return check_refused(1);
    }
    let Some(switched) = is_root().then(SwitchedOff::set).flatten() else {
        assert!(std::fs::OpenOptions::new().write(true).open(SWITCH).is_err() || !is_off());
        return;
    };
    assert!(in_child(test, &UNPRIVILEGED));
    // The privileged are not meant.
    let runtime = Runtime::builder().driver(Driver::Uring).build().unwrap();
    assert_echoes(&runtime);
    drop(switched);
}

/// Whether nobody is kept out.
fn is_off() -> bool {
    std::fs::read_to_string(SWITCH).is_ok_and(|level| level.trim() == "0")
}
