//! Who vouches for the servers and clients of the tests, and their certificates, made anew in each
//! run.

use std::sync::LazyLock;

use corio::tls::rustls::pki_types::pem::PemObject;
use corio::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

/// The name of the tests' server.
pub const HOST: &str = "localhost";

/// A certificate's chain and its key, as PEM.
pub struct Identity {
    pub chain: String,
    pub key: String,
}

/// The first certificate of a PEM text.
pub fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// The private key of a PEM text.
pub fn key(pem: &str) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// Somebody who signs certificates.
pub struct Authority {
    /// Its own certificate, as PEM.
    pub root: String,
    issuer: Issuer<'static, KeyPair>,
}

/// The one that the tests trust.
pub fn authority() -> &'static Authority {
    static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| Authority::new("the tests' own"));
    &AUTHORITY
}

fn named(name: &str, hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = named(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().pem();
        Authority { root, issuer: Issuer::new(params, key) }
    }

    fn sign(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity { chain: certificate.pem(), key: key.serialize_pem() }
    }

    /// A server on the loopback.
    pub fn server(&self) -> Identity {
        self.sign(&named("server", &[HOST, "127.0.0.1"]))
    }

    /// The same, some years ago.
    pub fn expired_server(&self) -> Identity {
        let mut params = named("server", &[HOST]);
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
        self.sign(&params)
    }

    /// The same, in years to come.
    pub fn future_server(&self) -> Identity {
        let mut params = named("server", &[HOST]);
        params.not_before = date_time_ymd(2901, 1, 1);
        params.not_after = date_time_ymd(2902, 1, 1);
        self.sign(&params)
    }

    /// A client.
    pub fn client(&self, name: &str) -> Identity {
        self.sign(&named(name, &[name]))
    }

    /// A server that vouches for itself.
    pub fn self_signed() -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = named("self", &[HOST]).self_signed(&key).unwrap();
        Identity { chain: certificate.pem(), key: key.serialize_pem() }
    }
}
