//! Messages: bytes with an address, and with what goes beside them.
//!
//! A stream of bytes needs no header. A datagram has an address, and both kinds of socket carry
//! *control messages*: descriptors, the size of joined datagrams, see cmsg(3). They are read and
//! written here as plain bytes, so that no pointer into them is ever made.
//!
//! A standing receive of datagrams has the kernel write header, address, control messages and
//! bytes into one buffer of the pool, one behind the other. The epoll driver writes the same.
#![allow(unsafe_code)] // Headers that point into themselves, and descriptors out of messages.

use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::{Address, Chunk};

/// The most descriptors that one message carries: SCM_MAX_FD.
pub(crate) const DESCRIPTORS_MAX: usize = 253;

/// The head of a control message: its length with the head, its level and its type.
const HEAD_BYTES: usize = mem::size_of::<libc::cmsghdr>();

/// Room for all the control messages that a datagram brings.
const DATAGRAM_CONTROL_BYTES: usize = 64;

/// What the kernel writes before a datagram of a standing receive: four numbers.
const OUT_BYTES: usize = 16;

/// Where a datagram's bytes begin in a buffer of the pool.
const DATAGRAM_OFFSET: usize =
    OUT_BYTES + mem::size_of::<libc::sockaddr_storage>() + DATAGRAM_CONTROL_BYTES;

/// A message on its way in, with all that its header points to.
pub(crate) struct Message {
    header: libc::msghdr,
    piece: libc::iovec,
    address: Option<Address>,
    control: Vec<u8>,
    body: Body,
}

enum Body {
    /// To be filled.
    Room(Vec<u8>),
    /// The buffers are the kernel's to choose.
    None,
}

/// What a message brought.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) chunk: Chunk,
    pub(crate) address: Address,
    pub(crate) descriptors: Vec<OwnedFd>,
    /// The size of the joined datagrams, if it is several.
    pub(crate) segment_bytes: Option<usize>,
    /// The message was longer than its room, and its end is lost.
    pub(crate) is_cut: bool,
    /// Control messages were lost: the process had no room for the descriptors.
    pub(crate) lost_control: bool,
}

impl Message {
    fn new(address: Option<Address>, control: Vec<u8>, body: Body) -> Box<Message> {
        // SAFETY: [plain-data] msghdr and iovec are integers and pointers; all zeroes is a value.
        let header = unsafe { mem::zeroed() };
        let piece = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Box::new(Message { header, piece, address, control, body })
    }

    /// Room for a message of so many bytes with its address, and for descriptors or not.
    pub(crate) fn room(bytes: usize, takes_descriptors: bool) -> Box<Message> {
        let control_bytes = match takes_descriptors {
            true => HEAD_BYTES + DESCRIPTORS_MAX * mem::size_of::<RawFd>(),
            false => 0,
        } + DATAGRAM_CONTROL_BYTES;
        let room = Body::Room(Vec::with_capacity(bytes));
        Message::new(Some(Address::empty()), vec![0; control_bytes], room)
    }

    /// Says how a standing receive lays a datagram out.
    pub(crate) fn layout() -> Box<Message> {
        Message::new(Some(Address::empty()), vec![0; DATAGRAM_CONTROL_BYTES], Body::None)
    }

    /// The header for the kernel. It points into this message, which must stay where it is.
    pub(super) fn header(&mut self) -> *mut libc::msghdr {
        match &mut self.body {
            Body::Room(room) => {
                self.piece.iov_base = room.as_mut_ptr().cast();
                self.piece.iov_len = room.capacity();
            }
            Body::None => {}
        }
        let has_piece = !matches!(self.body, Body::None);
        self.header.msg_iov = &raw mut self.piece;
        self.header.msg_iovlen = usize::from(has_piece);
        if let Some(address) = &mut self.address {
            self.header.msg_namelen = address.length();
            self.header.msg_name = address.as_mut_ptr().cast();
        }
        self.header.msg_control = self.control.as_mut_ptr().cast();
        self.header.msg_controllen = self.control.len();
        &raw mut self.header
    }

    /// Whether it says a layout only, and has no room of its own.
    pub(crate) fn is_layout(&self) -> bool {
        matches!(self.body, Body::None)
    }

    /// What a completed receive into this room brought.
    pub(crate) fn into_received(mut self: Box<Self>, length: usize) -> Received {
        let Body::Room(mut room) = mem::replace(&mut self.body, Body::None) else {
            unreachable!("only room is received into")
        };
        let filled = length.min(room.capacity());
        // SAFETY: [kernel-filled] the receive completed with `length`, so the kernel wrote that
        // many bytes from the start of the allocation, or all of it if the message was longer.
        unsafe { room.set_len(filled) };
        let mut address = self.address.take().unwrap_or_else(Address::empty);
        *address.length_mut() = self.header.msg_namelen;
        self.control.truncate(self.header.msg_controllen);
        received(Chunk::from_vec(room), address, &self.control, self.header.msg_flags)
    }
}

fn received(chunk: Chunk, address: Address, control: &[u8], flags: i32) -> Received {
    let mut received = Received {
        chunk,
        address,
        descriptors: Vec::new(),
        segment_bytes: None,
        is_cut: flags & libc::MSG_TRUNC != 0,
        lost_control: flags & libc::MSG_CTRUNC != 0,
    };
    each_control_message(control, |level, kind, data| match (level, kind) {
        (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
            let numbers = data.as_chunks::<4>().0.iter().map(|it| RawFd::from_ne_bytes(*it));
            // SAFETY: [fd-is-ours] the kernel just made these descriptors for us.
            let owned = numbers.map(|number| unsafe { OwnedFd::from_raw_fd(number) });
            received.descriptors.extend(owned);
        }
        (libc::SOL_UDP, libc::UDP_GRO) => {
            received.segment_bytes = number(data, 0).filter(|bytes| *bytes > 0);
        }
        _ => {}
    });
    received
}

