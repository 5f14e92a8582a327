//! Limits that are too low: a smaller ring or a refusal with the numbers, never another driver.

use std::fs::File;
use std::sync::atomic::{AtomicU32, Ordering};

use corio::probe::{Cause, Environment, Refusal, locked_bytes_of_a_core};
use corio::{Driver, Runtime};

use serde_json::Value;

use crate::{assert_echoes, corio, in_child, is_root, text};

/// Runs the test in a child that may lock 64 KiB; true in the parent.
///
/// Locked memory is counted for the user, also what a process that ended has not given back yet. So
/// root, for whom the limit does not count, becomes a user that nobody else is.
#[track_caller]
fn in_child_with_little_memory(test: &str) -> bool {
    static USERS: AtomicU32 = AtomicU32::new(100_000);
    let user = USERS.fetch_add(100_000, Ordering::Relaxed) + std::process::id() % 100_000;
    let user = user.to_string();
    let mut prefix = vec!["sh", "-c", "ulimit -l 64 && exec \"$@\"", "sh"];
    if is_root() {
        prefix.extend(["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"]);
        // The binaries may be where only root may look.
        let rights = "-all,+dac_read_search";
        prefix.extend(["--inh-caps", rights, "--ambient-caps", rights]);
    }
    in_child(test, &prefix)
}

#[test]
fn sixty_four_cores_in_64_kib_get_smaller_rings_or_a_refusal_with_the_numbers() {
    let test = "limits::sixty_four_cores_in_64_kib_get_smaller_rings_or_a_refusal_with_the_numbers";
    if in_child_with_little_memory(test) {
        return;
    }
    let limit = Environment::read();
    assert_eq!(limit.locked_memory.soft, Some(64 << 10));
    assert!(!limit.may_lock_memory, "the limit counts");
    let (mut runtimes, mut refusals) = (Vec::new(), 0);
    // As a group of cores starts: up to the first refusal.
    while runtimes.len() < 64 && refusals == 0 {
        match Runtime::new() {
            Ok(runtime) => {
                assert_eq!(runtime.features().driver(), Driver::Uring, "no silent change");
                runtimes.push(runtime);
            }
            Err(error) => {
                let refusal = Refusal::in_error(&error).expect("explained");
                assert_eq!(refusal.cause(), Cause::LockedMemory);
                let text = error.to_string();
                let needed = format!("{} KiB", locked_bytes_of_a_core().div_ceil(1024));
                for word in ["(ENOMEM)", &needed, "RLIMIT_MEMLOCK is 64 KiB", "; cure: "] {
                    assert!(text.contains(word), "`{word}` is not in: {text}");
                }
                refusals += 1;
            }
        }
    }
    let is_small = |runtime: &Runtime| runtime.features().completion_entries() < 4096;
    let full = runtimes.iter().filter(|runtime| !is_small(runtime)).count();
    // Kernels from 5.12 to 6.13 count only what is registered, so there all of them may fit.
    assert!(refusals > 0 || full == 64, "{full} of full size, {refusals} refused");
    for runtime in &runtimes {
        assert_echoes(runtime);
    }
    // What is closed makes room for another, after a while: each refusal waits for it.
    runtimes.clear();
    let again = (0..50).find_map(|_| Runtime::new().ok());
    assert_echoes(&again.expect("locked memory is given back"));
}

#[test]
fn the_probe_reckons_memory_for_the_cores_that_are_asked_for() {
    let test = "limits::the_probe_reckons_memory_for_the_cores_that_are_asked_for";
    if in_child_with_little_memory(test) {
        return;
    }
    // Not necessarily the same: the second start may find less memory than the first.
    let page = corio(&["probe", "--cores", "64"]).output().unwrap();
    let object = corio(&["probe", "--cores", "64", "--json"]).output().unwrap();
    let code = object.status.code().unwrap();
    let (page, object) = (text(&page.stdout), text(&object.stdout));
    let json: Value = serde_json::from_str(object).unwrap();
    assert!(code == 1 || code == 2, "{page}");
    assert_eq!(json["limits"]["cores"], 64);
    assert_eq!(json["limits"]["memlock_suffices"], false);
    assert_eq!(json["limits"]["locked_bytes_needed"], 64 * locked_bytes_of_a_core());
    let kib = locked_bytes_of_a_core().div_ceil(1024);
    let sum = format!("64 x {kib} KiB = {} KiB; you have 64 KiB: TOO LITTLE", 64 * kib);
    assert!(page.contains(&sum), "{page}");
    let cures = json["cures"].as_array().unwrap();
    assert!(cures.iter().any(|cure| cure["text"].as_str().unwrap().contains("memlock")), "{page}");
}

#[test]
fn without_a_descriptor_left_a_start_is_refused_with_the_number_and_the_cure() {
    let test = "limits::without_a_descriptor_left_a_start_is_refused_with_the_number_and_the_cure";
    if in_child(test, &["sh", "-c", "ulimit -n 40 && exec \"$@\"", "sh"]) {
        return;
    }
    // A core's bell is kept for the next core, so the second time one descriptor is enough.
    for (driver, refusals_min) in [(None, 3), (Some(Driver::Epoll), 1)] {
        let mut files = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            files.push(file);
        }
        let mut refusals = 0;
        // One descriptor more each time, until there are enough.
        let runtime = loop {
            let builder = Runtime::builder();
            let builder = match driver {
                Some(driver) => builder.driver(driver),
                None => builder,
            };
            match builder.build() {
                Ok(runtime) => break runtime,
                Err(error) => {
                    let text = error.to_string();
                    let words = ["(EMFILE)", "RLIMIT_NOFILE allows: 40", "; cure: "];
                    for word in words {
                        assert!(text.contains(word), "`{word}` is not in: {text}");
                    }
                    refusals += 1;
                }
            }
            files.pop().expect("so many descriptors cannot be needed");
        };
        assert_eq!(runtime.features().driver(), driver.unwrap_or(Driver::Uring));
        assert!(refusals >= refusals_min, "{refusals}: any descriptor may be the one that lacks");
        drop(files);
        assert_echoes(&runtime);
    }
}
