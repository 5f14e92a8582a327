//! The work of `bench channel`: numbers that go to another core and come back.
//!
//! The other core is a thread of this process with a runtime of its own. It has the place that a
//! server has in other benchmarks: on the server's CPU, and its time is the server's. A connection
//! is a pair of channels, there and back. Whatever does not come back in its order is an error.

use std::rc::Rc;
use std::thread::{self, JoinHandle};

use corio::channel::mpsc::{Receiver, Sender};
use corio::time::Instant;
use corio::{Runtime, channel};

use crate::load::{Beside, Plan};
use crate::traffic::Tally;

/// Both ends of a pair of channels that are on one core.
pub(crate) struct Ends {
    there: Sender<u64>,
    back: Receiver<u64>,
}

/// The core that sends everything back, until nobody sends any more.
pub(crate) struct OtherCore {
    thread: JoinHandle<Result<(), String>>,
}

impl OtherCore {
    /// Starts it, with as many pairs of channels as there are connections.
    pub(crate) fn start(plan: &Plan, beside: Beside) -> Result<(OtherCore, Vec<Ends>), String> {
        let batch = plan.work.pipeline();
        let (mut here, mut other) = (Vec::new(), Vec::new());
        for _ in 0..plan.connections {
            let (there, arriving) = channel::mpsc(batch);
            let (leaving, back) = channel::mpsc(batch);
            here.push(Ends { there, back });
            other.push(Ends { there: leaving, back: arriving });
        }
        let thread = thread::Builder::new().name("other core".to_owned());
        let thread = thread
            .spawn(move || send_all_back(other, batch, beside))
            .map_err(|error| format!("cannot start the other core's thread: {error}"))?;
        Ok((OtherCore { thread }, here))
    }

    /// Waits for its end, which comes when the ends here are gone.
    pub(crate) async fn ended(self) -> Result<(), String> {
        let joined = corio::to_thread(move || self.thread.join()).await;
        let joined =
            joined.map_err(|error| format!("the other core cannot be waited for: {error}"));
        joined?.map_err(|_panic| "the other core's thread panicked".to_owned())?
    }
}

fn send_all_back(all: Vec<Ends>, batch: usize, beside: Beside) -> Result<(), String> {
    let mut builder = Runtime::builder().busy_poll(beside.busy_poll);
    if let Some(id) = beside.cpu {
        // This thread has its CPU from that of the load, and a core may only choose among its own.
        core_affinity::set_for_current(core_affinity::CoreId { id });
        builder = builder.pin(id);
    }
    let runtime = builder.build().map_err(|error| format!("the other core: {error}"))?;
    runtime.block_on(async {
        let tasks: Vec<_> =
            all.into_iter().map(|ends| corio::spawn(send_back(ends, batch))).collect();
        for task in tasks {
            task.await.map_err(|error| format!("a task of the other core failed: {error}"))?;
        }
        Ok(())
    })
}

async fn send_back(Ends { there, mut back }: Ends, batch: usize) {
    let mut values = Vec::with_capacity(batch);
    while back.recv_many(&mut values, batch).await > 0 {
        for value in values.drain(..) {
            if there.send(value).await.is_err() {
                return;
            }
        }
    }
}

/// One connection: sends a batch, and the next one when it is back.
pub(crate) async fn run(index: usize, batch: usize, ends: Ends, tally: Rc<Tally>) {
    let error = run_to_the_end(index, batch, ends, &tally).await.err();
    tally.ended(error.map(|error| format!("channel {index}: {error}")));
}

async fn run_to_the_end(
    index: usize,
    batch: usize,
    Ends { there, mut back }: Ends,
    tally: &Tally,
) -> Result<(), String> {
    let (mut sent, mut due) = (0, 0);
    let mut values = Vec::with_capacity(batch);
    while !tally.is_ending() {
        let begun_at = Instant::now();
        for _ in 0..batch {
            there.send(sent).await.map_err(|_| "the other core has ended".to_owned())?;
            sent += 1;
        }
        while due < sent {
            if back.recv_many(&mut values, batch).await == 0 {
                return Err("the other core has ended".to_owned());
            }
            tally.arrived(index, values.len() as u64, begun_at.elapsed().as_nanos() as u64);
            for value in values.drain(..) {
                if value != due {
                    return Err(format!("{value} came back where {due} was due"));
                }
                due += 1;
            }
        }
    }
    Ok(())
}