/// What one completion of a standing receive brought: the kernel laid it out in the buffer.
/// `None` if that is not what the buffer holds.
pub(crate) fn parse_datagram(mut chunk: Chunk) -> Option<Received> {
    let (name_bytes, control_bytes) = (number(&chunk, 0)?, number(&chunk, 4)?);
    let flags = number(&chunk, 12)? as i32;
    let room = mem::size_of::<libc::sockaddr_storage>();
    let name = chunk.get(OUT_BYTES..OUT_BYTES + name_bytes.min(room))?;
    let address = Address::from_bytes(name);
    let control_at = OUT_BYTES + room;
    let control =
        chunk.get(control_at..control_at + control_bytes.min(DATAGRAM_CONTROL_BYTES))?.to_vec();
    if chunk.len() < DATAGRAM_OFFSET {
        return None;
    }
    chunk.advance(DATAGRAM_OFFSET);
    Some(received(chunk, address, &control, flags))
}

/// Receives one datagram into a buffer of the pool as a standing receive of the ring lays it out:
/// the length of all of it, or `-errno`.
pub(super) fn receive_laid_out(fd: RawFd, place: *mut u8, room: usize) -> i32 {
    let mut message = Message::layout();
    let header: *mut libc::msghdr = message.header();
    // SAFETY: [kernel-filled] the offset is inside the buffer, which is larger than its head.
    let body = unsafe { place.add(DATAGRAM_OFFSET) };
    let mut piece = libc::iovec { iov_base: body.cast(), iov_len: room - DATAGRAM_OFFSET };
    // SAFETY: [plain-data] the header is this function's own.
    let header = unsafe { &mut *header };
    (header.msg_iov, header.msg_iovlen) = (&raw mut piece, 1);
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: [plain-call] the header points to places that are valid through the call.
    let length = unsafe { libc::recvmsg(fd, &raw mut *header, flags) };
    if length < 0 {
        return -std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    }
    let out = [header.msg_namelen, header.msg_controllen as u32, length as u32];
    let (used, out_flags) = (header.msg_controllen, header.msg_flags as u32);
    let mut head = vec![0; DATAGRAM_OFFSET];
    for (at, number) in out.into_iter().chain([out_flags]).enumerate() {
        head[at * 4..at * 4 + 4].copy_from_slice(&number.to_ne_bytes());
    }
    if let Some(address) = &message.address {
        let bytes = address.as_bytes();
        head[OUT_BYTES..OUT_BYTES + bytes.len()].copy_from_slice(bytes);
    }
    let control_at = DATAGRAM_OFFSET - DATAGRAM_CONTROL_BYTES;
    head[control_at..control_at + used].copy_from_slice(&message.control[..used]);
    // SAFETY: [buffer-has-one-owner] the head fits into the buffer, which is this call's alone.
    unsafe { std::ptr::copy_nonoverlapping(head.as_ptr(), place, head.len()) };
    (DATAGRAM_OFFSET + length as usize) as i32
}

/// The number that begins at this byte, of four bytes or of the two that are there.
fn number(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at..)? {
        [a, b, c, d, ..] => Some(u32::from_ne_bytes([*a, *b, *c, *d]) as usize),
        [a, b, ..] => Some(usize::from(u16::from_ne_bytes([*a, *b]))),
        _ => None,
    }
}

/// The control message that passes descriptors.
pub(super) fn passing(descriptors: &[OwnedFd]) -> Vec<u8> {
    let numbers = descriptors.iter().flat_map(|it| it.as_raw_fd().to_ne_bytes());
    control_message(libc::SOL_SOCKET, libc::SCM_RIGHTS, &numbers.collect::<Vec<u8>>())
}

/// The control message that has joined datagrams cut apart.
pub(super) fn cutting(segment_bytes: u16) -> Vec<u8> {
    control_message(libc::SOL_UDP, libc::UDP_SEGMENT, &segment_bytes.to_ne_bytes())
}

fn control_message(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
    let length = HEAD_BYTES + data.len();
    let mut message = Vec::with_capacity(length.next_multiple_of(8));
    message.extend(length.to_ne_bytes());
    message.extend(level.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(data);
    message.resize(length.next_multiple_of(8), 0);
    message
}

fn each_control_message(mut control: &[u8], mut take: impl FnMut(i32, i32, &[u8])) {
    while let Some((head, _)) = control.split_at_checked(HEAD_BYTES) {
        let (length, rest) = head.split_at(mem::size_of::<usize>());
        let length = usize::from_ne_bytes(length.try_into().unwrap_or_default());
        let (level, kind) = (number(rest, 0).unwrap_or(0), number(rest, 4).unwrap_or(0));
        let Some(data) = control.get(HEAD_BYTES..length) else { return };
        take(level as i32, kind as i32, data);
        control = control.get(length.next_multiple_of(8)..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_messages_that_lie_about_their_length_are_left_alone() {
        let mut seen = Vec::new();
        let mut control = control_message(1, 2, b"abc");
        control.extend(control_message(3, 4, b"defgh"));
        each_control_message(&control, |level, kind, data| seen.push((level, kind, data.to_vec())));
        assert_eq!(seen, [(1, 2, b"abc".to_vec()), (3, 4, b"defgh".to_vec())]);
        for length in [0usize, 3, 15, usize::MAX, usize::MAX - 8, 1000] {
            let mut lying = control.clone();
            lying[..8].copy_from_slice(&length.to_ne_bytes());
            each_control_message(&lying, |_, _, data| assert!(data.len() < 1000));
        }
        each_control_message(&control[..17], |_, _, _| panic!("it is cut"));
    }
}
