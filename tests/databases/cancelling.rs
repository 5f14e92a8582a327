//! Whoever asked goes away: what the server does meanwhile, and who gets the answer.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use corio::postgres::tokio_postgres::error::SqlState;
use corio::postgres::{Connection, Error, Pool};
use futures_util::future::{Either, select, try_join_all};
use futures_util::{SinkExt, StreamExt, TryStreamExt};

use super::support::{Random, bounded, settle};
use super::{ANY, BUSY, connect, pool_of, session_of, sessions, until_sessions, until_whole};

const LONG: &str = "SELECT pg_sleep(3600)";

/// Starts what runs for an hour, waits until the server works on it, and drops it.
async fn drop_while_it_runs(watcher: &Connection, name: &str, query: impl Future<Output = Error>) {
    let query = pin!(query);
    let watch = pin!(until_sessions(watcher, name, &["active"], 1));
    match select(query, watch).await {
        Either::Left((error, _)) => panic!("it runs for an hour: {error}"),
        Either::Right(_) => {}
    }
}

/// A name of a session that no other test has, not even on the other driver.
async fn name_of_its_own(watcher: &Connection, text: &str) -> String {
    format!("{text} {}", session_of(watcher).await)
}

#[corio::test]
async fn a_dropped_query_of_a_pool_is_cancelled_and_its_session_used_again() {
    let watcher = connect("watcher").await;
    let name = name_of_its_own(&watcher, "dropped").await;
    let pool = pool_of(&name).size(1).build();
    let session = session_of(&bounded(pool.acquire()).await.unwrap()).await;
    let long = async {
        let connection = pool.acquire().await.unwrap();
        connection.query(LONG, &[]).await.unwrap_err().into()
    };
    drop_while_it_runs(&watcher, &name, long).await;
    until_sessions(&watcher, &name, BUSY, 0).await;
    let connection = bounded(pool.acquire()).await.unwrap();
    assert_eq!(session_of(&connection).await, session, "the session was not closed for it");
}

#[corio::test]
async fn a_query_dropped_before_it_was_sent_holds_up_nobody() {
    let watcher = connect("watcher").await;
    let name = name_of_its_own(&watcher, "unsent").await;
    let pool = pool_of(&name).size(1).build();
    let statement = {
        let connection = bounded(pool.acquire()).await.unwrap();
        bounded(connection.prepare(LONG)).await.unwrap()
    };
    for _ in 0..20 {
        let connection = bounded(pool.acquire()).await.unwrap();
        // It is in the library's line now, and the task that sends it has not run.
        assert!(super::support::poll_once(connection.query(&statement, &[])).is_none());
    }
    let connection = bounded(pool.acquire()).await.unwrap();
    bounded(connection.query_one("SELECT 1", &[])).await.unwrap();
    assert_eq!(sessions(&watcher, &name, ANY).await, 1);
}

#[corio::test]
async fn a_dropped_connection_without_a_pool_ends_what_it_asked() {
    let watcher = connect("watcher").await;
    let name = name_of_its_own(&watcher, "alone").await;
    let long = async {
        let connection = connect(&name).await;
        connection.query(LONG, &[]).await.unwrap_err().into()
    };
    drop_while_it_runs(&watcher, &name, long).await;
    until_sessions(&watcher, &name, ANY, 0).await;
}

#[corio::test]
async fn a_connection_that_is_kept_cancels_when_it_is_told() {
    let watcher = connect("watcher").await;
    let name = name_of_its_own(&watcher, "kept").await;
    let mut connection = connect(&name).await;
    bounded(connection.batch_execute("CREATE TEMPORARY TABLE kept (n int)")).await.unwrap();
    let ask = async { connection.query(LONG, &[]).await.unwrap_err().into() };
    drop_while_it_runs(&watcher, &name, ask).await;
    bounded(connection.cancel()).await.unwrap();
    assert_eq!(sessions(&watcher, &name, BUSY).await, 0);
    bounded(connection.execute("INSERT INTO kept VALUES (1)", &[])).await.unwrap();
    // With nothing on its way there is nothing to cancel, and nothing later is hit.
    for _ in 0..20 {
        bounded(connection.cancel()).await.unwrap();
        bounded(connection.query_one("SELECT 1", &[])).await.unwrap();
    }
}

#[corio::test]
async fn a_query_cancelled_by_another_says_so() {
    let watcher = connect("watcher").await;
    let name = name_of_its_own(&watcher, "told").await;
    let connection = connect(&name).await;
    let ask = pin!(connection.query(LONG, &[]));
    let end = pin!(async {
        until_sessions(&watcher, &name, &["active"], 1).await;
        let text =
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = $1";
        bounded(watcher.query(text, &[&name])).await.unwrap();
    });
    let (outcome, ()) = bounded(async { corio::join!(ask, end) }).await;
    assert_eq!(outcome.unwrap_err().code(), Some(&SqlState::QUERY_CANCELED));
}

#[corio::test]
async fn an_open_transaction_is_not_left_to_the_next() {
    let watcher = connect("watcher").await;
    let name = name_of_its_own(&watcher, "open").await;
    let pool = pool_of(&name).size(1).build();
    for ending in ["SELECT 1", "SELECT 1 / 0"] {
        let connection = bounded(pool.acquire()).await.unwrap();
        bounded(connection.batch_execute("BEGIN; SET LOCAL work_mem = '77MB'")).await.unwrap();
        let _ = bounded(connection.batch_execute(ending)).await;
        drop(connection);
        let connection = bounded(pool.acquire()).await.unwrap();
        let row = bounded(connection.query_one("SHOW work_mem", &[])).await.unwrap();
        assert_ne!(row.get::<_, &str>(0), "77MB");
        assert_eq!(sessions(&watcher, &name, &BUSY[1..]).await, 0);
    }
}

