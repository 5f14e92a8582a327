//! The cases of the conformance run, by the numbers that the Autobahn suite gives their classes:
//! what is sent by hand to an end that echoes, and what has to come back.
//!
//! 1 frames of all sizes; 2 pings; 3 reserved bits; 4 reserved opcodes; 5 fragments; 6 UTF-8; 7
//! closes; 9 and 10 long messages in many pieces; 0 is ours: masks and limits. (12 and 13 are about
//! compression, which is declined; 8 does not exist; 11 was withdrawn.)

use super::hand::{BINARY, CLOSE, FIN, MORE, PING, PONG, TEXT, close_payload, show};

/// The longest message that the end under test takes.
pub const MESSAGE_LIMIT: usize = 1 << 20;

/// What is done by hand.
pub enum Step {
    Frame(u8, Vec<u8>),
    /// With a mask where there should be none, or without one.
    WronglyMasked(u8, Vec<u8>),
    /// A head that announces so many bytes, and none of them.
    Head(u8, u64),
    /// Waits until so much was heard in all.
    Hear(usize),
}

pub struct Case {
    pub name: String,
    pub steps: Vec<Step>,
    /// The pieces in which bytes are sent.
    pub piece: usize,
    /// What is heard, up to the close.
    pub heard: Vec<String>,
    /// What Python's `websockets` is heard to say instead, where it is of another opinion.
    pub python: Option<Vec<String>>,
}

use Step::{Frame, Head, Hear, WronglyMasked};

/// One that ends with an ordinary close.
fn good(name: impl Into<String>, steps: Vec<Step>, heard: &[String]) -> Case {
    let mut case = ends(name, steps, heard, 1000);
    case.steps.push(Hear(heard.len()));
    case.steps.push(Frame(FIN | CLOSE, close_payload(1000, b"")));
    case
}

/// One that the other end closes with this code.
fn ends(name: impl Into<String>, steps: Vec<Step>, heard: &[String], code: u16) -> Case {
    let mut heard = heard.to_vec();
    heard.push(format!("close {code}"));
    Case { name: name.into(), steps, piece: usize::MAX, heard, python: None }
}

fn text(payload: &[u8]) -> String {
    format!("text {}", show(payload))
}

fn binary(payload: &[u8]) -> String {
    format!("binary {}", show(payload))
}

/// A message in fragments of so many bytes.
fn fragments(opcode: u8, payload: &[u8], size: usize) -> Vec<Step> {
    let count = payload.len().div_ceil(size);
    let head = |number| {
        let opcode = if number == 0 { opcode } else { 0 };
        opcode | if number + 1 == count { FIN } else { MORE }
    };
    let parts = payload.chunks(size).enumerate();
    parts.map(|(number, part)| Frame(head(number), part.to_vec())).collect()
}

pub fn all() -> Vec<Case> {
    let classes = [masks_and_limits(), frames(), pings(), reserved(), in_fragments(), in_utf8()];
    let mut cases: Vec<Case> = classes.into_iter().flatten().collect();
    cases.extend(closes());
    cases.extend(long_ones());
    cases
}

fn masks_and_limits() -> Vec<Case> {
    let wrong = vec![WronglyMasked(FIN | TEXT, b"hello".to_vec())];
    let head = Head(FIN | BINARY, MESSAGE_LIMIT as u64 + 1);
    let mut too_much = fragments(BINARY, &vec![7; MESSAGE_LIMIT], MESSAGE_LIMIT / 4);
    let Some(Frame(last, _)) = too_much.last_mut() else { unreachable!("four fragments") };
    *last = MORE;
    too_much.push(Frame(FIN, vec![7]));
    vec![
        ends("0.1 wrongly masked", wrong, &[], 1002),
        // It is refused by its head alone.
        ends("0.2 a frame over the limit", vec![head], &[], 1009),
        ends("0.3 fragments over the limit", too_much, &[], 1009),
    ]
}

