//! A stream that ends its task after so many bytes were sent.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use corio::net::TcpStream;
use futures_util::io::{AsyncRead, AsyncWrite};

/// Sends so many bytes; a write of more is an error.
pub struct Cut {
    stream: TcpStream,
    room: Rc<Cell<usize>>,
}

impl Cut {
    pub fn new(stream: TcpStream, room: &Rc<Cell<usize>>) -> Cut {
        Cut { stream, room: Rc::clone(room) }
    }
}

impl AsyncRead for Cut {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Cut {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let room = self.room.get();
        if room == 0 {
            return Poll::Ready(Err(io::Error::other("cut here")));
        }
        let count = bytes.len().min(room);
        let written = Pin::new(&mut self.stream).poll_write(context, &bytes[..count]);
        if let Poll::Ready(Ok(count)) = written {
            self.room.set(room - count);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(context)
    }
}
