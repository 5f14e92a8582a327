//! Certificates and keys, from PEM or DER.

use std::io;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what.into())
}

/// What refuses a configuration: the caller's input is wrong.
pub(super) fn refused(error: rustls::Error) -> io::Error {
    let text = match error {
        rustls::Error::InconsistentKeys(_) => "the key is not that of the certificate".to_owned(),
        error => format!("the certificates are refused: {error}"),
    };
    invalid(text)
}

fn is_pem(bytes: &[u8]) -> bool {
    // DER begins with the tag of a sequence.
    bytes.first().is_some_and(|first| *first != 0x30)
}

/// Certificates: all that a PEM text holds, or one of DER.
pub(super) fn certificates(bytes: &[u8]) -> io::Result<Vec<CertificateDer<'static>>> {
    if !is_pem(bytes) && !bytes.is_empty() {
        return Ok(vec![CertificateDer::from(bytes.to_vec())]);
    }
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let found = found.map_err(|error| invalid(format!("the certificates are no PEM: {error}")))?;
    match found.is_empty() {
        true => Err(invalid("there is no certificate: PEM has one behind `BEGIN CERTIFICATE`")),
        false => Ok(found),
    }
}

/// A private key, of PEM or DER.
pub(super) fn private_key(bytes: &[u8]) -> io::Result<PrivateKeyDer<'static>> {
    let key = match is_pem(bytes) {
        true => PrivateKeyDer::from_pem_slice(bytes).map_err(|error| error.to_string()),
        false => PrivateKeyDer::try_from(bytes.to_vec()).map_err(str::to_owned),
    };
    key.map_err(|error| invalid(format!("there is no private key that can be used: {error}")))
}

/// Adds roots from PEM or DER.
pub(super) fn add_roots(roots: &mut RootCertStore, bytes: &[u8]) -> io::Result<()> {
    for certificate in certificates(bytes)? {
        roots
            .add(certificate)
            .map_err(|error| invalid(format!("a root certificate cannot be read: {error}")))?;
    }
    Ok(())
}

/// Adds the roots that the system trusts.
pub(super) fn add_system_roots(roots: &mut RootCertStore) -> io::Result<()> {
    let found = rustls_native_certs::load_native_certs();
    // A system's store holds things that are no roots of today; the others serve.
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added > 0 {
        return Ok(());
    }
    let causes: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
    let causes =
        if causes.is_empty() { String::new() } else { format!(" ({})", causes.join("; ")) };
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        format!(
            "this system has no root certificates{causes}; install the package ca-certificates, \
             or name a file of them in SSL_CERT_FILE"
        ),
    ))
}
