//! The contests, and who takes part in them.

use std::future::Future;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use corio::cores::CoreHandle;
use corio::{BusyPoll, Runtime};

use crate::{Contest, Ready, floors, pair};

const CAPACITY: usize = 4096;

const SECOND: Duration = Duration::from_secs(1);

/// The default of a core with a CPU of its own.
const ADAPTIVE: BusyPoll = BusyPoll::Adaptive(Duration::from_micros(20));

pub(crate) const CONTESTS: &[Contest] = &[
    Contest {
        name: "stream",
        share: 1,
        rows: &[
            ("floor: ring", floors::stream),
            ("corio recv", |count| corio_stream(count, false, false)),
            ("corio recv_many", |count| corio_stream(count, false, true)),
            ("tokio", tokio_stream),
            ("flume", flume_stream),
            ("crossbeam (threads)", crossbeam_stream),
            ("std (threads)", std_stream),
        ],
    },
    Contest {
        name: "ping awake",
        share: 20,
        rows: &[
            ("floor: ring, spinning", floors::spinning),
            ("corio", |count| corio_ping(count, BusyPoll::For(SECOND), CAPACITY)),
            ("corio, one place", |count| corio_ping(count, BusyPoll::For(SECOND), 1)),
            ("corio, adaptive", |count| corio_ping(count, ADAPTIVE, CAPACITY)),
            ("crossbeam (threads)", crossbeam_ping),
        ],
    },
    Contest {
        name: "ping parked",
        share: 200,
        rows: &[
            ("floor: ring, futex", floors::futex),
            ("floor: ring, eventfd", floors::eventfd),
            ("ring, eventfd polled by io_uring", floors::eventfd_on_ring),
            ("ring, MSG_RING", floors::message),
            ("corio", |count| corio_ping(count, BusyPoll::Off, CAPACITY)),
            ("tokio", tokio_ping),
            ("flume", flume_ping),
        ],
    },
    Contest {
        name: "spawn, parked",
        share: 200,
        rows: &[
            ("corio", |count| corio_spawn(count, BusyPoll::Off)),
            ("tokio", tokio_spawn),
            ("corio, adaptive", |count| corio_spawn(count, ADAPTIVE)),
            ("corio, polling", |count| corio_spawn(count, BusyPoll::For(SECOND))),
        ],
    },
];

fn on_corio<F: Future>(busy_poll: BusyPoll, future: F) -> F::Output {
    let runtime = Runtime::builder().busy_poll(busy_poll).build().expect("the runtime starts");
    runtime.block_on(future)
}

fn on_tokio<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().expect("it starts").block_on(future)
}

fn check(sum: u64, count: u64) -> Instant {
    assert_eq!(sum, count * (count - 1) / 2);
    Instant::now()
}

fn corio_stream(count: u64, sends_many: bool, receives_many: bool) -> f64 {
    let (sender, mut receiver) = corio::channel::mpsc(CAPACITY);
    let sending = |ready: Ready<'_>| {
        on_corio(ADAPTIVE, async {
            ready();
            assert!(!sends_many);
            for number in 0..count {
                sender.send(number).await.expect("there is a receiver");
            }
            drop(sender);
        });
    };
    pair(sending, |ready| {
        on_corio(ADAPTIVE, async {
            let (mut values, mut sum) = (Vec::with_capacity(CAPACITY), 0);
            ready();
            if receives_many {
                while receiver.recv_many(&mut values, CAPACITY).await > 0 {
                    sum += values.drain(..).sum::<u64>();
                }
            } else {
                while let Some(number) = receiver.recv().await {
                    sum += number;
                }
            }
            check(sum, count)
        })
    }) / count as f64
}

fn tokio_stream(count: u64) -> f64 {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(CAPACITY);
    let sending = |ready: Ready<'_>| {
        on_tokio(async {
            ready();
            for number in 0..count {
                sender.send(number).await.expect("there is a receiver");
            }
            drop(sender);
        });
    };
    pair(sending, |ready| {
        on_tokio(async {
            let mut sum = 0;
            ready();
            while let Some(number) = receiver.recv().await {
                sum += number;
            }
            check(sum, count)
        })
    }) / count as f64
}

fn flume_stream(count: u64) -> f64 {
    let (sender, receiver) = flume::bounded(CAPACITY);
    let sending = |ready: Ready<'_>| {
        on_tokio(async {
            ready();
            for number in 0..count {
                sender.send_async(number).await.expect("there is a receiver");
            }
            drop(sender);
        });
    };
    pair(sending, |ready| {
        on_tokio(async {
            let mut sum = 0;
            ready();
            while let Ok(number) = receiver.recv_async().await {
                sum += number;
            }
            check(sum, count)
        })
    }) / count as f64
}

fn crossbeam_stream(count: u64) -> f64 {
    let (sender, receiver) = crossbeam_channel::bounded(CAPACITY);
    let sending = |ready: Ready<'_>| {
        ready();
        (0..count).for_each(|number| sender.send(number).expect("there is a receiver"));
        drop(sender);
    };
    pair(sending, |ready| {
        ready();
        check(receiver.into_iter().sum(), count)
    }) / count as f64
}

