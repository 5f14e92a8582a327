//! HTTP/2: floods of frames, and windows that stay shut. The frames are written by hand (RFC 9113,
//! section 4.1), since no client would send them.

use std::io::Write;
use std::net::TcpStream;

use corio::http::ServeOptions;

use crate::{End, Target, pour, under_attack};

const MIB: isize = 1 << 20;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:method: GET`, `:scheme: http`, `:path: /`, `:authority: h` (RFC 7541, appendix A).
const GET: &[u8] = &[0x82, 0x86, 0x84, 0x41, 1, b'h'];

/// The same with `:method: POST`.
const POST: &[u8] = &[0x83, 0x86, 0x84, 0x41, 1, b'h'];

/// The same as [`GET`] with the path `/big`.
const GET_BIG: &[u8] = &[0x82, 0x86, 0x04, 4, b'/', b'b', b'i', b'g', 0x41, 1, b'h'];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A connection of HTTP/2 with these settings.
fn connect(target: &Target, settings: &[(u16, u32)]) -> TcpStream {
    let mut payload = Vec::new();
    for (name, value) in settings {
        payload.extend(name.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    let mut stream = target.connect();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &payload)).unwrap();
    stream
}

#[corio::test]
fn requests_that_are_reset_at_once_send_their_client_away() {
    let damage = under_attack(ServeOptions::new(), |target| {
        let (mut stream, mut number) = (connect(target, &[]), 1);
        let resets = || {
            let mut piece = Vec::new();
            for _ in 0..500 {
                piece.extend(frame(HEADERS, END_HEADERS | END_STREAM, number, GET));
                piece.extend(frame(RST_STREAM, 0, number, &8u32.to_be_bytes()));
                number += 2;
            }
            piece
        };
        assert_eq!(pour(&mut stream, 64 << 20, resets), End::CutOff);
        target.others_are_served();
    });
    damage.is_below(MIB).was_told("floods");
}

#[corio::test]
fn errors_that_the_server_has_to_reset_send_their_client_away() {
    let damage = under_attack(ServeOptions::new(), |target| {
        let (mut stream, mut number) = (connect(target, &[]), 1);
        // A field that belongs to a connection makes a request malformed (section 8.2.2).
        let malformed = [GET, &[0, 10], b"connection", &[1, b'x']].concat();
        let faults = || {
            let mut piece = Vec::new();
            for _ in 0..500 {
                piece.extend(frame(HEADERS, END_HEADERS | END_STREAM, number, &malformed));
                number += 2;
            }
            piece
        };
        assert_eq!(pour(&mut stream, 64 << 20, faults), End::CutOff);
        target.others_are_served();
    });
    damage.is_below(MIB).was_told("floods");
}

#[corio::test]
fn a_head_that_is_continued_for_ever_sends_its_client_away() {
    let damage = under_attack(ServeOptions::new(), |target| {
        let mut stream = connect(target, &[]);
        stream.write_all(&frame(HEADERS, 0, 1, GET)).unwrap();
        // `x: y`, without an entry in the table.
        let field = [0, 1, b'x', 1, b'y'].repeat(200);
        let more = || frame(CONTINUATION, 0, 1, &field);
        assert_eq!(pour(&mut stream, 64 << 20, more), End::CutOff);
        target.others_are_served();
    });
    damage.is_below(MIB).was_told("floods");
}

#[corio::test]
fn a_head_that_grows_when_it_is_unpacked_is_refused() {
    let damage = under_attack(ServeOptions::new(), |target| {
        let mut stream = connect(target, &[]);
        // `x: yyy...` goes into the table; from then on one byte stands for four thousand.
        let mut head = GET.to_vec();
        head.extend([0x40, 1, b'x', 0x7f, 0x80 | (3873 & 0x7f) as u8, (3873 >> 7) as u8]);
        head.extend([b'y'; 4000]);
        stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &head)).unwrap();
        let mut bomb = GET.to_vec();
        bomb.extend([0x80 | 62; 16_000]);
        for number in 0..50 {
            let bomb = frame(HEADERS, END_HEADERS | END_STREAM, 3 + 2 * number, &bomb);
            stream.write_all(&bomb).unwrap();
        }
        target.others_are_served();
    });
    damage.is_below(MIB).was_not_told();
}

#[corio::test]
fn frames_that_are_empty_send_their_client_away() {
    let damage = under_attack(ServeOptions::new(), |target| {
        let mut stream = connect(target, &[]);
        stream.write_all(&frame(HEADERS, END_HEADERS, 1, POST)).unwrap();
        let empty = frame(DATA, 0, 1, &[]).repeat(1000);
        assert_eq!(pour(&mut stream, 64 << 20, || empty.clone()), End::CutOff);
        target.others_are_served();
    });
    damage.is_below(MIB).was_told("floods");
}

#[corio::test]
fn pings_whose_answers_nobody_reads_wait_in_the_kernel() {
    let damage = under_attack(ServeOptions::new(), |target| {
        let mut stream = connect(target, &[]);
        let pings = frame(PING, 0, 0, &[7; 8]).repeat(1000);
        assert_eq!(pour(&mut stream, 1 << 30, || pings.clone()), End::Stalled);
        target.others_are_served();
    });
    damage.is_below(2 * MIB).was_not_told();
}

#[corio::test]
fn settings_whose_answers_nobody_reads_wait_in_the_kernel() {
    let damage = under_attack(ServeOptions::new(), |target| {
        let mut stream = connect(target, &[]);
        let settings = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]).repeat(1000);
        assert_eq!(pour(&mut stream, 1 << 30, || settings.clone()), End::Stalled);
        target.others_are_served();
    });
    damage.is_below(2 * MIB).was_not_told();
}

#[corio::test]
fn answers_into_windows_that_stay_shut_are_made_up_to_the_limit() {
    let options = ServeOptions::new().streams_max(100).send_limit(64 << 10);
    let damage = under_attack(options, |target| {
        // The initial window of streams is nothing.
        let mut stream = connect(target, &[(4, 0)]);
        for number in 0..100 {
            let head = frame(HEADERS, END_HEADERS | END_STREAM, 1 + 2 * number, GET_BIG);
            stream.write_all(&head).unwrap();
        }
        target.others_are_served();
    });
    damage.is_below(100 * (64 << 10) * 2).was_not_told();
}

#[corio::test]
fn more_requests_at_a_time_than_allowed_are_refused() {
    let damage = under_attack(ServeOptions::new().streams_max(10), |target| {
        let (mut stream, mut number) = (connect(target, &[(4, 0)]), 1);
        let more = || {
            let head = frame(HEADERS, END_HEADERS | END_STREAM, number, GET_BIG);
            number += 2;
            head
        };
        assert_ne!(pour(&mut stream, 64 << 20, more), End::Taken);
        target.others_are_served();
    });
    damage.is_below(2 * MIB);
}
