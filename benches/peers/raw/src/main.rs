//! The raw io_uring and epoll servers of corio's own echo benchmark: its files, not written a
//! second time.
//!
//! ```text
//! raw-peer raw-uring|raw-epoll --port P
//! ```

#[path = "../../../echo/raw_epoll.rs"]
mod raw_epoll;
#[path = "../../../echo/raw_uring.rs"]
mod raw_uring;
#[path = "../../../echo/server.rs"]
mod server;
#[path = "../../../echo/table.rs"]
mod table;

fn main() -> Result<(), String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (name, rest) = words.split_first().ok_or("the first word is the server's name")?;
    server::serve_until_signalled(name, rest)
}
