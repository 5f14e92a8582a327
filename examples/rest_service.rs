//! A REST service on axum over PostgreSQL, with migrations.
//!
//! The router is axum's as it is. Its handlers have to be `Send`, and the pool stays on its core;
//! [`App::run`] is where the two meet. A client that goes away, or a request that takes longer than
//! the limit, drops its handler, and with it the connection: the server stops working on it.
//!
//! Migrations are numbered and recorded in a table; a lock of the database keeps two starting
//! programs from running the same one.
//!
//! The database is that of `DATABASE_URL`, in a schema of its own, or of a PostgreSQL that is
//! started for the example, which then asks its own service.

#[path = "../tests/support/servers.rs"]
mod servers;

use std::env;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use corio::compat::OnItsCore;
use corio::http::StatusCode;
use corio::net::TcpStream;
use corio::postgres::{Config, ConnectOptions, Connection, Error, Pool, Row};
use serde::{Deserialize, Serialize};

const MIGRATIONS: &[(&str, &str)] = &[
    ("notes", "CREATE TABLE notes (id bigint GENERATED ALWAYS AS IDENTITY, text text NOT NULL)"),
    ("notes are found by their number", "ALTER TABLE notes ADD PRIMARY KEY (id)"),
    ("notes have authors", "ALTER TABLE notes ADD author text NOT NULL DEFAULT 'nobody'"),
];

/// Any number that no other program locks in this database.
const MIGRATION_LOCK: i64 = 0x00c0_210e;

const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// Runs what was not run yet, all or nothing, and returns how many that were.
async fn migrate(connection: &mut Connection) -> Result<usize, Error> {
    let transaction = connection.transaction().await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK]).await?;
    let table = "CREATE SCHEMA IF NOT EXISTS rest_service;
                 CREATE TABLE IF NOT EXISTS migrations (number int PRIMARY KEY, name text NOT NULL,
                                                        at timestamptz NOT NULL DEFAULT now())";
    transaction.batch_execute(table).await?;
    let row = transaction.query_one("SELECT count(*) FROM migrations", &[]).await?;
    let done = row.get::<_, i64>(0) as usize;
    for (number, (name, change)) in MIGRATIONS.iter().enumerate().skip(done) {
        transaction.batch_execute(change).await?;
        let record = "INSERT INTO migrations (number, name) VALUES ($1, $2)";
        transaction.execute(record, &[&(number as i32), name]).await?;
    }
    transaction.commit().await?;
    Ok(MIGRATIONS.len().saturating_sub(done))
}

#[derive(Deserialize)]
struct NewNote {
    text: String,
    author: Option<String>,
}

#[derive(Serialize)]
struct Note {
    id: i64,
    text: String,
    author: String,
}

impl From<Row> for Note {
    fn from(row: Row) -> Note {
        Note { id: row.get("id"), text: row.get("text"), author: row.get("author") }
    }
}

/// Why a request has no answer of its own.
enum Failure {
    NotFound,
    TooSlow,
    Database(Error),
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::Database(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Failure::NotFound => (StatusCode::NOT_FOUND, "there is no such note".to_owned()),
            Failure::TooSlow => (StatusCode::SERVICE_UNAVAILABLE, "it takes too long".to_owned()),
            Failure::Database(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        };
        (status, Json(serde_json::json!({ "error": text }))).into_response()
    }
}

/// What the handlers share.
#[derive(Clone)]
struct App {
    pool: Arc<OnItsCore<Pool>>,
}

impl App {
    /// Takes a connection for one request. The future says `Send` to axum, and stays on this core.
    fn run<T, W>(self, work: W) -> impl Future<Output = Result<T, Failure>> + Send
    where
        T: Send,
        W: AsyncFnOnce(Connection) -> Result<T, Failure>,
    {
        OnItsCore::future(async move {
            let work = async { work(self.pool.get().acquire().await?).await };
            corio::timeout(REQUEST_LIMIT, work).await.unwrap_or(Err(Failure::TooSlow))
        })
    }
}

