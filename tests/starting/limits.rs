//! Limits that are too low: a smaller ring or a refusal with the numbers, never another driver.

use std::fs::File;

use corio::probe::{Cause, Environment, Refusal, locked_bytes_of_a_core};
use corio::{Driver, Runtime};

use crate::{assert_echoes, in_child, is_root, probe};

/// Locks 64 KiB at most. For root the limit does not count, so it goes without that right.
fn little_memory() -> Vec<&'static str> {
    let mut prefix = vec!["sh", "-c", "ulimit -l 64 && exec \"$@\"", "sh"];
    if is_root() {
        prefix.extend(["setpriv", "--bounding-set", "-ipc_lock"]);
    }
    prefix
}

#[test]
fn sixty_four_cores_in_64_kib_get_smaller_rings_or_a_refusal_with_the_numbers() {
    let test = "limits::sixty_four_cores_in_64_kib_get_smaller_rings_or_a_refusal_with_the_numbers";
    if in_child(test, &little_memory()) {
        return;
    }
    let limit = Environment::read();
    assert_eq!(limit.locked_memory.soft, Some(64 << 10));
    assert!(!limit.may_lock_memory, "the limit counts");
    let (mut runtimes, mut refusals) = (Vec::new(), 0);
    for _ in 0..64 {
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
    assert_eq!(runtimes.len() + refusals, 64);
    let is_small = |runtime: &Runtime| runtime.features().completion_entries() < 4096;
    let full = runtimes.iter().filter(|runtime| !is_small(runtime)).count();
    // Kernels from 5.12 to 6.13 count only what is registered, so there all of them may fit.
    assert!(refusals > 0 || full == 64, "{full} of full size, {refusals} refused");
    for runtime in &runtimes {
        assert_echoes(runtime);
    }
    // What the others locked was given back: one that is closed makes room for another.
    if refusals > 0 && !runtimes.is_empty() {
        runtimes.clear();
        assert_echoes(&Runtime::new().unwrap());
    }
}

#[test]
fn the_probe_reckons_memory_for_the_cores_that_are_asked_for() {
    let test = "limits::the_probe_reckons_memory_for_the_cores_that_are_asked_for";
    if in_child(test, &little_memory()) {
        return;
    }
    let (code, page, json) = probe(&["--cores", "64"]);
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
