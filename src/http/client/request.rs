//! A request that is put together, and sent.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use hyper::Method;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use url::Url;

use super::Client;
use super::authorization;
use super::body::Body;
use super::error::{Error, Phase};
use super::exchange::{Exchange, Settings};
use super::response::Response;
use crate::time::{Instant, timeout_at};

/// A request that is put together. What is wrong with it is told by [`send`](Self::send).
///
/// ```
/// use corio::http::{self, Body, Client, Request, Response};
/// use corio::time::Duration;
/// use http_body_util::{BodyExt, Full};
///
/// # corio::run(async {
/// let echo = http::service_fn(async |request: Request<Body>| {
///     let body = request.into_body().collect().await?.to_bytes();
///     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Response::new(Full::new(body)))
/// });
/// let server = http::serve("127.0.0.1:0", echo).await?;
///
/// let client = Client::new();
/// let answer = client
///     .post(format!("http://{}/", server.local_addrs()[0]))
///     .header("x-number", "7")
///     .timeout(Duration::from_secs(10))
///     .json(&[1, 2, 3])
///     .send()
///     .await?;
/// assert_eq!(answer.json::<Vec<u32>>().await?, [1, 2, 3]);
/// # std::io::Result::Ok(())
/// # }).unwrap();
/// ```
#[must_use = "a request does nothing until it is sent"]
pub struct RequestBuilder {
    client: Client,
    method: Method,
    url: Result<Url, Error>,
    headers: HeaderMap,
    body: Body,
    settings: Settings,
}

impl RequestBuilder {
    pub(super) fn new(client: &Client, method: Method, url: &str) -> RequestBuilder {
        RequestBuilder {
            client: client.clone(),
            method,
            url: parse(url),
            headers: HeaderMap::new(),
            body: Body::default(),
            settings: client.0.settings.clone(),
        }
    }

    fn fail(&mut self, error: Error) {
        if self.url.is_ok() {
            self.url = Err(error);
        }
    }

    /// Adds a header field. The client's own of this name does not go along.
    pub fn header(mut self, name: impl AsRef<str>, value: impl AsRef<[u8]>) -> RequestBuilder {
        let name = name.as_ref();
        let none = |text: &str| Error::new(Phase::Request, format!("`{name}` {text}"));
        match (HeaderName::try_from(name), HeaderValue::from_bytes(value.as_ref())) {
            (Ok(name), Ok(value)) => drop(self.headers.append(name, value)),
            (Err(_), _) => self.fail(none("is no name of a header")),
            (_, Err(_)) => self.fail(none("is a header whose value has bytes that none may have")),
        }
        self
    }

    /// Sets header fields, in place of those of the same names.
    pub fn headers(mut self, headers: HeaderMap) -> RequestBuilder {
        for name in headers.keys() {
            self.headers.remove(name);
        }
        self.headers.extend(headers);
        self
    }

    /// Says who is asking, by name and password.
    pub fn basic_auth(mut self, name: &str, password: &str) -> RequestBuilder {
        let value = authorization::basic(name.as_bytes(), password.as_bytes());
        self.headers.insert(AUTHORIZATION, value);
        self
    }

    /// Says who is asking, by a token.
    pub fn bearer_auth(mut self, token: &str) -> RequestBuilder {
        match authorization::bearer(token) {
            Ok(value) => drop(self.headers.insert(AUTHORIZATION, value)),
            Err(_) => self.fail(Error::new(Phase::Request, "the token cannot stand in a header")),
        }
        self
    }

    /// Adds pairs to the address's query, encoded.
    #[doc(alias = "params")]
    pub fn query<K, V>(mut self, pairs: impl IntoIterator<Item = (K, V)>) -> RequestBuilder
    where
        K: AsRef<str>,
        V: AsRef<str>,
    {
        if let Ok(url) = &mut self.url {
            url.query_pairs_mut().extend_pairs(pairs);
        }
        self
    }

    /// The body, which is none by default.
    #[doc(alias = "data")]
    pub fn body(mut self, body: impl Into<Body>) -> RequestBuilder {
        self.body = body.into();
        self
    }

    /// A body of JSON, with its `Content-Type`.
    pub fn json(mut self, value: &impl Serialize) -> RequestBuilder {
        match serde_json::to_vec(value) {
            Ok(bytes) => self.typed("application/json", bytes),
            Err(error) => {
                let text = "the body cannot be written as JSON";
                self.fail(Error::new(Phase::Request, text).because(error));
                self
            }
        }
    }

