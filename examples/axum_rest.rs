//! A REST service on axum: notes that are added, listed, shown and taken away.
//!
//! ```text
//! cargo run --features http --example axum_rest                     # checks itself, and ends
//! cargo run --features http --example axum_rest -- 127.0.0.1:8080   # serves until Ctrl-C
//! ```
//!
//! axum asks for services that are `Send`, so the notes are behind a `Mutex`. There is no more to
//! it: the router is served as it is, on every core.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use corio::cores::Core;
use corio::net::TcpStream;

type Notes = Arc<Mutex<BTreeMap<u64, String>>>;

async fn list(State(notes): State<Notes>) -> Json<BTreeMap<u64, String>> {
    Json(notes.lock().unwrap().clone())
}

async fn add(State(notes): State<Notes>, Json(text): Json<String>) -> (StatusCode, Json<u64>) {
    let mut notes = notes.lock().unwrap();
    let number = notes.last_key_value().map_or(1, |(last, _)| last + 1);
    notes.insert(number, text);
    (StatusCode::CREATED, Json(number))
}

async fn show(State(notes): State<Notes>, Path(number): Path<u64>) -> Result<String, StatusCode> {
    notes.lock().unwrap().get(&number).cloned().ok_or(StatusCode::NOT_FOUND)
}

async fn remove(State(notes): State<Notes>, Path(number): Path<u64>) -> StatusCode {
    match notes.lock().unwrap().remove(&number) {
        Some(_) => StatusCode::NO_CONTENT,
        None => StatusCode::NOT_FOUND,
    }
}

#[corio::main(cores = "all")]
async fn main() -> io::Result<()> {
    let (address, notes) = (std::env::args().nth(1), Notes::default());
    let router = Router::new()
        .route("/notes", get(list).post(add))
        .route("/notes/{number}", get(show).delete(remove))
        .with_state(notes);
    let at = address.as_deref().unwrap_or("127.0.0.1:0");
    let server = corio::http::serve_on(Core::current().handles(), at, || router).await?;
    println!("listening on {}", server.local_addrs()[0]);
    if address.is_some() {
        return server.serve_until_signal(Duration::from_secs(10)).await.map(drop);
    }
    let ask = async |request: &str, body: &str| {
        let mut stream = TcpStream::connect(server.local_addrs()[0]).await?;
        let fields = format!("content-type: application/json\r\ncontent-length: {}", body.len());
        stream.write(format!("{request} HTTP/1.0\r\n{fields}\r\n\r\n{body}").as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    assert!(ask("POST /notes", "\"buy milk\"").await?.starts_with("HTTP/1.0 201"));
    assert!(ask("GET /notes/1", "").await?.ends_with("buy milk"));
    assert!(ask("GET /notes", "").await?.ends_with("{\"1\":\"buy milk\"}"));
    assert!(ask("DELETE /notes/1", "").await?.starts_with("HTTP/1.0 204"));
    assert!(ask("GET /notes/1", "").await?.starts_with("HTTP/1.0 404"));
    assert!(server.shutdown(Duration::from_secs(1)).await.is_complete());
    Ok(())
}
