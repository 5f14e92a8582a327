//! Descriptors that go elsewhere and come from there: another core, or another process.
#![allow(unsafe_code)] // System calls.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use super::AnyDriver;
use super::socket::{self, check};

impl AnyDriver {
    /// Takes a descriptor in that another driver may have used. The ring waits for what would
    /// block, unless the descriptor says that it must not.
    pub(crate) fn adopt(&mut self, fd: OwnedFd) -> RawFd {
        if let AnyDriver::Uring(..) = self {
            // A descriptor that is open has flags, which its holder may set.
            let _ = set_nonblocking(&fd, false);
        }
        fd.into_raw_fd()
    }

    /// Whether a client waits that an accept which was ended may have kept from others. The ring's
    /// accepts are woken one at a time; one that is woken and then ended takes that wake along, and
    /// who else waits at the same socket hears nothing. epoll wakes all.
    pub(crate) fn keeps_client_from_others(&mut self, fd: RawFd) -> bool {
        let AnyDriver::Uring(..) = self else { return false };
        let mut entry = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: [plain-call] one entry is passed.
        unsafe { libc::poll(&raw mut entry, 1, 0) > 0 }
    }

    /// Forgets a descriptor that goes elsewhere.
    pub(super) fn release(&mut self, fd: RawFd) {
        if let AnyDriver::Epoll(epoll, _) = self {
            epoll.release(fd);
        }
    }
}

/// What a socket that no driver has can be asked.
pub(crate) fn local_address(fd: &OwnedFd) -> io::Result<SocketAddr> {
    socket::local_address(fd.as_raw_fd())
}

/// See [`local_address`].
pub(crate) fn peer_address(fd: &OwnedFd) -> io::Result<SocketAddr> {
    socket::peer_address(fd.as_raw_fd())
}

/// Closes a connection such that the peer sees an error.
pub(crate) fn close_by_reset(fd: OwnedFd) {
    socket::reset(fd.as_raw_fd());
}

/// Whether calls on a descriptor return at once where they would block.
pub(super) fn set_nonblocking(fd: &impl AsRawFd, on: bool) -> io::Result<()> {
    let fd = fd.as_raw_fd();
    // SAFETY: [plain-call] no memory is passed.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    let wanted = if on { flags | libc::O_NONBLOCK } else { flags & !libc::O_NONBLOCK };
    if flags != wanted {
        // SAFETY: [plain-call] no memory is passed.
        check(unsafe { libc::fcntl(fd, libc::F_SETFL, wanted) })?;
    }
    Ok(())
}

/// Refuses what is not a TCP socket that listens.
pub(crate) fn check_listening(fd: BorrowedFd<'_>) -> io::Result<()> {
    let family = option(fd, libc::SO_DOMAIN)?;
    let is_tcp = option(fd, libc::SO_TYPE)? == libc::SOCK_STREAM
        && (family == libc::AF_INET || family == libc::AF_INET6);
    if !is_tcp {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no TCP socket"));
    }
    if option(fd, libc::SO_ACCEPTCONN)? == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it does not listen"));
    }
    Ok(())
}

/// Whether other sockets may be bound to the same address.
pub(crate) fn shares_its_port(fd: &OwnedFd) -> io::Result<bool> {
    Ok(option(fd.as_fd(), libc::SO_REUSEPORT)? != 0)
}

fn option(fd: BorrowedFd<'_>, name: i32) -> io::Result<i32> {
    let mut value: libc::c_int = 0;
    let mut length = mem::size_of::<libc::c_int>() as libc::socklen_t;
    let (level, place) = (libc::SOL_SOCKET, (&raw mut value).cast());
    // SAFETY: [plain-call] the value is valid for the length that is passed with it.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, place, &raw mut length) })?;
    Ok(value)
}

/// The first descriptor that a service manager passes, see sd_listen_fds(3).
const PASSED_FIRST: RawFd = 3;

