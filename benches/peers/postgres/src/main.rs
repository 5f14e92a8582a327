//! Pipelined selects of PostgreSQL: tokio-postgres on corio beside tokio-postgres on tokio's
//! current-thread runtime, in one run against one server.
//!
//! A batch is 1,000 selects of a prepared statement that are all on their way at once on one
//! connection. The two runtimes take turns, and who begins changes with each round; the figures are
//! medians of the rounds: microseconds a select by the clock, and of the client's own CPU. Each
//! answer is checked.
//!
//! The server is started for the run; the arguments are the rounds and the batches of each.

#[path = "../../../../tests/support/servers.rs"]
mod servers;

use std::env;
use std::fs;
use std::time::Instant;

use futures_util::future::join_all;
use tokio_postgres::{Client, NoTls, Statement};

const SELECTS: i32 = 1000;
const ROUNDS_DEFAULT: usize = 7;
const BATCHES_DEFAULT: usize = 100;

/// What a round took, in microseconds a select.
#[derive(Clone, Copy)]
struct Cost {
    clock: f64,
    cpu: f64,
}

fn main() {
    let mut arguments = env::args().skip(1).map(|text| text.parse().expect("a number"));
    let rounds = arguments.next().unwrap_or(ROUNDS_DEFAULT);
    let batches = arguments.next().unwrap_or(BATCHES_DEFAULT);
    let server = servers::start_postgres();
    let url = server.postgres_url();
    let (mut corio, mut tokio) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        if round % 2 == 0 {
            corio.push(on_corio(&url, batches));
            tokio.push(on_tokio(&url, batches));
        } else {
            tokio.push(on_tokio(&url, batches));
            corio.push(on_corio(&url, batches));
        }
    }
    println!("µs a select of {SELECTS} pipelined ones, {rounds} rounds of {batches} batches");
    println!("          corio    tokio    ratio   least and most of the rounds' ratios");
    row("clock", &corio, &tokio, |cost| cost.clock);
    row("cpu", &corio, &tokio, |cost| cost.cpu);
}

fn row(name: &str, corio: &[Cost], tokio: &[Cost], part: fn(&Cost) -> f64) {
    let median = |costs: &[Cost]| {
        let mut values: Vec<f64> = costs.iter().map(part).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let ratios = corio.iter().zip(tokio).map(|(corio, tokio)| part(corio) / part(tokio));
    let mut ratios: Vec<f64> = ratios.collect();
    ratios.sort_by(f64::total_cmp);
    let (corio, tokio) = (median(corio), median(tokio));
    let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
    let ratio = corio / tokio;
    println!("{name:<6} {corio:>8.3} {tokio:>8.3} {ratio:>8.3}   {least:.3} to {most:.3}");
}

fn on_corio(url: &str, batches: usize) -> Cost {
    corio::run(async {
        let options: corio::postgres::ConnectOptions = url.parse().expect("a URL");
        let connection = options.connect().await.expect("a session");
        round(&connection, batches).await
    })
}

fn on_tokio(url: &str, batches: usize) -> Cost {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime starts").block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a session");
        tokio::spawn(connection);
        round(&client, batches).await
    })
}

async fn round(client: &Client, batches: usize) -> Cost {
    let statement = client.prepare("SELECT $1::int").await.expect("it is sound");
    batch(client, &statement).await;
    let (start, cpu) = (Instant::now(), cpu_ns());
    for _ in 0..batches {
        batch(client, &statement).await;
    }
    let selects = batches as f64 * f64::from(SELECTS);
    let cpu = (cpu_ns() - cpu) as f64 / 1000.0 / selects;
    Cost { clock: start.elapsed().as_secs_f64() * 1e6 / selects, cpu }
}

async fn batch(client: &Client, statement: &Statement) {
    let ask = async |number: i32| {
        let row = client.query_one(statement, &[&number]).await.expect("an answer");
        assert_eq!(row.get::<_, i32>(0), number);
    };
    join_all((0..SELECTS).map(ask)).await;
}

/// How long this thread, on which both runtimes run, has been on a CPU.
fn cpu_ns() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel counts");
    text.split(' ').next().and_then(|ns| ns.parse().ok()).expect("nanoseconds")
}
