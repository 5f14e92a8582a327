//! Hazards of a WebSocket: a peer that breaks the protocol in each way that the Autobahn suite
//! knows, one that does not read, one that falls silent, one that is killed in the middle; a future
//! that is dropped; a browser.

mod support;

#[path = "ws/breaking.rs"]
mod breaking;
#[path = "ws/browser.rs"]
mod browser;
#[path = "ws/cases.rs"]
mod cases;
#[path = "ws/conformance.rs"]
mod conformance;
#[path = "ws/dropping.rs"]
mod dropping;
#[path = "ws/ending.rs"]
mod ending;
#[path = "ws/hand.rs"]
mod hand;
#[path = "ws/opening.rs"]
mod opening;
#[path = "ws/python.rs"]
mod python;
#[path = "ws/scripted.rs"]
mod scripted;
#[path = "ws/secure.rs"]
mod secure;
#[path = "ws/waiting.rs"]
mod waiting;

use std::io;

use corio::net::{self, TcpStream};
use corio::ws::{Options, Server, WebSocket};
use futures_util::io::{AsyncRead, AsyncWrite};

/// Sends back what comes, up to the end.
async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocket<S>) -> io::Result<()> {
    while let Some(message) = socket.recv().await? {
        socket.send(message).await?;
    }
    Ok(())
}

/// A server that echoes, and the URL of it. What a peer breaks is no error of the server's.
async fn echo_server(options: Options) -> (net::Server, String) {
    let accepting = Server::new().options(options);
    let handler = move |stream: TcpStream| {
        let accepting = accepting.clone();
        async move {
            if let Ok(socket) = accepting.accept(stream).await {
                let _ = echo(socket).await;
            }
            io::Result::Ok(())
        }
    };
    let server = net::serve("127.0.0.1:0", handler).await.unwrap();
    let url = format!("ws://{}/", server.local_addrs()[0]);
    (server, url)
}

/// What is in use on this core.
struct Census {
    operations: usize,
    buffers: usize,
    tasks: usize,
}

impl Census {
    fn take() -> Census {
        let stats = corio::stats();
        Census {
            operations: stats.operations_in_flight,
            buffers: stats.buffers_in_use,
            tasks: stats.tasks,
        }
    }

    /// Waits until no more is in use than there was.
    async fn comes_back(self) {
        support::until_stats(|stats| {
            stats.operations_in_flight <= self.operations
                && stats.buffers_in_use <= self.buffers
                && stats.tasks <= self.tasks
        })
        .await;
    }
}
