//! The two directions of a connection, lent or owned: written once, for each kind of stream.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_util::io::{AsyncBufRead, AsyncRead, AsyncWrite};

use super::TcpStream;
use crate::driver::{Chunk, Segment};
use crate::io::{Lines, Reader, Separators, Stream};

/// The halves of a type that has `fn stream(&self) -> &Rc<Stream>` and names by a macro.
macro_rules! halves {
    ($stream:ident, $names:ident) => {
        /// The reading direction of a stream, lent by its `split`.
        pub struct ReadHalf<'a>(&'a Rc<Stream>);

        /// The writing direction of a stream, lent by its `split`.
        pub struct WriteHalf<'a>(&'a Rc<Stream>);

        /// The reading direction of a stream, from its `into_split`.
        pub struct OwnedReadHalf(pub(super) Rc<$stream>);

        /// The writing direction of a stream, from its `into_split`. Dropping it does not tell the
        /// peer the end: [`shutdown`](Self::shutdown) does.
        pub struct OwnedWriteHalf(pub(super) Rc<$stream>);

        impl<'a> ReadHalf<'a> {
            pub(super) fn new(stream: &'a Rc<Stream>) -> ReadHalf<'a> {
                ReadHalf(stream)
            }

            read_methods!();
            $names!();
        }

        impl<'a> WriteHalf<'a> {
            pub(super) fn new(stream: &'a Rc<Stream>) -> WriteHalf<'a> {
                WriteHalf(stream)
            }

            fn stream(&self) -> &Rc<Stream> {
                self.0
            }

            write_methods!();
            $names!();
        }

        impl Reader for ReadHalf<'_> {
            fn stream(&self) -> &Rc<Stream> {
                self.0
            }
        }

        impl Reader for OwnedReadHalf {
            fn stream(&self) -> &Rc<Stream> {
                self.0.stream()
            }
        }

        impl OwnedReadHalf {
            read_methods!();
            $names!();

            /// Puts the two halves of one stream together again.
            ///
            /// # Errors
            ///
            /// Gives both back if they are not of the same stream.
            pub fn reunite(self, write: OwnedWriteHalf) -> Result<$stream, ReuniteError> {
                if !Rc::ptr_eq(&self.0, &write.0) {
                    return Err(ReuniteError(self, write));
                }
                drop(write);
                Ok(Rc::into_inner(self.0).expect("a stream has two halves, and the other is gone"))
            }
        }

        impl OwnedWriteHalf {
            fn stream(&self) -> &Rc<Stream> {
                self.0.stream()
            }

            write_methods!();
            $names!();
        }

        /// Two halves that are not of the same stream: both, given back.
        pub struct ReuniteError(pub OwnedReadHalf, pub OwnedWriteHalf);

        impl fmt::Display for ReuniteError {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the two halves are not of the same stream")
            }
        }

        impl fmt::Debug for ReuniteError {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("ReuniteError")
            }
        }

        impl std::error::Error for ReuniteError {}

        read_traits!(ReadHalf<'_>);
        read_traits!(OwnedReadHalf);
        write_traits!(WriteHalf<'_>);
        write_traits!(OwnedWriteHalf);
    };
}

halves!(TcpStream, name_methods);
