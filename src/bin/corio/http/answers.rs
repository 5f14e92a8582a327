//! What the server says. All that is the same in every answer is put together once a second, with
//! the date; an answer is then two copies.

use std::time::Duration;

use corio::time::Instant;

use super::head::{Head, Refusal, Route};

const HELLO: &str = "Hello, World!";

/// How long a date is told before it is made anew: its unit.
const DATE_LIFE: Duration = Duration::from_secs(1);

/// The texts of the answers.
pub(crate) struct Answers {
    /// `Server` and `Date`, as the lines of a head.
    common: String,
    plaintext: String,
    made_at: Instant,
}

impl Answers {
    pub(crate) fn new() -> Answers {
        let (common, plaintext) = Answers::make();
        Answers { common, plaintext, made_at: Instant::now() }
    }

    /// Call this before answers are given: it brings the date up to date.
    pub(crate) fn refresh(&mut self) {
        if self.made_at.elapsed() >= DATE_LIFE {
            *self = Answers::new();
        }
    }

    fn make() -> (String, String) {
        let date = httpdate::HttpDate::from(std::time::SystemTime::now());
        let common = format!("Server: corio\r\nDate: {date}\r\n");
        let plaintext = format!(
            "HTTP/1.1 200 OK\r\n{common}Content-Type: text/plain\r\nContent-Length: {}\r\n",
            HELLO.len()
        );
        (common, plaintext)
    }

    /// Appends the answer to a request that was read to its end.
    pub(super) fn answer(&self, head: &Head, output: &mut Vec<u8>) {
        match head.route {
            Route::Plaintext => {
                output.extend_from_slice(self.plaintext.as_bytes());
                self.end(head, HELLO.as_bytes(), output);
            }
            Route::Json => self.json(head, output),
            Route::NotFound => {
                self.begin("404 Not Found", output);
                self.text(head, "not found; there are /plaintext and /json\n", output);
            }
            Route::MethodNotAllowed => {
                self.begin("405 Method Not Allowed", output);
                output.extend_from_slice(b"Allow: GET, HEAD\r\n");
                self.text(head, "only GET and HEAD are answered\n", output);
            }
        }
    }

    /// The object is made for each request, as TechEmpower's rules for `/json` ask.
    fn json(&self, head: &Head, output: &mut Vec<u8>) {
        let object = serde_json::json!({ "message": HELLO });
        let body = object.to_string();
        self.begin("200 OK", output);
        output.extend_from_slice(b"Content-Type: application/json\r\n");
        output.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        self.end(head, body.as_bytes(), output);
    }

    fn begin(&self, status: &str, output: &mut Vec<u8>) {
        for part in ["HTTP/1.1 ", status, "\r\n", &self.common] {
            output.extend_from_slice(part.as_bytes());
        }
    }

    fn text(&self, head: &Head, text: &str, output: &mut Vec<u8>) {
        let fields = format!("Content-Type: text/plain\r\nContent-Length: {}\r\n", text.len());
        output.extend_from_slice(fields.as_bytes());
        self.end(head, text.as_bytes(), output);
    }

    /// What every answer ends with: whether the connection is kept, the empty line, the body.
    fn end(&self, head: &Head, body: &[u8], output: &mut Vec<u8>) {
        match (head.keep_alive, head.is_old) {
            (true, false) => output.extend_from_slice(b"\r\n"),
            (true, true) => output.extend_from_slice(b"Connection: keep-alive\r\n\r\n"),
            (false, _) => output.extend_from_slice(b"Connection: close\r\n\r\n"),
        }
        if !head.without_body {
            output.extend_from_slice(body);
        }
    }

    /// The client may send its body now.
    pub(super) fn go_on(output: &mut Vec<u8>) {
        output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
    }

    /// A head that came too slowly.
    pub(crate) fn timed_out(&self, output: &mut Vec<u8>) {
        self.last("408 Request Timeout", "the request did not arrive in time\n", output);
    }

    /// The last answer of a connection: why the request is refused.
    pub(super) fn refuse(&self, refusal: Refusal, output: &mut Vec<u8>) {
        let (status, reason) = match refusal {
            Refusal::BadRequest => ("400 Bad Request", "this is no request of HTTP\n"),
            Refusal::ContentTooLarge => ("413 Content Too Large", "a body has at most 1 MiB\n"),
            Refusal::UriTooLong => ("414 URI Too Long", "a request line has at most 8 KiB\n"),
            Refusal::ExpectationFailed => {
                ("417 Expectation Failed", "only 100-continue can be expected\n")
            }
            Refusal::HeadTooLarge => {
                ("431 Request Header Fields Too Large", "a head has at most 64 fields and 8 KiB\n")
            }
            Refusal::NotImplemented => {
                ("501 Not Implemented", "the only transfer coding known is chunked\n")
            }
            Refusal::VersionNotSupported => {
                ("505 HTTP Version Not Supported", "the versions known are 1.1 and 1.0\n")
            }
        };
        self.last(status, reason, output);
    }

    fn last(&self, status: &str, reason: &str, output: &mut Vec<u8>) {
        self.begin(status, output);
        let fields = format!(
            "Content-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{reason}",
            reason.len()
        );
        output.extend_from_slice(fields.as_bytes());
    }
}
