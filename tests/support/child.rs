//! A test in a process of its own, for what would disturb its neighbours: limits, signals, the
//! count of all descriptors.

use std::process::{Command, Output};

/// Says to a process that it is the child, and of which test.
const CHILD: &str = "CORIO_TEST_CHILD";

/// Whether this process is the child of this test, on whichever driver.
pub fn is_child(test: &str) -> bool {
    std::env::var(CHILD).is_ok_and(|child| is_name_of(&child, test))
}

/// Whether a test runs under this name that has the other one in the source: there is one for each
/// driver.
fn is_name_of(name: &str, test: &str) -> bool {
    name.strip_prefix(test).is_some_and(|rest| ["", "_uring", "_epoll"].contains(&rest))
}

/// The name under which this test runs: its thread has it.
fn name_here(test: &str) -> String {
    let thread = std::thread::current();
    let name = thread.name().filter(|name| is_name_of(name, test));
    let name = name.unwrap_or_else(|| {
        panic!("`{test}` needs a thread of its name: run it without `--test-threads=1`")
    });
    name.to_owned()
}

/// Runs the test of this name once more in a child, and returns what it printed; `None` in the
/// child, which goes on with the body. `prefix` is a command that starts another one, such as
/// `env --block-signal=USR1`. The child has 20 seconds.
#[track_caller]
pub fn rerun(test: &str, prefix: &[&str]) -> Option<Output> {
    if is_child(test) {
        return None;
    }
    let name = name_here(test);
    let program = std::env::current_exe().expect("a test knows its own binary");
    let output = Command::new("timeout")
        .arg("20")
        .args(prefix)
        .arg(program)
        .args([&name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, &name)
        .output()
        .expect("`timeout` starts");
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success(), "the child ended with {}:\n{text}", output.status);
    assert!(text.contains("1 passed"), "the child ran no test:\n{text}");
    Some(output)
}
