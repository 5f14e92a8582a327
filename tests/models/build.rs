//! Takes the files under test from the library, with `loom`'s atomics, locks and shares in the
//! place of std's. The library's text stays free of all this; what is exchanged is exchanged here,
//! and each exchange must find something to exchange.

use std::path::Path;
use std::{env, fs};

fn main() {
    let out = env::var("OUT_DIR").expect("cargo sets it");
    let std_to_loom = [("std::sync::", "loom::sync::")];
    take("sync/error", Path::new(&out), &[]);
    for name in ["ring", "waiters", "patience", "mpsc", "mpsc/sender", "mpsc/receiver"] {
        let swaps: &[_] = match name {
            "waiters" => &[],
            // Each look more doubles the orders to be run.
            "patience" => &[("const LOOKS_A_CLOCK: u32 = 8", "const LOOKS_A_CLOCK: u32 = 1")],
            _ => &std_to_loom,
        };
        take(&format!("channel/{name}"), Path::new(&out), swaps);
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
    take("executor/inbox", Path::new(&out), &inbox);
}

/// Copies a file's product code. Attributes of the whole file cannot be included, nor its essay.
fn take(name: &str, out: &Path, swaps: &[(&str, &str)]) {
    let from = format!("../../src/{name}.rs");
    println!("cargo::rerun-if-changed={from}");
    let text = fs::read_to_string(&from).unwrap_or_else(|error| panic!("{from}: {error}"));
    let product = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let is_inner = |line: &&str| !line.starts_with("//!") && !line.starts_with("#![");
    let mut product: String =
        product.lines().filter(is_inner).flat_map(|line| [line, "\n"]).collect();
    for (old, new) in swaps {
        assert!(product.contains(old), "{from}: there is no `{old}` to exchange");
        product = product.replace(old, new);
    }
    // Modules inside are taken one by one.
    product = product.replace("\nmod receiver;\nmod sender;\n", "\n");
    let to = out.join(format!("{}.rs", name.replace('/', "_")));
    fs::write(&to, product).unwrap_or_else(|error| panic!("{}: {error}", to.display()));
}
