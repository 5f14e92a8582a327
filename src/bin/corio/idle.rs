//! Connections that do nothing: what does the server hold for each?
//!
//! Every connection is opened and echoes once, so that what a server makes at the first message is
//! there. Then the server's memory is read, and compared with that before the first connection.
//! During the measured time nothing is sent; what the server uses of its CPU then, it uses for
//! nothing. At the end every connection echoes once more: a connection that was given up to save
//! memory is an error.

use std::rc::Rc;

use corio::JoinHandle;
use corio::net::TcpStream;
use corio::time::{Duration, Instant};

use crate::client::{Client, Echo};
use crate::load::{self, Moment, Outcome, Plan};
use crate::machine;
use crate::traffic::{Pattern, Phase, Tally};

/// How many connections echo at the same moment.
const AT_ONCE: usize = 256;

/// The least time between the last echo and the reading of the memory.
const SETTLE: Duration = Duration::from_millis(200);

type Opened = (TcpStream, Client<Echo>);

pub(crate) async fn measure(plan: &Plan, tally: &Rc<Tally>) -> Result<Outcome, String> {
    let memory = || plan.server_process.and_then(machine::own_memory_bytes);
    let before = memory();
    let streams = load::connect_all(plan).await?;
    let pattern = Pattern::new(plan.work.size());
    let opened = streams.into_iter().enumerate().map(|(index, stream)| {
        let dialogue = Echo::new(index, plan.work.size(), pattern);
        let tally = Rc::clone(tally);
        (stream, Client { index, messages_per_batch: 1, dialogue, pace: None, tally })
    });
    let opened = echo_all(opened.collect(), 0, tally).await;
    load::pass(plan.warmup.max(SETTLE), tally, &plan.progress).await;
    let after = memory();

    let begin = Moment::now(plan, tally);
    tally.enter(Phase::Measuring);
    load::pass(plan.duration, tally, &plan.progress).await;
    let opened = echo_all(opened, 1, tally).await;
    let end = Moment::now(plan, tally);
    tally.enter(Phase::Ending);
    drop(opened);

    let mut outcome = load::outcome(&begin, &end, tally);
    let growth = before.zip(after).map(|(before, after)| after as f64 - before as f64);
    outcome.bytes_per_connection = growth.map(|bytes| bytes / plan.connections as f64);
    Ok(outcome)
}

/// Every connection echoes once, some at a time. Those that fail are counted and left out.
async fn echo_all(opened: Vec<Opened>, number: u64, tally: &Rc<Tally>) -> Vec<Opened> {
    let mut done = Vec::with_capacity(opened.len());
    let mut waiting = opened.into_iter();
    loop {
        let some: Vec<JoinHandle<_>> = waiting
            .by_ref()
            .take(AT_ONCE)
            .map(|one| corio::spawn(echo_once(one, number)))
            .collect();
        if some.is_empty() {
            return done;
        }
        for echoing in some {
            match echoing.await {
                Ok(Ok(one)) => done.push(one),
                Ok(Err(error)) => tally.ended(Some(error)),
                Err(error) => tally.ended(Some(format!("a connection's task failed: {error}"))),
            }
        }
    }
}

async fn echo_once(one: Opened, number: u64) -> Result<Opened, String> {
    let (mut stream, mut client) = one;
    let index = client.index;
    let echoed = client.round_trip(&mut stream, number, Instant::now());
    let echoed = corio::timeout(load::SILENCE_LIMIT * 3, echoed).await;
    match echoed {
        Ok(Ok(_)) => Ok((stream, client)),
        Ok(Err(error)) => Err(format!("connection {index}: {error}")),
        Err(_) => Err(format!("connection {index} had no answer to its message")),
    }
}
