//! Children: started by the standard library, and known by a descriptor from then on.
//!
//! A number of a process may be given again as soon as the process was waited for; its pidfd
//! never stands for another one. It is readable once the process has ended. Who waits then does
//! not block, and a child whose owner has gone is waited for by the next one who starts or ends
//! one, so that none stays a zombie.
#![allow(unsafe_code)] // System calls.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, PoisonError};

use super::AnyDriver;
use super::bell::{blocks_signals, unblock_signals};
use super::socket::check;

/// PIDFD_SIGNAL_PROCESS_GROUP.
const TO_GROUP: u32 = 1 << 2;

/// Children whose owners are gone, and that were not waited for yet.
static ORPHANS: Mutex<Vec<OwnedFd>> = Mutex::new(Vec::new());

impl AnyDriver {
    /// Starts a child, with the descriptor it is known by. `unblocks` says of the command, which
    /// may be started again, that its children unblock signals.
    pub(crate) fn start_process(
        &mut self,
        command: &mut Command,
        unblocks: &mut bool,
    ) -> io::Result<(Child, RawFd)> {
        reap_orphans();
        // Only where it is needed: a child with such a step is forked, which costs more.
        if blocks_signals() && !std::mem::replace(unblocks, true) {
            // SAFETY: [plain-call] the step touches no memory but its own, takes no lock, and
            // calls only what may be called there.
            unsafe { command.pre_exec(unblock_signals) };
        }
        let mut child = command.spawn()?;
        // SAFETY: [plain-call] no memory is passed. The number is the child's until it is waited
        // for, which is below, or by its pidfd.
        let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, child.id(), 0) };
        match check(opened as i32) {
            Ok(pidfd) => Ok((child, pidfd)),
            Err(error) => {
                // It cannot be known when it ends; better not at all than as a zombie.
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// How a child ended, which takes it out of the table of processes; `None` while it runs.
    pub(crate) fn wait_for_process(&mut self, pidfd: RawFd) -> io::Result<Option<ExitStatus>> {
        wait(pidfd)
    }

    pub(crate) fn signal_process(&mut self, pidfd: RawFd, number: i32) -> io::Result<()> {
        let information = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: [plain-call] no information is passed along.
        let sent =
            unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd, number, information, 0) };
        match check(sent as i32) {
            // It has ended, which is no error of whoever wants that.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            sent => sent.map(drop),
        }
    }

    /// Signals the group of processes that a child leads or led.
    pub(crate) fn signal_group(
        &mut self,
        pidfd: RawFd,
        leader: u32,
        is_gone: bool,
        number: i32,
    ) -> io::Result<()> {
        let information = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: [plain-call] no information is passed along.
        let sent = unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, pidfd, number, information, TO_GROUP)
        };
        match check(sent as i32) {
            // A kernel before 6.9. Once the leader is gone its number may be another's.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) && !is_gone => {
                // SAFETY: [plain-call] no memory is passed.
                check(unsafe { libc::kill(-(leader as i32), number) }).map(drop)
            }
            sent => sent.map(drop),
        }
    }

    /// Has a child waited for that nobody asks for any more.
    pub(crate) fn orphan_process(&mut self, pidfd: RawFd) {
        if let Ok(raw) = self.duplicate(pidfd) {
            // SAFETY: [fd-is-ours] the kernel just made this descriptor for us.
            let own = unsafe { OwnedFd::from_raw_fd(raw) };
            ORPHANS.lock().unwrap_or_else(PoisonError::into_inner).push(own);
        }
        reap_orphans();
    }
}

fn reap_orphans() {
    let mut orphans = ORPHANS.lock().unwrap_or_else(PoisonError::into_inner);
    orphans.retain(|pidfd| matches!(wait(pidfd.as_raw_fd()), Ok(None)));
}

fn wait(pidfd: RawFd) -> io::Result<Option<ExitStatus>> {
    // SAFETY: [plain-data] a siginfo_t is integers and pointers; all zeroes is a value of it.
    let mut found: libc::siginfo_t = unsafe { mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG;
    // SAFETY: [plain-call] the place for the result is valid.
    check(unsafe { libc::waitid(libc::P_PIDFD, pidfd as libc::id_t, &raw mut found, flags) })?;
    // SAFETY: [plain-data] the kernel filled in a child's end, or left it zero.
    let (pid, status) = (unsafe { found.si_pid() }, unsafe { found.si_status() });
    if pid == 0 {
        return Ok(None);
    }
    let raw = match found.si_code {
        libc::CLD_EXITED => (status & 0xff) << 8,
        libc::CLD_DUMPED => status | 0x80,
        _ => status,
    };
    Ok(Some(ExitStatus::from_raw(raw)))
}
