//! Why there is no connection, or no answer.

use std::error;
use std::fmt;
use std::io;
use std::time::Duration;

/// Why there is no connection, or no answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The server could not be reached, or a setting cannot be used.
    Io(io::Error),
    /// What the server, or the library, says: `as_db_error` has the server's code.
    Postgres(tokio_postgres::Error),
    /// No connection of the pool became free in this time.
    PoolTimeout(Duration),
    /// The pool is closed.
    PoolClosed,
}

impl Error {
    /// The server's code of the error, if it is the server's.
    pub fn code(&self) -> Option<&tokio_postgres::error::SqlState> {
        match self {
            Error::Postgres(error) => error.code(),
            _ => None,
        }
    }

    pub(super) fn invalid(text: impl Into<String>) -> Error {
        Error::Io(io::Error::new(io::ErrorKind::InvalidInput, text.into()))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(error) => error.fmt(f),
            Error::Postgres(error) => match error.as_db_error() {
                // The library's own text leaves out what the server said.
                Some(server) => write!(f, "{server} ({})", server.code().code()),
                None => error.fmt(f),
            },
            Error::PoolTimeout(limit) => write!(
                f,
                "no connection of the pool became free within {limit:?}; likely they are held \
                 too long; cure: hold them for less, or raise `size` or `wait_timeout`"
            ),
            Error::PoolClosed => f.write_str("the pool is closed"),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Error::Io(error) => Some(error),
            Error::Postgres(error) => Some(error),
            Error::PoolTimeout(_) | Error::PoolClosed => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::Io(error)
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Error {
        Error::Postgres(error)
    }
}

/// So that `?` serves in functions that return `io::Result`.
impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match error {
            Error::Io(error) => return error,
            Error::PoolTimeout(_) => io::ErrorKind::TimedOut,
            Error::PoolClosed => io::ErrorKind::NotConnected,
            Error::Postgres(_) => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}
