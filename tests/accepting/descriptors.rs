//! Descriptors: how many there are, and what happens when there are none left.

use std::fs::File;
use std::io::{Read, Seek};
use std::time::Duration;

use corio::time::Instant;
use corio::{sleep, timeout};

use crate::{PATIENCE, child, connect_all, listen};

/// All descriptors of this process.
pub fn count() -> usize {
    // One of them is the listing's own.
    std::fs::read_dir("/proc/self/fd").expect("/proc is mounted").count() - 1
}

#[corio::test]
fn without_descriptors_a_listener_rests_and_then_goes_on() {
    let name = "descriptors::without_descriptors_a_listener_rests_and_then_goes_on";
    let prefix = ["sh", "-c", "ulimit -n 64; exec \"$0\" \"$@\""];
    if let Some(output) = child::rerun(name, &prefix) {
        let text = String::from_utf8_lossy(&output.stderr);
        let reports = text.lines().filter(|line| line.contains("a listener cannot accept"));
        assert_eq!(reports.count(), 1, "one report, not one for each attempt:\n{text}");
        return;
    }
    corio::run(run_out_of_descriptors());
}

/// Nanoseconds that this thread spent on a CPU.
fn cpu_ns(schedstat: &mut File) -> u64 {
    let mut text = String::new();
    schedstat.rewind().expect("it can be read again");
    schedstat.read_to_string(&mut text).expect("it can be read");
    text.split(' ').next().and_then(|first| first.parse().ok()).expect("nanoseconds come first")
}

async fn run_out_of_descriptors() {
    let mut schedstat = File::open("/proc/thread-self/schedstat").unwrap();
    let listener = listen().await;
    let clients = connect_all(listener.local_addr().unwrap(), 10);
    let mut fillers: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    // Two are left for the first ones to be accepted.
    fillers.truncate(fillers.len() - 2);
    let mut accepted = Vec::new();
    for _ in 0..2 {
        accepted.push(timeout(PATIENCE, listener.accept()).await.expect("two fit").unwrap());
    }
    assert!(timeout(Duration::from_millis(200), listener.accept()).await.is_err());
    let (start, start_ns) = (Instant::now(), cpu_ns(&mut schedstat));
    assert!(timeout(Duration::from_secs(1), listener.accept()).await.is_err());
    let (elapsed_ns, spent_ns) = (start.elapsed().as_nanos() as u64, cpu_ns(&mut schedstat));
    let percent = (spent_ns - start_ns) * 100 / elapsed_ns;
    assert!(percent < 5, "{percent} % of a CPU for a listener that cannot accept");
    fillers.clear();
    for _ in 0..8 {
        accepted.push(timeout(PATIENCE, listener.accept()).await.expect("it recovers").unwrap());
    }
    drop((accepted, clients));
    // A pause that is under way when the listener goes keeps nothing alive.
    let fillers: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(timeout(Duration::from_millis(10), listener.accept()).await.is_err());
    drop((listener, fillers));
    let ended = async {
        while corio::stats().tasks > 0 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, ended).await.expect("the pause ends with its listener");
}
