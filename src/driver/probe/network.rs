//! Sockets: accepting, receiving, sending, and what a listener is made of.
#![allow(unsafe_code)] // Descriptors and structures that the trials' operations take.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use io_uring::types::Fd;
use io_uring::{IoUring, opcode};

use super::ring::with_files;
use super::{Capability, ask_lending, checked, result_lending, result_of};
use crate::driver::socket::{
    trial_accept, trial_address, trial_connect, trial_listener, trial_listener_of, trial_send,
    trial_socket,
};
use crate::driver::trial::{ask, end, goes_on, with_trial_pool};
use crate::driver::{Address, Feature, Group, uring::group_number};

pub(super) const TABLE: &[Capability] = &[
    Capability::new(
        "accept",
        "5.5",
        try_accept,
        "accept one connection",
        "a listener without readiness calls",
        "not optional: corio's listeners fall back on it",
    )
    .listed_as(opcode::Accept::CODE)
    .always(),
    Capability::used(
        Feature::AcceptMultishot,
        "5.19",
        "one accept serves many connections",
        "no submission for each connection",
        "an accept for each connection",
    ),
    Capability::new(
        "accept_direct",
        "5.19",
        try_accept_direct,
        "connections go into the ring's own table of descriptors",
        "no place in the process's table, no look-ups",
        "ordinary descriptors",
    ),
    Capability::new(
        "connect",
        "5.5",
        try_connect,
        "connect to a peer",
        "a connect that waits without a thread",
        "not optional: corio connects by it",
    )
    .listed_as(opcode::Connect::CODE)
    .always(),
    Capability::new(
        "recv",
        "5.6",
        try_recv,
        "receive once, into a buffer of one's own",
        "the base of every stream",
        "not optional: corio's streams fall back on it",
    )
    .listed_as(opcode::Recv::CODE)
    .always(),
    Capability::used(
        Feature::RecvMultishot,
        "6.0",
        "one receive serves many messages",
        "no submission for each message, and one cancel for a connection's life",
        "a receive for each message, 9 to 16 % more CPU at small sizes",
    ),
    Capability::new(
        "recvmsg_multishot",
        "6.0",
        try_recvmsg_multishot,
        "one receive serves many datagrams, with their senders",
        "UDP servers without a submission for each datagram",
        "a receive for each datagram",
    ),
    Capability::new(
        "recv_bundle",
        "6.10",
        try_recv_bundle,
        "one completion for several buffers' worth of bytes",
        "fewer completions for large payloads",
        "a completion for each buffer; fast streams get larger buffers",
    ),
    Capability::new(
        "send",
        "5.6",
        try_send,
        "send from a buffer",
        "the base of every stream",
        "not optional: corio sends by it",
    )
    .listed_as(opcode::Send::CODE)
    .always(),
    Capability::new(
        "sendmsg",
        "5.3",
        try_sendmsg,
        "send from several pieces",
        "what a turn wrote leaves as one send",
        "not optional: corio sends batches by it",
    )
    .listed_as(opcode::SendMsg::CODE)
    .always(),
    Capability::new(
        "send_bundle",
        "6.10",
        try_send_bundle,
        "one send takes all buffers that are queued",
        "fewer submissions where there are many pieces",
        "sendmsg with a list of pieces",
    ),
    Capability::new(
        "send_zc",
        "6.0",
        try_send_zc,
        "send without a copy into the kernel",
        "less CPU for large sends on a real card; on the loopback it costs more",
        "the kernel copies what is sent",
    )
    .listed_as(opcode::SendZc::CODE),
    Capability::new(
        "sendmsg_zc",
        "6.1",
        try_sendmsg_zc,
        "send several pieces without a copy into the kernel",
        "less CPU for large sends on a real card",
        "the kernel copies what is sent",
    )
    .listed_as(opcode::SendMsgZc::CODE),
    Capability::new(
        "recv_zc",
        "6.15",
        try_recv_zc,
        "receive without a copy, from a queue of the network card",
        "less CPU for large payloads",
        "the kernel copies what is received (it fails without a card that splits headers)",
    )
    .listed_as(opcode::RecvZc::CODE),
    Capability::new(
        "socket",
        "5.19",
        try_socket,
        "make a socket",
        "a server's start is one batch",
        "a system call, which costs less for one socket",
    )
    .listed_as(opcode::Socket::CODE),
    Capability::new(
        "bind",
        "6.11",
        try_bind,
        "give a socket its address",
        "listeners in the ring's own table",
        "a system call, which never blocks",
    )
    .listed_as(opcode::Bind::CODE),
    Capability::new(
        "listen",
        "6.11",
        try_listen,
        "make a socket a listener",
        "listeners in the ring's own table",
        "a system call, which never blocks",
    )
    .listed_as(opcode::Listen::CODE),
    Capability::new(
        "setsockopt",
        "6.7",
        try_setsockopt,
        "set a socket's option",
        "options of sockets in the ring's own table",
        "a system call, which never blocks",
    ),
    Capability::new(
        "shutdown",
        "5.11",
        try_shutdown,
        "end one direction of a connection",
        "sockets in the ring's own table can end in good order",
        "a system call, which costs less: the operation starts a worker thread",
    )
    .listed_as(opcode::Shutdown::CODE),
    Capability::used(
        Feature::PollMultishot,
        "5.13",
        "one poll serves many events",
        "bells and signals are watched without a submission for each",
        "a poll for each event",
    ),
];

