//! The client's side of the opening handshake: RFC 6455, section 4.1.

use std::error::Error as StdError;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use futures_util::io::{AsyncRead, AsyncWrite};
use tungstenite::client::IntoClientRequest;
use tungstenite::error::{Error, UrlError};
use tungstenite::handshake::MidHandshake;
use tungstenite::handshake::client::{ClientHandshake, Response};
use tungstenite::http::header::{
    HeaderMap, HeaderName, ORIGIN, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_PROTOCOL,
};
use tungstenite::http::{Request, StatusCode, Uri};
use tungstenite::{HandshakeError, WebSocket as Core};

use super::message::io_error;
use super::wire::{Side, Wire};
use super::{Options, WebSocket};
use crate::net::TcpStream;
use crate::time::timeout;

/// How a client opens WebSockets.
///
/// ```
/// use corio::ws::Client;
///
/// let client = Client::new()
///     .header("authorization", "Bearer 123")?
///     .origin("https://example.com")?
///     .subprotocols(["chat.v2", "chat.v1"])?;
/// # let _ = client;
/// # std::io::Result::Ok(())
/// ```
#[derive(Clone, Default, Debug)]
pub struct Client {
    pub(super) options: Options,
    headers: HeaderMap,
}

/// Opens a WebSocket to a URL, as a default [`Client`] does.
///
/// # Errors
///
/// As [`Client::connect`].
///
/// # Cancellation
///
/// **Weak**: as [`Client::connect`].
pub async fn connect(url: &str) -> io::Result<WebSocket<TcpStream>> {
    Client::new().connect(url).await
}

impl Client {
    /// A client of the default [`Options`], which sends the fields that RFC 6455 asks for.
    pub fn new() -> Client {
        Client::default()
    }

    /// Limits and times.
    pub fn options(mut self, options: Options) -> Client {
        self.options = options;
        self
    }

    /// One more field of the request's head.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if HTTP knows no such name or value.
    pub fn header(mut self, name: &str, value: &str) -> io::Result<Client> {
        let name: HeaderName = name.parse().map_err(invalid)?;
        self.headers.append(name, value.parse().map_err(invalid)?);
        Ok(self)
    }

    /// The page on whose behalf the WebSocket is opened, for servers that let in some only.
    ///
    /// # Errors
    ///
    /// As [`header`](Self::header).
    pub fn origin(self, origin: &str) -> io::Result<Client> {
        self.header(ORIGIN.as_str(), origin)
    }

    /// The subprotocols that are offered, the best first. The server has to take one of them.
    ///
    /// # Errors
    ///
    /// As [`header`](Self::header).
    pub fn subprotocols<P: AsRef<str>>(
        self,
        subprotocols: impl IntoIterator<Item = P>,
    ) -> io::Result<Client> {
        let names: Vec<P> = subprotocols.into_iter().collect();
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        self.header(SEC_WEBSOCKET_PROTOCOL.as_str(), &names.join(", "))
    }