    /// A body of pairs as a form of HTML sends them, with its `Content-Type`.
    #[doc(alias = "FormData")]
    pub fn form<K, V>(self, pairs: impl IntoIterator<Item = (K, V)>) -> RequestBuilder
    where
        K: AsRef<str>,
        V: AsRef<str>,
    {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        let form = form.extend_pairs(pairs).finish();
        self.typed("application/x-www-form-urlencoded", form.into_bytes())
    }

    fn typed(mut self, content_type: &'static str, bytes: Vec<u8>) -> RequestBuilder {
        let place = self.headers.entry(CONTENT_TYPE);
        place.or_insert(HeaderValue::from_static(content_type));
        self.body = bytes.into();
        self
    }

    /// The time for all of it, to the end of the answer's body: see
    /// [`ClientBuilder::timeout`](super::ClientBuilder::timeout).
    pub fn timeout(mut self, limit: Duration) -> RequestBuilder {
        self.settings.timeout = Some(limit);
        self
    }

    /// See [`ClientBuilder::connect_timeout`](super::ClientBuilder::connect_timeout).
    pub fn connect_timeout(mut self, limit: Duration) -> RequestBuilder {
        self.settings.connect_timeout = Some(limit);
        self
    }

    /// See [`ClientBuilder::head_timeout`](super::ClientBuilder::head_timeout).
    pub fn head_timeout(mut self, limit: Duration) -> RequestBuilder {
        self.settings.head_timeout = Some(limit);
        self
    }

    /// See [`ClientBuilder::body_timeout`](super::ClientBuilder::body_timeout).
    pub fn body_timeout(mut self, limit: Duration) -> RequestBuilder {
        self.settings.body_timeout = Some(limit);
        self
    }

    /// See [`ClientBuilder::body_limit`](super::ClientBuilder::body_limit).
    pub fn body_limit(mut self, bytes: u64) -> RequestBuilder {
        self.settings.body_limit = bytes;
        self
    }

    /// See [`ClientBuilder::follow_redirects`](super::ClientBuilder::follow_redirects).
    #[doc(alias = "allow_redirects")]
    pub fn follow_redirects(mut self, follows: bool) -> RequestBuilder {
        self.settings.follows_redirects = follows;
        self
    }

    /// Sends the request, and waits for the head of its answer. A status of an error is an answer
    /// as any other: see [`Response::error_for_status`].
    ///
    /// # Errors
    ///
    /// If the request is none, if there is no connection or no answer, if a time limit is over, or
    /// if the server redirects too often or to nowhere: [`Error::phase`] tells.
    ///
    /// # Panics
    ///
    /// When it is polled, if no runtime runs on that thread.
    ///
    /// # Cancellation
    ///
    /// **Weak**: the server may have acted on the request. Its connection is closed, unless it is
    /// one of HTTP/2.
    pub async fn send(self) -> Result<Response, Error> {
        let mut url = self.url?;
        let shared = &*self.client.0;
        let mut headers = self.headers;
        authorization::take_from(&mut url, &mut headers);
        shared.add_headers(&mut headers);
        let phase = Cell::new(Phase::Request);
        let limit = self.settings.timeout;
        let deadline = limit.map(|limit| Instant::now() + limit);
        let exchange = Exchange {
            shared,
            settings: self.settings,
            method: self.method,
            url: Rc::new(url.clone()),
            headers,
            body: self.body,
            phase: &phase,
            deadline,
        };
        let Some(deadline) = deadline else {
            return exchange.run().await;
        };
        timeout_at(deadline, exchange.run()).await.unwrap_or_else(|_| {
            let limit = limit.unwrap_or_default();
            let text = format!("there was no answer within {limit:?} (`timeout`)");
            Err(Error::timeout(phase.get(), text).at(&url))
        })
    }
}

fn parse(url: &str) -> Result<Url, Error> {
    let none = |text: &str| Error::new(Phase::Request, format!("`{url}` {text}"));
    let parsed: Url = url.parse().map_err(|error| none("is no address").because(error))?;
    match parsed.scheme() {
        "http" | "https" => Ok(parsed),
        _ => Err(none("is an address of neither `http` nor `https`")),
    }
}

impl fmt::Debug for RequestBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBuilder")
            .field("method", &self.method)
            .field("url", &self.url.as_ref().map(Url::as_str))
            .finish_non_exhaustive()
    }
}
