//! What a client and PostgreSQL say to each other: values, rows, copies, notifications, errors.

use std::pin::pin;
use std::process::Command;

use bytes::Bytes;
use corio::postgres::tokio_postgres::error::SqlState;
use corio::postgres::{ConnectOptions, Error};
use futures_util::future::join_all;
use futures_util::{SinkExt, TryStreamExt};

use super::support::bounded;
use super::{connect, named, servers, session_of};

/// Runs a command by `psql`, which is not ours, and returns what it prints.
fn psql(command: &str) -> String {
    let url = servers::postgres().postgres_url();
    let output = Command::new("psql").args([&*url, "-XAtc", command]).output();
    let output = output.expect("psql is installed by ci/services");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

#[corio::test]
async fn what_is_written_is_there_for_psql() {
    let connection = connect("written").await;
    let table = format!("written_{}", session_of(&connection).await);
    let create = format!("CREATE TABLE {table} (id int, name text, data bytea)");
    bounded(connection.batch_execute(&create)).await.unwrap();
    let insert = format!("INSERT INTO {table} VALUES ($1, $2, $3)");
    let data: &[u8] = &[0, 1, 254, 255];
    let count = bounded(connection.execute(&insert, &[&7, &"smörgås", &data])).await.unwrap();
    assert_eq!(count, 1);
    let seen = psql(&format!("SELECT * FROM {table}"));
    assert_eq!(seen, "7|smörgås|\\x0001feff");

    psql(&format!("UPDATE {table} SET name = NULL"));
    let select = format!("SELECT * FROM {table}");
    let row = bounded(connection.query_one(&select, &[])).await.unwrap();
    assert_eq!(row.get::<_, i32>("id"), 7);
    assert_eq!(row.get::<_, Option<&str>>("name"), None);
    assert_eq!(row.get::<_, &[u8]>("data"), data);
}

#[corio::test]
async fn each_of_a_thousand_pipelined_queries_gets_its_own_answer() {
    let connection = connect("pipelined").await;
    let statement = bounded(connection.prepare("SELECT $1::int, repeat('x', $1)")).await.unwrap();
    let ask = async |number: i32| {
        let row = connection.query_one(&statement, &[&number]).await.unwrap();
        (row.get::<_, i32>(0), row.get::<_, &str>(1).len())
    };
    let answers = bounded(join_all((0..1000).map(ask))).await;
    for (number, answer) in (0..1000).zip(answers) {
        assert_eq!(answer, (number, number as usize));
    }
}

#[corio::test]
async fn a_unix_socket_serves_as_tcp_does() {
    let options = named(&servers::postgres().postgres_socket(), "unix");
    let connection = bounded(options.connect()).await.unwrap();
    let text = "SELECT inet_client_addr() IS NULL";
    assert!(bounded(connection.query_one(text, &[])).await.unwrap().get::<_, bool>(0));
}

#[corio::test]
async fn copies_go_in_and_out_whole() {
    const ROWS: usize = 20_000;
    let connection = connect("copies").await;
    let create = "CREATE TEMPORARY TABLE copied (number int, text text)";
    bounded(connection.batch_execute(create)).await.unwrap();
    let mut sink = pin!(bounded(connection.copy_in("COPY copied FROM STDIN")).await.unwrap());
    for number in 0..ROWS {
        let row = Bytes::from(format!("{number}\trow {number}\n"));
        bounded(sink.send(row)).await.unwrap();
    }
    assert_eq!(bounded(sink.finish()).await.unwrap(), ROWS as u64);

    let text = "COPY (SELECT * FROM copied ORDER BY number) TO STDOUT";
    let stream = pin!(bounded(connection.copy_out(text)).await.unwrap());
    let chunks: Vec<Bytes> = bounded(stream.try_collect()).await.unwrap();
    let whole = chunks.concat();
    let lines: Vec<_> = std::str::from_utf8(&whole).unwrap().lines().collect();
    assert_eq!(lines.len(), ROWS);
    for (number, line) in lines.into_iter().enumerate() {
        assert_eq!(line, format!("{number}\trow {number}"));
    }
}

#[corio::test]
async fn a_notification_of_another_program_arrives() {
    let connection = connect("listening").await;
    let channel = format!("news_{}", session_of(&connection).await);
    let mut news = connection.notifications();
    bounded(connection.batch_execute(&format!("LISTEN {channel}"))).await.unwrap();
    psql(&format!("NOTIFY {channel}, 'one'; NOTIFY {channel}, 'two'"));
    for payload in ["one", "two"] {
        let notification = bounded(news.recv()).await.unwrap();
        assert_eq!((notification.channel(), notification.payload()), (&*channel, payload));
    }
    drop(connection);
    assert!(bounded(news.recv()).await.is_err(), "the end of the session is the channel's");
}

#[corio::test]
async fn what_the_server_refuses_is_told_with_its_code() {
    let connection = connect("refused").await;
    let error = bounded(connection.query("SELECT 1 / 0", &[])).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::DIVISION_BY_ZERO));
    assert_eq!(Error::from(error).to_string(), "ERROR: division by zero (22012)");
    // The session goes on.
    bounded(connection.query_one("SELECT 1", &[])).await.unwrap();

    let url = servers::postgres().postgres_url();
    let url = format!("{}/no_such_database", url.strip_suffix("/postgres").unwrap());
    let options: ConnectOptions = url.parse().unwrap();
    let error = bounded(options.connect()).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::UNDEFINED_DATABASE), "{error}");
}

#[corio::test]
async fn a_server_that_is_not_there_is_named() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("postgres://corio@127.0.0.1:{port}/postgres");
    let error = bounded(url.parse::<ConnectOptions>().unwrap().connect()).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("no session with PostgreSQL at 127.0.0.1:{port}: ")),
        "{text}"
    );
    assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::ConnectionRefused);
}

#[corio::test]
async fn the_next_host_is_tried_and_the_kind_of_session_is_looked_at() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let found = servers::postgres().port;
    let url = format!("postgres://corio@127.0.0.1:{port},localhost:{found}/postgres");
    let options: ConnectOptions = url.parse().unwrap();
    let connection = bounded(options.connect()).await.unwrap();
    bounded(connection.check_connection()).await.unwrap();

    for (kind, is_there) in [("read-write", true), ("read-only", false)] {
        let url = format!("{url}?target_session_attrs={kind}");
        let outcome = bounded(url.parse::<ConnectOptions>().unwrap().connect()).await;
        assert_eq!(outcome.is_ok(), is_there, "{kind}: {outcome:?}");
    }
}

#[corio::test]
async fn a_transaction_that_is_dropped_is_rolled_back() {
    let mut connection = connect("rolled back").await;
    bounded(connection.batch_execute("CREATE TEMPORARY TABLE kept (n int)")).await.unwrap();
    for commits in [true, false] {
        let transaction = bounded(connection.transaction()).await.unwrap();
        bounded(transaction.execute("INSERT INTO kept VALUES (1)", &[])).await.unwrap();
        if commits {
            bounded(transaction.commit()).await.unwrap();
        }
    }
    let row = bounded(connection.query_one("SELECT count(*) FROM kept", &[])).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 1);
}
