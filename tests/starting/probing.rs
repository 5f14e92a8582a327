//! The probe itself: it changes nothing, says everything, and its words are stable.

use corio::probe::{Capability, Prober};
use corio::{Driver, Feature, Runtime};

use crate::{corio, finding, in_child, probe, text};

#[test]
fn trials_can_be_repeated_and_leave_no_descriptor_behind() {
    let test = "probing::trials_can_be_repeated_and_leave_no_descriptor_behind";
    if in_child(test, &[]) {
        return;
    }
    let mut prober = Prober::new().expect("this test needs io_uring");
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = open();
    for capability in Capability::all() {
        let (first, second) = (prober.try_out(capability), prober.try_out(capability));
        assert_eq!(first, second, "{}: a trial spoils the next one", capability.name());
        assert_eq!(open(), before, "{} leaves a descriptor open", capability.name());
    }
}

#[test]
fn each_feature_is_explained_and_an_unknown_one_lists_the_known() {
    for feature in Feature::ALL {
        let output = corio(&["probe", "--explain", feature.name()]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let page = text(&output.stdout);
        let switch = format!("CORIO_DISABLE={}", feature.name());
        for word in ["since", "gain", "without it", "here", &switch] {
            assert!(page.contains(word), "`{word}` is not in:\n{page}");
        }
    }
    let output = corio(&["probe", "--explain", "multishot"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("recv_multishot"), "{}", text(&output.stderr));
}

#[test]
fn the_object_has_every_feature_and_every_fact() {
    let test = "probing::the_object_has_every_feature_and_every_fact";
    if in_child(test, &[]) {
        return;
    }
    let (_, page, json) = probe(&[]);
    for capability in Capability::all() {
        let finding = finding(&json, capability.name());
        for key in ["group", "since", "found", "what", "gain", "without"] {
            let text = finding[key].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{key}: {finding}");
        }
        assert_eq!(finding["used"], capability.is_used(), "{finding}");
        assert!(page.contains(capability.name()), "{page}");
    }
    let keys = [
        "kernel",
        "driver",
        "grade",
        "exit_code",
        "why",
        "to_do",
        "epoll_starts",
        "errno",
        "killed_by_signal",
        "ring_entries",
        "completion_entries",
        "features",
        "limits",
        "environment",
        "known_bugs",
        "cures",
    ];
    let object = json.as_object().unwrap();
    for key in keys {
        assert!(object.contains_key(key), "{key} is missing");
    }
    assert_eq!(object.len(), keys.len(), "a new key is promised for good: add it here");
}

#[test]
fn all_fixes_are_there_on_demand() {
    let output = corio(&["probe", "--fixes"]).output().unwrap();
    let page = text(&output.stdout);
    for word in [
        "sysctl kernel.io_uring_disabled=0",
        "--security-opt seccomp=corio.json",
        "seccompProfile:",
        "LimitMEMLOCK=",
        "ulimit -l",
        "ulimit -n",
        "LimitNOFILE=",
    ] {
        assert!(page.contains(word), "`{word}` is not in:\n{page}");
    }
}

#[test]
fn the_profile_that_is_printed_is_the_one_that_is_tested() {
    let output = corio(&["probe", "--profile"]).output().unwrap();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/seccomp.json");
    assert_eq!(text(&output.stdout), std::fs::read_to_string(path).unwrap());
}

#[test]
fn lines_fit_a_page_that_is_piped() {
    let output = corio(&["probe"]).output().unwrap();
    for line in text(&output.stdout).lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

/// The ring is the one that a program gets, whatever was tried before in the same process.
#[test]
fn a_prober_beside_a_runtime_disturbs_neither() {
    let test = "probing::a_prober_beside_a_runtime_disturbs_neither";
    if in_child(test, &[]) {
        return;
    }
    let runtime = Runtime::builder().driver(Driver::Uring).build().unwrap();
    let features = *runtime.features();
    let mut prober = Prober::new().unwrap();
    for capability in Capability::all() {
        prober.try_out(capability);
    }
    crate::assert_echoes(&runtime);
    let second = Runtime::builder().driver(Driver::Uring).build().unwrap();
    assert_eq!(*second.features(), features);
    crate::assert_echoes(&second);
}
