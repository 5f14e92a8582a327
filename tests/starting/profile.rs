//! The profile that is handed out for containers, `docs/seccomp.json`: under it everything runs.

use std::path::Path;
use std::process::Command;

use corio::{Driver, Runtime};
use serde_json::Value;

use crate::seccomp::{Action, Rule, install};
use crate::{assert_echoes, assert_server_echoes, in_child, is_root, probe, syscalls};

fn profile() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/seccomp.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).expect("JSON")
}

fn action(entry: &Value, action: &str, error: &str) -> Action {
    match entry[action].as_str().expect("an action") {
        "SCMP_ACT_ALLOW" => Action::Allow,
        // Docker's own default is EPERM.
        "SCMP_ACT_ERRNO" => Action::Refuse(entry[error].as_i64().map_or(1, |number| number as i32)),
        other => panic!("this test does not know the action {other}"),
    }
}

fn argument(condition: &Value) -> (u32, u32, u32) {
    let number = |key: &str| u32::try_from(condition[key].as_u64().expect(key)).expect("32 bits");
    match condition["op"].as_str().expect("an operator") {
        "SCMP_CMP_EQ" => (number("index"), u32::MAX, number("value")),
        "SCMP_CMP_MASKED_EQ" => (number("index"), number("value"), number("valueTwo")),
        other => panic!("this test does not know the operator {other}"),
    }
}

/// The profile as a filter: what Docker makes of it, for this architecture.
fn rules(profile: &Value) -> Vec<Rule> {
    let mut rules = Vec::new();
    for entry in profile["syscalls"].as_array().expect("a list") {
        let conditions = entry["args"].as_array().map_or(&[][..], Vec::as_slice);
        assert!(conditions.len() <= 1, "this test knows one condition a call: {entry}");
        for name in entry["names"].as_array().expect("a list") {
            let name = name.as_str().expect("a name");
            assert!(syscalls::is_known(name), "there is no call `{name}`");
            // As Docker, which leaves out what the architecture does not have.
            let Some(number) = syscalls::number(name) else { continue };
            let argument = conditions.first().map(argument);
            rules.push(Rule { number, argument, action: action(entry, "action", "errnoRet") });
        }
    }
    rules
}

#[test]
fn under_the_profile_for_containers_everything_runs_on_the_ring() {
    let test = "profile::under_the_profile_for_containers_everything_runs_on_the_ring";
    if in_child(test, &[]) {
        return;
    }
    let (free, ..) = probe(&[]);
    let profile = profile();
    install(&rules(&profile), action(&profile, "defaultAction", "defaultErrnoRet"));

    let runtime = Runtime::new().unwrap();
    assert_eq!(runtime.features().driver(), Driver::Uring);
    assert_echoes(&runtime);
    for driver in ["uring", "epoll"] {
        assert_server_echoes(&["--driver", driver]);
    }
    // Nothing is lost by it: every feature works that works without.
    let (code, page, json) = probe(&[]);
    assert_eq!(code, free, "{page}");
    assert_eq!(json["environment"]["seccomp_mode"], 2);
    // And it is in force: what it does not name is refused, also to root.
    if is_root() {
        let error = std::os::unix::fs::chroot("/").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    }
    let namespace = Command::new("unshare").args(["-U", "true"]).output().unwrap();
    assert!(!namespace.status.success(), "a new namespace was made");
}

#[test]
fn the_profile_names_each_call_once_and_the_rings_own_three() {
    let mut names = Vec::new();
    for entry in profile()["syscalls"].as_array().unwrap() {
        if entry["args"].is_null() {
            let listed = entry["names"].as_array().unwrap().clone();
            names.extend(listed.into_iter().map(|name| name.as_str().unwrap().to_owned()));
        }
    }
    for name in ["io_uring_setup", "io_uring_enter", "io_uring_register"] {
        assert!(names.iter().any(|known| known == name), "{name}");
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}
