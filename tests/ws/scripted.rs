//! A stream that does what a test says: what comes to be read, and how much is taken.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use corio::ws::{Options, Server, WebSocket};
use futures_util::io::{AsyncRead, AsyncWrite};

use super::hand::request;

/// What a stream has to read, and what it was given.
#[derive(Default)]
pub struct Script {
    pub input: VecDeque<u8>,
    /// Comes again and again, behind the input.
    pub refrain: Vec<u8>,
    pub bytes_read: usize,
    pub output: Vec<u8>,
    /// How much more is taken.
    pub room: usize,
    waker: Option<Waker>,
}

#[derive(Clone, Default)]
pub struct Scripted(pub Rc<RefCell<Script>>);

impl Scripted {
    pub fn gives_room(&self, room: usize) {
        let waker = {
            let mut script = self.0.borrow_mut();
            script.room = room;
            script.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }
}

impl AsyncRead for Scripted {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut script = self.0.borrow_mut();
        if script.input.is_empty() {
            let refrain = script.refrain.clone();
            script.input.extend(refrain);
        }
        let count = bytes.len().min(script.input.len());
        if count == 0 {
            return Poll::Pending;
        }
        for (place, byte) in bytes.iter_mut().zip(script.input.drain(..count)) {
            *place = byte;
        }
        script.bytes_read += count;
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Scripted {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut script = self.0.borrow_mut();
        let count = bytes.len().min(script.room);
        if count == 0 {
            script.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        script.room -= count;
        script.output.extend_from_slice(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A server of ours on a script, after the handshake, whose stream takes nothing more.
pub async fn scripted(options: Options) -> (Scripted, WebSocket<Scripted>) {
    let script = Scripted::default();
    script.0.borrow_mut().input.extend(request().bytes());
    script.gives_room(1000);
    let socket = Server::new().options(options).accept(script.clone()).await.unwrap();
    script.0.borrow_mut().output.clear();
    script.gives_room(0);
    (script, socket)
}
