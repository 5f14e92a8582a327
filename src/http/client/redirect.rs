//! Redirects, as RFC 9110 section 15.4 has them.
//!
//! | status | GET, HEAD | POST | others |
//! |---|---|---|---|
//! | 301, 302 | the same | GET | the same |
//! | 303 | the same | GET | GET |
//! | 307, 308 | the same | the same, with its body | the same, with its body |
//!
//! What says who is asking (`Authorization`, `Cookie`) goes to the origin that it was given for and
//! to no other: another scheme, host or port is another origin.

use hyper::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION,
    CONTENT_RANGE, CONTENT_TYPE, COOKIE, HOST, HeaderMap, HeaderName, LOCATION,
    PROXY_AUTHORIZATION, TRANSFER_ENCODING,
};
use hyper::{Method, StatusCode};
use url::Url;

use super::error::{Error, Phase};

const CREDENTIALS: [HeaderName; 3] = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION];

/// What describes a body that is no longer sent.
const OF_A_BODY: [HeaderName; 7] = [
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_LENGTH,
    CONTENT_LOCATION,
    CONTENT_RANGE,
    CONTENT_TYPE,
    TRANSFER_ENCODING,
];

/// Where an answer points, and by which method it is asked for; `None` if it is no redirect.
pub(super) fn target(
    status: StatusCode,
    answer: &HeaderMap,
    method: &Method,
    from: &Url,
) -> Result<Option<(Method, Url)>, Error> {
    let method = match status.as_u16() {
        301 | 302 if method == Method::POST => Method::GET,
        303 if method != Method::HEAD => Method::GET,
        301 | 302 | 303 | 307 | 308 => method.clone(),
        _ => return Ok(None),
    };
    let Some(location) = answer.get(LOCATION) else {
        return Ok(None);
    };
    let location = String::from_utf8_lossy(location.as_bytes());
    let refused = |text: String| Error::new(Phase::Redirect, text).at(from);
    let mut url = from.join(&location).map_err(|error| {
        refused(format!("the server redirects to `{location}`, which is no address")).because(error)
    })?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(refused(format!("the server redirects to `{location}`, which is not of HTTP")));
    }
    if url.fragment().is_none() {
        url.set_fragment(from.fragment());
    }
    Ok(Some((method, url)))
}

/// Takes out of a request's headers what is not for the next address.
pub(super) fn adapt(headers: &mut HeaderMap, is_other_method: bool, from: &Url, to: &Url) {
    let mut unfit: Vec<HeaderName> = Vec::new();
    if is_other_method {
        unfit.extend(OF_A_BODY);
    }
    if from.origin() != to.origin() {
        unfit.extend(CREDENTIALS);
        unfit.push(HOST);
    }
    for name in unfit {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    fn follow(status: u16, method: Method, location: &str) -> Option<(Method, String)> {
        let mut answer = HeaderMap::new();
        answer.insert(LOCATION, location.parse().unwrap());
        let status = StatusCode::from_u16(status).unwrap();
        let next = target(status, &answer, &method, &url("http://h/a/b?c#d")).unwrap();
        next.map(|(method, url)| (method, url.into()))
    }

    #[test]
    fn a_method_is_kept_or_becomes_get() {
        let table = [
            (301, "GET GET POST>GET PUT HEAD DELETE"),
            (302, "GET GET POST>GET PUT HEAD DELETE"),
            (303, "GET GET POST>GET PUT>GET HEAD DELETE>GET"),
            (307, "GET GET POST PUT HEAD DELETE"),
            (308, "GET GET POST PUT HEAD DELETE"),
        ];
        for (status, methods) in table {
            for rule in methods.split(' ') {
                let (from, to) = rule.split_once('>').unwrap_or((rule, rule));
                let next = follow(status, from.parse().unwrap(), "/x").unwrap();
                assert_eq!(next, (to.parse().unwrap(), "http://h/x#d".into()), "{status} {rule}");
            }
        }
    }

    #[test]
    fn other_statuses_and_missing_locations_are_answers() {
        for status in [200, 201, 300, 304, 305, 306, 399, 400] {
            assert!(follow(status, Method::GET, "/x").is_none(), "{status}");
        }
        let answer = HeaderMap::new();
        let next = target(StatusCode::FOUND, &answer, &Method::GET, &url("http://h/")).unwrap();
        assert!(next.is_none());
    }

    #[test]
    fn a_location_is_relative_to_the_address_that_was_asked() {
        let to = |location| follow(302, Method::GET, location).unwrap().1;
        assert_eq!(to("x"), "http://h/a/x#d");
        assert_eq!(to("?x"), "http://h/a/b?x#d");
        assert_eq!(to("//other/x"), "http://other/x#d");
        assert_eq!(to("https://h/x#y"), "https://h/x#y");
    }

    #[test]
    fn a_location_that_is_none_of_http_is_refused() {
        for location in ["file:///etc/passwd", "javascript:alert(1)", "http://", "http://h:99999/"]
        {
            let mut answer = HeaderMap::new();
            answer.insert(LOCATION, location.parse().unwrap());
            let next = target(StatusCode::FOUND, &answer, &Method::GET, &url("http://h/"));
            assert_eq!(next.unwrap_err().phase(), Phase::Redirect, "{location}");
        }
    }

    #[test]
    fn credentials_stay_with_their_origin() {
        let others = ["https://h/", "http://h:81/", "http://i/"];
        for (to, is_kept) in others.map(|to| (to, false)).into_iter().chain([("http://h/x", true)])
        {
            let mut headers = HeaderMap::new();
            for name in [AUTHORIZATION, COOKIE, CONTENT_TYPE] {
                headers.insert(name, "v".parse().unwrap());
            }
            adapt(&mut headers, false, &url("http://h/"), &url(to));
            assert_eq!(headers.contains_key(AUTHORIZATION), is_kept, "{to}");
            assert_eq!(headers.contains_key(COOKIE), is_kept, "{to}");
            assert!(headers.contains_key(CONTENT_TYPE), "{to}");
            adapt(&mut headers, true, &url("http://h/"), &url(to));
            assert!(!headers.contains_key(CONTENT_TYPE), "{to}");
        }
    }
}