async fn list(State(app): State<App>) -> Result<Json<Vec<Note>>, Failure> {
    let notes = app.run(async |connection| {
        let rows = connection.query("SELECT * FROM notes ORDER BY id", &[]).await?;
        Ok(rows.into_iter().map(Note::from).collect())
    });
    Ok(Json(notes.await?))
}

async fn create(State(app): State<App>, Json(new): Json<NewNote>) -> Result<Response, Failure> {
    let note: Note = app
        .run(async move |connection| {
            let text = "INSERT INTO notes (text, author)
                        VALUES ($1, coalesce($2, 'nobody')) RETURNING *";
            Ok(connection.query_one(text, &[&new.text, &new.author]).await?.into())
        })
        .await?;
    Ok((StatusCode::CREATED, Json(note)).into_response())
}

async fn read(State(app): State<App>, Path(id): Path<i64>) -> Result<Json<Note>, Failure> {
    let note = app.run(async move |connection| {
        let row = connection.query_opt("SELECT * FROM notes WHERE id = $1", &[&id]).await?;
        row.map(Note::from).ok_or(Failure::NotFound)
    });
    Ok(Json(note.await?))
}

async fn delete(State(app): State<App>, Path(id): Path<i64>) -> Result<StatusCode, Failure> {
    app.run(async move |connection| {
        let count = connection.execute("DELETE FROM notes WHERE id = $1", &[&id]).await?;
        if count == 0 { Err(Failure::NotFound) } else { Ok(StatusCode::NO_CONTENT) }
    })
    .await
}

/// Asks the service, and returns the status and the body.
async fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "{method} {path} HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n\
         {body}",
        body.len()
    );
    stream.write(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.split(' ').nth(1).unwrap_or_default();
    println!("{method} {path}: {status} {body}");
    Ok(format!("{status} {body}"))
}

/// What a user of the service would see.
async fn check(address: SocketAddr) -> std::io::Result<()> {
    let note = r#"{"text":"buy milk","author":"ann"}"#;
    let created = ask(address, "POST", "/notes", note).await?;
    assert!(created.starts_with("201 "), "{created}");
    let value: serde_json::Value = serde_json::from_str(&created[4..])?;
    let path = format!("/notes/{}", value["id"]);

    let read = ask(address, "GET", &path, "").await?;
    assert_eq!(read, created.replace("201", "200"));
    assert!(ask(address, "GET", "/notes", "").await?.contains("buy milk"));
    assert!(ask(address, "POST", "/notes", "{}").await?.starts_with("422 "));
    assert!(ask(address, "GET", "/notes/many", "").await?.starts_with("400 "));
    assert!(ask(address, "DELETE", &path, "").await?.starts_with("204 "));
    assert!(ask(address, "GET", &path, "").await?.starts_with("404 "));
    Ok(())
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
    let mut config: Config = url.parse()?;
    config.application_name("rest_service").options("-c search_path=rest_service");
    let options = ConnectOptions::from(config);

    // Two programs that start at once: one of them runs each migration.
    let (mut one, mut other) = corio::try_join!(options.connect(), options.connect())?;
    let (first, second) = corio::try_join!(migrate(&mut one), migrate(&mut other))?;
    println!("migrations run: {first} by one, {second} by the other");
    assert!(first == 0 || second == 0);
    drop((one, other));

    let pool = Pool::builder(options).size(4).wait_timeout(REQUEST_LIMIT).build();
    let app = App { pool: Arc::new(OnItsCore::new(pool.clone())) };
    let router = Router::new()
        .route("/notes", get(list).post(create))
        .route("/notes/{id}", get(read).delete(delete))
        .with_state(app);
    let server = corio::http::serve("127.0.0.1:0", router).await?;
    println!("serving on http://{}", server.local_addrs()[0]);

    check(server.local_addrs()[0]).await?;
    server.shutdown(Duration::from_secs(1)).await;
    pool.close().await;
    Ok(())
}
