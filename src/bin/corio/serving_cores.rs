//! A server on several cores: the same tasks, a loop for each core, and at the end what each did.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use corio::cores::{Core, Cores};
use corio::net::{CoresServer, ListenOptions, TcpStream};
use corio::time::Instant;

use crate::report::{json_number, json_object};
use crate::serving::{Counters, EndOfInput, ServeOptions, increment, listen_failure};
use crate::{Failure, print_line};

thread_local! {
    /// What this core's connections count.
    static COUNTERS: RefCell<Rc<Counters>> = RefCell::default();
}

/// What one core did.
struct Done {
    connections: u64,
    failed_connections: u64,
    unsent_writes: u64,
    requests: u64,
    enters: u64,
    cpu_ns: u64,
}

pub(crate) fn main<M, S, F>(options: &ServeOptions, count: usize, make: M) -> Result<(), Failure>
where
    M: FnOnce() -> S + Clone + Send + 'static,
    S: Fn(TcpStream, Rc<Counters>) -> F + 'static,
    F: Future<Output = io::Result<()>> + 'static,
{
    let address = SocketAddr::new(options.host, options.port);
    let (accept, is_child) = (options.accept, options.child);
    let serving = move |core: Core| async move {
        let start = Instant::now();
        let serve = corio::net::ServeOptions::new()
            .listen(ListenOptions::new().backlog(4096))
            .accept(accept)
            .serve_on(core.handles(), address, move || {
                let serve_one = make();
                move |stream| {
                    let counters = COUNTERS.with_borrow(Rc::clone);
                    increment(&counters.connections);
                    serve_one(stream, counters)
                }
            });
        let server = serve.await.map_err(|error| listen_failure(address, &error))?;
        serve_to_the_end(&server, is_child).await?;
        let mut all = Vec::new();
        for handle in core.handles() {
            all.push(handle.spawn(|| async { done() }).await.map_err(|error| error.to_string())?);
        }
        Ok(render(&all, start.elapsed()))
    };
    let stats = cores_for(options, count)
        .and_then(|cores| cores.block_on(serving))
        .map_err(|error| Failure::work(error.to_string()))?
        .map_err(|text: String| Failure::work(text))?;
    if options.stats {
        print_line(&stats);
    }
    Ok(())
}

/// Serves until a signal, or as a child until its input ends. Clients are not waited for.
async fn serve_to_the_end(server: &CoresServer, is_child: bool) -> Result<(), String> {
    let line = format!("listening on {}", server.local_addrs()[0]);
    if is_child {
        print_line(&line);
        let end_of_input = EndOfInput::watch().map_err(|error| error.to_string())?;
        end_of_input.reached().await;
        server.shutdown(Duration::ZERO).await;
        return Ok(());
    }
    eprintln!("{line}");
    let ended = server.serve_until_signal(Duration::ZERO).await;
    ended.map(drop).map_err(|error| format!("cannot wait for signals: {error}"))
}

fn cores_for(options: &ServeOptions, count: usize) -> io::Result<Cores> {
    let (driver, busy_poll) = (options.driver, options.busy_poll);
    let buffers_max = options.buffers_max;
    // The line of the address is the first that is printed: who starts a server waits for it.
    let cores = Cores::available()?.count(count).on_start(|_| {});
    Ok(cores.runtime(move |mut builder| {
        builder = builder.on_unhandled(|unhandled| match unhandled {
            corio::Unhandled::WriteFailed { .. } => {
                COUNTERS.with_borrow(|counters| increment(&counters.unsent_writes));
            }
            corio::Unhandled::HandlerFailed { .. } => {
                COUNTERS.with_borrow(|counters| increment(&counters.failed_connections));
            }
            _ => eprintln!("corio: {unhandled}"),
        });
        if let Some(driver) = driver {
            builder = builder.driver(driver);
        }
        if let Some(busy_poll) = busy_poll {
            builder = builder.busy_poll(busy_poll.setting());
        }
        if let Some(buffers_max) = buffers_max {
            builder = builder.buffers_max(buffers_max);
        }
        builder
    }))
}

fn done() -> Done {
    let counters = COUNTERS.with_borrow(Rc::clone);
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let cpu_ns = times.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
    Done {
        connections: counters.connections.get(),
        failed_connections: counters.failed_connections.get(),
        unsent_writes: counters.unsent_writes.get(),
        requests: counters.requests.get(),
        enters: corio::stats().enters,
        cpu_ns,
    }
}

fn render(all: &[Done], lasted: Duration) -> String {
    let seconds = lasted.as_secs_f64().max(f64::MIN_POSITIVE);
    let core = |done: &Done| {
        json_object(&[
            ("connections", done.connections.to_string()),
            ("requests", done.requests.to_string()),
            ("requests_per_s", json_number(Some(done.requests as f64 / seconds), 1)),
            ("busy", json_number(Some(done.cpu_ns as f64 / 1e9 / seconds), 3)),
        ])
    };
    let cores: Vec<_> = all.iter().map(core).collect();
    let sum = |what: fn(&Done) -> u64| all.iter().map(what).sum::<u64>();
    json_object(&[
        ("enters", sum(|it| it.enters).to_string()),
        ("requests", sum(|it| it.requests).to_string()),
        ("connections", sum(|it| it.connections).to_string()),
        ("failed_connections", sum(|it| it.failed_connections).to_string()),
        ("unsent_writes", sum(|it| it.unsent_writes).to_string()),
        ("cores", format!("[{}]", cores.join(","))),
    ])
}
