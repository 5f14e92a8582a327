//! One request from `send` to the head of its answer: through redirects, and again on another
//! connection where `again.rs` says that it is safe.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use hyper::header::{
    ACCEPT_ENCODING, CONTENT_LENGTH, COOKIE, Entry, HOST, HeaderMap, HeaderValue,
    PROXY_AUTHORIZATION,
};
use hyper::http::response::Parts;
use hyper::{Method, Request, Uri, Version};
use url::{Position, Url};

use super::Shared;
use super::again::{Outcome, Verdict, judge};
use super::authorization;
use super::body::{Body, Outgoing, Turn};
use super::connecting::Target;
use super::error::{Error, Phase};
use super::incoming::{Patience, Raw};
use super::lease::Lease;
use super::pool::{Acquired, Sender};
use super::redirect;
use super::response::Response;
use crate::time::{Instant, timeout, timeout_at};

/// How often a request may be sent; each time but the first the server has not looked at it before.
const ATTEMPTS_MAX: usize = 10;

/// What of a redirect's own body is read so that its connection can be used again.
const REDIRECT_BODY_MAX: usize = 64 << 10;
const REDIRECT_BODY_TIMEOUT: Duration = Duration::from_secs(1);

/// What can be set for a client and for each request.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) timeout: Option<Duration>,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) head_timeout: Option<Duration>,
    pub(super) body_timeout: Option<Duration>,
    pub(super) follows_redirects: bool,
    pub(super) redirects_max: usize,
    pub(super) decompresses: bool,
    pub(super) body_limit: u64,
}

/// A request on its way.
pub(super) struct Exchange<'a> {
    pub(super) shared: &'a Shared,
    pub(super) settings: Settings,
    pub(super) method: Method,
    pub(super) url: Rc<Url>,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
    /// For whoever ends it at its deadline.
    pub(super) phase: &'a Cell<Phase>,
    pub(super) deadline: Option<Instant>,
}

