//! Filters on system calls, as containers have them: a list of rules becomes a program of the
//! kernel's packet filter, which the calling thread and all its children keep for good.
//!
//! So a filter is only for a test in a process of its own.
#![allow(unsafe_code)] // The two system calls that install a filter.

use libc::{c_long, sock_filter, sock_fprog};

/// What becomes of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    Allow,
    /// It answers this error.
    Refuse(i32),
    /// It ends the process.
    Kill,
}

/// A call, if one of its arguments is as given.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub number: c_long,
    /// Which argument, under which mask, has which value.
    pub argument: Option<(u32, u32, u32)>,
    pub action: Action,
}

impl Rule {
    pub fn new(number: c_long, action: Action) -> Rule {
        Rule { number, argument: None, action }
    }
}

impl Action {
    fn code(self) -> u32 {
        match self {
            Action::Allow => libc::SECCOMP_RET_ALLOW,
            Action::Refuse(error) => libc::SECCOMP_RET_ERRNO | error as u32,
            Action::Kill => libc::SECCOMP_RET_KILL_PROCESS,
        }
    }
}

/// What a filter sees is `struct seccomp_data`: the call's number, the architecture, an address,
/// and six arguments of eight bytes.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const ARGUMENTS_AT: u32 = 16;

/// What the kernel calls this architecture: its ELF number, 64 bits, little endian.
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

fn step(code: u32, value: u32, if_true: u8, if_false: u8) -> sock_filter {
    sock_filter { code: code as u16, jt: if_true, jf: if_false, k: value }
}

fn load(offset: u32) -> sock_filter {
    step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0, 0)
}

/// Skips so many steps unless the loaded value is this one.
fn unless(value: u32, skip: u8) -> sock_filter {
    step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value, 0, skip)
}

fn end(action: Action) -> sock_filter {
    step(libc::BPF_RET | libc::BPF_K, action.code(), 0, 0)
}

/// The first rule that fits decides.
fn program(rules: &[Rule], default: Action) -> Vec<sock_filter> {
    let mut steps = vec![load(ARCHITECTURE_AT), unless(ARCHITECTURE, 1)];
    // Over the refusal of foreign architectures.
    steps.push(step(libc::BPF_JMP | libc::BPF_JA, 1, 0, 0));
    steps.push(end(Action::Kill));
    steps.push(load(NUMBER_AT));
    for rule in rules {
        match rule.argument {
            None => steps.extend([unless(rule.number as u32, 1), end(rule.action)]),
            Some((index, mask, value)) => steps.extend([
                unless(rule.number as u32, 5),
                load(ARGUMENTS_AT + 8 * index),
                step(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, mask, 0, 0),
                unless(value, 1),
                end(rule.action),
                load(NUMBER_AT),
            ]),
        }
    }
    steps.push(end(default));
    steps
}

/// Puts this thread, and what it starts from now on, under a filter.
pub fn install(rules: &[Rule], default: Action) {
    let mut steps = program(rules, default);
    let length = u16::try_from(steps.len()).expect("a filter has at most 4096 steps");
    let program = sock_fprog { len: length, filter: steps.as_mut_ptr() };
    // SAFETY: [plain-call] no memory is passed.
    let promised = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(promised, 0, "no new privileges: {}", std::io::Error::last_os_error());
    // SAFETY: [plain-call] the program and its steps are valid through the call, which copies them.
    let installed = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program)
    };
    assert_eq!(installed, 0, "a filter: {}", std::io::Error::last_os_error());
}

/// Forbids some calls and allows the rest.
pub fn forbid(numbers: &[c_long], action: Action) {
    let rules: Vec<Rule> = numbers.iter().map(|number| Rule::new(*number, action)).collect();
    install(&rules, Action::Allow);
}
