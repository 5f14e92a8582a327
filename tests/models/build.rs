//! Takes the files under test from the library, with `loom`'s atomics, locks and shares in the
//! place of std's. The library's text stays free of all this; what is exchanged is exchanged here,
//! and each exchange must find something to exchange.

#[path = "take.rs"]
mod take;

fn main() {
    let std_to_loom = [("std::sync::", "loom::sync::")];
    take::take("sync/error", &[]);
    for name in ["ring", "waiters", "patience", "mpsc", "mpsc/sender", "mpsc/receiver"] {
        let swaps: &[_] = match name {
            "waiters" => &[],
            // Each look more doubles the orders to be run.
            "patience" => &[("const LOOKS_A_CLOCK: u32 = 8", "const LOOKS_A_CLOCK: u32 = 1")],
            _ => &std_to_loom,
        };
        take::take(&format!("channel/{name}"), swaps);
    }
    let inbox = [
        ("std::sync::", "loom::sync::"),
        // Loom's atomics are made at run time.
        ("pub(crate) const fn new", "pub(crate) fn new"),
        (
            "[const { Cell { stamp: AtomicU64::new(0), ticket: AtomicU64::new(0) } };\n\
             \x20               CAPACITY]",
            "std::array::from_fn(|_| Cell { stamp: AtomicU64::new(0), ticket: AtomicU64::new(0) })",
        ),
    ];
    take::take("executor/inbox", &inbox);
}
