//! The methods that a stream and its halves have in common, written once.
//!
//! A type that has `fn stream(&self) -> &Rc<Stream>` gets its reading and writing methods, and the
//! traits of `futures`, from these macros.

/// The reading methods: they take `&mut self`, since there is one reader.
macro_rules! read_methods {
    () => {
        /// Reads what has arrived, at least one byte, into `buffer`. 0 is the end of the input (or
        /// an empty buffer).
        ///
        /// # Errors
        ///
        /// The kernel's, such as `ConnectionReset`; what arrived before it is read first.
        ///
        /// # Cancellation
        ///
        /// **Strict**: a read that is dropped has taken nothing.
        pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.stream().read(buffer).await
        }

        /// Takes what has arrived, without a copy. `None` is the end of the input.
        ///
        /// # Errors
        ///
        /// As [`read`](Self::read).
        ///
        /// # Cancellation
        ///
        /// **Strict**: a read that is dropped has taken nothing.
        pub async fn read_chunk(&mut self) -> io::Result<Option<Chunk>> {
            self.stream().read_chunk().await
        }

        /// Fills `buffer`, all of it.
        ///
        /// # Errors
        ///
        /// `UnexpectedEof` with [`IncompleteRead`](crate::io::IncompleteRead) inside if the input
        /// ends before; otherwise as [`read`](Self::read).
        ///
        /// # Cancellation
        ///
        /// **Strict**: nothing is taken until all of it can be.
        #[doc(alias = "readexactly")]
        pub async fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
            self.stream().read_exact(buffer).await
        }

        /// Takes everything up to and including the separator, at most `limit` bytes with it. Of
        /// several separators the one that ends first counts; see
        /// [`Separators`](crate::io::Separators).
        ///
        /// # Errors
        ///
        /// `UnexpectedEof` with [`IncompleteRead`](crate::io::IncompleteRead) inside if the input
        /// ends before; `InvalidData` with [`LimitOverrun`](crate::io::LimitOverrun) inside if no
        /// separator ends within `limit` bytes, which then stay in the stream.
        ///
        /// # Panics
        ///
        /// If there is no separator, or an empty one.
        ///
        /// # Cancellation
        ///
        /// **Strict**: nothing is taken until the separator has come.
        #[doc(alias = "readuntil")]
        pub async fn read_until(
            &mut self,
            separators: impl Separators,
            limit: usize,
        ) -> io::Result<Vec<u8>> {
            self.stream().read_until(&separators, limit).await
        }

        /// Takes a line with its `\n`, at most `limit` bytes; without one if the input ends
        /// before, and empty at the end.
        ///
        /// # Errors
        ///
        /// `InvalidData` with [`LimitOverrun`](crate::io::LimitOverrun) inside if the line is
        /// longer than `limit`; it then stays in the stream.
        ///
        /// # Cancellation
        ///
        /// **Strict**: nothing is taken until the line is whole.
        #[doc(alias = "readline")]
        pub async fn read_line(&mut self, limit: usize) -> io::Result<Vec<u8>> {
            self.stream().read_line(limit).await
        }

        /// The lines as a `Stream` of `futures`, each as [`read_line`](Self::read_line) takes it:
        /// with its `\n`, at most `limit` bytes. It ends with the input, or after an error.
        ///
        /// # Cancellation
        ///
        /// **Strict**: nothing is taken until a line is whole.
        #[doc(alias = "__aiter__")]
        pub fn lines(&mut self, limit: usize) -> Lines<'_> {
            Lines::new(self.stream(), limit)
        }

        /// Whether the input has ended and all of it was read. An end that nobody has waited for is
        /// not known of yet, and an error is no end.
        pub fn at_eof(&self) -> bool {
            self.stream().at_eof()
        }

        /// Appends everything up to the end of the input to `buffer`; the number of bytes.
        ///
        /// # Cancellation
        ///
        /// **Strict**: what was taken out of the stream is in `buffer`.
        pub async fn read_to_end(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
            self.stream().read_to_end(buffer).await
        }

        /// Moves up to `length` bytes, or all up to the end of the input, into a file from a
        /// position on: what has arrived first, then what comes, in the kernel where that can be.
        /// See [`ReadToFile`](crate::io::ReadToFile), which also says how far it is.
        ///
        /// # Errors
        ///
        /// The kernel's, of the stream or of the file. Bytes that could not be written stay in the
        /// stream.
        ///
        /// # Cancellation
        ///
        /// **Weak**: what was taken out of the stream is written to the file, some of it perhaps
        /// after this was dropped; the rest is in the stream.
        #[doc(alias = "splice")]
        #[doc(alias = "recvfile")]
        pub fn read_to_file<'s>(
            &'s mut self,
            file: &'s crate::fs::File,
            position: u64,
            length: u64,
        ) -> crate::io::ReadToFile<'s> {
            crate::io::ReadToFile::new(self.stream(), file, position, length)
        }

        /// Waits for unread bytes and shows the first of them; empty at the end of the input.
        /// [`consume`](Self::consume) takes them.
        ///
        /// # Cancellation
        ///
        /// **Strict**: nothing is taken.
        pub async fn fill_buf(&mut self) -> io::Result<&[u8]> {
            self.stream().fill().await?;
            Ok(Stream::lend(self))
        }

        /// Takes `count` bytes that [`fill_buf`](Self::fill_buf) showed.
        ///
        /// # Panics
        ///
        /// If there are fewer unread bytes.
        #[track_caller]
        pub fn consume(&mut self, count: usize) {
            self.stream().consume(count);
        }
    };
}

