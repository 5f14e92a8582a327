//! Each rule on a literal that it must accept and on one that it must refuse.
//!
//! `check` compares the findings without what follows the first `;`, the cure, so that a text
//! here says what is found and where, and the wording of the cure may change.

use std::path::Path;

use crate::rules::*;
use crate::source::Source;

#[track_caller]
fn check(findings: Vec<String>, expected: &[&str]) {
    let short = |finding: &String| finding.split(';').next().unwrap_or_default().to_string();
    let findings: Vec<String> = findings.iter().map(short).collect();
    assert_eq!(findings, expected);
}

const FLOORS: &[Floor] =
    &[("driver", 1), ("executor", 2), ("io", 4), ("net", 4), ("tls", 5), ("lib", ROOF)];

#[track_caller]
fn check_floors(path: &str, text: &str, sideways: &[Sideways], expected: &[&str]) {
    check(floors(&[Source::new(path, text)], FLOORS, sideways), expected);
}

#[test]
fn floors_are_one_way() {
    let text = "use crate::executor::{Core, slots};\nuse crate::driver;\ncrate::mark!(x);";
    check_floors("src/net/tcp.rs", text, &[], &[]);
    check_floors(
        "src/executor/turn.rs",
        "//! [`crate::net`]\nuse crate::{driver::{Op, Token},\n    net::TcpStream};",
        &[],
        &["src/executor/turn.rs:2: `executor` (floor 2) names `crate::net` (floor 4)"],
    );
    check_floors(
        "src/executor/turn.rs",
        "#[cfg(test)]\nmod tests { use crate::net; }\n#[cfg(test)]\nuse crate::net;",
        &[],
        &[],
    );
    check_floors(
        "src/driver/mod.rs",
        "fn f() { crate::Runtime::new() }",
        &[],
        &["src/driver/mod.rs:1: `crate::Runtime` hides its floor"],
    );
    check_floors(
        "src/tls.rs",
        "use crate::{driver, net};",
        &[],
        &["src/tls.rs:1: `tls` (floor 5) names `crate::driver` (floor 1)"],
    );
    check_floors("src/http.rs", "", &[], &["src/http.rs:1: `http` has no floor"]);
    check_floors("src/lib.rs", "pub use crate::net::TcpStream;", &[], &[]);
    check_floors(
        "src/tls.rs",
        "use crate::lib;",
        &[],
        &["src/tls.rs:1: `tls` (floor 5) names `crate::lib` (floor 6)"],
    );
}

#[test]
fn sideways_is_listed_and_needed() {
    let listed = &[("net", "io", "a stream's bytes are io's")];
    check_floors("src/net/tcp.rs", "use crate::io::Inbox;", listed, &[]);
    check_floors(
        "src/net/tcp.rs",
        "use crate::io::Inbox;",
        &[],
        &["src/net/tcp.rs:1: `net` (floor 4) names `crate::io` (floor 4)"],
    );
    check_floors("src/net/tcp.rs", "", listed, &["SIDEWAYS: `net` need not name `io`"]);
}

#[test]
fn unsafe_stays_inside_the_fence() {
    let fenced = Source::new("src/a.rs", "#![allow(unsafe_code)]\nunsafe { f() }");
    let open = Source::new("src/b.rs", "#![deny(unsafe_code)]\n// unsafe\n unsafe fn f() {}");
    let allowed = &[("src/a.rs", "the system calls")];
    check(unsafe_files(&[fenced, open], allowed), &["src/b.rs:3: `unsafe` outside the fence"]);
    let quiet = Source::new("src/a.rs", "fn f() {}");
    check(unsafe_files(&[quiet], allowed), &["src/a.rs:1: has no `unsafe`"]);
}

#[test]
fn banned_words_are_found_where_they_are_banned() {
    let ban = |reach, except| Ban {
        word: "libc::",
        instead: "ask the driver",
        within: &["src/"],
        except,
        reach,
    };
    let source = |path| {
        Source::new(
            path,
            "//! libc::read\nlibc::read();\n#[cfg(test)]\nmod tests { libc::read(); }",
        )
    };
    let bans = &[ban(Reach::Product, &[])];
    check(banned_words(&[source("src/net.rs")], bans), &["src/net.rs:2: `libc::`"]);
    check(banned_words(&[source("benches/raw.rs")], bans), &[]);
    let bans = &[ban(Reach::Code, &[])];
    let both = &["src/net.rs:2: `libc::`", "src/net.rs:4: `libc::`"];
    check(banned_words(&[source("src/net.rs")], bans), both);
    let bans = &[ban(Reach::CodeAndComments, &[])];
    let all = &["src/net.rs:2: `libc::`", "src/net.rs:4: `libc::`", "src/net.rs:1: `libc::`"];
    check(banned_words(&[source("src/net.rs")], bans), all);
    let bans = &[ban(Reach::Product, &[("src/driver/", "the system calls")])];
    check(banned_words(&[source("src/driver/socket.rs")], bans), &[]);
    check(banned_words(&[], bans), &["src/driver/:1: has no `libc::`"]);
}