impl Exchange<'_> {
    pub(super) async fn run(mut self) -> Result<Response, Error> {
        let is_decoded = self.settings.decompresses && !self.headers.contains_key(ACCEPT_ENCODING);
        if is_decoded {
            let accepted = HeaderValue::from_static(super::decoding::ACCEPTED);
            self.headers.insert(ACCEPT_ENCODING, accepted);
        }
        for redirect_count in 0.. {
            // What is sent may have to be sent again, to another address.
            let copy = self.body.again();
            let (head, raw) = self.ask().await.map_err(|error| error.at(&self.url))?;
            self.shared.jar.note(&head.headers, &self.url);
            let next = match self.settings.follows_redirects {
                true => redirect::target(head.status, &head.headers, &self.method, &self.url)?,
                false => None,
            };
            let Some((method, url)) = next else {
                let limit = self.settings.body_limit;
                return Ok(Response::new(head, raw, is_decoded, limit));
            };
            if redirect_count >= self.settings.redirects_max {
                let text = format!("the server redirects more than {redirect_count} times");
                return Err(Error::new(Phase::Redirect, text).at(&self.url));
            }
            discard(raw).await;
            self.turn_to(method, url, copy)?;
        }
        unreachable!("redirects are counted")
    }

    /// Makes the request that an answer asks for.
    fn turn_to(&mut self, method: Method, mut url: Url, body: Option<Body>) -> Result<(), Error> {
        let is_other_method = method != self.method;
        redirect::adapt(&mut self.headers, is_other_method, &self.url, &url);
        self.body = match body {
            _ if is_other_method => Body::default(),
            Some(body) => body,
            None => {
                let text = "the server redirects a request whose body can be sent only once";
                return Err(Error::new(Phase::Redirect, text).at(&self.url));
            }
        };
        authorization::take_from(&mut url, &mut self.headers);
        self.method = method;
        self.url = Rc::new(url);
        Ok(())
    }

    /// Asks one address, until a connection has an answer.
    async fn ask(&mut self) -> Result<(Parts, Raw), Error> {
        let proxy = self.shared.rules.proxy_for(&self.url)?;
        let target = Target::new(&self.url, proxy)?;
        let mut is_fresh = false;
        for attempt in 1.. {
            let mut lease = self.lease(&target, is_fresh).await?;
            let copy = self.body.again();
            self.phase.set(Phase::Head);
            let failure = match self.attempt(&target, &mut lease).await? {
                Ok(answer) => {
                    self.phase.set(Phase::Body);
                    let (head, incoming) = answer.into_parts();
                    let piece = self.settings.body_timeout;
                    let patience = Patience { piece, deadline: self.deadline };
                    return Ok((head, Raw::new(incoming, lease, patience, Rc::clone(&self.url))));
                }
                Err(failure) => failure,
            };
            let verdict = judge(failure, &lease, &self.method, is_fresh);
            is_fresh |= matches!(verdict, Verdict::AgainOnce(_));
            let (error, body) = match verdict {
                Verdict::Untouched(error, body) => (error, Some(body)),
                Verdict::Again(error) | Verdict::AgainOnce(error) => (error, copy),
                Verdict::Over(error) => (error, None),
            };
            self.body = match body {
                Some(body) if attempt < ATTEMPTS_MAX => body,
                _ => return Err(Error::new(Phase::Head, "there is no answer").because(error)),
            };
        }
        unreachable!("attempts are counted")
    }

    /// A connection that was there before, or a new one.
    async fn lease(&self, target: &Target, is_fresh: bool) -> Result<Lease, Error> {
        self.phase.set(Phase::Pool);
        let host = self.shared.pool.host(target.key.clone());
        if !target.may_share(self.shared.connecting.protocol) {
            host.expect_http1();
        }
        let place = match host.acquire(is_fresh).await {
            Acquired::Lease(lease) => return Ok(lease),
            Acquired::Place(place) => place,
        };
        self.phase.set(Phase::Connect);
        let connecting = Box::pin(self.shared.connecting.connect(target, place));
        let Some(limit) = self.settings.connect_timeout else {
            return connecting.await;
        };
        timeout(limit, connecting).await.unwrap_or_else(|_| {
            let text = format!("no connection to {} within {limit:?}", target.key);
            Err(Error::timeout(Phase::Connect, format!("{text} (`connect_timeout`)")))
        })
    }

    /// Sends the request on a connection. The outer error is final.
    async fn attempt(&mut self, target: &Target, lease: &mut Lease) -> Result<Outcome, Error> {
        let turn: Turn = Rc::new(Cell::new(Some(Instant::now())));
        let body = Outgoing::new(std::mem::take(&mut self.body), &turn);
        let request = self.request(target, lease.is_http2(), body)?;
        let sending = async {
            match lease.sender() {
                Sender::One(sender) => sender.try_send_request(request).await,
                Sender::Two(sender) => sender.try_send_request(request).await,
            }
        };
        let Some(limit) = self.settings.head_timeout else {
            return Ok(sending.await);
        };
        let mut sending = pin!(sending);
        loop {
            let since = turn.get().unwrap_or_else(Instant::now);
            if let Ok(outcome) = timeout_at(since + limit, sending.as_mut()).await {
                return Ok(outcome);
            }
            if turn.get() == Some(since) {
                let text = format!("the server did not answer for {limit:?} (`head_timeout`)");
                return Err(Error::timeout(Phase::Head, text));
            }
        }
    }

    /// The request as it goes over a connection.
    fn request(
        &self,
        target: &Target,
        is_http2: bool,
        body: Outgoing,
    ) -> Result<Request<Outgoing>, Error> {
        let forwarded = target.forwarded();
        let is_absolute = is_http2 || forwarded.is_some();
        let from = if is_absolute { Position::BeforeScheme } else { Position::BeforePath };
        let uri: Uri = self.url[from..Position::AfterQuery].parse().map_err(|error| {
            Error::new(Phase::Request, "the address cannot be asked for").because(error)
        })?;
        let mut headers = self.headers.clone();
        if let Entry::Vacant(place) = headers.entry(HOST)
            && !is_http2
        {
            let host = &self.url[Position::BeforeHost..Position::AfterPort];
            place.insert(HeaderValue::from_str(host).map_err(|error| {
                Error::new(Phase::Request, "the host cannot be named").because(error)
            })?);
        }
        if let Entry::Vacant(place) = headers.entry(COOKIE)
            && let Some(cookies) = self.shared.jar.value_for(&self.url)
        {
            place.insert(cookies);
        }
        if let Some(authorization) = forwarded.and_then(|proxy| proxy.authorization.clone()) {
            headers.insert(PROXY_AUTHORIZATION, authorization);
        }
        let has_length = [Method::POST, Method::PUT, Method::PATCH].contains(&self.method);
        if has_length && hyper::body::Body::is_end_stream(&body) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        *request.version_mut() = if is_http2 { Version::HTTP_2 } else { Version::HTTP_11 };
        Ok(request)
    }
}

/// Reads the rest of an answer that nobody wants, if it is short, for its connection's sake.
async fn discard(mut raw: Raw) {
    let reading = async {
        let mut length = 0;
        while let Some(Ok(piece)) = poll_fn(|context| raw.poll_piece(context)).await {
            length += piece.len();
            if length > REDIRECT_BODY_MAX {
                break;
            }
        }
    };
    // A slow one costs its connection, nothing else.
    let _ = timeout(REDIRECT_BODY_TIMEOUT, reading).await;
}
