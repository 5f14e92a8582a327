//! What can go wrong with a request: in which phase, with which address, and why.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;

use url::Url;

type Source = Box<dyn StdError + Send + Sync>;

/// How far a request had come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Phase {
    /// It was put together: an address, a header or a body that is none.
    Request,
    /// It waited for one of its host's connections.
    Pool,
    /// It had a connection made, with its proxy and with TLS.
    Connect,
    /// It was sent, and waited for the head of the answer.
    Head,
    /// The body of the answer was read.
    Body,
    /// The body of the answer was decompressed, or taken for text or JSON.
    Decode,
    /// It was to follow a redirect.
    Redirect,
}

/// An error of a request. It becomes an [`io::Error`] where one is asked for.
pub struct Error(Box<Inner>);

struct Inner {
    phase: Phase,
    is_timeout: bool,
    status: Option<u16>,
    text: Cow<'static, str>,
    url: Option<Url>,
    source: Option<Source>,
}

impl Error {
    pub(super) fn new(phase: Phase, text: impl Into<Cow<'static, str>>) -> Error {
        let text = text.into();
        let inner = Inner { phase, is_timeout: false, status: None, text, url: None, source: None };
        Error(Box::new(inner))
    }

    pub(super) fn timeout(phase: Phase, text: impl Into<Cow<'static, str>>) -> Error {
        let mut error = Error::new(phase, text);
        error.0.is_timeout = true;
        error
    }

    pub(super) fn of_status(status: u16, text: impl Into<Cow<'static, str>>) -> Error {
        let mut error = Error::new(Phase::Head, text);
        error.0.status = Some(status);
        error
    }

    pub(super) fn because(mut self, source: impl Into<Source>) -> Error {
        self.0.source = Some(source.into());
        self
    }

    /// The address without a password, unless one is there.
    pub(super) fn at(mut self, url: &Url) -> Error {
        if self.0.url.is_none() {
            let mut url = url.clone();
            // An address without a host takes neither, and has none.
            let _ = url.set_password(None);
            let _ = url.set_username("");
            self.0.url = Some(url);
        }
        self
    }

    /// How far the request had come.
    pub fn phase(&self) -> Phase {
        self.0.phase
    }

    /// The address that was asked last, without name and password; `None` if there was none yet.
    pub fn url(&self) -> Option<&Url> {
        self.0.url.as_ref()
    }

    /// The host that was asked last.
    pub fn host(&self) -> Option<&str> {
        self.0.url.as_ref().and_then(Url::host_str)
    }

    /// Whether a time limit was over: of the request, or of a phase.
    pub fn is_timeout(&self) -> bool {
        self.0.is_timeout
    }

    /// Whether no connection could be made.
    pub fn is_connect(&self) -> bool {
        self.0.phase == Phase::Connect
    }

    /// The status of an answer that
    /// [`error_for_status`](super::Response::error_for_status) took for an error.
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    fn kind(&self) -> io::ErrorKind {
        if self.0.is_timeout {
            return io::ErrorKind::TimedOut;
        }
        let mut source = self.source();
        while let Some(error) = source {
            if let Some(error) = error.downcast_ref::<io::Error>() {
                return error.kind();
            }
            source = error.source();
        }
        match self.0.phase {
            Phase::Request => io::ErrorKind::InvalidInput,
            Phase::Decode => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)?;
        if let Some(url) = &self.0.url {
            write!(f, ", for {url}")?;
        }
        let mut source = self.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.phase)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_ref().map(|source| &**source as _)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        io::Error::new(error.kind(), error)
    }
}