/// The writing methods: they take `&self`, and queue first come, first served.
macro_rules! write_methods {
    () => {
        /// Copies `bytes` into the outbox, which is sent at the end of the turn. Waits only while
        /// the outbox holds more than 64 KiB, then takes all of them.
        ///
        /// Several tasks may write; calls never mix their bytes. A write that waits keeps its turn
        /// until it is dropped: one that is leaked (`mem::forget`) holds up those behind it.
        ///
        /// # Errors
        ///
        /// The first error of the stream's sends, for ever; `BrokenPipe` after
        /// [`shutdown`](Self::shutdown).
        ///
        /// # Cancellation
        ///
        /// **Strict**: a write that is dropped while it waits has written nothing.
        pub async fn write(&self, bytes: &[u8]) -> io::Result<()> {
            self.stream().write(bytes).await
        }

        /// As [`write`](Self::write), without a copy: of a [`Chunk`], `Bytes`, `Vec<u8>` or
        /// `&'static [u8]`. Only little ones that have to wait behind others are copied together.
        ///
        /// # Errors
        ///
        /// As [`write`](Self::write).
        ///
        /// # Cancellation
        ///
        /// **Strict**: a write that is dropped while it waits has written nothing; what it was
        /// given is dropped with it.
        pub fn write_owned(
            &self,
            bytes: impl Into<Segment>,
        ) -> impl Future<Output = io::Result<()>> {
            self.stream().write_owned(bytes.into())
        }

        /// As [`write`](Self::write) of all the parts, one behind the other: other writers' bytes
        /// never come in between.
        ///
        /// # Errors
        ///
        /// As [`write`](Self::write).
        ///
        /// # Cancellation
        ///
        /// **Strict**: one that is dropped while it waits has written none of the parts.
        #[doc(alias = "write_vectored")]
        pub fn writelines<P: AsRef<[u8]>>(
            &self,
            parts: impl IntoIterator<Item = P>,
        ) -> impl Future<Output = io::Result<()>> {
            let mut bytes = Vec::new();
            for part in parts {
                bytes.extend_from_slice(part.as_ref());
            }
            self.stream().write_owned(Segment::from(bytes))
        }

        /// Sends a range of a file, or as much of it as the file has: behind what was written
        /// before, before what is written later, and in the kernel where that can be. The number of
        /// bytes. See [`Sendfile`](crate::io::Sendfile), which also says how far it is.
        ///
        /// # Errors
        ///
        /// The kernel's, of the file; as [`write`](Self::write), of the stream.
        ///
        /// # Cancellation
        ///
        /// **Weak**: a part of the range is sent, and [`sent`](crate::io::Sendfile::sent) says how
        /// much. Nothing is sent after the drop.
        #[doc(alias = "splice")]
        #[doc(alias = "copy")]
        pub fn sendfile<'s>(
            &'s self,
            file: &'s crate::fs::File,
            range: impl std::ops::RangeBounds<u64>,
        ) -> crate::io::Sendfile<'s> {
            let range = (range.start_bound().cloned(), range.end_bound().cloned());
            crate::io::Sendfile::new(self.stream(), file, range)
        }

        /// Whether writes are refused: after [`shutdown`](Self::shutdown),
        /// [`abort`](Self::abort), or an error.
        pub fn is_closing(&self) -> bool {
            self.stream().is_closing()
        }

        /// Waits until everything written before is sent (is in the kernel's hands).
        ///
        /// # Errors
        ///
        /// As [`write`](Self::write).
        ///
        /// # Cancellation
        ///
        /// **Strict**: the sending goes on.
        #[doc(alias = "drain")]
        pub async fn flush(&self) -> io::Result<()> {
            self.stream().flush().await
        }

        /// Sends everything, then FIN: the peer reads the end. Reading goes on. Writes that wait
        /// are let through first.
        ///
        /// # Errors
        ///
        /// The first error of the stream's sends.
        ///
        /// # Cancellation
        ///
        /// **Strict**: the ending goes on; one that is dropped while it waits behind writes has not
        /// begun.
        #[doc(alias = "write_eof")]
        #[doc(alias = "can_write_eof")]
        pub async fn shutdown(&self) -> io::Result<()> {
            self.stream().shutdown().await
        }

        /// Resets the connection at once. What is unsent is gone, the peer sees an error, and so do
        /// this stream's reads and writes from now on.
        pub fn abort(&self) {
            self.stream().abort();
        }
    };
}

