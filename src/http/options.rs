//! What a server allows a client: times, sizes, numbers.

use std::sync::Arc;
use std::time::Duration;

use super::transport::Secure;
use crate::net;

/// Limits of a server, all per connection but the number of connections.
///
/// ```
/// use corio::time::Duration;
/// use corio::http::ServeOptions;
/// use corio::net;
///
/// let options = ServeOptions::new()
///     .net(net::ServeOptions::new().max_connections(10_000))
///     .head_timeout(Duration::from_secs(5))
///     .body_limit(1 << 20);
/// # let _ = options;
/// ```
#[derive(Clone, Debug)]
pub struct ServeOptions {
    pub(super) net: net::ServeOptions,
    /// TLS, if it is served over that.
    pub(super) secure: Option<Arc<dyn Secure>>,
    pub(super) head_timeout: Duration,
    pub(super) idle_timeout: Duration,
    pub(super) body_timeout: Duration,
    pub(super) head_limit: usize,
    pub(super) headers_max: usize,
    pub(super) body_limit: u64,
    pub(super) streams_max: u32,
    pub(super) resets_max: usize,
    pub(super) send_limit: usize,
}

impl Default for ServeOptions {
    fn default() -> ServeOptions {
        ServeOptions::new()
    }
}

impl ServeOptions {
    /// The defaults that each setting names.
    pub fn new() -> ServeOptions {
        ServeOptions {
            net: net::ServeOptions::new(),
            secure: None,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(30),
            head_limit: 32 << 10,
            headers_max: 100,
            body_limit: u64::MAX,
            streams_max: 100,
            resets_max: 20,
            send_limit: 64 << 10,
        }
    }

    /// How many connections there may be, which core gets one, and how the listeners are made.
    pub fn net(mut self, net: net::ServeOptions) -> ServeOptions {
        self.net = net;
        self
    }

    /// How long the head of a request may take, from its first byte to its last, 10 s by default;
    /// then the connection is reset.
    pub fn head_timeout(mut self, timeout: Duration) -> ServeOptions {
        self.head_timeout = timeout;
        self
    }

    /// How long a connection may stand without any byte in either direction while no service works
    /// for it, 60 s by default; then it is closed, and reset if that takes as long again.
    pub fn idle_timeout(mut self, timeout: Duration) -> ServeOptions {
        self.idle_timeout = timeout;
        self
    }

    /// How long a service that reads a request's body waits for the next piece of it, 30 s by
    /// default; then it reads an error.
    pub fn body_timeout(mut self, timeout: Duration) -> ServeOptions {
        self.body_timeout = timeout;
        self
    }

    /// The bytes of a request's head, 32 KiB by default and at least 8 KiB. A longer one is
    /// answered with 431.
    pub fn head_limit(mut self, bytes: usize) -> ServeOptions {
        self.head_limit = bytes.max(8 << 10);
        self
    }

    /// The header fields of a request of HTTP/1.1, 100 by default. More are answered with 431.
    pub fn headers_max(mut self, count: usize) -> ServeOptions {
        self.headers_max = count;
        self
    }

    /// The bytes of a request's body, without a limit by default: a body is read piece by piece, so
    /// it is the service that keeps it or not. A service that reads a longer one reads an error.
    pub fn body_limit(mut self, bytes: u64) -> ServeOptions {
        self.body_limit = bytes;
        self
    }

    /// The requests that a connection of HTTP/2 may have open at a time, 100 by default.
    pub fn streams_max(mut self, count: u32) -> ServeOptions {
        self.streams_max = count;
        self
    }

    /// The requests of HTTP/2 that a client may have reset before the server came to look at them,
    /// 20 by default. One that resets more is sent away: it makes work and takes no answers
    /// (CVE-2023-44487, "rapid reset").
    pub fn resets_max(mut self, count: usize) -> ServeOptions {
        self.resets_max = count;
        self
    }

    /// The bytes of an answer of HTTP/2 that wait to be sent, 64 KiB by default: what a client that
    /// opens no window has the server keep for each of its requests. A body that comes piece by
    /// piece waits then, and a piece that is larger is kept whole.
    pub fn send_limit(mut self, bytes: usize) -> ServeOptions {
        self.send_limit = bytes;
        self
    }
}
