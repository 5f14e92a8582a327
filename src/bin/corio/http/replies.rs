//! The client's side: what is asked, and whether the reply is the right one.
//!
//! Every reply is checked: its status, its length, its body. Replies of a server are mostly the
//! same bytes again and again, with a new date once a second. So a reply that was read and found
//! right is kept, and one that equals it byte by byte needs no second reading. That keeps the load
//! generator cheaper than any server.

use httparse::Status as Parsed;

/// A head of a reply, in bytes, and its fields.
const HEAD_BYTES_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;

/// A body that is taken for the answer.
const BODY_BYTES_MAX: usize = 16 << 20;

/// The bytes of one request.
pub(crate) fn request(path: &str, host: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes()
}

/// Reads replies, each of which has to be the answer to a request for the same path.
pub(crate) struct Replies {
    /// What the body has to be; the first reply's, for a path that only the server knows.
    body: Option<Vec<u8>>,
    is_json: bool,
    /// The last whole reply that was found right.
    right: Vec<u8>,
}

impl Replies {
    pub(crate) fn new(path: &str) -> Replies {
        let body = match path {
            "/plaintext" => Some(b"Hello, World!".to_vec()),
            "/json" => Some(br#"{"message":"Hello, World!"}"#.to_vec()),
            _ => None,
        };
        Replies { body, is_json: path == "/json", right: Vec::new() }
    }

    /// The length of the reply at the front of `input`, if it is whole.
    pub(crate) fn check(&mut self, input: &[u8]) -> Result<Option<usize>, String> {
        let is_as_before = !self.right.is_empty() && input.starts_with(&self.right);
        if is_as_before {
            return Ok(Some(self.right.len()));
        }
        let len = self.read(input)?;
        if let Some(len) = len {
            self.right.clear();
            self.right.extend_from_slice(&input[..len]);
        }
        Ok(len)
    }

    fn read(&mut self, input: &[u8]) -> Result<Option<usize>, String> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let head_len = match response.parse(input) {
            Ok(Parsed::Complete(len)) => len,
            Ok(Parsed::Partial) if input.len() < HEAD_BYTES_MAX => return Ok(None),
            Ok(Parsed::Partial) => return Err("a reply's head has no end".to_owned()),
            Err(error) => {
                let seen = String::from_utf8_lossy(&input[..input.len().min(40)]);
                return Err(format!("what came back is no reply of HTTP ({error}): {seen:?}"));
            }
        };
        let status = response.code.unwrap_or(0);
        if status != 200 {
            let reason = response.reason.unwrap_or("");
            return Err(format!("the server answered {status} {reason}, expected 200"));
        }
        let body_len = content_length(response.headers)?;
        let Some(body) = input[head_len..].get(..body_len) else {
            return Ok(None);
        };
        self.check_body(body)?;
        Ok(Some(head_len + body_len))
    }

    fn check_body(&mut self, body: &[u8]) -> Result<(), String> {
        let expected = self.body.get_or_insert_with(|| body.to_vec());
        if body == expected || (self.is_json && is_same_json(body, expected)) {
            return Ok(());
        }
        let (seen, expected) = (show(body), show(expected));
        Err(format!("a wrong body came back: {seen:?}, expected {expected:?}"))
    }
}

/// The same object may be written with spaces.
fn is_same_json(one: &[u8], other: &[u8]) -> bool {
    let read = |bytes| serde_json::from_slice::<serde_json::Value>(bytes).ok();
    read(one).is_some_and(|value| Some(value) == read(other))
}

fn show(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned()
}

fn content_length(headers: &[httparse::Header<'_>]) -> Result<usize, String> {
    let mut length = None;
    for header in headers {
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err("the reply comes in chunks; this client reads replies that tell their \
                        Content-Length"
                .to_owned());
        }
        if header.name.eq_ignore_ascii_case("content-length") {
            let value = std::str::from_utf8(header.value).unwrap_or("").trim();
            length = value.parse().ok().filter(|&length| length <= BODY_BYTES_MAX);
        }
    }
    length.ok_or_else(|| format!("the reply has no Content-Length between 0 and {BODY_BYTES_MAX}"))
}

#[cfg(test)]
mod tests {
    use super::Replies;

    const REPLY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, World!";

    #[test]
    fn a_reply_is_whole_at_its_last_byte_and_not_before() {
        for len in 0..REPLY.len() {
            assert_eq!(Replies::new("/plaintext").check(&REPLY[..len]), Ok(None), "{len}");
        }
        let two = [REPLY, REPLY].concat();
        let mut replies = Replies::new("/plaintext");
        assert_eq!(replies.check(&two), Ok(Some(REPLY.len())));
        assert_eq!(replies.check(&two[REPLY.len()..]), Ok(Some(REPLY.len())));
    }

    #[test]
    fn a_reply_that_differs_from_the_one_before_is_read_anew() {
        let mut replies = Replies::new("/plaintext");
        assert_eq!(replies.check(REPLY), Ok(Some(REPLY.len())));
        let wrong = REPLY.to_ascii_lowercase();
        assert!(replies.check(&wrong).is_err());
        let late = [&REPLY[..17], b"Date: now\r\n", &REPLY[17..]].concat();
        assert_eq!(replies.check(&late), Ok(Some(late.len())));
    }

    #[test]
    fn json_may_be_written_with_spaces_and_not_with_another_content() {
        let reply =
            |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let mut replies = Replies::new("/json");
        let spaced = reply("{ \"message\": \"Hello, World!\" }");
        assert_eq!(replies.check(spaced.as_bytes()), Ok(Some(spaced.len())));
        assert!(replies.check(reply("{\"message\":\"Hello\"}").as_bytes()).is_err());
    }
}