#[test]
fn modules_are_nouns() {
    let sources = &[
        Source::new("src/util.rs", ""),
        Source::new("src/net/types/mod.rs", ""),
        Source::new("src/lib.rs", "use std::fmt;\nmod helpers { }\nuse core::task;"),
    ];
    let expected = &[
        "src/util.rs:1: a module called `util` says nothing",
        "src/net/types/mod.rs:1: a module called `types` says nothing",
        "src/lib.rs:2: a module called `helpers` says nothing",
    ];
    check(module_names(sources, &["util", "types", "helpers", "core"]), expected);
}

#[test]
fn files_may_only_shrink() {
    let sources = &[Source::new("src/a.rs", "1\n2\n3\n"), Source::new("src/b.rs", "1\n")];
    check(file_lengths(sources, 3, &[]), &[]);
    check(file_lengths(sources, 2, &[]), &["src/a.rs:1: 3 lines, more than 2"]);
    check(file_lengths(sources, 2, &[("src/a.rs", "", 3)]), &[]);
    check(file_lengths(sources, 1, &[("src/a.rs", "", 2)]), &["src/a.rs:1: 3 lines, was 2"]);
    check(file_lengths(sources, 2, &[("src/a.rs", "", 4)]), &["src/a.rs:1: 3 lines, was 4"]);
    check(
        file_lengths(sources, 3, &[("src/a.rs", "", 4)]),
        &["src/a.rs:1: 3 lines, short at last"],
    );
    check(file_lengths(sources, 3, &[("src/c.rs", "", 4)]), &["src/c.rs:1: `` is gone"]);
}

#[test]
fn functions_may_only_shrink() {
    let text = "fn short() {}\nimpl A {\n    fn long()\n    where\n        A: B,\n    {\n    }\n}";
    let sources = &[Source::new("src/a.rs", text)];
    check(function_lengths(sources, 5, &[]), &[]);
    check(function_lengths(sources, 4, &[]), &["src/a.rs:3: `long`, 5 lines, more than 4"]);
    check(function_lengths(sources, 4, &[("src/a.rs", "long", 5)]), &[]);
    check(
        function_lengths(sources, 4, &[("src/a.rs", "long", 6)]),
        &["src/a.rs:3: `long`, 5 lines, was 6"],
    );
}

#[test]
fn lines_are_as_wide_as_a_page() {
    let sources = &[Source::new("src/a.rs", "12345\nääääö\n123456\n// https://example.org")];
    check(columns(sources, 5), &["src/a.rs:3: 6 columns, more than 5"]);
}

#[test]
fn every_public_async_function_is_graded() {
    let graded = "/// Reads.\n///\n/// # Cancellation\n///\n/// **Strict**: nothing is lost.\n\
                  #[inline]\npub async fn read() {}";
    let grades = &["Strict", "Weak", "None"];
    let check_text = |text: &str, expected: &[&str]| {
        check(cancellation(&[Source::new("src/a.rs", text)], grades), expected);
    };
    check_text(graded, &[]);
    check_text("pub(crate) async fn read() {}\n// pub async fn x() {}", &[]);
    check_text("#[cfg(test)]\nmod tests { pub async fn read() {} }", &[]);
    let ungraded = "a public `async fn` without its grade";
    let missing = "/// Reads.\npub async fn read() {}";
    check_text(missing, &[&format!("src/a.rs:2: {ungraded}")]);
    check_text(&graded.replace("Strict", "Fine"), &[&format!("src/a.rs:7: {ungraded}")]);
    let next = format!("{graded}\n\npub async fn write() {{}}");
    check_text(&next, &[&format!("src/a.rs:9: {ungraded}")]);
}

#[test]
fn features_switch_modules() {
    let text = "#[cfg(feature = \"a\")]\nmod a;\nfn f() {\n    #[cfg(test)]\n    g();\n}";
    let expected = &["src/a.rs:4: `#[cfg` in a function"];
    check(cfg_in_bodies(&[Source::new("src/a.rs", text)], &[]), expected);
    check(cfg_in_bodies(&[Source::new("src/a.rs", text)], &[("src/a.rs", "why")]), &[]);
}

