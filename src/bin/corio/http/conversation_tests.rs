//! A conversation, tried with input that is honest, hostile, and cut at every place.

use super::answers::Answers;
use super::conversation::Conversation;

/// Runs `check` with the texts of answers, whose date needs a runtime's clock.
fn with_answers<T>(check: impl Fn(&Answers) -> T) -> T {
    corio::run(async { check(&Answers::new()) })
}

/// All that the server says to `pieces`, and whether it ends the connection.
fn talk(answers: &Answers, pieces: &[&[u8]]) -> (String, bool) {
    let mut conversation = Conversation::new();
    let (mut unread, mut output) = (Vec::new(), Vec::new());
    for piece in pieces {
        unread.extend_from_slice(piece);
        let taken = conversation.take(&unread, answers, &mut output);
        unread.drain(..taken);
    }
    (String::from_utf8(output).expect("answers are text"), conversation.is_over())
}

/// The status codes of the answers to `input`, and whether the connection ends.
fn statuses(input: &[u8]) -> (Vec<u16>, bool) {
    let (text, is_over) = with_answers(|answers| talk(answers, &[input]));
    let codes = text.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].parse().expect("a code"));
    (codes.collect(), is_over)
}

fn assert_refused(input: &[u8], status: u16) {
    let shown = String::from_utf8_lossy(&input[..input.len().min(200)]).into_owned();
    assert_eq!(statuses(input), (vec![status], true), "{shown:?}");
}

const GET: &str = "GET /plaintext HTTP/1.1\r\nHost: here\r\n\r\n";
const GET_JSON: &str = "GET /json HTTP/1.1\r\nHost: here\r\n\r\n";

#[test]
fn requests_are_answered_in_their_order_wherever_they_are_cut() {
    let post = "POST /plaintext HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /";
    let chunks = "POST /json HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                  5;ext=1\r\nHello\r\n00\r\nTrailer: x\r\n\r\n";
    let last = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let input = [GET, post, GET_JSON, chunks, GET, last].concat().into_bytes();
    with_answers(|answers| {
        let (whole, is_over) = talk(answers, &[&input]);
        assert!(is_over);
        let codes: Vec<_> = whole.split("HTTP/1.1 ").skip(1).map(|text| &text[..3]).collect();
        assert_eq!(codes, ["200", "405", "200", "405", "200", "404"], "{whole}");
        for cut in 0..=input.len() {
            let (front, back) = input.split_at(cut);
            assert_eq!(talk(answers, &[front, back]).0, whole, "cut at {cut}");
        }
        let bytes: Vec<_> = input.chunks(1).collect();
        assert_eq!(talk(answers, &bytes).0, whole, "byte by byte");
    });
}

#[test]
fn an_answer_tells_its_length_its_type_and_the_date() {
    let (text, is_over) = with_answers(|answers| talk(answers, &[GET_JSON.as_bytes()]));
    assert!(!is_over);
    for line in ["HTTP/1.1 200 OK\r\n", "Content-Type: application/json\r\n", " GMT\r\n"] {
        assert!(text.contains(line), "{text}");
    }
    assert!(text.contains("Content-Length: 27\r\n"), "{text}");
    assert!(text.ends_with("\r\n\r\n{\"message\":\"Hello, World!\"}"), "{text}");
}

#[test]
fn head_has_the_head_of_get_and_no_body() {
    with_answers(|answers| {
        let get = talk(answers, &[GET.as_bytes()]).0;
        let head = talk(answers, &[GET.replacen("GET", "HEAD", 1).as_bytes()]).0;
        assert_eq!(head, get.trim_end_matches("Hello, World!"));
    });
}

#[test]
fn old_clients_keep_a_connection_only_if_they_ask() {
    with_answers(|answers| {
        let (text, is_over) = talk(answers, &[b"GET /plaintext HTTP/1.0\r\n\r\n"]);
        assert!(is_over && text.contains("Connection: close\r\n"), "{text}");
        let kept = b"GET /plaintext HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n";
        let (text, is_over) = talk(answers, &[kept]);
        assert!(!is_over && text.contains("Connection: keep-alive\r\n"), "{text}");
    });
}

#[test]
fn a_client_that_waits_to_go_on_is_told_to_and_one_that_does_not_wait_is_not() {
    let head =
        "POST /json HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-Continue\r\n\r\n";
    assert_eq!(statuses(head.as_bytes()), (vec![100], false));
    assert_eq!(statuses(format!("{head}ab").as_bytes()), (vec![405], false));
    let old = head.replace("1.1", "1.0");
    assert_eq!(statuses(old.as_bytes()), (vec![], false));
    let other = head.replace("100-Continue", "miracles");
    assert_refused(other.as_bytes(), 417);
}

