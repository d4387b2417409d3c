//! Certificates of a test's own, and the folder that they lie in.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::RootCertStore;

use super::super::{Tls, TlsError};

/// An authority that clients trust, and the files of a server whose certificate it has signed.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

/// What a certificate is to be, besides valid.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    pub(super) name: &'static str,
    /// The year in which it ends.
    pub(super) until: i32,
}

/// A certificate that clients take.
pub(super) const GOOD: Wanted = Wanted {
    name: "localhost",
    until: 4_000,
};

impl Drop for Authority {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.folder);
    }
}

impl Authority {
    pub(super) fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("hubplane-tls-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        Self { issuer, folder }
    }

    /// Clients trust this authority alone.
    pub(super) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        roots
    }

    pub(super) fn certificate(&self) -> PathBuf {
        self.folder.join("tls.crt")
    }

    pub(super) fn key(&self) -> PathBuf {
        self.folder.join("tls.key")
    }

    /// Writes a new certificate and its key over those that there are. Returns the certificate, as
    /// a client gets it.
    pub(super) fn write(&self, wanted: Wanted) -> Vec<u8> {
        let mut params = CertificateParams::new(vec![wanted.name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2_000, 1, 1);
        params.not_after = date_time_ymd(wanted.until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let chain = pem("CERTIFICATE", certificate.der()) + &pem("CERTIFICATE", self.issuer.der());
        replace(&self.certificate(), &chain);
        replace(&self.key(), &pem("PRIVATE KEY", &key.serialize_der()));
        certificate.der().to_vec()
    }

    pub(super) fn load(&self) -> Result<Tls, TlsError> {
        Tls::from_files(self.certificate(), self.key())
    }
}

/// Replaces a file as a whole, so that nobody reads half of it.
pub(super) fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::rename(new, path).unwrap();
}

pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect();
    let body = lines.join("\n");
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}
