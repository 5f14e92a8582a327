//! The other end of a WebSocket, by hand: bytes of frames, right and wrong ones, and what comes
//! back.

use std::io;

use corio::net::TcpStream;

use crate::support::bounded;

pub const FIN: u8 = 0x80;
pub const MORE: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The request of a client.
pub fn request() -> String {
    format!(
        "GET /chat HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\n\
         Connection: keep-alive, Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

/// The bytes of a frame; `head` is its first byte.
pub fn frame(head: u8, payload: &[u8], is_masked: bool) -> Vec<u8> {
    let mut bytes = vec![head];
    let mask_bit = if is_masked { 0x80 } else { 0 };
    match payload.len() {
        length @ 0..=125 => bytes.push(mask_bit | length as u8),
        length @ 126..=65535 => {
            bytes.push(mask_bit | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            bytes.push(mask_bit | 127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    if !is_masked {
        bytes.extend_from_slice(payload);
        return bytes;
    }
    bytes.extend_from_slice(&MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// The payload of a close.
pub fn close_payload(code: u16, reason: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), reason].concat()
}

/// How a payload is written in a verdict: a long one by its length and its sum.
pub fn show(payload: &[u8]) -> String {
    if payload.len() <= 40 {
        return String::from_utf8_lossy(payload).escape_default().to_string();
    }
    let sum =
        payload.iter().fold(7u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(*byte as u32));
    format!("{} bytes, sum {sum:08x}", payload.len())
}

/// One end of a connection, whose frames are made and read here.
pub struct Hand {
    pub stream: TcpStream,
    is_client: bool,
    /// The message whose fragments come.
    message: Option<(u8, Vec<u8>)>,
    /// What came, one line each.
    pub heard: Vec<String>,
    pub is_over: bool,
    has_closed: bool,
}

impl Hand {
    /// A client whose request has been answered.
    pub async fn client(stream: TcpStream) -> Hand {
        let mut hand = Hand::new(stream, true);
        hand.stream.write(request().as_bytes()).await.unwrap();
        let head = hand.read_head().await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        hand
    }

    /// A server that has answered a request.
    pub async fn server(stream: TcpStream) -> Hand {
        let mut hand = Hand::new(stream, false);
        let head = hand.read_head().await;
        let lines = head.lines().map(|line| line.split_once(": ").unwrap_or_default());
        let key = lines.filter(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"));
        let key = key.map(|(_, value)| value).next().expect("a request has a key");
        let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        hand.stream.write(answer.as_bytes()).await.unwrap();
        hand
    }

    fn new(stream: TcpStream, is_client: bool) -> Hand {
        stream.set_nodelay(true).unwrap();
        let heard = Vec::new();
        Hand { stream, is_client, message: None, heard, is_over: false, has_closed: false }
    }

    /// Everything up to the empty line.
    pub async fn read_head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let line = bounded(self.stream.read_line(4000)).await.unwrap();
            assert!(!line.is_empty(), "a head that ends early: {head}");
            head.push_str(std::str::from_utf8(&line).unwrap());
        }
        head
    }

    /// Sends a frame, masked as it should be, in pieces of so many bytes. The other end may have
    /// gone.
    pub async fn send(&mut self, head: u8, payload: &[u8], piece: usize) {
        self.has_closed |= head & 15 == CLOSE;
        self.send_bytes(&frame(head, payload, self.is_client), piece).await;
    }

    /// Sends a frame that is masked where it should not be, or the other way round.
    pub async fn send_wrongly_masked(&mut self, head: u8, payload: &[u8]) {
        self.send_bytes(&frame(head, payload, !self.is_client), usize::MAX).await;
    }

    /// Sends the head of a long frame, and nothing of it.
    pub async fn send_head(&mut self, head: u8, length: u64) {
        let mut bytes = vec![head, 127 | if self.is_client { 0x80 } else { 0 }];
        bytes.extend_from_slice(&length.to_be_bytes());
        if self.is_client {
            bytes.extend_from_slice(&MASK);
        }
        self.send_bytes(&bytes, usize::MAX).await;
    }

    async fn send_bytes(&mut self, bytes: &[u8], piece: usize) {
        for part in bytes.chunks(piece.min(bytes.len().max(1))) {
            if bounded(self.stream.write(part)).await.is_err() {
                return;
            }
            if piece < bytes.len() {
                bounded(self.stream.flush()).await.unwrap_or_default();
            }
        }
    }

    /// Reads a frame: its first byte and its payload; `None` at the end of the stream.
    pub async fn read_frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        bounded(self.stream.read_exact(&mut head)).await.ok()?;
        assert_eq!(head[1] & 0x80 != 0, !self.is_client, "clients mask, and servers do not");
        let mut extended = [0; 8];
        let length = match head[1] & 0x7f {
            126 => {
                bounded(self.stream.read_exact(&mut extended[6..])).await.ok()?;
                u64::from_be_bytes(extended)
            }
            127 => {
                bounded(self.stream.read_exact(&mut extended)).await.ok()?;
                u64::from_be_bytes(extended)
            }
            length => length.into(),
        };
        let mut mask = [0; 4];
        if !self.is_client {
            bounded(self.stream.read_exact(&mut mask)).await.ok()?;
        }
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        bounded(self.stream.read_exact(&mut payload)).await.ok()?;
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        Some((head[0], payload))
    }

    /// Reads on until something is heard, and notes it. A close is answered.
    pub async fn hear(&mut self) {
        let before = self.heard.len();
        while self.heard.len() == before && !self.is_over {
            let Some((head, payload)) = self.read_frame().await else {
                self.heard.push("end without a close".into());
                self.is_over = true;
                return;
            };
            match head & 15 {
                PING => {}
                PONG => self.heard.push(format!("pong {}", show(&payload))),
                CLOSE => self.hear_close(payload).await,
                opcode => {
                    let message = self.message.get_or_insert((opcode, Vec::new()));
                    message.1.extend_from_slice(&payload);
                    if head & FIN != 0 {
                        let (opcode, payload) = self.message.take().unwrap();
                        let kind = if opcode == TEXT { "text" } else { "binary" };
                        self.heard.push(format!("{kind} {}", show(&payload)));
                    }
                }
            }
        }
    }

    async fn hear_close(&mut self, payload: Vec<u8>) {
        self.heard.push(match payload.first_chunk::<2>() {
            Some(code) => format!("close {}", u16::from_be_bytes(*code)),
            None => "close".into(),
        });
        self.is_over = true;
        if !self.has_closed {
            self.send(FIN | CLOSE, &payload, usize::MAX).await;
        }
    }

    /// Waits until the other end has ended the stream, as a client does.
    pub async fn end(mut self) -> io::Result<()> {
        if self.is_client {
            let mut rest = Vec::new();
            bounded(self.stream.read_to_end(&mut rest)).await?;
        }
        Ok(())
    }
}