/// Names of the socket.
macro_rules! name_methods {
    () => {
        /// The address of this end.
        ///
        /// # Errors
        ///
        /// The kernel's.
        #[doc(alias = "get_extra_info")]
        #[doc(alias = "sockname")]
        pub fn local_addr(&self) -> io::Result<SocketAddr> {
            let stream = self.stream();
            stream.core().driver.borrow_mut().local_address(stream.fd().raw())
        }

        /// The address of the other end.
        ///
        /// # Errors
        ///
        /// `NotConnected` if the peer is gone already.
        #[doc(alias = "get_extra_info")]
        #[doc(alias = "peername")]
        pub fn peer_addr(&self) -> io::Result<SocketAddr> {
            let stream = self.stream();
            stream.core().driver.borrow_mut().peer_address(stream.fd().raw())
        }
    };
}

/// Names of a Unix socket.
macro_rules! local_name_methods {
    () => {
        /// The name of this end; unnamed if it was not bound.
        ///
        /// # Errors
        ///
        /// The kernel's.
        #[doc(alias = "sockname")]
        pub fn local_addr(&self) -> io::Result<SocketAddr> {
            let stream = self.stream();
            stream.core().driver.borrow_mut().local_name(stream.fd().raw())
        }

        /// The name of the other end; unnamed if that was not bound.
        ///
        /// # Errors
        ///
        /// `NotConnected` if the peer is gone already.
        #[doc(alias = "peername")]
        pub fn peer_addr(&self) -> io::Result<SocketAddr> {
            let stream = self.stream();
            stream.core().driver.borrow_mut().local_peer_name(stream.fd().raw())
        }
    };
}

/// `futures::io::{AsyncRead, AsyncBufRead}`.
macro_rules! read_traits {
    ($type:ty) => {
        impl AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                buffer: &mut [u8],
            ) -> Poll<io::Result<usize>> {
                self.stream().poll_read(context, buffer)
            }
        }

        impl AsyncBufRead for $type {
            fn poll_fill_buf(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<io::Result<&[u8]>> {
                match self.stream().poll_fill(context)? {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(()) => Poll::Ready(Ok(Stream::lend(self.get_mut()))),
                }
            }

            fn consume(self: Pin<&mut Self>, count: usize) {
                self.stream().consume(count);
            }
        }
    };
}

/// `futures::io::AsyncWrite`: a write accepts what there is room for, a flush waits until all is
/// sent, a close sends FIN after it.
macro_rules! write_traits {
    ($type:ty) => {
        impl AsyncWrite for $type {
            fn poll_write(
                self: Pin<&mut Self>,
                context: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                self.stream().poll_write(context, bytes)
            }

            fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.stream().poll_flush(context)
            }

            fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.stream().poll_shutdown(context)
            }
        }
    };
}
