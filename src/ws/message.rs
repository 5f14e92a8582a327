//! What is said over a WebSocket, and how its end is told.

use std::io;

use bytes::Bytes;
use tungstenite::error::{Error, ProtocolError};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::frame::{CloseFrame, Utf8Bytes};

/// A message: text or bytes. Pings, pongs and closes are no messages: the WebSocket answers them.
///
/// ```
/// use corio::ws::Message;
///
/// assert_eq!(Message::from("hello"), Message::Text("hello".into()));
/// assert_eq!(Message::from(vec![1, 2]).len(), 2);
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// Text: derefs to `str`.
    Text(Utf8Bytes),
    /// Bytes.
    Binary(Bytes),
}

impl Message {
    /// The bytes of it.
    pub fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it holds, text as UTF-8.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Message::Text(text) => text.as_bytes(),
            Message::Binary(bytes) => bytes,
        }
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Message {
        Message::Text(text.into())
    }
}

impl From<String> for Message {
    fn from(text: String) -> Message {
        Message::Text(text.into())
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Message {
        Message::Binary(bytes)
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Message {
        Message::Binary(bytes.into())
    }
}

impl From<Message> for tungstenite::Message {
    fn from(message: Message) -> tungstenite::Message {
        match message {
            Message::Text(text) => tungstenite::Message::Text(text),
            Message::Binary(bytes) => tungstenite::Message::Binary(bytes),
        }
    }
}

/// The longest reason of a close: a control frame has 125 bytes, and the code takes two.
const REASON_BYTES_MAX: usize = 123;

/// A close frame, if it may be sent.
pub(super) fn close_frame(code: CloseCode, reason: &str) -> io::Result<CloseFrame> {
    let refuse = |text| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    if !code.is_allowed() {
        return refuse(format!("the close code {code} is never sent: RFC 6455, section 7.4"));
    }
    if reason.len() > REASON_BYTES_MAX {
        let length = reason.len();
        return refuse(format!("a reason of {length} bytes; at most {REASON_BYTES_MAX} fit"));
    }
    Ok(CloseFrame { code, reason: reason.into() })
}

/// The code with which a peer is told of its breach: RFC 6455, section 7.4.1. `None` where there
/// is nobody to be told.
pub(super) fn code_for(error: &Error) -> Option<CloseCode> {
    match error {
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Protocol(_) => Some(CloseCode::Protocol),
        Error::Utf8(_) => Some(CloseCode::Invalid),
        Error::Capacity(_) => Some(CloseCode::Size),
        _ => None,
    }
}

/// An error of the protocol core, as everybody else has theirs.
pub(super) fn io_error(error: Error) -> io::Error {
    let kind = match &error {
        Error::Io(_) => io::ErrorKind::Other,
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            let text = "the peer ended the connection without closing the WebSocket";
            return io::Error::new(io::ErrorKind::UnexpectedEof, text);
        }
        Error::Protocol(ProtocolError::HandshakeIncomplete) => {
            let text = "the peer ended the connection within the opening handshake";
            return io::Error::new(io::ErrorKind::UnexpectedEof, text);
        }
        Error::Protocol(ProtocolError::SendAfterClosing)
        | Error::ConnectionClosed
        | Error::AlreadyClosed => {
            let text = "the WebSocket is closed: nothing can be sent any more";
            return io::Error::new(io::ErrorKind::BrokenPipe, text);
        }
        Error::Capacity(_) => io::ErrorKind::FileTooLarge,
        Error::Url(_) | Error::HttpFormat(_) => io::ErrorKind::InvalidInput,
        _ => io::ErrorKind::InvalidData,
    };
    match error {
        Error::Io(error) => error,
        error => io::Error::new(kind, error),
    }
}
