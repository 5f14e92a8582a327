//! Where a request's body ends. The server has no use for a body, but has to find the next request
//! behind it, so it reads and throws away, within limits.
//!
//! ```text
//!                      size 0
//!   Size ───────────────────────────────▶ Trailers ── empty line ──▶ done
//!    ▲  └─ size n ─▶ Data ── n bytes ─▶ DataEnd
//!    └──────────────── CR LF ──────────────┘
//! ```

use super::head::{BODY_BYTES_MAX, Framing, HEAD_BYTES_MAX, Refusal};

/// A line with a chunk's size and its extensions, which are ignored.
const SIZE_LINE_BYTES_MAX: usize = 256;

/// The digits of a chunk's size: more than any body that is taken needs.
const SIZE_DIGITS_MAX: usize = 8;

/// What is still to come of a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Body {
    Length(u64),
    Chunked { part: Part, bytes_total: u64 },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    Size,
    Data(u64),
    DataEnd,
    Trailers { bytes: usize },
    Done,
}

impl Body {
    pub(super) fn new(framing: Framing) -> Body {
        match framing {
            Framing::Length(length) => Body::Length(length),
            Framing::Chunked => Body::Chunked { part: Part::Size, bytes_total: 0 },
        }
    }

    pub(super) fn is_done(self) -> bool {
        matches!(self, Body::Length(0) | Body::Chunked { part: Part::Done, .. })
    }

    /// Takes what belongs to the body from the front of `input`, and returns how much that is. Less
    /// than all of it, with the body not done, means: come again with more bytes behind it.
    pub(super) fn take(&mut self, input: &[u8]) -> Result<usize, Refusal> {
        match self {
            Body::Length(left) => Ok(take_data(left, input)),
            Body::Chunked { part, bytes_total } => take_chunks(part, bytes_total, input),
        }
    }
}

fn take_data(left: &mut u64, input: &[u8]) -> usize {
    let taken = (*left).min(input.len() as u64);
    *left -= taken;
    taken as usize
}

fn take_chunks(part: &mut Part, bytes_total: &mut u64, input: &[u8]) -> Result<usize, Refusal> {
    let mut taken = 0;
    loop {
        let rest = &input[taken..];
        match part {
            Part::Done => return Ok(taken),
            Part::Data(left) => {
                taken += take_data(left, rest);
                if *left > 0 {
                    return Ok(taken);
                }
                *part = Part::DataEnd;
            }
            Part::DataEnd => match rest {
                [b'\r', b'\n', ..] => (*part, taken) = (Part::Size, taken + 2),
                [] | [b'\r'] => return Ok(taken),
                _ => return Err(Refusal::BadRequest),
            },
            Part::Size => {
                let Some(line) = line(rest, SIZE_LINE_BYTES_MAX, Refusal::BadRequest)? else {
                    return Ok(taken);
                };
                let size = chunk_size(line)?;
                *bytes_total += size;
                if *bytes_total > BODY_BYTES_MAX {
                    return Err(Refusal::ContentTooLarge);
                }
                taken += line.len() + 2;
                *part = if size == 0 { Part::Trailers { bytes: 0 } } else { Part::Data(size) };
            }
            Part::Trailers { bytes } => {
                let left = HEAD_BYTES_MAX - *bytes;
                let Some(line) = line(rest, left, Refusal::HeadTooLarge)? else {
                    return Ok(taken);
                };
                taken += line.len() + 2;
                *bytes += line.len() + 2;
                if line.is_empty() {
                    *part = Part::Done;
                }
            }
        }
    }
}

/// The first line, without its CR LF, if it is there. A line that is longer than `bytes_max` with
/// its end is refused as `too_long`, one with a CR or LF of its own as bad.
fn line(input: &[u8], bytes_max: usize, too_long: Refusal) -> Result<Option<&[u8]>, Refusal> {
    let Some(end) = memchr::memchr2(b'\r', b'\n', input) else {
        return if input.len() < bytes_max { Ok(None) } else { Err(too_long) };
    };
    match input[end..] {
        _ if end + 2 > bytes_max => Err(too_long),
        [b'\r', b'\n', ..] => Ok(Some(&input[..end])),
        [b'\r'] => Ok(None),
        _ => Err(Refusal::BadRequest),
    }
}

/// Hexadecimal digits, and perhaps extensions behind a semicolon.
fn chunk_size(line: &[u8]) -> Result<u64, Refusal> {
    let digits = line.split(|&byte| byte == b';').next().unwrap_or(line);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(Refusal::BadRequest);
    }
    if digits.len() > SIZE_DIGITS_MAX {
        return Err(Refusal::ContentTooLarge);
    }
    let digits = std::str::from_utf8(digits).map_err(|_| Refusal::BadRequest)?;
    u64::from_str_radix(digits, 16).map_err(|_| Refusal::BadRequest)
}
