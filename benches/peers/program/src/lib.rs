//! What all peers have in common, so that only their runtimes differ: the command line, and HTTP
//! without sockets, which is the code that corio's own server runs.
//!
//! ```text
//! PEER echo|lean|http --port P [--buffer BYTES] [--core C] [--spin MICROS]
//! ```
//!
//! `echo` gives each connection a buffer, as the runtimes' documents show it. `lean` waits until
//! there is something to read before it takes one, where a runtime can do that.

use std::cell::RefCell;
use std::env;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

// The client's half of it is not used here.
#[allow(dead_code, unused_imports)]
#[path = "../../../../src/bin/corio/http/mod.rs"]
mod http;

/// As much as corio receives at once.
const BUFFER_BYTES_DEFAULT: usize = 16 * 1024;

/// What a server does with its connections.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Echo,
    Lean,
    Http,
}

/// What the command line asks for.
pub struct Orders {
    pub kind: Kind,
    pub port: u16,
    pub buffer_bytes: usize,
    /// How long to poll before sleeping, where the runtime can.
    pub spin: Option<Duration>,
}

impl Orders {
    /// Reads the command line and pins the thread if it asks for that. `known` is what this server
    /// can do.
    pub fn read(known: &[Kind]) -> Result<Orders, String> {
        let arguments: Vec<String> = env::args().skip(1).collect();
        let (kind, rest) = arguments.split_first().ok_or("the first word is what to serve")?;
        let kind = match kind.as_str() {
            "echo" => Kind::Echo,
            "lean" => Kind::Lean,
            "http" => Kind::Http,
            _ => return Err(format!("`{kind}` is not a server: `echo`, `lean` or `http`")),
        };
        if !known.contains(&kind) {
            return Err("this peer has no such server".to_owned());
        }
        let mut orders = Orders { kind, port: 0, buffer_bytes: BUFFER_BYTES_DEFAULT, spin: None };
        for pair in rest.chunks(2) {
            match pair {
                [name, value] if name == "--port" => orders.port = number(value)?,
                [name, value] if name == "--buffer" => orders.buffer_bytes = number(value)?,
                [name, value] if name == "--core" => pin(number(value)?)?,
                [name, value] if name == "--spin" => {
                    orders.spin = Some(Duration::from_micros(number(value)?));
                }
                _ => return Err(format!("`{}` is not understood", pair.join(" "))),
            }
        }
        Ok(orders)
    }
}

fn number<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("`{text}`: {error}"))
}

fn pin(id: usize) -> Result<(), String> {
    let pinned = core_affinity::set_for_current(core_affinity::CoreId { id });
    if pinned { Ok(()) } else { Err(format!("this process may not run on CPU {id}")) }
}

thread_local! {
    /// The texts of the answers, with the date: made once a second for all connections.
    static ANSWERS: RefCell<http::Answers> = RefCell::new(http::Answers::new());
}

/// One connection of HTTP/1.1 without its socket.
pub struct Conversation {
    inner: http::Conversation,
    /// A request that is not whole yet.
    part: Vec<u8>,
}

impl Default for Conversation {
    fn default() -> Conversation {
        Conversation::new()
    }
}

impl Conversation {
    pub fn new() -> Conversation {
        Conversation { inner: http::Conversation::new(), part: Vec::new() }
    }

    /// Takes all of `input` and appends the answers to what is whole in it to `output`.
    pub fn answer(&mut self, input: &[u8], output: &mut Vec<u8>) {
        ANSWERS.with_borrow_mut(|answers| {
            answers.refresh();
            if self.part.is_empty() {
                let taken = self.inner.take(input, answers, output);
                self.part.extend_from_slice(&input[taken..]);
            } else {
                self.part.extend_from_slice(input);
                let taken = self.inner.take(&self.part, answers, output);
                self.part.drain(..taken);
            }
        });
    }

    /// The connection ends once the answers are sent.
    pub fn is_over(&self) -> bool {
        self.inner.is_over()
    }
}
