//! io_uring refused by a filter, as Docker's: by an answer, by a kill, and changed in mid-flight.

use corio::{Driver, Feature, FeatureState, Runtime};

use crate::seccomp::{Action, forbid};
use crate::{assert_echoes, assert_server_echoes, finding, in_child, noting, probe};

/// Under a filter that answers this, everything runs on epoll, says so once, and the probe agrees.
#[track_caller]
fn check_fallback(test: &str, error: i32, name: &str) {
    if in_child(test, &[]) {
        return;
    }
    forbid(&[libc::SYS_io_uring_setup], Action::Refuse(error));

    let (builder, notes) = noting();
    let runtime = builder.build().unwrap();
    assert_eq!(runtime.features().driver(), Driver::Epoll);
    let first = notes.borrow().join("\n");
    for word in ["running on epoll: ", name, "seccomp profile", "; cure: "] {
        assert!(first.contains(word), "`{word}` is not in: {first}");
    }
    assert_eq!(notes.borrow().len(), 1, "one line: {first}");
    assert_echoes(&runtime);
    drop(runtime);
    let (builder, notes) = noting();
    assert_echoes(&builder.build().unwrap());
    assert_eq!(notes.borrow().len(), 0, "told once a process");

    let refusal = Runtime::builder().require_io_uring().build().unwrap_err();
    let text = refusal.to_string();
    assert!(text.contains(&format!("io_uring is refused ({name})")), "{text}");
    assert!(text.contains("; cure: "), "{text}");
    // The line, the error and the probe have their words from one place.
    assert!(first.ends_with(&text), "{first}\n{text}");

    let (code, page, json) = probe(&[]);
    assert_eq!(code, 2, "{page}");
    assert_eq!((&json["driver"], &json["grade"]), (&"epoll".into(), &"epoll_only".into()));
    let why = json["why"].as_str().unwrap();
    assert!(text.starts_with(why), "{text}\n{why}");
    assert_eq!(json["environment"]["seccomp_mode"], 2);
    assert!(json["cures"].as_array().unwrap().iter().any(|cure| cure["applies"] == true));
    assert_eq!(finding(&json, "recv_multishot")["found"], "untried");
    assert_server_echoes(&[]);
}

#[test]
fn a_filter_that_answers_eperm_gives_epoll_and_says_why() {
    let test = "refused::a_filter_that_answers_eperm_gives_epoll_and_says_why";
    check_fallback(test, libc::EPERM, "EPERM");
}

#[test]
fn a_filter_that_answers_eacces_gives_epoll_and_says_why() {
    let test = "refused::a_filter_that_answers_eacces_gives_epoll_and_says_why";
    check_fallback(test, libc::EACCES, "EACCES");
}

#[test]
fn a_filter_that_answers_enosys_gives_epoll_and_says_why() {
    let test = "refused::a_filter_that_answers_enosys_gives_epoll_and_says_why";
    check_fallback(test, libc::ENOSYS, "ENOSYS");
}

#[test]
fn a_filter_that_answers_eopnotsupp_gives_epoll_and_says_why() {
    let test = "refused::a_filter_that_answers_eopnotsupp_gives_epoll_and_says_why";
    check_fallback(test, libc::EOPNOTSUPP, "EOPNOTSUPP");
}

#[test]
fn a_filter_that_lets_a_ring_be_made_but_not_entered_gives_epoll() {
    let test = "refused::a_filter_that_lets_a_ring_be_made_but_not_entered_gives_epoll";
    if in_child(test, &[]) {
        return;
    }
    forbid(&[libc::SYS_io_uring_enter], Action::Refuse(libc::EPERM));
    let (builder, notes) = noting();
    let runtime = builder.build().unwrap();
    assert_eq!(runtime.features().driver(), Driver::Epoll, "{:?}", notes.borrow());
    assert_echoes(&runtime);
    assert_eq!(probe(&[]).0, 2);
}

#[test]
fn a_kernel_that_is_too_old_gives_epoll_and_is_named() {
    let test = "refused::a_kernel_that_is_too_old_gives_epoll_and_is_named";
    if in_child(test, &[]) {
        return;
    }
    forbid(&[libc::SYS_io_uring_setup], Action::Refuse(libc::EINVAL));
    let (builder, notes) = noting();
    let runtime = builder.build().unwrap();
    assert_eq!(runtime.features().driver(), Driver::Epoll);
    let told = notes.borrow().join("\n");
    for word in ["(EINVAL)", "too old", "cure: a kernel from 6.1 on"] {
        assert!(told.contains(word), "`{word}` is not in: {told}");
    }
    assert_eq!(probe(&[]).0, 2);
}

