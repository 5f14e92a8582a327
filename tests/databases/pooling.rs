//! Places of a pool: who waits, what is too old, and a server that ends in the middle.

use std::time::Duration;

use corio::postgres::{Error, Pool};
use futures_util::future::join_all;

use super::support::{bounded, poll_once, until};
use super::{ANY, connect, pool_of, servers, session_of, until_sessions, until_whole};

#[corio::test]
async fn who_came_first_is_served_first_and_nobody_gets_more_than_there_is() {
    let pool = pool_of("first").size(2).build();
    let (one, _two) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    let mut third = Box::pin(pool.acquire());
    let mut fourth = Box::pin(pool.acquire());
    assert!(poll_once(&mut third).is_none() && poll_once(&mut fourth).is_none());
    drop(one);
    let third = bounded(third).await.unwrap();
    assert!(poll_once(&mut fourth).is_none());
    drop(third);
    bounded(fourth).await.unwrap();
}

#[corio::test]
async fn a_wait_that_is_too_long_is_an_error_with_its_cure() {
    let pool = pool_of("long").size(1).wait_timeout(Duration::from_millis(5)).build();
    // The first connects, which has the same limit.
    let connection = loop {
        match pool.acquire().await {
            Ok(connection) => break connection,
            Err(error) => assert!(matches!(error, Error::PoolTimeout(_)), "{error}"),
        }
    };
    let error = bounded(pool.acquire()).await.unwrap_err();
    assert!(error.to_string().contains("raise `size` or `wait_timeout`"), "{error}");
    drop(connection);
}

#[corio::test]
async fn an_old_connection_is_closed_when_it_is_taken() {
    let watcher = connect("watcher").await;
    let name = format!("old {}", session_of(&watcher).await);
    let pool = pool_of(&name).size(1).max_lifetime(Duration::ZERO).build();
    let first = session_of(&pool.acquire().await.unwrap()).await;
    let second = session_of(&bounded(pool.acquire()).await.unwrap()).await;
    assert_ne!(first, second);
    until_sessions(&watcher, &name, ANY, 0).await;
}

#[corio::test]
async fn a_session_that_the_server_ended_is_not_handed_out() {
    let watcher = connect("watcher").await;
    let pool = pool_of("ended").size(1).check_after(Duration::ZERO).build();
    let session = session_of(&pool.acquire().await.unwrap()).await;
    let text = "SELECT pg_terminate_backend($1, 60000)";
    bounded(watcher.query(text, &[&session])).await.unwrap();
    until(|| pool.idle() == 1).await;
    let next = bounded(pool.acquire()).await.unwrap();
    assert_ne!(session_of(&next).await, session);
}

#[corio::test]
async fn a_closed_pool_refuses_and_waits_for_what_is_out() {
    let pool = pool_of("closed").size(2).build();
    let connection = pool.acquire().await.unwrap();
    let mut closing = Box::pin(pool.close());
    assert!(poll_once(&mut closing).is_none(), "one is out");
    assert!(matches!(bounded(pool.acquire()).await, Err(Error::PoolClosed)));
    bounded(connection.query_one("SELECT 1", &[])).await.unwrap();
    drop(connection);
    bounded(closing).await;
    assert_eq!(pool.idle(), 0);
}

#[corio::test]
async fn a_dropped_wait_gives_its_place_to_the_next() {
    let pool = pool_of("waits").size(1).build();
    let connection = pool.acquire().await.unwrap();
    let mut first = Box::pin(pool.acquire());
    let mut second = Box::pin(pool.acquire());
    assert!(poll_once(&mut first).is_none() && poll_once(&mut second).is_none());
    drop((connection, first));
    bounded(second).await.unwrap();
}

#[corio::test]
async fn a_server_killed_in_the_middle_is_an_error_for_all_and_the_pool_recovers() {
    let mut server = servers::start_postgres();
    let pool = Pool::builder(server.postgres_url().parse().unwrap()).size(3).build();
    for _ in 0..2 {
        let ask = async || {
            let connection = pool.acquire().await?;
            connection.query("SELECT pg_sleep(3600)", &[]).await?;
            Ok::<_, Error>(())
        };
        let mut asking = Box::pin(join_all((0..3).map(|_| ask())));
        // All of them wait for the server.
        assert!(corio::timeout(Duration::from_millis(100), &mut asking).await.is_err());
        server.kill();
        for outcome in bounded(asking).await {
            outcome.expect_err("its server is gone");
        }
        until_whole(&pool).await;
        let error = bounded(pool.acquire()).await.unwrap_err();
        assert!(error.to_string().contains("no session with PostgreSQL"), "{error}");
        server.restart();
        let connections = bounded(join_all((0..3).map(|_| pool.acquire()))).await;
        for connection in connections {
            bounded(connection.unwrap().query_one("SELECT 1", &[])).await.unwrap();
        }
        until_whole(&pool).await;
    }
    bounded(pool.close()).await;
}