#[test]
fn links_lead_somewhere() {
    let text = "[a](docs/A.md#top) [b](https://b) [c](#c)\n`[d](d)`\n```\n[e](e)\n```\n[f](F.md)\n\n[g]: G.md";
    let sources = &[Source::new("docs/README.md", text)];
    let expected = &[
        "docs/README.md:6: the link `F.md` leads nowhere",
        "docs/README.md:8: the link `G.md` leads nowhere",
    ];
    check(markdown_links(sources, |path| path == Path::new("docs/docs/A.md")), expected);
}

#[test]
fn invariants_are_defined_and_cited() {
    let check_text = |text: &str, expected: &[&str]| {
        let definitions = "# Invariants\n\n* `[poll-once]` one poll at a time.";
        check(invariants(&[Source::new("src/a.rs", text)], "M.md", definitions), expected);
    };
    check_text(
        "// SAFETY: [poll-once] we hold\n// the [u8] lock.\nlet x =\n    unsafe { f() };",
        &[],
    );
    check_text("// SAFETY: [poll-once] so.\nunsafe impl Send for A {}\nunsafe fn f() {}", &[]);
    check_text("// The [poll-once] rule.\nfn f() {}", &[]);
    let nameless = "`unsafe` without a named reason";
    check_text(
        "// SAFETY: trust me.\nunsafe { f() } // [poll-once]",
        &[&format!("src/a.rs:2: {nameless}")],
    );
    check_text(
        "// SAFETY: [poll-once] so.\nunsafe { f() };\nunsafe { g() };",
        &[&format!("src/a.rs:3: {nameless}")],
    );
    let unknown = "src/a.rs:2: `[poll-twice]` is not defined";
    let uncited = "M.md:3: `[poll-once]` is cited nowhere";
    check_text("// SAFETY: [poll-twice] so.\nunsafe { f() };", &[unknown, uncited]);
}

#[test]
fn every_file_begins_with_its_essay() {
    let sources = &[Source::new("src/a.rs", "//! A."), Source::new("src/b.rs", "// B.")];
    check(headers(sources), &["src/b.rs:1: no essay on top"]);
}

#[test]
fn no_path_of_one_machine_remains() {
    let text = "cd /home/x\nsee ../home/y and a/home/z\n\"/home/w\"";
    let expected =
        &["ci/test:1: `/home/` is one machine's path", "ci/test:3: `/home/` is one machine's path"];
    check(machine_paths(&[Source::new("ci/test", text)], &["/home/"]), expected);
}

#[test]
fn every_dependency_has_a_reason() {
    let manifest = "[package]\nname = \"a\"\n[dependencies]\nslab = \"1\"\nio-uring = { }\n\
                    \n[dependencies.libc]\nversion = \"1\"\n[dev-dependencies]\nx = \"1\"";
    let sources = &[Source::new("Cargo.toml", manifest)];
    let expected =
        &["Cargo.toml:5: `io-uring` has no reason", "Cargo.toml:7: `libc` has no reason"];
    check(dependency_reasons(sources, &["Cargo.toml"], "M.md", "`slab`: why"), expected);
}

#[test]
fn names_of_another_library_lead_to_items() {
    let page = "| theirs | ours |\n|---|---|\n| `Lock.acquire(x)`, `gather` | `Mutex` |\n\
                | `async with Lost() as it` | gone |";
    let item = "#[doc(alias = \"acquire\")]\npub fn lock() {}\npub fn gather() {}";
    let sources = [Source::new("docs/NAMES.md", page), Source::new("src/sync.rs", item)];
    let words: &[Excuse] = &[("async", ""), ("with", "")];
    let lost = "docs/NAMES.md:4: nothing is found by `Lost`";
    check(aliases(&sources, "docs/NAMES.md", words), &[lost]);
    let excused: &[Excuse] = &[("async", ""), ("with", ""), ("Lost", ""), ("gather", "")];
    let idle = "docs/NAMES.md:1: `gather` needs no excuse";
    check(aliases(&sources, "docs/NAMES.md", excused), &[idle]);
}

#[test]
fn names_of_another_library_are_answered_for() {
    let page = "`Lock.acquire(x)` is ours,\nand gather is `lost`.";
    let sources = [Source::new("docs/NAMES.md", page)];
    let lost = "docs/NAMES.md:1: `gather` is not answered for";
    check(answers(&sources, "docs/NAMES.md", &["Lock", "acquire", "gather"]), &[lost]);
}