fn frames() -> Vec<Case> {
    let mut cases = Vec::new();
    for size in [0, 1, 125, 126, 127, 128, 65535, 65536] {
        let payload = vec![b'*'; size];
        let steps = vec![Frame(FIN | TEXT, payload.clone())];
        cases.push(good(format!("1.1 text of {size}"), steps, &[text(&payload)]));
        let payload: Vec<u8> = (0..size).map(|place| (place * 7) as u8).collect();
        let steps = vec![Frame(FIN | BINARY, payload.clone())];
        cases.push(good(format!("1.2 binary of {size}"), steps, &[binary(&payload)]));
    }
    for piece in [1, 997] {
        let payload = vec![b'*'; if piece == 1 { 300 } else { 65536 }];
        let steps = vec![Frame(FIN | TEXT, payload.clone())];
        let name = format!("1.1.8 text in pieces of {piece}");
        cases.push(Case { piece, ..good(name, steps, &[text(&payload)]) });
    }
    cases
}

fn pings() -> Vec<Case> {
    let mut cases = Vec::new();
    for payload in [&b""[..], b"hello", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", &[0xfe; 125]] {
        let steps = vec![Frame(FIN | PING, payload.to_vec())];
        let heard = [format!("pong {}", show(payload))];
        cases.push(good(format!("2.1 ping of {}", payload.len()), steps, &heard));
        let steps = vec![Frame(FIN | PING, payload.to_vec())];
        let name = format!("2.6 ping of {} byte by byte", payload.len());
        cases.push(Case { piece: 1, ..good(name, steps, &heard) });
    }
    let steps = vec![Frame(FIN | PING, vec![0xfe; 126])];
    cases.push(ends("2.5 ping of 126", steps, &[], 1002));
    for payload in [&b""[..], b"nobody asked"] {
        let steps = vec![Frame(FIN | PONG, payload.to_vec()), Frame(FIN | TEXT, b"x".to_vec())];
        cases.push(good(format!("2.7 pong of {}", payload.len()), steps, &[text(b"x")]));
    }
    let steps = vec![Frame(FIN | PONG, b"no".to_vec()), Frame(FIN | PING, b"yes".to_vec())];
    cases.push(good("2.9 pong, then ping", steps, &["pong yes".into()]));
    let payloads: Vec<String> = (0..10).map(|number| format!("ping {number}")).collect();
    let steps = payloads.iter().map(|payload| Frame(FIN | PING, payload.clone().into())).collect();
    let heard: Vec<String> = payloads.iter().map(|payload| format!("pong {payload}")).collect();
    cases.push(good("2.10 ten pings", steps, &heard));
    cases
}

fn reserved() -> Vec<Case> {
    let mut cases = Vec::new();
    let hello = || Frame(FIN | TEXT, b"hello".to_vec());
    for bits in 1..8u8 {
        for (opcode, name) in [(TEXT, "text"), (BINARY, "binary"), (PING, "ping"), (CLOSE, "close")]
        {
            let payload =
                if opcode == CLOSE { close_payload(1000, b"") } else { b"hello".to_vec() };
            let steps = vec![hello(), Hear(1), Frame(FIN | bits << 4 | opcode, payload)];
            let name = format!("3 {name} with reserved bits {bits:03b}");
            cases.push(ends(name, steps, &[text(b"hello")], 1002));
        }
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        let steps = vec![hello(), Hear(1), Frame(FIN | opcode, b"x".to_vec())];
        cases.push(ends(format!("4 opcode {opcode}"), steps, &[text(b"hello")], 1002));
        let steps = vec![Frame(FIN | opcode, Vec::new()), hello()];
        cases.push(ends(format!("4 opcode {opcode}, empty and first"), steps, &[], 1002));
    }
    cases
}

