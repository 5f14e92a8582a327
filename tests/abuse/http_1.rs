//! HTTP/1.1: heads and bodies that do not come to an end.

use std::io::Write;
use std::time::{Duration, Instant};

use corio::http::ServeOptions;

use crate::{End, PATIENCE, drain, pour, under_attack};

const KIB: isize = 1 << 10;

#[corio::test]
fn heads_that_trickle_on_many_connections_are_cut_off() {
    let options = ServeOptions::new().head_timeout(Duration::from_millis(100));
    let damage = under_attack(options, |target| {
        let mut streams: Vec<_> = (0..200).map(|_| target.connect()).collect();
        for stream in &mut streams {
            stream.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n").unwrap();
        }
        target.others_are_served();
        let start = Instant::now();
        while !streams.is_empty() {
            streams.retain_mut(|stream| stream.write_all(b"x: y\r\n").is_ok());
            assert!(start.elapsed() < PATIENCE, "{} are left", streams.len());
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    damage.is_below(200 * 32 * KIB).was_told("its head took too long");
}

#[corio::test]
fn bodies_that_stop_on_many_connections_are_given_up() {
    let options = ServeOptions::new().body_timeout(Duration::from_millis(100));
    let damage = under_attack(options, |target| {
        let mut streams: Vec<_> = (0..200).map(|_| target.connect()).collect();
        let head = b"POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n";
        for stream in &mut streams {
            stream.write_all(head).unwrap();
            stream.write_all(b"content-length: 1000000000\r\n\r\nsome of it").unwrap();
        }
        target.others_are_served();
        for stream in &mut streams {
            let answer = drain(stream);
            assert!(answer.starts_with(b"HTTP/1.1 400"), "{}", answer.escape_ascii());
        }
    });
    // That is an affair of the service, which has read the error.
    damage.is_below(200 * 32 * KIB).was_not_told();
}

#[corio::test]
fn a_body_that_trickles_costs_what_has_come_of_it() {
    let damage = under_attack(ServeOptions::new(), |target| {
        let mut streams: Vec<_> = (0..200).map(|_| target.connect()).collect();
        let head = b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 1000000000\r\n\r\n";
        for stream in &mut streams {
            stream.write_all(head).unwrap();
        }
        for _ in 0..10 {
            for stream in &mut streams {
                stream.write_all(b"x").unwrap();
            }
            target.others_are_served();
        }
    });
    damage.is_below(200 * 32 * KIB).was_not_told();
}

#[corio::test]
fn one_endless_line_in_a_head_is_cut_off() {
    let damage = under_attack(ServeOptions::new(), |target| {
        let mut stream = target.connect();
        stream.write_all(b"GET / HTTP/1.1\r\nx: ").unwrap();
        assert_eq!(pour(&mut stream, 64 << 20, || vec![b'y'; 64 << 10]), End::CutOff);
        target.others_are_served();
    });
    damage.is_below(512 * KIB).was_told("its head was too large");
}

#[corio::test]
fn a_head_of_endlessly_many_lines_is_cut_off() {
    let damage = under_attack(ServeOptions::new(), |target| {
        let mut stream = target.connect();
        stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        assert_eq!(pour(&mut stream, 64 << 20, || b"x: y\r\n".repeat(1000)), End::CutOff);
        target.others_are_served();
    });
    damage.is_below(512 * KIB).was_told("its head was too large");
}

#[corio::test]
fn a_chunk_whose_extension_never_ends_is_cut_off() {
    let damage = under_attack(ServeOptions::new(), |target| {
        let mut stream = target.connect();
        let head = b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n1;";
        stream.write_all(head).unwrap();
        assert_eq!(pour(&mut stream, 64 << 20, || vec![b'e'; 64 << 10]), End::CutOff);
        target.others_are_served();
    });
    damage.is_below(512 * KIB);
}

#[corio::test]
fn trailers_that_never_end_are_cut_off() {
    let damage = under_attack(ServeOptions::new(), |target| {
        let mut stream = target.connect();
        let head = b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n0\r\n";
        stream.write_all(head).unwrap();
        assert_eq!(pour(&mut stream, 64 << 20, || b"x: y\r\n".repeat(1000)), End::CutOff);
        target.others_are_served();
    });
    damage.is_below(512 * KIB);
}

#[corio::test]
fn an_answer_that_nobody_reads_is_made_piece_by_piece() {
    let damage = under_attack(ServeOptions::new(), |target| {
        let mut streams: Vec<_> = (0..20).map(|_| target.connect()).collect();
        for stream in &mut streams {
            stream.write_all(b"GET /big HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
        }
        target.others_are_served();
    });
    damage.is_below(20 * 1024 * KIB).was_not_told();
}

#[corio::test]
fn requests_in_an_endless_pipeline_whose_answers_nobody_reads_wait_in_the_kernel() {
    let damage = under_attack(ServeOptions::new(), |target| {
        let mut stream = target.connect();
        let requests = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n".repeat(1000);
        assert_eq!(pour(&mut stream, 1 << 30, || requests.clone()), End::Stalled);
        target.others_are_served();
    });
    damage.is_below(2048 * KIB).was_not_told();
}
