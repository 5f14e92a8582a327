//! The kinds of waits: how each begins, and what makes it ready.

use std::future::ready;
use std::time::Duration;

use corio::net::TcpStream;
use futures_util::StreamExt;

use super::stage::{Far, Near, pattern};
use super::{Attempt, turn};

/// One kind of wait.
pub struct Kind {
    pub name: &'static str,
    /// Brings the near end into the state in which the attempt has to wait.
    pub prepare: for<'a> fn(&'a mut Near) -> Attempt<'a>,
    pub attempt: for<'a> fn(&'a mut Near) -> Attempt<'a>,
    /// Makes the attempt ready, sooner or later.
    pub stimulus: for<'a> fn(&'a mut Far) -> Attempt<'a>,
    /// The stream cannot be used again after it.
    pub ends_stream: bool,
    /// It owns a descriptor, which a forgotten one keeps, with one operation.
    pub keeps_stream: bool,
    /// It waits in a queue, where a forgotten one keeps its turn.
    pub holds_turn: bool,
}

/// What most kinds are.
pub const PLAIN: Kind = Kind {
    name: "",
    prepare: nothing_near,
    attempt: nothing_near,
    stimulus: nothing_far,
    ends_stream: false,
    keeps_stream: false,
    holds_turn: false,
};

fn nothing_near(_: &mut Near) -> Attempt<'_> {
    Box::pin(ready(()))
}

fn nothing_far(_: &mut Far) -> Attempt<'_> {
    Box::pin(ready(()))
}

fn fill_outbox(near: &mut Near) -> Attempt<'_> {
    Box::pin(near.fill_outbox())
}

fn client(far: &mut Far) -> Attempt<'_> {
    Box::pin(async {
        let client = TcpStream::connect(far.address).await.unwrap();
        far.clients.push(client);
    })
}

/// Two pieces, so that some waits are woken twice.
fn bytes(far: &mut Far) -> Attempt<'_> {
    Box::pin(async {
        far.send(3).await;
        turn().await;
        far.send(300).await;
    })
}

fn end(far: &mut Far) -> Attempt<'_> {
    Box::pin(async {
        far.send(3000).await;
        far.stream.shutdown().await.unwrap();
    })
}

/// Reads what is on its way, until the other side has room again.
fn drain(far: &mut Far) -> Attempt<'_> {
    Box::pin(async {
        while corio::timeout(Duration::from_millis(2), far.hear()).await == Ok(true) {}
    })
}

