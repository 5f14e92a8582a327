//! Cookies that servers set, kept by a library for the life of a client.

use std::cell::RefCell;

use cookie_store::CookieStore;
use hyper::header::{HeaderMap, HeaderValue, SET_COOKIE};
use url::Url;

/// The jar of a client, if it has one.
#[derive(Default)]
pub(super) struct Jar(Option<RefCell<CookieStore>>);

impl Jar {
    pub(super) fn new(is_kept: bool) -> Jar {
        Jar(is_kept.then(RefCell::default))
    }

    /// Keeps what an answer sets.
    pub(super) fn note(&self, answer: &HeaderMap, url: &Url) {
        let Some(store) = &self.0 else {
            return;
        };
        for value in answer.get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok()) {
            // One that is malformed, or not the server's to set, is no cookie.
            let _ = store.borrow_mut().parse(value, url);
        }
    }

    /// What goes along with a request, as the value of `Cookie`.
    pub(super) fn value_for(&self, url: &Url) -> Option<HeaderValue> {
        let store = self.0.as_ref()?.borrow();
        let pairs: Vec<_> =
            store.get_request_values(url).map(|(name, value)| format!("{name}={value}")).collect();
        if pairs.is_empty() {
            return None;
        }
        let mut value = HeaderValue::from_str(&pairs.join("; ")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    pub(super) fn clear(&self) {
        if let Some(store) = &self.0 {
            store.borrow_mut().clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(set: &[&str], to: &str) -> Option<String> {
        let jar = Jar::new(true);
        let mut answer = HeaderMap::new();
        for value in set {
            answer.append(SET_COOKIE, value.parse().unwrap());
        }
        jar.note(&answer, &"http://a.example/x/y".parse().unwrap());
        let value = jar.value_for(&to.parse().unwrap())?;
        Some(value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_cookie_goes_where_it_belongs() {
        assert_eq!(sent(&["a=1"], "http://a.example/x/z").as_deref(), Some("a=1"));
        assert_eq!(sent(&["a=1"], "http://b.example/x/z"), None);
        assert_eq!(sent(&["a=1"], "http://a.example/z"), None);
        assert_eq!(sent(&["a=1; Path=/"], "http://a.example/z").as_deref(), Some("a=1"));
        assert_eq!(sent(&["a=1; Domain=b.example"], "http://b.example/x/z"), None);
        assert_eq!(sent(&["a=1; Secure; Path=/"], "http://a.example/"), None);
        assert_eq!(sent(&["a=1; Max-Age=0"], "http://a.example/x/z"), None);
        assert_eq!(
            sent(&["a=1", "nonsense", "a=2"], "http://a.example/x/").as_deref(),
            Some("a=2")
        );
        assert_eq!(Jar::new(false).value_for(&"http://h/".parse().unwrap()), None);
    }
}
