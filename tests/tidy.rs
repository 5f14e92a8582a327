//! The style rules that neither the compiler nor clippy knows, as tests.
//!
//! What a machine can check is not left to a reader. The tables in this file are the law: which
//! module may name which, where `unsafe` may stand, which words are not used and what to write
//! instead, and the exceptions, each with its reason. An exception that is no longer needed
//! fails as well, so the tables only say what is true.
//!
//! `tidy/rules.rs` holds the rules as functions, `tidy/trials.rs` shows each of them failing,
//! and `tidy/source.rs` tells code from comments. A failure lists `path:line: what; cure`.

use std::path::Path;
use std::sync::OnceLock;

#[path = "tidy/asyncio.rs"]
mod asyncio;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/trials.rs"]
mod trials;

use rules::{Ban, Excuse, Floor, LongOne, ROOF, Reach, Sideways};
use source::Source;

/// The floors of the house: a module names only lower ones. The program is another crate, which
/// sees only what is public.
const FLOORS: &[Floor] = &[
    ("driver", 1),
    ("executor", 2),
    ("task", 3),
    ("context", 3),
    ("blocking", 3),
    ("time", 3),
    ("sync", 3),
    ("queue", 3),
    ("select", 3),
    ("io", 4),
    ("net", 4),
    ("fs", 4),
    ("process", 4),
    ("signal", 4),
    ("runtime", 4),
    ("probe", 4),
    ("cores", 4),
    ("channel", 4),
    ("compat", 5),
    ("tls", 5),
    ("http", 5),
    ("ws", 5),
    ("postgres", 5),
    ("redis", 5),
    ("tokio", 5),
    ("inspect", 5),
    ("testing", 5),
    ("lib", ROOF),
    ("__private", ROOF),
    ("bin", ROOF),
];

/// What may be named on the same floor, or, from floor 5, below the public floors.
const SIDEWAYS: &[Sideways] = &[
    ("net", "io", "a stream is a descriptor with io's inbox and outbox"),
    ("io", "fs", "a stream sends a file and is read into one"),
    ("fs", "io", "a read that is cut off says so as those of streams do"),
    ("net", "cores", "a server over many cores starts its parts there"),
    ("net", "signal", "a server ends on signals"),
    ("task", "time", "a grace limit is a sleep"),
    ("process", "io", "what a child reads and writes is a stream of io's"),
    ("process", "signal", "children are sent signals"),
    ("task", "context", "a task starts in a context"),
    ("cores", "runtime", "each core is a runtime on a thread of its own"),
    ("queue", "sync", "getters and putters stand in sync's line of waiters"),
    ("http", "compat", "hyper's connections run on its bridge"),
    ("http", "tls", "a server may serve over TLS, and a client speaks it where an address asks"),
    ("ws", "http", "an upgrade begins as a request"),
    ("ws", "tls", "a URL of wss:// is connected to with TLS"),
    ("postgres", "tls", "a session may be secret"),
    ("redis", "compat", "the library asks for a stream that is `Send`"),
];