/// All of them.
pub static KINDS: &[Kind] = &[
    Kind {
        name: "accept",
        attempt: |near| {
            Box::pin(async { near.accepted.push(near.listener.accept().await.unwrap()) })
        },
        stimulus: client,
        holds_turn: true,
        ..PLAIN
    },
    Kind {
        name: "incoming",
        attempt: |near| {
            Box::pin(async {
                let client = near.listener.incoming().next().await;
                near.accepted.push(client.unwrap().unwrap());
            })
        },
        stimulus: client,
        holds_turn: true,
        ..PLAIN
    },
    Kind {
        name: "connect",
        attempt: |near| {
            Box::pin(async {
                TcpStream::connect(near.address).await.unwrap().abort();
            })
        },
        keeps_stream: true,
        ..PLAIN
    },
    Kind {
        name: "listener close",
        attempt: |near| {
            Box::pin(async {
                near.listener.close().await;
                near.stream = None;
            })
        },
        ends_stream: true,
        ..PLAIN
    },
    Kind {
        name: "read",
        attempt: |near| {
            Box::pin(async {
                let mut buffer = [0; 100];
                let count = near.stream().read(&mut buffer).await.unwrap();
                near.taken.take(&buffer[..count]);
            })
        },
        stimulus: bytes,
        ..PLAIN
    },
    Kind {
        name: "read_chunk",
        attempt: |near| {
            Box::pin(async {
                let chunk = near.stream().read_chunk().await.unwrap();
                near.taken.take(&chunk.unwrap());
            })
        },
        stimulus: bytes,
        ..PLAIN
    },
    Kind {
        name: "read_exact",
        attempt: |near| {
            Box::pin(async {
                let mut buffer = [0; 200];
                near.stream().read_exact(&mut buffer).await.unwrap();
                near.taken.take(&buffer);
            })
        },
        stimulus: bytes,
        ..PLAIN
    },
    Kind {
        name: "read_until",
        attempt: |near| {
            Box::pin(async {
                let record = near.stream().read_until(b"\r\n", 5000).await.unwrap();
                near.taken.take(&record);
            })
        },
        stimulus: bytes,
        ..PLAIN
    },
    Kind {
        name: "read_line",
        attempt: |near| {
            Box::pin(async {
                let line = near.stream().read_line(5000).await.unwrap();
                near.taken.take(&line);
            })
        },
        stimulus: bytes,
        ..PLAIN
    },
    Kind {
        name: "read_to_end",
        attempt: |near| {
            Box::pin(async {
                let Near { stream, rest, .. } = near;
                stream.as_mut().unwrap().read_to_end(rest).await.unwrap();
                assert_eq!(*rest, pattern(0, 3000));
            })
        },
        stimulus: end,
        ends_stream: true,
        ..PLAIN
    },
    Kind {
        name: "fill_buf",
        attempt: |near| {
            Box::pin(async {
                let shown = near.stream().fill_buf().await.unwrap().to_vec();
                near.taken.take(&shown);
                near.stream().consume(shown.len());
            })
        },
        stimulus: bytes,
        ..PLAIN
    },
    Kind {
        name: "timeout of a read",
        attempt: |near| {
            Box::pin(async {
                let mut buffer = [0; 100];
                let minute = Duration::from_secs(60);
                let read = corio::timeout(minute, near.stream().read(&mut buffer)).await;
                near.taken.take(&buffer[..read.unwrap().unwrap()]);
            })
        },
        stimulus: bytes,
        ..PLAIN
    },
    Kind {
        name: "write",
        attempt: |near| {
            Box::pin(async {
                let bytes = pattern(near.written, 5000);
                near.stream().write(bytes).await.unwrap();
                near.written += 5000;
            })
        },
        ..PLAIN
    },
    Kind {
        name: "write that is blocked",
        prepare: fill_outbox,
        attempt: |near| {
            Box::pin(async {
                let bytes = pattern(near.written, 5000);
                near.stream().write(bytes).await.unwrap();
                near.written += 5000;
            })
        },
        stimulus: drain,
        holds_turn: true,
        ..PLAIN
    },
    Kind {
        name: "write_owned that is blocked",
        prepare: fill_outbox,
        attempt: |near| {
            Box::pin(async {
                let bytes = pattern(near.written, 5000);
                near.stream().write_owned(bytes).await.unwrap();
                near.written += 5000;
            })
        },
        stimulus: drain,
        holds_turn: true,
        ..PLAIN
    },
    Kind {
        name: "flush that is blocked",
        prepare: fill_outbox,
        attempt: |near| {
            Box::pin(async {
                near.stream().flush().await.unwrap();
            })
        },
        stimulus: drain,
        ..PLAIN
    },
    Kind {
        name: "shutdown",
        attempt: |near| {
            Box::pin(async {
                near.stream().shutdown().await.unwrap();
            })
        },
        ends_stream: true,
        ..PLAIN
    },
    Kind {
        name: "shutdown that is blocked",
        prepare: fill_outbox,
        attempt: |near| {
            Box::pin(async {
                near.stream().shutdown().await.unwrap();
            })
        },
        stimulus: drain,
        ends_stream: true,
        ..PLAIN
    },
    Kind {
        name: "close",
        attempt: |near| {
            Box::pin(async {
                near.stream.take().unwrap().close().await.unwrap();
            })
        },
        stimulus: |far| Box::pin(async { far.stream.shutdown().await.unwrap() }),
        ends_stream: true,
        keeps_stream: true,
        ..PLAIN
    },
    Kind { name: "sleep", attempt: |_| Box::pin(corio::sleep(Duration::from_micros(50))), ..PLAIN },
    Kind {
        name: "timeout",
        attempt: |_| {
            Box::pin(async {
                let never = std::future::pending::<()>();
                assert!(corio::timeout(Duration::from_micros(50), never).await.is_err());
            })
        },
        ..PLAIN
    },
    Kind {
        name: "tick",
        attempt: |near| {
            Box::pin(async {
                let tick = near.ticks.tick().await;
                // The tick after a dropped wait is the one that it waited for.
                if let Some(last) = near.last_tick.replace(tick) {
                    assert_eq!(tick - last, near.ticks.period());
                }
            })
        },
        ..PLAIN
    },
    Kind {
        name: "join",
        attempt: |_| {
            Box::pin(async {
                let task = corio::spawn(async {
                    corio::yield_now().await;
                    corio::sleep(Duration::from_micros(20)).await;
                    7
                });
                assert_eq!(task.await.unwrap(), 7);
            })
        },
        ..PLAIN
    },
];
