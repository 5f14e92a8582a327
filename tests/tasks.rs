//! Hazards among tasks: values that a cancel loses, operations that outlive their task, timers that
//! round, wakers that do as they like.
// Readers that a hostile waker must reach sit in a RefCell that nobody else borrows.
#![allow(clippy::await_holding_refcell_ref)]

#[path = "support/child.rs"]
mod child;

mod support;

#[path = "tasks/callbacks.rs"]
mod callbacks;
#[path = "tasks/cancelling.rs"]
mod cancelling;
#[path = "tasks/intervals.rs"]
mod intervals;
#[path = "tasks/joining.rs"]
mod joining;
#[path = "tasks/selecting.rs"]
mod selecting;
#[path = "tasks/signals.rs"]
mod signals;
#[path = "tasks/starting.rs"]
mod starting;
#[path = "tasks/timing.rs"]
mod timing;
#[path = "tasks/wakers.rs"]
mod wakers;

use std::time::Duration;

use corio::net::{TcpListener, TcpStream};
use support::Blackhole;

/// Much longer than anything that is waited for takes.
const PATIENCE: Duration = Duration::from_secs(5);

async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a free port")
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = listen().await;
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap())
}

/// Runs a closure when it is dropped.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