/// The only files that hold `unsafe`.
const UNSAFE_FILES: &[Excuse] = &[
    ("src/driver/mod.rs", "the seam's one unsafe function: the kernel will use the payload"),
    ("src/driver/uring.rs", "submission entries point at payloads"),
    ("src/driver/epoll.rs", "system calls with payloads"),
    ("src/driver/trial.rs", "the ring's set-up and its trials, before any payload exists"),
    ("src/driver/probe/", "trials: operations with memory that is lent to them, registrations"),
    ("src/driver/files/", "system calls with payloads, and aligned memory"),
    ("src/driver/payload.rs", "memory that the kernel reads and writes"),
    ("src/driver/buffers.rs", "the pool's mapping, which kernel and chunks share"),
    ("src/driver/address.rs", "the kernel's socket addresses, whose length tells their type"),
    ("src/driver/attempt.rs", "system calls with payloads"),
    ("src/driver/message.rs", "headers that point into themselves, descriptors out of messages"),
    ("src/driver/datagram.rs", "plain system calls on descriptors that we own"),
    ("src/driver/local.rs", "plain system calls on descriptors that we own"),
    ("src/driver/pipe.rs", "plain system calls on descriptors that we own"),
    ("src/driver/process.rs", "plain system calls on pidfds that we own"),
    ("src/driver/socket.rs", "plain system calls on descriptors that we own"),
    ("src/driver/handing.rs", "plain system calls on descriptors that we own or are given"),
    ("src/driver/bell.rs", "plain system calls on an eventfd that is never closed"),
    ("src/driver/cpus.rs", "plain system calls on a thread's CPUs and signals"),
    ("src/driver/prefetch.rs", "an instruction of the CPU that changes nothing"),
    ("src/driver/clock.rs", "plain system calls that fill a struct, and the CPU's counter"),
    ("src/executor/slots.rs", "the one caller of `AnyDriver::push`"),
    ("src/executor/task.rs", "a task's future is pinned where it was allocated"),
    ("src/executor/ticket.rs", "the vtable of a waker that points to nothing"),
    ("src/sync/waiters.rs", "waiting futures are linked to one another"),
    ("src/sync/mutex.rs", "a guard is the right to reach the value"),
    ("src/sync/rwlock.rs", "a guard is the right to reach the value"),
    ("src/channel/place.rs", "a value is moved in and out behind a shared reference"),
    ("src/channel/ring.rs", "whose turn it is at a place"),
    ("src/channel/mpsc.rs", "who pushes into the ring has a permit"),
    ("src/channel/mpsc/receiver.rs", "who takes from the ring is the one receiver"),
    ("src/io/reading.rs", "lends the inbox's front past the end of a borrow"),
    ("src/driver/fake.rs", "reads payloads as a kernel would"),
    ("tests/models/src/lib.rs", "the explorer's counterpart of a ring's place"),
    ("tests/races/src/lib.rs", "a lock that the sanitizer of threads sees"),
    ("tests/quarantine.rs", "an allocator, and writes into freed memory that it must see"),
    ("tests/support/quarantine.rs", "an allocator"),
    ("tests/support/counted.rs", "an allocator that counts"),
    ("tests/support/seccomp.rs", "the system calls that put a process under a filter"),
    ("benches/idle_memory.rs", "an allocator that counts"),
    ("benches/echo/server.rs", "a yardstick without corio: system calls by their C names"),
    ("benches/peers/channels/src/floors.rs", "a yardstick without corio: eventfd and ring by hand"),
    ("benches/echo/main.rs", "a yardstick without corio: system calls by their C names"),
    ("benches/echo/raw_epoll.rs", "a yardstick without corio: system calls by their C names"),
    ("benches/echo/raw_uring.rs", "a yardstick without corio: the ring by hand"),
    ("benches/peers/files/src/plain.rs", "a yardstick without corio: the ring by hand"),
];

/// Files in which a function may contain `#[cfg]`.
const CFG_IN_BODIES: &[Excuse] = &[
    ("src/driver/mod.rs", "the fake driver of the tests has an arm beside the real ones"),
    ("src/driver/uring.rs", "an operation of the tests has an arm beside the real ones"),
    ("src/driver/epoll.rs", "an operation of the tests has an arm beside the real ones"),
];

