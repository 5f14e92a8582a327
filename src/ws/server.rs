//! The server's side of the opening handshake: RFC 6455, section 4.2.
//!
//! A request comes from a stream ([`Server::accept`]) or from an HTTP server (`upgrade.rs`); the
//! answer is the same. What is refused is answered, too, so that a client learns why.

use std::fmt;
use std::io;
use std::rc::Rc;

use futures_util::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use memchr::memmem;
use tungstenite::error::{Error, ProtocolError};
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{create_response_with_body, write_response};
use tungstenite::http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderValue, ORIGIN, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
};
use tungstenite::http::{Request, Response, StatusCode};
use tungstenite::protocol::Role;

use super::message::io_error;
use super::wire::Wire;
use super::{Options, WebSocket};
use crate::time::timeout;

/// The bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// So many bytes are read at a time; what is behind the head is handed on.
const READ_BYTES: usize = 1 << 10;

type OriginCheck = Rc<dyn Fn(Option<&str>) -> bool>;

/// How a server accepts WebSockets.
///
/// ```
/// use corio::ws::Server;
///
/// let server = Server::new()
///     .subprotocols(["chat.v2", "chat.v1"])
///     .origins(|origin| origin.is_none_or(|origin| origin == "https://example.com"));
/// # let _ = server;
/// ```
#[derive(Clone, Default)]
pub struct Server {
    pub(super) options: Options,
    subprotocols: Rc<[String]>,
    origins: Option<OriginCheck>,
}

/// Accepts a WebSocket on a stream, as a default [`Server`] does.
///
/// ```
/// use corio::net::TcpStream;
/// use corio::ws::{self, CloseCode, Message};
/// # corio::run(async {
/// let server = corio::net::serve("127.0.0.1:0", async |stream: TcpStream| {
///     let mut socket = ws::accept(stream).await?;
///     while let Some(message) = socket.recv().await? {
///         socket.send(message).await?;
///     }
///     std::io::Result::Ok(())
/// })
/// .await?;
///
/// let mut socket = ws::connect(&format!("ws://{}/", server.local_addrs()[0])).await?;
/// socket.send("hello").await?;
/// assert_eq!(socket.recv().await?, Some(Message::from("hello")));
/// socket.close(CloseCode::Normal, "").await?;
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
///
/// # Errors
///
/// As [`Server::accept`].
///
/// # Cancellation
///
/// **Weak**: as [`Server::accept`].
pub async fn accept<S>(stream: S) -> io::Result<WebSocket<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    Server::new().accept(stream).await
}

impl Server {
    /// A server of the default [`Options`], without subprotocols, that lets every origin in.
    pub fn new() -> Server {
        Server::default()
    }

    /// Limits and times.
    pub fn options(mut self, options: Options) -> Server {
        self.options = options;
        self
    }

    /// The subprotocols that are spoken, the best first: the first of them that a client offers is
    /// agreed on, and none if it offers none of them.
    pub fn subprotocols<P: Into<String>>(
        mut self,
        subprotocols: impl IntoIterator<Item = P>,
    ) -> Server {
        self.subprotocols = subprotocols.into_iter().map(Into::into).collect();
        self
    }

    /// Whom to let in by the `Origin` of a request, which every browser sends: a page of anybody
    /// may open a WebSocket to this server, with the cookies of whoever looks at it. Who is not let
    /// in is answered with 403.
    pub fn origins(mut self, check: impl Fn(Option<&str>) -> bool + 'static) -> Server {
        self.origins = Some(Rc::new(check));
        self
    }

