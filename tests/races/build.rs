//! Takes the files under test from the library as they are, less their attributes of a whole file.

#[path = "../models/take.rs"]
mod take;

fn main() {
    take::take("sync/error", &[]);
    for name in ["ring", "place", "waiters", "patience", "mpsc", "mpsc/sender", "mpsc/receiver"] {
        take::take(&format!("channel/{name}"), &[]);
    }
    take::take("executor/inbox", &[]);
}
