//! `corio serve http`: a lean HTTP/1.1 server, one task per connection, on one core or several.
//!
//! A task takes what has arrived, answers every request in it, and writes all answers at once; so
//! pipelined requests cost one write. Requests are read where they lie, in the stream's inbox. Only
//! one that came in pieces is put together in memory of its own, which is given back with its end:
//! an idle connection holds no buffer.
//!
//! A client gets limited time: to send a request it has begun, to read its answers, and to do
//! nothing at all. The limit of a head runs from its first byte, so that a byte now and then does
//! not keep it alive.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use corio::net::TcpStream;
use corio::time::Instant;

use crate::Failure;
use crate::arguments;
use crate::http::{Answers, Conversation};
use crate::serving::{self, Counters, ServeOptions};

/// How long a client may take to read answers, before more are sent to it.
const READING_LIMIT: Duration = Duration::from_secs(20);

/// Run a lean HTTP/1.1 server until SIGINT (Ctrl-C) or SIGTERM
///
/// It answers GET and HEAD of `/plaintext` (`Hello, World!`) and `/json` (`{"message":"Hello,
/// World!"}`), keeps connections, and takes pipelined requests. `listening on ADDRESS` is printed
/// on standard error once clients can connect.
#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    serve: ServeOptions,
    /// Time a client has to send one request, from its first byte
    #[arg(long, value_name = "S", default_value = "10", value_parser = arguments::seconds)]
    request_limit: Duration,
    /// Time a kept connection may do nothing
    #[arg(long, value_name = "S", default_value = "75", value_parser = arguments::seconds)]
    idle_limit: Duration,
}

pub(crate) fn main(options: &Options) -> Result<(), Failure> {
    let (request_limit, idle_limit) = (options.request_limit, options.idle_limit);
    serving::main(&options.serve, move || {
        // Answers are put together in one place for all connections of a core, and sent before the
        // next uses it.
        let site = Rc::new(RefCell::new(None));
        move |stream, counters| {
            let site = Rc::clone(&site);
            Connection { site, counters, request_limit, idle_limit }.run(stream)
        }
    })
}

/// What the connections share: the texts, and memory for answers while they are put together.
struct Site {
    answers: Answers,
    output: Vec<u8>,
}

struct Connection {
    /// Made by the first connection, since the date needs the runtime's clock.
    site: Rc<RefCell<Option<Site>>>,
    counters: Rc<Counters>,
    request_limit: Duration,
    idle_limit: Duration,
}

impl Connection {
    async fn run(self, mut stream: TcpStream) -> io::Result<()> {
        let mut conversation = Conversation::new();
        let mut part = Partial::default();
        while !conversation.is_over() {
            let deadline = part.deadline;
            let input = match deadline {
                Some(deadline) => corio::time::timeout_at(deadline, stream.fill_buf()).await,
                None => corio::timeout(self.idle_limit, stream.fill_buf()).await,
            };
            let Ok(input) = input else {
                return self.give_up(stream, deadline.is_some()).await;
            };
            let input = input?;
            if input.is_empty() {
                break;
            }
            let (len, output) = self.answer(&mut conversation, &mut part, input);
            stream.consume(len);
            if !output.is_empty() {
                self.send(&stream, output).await?;
            }
        }
        stream.close().await.map(drop)
    }

    /// Answers what is whole in `input` and what was kept before; keeps what is not. Takes all of
    /// the input.
    fn answer(
        &self,
        conversation: &mut Conversation,
        part: &mut Partial,
        input: &[u8],
    ) -> (usize, Vec<u8>) {
        let mut site = self.site.borrow_mut();
        let site = site.get_or_insert_with(|| Site { answers: Answers::new(), output: Vec::new() });
        site.answers.refresh();
        let mut output = std::mem::take(&mut site.output);
        let answered = conversation.request_count();
        if part.bytes.is_empty() {
            let taken = conversation.take(input, &site.answers, &mut output);
            part.bytes.extend_from_slice(&input[taken..]);
        } else {
            part.bytes.extend_from_slice(input);
            let taken = conversation.take(&part.bytes, &site.answers, &mut output);
            part.bytes.drain(..taken);
        }
        let count = conversation.request_count() - answered;
        self.counters.requested(count);
        part.settle(conversation, count > 0, self.request_limit);
        (input.len(), output)
    }

    /// Sends answers, and gives their memory back to the site.
    async fn send(&self, stream: &TcpStream, mut output: Vec<u8>) -> io::Result<()> {
        let sent = corio::timeout(READING_LIMIT, stream.write(&output)).await;
        match sent {
            Ok(sent) => sent?,
            Err(elapsed) => {
                stream.abort();
                return Err(elapsed.into());
            }
        }
        output.clear();
        if let Some(site) = self.site.borrow_mut().as_mut() {
            site.output = output;
        }
        Ok(())
    }

    /// A client that was too slow with a request is told; one that was idle just loses its
    /// connection, as HTTP allows at any time.
    async fn give_up(&self, stream: TcpStream, within_request: bool) -> io::Result<()> {
        if within_request {
            let mut output = Vec::new();
            if let Some(site) = self.site.borrow_mut().as_mut() {
                site.answers.timed_out(&mut output);
            }
            self.send(&stream, output).await?;
        }
        stream.close().await.map(drop)
    }
}

/// A request that is not whole yet.
#[derive(Default)]
struct Partial {
    bytes: Vec<u8>,
    /// When it has to be whole; `None` between requests.
    deadline: Option<Instant>,
}

impl Partial {
    /// After bytes were taken: frees the memory of what is over, and starts the time of a request
    /// that has begun.
    fn settle(&mut self, conversation: &Conversation, is_new: bool, limit: Duration) {
        if self.bytes.is_empty() && self.bytes.capacity() > 0 {
            self.bytes = Vec::new();
        }
        if self.bytes.is_empty() && !conversation.is_within_request() {
            self.deadline = None;
        } else if is_new || self.deadline.is_none() {
            self.deadline = Instant::now().checked_add(limit);
        }
    }
}
