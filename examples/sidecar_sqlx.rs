//! sqlx beside corio: a library that insists on a tokio runtime gets one, on a thread of its own.
//!
//! sqlx connects by tokio's sockets and keeps its pool by tokio's tasks, so it cannot run on a
//! corio loop. The work is spawned as a whole on the side-car, and awaited here; a pool may be used
//! again from the next spawn. (tokio-postgres needs no side-car: see `rest_service.rs`.)
//!
//! The server is that of `DATABASE_URL`, or a PostgreSQL that is started for the example.

#[path = "../tests/support/servers.rs"]
mod servers;

use std::env;

use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{Error, Row};

/// Everything that touches sqlx happens in here, on tokio's thread.
async fn sum_of_squares(pool: PgPool, count: i64) -> Result<i64, Error> {
    let mut transaction = pool.begin().await?;
    sqlx::query("CREATE TEMPORARY TABLE squares (value bigint) ON COMMIT DROP")
        .execute(&mut *transaction)
        .await?;
    for number in 1..=count {
        sqlx::query("INSERT INTO squares VALUES ($1)")
            .bind(number * number)
            .execute(&mut *transaction)
            .await?;
    }
    let row =
        sqlx::query("SELECT sum(value)::bigint FROM squares").fetch_one(&mut *transaction).await?;
    transaction.commit().await?;
    row.try_get(0)
}

#[corio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (url, _server) = match env::var("DATABASE_URL") {
        Ok(url) => (url, None),
        Err(_) => {
            // It blocks, and nothing else runs yet.
            let server = servers::start_postgres();
            (server.postgres_url(), Some(server))
        }
    };
    let connect = async move { PgPoolOptions::new().max_connections(2).connect(&url).await };
    let pool = corio::tokio::spawn(connect).await??;

    // Both run at once on tokio's thread, and this core serves its other tasks meanwhile.
    let small = corio::tokio::spawn(sum_of_squares(pool.clone(), 10));
    let large = corio::tokio::spawn(sum_of_squares(pool.clone(), 20));
    let (small, large) = (small.await??, large.await??);
    println!("the sums of the squares up to 10 and 20 are {small} and {large}");
    assert_eq!((small, large), (385, 2870));

    // A handle that is dropped cancels its work: `timeout` drops it. The server is not told, by
    // sqlx: its pool has that connection back when the server is done.
    let slow = corio::tokio::spawn({
        let pool = pool.clone();
        async move { sqlx::query("SELECT pg_sleep(0.5)").execute(&pool).await }
    });
    let limit = std::time::Duration::from_millis(50);
    assert!(corio::timeout(limit, slow).await.is_err());
    println!("nobody waits for the slow one");

    corio::tokio::spawn(async move { pool.close().await }).await?;
    corio::tokio::shutdown(std::time::Duration::from_secs(5)).await;
    Ok(())
}