#[corio::test]
async fn rows_that_are_held_and_not_read_cost_the_connection_and_not_the_place() {
    let pool = pool_of("held").size(1).quiet_limit(Duration::from_millis(50)).build();
    let connection = bounded(pool.acquire()).await.unwrap();
    let text = "SELECT repeat('x', 1000) FROM generate_series(1, 100000)";
    let parameters: [&str; 0] = [];
    let mut rows = pin!(bounded(connection.query_raw(text, parameters)).await.unwrap());
    bounded(rows.next()).await.unwrap().unwrap();
    drop(connection);
    let connection = bounded(pool.acquire()).await.unwrap();
    bounded(connection.query_one("SELECT 1", &[])).await.unwrap();
}

/// One request of many kinds, which knows its answer.
async fn ask(pool: &Pool, kind: usize, number: i32) -> Result<(), Error> {
    let mut connection = pool.acquire().await?;
    match kind {
        0 => {
            let row = connection.query_one("SELECT $1::int", &[&number]).await?;
            assert_eq!(row.get::<_, i32>(0), number);
        }
        1 => {
            let text = "SELECT $1::int FROM pg_sleep(0.002)";
            let row = connection.query_one(text, &[&number]).await?;
            assert_eq!(row.get::<_, i32>(0), number);
        }
        2 => {
            let text = "SELECT $1::int, repeat('x', 200) FROM generate_series(1, 2000)";
            let rows = connection.query(text, &[&number]).await?;
            assert!(rows.len() == 2000 && rows.iter().all(|row| row.get::<_, i32>(0) == number));
        }
        3 => {
            let transaction = connection.transaction().await?;
            transaction.execute("CREATE TEMPORARY TABLE once (n int)", &[]).await?;
            transaction.execute("INSERT INTO once VALUES ($1)", &[&number]).await?;
            let row = transaction.query_one("SELECT sum(n)::int FROM once", &[]).await?;
            assert_eq!(row.get::<_, i32>(0), number);
            transaction.rollback().await?;
        }
        4 => {
            connection.batch_execute("BEGIN; CREATE TEMPORARY TABLE once (n int)").await?;
            let mut sink = pin!(connection.copy_in("COPY once FROM STDIN").await?);
            for row in 0..50 {
                sink.send(Bytes::from(format!("{row}\n"))).await?;
            }
            assert_eq!(sink.finish().await?, 50);
            connection.batch_execute("ROLLBACK").await?;
        }
        5 => {
            let text = format!("COPY (SELECT {number} FROM generate_series(1, 500)) TO STDOUT");
            let stream = pin!(connection.copy_out(&text).await?);
            let chunks: Vec<Bytes> = stream.try_collect().await?;
            assert_eq!(chunks.concat(), format!("{number}\n").repeat(500).as_bytes());
        }
        _ => {
            let text = "SELECT $1::int";
            let numbers: Vec<i32> = (number..number + 8).collect();
            let asked = numbers.iter().map(async |number| {
                let row = connection.query_one(text, &[number]).await?;
                Ok::<_, Error>(row.get::<_, i32>(0))
            });
            let answers = try_join_all(asked).await?;
            assert_eq!(answers, numbers);
        }
    }
    Ok(())
}

/// Seeds differ between the drivers and not between the runs.
#[corio::test]
async fn a_thousand_requests_dropped_at_random_moments_leave_the_pool_whole() {
    const TASKS: usize = 10;
    const REQUESTS: usize = 100;
    let watcher = connect("watcher").await;
    let name = name_of_its_own(&watcher, "random").await;
    let pool = pool_of(&name).size(4).build();
    let tasks = (0..TASKS).map(|task| {
        let pool = pool.clone();
        corio::spawn(async move {
            let mut random = Random::new(task as u64 + 1);
            let mut finished = 0;
            for request in 0..REQUESTS {
                let moment = Duration::from_micros(random.below(8000) as u64);
                let number = (task * REQUESTS + request) as i32;
                let kind = random.below(7);
                match corio::timeout(moment, ask(&pool, kind, number)).await {
                    Ok(Ok(())) => finished += 1,
                    Ok(Err(error)) => panic!("kind {kind} of task {task}: {error}"),
                    Err(_) => {}
                }
            }
            finished
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let mut finished = 0;
    for task in tasks {
        finished += corio::timeout(Duration::from_secs(100), task).await.unwrap().unwrap();
    }
    assert!(finished < TASKS * REQUESTS, "none was dropped");
    until_whole(&pool).await;
    assert!(pool.idle() <= pool.size());
    until_sessions(&watcher, &name, BUSY, 0).await;
    assert!(sessions(&watcher, &name, ANY).await <= pool.size() as i64);
    // Every place is there at once, and none has anything left in it.
    let mut all = Vec::new();
    for _ in 0..pool.size() {
        all.push(bounded(pool.acquire()).await.unwrap());
    }
    for connection in &all {
        bounded(connection.query_one("SELECT 1", &[])).await.unwrap();
        let text =
            "SELECT count(*) FROM pg_class WHERE relname = 'once' AND pg_table_is_visible(oid)";
        let row = bounded(connection.query_one(text, &[])).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 0);
    }
    drop(all);
    bounded(pool.close()).await;
    until_sessions(&watcher, &name, ANY, 0).await;
    settle().await;
}
