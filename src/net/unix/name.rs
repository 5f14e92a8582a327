//! Names of Unix sockets.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::path::{Path, PathBuf};

use super::SocketAddr;

/// Something that names a Unix socket: a path, or a [`SocketAddr`].
///
/// A text that begins with `@` is a name in the abstract namespace, which lies in no folder and
/// goes away with its socket: `"@corio"`. For a file of that name write `"./@corio"`.
pub trait UnixName {
    /// The address.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a name of more than 107 bytes, or a path with a zero in it.
    fn to_unix_addr(&self) -> io::Result<SocketAddr>;
}

impl UnixName for SocketAddr {
    fn to_unix_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.clone())
    }
}

impl UnixName for Path {
    fn to_unix_addr(&self) -> io::Result<SocketAddr> {
        if self.as_os_str().is_empty() {
            let text = "a Unix socket needs a name, and this path is empty";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        SocketAddr::from_pathname(self)
    }
}

impl UnixName for PathBuf {
    fn to_unix_addr(&self) -> io::Result<SocketAddr> {
        self.as_path().to_unix_addr()
    }
}

impl UnixName for str {
    fn to_unix_addr(&self) -> io::Result<SocketAddr> {
        match self.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => Path::new(self).to_unix_addr(),
        }
    }
}

impl UnixName for String {
    fn to_unix_addr(&self) -> io::Result<SocketAddr> {
        self.as_str().to_unix_addr()
    }
}

impl<N: UnixName + ?Sized> UnixName for &N {
    fn to_unix_addr(&self) -> io::Result<SocketAddr> {
        (**self).to_unix_addr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_with_an_at_sign_is_an_abstract_name_and_a_path_is_not() {
        let name = "@corio".to_unix_addr().unwrap();
        assert_eq!(name.as_abstract_name(), Some(&b"corio"[..]));
        let path = Path::new("@corio").to_unix_addr().unwrap();
        assert_eq!(path.as_pathname(), Some(Path::new("@corio")));
        for bad in [String::new(), "x".repeat(108), "a\0b".to_owned()] {
            assert_eq!(bad.to_unix_addr().unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }
}
