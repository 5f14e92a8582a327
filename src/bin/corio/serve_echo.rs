//! `corio serve echo`: the bare echo server, one task per connection, on one core or several.
//!
//! It is what every measurement of corio measures, so it stays as small as the example in the
//! README. What is around it is that of all servers: see `serving.rs`.

use std::io;
use std::rc::Rc;

use clap::Args;
use corio::net::TcpStream;

use crate::Failure;
use crate::serving::{self, Counters, ServeOptions};

/// Run a bare echo server until SIGINT (Ctrl-C) or SIGTERM
///
/// What a client sends comes back, byte by byte. The server runs on one core, or on --cores, and is
/// meant to be driven by any load generator. `listening on ADDRESS` is printed on standard error
/// once clients can connect.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    serve: ServeOptions,
}

pub(crate) fn main(options: &Options) -> Result<(), Failure> {
    serving::main(&options.serve, || echo)
}

async fn echo(mut stream: TcpStream, counters: Rc<Counters>) -> io::Result<()> {
    let (mut reader, writer) = stream.split();
    while let Some(chunk) = reader.read_chunk().await? {
        counters.requested(1);
        writer.write_owned(chunk).await?;
    }
    Ok(())
}
