//! Who is asking: `Authorization`, by name and password or by a token.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{AUTHORIZATION, Entry, HeaderMap, HeaderValue, InvalidHeaderValue};
use percent_encoding::percent_decode_str;
use url::Url;

/// The value for a name and a password (RFC 7617).
pub(super) fn basic(name: &[u8], password: &[u8]) -> HeaderValue {
    let pair = BASE64_STANDARD.encode([name, b":", password].concat());
    let value = HeaderValue::from_str(&format!("Basic {pair}"));
    secret(value.expect("base64 has only letters, digits and signs that a header may have"))
}

/// The value for a token (RFC 6750).
pub(super) fn bearer(token: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    HeaderValue::from_str(&format!("Bearer {token}")).map(secret)
}

/// Debug output does not show it, and HTTP/2 does not index it.
fn secret(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

/// Takes name and password out of an address. They are for it unless the request has others.
pub(super) fn take_from(url: &mut Url, headers: &mut HeaderMap) {
    if url.username().is_empty() && url.password().is_none() {
        return;
    }
    let decoded = |text| -> Cow<'_, [u8]> { percent_decode_str(text).into() };
    let value = basic(&decoded(url.username()), &decoded(url.password().unwrap_or_default()));
    // It has a host, or it would have had neither.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    if let Entry::Vacant(place) = headers.entry(AUTHORIZATION) {
        place.insert(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_password_leave_the_address() {
        let mut url: Url = "http://al%20i:o%3Apen@h/x".parse().unwrap();
        let mut headers = HeaderMap::new();
        take_from(&mut url, &mut headers);
        assert_eq!(url.as_str(), "http://h/x");
        assert_eq!(
            headers[AUTHORIZATION],
            format!("Basic {}", BASE64_STANDARD.encode("al i:o:pen"))
        );
        assert!(headers[AUTHORIZATION].is_sensitive());
    }

    #[test]
    fn what_the_request_says_itself_is_kept() {
        let mut url: Url = "http://a:b@h/".parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, bearer("token").unwrap());
        take_from(&mut url, &mut headers);
        assert_eq!(headers[AUTHORIZATION], "Bearer token");
        assert_eq!(url.as_str(), "http://h/");
        assert!(bearer("to\nken").is_err());
    }
}