fn std_stream(count: u64) -> f64 {
    let (sender, receiver) = mpsc::sync_channel(CAPACITY);
    let sending = |ready: Ready<'_>| {
        ready();
        (0..count).for_each(|number| sender.send(number).expect("there is a receiver"));
        drop(sender);
    };
    pair(sending, |ready| {
        ready();
        check(receiver.into_iter().sum(), count)
    }) / count as f64
}

fn corio_ping(count: u64, busy_poll: BusyPoll, capacity: usize) -> f64 {
    let (there, mut pings) = corio::channel::mpsc::<u64>(capacity);
    let (back, mut pongs) = corio::channel::mpsc::<u64>(capacity);
    let echo = move |ready: Ready<'_>| {
        on_corio(busy_poll, async {
            ready();
            while let Some(number) = pings.recv().await {
                back.send(number).await.expect("there is a receiver");
            }
        });
    };
    pair(echo, move |ready| {
        on_corio(busy_poll, async {
            ready();
            for number in 0..count {
                there.send(number).await.expect("there is a receiver");
                assert_eq!(pongs.recv().await, Some(number));
            }
            let end = Instant::now();
            drop(there);
            end
        })
    }) / count as f64
}

fn tokio_ping(count: u64) -> f64 {
    let (there, mut pings) = tokio::sync::mpsc::channel::<u64>(CAPACITY);
    let (back, mut pongs) = tokio::sync::mpsc::channel::<u64>(CAPACITY);
    let echo = move |ready: Ready<'_>| {
        on_tokio(async {
            ready();
            while let Some(number) = pings.recv().await {
                back.send(number).await.expect("there is a receiver");
            }
        });
    };
    pair(echo, move |ready| {
        on_tokio(async {
            ready();
            for number in 0..count {
                there.send(number).await.expect("there is a receiver");
                assert_eq!(pongs.recv().await, Some(number));
            }
            let end = Instant::now();
            drop(there);
            end
        })
    }) / count as f64
}

fn flume_ping(count: u64) -> f64 {
    let (there, pings) = flume::bounded::<u64>(CAPACITY);
    let (back, pongs) = flume::bounded::<u64>(CAPACITY);
    let echo = move |ready: Ready<'_>| {
        on_tokio(async {
            ready();
            while let Ok(number) = pings.recv_async().await {
                back.send_async(number).await.expect("there is a receiver");
            }
        });
    };
    pair(echo, move |ready| {
        on_tokio(async {
            ready();
            for number in 0..count {
                there.send_async(number).await.expect("there is a receiver");
                assert_eq!(pongs.recv_async().await, Ok(number));
            }
            let end = Instant::now();
            drop(there);
            end
        })
    }) / count as f64
}

fn crossbeam_ping(count: u64) -> f64 {
    let (there, pings) = crossbeam_channel::bounded::<u64>(CAPACITY);
    let (back, pongs) = crossbeam_channel::bounded::<u64>(CAPACITY);
    let echo = move |ready: Ready<'_>| {
        ready();
        pings.into_iter().for_each(|number| back.send(number).expect("there is a receiver"));
    };
    pair(echo, move |ready| {
        ready();
        for number in 0..count {
            there.send(number).expect("there is a receiver");
            assert_eq!(pongs.recv(), Ok(number));
        }
        let end = Instant::now();
        drop(there);
        end
    }) / count as f64
}

/// Two cores; the second starts tasks on the first and awaits each.
fn corio_spawn(count: u64, busy_poll: BusyPoll) -> f64 {
    let (tell, told) = mpsc::channel();
    let (end, ended) = corio::channel::oneshot::<()>();
    let serving = move |ready: Ready<'_>| {
        on_corio(busy_poll, async {
            tell.send(CoreHandle::current()).expect("somebody waits");
            ready();
            let _ = ended.await;
        });
    };
    pair(serving, move |ready| {
        let core = told.recv().expect("it has started");
        on_corio(busy_poll, async {
            ready();
            for number in 0..count {
                let task = core.spawn(move || async move { number });
                assert_eq!(task.await.expect("it ends"), number);
            }
            let now = Instant::now();
            let _ = end.send(());
            now
        })
    }) / count as f64
}

/// Two current-thread runtimes; the second starts tasks on the first by its handle.
fn tokio_spawn(count: u64) -> f64 {
    let (tell, told) = mpsc::channel();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let serving = move |ready: Ready<'_>| {
        on_tokio(async {
            tell.send(tokio::runtime::Handle::current()).expect("somebody waits");
            ready();
            let _ = ended.await;
        });
    };
    pair(serving, move |ready| {
        let other = told.recv().expect("it has started");
        on_tokio(async {
            ready();
            for number in 0..count {
                let task = other.spawn(async move { number });
                assert_eq!(task.await.expect("it ends"), number);
            }
            let now = Instant::now();
            let _ = end.send(());
            now
        })
    }) / count as f64
}
