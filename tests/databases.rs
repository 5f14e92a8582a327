//! Hazards of databases: an answer that reaches the wrong question, a query that nobody waits for
//! and the server goes on with, a connection that is lost to its pool, a server that ends in the
//! middle. Against a real PostgreSQL and a real Redis.

#[path = "databases/cancelling.rs"]
mod cancelling;
#[path = "databases/pooling.rs"]
mod pooling;
#[path = "databases/queries.rs"]
mod queries;
#[path = "databases/redis.rs"]
mod redis;
#[path = "databases/secret.rs"]
mod secret;
#[path = "support/servers.rs"]
mod servers;
mod support;

use std::time::Duration;

use corio::postgres::{ConnectOptions, Connection, Pool, PoolBuilder};

use support::{bounded, until};

/// Connects to the PostgreSQL of these tests, under a name that its list of sessions shows.
async fn connect(name: &str) -> Connection {
    bounded(named(&servers::postgres().postgres_url(), name).connect()).await.unwrap()
}

fn named(url: &str, name: &str) -> ConnectOptions {
    let mut config: corio::postgres::Config = url.parse().unwrap();
    config.application_name(name);
    config.into()
}

fn pool_of(name: &str) -> PoolBuilder {
    Pool::builder(named(&servers::postgres().postgres_url(), name))
        .wait_timeout(Duration::from_secs(60))
        .quiet_limit(Duration::from_secs(60))
}

/// How many sessions of this name the server has, in one of these states.
async fn sessions(watcher: &Connection, name: &str, states: &[&str]) -> i64 {
    let states: Vec<String> = states.iter().map(|state| state.to_string()).collect();
    let text = "SELECT count(*) FROM pg_stat_activity \
                WHERE application_name = $1 AND state = ANY ($2)";
    bounded(watcher.query_one(text, &[&name, &states])).await.unwrap().get(0)
}

const BUSY: &[&str] = &["active", "idle in transaction", "idle in transaction (aborted)"];
const ANY: &[&str] = &["active", "idle", "idle in transaction", "idle in transaction (aborted)"];

/// Waits until the server has so many sessions of this name in these states.
async fn until_sessions(watcher: &Connection, name: &str, states: &[&str], count: i64) {
    bounded(async {
        while sessions(watcher, name, states).await != count {
            corio::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// Which session of the server this is.
async fn session_of(connection: &Connection) -> i32 {
    let row = bounded(connection.query_one("SELECT pg_backend_pid()", &[])).await;
    row.unwrap().get(0)
}

/// Waits until everything has come back to a pool.
async fn until_whole(pool: &Pool) {
    until(|| pool.available() == pool.size()).await;
}