fn in_fragments() -> Vec<Case> {
    let part = |head: u8, payload: &[u8]| Frame(head, payload.to_vec());
    let ping = || Frame(FIN | PING, b"between".to_vec());
    let pong = "pong between".to_string();
    let both = || text(b"fragment1fragment2");
    let mut cases = vec![
        ends("5.1 ping in fragments", vec![part(PING, b"a"), part(FIN, b"b")], &[], 1002),
        ends("5.2 pong in fragments", vec![part(PONG, b"a"), part(FIN, b"b")], &[], 1002),
        ends("5.9 nothing to go on with", vec![part(FIN, b"a")], &[], 1002),
        ends("5.10 the same, and more to come", vec![part(MORE, b"a")], &[], 1002),
        ends("5.18 a text in a text", vec![part(TEXT, b"a"), part(FIN | TEXT, b"b")], &[], 1002),
        ends("5.18 bytes in a text", vec![part(TEXT, b"a"), part(FIN | BINARY, b"b")], &[], 1002),
        ends(
            "5.12 goes on after its end",
            vec![part(FIN | TEXT, b"a"), Hear(1), part(FIN, b"b")],
            &[text(b"a")],
            1002,
        ),
    ];
    for (name, piece) in [("5.3", usize::MAX), ("5.5 byte by byte", 1)] {
        let steps = vec![part(TEXT, b"fragment1"), part(FIN, b"fragment2")];
        let heard = [both()];
        cases.push(Case { piece, ..good(format!("{name} two fragments"), steps, &heard) });
        let steps = vec![part(TEXT, b"fragment1"), ping(), part(FIN, b"fragment2")];
        let heard = [pong.clone(), both()];
        cases.push(Case { piece, ..good(format!("{name} and a ping between"), steps, &heard) });
    }
    let mut steps = Vec::new();
    for number in 1..=5 {
        let head = if number == 1 { TEXT } else { MORE };
        steps.push(Frame(head, format!("fragment{number}").into()));
        steps.push(ping());
    }
    steps.push(Frame(FIN, Vec::new()));
    let whole: String = (1..=5).map(|number| format!("fragment{number}")).collect();
    let mut heard = vec![pong; 5];
    heard.push(text(whole.as_bytes()));
    cases.push(good("5.19 pings between five fragments", steps, &heard));
    let empty = vec![part(TEXT, b""), part(MORE, b""), part(FIN, b"")];
    cases.push(good("6.1 empty fragments", empty, &[text(b"")]));
    let some = vec![part(BINARY, b""), part(MORE, b"middle"), part(FIN, b"")];
    cases.push(good("6.1 empty but for the middle", some, &[binary(b"middle")]));
    cases
}