#[test]
fn targets_may_be_whole_urls_and_have_queries() {
    for target in ["/plaintext?x=/json", "http://here/plaintext", "HTTP://here:80/plaintext?a"] {
        let input = format!("GET {target} HTTP/1.1\r\nHost: here\r\n\r\n");
        assert_eq!(statuses(input.as_bytes()), (vec![200], false), "{target}");
    }
    let options = b"OPTIONS * HTTP/1.1\r\nHost: here\r\n\r\n";
    assert_eq!(statuses(options), (vec![405], false));
    for target in ["plaintext", "ftp://here/plaintext", "http://", "*"] {
        let input = format!("GET {target} HTTP/1.1\r\nHost: here\r\n\r\n");
        assert_refused(input.as_bytes(), 400);
    }
}

/// Hazard: a proxy and this server read the end of a request differently.
#[test]
fn what_could_be_read_in_two_ways_is_refused_and_what_follows_it_is_not_answered() {
    let smuggled = "\r\n0\r\n\r\nGET /json HTTP/1.1\r\nHost: a\r\n\r\n";
    for fields in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "Content-Length: 4\r\nContent-Length: 4",
        "Content-Length: 4\r\ncontent-length: 5",
        "Content-Length: +4",
        "Content-Length: 4, 4",
        "Content-Length: 0x4",
        "Content-Length: -1",
        "Content-Length:",
        "Content-Length : 4",
        "Content-Length: 4\r\n folded: line",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "X: a\nContent-Length: 4",
        "X: a\rContent-Length: 4",
        "X: a\0b",
        "Host: other",
    ] {
        let input = format!("POST /json HTTP/1.1\r\nHost: a\r\n{fields}\r\n{smuggled}");
        assert_refused(input.as_bytes(), 400);
    }
    for coding in ["gzip, chunked", "chunked, identity", "xchunked", "identity"] {
        let head = format!("POST /json HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {coding}\r\n");
        assert_refused(format!("{head}{smuggled}").as_bytes(), 501);
    }
    assert_refused(b"GET /json HTTP/1.1\r\n\r\n", 400);
    assert_refused(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400);
    assert_refused(b"GET  /json HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    assert_refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
    assert_refused(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400);
}

#[test]
fn chunks_that_are_no_chunks_are_refused() {
    let head = "POST /json HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in [
        "\r\n",
        "g\r\n",
        "+1\r\na\r\n",
        "-1\r\na\r\n",
        "0x1\r\na\r\n",
        " 1\r\na\r\n",
        "1 \r\na\r\n",
        "1\na\r\n",
        "1\r\nab\r\n",
        "1\r\na\n0\r\n\r\n",
        "1\r\na\rb",
        "0\r\nTrailer: a\nb\r\n\r\n",
    ] {
        assert_refused(format!("{head}{body}").as_bytes(), 400);
    }
    assert_refused(format!("{head}fffffffff\r\n").as_bytes(), 413);
    assert_refused(format!("{head}100001\r\n").as_bytes(), 413);
    assert_refused(format!("{head}1;{}", "x".repeat(300)).as_bytes(), 400);
}

#[test]
fn sizes_have_limits_that_are_told_apart() {
    let long = "x".repeat(9 << 10);
    assert_refused(format!("GET /{long}").as_bytes(), 414);
    assert_refused(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}").as_bytes(), 431);
    let fields = "X: y\r\n".repeat(65);
    assert_refused(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes(), 431);
    for length in ["1048577", "18446744073709551616"] {
        let input = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        assert_refused(input.as_bytes(), 413);
    }
    let head = "POST /json HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
    let trailers = "T: y\r\n".repeat(2000);
    assert_refused(format!("{head}{trailers}").as_bytes(), 431);
    let chunks = format!("ffff\r\n{}\r\n", "y".repeat(0xffff)).repeat(17);
    assert_refused(format!("{}{chunks}", &head[..head.len() - 3]).as_bytes(), 413);
}

/// Hazard: bytes that nobody wrote on purpose. Whatever comes, the answers stay well-formed, and
/// cutting the input changes nothing.
#[test]
fn mutilated_requests_get_the_same_answers_however_they_are_cut() {
    let seed = "POST /json HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                3\r\nabc\r\n0\r\n\r\nGET /plaintext HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\
                \r\nxyz";
    let mut state: u64 = 7;
    let mut random = |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    with_answers_once(|answers| {
        for _ in 0..3_000 {
            let mut input = seed.as_bytes().to_vec();
            for _ in 0..=random(3) {
                let at = random(input.len());
                match random(3) {
                    0 => input[at] = b"\r\n :;0fF\0\x80"[random(10)],
                    1 => drop(input.remove(at)),
                    _ => input.insert(at, b"\r\n :;0fF\0\x80"[random(10)]),
                }
            }
            let whole = talk(answers, &[&input]);
            let bytes: Vec<_> = input.chunks(1).collect();
            let shown = String::from_utf8_lossy(&input);
            assert_eq!(talk(answers, &bytes), whole, "{shown:?}");
        }
    });
}

fn with_answers_once(check: impl FnOnce(&Answers)) {
    corio::run(async { check(&Answers::new()) });
}