/// Takes descriptor number `index` of those that a service manager passed to this process, if it
/// is a socket that listens. It is closed on exec from then on.
pub(crate) fn take_passed(index: RawFd) -> io::Result<OwnedFd> {
    let raw = PASSED_FIRST + index;
    // SAFETY: [plain-call] no memory is passed; a number that is not open is an error.
    check(unsafe { libc::fcntl(raw, libc::F_GETFD) })?;
    // SAFETY: [fd-is-ours] it is open, and was passed to this process for it to own; the caller
    // takes each once.
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    if let Err(error) = check_listening(fd.as_fd()) {
        // Whose it is instead is not known: it is left open.
        let _ = fd.into_raw_fd();
        return Err(error);
    }
    // SAFETY: [plain-call] no memory is passed.
    check(unsafe { libc::fcntl(raw, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    Ok(fd)
}

/// Descriptors that go in one message; the kernel allows 253.
pub(crate) const PASSED_MAX: usize = 128;

/// Room for the control message that carries descriptors, aligned as the kernel wants it.
#[repr(C, align(8))]
struct Control([u8; 1024]);

/// Sends descriptors with a few bytes over a unix stream socket: SCM_RIGHTS, see unix(7). At most
/// [`PASSED_MAX`].
pub(crate) fn send_with(to: BorrowedFd<'_>, bytes: &[u8], fds: &[RawFd]) -> io::Result<()> {
    assert!(fds.len() <= PASSED_MAX && !fds.is_empty());
    let mut control = Control([0; 1024]);
    let mut piece =
        libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let length = mem::size_of_val(fds);
    // SAFETY: [plain-data] msghdr is integers and pointers; all zeroes is a value of it.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut piece;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: [plain-call] arithmetic on a length that is far below the room.
    header.msg_controllen = unsafe { libc::CMSG_SPACE(length as u32) } as _;
    // SAFETY: [plain-call] looks at the header, and gives a place in the control memory.
    let first = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
    // SAFETY: [plain-data] the control memory is larger than one message, aligned and zeroed.
    unsafe { (*first).cmsg_level = libc::SOL_SOCKET };
    // SAFETY: [plain-data] as above.
    unsafe { (*first).cmsg_type = libc::SCM_RIGHTS };
    // SAFETY: [plain-call] arithmetic, as above.
    let whole = unsafe { libc::CMSG_LEN(length as u32) };
    // SAFETY: [plain-data] as above.
    unsafe { (*first).cmsg_len = whole as _ };
    // SAFETY: [plain-call] arithmetic on the place.
    let data = unsafe { libc::CMSG_DATA(first) }.cast::<RawFd>();
    // SAFETY: [plain-data] the data of the message has room for the descriptors.
    unsafe { data.copy_from_nonoverlapping(fds.as_ptr(), fds.len()) };
    // SAFETY: [plain-call] the header points to memory that is valid through the call.
    let sent = unsafe { libc::sendmsg(to.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL) };
    match sent {
        -1 => Err(io::Error::last_os_error()),
        sent if sent as usize == bytes.len() => Ok(()),
        _ => Err(io::ErrorKind::WriteZero.into()),
    }
}

/// Receives what one [`send_with`] sent: fills `bytes`, and returns the descriptors, which are
/// closed on exec.
pub(crate) fn receive_with(from: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<Vec<OwnedFd>> {
    let mut control = Control([0; 1024]);
    let mut piece = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: [plain-data] msghdr is integers and pointers; all zeroes is a value of it.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut piece;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len() as _;
    let (raw, flags) = (from.as_raw_fd(), libc::MSG_CMSG_CLOEXEC | libc::MSG_WAITALL);
    // SAFETY: [plain-call] the header points to memory that is valid through the call.
    let length = unsafe { libc::recvmsg(raw, &raw mut header, flags) };
    if length == -1 {
        return Err(io::Error::last_os_error());
    }
    let fds = received(&header);
    if length as usize != bytes.len() || header.msg_flags & libc::MSG_CTRUNC != 0 {
        let text = "the other end closed, or sent something else than sockets";
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
    }
    Ok(fds)
}

/// The descriptors in the control messages that the kernel wrote.
fn received(header: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    // SAFETY: [kernel-filled] the kernel wrote the control memory and its length.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: [kernel-filled] a header that the kernel wrote, in memory that is still there.
        let message = unsafe { &*next };
        if message.cmsg_level == libc::SOL_SOCKET && message.cmsg_type == libc::SCM_RIGHTS {
            // SAFETY: [plain-call] arithmetic.
            let head = unsafe { libc::CMSG_LEN(0) } as usize;
            let count = (message.cmsg_len as usize - head) / mem::size_of::<RawFd>();
            // SAFETY: [kernel-filled] so many descriptors follow the header.
            let first = unsafe { libc::CMSG_DATA(next) }.cast::<RawFd>();
            for at in 0..count {
                // SAFETY: [kernel-filled] the place is one of them.
                let place = unsafe { first.add(at) };
                // SAFETY: [kernel-filled] as above; it need not be aligned.
                let raw = unsafe { place.read_unaligned() };
                // SAFETY: [fd-is-ours] the kernel just made this descriptor for us.
                fds.push(unsafe { OwnedFd::from_raw_fd(raw) });
            }
        }
        // SAFETY: [kernel-filled] as above.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
    fds
}

/// Where a filter finds the number of the CPU that handles a packet, see bpf(2) and socket(7).
const THIS_CPU: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_CPU) as u32;

/// Has the sockets that share `fd`'s port chosen by the CPU that handles a connection's first
/// packet: socket number `index` for the CPU at `cpus[index]`, any for other CPUs.
pub(crate) fn steer_by_cpu(fd: &OwnedFd, cpus: &[usize]) -> io::Result<()> {
    let mut program = vec![filter(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, THIS_CPU, 0)];
    for (index, cpu) in cpus.iter().enumerate() {
        program.push(filter(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, *cpu as u32, 1));
        program.push(filter(libc::BPF_RET | libc::BPF_K, index as u32, 0));
    }
    let count = cpus.len().max(1) as u32;
    program.push(filter(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, count, 0));
    program.push(filter(libc::BPF_RET | libc::BPF_A, 0, 0));
    let header =
        libc::sock_fprog { len: program.len() as libc::c_ushort, filter: program.as_mut_ptr() };
    let length = mem::size_of_val(&header) as libc::socklen_t;
    let (level, name) = (libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF);
    let place = (&raw const header).cast();
    // SAFETY: [plain-call] the program is valid for its length through the call, which copies it.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, place, length) }).map(drop)
}

/// One instruction; `skip` is how many are skipped if a comparison fails.
fn filter(code: u32, k: u32, skip: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: skip, k }
}