/// Texts that are none, by what is wrong with them: RFC 3629.
const BAD: &[(&str, &[u8])] = &[
    ("a continuation byte alone", b"\x80"),
    ("a byte that never occurs", b"\xfe"),
    ("another one", b"\xff"),
    ("too long for a slash", b"\xc0\xaf"),
    ("too long for nothing", b"\xe0\x80\x80"),
    ("too long, four bytes", b"\xf0\x80\x80\xaf"),
    ("a surrogate", b"\xed\xa0\x80"),
    ("a pair of surrogates", b"\xed\xa0\x80\xed\xb0\x80"),
    ("above the last character", b"\xf4\x90\x80\x80"),
    ("five bytes", b"\xf8\x88\x80\x80\x80"),
    ("six bytes", b"\xfc\x84\x80\x80\x80\x80"),
    ("two of three bytes, then a letter", b"\xe2\x82a"),
    ("the suite's own", b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited"),
];

const GOOD: &[&str] = &[
    "Hello-\u{b5}@\u{df}\u{f6}\u{e4}\u{fc}\u{e0}\u{e1}-UTF-8!!",
    "\u{3ba}\u{1f79}\u{3c3}\u{3bc}\u{3b5}",
    "\0",
    "\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}",
    "\u{d7ff}\u{e000}\u{fffd}\u{fffe}",
];

fn in_utf8() -> Vec<Case> {
    let mut cases = Vec::new();
    for (what, bytes) in BAD {
        let whole = vec![Frame(FIN | TEXT, bytes.to_vec())];
        cases.push(ends(format!("6.3 {what}"), whole, &[], 1007));
        // It fails with the fragment: the rest of the message is never sent.
        let begun = vec![Frame(TEXT, b"so far so good ".to_vec()), Frame(MORE, bytes.to_vec())];
        cases.push(ends(format!("6.4 {what}, in the middle"), begun, &[], 1007));
    }
    let cut = vec![Frame(TEXT, b"\xe2\x82".to_vec()), Frame(FIN, Vec::new())];
    cases.push(ends("6.6 the message ends within a character", cut, &[], 1007));
    for (number, good_one) in GOOD.iter().enumerate() {
        let payload = good_one.as_bytes();
        let steps = vec![Frame(FIN | TEXT, payload.to_vec())];
        cases.push(good(format!("6.2 good text {number}"), steps, &[text(payload)]));
        let steps = fragments(TEXT, payload, 1);
        cases.push(good(format!("6.2 good text {number} by bytes"), steps, &[text(payload)]));
    }
    // Bytes are not text.
    let steps = vec![Frame(FIN | BINARY, b"\xff\xfe".to_vec())];
    cases.push(good("6 bytes that are no text", steps, &[binary(b"\xff\xfe")]));
    cases
}

fn closes() -> Vec<Case> {
    let close = |payload: Vec<u8>| vec![Frame(FIN | CLOSE, payload)];
    let hello = || Frame(FIN | TEXT, b"hello".to_vec());
    let mut cases = Vec::new();
    let mut steps = vec![hello(), Hear(1)];
    steps.extend(close(close_payload(1000, b"")));
    steps.push(hello());
    cases.push(ends("7.1.2 a text behind the close", steps, &[text(b"hello")], 1000));
    let mut steps = vec![Frame(TEXT, b"frag".to_vec())];
    steps.extend(close(close_payload(1000, b"")));
    cases.push(ends("7.1.5 a close between fragments", steps, &[], 1000));
    let mut steps = close(close_payload(1000, b""));
    steps.extend(close(close_payload(1001, b"")));
    cases.push(ends("7.1.3 two closes", steps, &[], 1000));
    let empty = Case { heard: vec!["close".into()], ..ends("7.3.1", close(vec![]), &[], 0) };
    cases.push(Case { name: "7.3.1 an empty close".into(), ..empty });
    cases.push(ends("7.3.2 a close of one byte", close(vec![3]), &[], 1002));
    let reason = [b'*'; 124];
    cases.push(ends("7.3.5 a reason of 123", close(close_payload(1000, &reason[1..])), &[], 1000));
    cases.push(ends("7.3.6 a reason of 124", close(close_payload(1000, &reason)), &[], 1002));
    let bad = close_payload(1000, b"\xce\xba\xed\xa0\x80");
    cases.push(ends("7.5.1 a reason that is no text", close(bad), &[], 1007));
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
        let steps = close(close_payload(code, b"why"));
        cases.push(ends(format!("7.7 code {code}"), steps, &[], code));
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
        let steps = close(close_payload(code, b""));
        cases.push(ends(format!("7.9 code {code}"), steps, &[], 1002));
    }
    for code in [1012, 1013] {
        let steps = close(close_payload(code, b""));
        cases.push(ends(format!("7.13 code {code}"), steps, &[], code));
    }
    // Registered in 2017, and not known to the protocol core.
    let gateway = ends("7.13 code 1014", close(close_payload(1014, b"")), &[], 1002);
    cases.push(Case { python: Some(vec!["close 1014".into()]), ..gateway });
    cases
}

fn long_ones() -> Vec<Case> {
    let payload: Vec<u8> = (0..MESSAGE_LIMIT).map(|place| b'a' + (place % 26) as u8).collect();
    let mut cases = Vec::new();
    for (opcode, heard) in [(TEXT, text(&payload)), (BINARY, binary(&payload))] {
        let steps = vec![Frame(FIN | opcode, payload.clone())];
        let heard = [heard];
        cases.push(good("9.1 a mebibyte", steps, &heard));
        for size in [4 << 10, 64 << 10] {
            let steps = fragments(opcode, &payload, size);
            cases.push(good(format!("9.3 a mebibyte in fragments of {size}"), steps, &heard));
        }
        let steps = vec![Frame(FIN | opcode, payload.clone())];
        let name = "9.5 a mebibyte in pieces of 2048";
        cases.push(Case { piece: 2048, ..good(name, steps, &heard) });
    }
    let small = &payload[..10_000];
    let steps = fragments(TEXT, small, 1);
    cases.push(good("9.3 ten thousand fragments of one byte", steps, &[text(small)]));
    let steps = fragments(TEXT, &payload[..65536], 1300);
    cases.push(good("10.1 a message in frames of 1300", steps, &[text(&payload[..65536])]));
    cases
}
