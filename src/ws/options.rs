//! The limits of a WebSocket.

use tungstenite::protocol::WebSocketConfig;

use crate::time::Duration;

/// Limits and times of a [`WebSocket`](super::WebSocket).
///
/// ```
/// use corio::time::Duration;
/// use corio::ws::{Options, Server};
///
/// let options = Options::new()
///     .message_limit(1 << 20)
///     .ping_interval(Some(Duration::from_secs(5)));
/// let server = Server::new().options(options);
/// # let _ = server;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub(super) message_limit: usize,
    pub(super) frame_limit: usize,
    pub(super) read_buffer: usize,
    pub(super) write_limit: usize,
    pub(super) ping_interval: Option<Duration>,
    pub(super) ping_timeout: Duration,
    pub(super) close_timeout: Duration,
    pub(super) handshake_timeout: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options::new()
    }
}

impl Options {
    /// The defaults that each setting names.
    pub fn new() -> Options {
        Options {
            message_limit: 16 << 20,
            frame_limit: 16 << 20,
            read_buffer: 8 << 10,
            write_limit: 64 << 10,
            ping_interval: Some(Duration::from_secs(20)),
            ping_timeout: Duration::from_secs(20),
            close_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
        }
    }

    /// The bytes of a message that is received, 16 MiB by default. A peer that sends a longer one
    /// is told so (1009), and `recv` returns an error.
    pub fn message_limit(mut self, bytes: usize) -> Options {
        self.message_limit = bytes;
        self
    }

    /// The bytes of one frame of a message, 16 MiB by default: a longer one is refused by its head,
    /// before it has come.
    pub fn frame_limit(mut self, bytes: usize) -> Options {
        self.frame_limit = bytes;
        self
    }

    /// The buffer that is kept for receiving, 8 KiB by default: what an idle WebSocket costs beside
    /// its stream. It grows for a longer frame.
    pub fn read_buffer(mut self, bytes: usize) -> Options {
        self.read_buffer = bytes;
        self
    }

    /// How many bytes may be unsent before the `Sink` waits, 64 KiB by default, beside what the
    /// stream itself keeps. One message may go beyond.
    pub fn write_limit(mut self, bytes: usize) -> Options {
        self.write_limit = bytes;
        self
    }

    /// How long the peer may be silent before it is pinged, 20 s by default; `None` never does.
    /// Pings are sent, and answers waited for, while somebody receives.
    pub fn ping_interval(mut self, interval: Option<Duration>) -> Options {
        self.ping_interval = interval;
        self
    }

    /// How long the peer may be silent after that ping, 20 s by default, before `recv` returns an
    /// error of kind `TimedOut`.
    pub fn ping_timeout(mut self, timeout: Duration) -> Options {
        self.ping_timeout = timeout;
        self
    }

    /// How long the peer may take to answer a close, and to end the connection after it, 10 s by
    /// default.
    pub fn close_timeout(mut self, timeout: Duration) -> Options {
        self.close_timeout = timeout;
        self
    }

    /// How long the opening handshake may take, 10 s by default, a connect not counted.
    pub fn handshake_timeout(mut self, timeout: Duration) -> Options {
        self.handshake_timeout = timeout;
        self
    }

    /// As tungstenite takes them. It keeps nothing unsent: the wire does.
    pub(super) fn config(&self) -> WebSocketConfig {
        WebSocketConfig::default()
            .read_buffer_size(self.read_buffer)
            .write_buffer_size(0)
            .max_write_buffer_size(usize::MAX)
            .max_message_size(Some(self.message_limit))
            .max_frame_size(Some(self.frame_limit))
    }
}