/// A connection: who connected, who accepted.
fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    pair_of(trial_listener()?)
}

/// One over TCP, which zero copy asks for.
fn tcp_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    pair_of(trial_listener_of(libc::AF_INET)?)
}

fn pair_of(listener: OwnedFd) -> io::Result<(OwnedFd, OwnedFd)> {
    let near = trial_connect(&listener)?;
    Ok((near, trial_accept(&listener)?))
}

fn fd(socket: &OwnedFd) -> Fd {
    Fd(socket.as_raw_fd())
}

/// Takes a descriptor that an operation made.
fn take(number: i32) -> OwnedFd {
    // SAFETY: [fd-is-ours] the kernel just made this descriptor for us.
    unsafe { OwnedFd::from_raw_fd(number) }
}

fn try_accept(ring: &mut IoUring) -> io::Result<bool> {
    let listener = trial_listener()?;
    let _client = trial_connect(&listener)?;
    let (address, length) = (std::ptr::null_mut(), std::ptr::null_mut());
    let accept = opcode::Accept::new(fd(&listener), address, length).flags(libc::SOCK_CLOEXEC);
    drop(take(result_of(ring, accept.build())?));
    Ok(true)
}

fn try_accept_direct(ring: &mut IoUring) -> io::Result<bool> {
    let listener = trial_listener()?;
    let _client = trial_connect(&listener)?;
    with_files(ring, listener.as_raw_fd(), |ring| {
        let accept = opcode::AcceptMulti::new(fd(&listener)).allocate_file_index(true).build();
        let answers = ask(ring, &accept.user_data(1), 1)?;
        end(ring, 1)?;
        goes_on(&answers)
    })
}

fn try_connect(ring: &mut IoUring) -> io::Result<bool> {
    let listener = trial_listener()?;
    let address = vec![trial_address(&listener)?];
    let client = trial_socket(address[0].family())?;
    let (place, length) = (address[0].as_ptr(), address[0].length());
    let connect = opcode::Connect::new(fd(&client), place, length).build();
    result_lending(ring, connect, address)?;
    trial_accept(&listener)?;
    Ok(true)
}

fn try_recv(ring: &mut IoUring) -> io::Result<bool> {
    let (near, far) = pair()?;
    trial_send(&far)?;
    let mut memory = vec![1u8; 8];
    let receive = opcode::Recv::new(fd(&near), memory.as_mut_ptr(), 8).build();
    result_lending(ring, receive, memory).map(|(count, memory)| count == 1 && memory[0] == 0)
}

fn try_recvmsg_multishot(ring: &mut IoUring) -> io::Result<bool> {
    with_trial_pool(ring, |ring| {
        let (near, far) = pair()?;
        trial_send(&far)?;
        // SAFETY: [plain-data] msghdr is integers and pointers; all zeroes is a value of it.
        let header: &'static libc::msghdr =
            Vec::leak(vec![unsafe { mem::zeroed() }]).first().ok_or(io::ErrorKind::InvalidData)?;
        let receive =
            opcode::RecvMsgMulti::new(fd(&near), header, group_number(Group::Small)).build();
        let answers = ask(ring, &receive.user_data(1), 1)?;
        end(ring, 1)?;
        goes_on(&answers)
    })
}

fn try_recv_bundle(ring: &mut IoUring) -> io::Result<bool> {
    if !ring.params().is_feature_recvsend_bundle() {
        return Ok(false);
    }
    with_trial_pool(ring, |ring| {
        let (near, far) = pair()?;
        trial_send(&far)?;
        let receive = opcode::RecvMultiBundle::new(fd(&near), group_number(Group::Small)).build();
        let answers = ask(ring, &receive.user_data(1), 1)?;
        end(ring, 1)?;
        goes_on(&answers)
    })
}