const BANS: &[Ban] = &[
    Ban {
        word: "Instant::now",
        instead: "ask the driver for the time, so that a simulation can answer",
        within: &["src/"],
        except: &[
            ("src/time/", "corio's own Instant, which asks the driver"),
            ("src/http/", "corio's own Instant, which asks the driver"),
            ("src/ws/", "corio's own Instant, which asks the driver"),
            ("src/postgres/pool.rs", "corio's own Instant, which asks the driver"),
            ("src/bin/", "the program measures from outside"),
        ],
        reach: Reach::Product,
    },
    Ban {
        word: "std::time::Instant",
        instead: "write `crate::time::Instant`",
        within: &["src/"],
        except: &[("src/compat/hyper.rs", "hyper's deadlines are std's")],
        reach: Reach::Product,
    },
    Ban {
        word: "SystemTime",
        instead: "ask the driver for the time, so that a simulation can answer",
        within: &["src/"],
        except: &[
            ("src/bin/corio/http/answers.rs", "an answer of HTTP tells the date"),
            ("src/fs/metadata.rs", "times that are kept with files, and no clock"),
        ],
        reach: Reach::Product,
    },
    Ban {
        word: "libc::",
        instead: "ask the driver: everything that touches the outside goes through the seam",
        within: &["src/"],
        except: &[
            ("src/driver/", "the seam's other side"),
            ("src/executor/operation.rs", "numbers of errors by their names, no calls"),
            ("src/io/moving.rs", "a number of an error by its name, no calls"),
            ("src/io/stream.rs", "numbers of errors by their names, no calls"),
            ("src/net/datagrams.rs", "numbers of errors by their names, no calls"),
            ("src/net/listener.rs", "numbers of errors by their names, no calls"),
            ("src/signal/mod.rs", "numbers of signals by their names, no calls"),
        ],
        reach: Reach::Product,
    },
    Ban {
        word: "HashMap",
        instead: "take a Vec, a slab or a BTreeMap: no seed reaches the order of std's hash maps",
        within: &["src/"],
        except: &[],
        reach: Reach::Product,
    },
    Ban {
        word: "HashSet",
        instead: "take a Vec, a slab or a BTreeSet: no seed reaches the order of std's hash sets",
        within: &["src/"],
        except: &[],
        reach: Reach::Product,
    },
    Ban {
        word: ".unwrap()",
        instead: "write `.expect(\"why it cannot fail\")`, or return the error",
        within: &["src/", "runtime-macros/src/"],
        except: &[],
        reach: Reach::Product,
    },
    Ban {
        word: "println!",
        instead: "a library prints nothing; return it, or go through src/executor/report.rs",
        within: &["src/"],
        except: &[],
        reach: Reach::Product,
    },
    Ban {
        word: "eprintln!",
        instead: "a library prints nothing; return it, or go through src/executor/report.rs",
        within: &["src/"],
        except: &[
            ("src/bin/", "the program's messages"),
            ("src/executor/report.rs", "the one place that reports what nobody else can see"),
        ],
        reach: Reach::Product,
    },
    Ban {
        word: "corio::",
        instead: "write `crate::` and the module, so that the floors can be checked",
        within: &["src/"],
        except: &[("src/bin/", "the program is another crate")],
        reach: Reach::Product,
    },
    Ban {
        word: "super::super",
        instead: "write `crate::` and the module, so that the floors can be checked",
        within: &["src/"],
        except: &[],
        reach: Reach::Code,
    },
    Ban {
        word: "__private",
        instead: "use the public API; this is for the macros' expansions only",
        within: &["src/bin/", "examples/", "tests/"],
        except: &[],
        reach: Reach::Code,
    },
    Ban {
        word: "#[path",
        instead: "put the file where its module's name says",
        within: &["src/"],
        except: &[],
        reach: Reach::Code,
    },
    Ban {
        word: "thread::sleep",
        instead: "wait for the event itself: a sleep is too short on a busy machine, and slow",
        within: &["src/", "tests/", "runtime-macros/"],
        except: &[
            ("src/bin/corio/contender.rs", "std cannot wait for a child with a limit"),
            ("src/driver/trial.rs", "locked memory comes back a moment later, without a word"),
            ("tests/program.rs", "blocking peers that are slow on purpose"),
            ("tests/bench.rs", "a server that stands still on purpose"),
            ("tests/http.rs", "a client that trickles on purpose"),
            ("tests/support/program.rs", "waits for the state of another process"),
        ],
        reach: Reach::Code,
    },
    Ban {
        word: "#[ignore",
        instead: "repair the test or remove it",
        within: &[],
        except: &[],
        reach: Reach::Code,
    },
    Ban {
        word: "todo!",
        instead: "write it, or return an error that says what is missing",
        within: &[],
        except: &[],
        reach: Reach::Code,
    },
    Ban {
        word: "unimplemented!",
        instead: "write it, or return an error that says what is missing",
        within: &[],
        except: &[],
        reach: Reach::Code,
    },
    Ban { word: "dbg!", instead: "remove it", within: &[], except: &[], reach: Reach::Code },
    Ban {
        word: "FIXME",
        instead: "mend it, or file an issue",
        within: &[],
        except: &[],
        reach: Reach::CodeAndComments,
    },
    Ban {
        word: "XXX",
        instead: "mend it, or file an issue",
        within: &[],
        except: &[],
        reach: Reach::CodeAndComments,
    },
];