    /// Reads a request off a stream, and answers it. The path that was asked for is not looked at:
    /// an upgrade inside `http` has a router in front.
    ///
    /// # Errors
    ///
    /// `InvalidData` for what is no such request, and `PermissionDenied` for an origin that is not
    /// let in; both have been answered. `TimedOut` if it takes longer than
    /// [`Options::handshake_timeout`], `UnexpectedEof` if the stream ends, and its own errors.
    ///
    /// # Cancellation
    ///
    /// **Weak**: the stream is dropped.
    pub async fn accept<S>(&self, mut stream: S) -> io::Result<WebSocket<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let handshake = self.shake_hands(&mut stream);
        match timeout(self.options.handshake_timeout, handshake).await {
            Ok(Ok((subprotocol, read))) => {
                let wire = Wire::new(stream);
                Ok(WebSocket::new(wire, read, Role::Server, &self.options, subprotocol))
            }
            Ok(Err(error)) => Err(error),
            Err(_) => {
                let text = "the client's request for a WebSocket did not come in time";
                Err(io::Error::new(io::ErrorKind::TimedOut, text))
            }
        }
    }

    /// Returns the subprotocol, and what was read behind the request.
    async fn shake_hands<S>(&self, stream: &mut S) -> io::Result<(Option<String>, Vec<u8>)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut head = Vec::new();
        let request = match read_head(stream, &mut head).await? {
            Ok(request) => request,
            Err(error) => return Err(refuse(stream, Refusal::new(error)).await),
        };
        match self.answer(&request) {
            Ok((response, subprotocol)) => {
                write_answer(stream, &response).await?;
                Ok((subprotocol, head))
            }
            Err(refusal) => Err(refuse(stream, refusal).await),
        }
    }

    /// The answer to a request, and the subprotocol.
    pub(super) fn answer<B>(
        &self,
        request: &Request<B>,
    ) -> Result<(Response<()>, Option<String>), Refusal> {
        let mut response = create_response_with_body(request, || ()).map_err(Refusal::new)?;
        let headers = request.headers();
        let origin = headers.get(ORIGIN).map(HeaderValue::to_str);
        if let Some(check) = &self.origins {
            // One that is no text is nobody's.
            let is_let_in = match origin {
                Some(Err(_)) => false,
                Some(Ok(origin)) => check(Some(origin)),
                None => check(None),
            };
            if !is_let_in {
                let text = format!("the origin {:?} is not let in", headers.get(ORIGIN));
                let error = io::Error::new(io::ErrorKind::PermissionDenied, text);
                return Err(Refusal { status: StatusCode::FORBIDDEN, error });
            }
        }
        let offers: Vec<&str> = headers
            .get_all(SEC_WEBSOCKET_PROTOCOL)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|list| list.split(',').map(str::trim))
            .collect();
        let agreed = self.subprotocols.iter().find(|own| offers.contains(&own.as_str())).cloned();
        if let Some(value) = agreed.as_ref().and_then(|own| HeaderValue::from_str(own).ok()) {
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, value);
        }
        Ok((response, agreed))
    }
}

/// Why a request is not answered with a WebSocket.
pub(super) struct Refusal {
    status: StatusCode,
    pub(super) error: io::Error,
}

impl Refusal {
    fn new(error: Error) -> Refusal {
        let status = match &error {
            Error::Protocol(ProtocolError::WrongHttpMethod) => StatusCode::METHOD_NOT_ALLOWED,
            Error::Protocol(
                ProtocolError::MissingConnectionUpgradeHeader
                | ProtocolError::MissingUpgradeWebSocketHeader
                | ProtocolError::MissingSecWebSocketVersionHeader,
            ) => StatusCode::UPGRADE_REQUIRED,
            Error::Capacity(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        let error = io::Error::new(io::ErrorKind::InvalidData, io_error(error));
        Refusal { status, error }
    }

    /// What the client is told.
    pub(super) fn response<B: Default>(&self) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        response
    }
}

/// Reads a head; leaves in `head` what came behind it.
async fn read_head<S>(stream: &mut S, head: &mut Vec<u8>) -> io::Result<Result<Request<()>, Error>>
where
    S: AsyncRead + Unpin,
{
    let mut searched: usize = 0;
    loop {
        if memmem::find(&head[searched.saturating_sub(3)..], b"\r\n\r\n").is_some() {
            let parsed = Request::try_parse(head);
            return Ok(parsed.and_then(|parsed| match parsed {
                Some((length, request)) => {
                    head.drain(..length);
                    Ok(request)
                }
                None => Err(Error::Protocol(ProtocolError::HandshakeIncomplete)),
            }));
        }
        searched = head.len();
        if searched > HEAD_BYTES_MAX {
            let error = tungstenite::error::CapacityError::TooManyHeaders;
            return Ok(Err(Error::Capacity(error)));
        }
        head.resize(searched + READ_BYTES, 0);
        let count = stream.read(&mut head[searched..]).await?;
        head.truncate(searched + count);
        if count == 0 {
            return Err(io_error(Error::Protocol(ProtocolError::HandshakeIncomplete)));
        }
    }
}

async fn refuse<S: AsyncWrite + Unpin>(stream: &mut S, refusal: Refusal) -> io::Error {
    let mut response = refusal.response::<()>();
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    // It is refused, whether the client hears it or not.
    let _ = write_answer(stream, &response).await;
    let _ = stream.close().await;
    refusal.error
}

async fn write_answer<S>(stream: &mut S, response: &Response<()>) -> io::Result<()>
where
    S: AsyncWrite + Unpin,
{
    let mut bytes = Vec::new();
    write_response(&mut bytes, response).map_err(io_error)?;
    stream.write_all(&bytes).await?;
    stream.flush().await
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("options", &self.options)
            .field("subprotocols", &self.subprotocols)
            .finish_non_exhaustive()
    }
}
