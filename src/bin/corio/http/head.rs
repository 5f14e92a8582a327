//! The head of a request: what was asked, how long the body is, and what is refused.
//!
//! A server and the proxy before it have to agree on where each request ends; where two readings of
//! a head are possible, an attacker hides a request from one of them. So this reader is strict:
//! what RFC 9112 lets a server accept for the sake of old clients (bare line feeds, lengths given
//! twice) is refused, and the connection ends with the answer.

use httparse::{Header, Status as Parsed};

/// A head with its request line, in bytes; as much as nginx and Apache take by default.
pub(super) const HEAD_BYTES_MAX: usize = 8 << 10;

/// Header fields in a head.
const HEADERS_MAX: usize = 64;

/// Bytes of a body, whether its length is given or it comes in chunks.
pub(super) const BODY_BYTES_MAX: u64 = 1 << 20;

/// What the server knows to answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Route {
    Plaintext,
    Json,
    NotFound,
    MethodNotAllowed,
}

/// How a request's body is framed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
}

/// One request, as far as its head tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    pub(super) route: Route,
    /// The body of the answer is left out: the method is HEAD.
    pub(super) without_body: bool,
    pub(super) framing: Framing,
    /// Another request may follow on this connection.
    pub(super) keep_alive: bool,
    /// HTTP/1.0: a client that wants to keep the connection has to be told that it is kept.
    pub(super) is_old: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub(super) expects_continue: bool,
}

/// Why a request is not answered. The connection ends with it: what follows has no known border.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    BadRequest,
    ContentTooLarge,
    UriTooLong,
    ExpectationFailed,
    HeadTooLarge,
    NotImplemented,
    VersionNotSupported,
}

/// Reads one head from the front of `input`: the request and the length of its head. `None` if it
/// is not whole yet.
pub(super) fn read(input: &[u8]) -> Result<Option<(Head, usize)>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let shown = &input[..input.len().min(HEAD_BYTES_MAX)];
    match request.parse(shown) {
        Ok(Parsed::Complete(len)) => {
            check_line_ends(&shown[..len])?;
            let is_old = request.version == Some(0);
            let fields = Fields::read(request.headers, is_old)?;
            let (method, target) = (request.method.unwrap_or(""), request.path.unwrap_or(""));
            let head = Head {
                route: route(method, target)?,
                without_body: method == "HEAD",
                framing: fields.framing,
                keep_alive: fields.keep_alive(is_old),
                is_old,
                expects_continue: fields.expects_continue && !is_old,
            };
            Ok(Some((head, len)))
        }
        Ok(Parsed::Partial) if input.len() < HEAD_BYTES_MAX => Ok(None),
        Ok(Parsed::Partial) if memchr::memchr(b'\n', trim_empty_lines(shown)).is_none() => {
            Err(Refusal::UriTooLong)
        }
        Ok(Parsed::Partial) | Err(httparse::Error::TooManyHeaders) => Err(Refusal::HeadTooLarge),
        Err(httparse::Error::Version) => Err(Refusal::VersionNotSupported),
        Err(_) => Err(Refusal::BadRequest),
    }
}

/// Empty lines before a request are allowed, and no part of its request line.
fn trim_empty_lines(input: &[u8]) -> &[u8] {
    let start = input.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
    &input[start.unwrap_or(input.len())..]
}

/// A line feed without its carriage return ends a line for some readers and not for others.
fn check_line_ends(head: &[u8]) -> Result<(), Refusal> {
    for at in memchr::memchr_iter(b'\n', head) {
        if at == 0 || head[at - 1] != b'\r' {
            return Err(Refusal::BadRequest);
        }
    }
    Ok(())
}

/// What the header fields say, of those that matter here.
struct Fields {
    framing: Framing,
    has_close: bool,
    has_keep_alive: bool,
    expects_continue: bool,
}

impl Fields {
    fn read(headers: &[Header<'_>], is_old: bool) -> Result<Fields, Refusal> {
        let (mut length, mut is_twice, mut is_chunked, mut host_count) = (None, false, false, 0);
        let (mut has_close, mut has_keep_alive, mut expects_continue) = (false, false, false);
        for header in headers {
            // The length of a name tells most of them apart without a comparison.
            match header.name.len() {
                4 if header.name.eq_ignore_ascii_case("host") => host_count += 1,
                6 if header.name.eq_ignore_ascii_case("expect") => {
                    if !header.value.eq_ignore_ascii_case(b"100-continue") {
                        return Err(Refusal::ExpectationFailed);
                    }
                    expects_continue = true;
                }
                10 if header.name.eq_ignore_ascii_case("connection") => {
                    has_close |= has_token(header.value, b"close");
                    has_keep_alive |= has_token(header.value, b"keep-alive");
                }
                14 if header.name.eq_ignore_ascii_case("content-length") => {
                    let earlier = length.replace(content_length(header.value)?);
                    is_twice |= earlier.is_some();
                }
                17 if header.name.eq_ignore_ascii_case("transfer-encoding") => {
                    if is_chunked || is_old {
                        return Err(Refusal::BadRequest);
                    }
                    if !header.value.eq_ignore_ascii_case(b"chunked") {
                        return Err(Refusal::NotImplemented);
                    }
                    is_chunked = true;
                }
                _ => {}
            }
        }
        let is_host_wrong = host_count > 1 || (host_count == 0 && !is_old);
        if is_host_wrong || is_twice || (is_chunked && length.is_some()) {
            return Err(Refusal::BadRequest);
        }
        let framing = match length {
            _ if is_chunked => Framing::Chunked,
            Some(length) if length > BODY_BYTES_MAX => return Err(Refusal::ContentTooLarge),
            length => Framing::Length(length.unwrap_or(0)),
        };
        Ok(Fields { framing, has_close, has_keep_alive, expects_continue })
    }

    fn keep_alive(&self, is_old: bool) -> bool {
        !self.has_close && (!is_old || self.has_keep_alive)
    }
}

/// Digits and nothing else: no sign, no list.
fn content_length(value: &[u8]) -> Result<u64, Refusal> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::BadRequest);
    }
    let digits = std::str::from_utf8(value).unwrap_or("");
    // A number that overflows is a body that nobody takes.
    digits.parse().map_err(|_| Refusal::ContentTooLarge)
}

fn has_token(list: &[u8], token: &[u8]) -> bool {
    list.split(|&byte| byte == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(token))
}

/// The resource that is meant. A proxy may send the whole URL; a query changes nothing here.
fn route(method: &str, target: &str) -> Result<Route, Refusal> {
    let path = match target.as_bytes().first() {
        Some(b'/') => target,
        Some(b'*') if target == "*" && method == "OPTIONS" => "*",
        _ if method == "CONNECT" => return Ok(Route::MethodNotAllowed),
        _ => path_of_url(target).ok_or(Refusal::BadRequest)?,
    };
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let route = match path {
        "/plaintext" => Route::Plaintext,
        "/json" => Route::Json,
        "*" => return Ok(Route::MethodNotAllowed),
        _ => return Ok(Route::NotFound),
    };
    Ok(if matches!(method, "GET" | "HEAD") { route } else { Route::MethodNotAllowed })
}

fn path_of_url(target: &str) -> Option<&str> {
    let scheme = target.get(..7)?;
    let rest = scheme.eq_ignore_ascii_case("http://").then(|| &target[7..])?;
    let end_of_authority = rest.find(['/', '?']).unwrap_or(rest.len());
    if end_of_authority == 0 {
        return None;
    }
    let path = &rest[end_of_authority..];
    Some(if path.is_empty() { "/" } else { path })
}
