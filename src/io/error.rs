//! What a read says when it cannot have all it asked for.

use std::error::Error;
use std::fmt;
use std::io;

/// The input ended before all that was asked for had come. It carries what came.
///
/// Reads return it inside an [`io::Error`] of kind `UnexpectedEof`:
///
/// ```
/// # corio::run(async {
/// # let listener = corio::net::TcpListener::bind("127.0.0.1:0").await?;
/// # let client = corio::net::TcpStream::connect(listener.local_addr()?).await?;
/// # let mut stream = listener.accept().await?;
/// client.write(b"no newline").await?;
/// client.shutdown().await?;
/// let error = stream.read_until(b"\n", 1024).await.unwrap_err();
/// let incomplete: &corio::io::IncompleteRead = error.get_ref().unwrap().downcast_ref().unwrap();
/// assert_eq!(incomplete.partial, b"no newline");
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
#[doc(alias = "IncompleteReadError")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IncompleteRead {
    /// The bytes that came before the end. They are taken out of the stream.
    pub partial: Vec<u8>,
    /// How many were asked for, if the read named a number.
    pub expected: Option<usize>,
}

impl fmt::Display for IncompleteRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let got = self.partial.len();
        match self.expected {
            Some(expected) => write!(f, "the input ended after {got} of {expected} bytes"),
            None => write!(f, "the input ended after {got} bytes, before the separator"),
        }
    }
}

impl Error for IncompleteRead {}

impl From<IncompleteRead> for io::Error {
    fn from(error: IncompleteRead) -> io::Error {
        io::Error::new(io::ErrorKind::UnexpectedEof, error)
    }
}

/// No separator ended within the limit, which includes the separator (asyncio's does not). The
/// bytes stay in the stream.
///
/// Reads return it inside an [`io::Error`] of kind `InvalidData`.
#[doc(alias = "LimitOverrunError")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LimitOverrun {
    /// How many bytes may be thrown away without cutting a separator: those before the one that
    /// ends too late, or, if none has come, all that have arrived but for what may be its
    /// beginning. 0 is possible only with a limit that is shorter than the longest separator.
    pub consumed: usize,
}

impl fmt::Display for LimitOverrun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no separator ends within the limit ({} bytes lie before it)", self.consumed)
    }
}

impl Error for LimitOverrun {}

impl From<LimitOverrun> for io::Error {
    fn from(error: LimitOverrun) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}
