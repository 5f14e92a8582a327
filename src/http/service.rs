//! Services: an async function as one, and what surrounds each call.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body as HttpBody, Incoming};
use hyper::{Request, Response, Version};
use hyper_util::service::{TowerToHyperService, TowerToHyperServiceFuture};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::activity::{Activity, Running};
use super::{AnyError, Body};

/// A service that calls an async function for each request. Its future, and what it captures, need
/// not be `Send`.
///
/// ```
/// use std::convert::Infallible;
/// use corio::http::{Body, Request, Response, service_fn};
///
/// let service = service_fn(async |request: Request<Body>| {
///     Ok::<_, Infallible>(Response::new(format!("you asked for {}", request.uri())))
/// });
/// # let _ = service;
/// ```
pub fn service_fn<H, F, B, E>(handler: H) -> ServiceFn<H>
where
    H: Fn(Request<Body>) -> F,
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<AnyError>,
{
    ServiceFn(Rc::new(handler))
}

/// The service of [`service_fn`].
pub struct ServiceFn<H>(Rc<H>);

impl<H> Clone for ServiceFn<H> {
    fn clone(&self) -> ServiceFn<H> {
        ServiceFn(Rc::clone(&self.0))
    }
}

impl<H, F, B, E> Service<Request<Body>> for ServiceFn<H>
where
    H: Fn(Request<Body>) -> F,
    F: Future<Output = Result<Response<B>, E>>,
{
    type Response = Response<B>;
    type Error = E;
    type Future = F;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> F {
        (self.0)(request)
    }
}

/// What can be served: any tower service of requests that is cheap to clone, such as axum's router
/// or a [`service_fn`]. Nothing of it need be `Send`, and nobody has to implement this.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no service that can be served",
    note = "it has to be `Clone`, and a `tower_service::Service<Request<corio::http::Body>>` whose \
            response is a `Response` with an `http_body::Body`",
    note = "an async function becomes one by `corio::http::service_fn`"
)]
pub trait HttpService:
    Service<
        Request<Body>,
        Response = Response<Self::ResponseBody>,
        Error: Into<AnyError>,
        Future: 'static,
    > + Clone
    + 'static
{
    /// The body of its responses.
    type ResponseBody: HttpBody<Error: Into<AnyError>> + 'static;
}

impl<S, B> HttpService for S
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + 'static,
    S::Error: Into<AnyError>,
    S::Future: 'static,
    B: HttpBody + 'static,
    B::Error: Into<AnyError>,
{
    type ResponseBody = B;
}

/// A service as a connection calls it: with limits on the body, and noted while it runs.
#[derive(Clone)]
pub(super) struct Limited<S> {
    service: TowerToHyperService<S>,
    activity: Rc<Activity>,
    body_limit: u64,
    body_timeout: Duration,
}

impl<S> Limited<S> {
    pub(super) fn new(
        service: S,
        activity: &Rc<Activity>,
        body_limit: u64,
        body_timeout: Duration,
    ) -> Limited<S> {
        let service = TowerToHyperService::new(service);
        Limited { service, activity: Rc::clone(activity), body_limit, body_timeout }
    }
}

impl<S> hyper::service::Service<Request<Incoming>> for Limited<S>
where
    S: Service<Request<Body>> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Noted<TowerToHyperServiceFuture<S, Request<Body>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let running = self.activity.begin(request.version() == Version::HTTP_2);
        let limited = |incoming| Body::new(incoming, self.body_limit, self.body_timeout);
        let future = self.service.call(request.map(limited));
        Noted { future, running }
    }
}

pin_project! {
    /// The future of a service that is noted until it is gone.
    pub(super) struct Noted<F> {
        #[pin]
        future: F,
        running: Running,
    }
}

impl<F: Future> Future for Noted<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(context)
    }
}
