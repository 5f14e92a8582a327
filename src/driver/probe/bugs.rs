//! Kernels with known bugs in io_uring: the only place where a version number is looked at.
//!
//! Everything else is found by trials; a bug that scrambles data now and then is not. Sources are
//! threads of the kernel's io_uring library, `axboe/liburing`.

/// A bug of io_uring in a range of kernels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct KnownBug {
    /// The first release that has it.
    pub first: &'static str,
    /// The last one, or the series it ends in.
    pub last: &'static str,
    /// What goes wrong.
    pub what: &'static str,
    /// Whether corio uses what it is in.
    pub concerns_corio: bool,
    /// What that means for a program on corio.
    pub effect: &'static str,
    /// Where it is described.
    pub source: &'static str,
}

const BUGS: [KnownBug; 5] = [
    KnownBug {
        first: "6.1.7",
        last: "6.1.7",
        what: "floods of ENOBUFS from multishot recvmsg",
        concerns_corio: false,
        effect: "corio does not use multishot recvmsg",
        source: "https://github.com/axboe/liburing/issues/778",
    },
    KnownBug {
        first: "6.0",
        last: "6.7",
        what: "one fast sender can starve the others under multishot receives",
        concerns_corio: true,
        effect: "corio gives a fast stream one-shot receives, so it is only felt for a turn; a \
                 kernel from 6.8 on is better",
        source: "https://github.com/axboe/liburing/issues/1043",
    },
    KnownBug {
        first: "6.12",
        last: "6.12",
        what: "a read with provided buffers may report a buffer on an error",
        concerns_corio: false,
        effect: "corio reads sockets by receives, which are right",
        source: "https://github.com/axboe/liburing/issues/1530",
    },
    KnownBug {
        first: "6.13.11",
        last: "6.14.8",
        what: "receive bundles hand out buffers out of order: data is scrambled",
        concerns_corio: false,
        effect: "corio does not use bundles; a program of your own on this machine may",
        source: "https://github.com/axboe/liburing/issues/1409",
    },
    KnownBug {
        first: "6.16",
        last: "6.19",
        what: "incremental buffer rings fail with multishot read and recvmsg",
        concerns_corio: false,
        effect: "corio's buffer rings are not incremental",
        source: "https://github.com/axboe/liburing/issues/1433",
    },
];

impl KnownBug {
    /// All of them.
    pub fn all() -> &'static [KnownBug] {
        &BUGS
    }

    /// Those whose range a kernel's release is in, as far as its number tells: a distribution may
    /// have mended it.
    pub fn of_kernel(release: &str) -> impl Iterator<Item = &'static KnownBug> {
        let release = version(release);
        BUGS.iter().filter(move |bug| release.is_some_and(|release| bug.is_in(release)))
    }

    fn is_in(&self, release: [u32; 3]) -> bool {
        let parts = self.last.split('.').count();
        let (Some(first), Some(last)) = (version(self.first), version(self.last)) else {
            return false;
        };
        // A last one without its third number is a whole series.
        first <= release && release[..parts] <= last[..parts]
    }
}

/// The numbers at the front of a release, such as `6.12.3-4-generic`.
pub(super) fn version(release: &str) -> Option<[u32; 3]> {
    let end = release.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(release.len());
    let mut parts = release[..end].split('.').map(str::parse::<u32>);
    let (major, minor) = (parts.next()?.ok()?, parts.next()?.ok()?);
    Some([major, minor, parts.next().and_then(Result::ok).unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(release: &str, first_of_each: &[&str]) {
        let found: Vec<_> = KnownBug::of_kernel(release).map(|bug| bug.first).collect();
        assert_eq!(found, first_of_each, "{release}");
    }

    #[test]
    fn ranges_include_both_ends_and_nothing_beyond() {
        check("6.1.7-1-amd64", &["6.1.7", "6.0"]);
        check("6.1.8", &["6.0"]);
        check("6.7.12", &["6.0"]);
        check("6.8.0-31-generic", &[]);
        check("6.12.30", &["6.12"]);
        check("6.13.10", &[]);
        check("6.13.11", &["6.13.11"]);
        check("6.14.8", &["6.13.11"]);
        check("6.14.9", &[]);
        check("6.19.4+", &["6.16"]);
        check("7.0", &[]);
        check("unknown", &[]);
        check("5.10", &[]);
    }
}