#[test]
fn a_filter_that_refuses_registering_leaves_a_degraded_ring() {
    let test = "refused::a_filter_that_refuses_registering_leaves_a_degraded_ring";
    if in_child(test, &[]) {
        return;
    }
    forbid(&[libc::SYS_io_uring_register], Action::Refuse(libc::EPERM));
    let runtime = Runtime::new().unwrap();
    assert_eq!(runtime.features().driver(), Driver::Uring, "this test needs io_uring");
    assert_eq!(runtime.features().state(Feature::PbufRing), FeatureState::Absent);
    assert_echoes(&runtime);
    let (code, page, json) = probe(&[]);
    assert_eq!(code, 1, "{page}");
    let pools = finding(&json, "pbuf_ring");
    assert_eq!((&pools["found"], &pools["error"]), (&"fails".into(), &"EPERM".into()));
    for word in ["pbuf_ring does not work here, though the kernel knows it", "FAILS: EPERM"] {
        assert!(page.contains(word), "`{word}` is not in:\n{page}");
    }
    let cures = json["cures"].as_array().unwrap();
    assert!(cures.iter().any(|cure| cure["text"].as_str().unwrap().contains("profile")), "{page}");
}

#[test]
fn a_filter_that_kills_is_survived_by_the_probe_which_says_so() {
    let test = "refused::a_filter_that_kills_is_survived_by_the_probe_which_says_so";
    if in_child(test, &[]) {
        return;
    }
    forbid(&[libc::SYS_io_uring_setup], Action::Kill);
    let (code, page, json) = probe(&[]);
    assert_eq!(code, 2, "{page}");
    assert_eq!(json["killed_by_signal"], libc::SIGSYS);
    assert!(json["driver"].is_null(), "a program would not survive its start: {json}");
    assert_eq!(json["epoll_starts"], true);
    for word in ["killed (SIGSYS)", "seccomp profile", "CORIO_DRIVER=epoll starts on epoll"] {
        assert!(page.contains(word), "`{word}` is not in:\n{page}");
    }
    // And it does start.
    let output = crate::corio(&["probe"]).env("CORIO_DRIVER", "epoll").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_server_echoes(&["--driver", "epoll"]);
}

#[test]
fn what_was_found_before_a_kill_is_kept_and_the_kill_is_a_finding() {
    let test = "refused::what_was_found_before_a_kill_is_kept_and_the_kill_is_a_finding";
    if in_child(test, &[]) {
        return;
    }
    forbid(&[libc::SYS_io_uring_register], Action::Kill);
    let (code, page, json) = probe(&[]);
    assert_eq!(code, 2, "{page}");
    for (name, found) in [
        ("defer_taskrun", "works"),
        ("r_disabled", "killed"),
        ("no_iowait", "works"),
        ("pbuf_ring", "killed"),
        ("recv", "works"),
        ("fixed_fd_install", "killed"),
        ("waitid", "works"),
    ] {
        let finding = finding(&json, name);
        // A kernel without it answers as it does without a filter.
        let is_older = finding["found"] == "absent";
        assert!(finding["found"] == found || is_older, "{finding}");
        if finding["found"] == "killed" {
            assert_eq!(finding["signal"], libc::SIGSYS);
        }
    }
    assert!(page.contains("KILLS: signal 31"), "{page}");
}

#[test]
fn where_epoll_is_refused_as_well_nothing_starts_and_both_reasons_are_told() {
    let test = "refused::where_epoll_is_refused_as_well_nothing_starts_and_both_reasons_are_told";
    if in_child(test, &[]) {
        return;
    }
    let both = [libc::SYS_io_uring_setup, libc::SYS_epoll_create1];
    forbid(&both, Action::Refuse(libc::EPERM));
    let error = Runtime::new().unwrap_err().to_string();
    for word in ["io_uring is refused (EPERM)", "epoll is refused (EPERM)", "epoll_create1"] {
        assert!(error.contains(word), "`{word}` is not in: {error}");
    }
    let (code, page, json) = probe(&[]);
    assert_eq!(code, 3, "{page}");
    assert_eq!((&json["grade"], &json["epoll_starts"]), (&"nothing".into(), &false.into()));
    assert!(json["why"].as_str().unwrap().contains("epoll is refused (EPERM)"), "{page}");
}

