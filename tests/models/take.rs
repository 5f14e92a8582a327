//! How a file of the library gets into a crate of tests that exchanges parts of it.

use std::path::Path;
use std::{env, fs};

/// Copies a file's product code. Attributes of the whole file cannot be included, nor its essay.
pub fn take(name: &str, swaps: &[(&str, &str)]) {
    let out = env::var("OUT_DIR").expect("cargo sets it");
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
    let to = Path::new(&out).join(format!("{}.rs", name.replace('/', "_")));
    fs::write(&to, product).unwrap_or_else(|error| panic!("{}: {error}", to.display()));
}