const BANNED_MODULES: &[&str] = &["core", "util", "utils", "common", "helpers", "misc", "types"];

/// Functions over 70 lines, as long as they are now; they may only shrink.
const FUNCTION_LINES_MAX: usize = 70;
const LONG_FUNCTIONS: &[LongOne] = &[];

/// Files over 600 lines, as long as they are now; they may only shrink.
const FILE_LINES_MAX: usize = 600;
const LONG_FILES: &[LongOne] = &[];

const COLUMNS_MAX: usize = 100;

const CANCELLATION_GRADES: &[&str] = &["Strict", "Weak", "None"];

/// Where machines of developers keep the tree. Written in two pieces, or this file would be the
/// first to be found.
const MACHINE_PATHS: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/fa", "rm/")];

/// The document that defines the invariants and gives each dependency its reason.
const ARCHITECTURE: &str = "docs/ARCHITECTURE.md";
const MANIFESTS: &[&str] = &["Cargo.toml", "runtime-macros/Cargo.toml"];

/// The page of asyncio's names, and those among them that lead to no item.
const NAMES: &str = "docs/ASYNCIO.md";
const NAMES_WITHOUT_ITEM: &[Excuse] = &[
    ("except", "a word of the language"),
    ("raise", "a word of the language"),
    ("async", "a word of the language"),
    ("partial", "a field of the error beside it"),
    ("LifoQueue", "an item of that name, made by a macro"),
    ("PriorityQueue", "an item of that name, made by a macro"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn tree() -> &'static [Source] {
    static TREE: OnceLock<Vec<Source>> = OnceLock::new();
    TREE.get_or_init(|| source::read_tree(root()))
}

fn architecture() -> &'static str {
    let found = tree().iter().find(|source| source.path == ARCHITECTURE);
    &found.unwrap_or_else(|| panic!("{ARCHITECTURE} is missing; it comes before the code")).text
}

#[track_caller]
fn assert_none(findings: Vec<String>) {
    assert!(findings.is_empty(), "\n\n{}\n", findings.join("\n"));
}

#[test]
fn imports_go_down() {
    assert_none(rules::floors(tree(), FLOORS, SIDEWAYS));
}

#[test]
fn unsafe_is_fenced() {
    assert_none(rules::unsafe_files(tree(), UNSAFE_FILES));
}

#[test]
fn banned_words_are_absent() {
    assert_none(rules::banned_words(tree(), BANS));
}

#[test]
fn modules_are_named_after_nouns() {
    assert_none(rules::module_names(tree(), BANNED_MODULES));
}

#[test]
fn functions_are_short() {
    assert_none(rules::function_lengths(tree(), FUNCTION_LINES_MAX, LONG_FUNCTIONS));
}

#[test]
fn files_are_short() {
    assert_none(rules::file_lengths(tree(), FILE_LINES_MAX, LONG_FILES));
}

#[test]
fn lines_are_narrow() {
    assert_none(rules::columns(tree(), COLUMNS_MAX));
}

#[test]
fn cancellation_is_graded() {
    assert_none(rules::cancellation(tree(), CANCELLATION_GRADES));
}

#[test]
fn no_cfg_stands_in_a_function() {
    assert_none(rules::cfg_in_bodies(tree(), CFG_IN_BODIES));
}

#[test]
fn markdown_links_resolve() {
    assert_none(rules::markdown_links(tree(), |path| root().join(path).exists()));
}

#[test]
fn invariants_are_named() {
    assert_none(rules::invariants(tree(), ARCHITECTURE, architecture()));
}

#[test]
fn files_begin_with_an_essay() {
    assert_none(rules::headers(tree()));
}

#[test]
fn no_machine_is_named() {
    assert_none(rules::machine_paths(tree(), MACHINE_PATHS));
}

#[test]
fn dependencies_have_reasons() {
    assert_none(rules::dependency_reasons(tree(), MANIFESTS, ARCHITECTURE, architecture()));
}

#[test]
fn asyncio_names_are_found() {
    assert_none(rules::aliases(tree(), NAMES, NAMES_WITHOUT_ITEM));
}

#[test]
fn asyncio_names_are_answered_for() {
    assert_none(rules::answers(tree(), NAMES, asyncio::NAMES));
}