fn try_send(ring: &mut IoUring) -> io::Result<bool> {
    let (near, _far) = pair()?;
    let memory = b"corio".to_vec();
    let send = opcode::Send::new(fd(&near), memory.as_ptr(), 5).build();
    result_lending(ring, send, memory).map(|(count, _)| count == 5)
}

/// A message of one piece: the bytes, the piece, the header that points to it.
type Message = (Vec<u8>, Vec<libc::iovec>, Vec<libc::msghdr>);

fn message() -> Message {
    let mut bytes = b"corio".to_vec();
    let mut pieces = vec![libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: 5 }];
    // SAFETY: [plain-data] msghdr is integers and pointers; all zeroes is a value of it.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    (header.msg_iov, header.msg_iovlen) = (pieces.as_mut_ptr(), 1);
    (bytes, pieces, vec![header])
}

fn try_sendmsg(ring: &mut IoUring) -> io::Result<bool> {
    let (near, _far) = pair()?;
    let message = message();
    let send = opcode::SendMsg::new(fd(&near), message.2.as_ptr()).build();
    result_lending(ring, send, message).map(|(count, _)| count == 5)
}

fn try_send_bundle(ring: &mut IoUring) -> io::Result<bool> {
    if !ring.params().is_feature_recvsend_bundle() {
        return Ok(false);
    }
    with_trial_pool(ring, |ring| {
        let (near, _far) = pair()?;
        let send = opcode::SendBundle::new(fd(&near), group_number(Group::Small)).build();
        result_of(ring, send).map(|count| count > 0)
    })
}

/// Without a copy there are two completions: the send's, and one when the memory is free again.
fn try_zero_copy<M>(
    ring: &mut IoUring,
    entry: io_uring::squeue::Entry,
    memory: M,
) -> io::Result<bool> {
    let (answers, _) = ask_lending(ring, entry, memory)?;
    let sent = checked(answers.first().map_or(-libc::ETIMEDOUT, |answer| answer.result))?;
    let is_notified = answers.get(1).is_some_and(|answer| io_uring::cqueue::notif(answer.flags));
    Ok(sent == 5 && is_notified)
}

fn try_send_zc(ring: &mut IoUring) -> io::Result<bool> {
    let (near, _far) = tcp_pair()?;
    let memory = b"corio".to_vec();
    let send = opcode::SendZc::new(fd(&near), memory.as_ptr(), 5).build();
    try_zero_copy(ring, send, memory)
}

fn try_sendmsg_zc(ring: &mut IoUring) -> io::Result<bool> {
    let (near, _far) = tcp_pair()?;
    let message = message();
    let send = opcode::SendMsgZc::new(fd(&near), message.2.as_ptr()).build();
    try_zero_copy(ring, send, message)
}

fn try_recv_zc(ring: &mut IoUring) -> io::Result<bool> {
    let (near, far) = tcp_pair()?;
    trial_send(&far)?;
    let receive = opcode::RecvZc::new(fd(&near), 1).build();
    result_of(ring, receive).map(|count| count >= 0)
}

fn try_socket(ring: &mut IoUring) -> io::Result<bool> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    drop(take(result_of(ring, opcode::Socket::new(libc::AF_UNIX, kind, 0).build())?));
    Ok(true)
}

fn try_bind(ring: &mut IoUring) -> io::Result<bool> {
    let socket = trial_socket(libc::AF_INET)?;
    let address = vec![Address::from(&SocketAddr::from(([127, 0, 0, 1], 0)))];
    let bind = opcode::Bind::new(fd(&socket), address[0].as_ptr(), address[0].length()).build();
    result_lending(ring, bind, address).map(|(result, _)| result == 0)
}

fn try_listen(ring: &mut IoUring) -> io::Result<bool> {
    let listener = trial_listener()?;
    // A second time is a change of the backlog.
    result_of(ring, opcode::Listen::new(fd(&listener), 2).build()).map(|result| result == 0)
}

fn try_setsockopt(ring: &mut IoUring) -> io::Result<bool> {
    let socket = trial_socket(libc::AF_UNIX)?;
    let value = vec![1i32];
    let (level, name) = (libc::SOL_SOCKET as u32, libc::SO_KEEPALIVE as u32);
    let set = opcode::SetSockOpt::new(fd(&socket), level, name, value.as_ptr().cast(), 4).build();
    result_lending(ring, set, value).map(|(result, _)| result == 0)
}

fn try_shutdown(ring: &mut IoUring) -> io::Result<bool> {
    let (near, _far) = pair()?;
    let shutdown = opcode::Shutdown::new(fd(&near), libc::SHUT_WR).build();
    result_of(ring, shutdown).map(|result| result == 0)
}