#[test]
fn the_driver_is_decided_once_for_all_cores_of_a_process() {
    let test = "refused::the_driver_is_decided_once_for_all_cores_of_a_process";
    if in_child(test, &[]) {
        return;
    }
    let first = Runtime::new().unwrap();
    assert_eq!(first.features().driver(), Driver::Uring, "this test needs io_uring");
    forbid(&[libc::SYS_io_uring_setup], Action::Refuse(libc::EPERM));
    // A second core on epoll would be another kind of core: rather none.
    let (builder, notes) = noting();
    let error = builder.build().unwrap_err().to_string();
    assert!(error.contains("io_uring is refused (EPERM)"), "{error}");
    assert_eq!(notes.borrow().len(), 0);
    // Who asks for epoll gets it, and the first core goes on.
    let asked = Runtime::builder().driver(Driver::Epoll).build().unwrap();
    assert_echoes(&asked);
    assert_echoes(&first);
}

#[test]
fn the_environment_has_the_last_word_on_the_driver() {
    let test = "refused::the_environment_has_the_last_word_on_the_driver";
    if in_child(test, &["env", "CORIO_DRIVER=epoll"]) {
        return;
    }
    let (builder, notes) = noting();
    let runtime = builder.require_io_uring().build().unwrap();
    assert_eq!(runtime.features().driver(), Driver::Epoll);
    assert_eq!(notes.borrow().len(), 0, "who asks for it need not be told");
    let (code, page, _) = probe(&[]);
    assert_eq!(code, 2, "{page}");
    assert!(page.contains("CORIO_DRIVER says so"), "{page}");
    assert!(!page.contains("not tried"), "what the machine could do is shown all the same: {page}");
}

#[test]
fn a_driver_that_is_none_is_refused_with_the_names_of_those_that_are() {
    let test = "refused::a_driver_that_is_none_is_refused_with_the_names_of_those_that_are";
    if in_child(test, &["env", "CORIO_DRIVER=kqueue"]) {
        return;
    }
    let error = Runtime::new().unwrap_err().to_string();
    assert!(error.contains("`kqueue`") && error.contains("uring and epoll"), "{error}");
    let (code, page, _) = probe(&[]);
    assert_eq!(code, 3, "{page}");
    assert!(page.contains("`kqueue`"), "{page}");
}

#[test]
fn a_feature_that_is_switched_off_is_a_degraded_ring() {
    let test = "refused::a_feature_that_is_switched_off_is_a_degraded_ring";
    if in_child(test, &["env", "CORIO_DISABLE=recv_multishot,abs_timer"]) {
        return;
    }
    let runtime = Runtime::new().unwrap();
    assert_eq!(runtime.features().driver(), Driver::Uring, "this test needs io_uring");
    assert_echoes(&runtime);
    let (code, page, json) = probe(&[]);
    assert_eq!(code, 1, "{page}");
    assert_eq!((&json["driver"], &json["grade"]), (&"uring".into(), &"degraded".into()));
    assert!(
        page.contains("recv_multishot is switched off: take it out of CORIO_DISABLE"),
        "{page}"
    );
    for name in ["recv_multishot", "abs_timer"] {
        let finding = finding(&json, name);
        assert_eq!(finding["found"], "switched_off");
        assert_eq!(finding["in_use"], "switched_off");
    }
}

#[test]
fn a_machine_that_refuses_nothing_is_told_apart_by_its_features_alone() {
    let test = "refused::a_machine_that_refuses_nothing_is_told_apart_by_its_features_alone";
    if in_child(test, &[]) {
        return;
    }
    let runtime = Runtime::new().unwrap();
    assert_eq!(runtime.features().driver(), Driver::Uring, "this test needs io_uring");
    let is_complete = runtime.features().iter().all(|(_, state)| state != FeatureState::Absent);
    let (code, page, json) = probe(&[]);
    assert_eq!(code, if is_complete { 0 } else { 1 }, "{page}");
    assert_eq!((&json["ring_entries"], &json["completion_entries"]), (&256.into(), &4096.into()));
    for (feature, state) in runtime.features().iter() {
        let finding = finding(&json, feature.name());
        let works = finding["found"] == "works";
        assert_eq!(works, state != FeatureState::Absent, "start and probe differ: {finding}");
    }
}