    /// Connects by TCP to a URL such as `ws://host:port/path`, and opens a WebSocket there.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a URL that is none, or of another scheme. As
    /// [`TcpStream::connect`], and as [`handshake`](Self::handshake).
    ///
    /// # Cancellation
    ///
    /// **Weak**: the connection is dropped.
    pub async fn connect(&self, url: &str) -> io::Result<WebSocket<TcpStream>> {
        let target = Target::of(url)?;
        if target.is_secure {
            let text = "a wss:// URL needs TLS: use `connect_tls` of the features `ws` and `tls`";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let stream = TcpStream::connect((target.host.as_str(), target.port)).await?;
        stream.set_nodelay(true)?;
        self.handshake(url, stream).await
    }

    /// Opens a WebSocket on a stream that is connected: of any kind, with TLS or through a proxy.
    /// The URL's host and path are what the server is told.
    ///
    /// # Errors
    ///
    /// `ConnectionRefused` with a [`Refused`] inside if the server answers something else than a
    /// WebSocket, `InvalidData` if its answer is wrong, `TimedOut` after
    /// [`Options::handshake_timeout`], `UnexpectedEof` if the stream ends, and its own errors.
    ///
    /// # Cancellation
    ///
    /// **Weak**: the stream is dropped.
    pub async fn handshake<S>(&self, url: &str, stream: S) -> io::Result<WebSocket<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let mut request = Target::of(url)?.uri.into_client_request().map_err(io_error)?;
        request.headers_mut().extend(self.headers.clone());
        let handshake = shake_hands(stream, request, &self.options);
        let (core, response) = match timeout(self.options.handshake_timeout, handshake).await {
            Ok(outcome) => outcome.map_err(refused)?,
            Err(_) => {
                let text = "the server did not answer the request for a WebSocket in time";
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
        };
        if let Some(extensions) = response.headers().get(SEC_WEBSOCKET_EXTENSIONS) {
            let text = format!("the server uses an extension nobody offered: {extensions:?}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        let subprotocol = response.headers().get(SEC_WEBSOCKET_PROTOCOL);
        let subprotocol = subprotocol.and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok(WebSocket::with_core(core, &self.options, subprotocol))
    }
}

/// Where a URL leads.
pub(super) struct Target {
    uri: Uri,
    /// Without the brackets that an address of IPv6 stands in.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) is_secure: bool,
}

impl Target {
    pub(super) fn of(url: &str) -> io::Result<Target> {
        let uri: Uri = url.parse().map_err(invalid)?;
        let is_secure = match uri.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            _ => return Err(io_error(Error::Url(UrlError::UnsupportedUrlScheme))),
        };
        let Some(host) = uri.host() else { return Err(io_error(Error::Url(UrlError::NoHostName))) };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        Ok(Target { uri, host, port, is_secure })
    }
}

/// A handshake under way, and what comes of it.
type Handshake<S> = MidHandshake<ClientHandshake<Wire<S>>>;
type Opened<S> = (Core<Wire<S>>, Response);

/// Writes the request and reads the answer.
async fn shake_hands<S>(
    stream: S,
    request: Request<()>,
    options: &Options,
) -> Result<Opened<S>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let begun = ClientHandshake::start(Wire::new(stream), request, Some(options.config()))?;
    let mut state = Some(begun);
    poll_fn(move |context| poll_handshake(&mut state, context)).await
}

/// Goes as far as the stream lets it.
fn poll_handshake<S>(
    state: &mut Option<Handshake<S>>,
    context: &mut Context<'_>,
) -> Poll<Result<Opened<S>, Error>>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut handshake = state.take().expect("a handshake is polled to its end, and no further");
    handshake.get_mut().get_mut().attend(Side::Receiver, context.waker());
    match handshake.handshake() {
        Ok(opened) => Poll::Ready(Ok(opened)),
        Err(HandshakeError::Failure(error)) => Poll::Ready(Err(error)),
        Err(HandshakeError::Interrupted(handshake)) => {
            let wire = state.insert(handshake).get_mut().get_mut();
            // The request is written; the stream may not have taken all of it.
            match wire.poll_drain() {
                Poll::Ready(Err(error)) => Poll::Ready(Err(Error::Io(error))),
                _ => Poll::Pending,
            }
        }
    }
}

/// The server's answer, which opens no WebSocket: inside the error of
/// [`Client::handshake`], from which `error.get_ref()` and `downcast_ref` give it.
#[derive(Debug)]
pub struct Refused {
    /// Such as 404.
    pub status: StatusCode,
    /// The fields of its head.
    pub headers: HeaderMap,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server opens no WebSocket here: it answered {}", self.status)
    }
}

impl StdError for Refused {}

fn refused(error: Error) -> io::Error {
    match error {
        Error::Http(response) => {
            let (parts, _) = response.into_parts();
            let refused = Refused { status: parts.status, headers: parts.headers };
            io::Error::new(io::ErrorKind::ConnectionRefused, refused)
        }
        error => io_error(error),
    }
}

fn invalid(error: impl StdError + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}
