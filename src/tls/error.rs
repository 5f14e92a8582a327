//! What goes wrong in TLS, as an error that says what to do.

use std::error::Error;
use std::fmt;
use std::io;

use rustls::{AlertDescription, CertificateError, InvalidMessage};

/// What TLS refused, or what the peer said it refused. Reads, writes and handshakes return it
/// inside an [`io::Error`] of kind `InvalidData`.
///
/// ```
/// use corio::tls::rustls::CertificateError;
/// use corio::tls::{TlsError, rustls};
///
/// /// Whether a handshake failed since nobody vouches for the peer.
/// fn is_untrusted(error: &std::io::Error) -> bool {
///     let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
///     let cause = inner.map(TlsError::cause);
///     matches!(cause, Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)))
/// }
/// # assert!(!is_untrusted(&std::io::ErrorKind::UnexpectedEof.into()));
/// ```
#[doc(alias = "SSLError")]
#[doc(alias = "SSLCertVerificationError")]
#[derive(Clone, PartialEq, Debug)]
pub struct TlsError(rustls::Error);

impl TlsError {
    /// The error of rustls.
    pub fn cause(&self) -> &rustls::Error {
        &self.0
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        match cure(&self.0) {
            Some(cure) => write!(f, "; {cure}"),
            None => Ok(()),
        }
    }
}

impl Error for TlsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

/// The likely cause, where rustls names only the fact.
fn cure(error: &rustls::Error) -> Option<&'static str> {
    match error {
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            Some("the peer does not speak TLS here")
        }
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => Some(
            "no trusted root has signed it: if it is to be trusted, give its CA's certificate to \
             the builder",
        ),
        rustls::Error::InvalidCertificate(CertificateError::Other(_)) => Some(
            "a certificate that may sign others (CA:TRUE) is none of a server or client: sign one \
             with it",
        ),
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            Some("the peer wants a client certificate")
        }
        rustls::Error::AlertReceived(AlertDescription::UnknownCA) => {
            Some("the peer does not trust who signed this side's certificate")
        }
        rustls::Error::NoApplicationProtocol
        | rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            Some("of the protocols that one side offers by ALPN the other has none")
        }
        _ => None,
    }
}

/// An error of rustls, as reads, writes and handshakes return it.
pub(super) fn failure(error: rustls::Error) -> io::Error {
    TlsError(error).into()
}

/// The end of the input where the peer had not said that it ends.
pub(super) fn cut_off() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the connection ended without the peer's close_notify: what came may be cut off",
    )
}

/// The end of the input before there was a session.
pub(super) fn cut_off_early() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the peer closed the connection during the TLS handshake",
    )
}
