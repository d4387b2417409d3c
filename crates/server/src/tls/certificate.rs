//! A certificate and its key from two PEM files, made into what rustls needs to serve them.
//!
//! What must hold: an error names the file and what is wrong with it, and shows nothing of the key.

use std::{fs, io, path::Path, sync::Arc};

use rustls::{
    Error, InconsistentKeys, ServerConfig,
    crypto::{CryptoProvider, ring},
    server::NoServerSessionStorage,
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject};

use super::TlsError;

/// Largest file that is read, in bytes. A chain with its key is a few thousand.
const FILE_BYTES: u64 = 1024 * 1024;
/// Tickets that a client gets to connect again without the whole handshake. One is enough for a
/// client that keeps its connection.
const TICKETS: usize = 1;

/// The contents of the two files.
#[derive(PartialEq, Eq)]
pub(super) struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Contents {
    /// Reads both files. A file that is far too large is not read.
    pub(super) fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        Ok(Self {
            certificate: content("certificate", certificate)?,
            key: content("key", key)?,
        })
    }
}

fn content(what: &str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let shown = path.display();
    let unreadable =
        |error: io::Error| TlsError::new(format!("the {what} {shown} can't be read: {error}"));
    let size = fs::metadata(path).map_err(unreadable)?.len();
    if size > FILE_BYTES {
        let sentence = format!("the {what} {shown} has {size} bytes: that is no PEM file");
        return Err(TlsError::new(sentence));
    }
    fs::read(path).map_err(unreadable)
}

/// Returns how a server speaks TLS with this certificate: versions 1.2 and 1.3, and HTTP/1.1 alone
/// as protocol above it (ALPN, RFC 7301).
///
/// Clients that come back resume their session by a ticket that they keep themselves, so a server
/// with many clients remembers nothing of them. The tickets' key is new for each certificate.
pub(super) fn config(
    contents: &Contents,
    certificate: &Path,
    key: &Path,
) -> Result<Arc<ServerConfig>, TlsError> {
    // The provider is named, because a process that links two of them has no default and rustls
    // would panic.
    let provider = Arc::new(ring::default_provider());
    let certified = certified(contents, certificate, key, &provider)?;
    let failed = |error: Error| TlsError::new(format!("TLS can't be set up: {error}"));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(failed)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = ring::Ticketer::new().map_err(failed)?;
    config.send_tls13_tickets = TICKETS;
    Ok(Arc::new(config))
}

/// Reads the chain and the key, and checks that they belong together.
fn certified(
    contents: &Contents,
    certificate: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain = chain(&contents.certificate, certificate)?;
    let private = private_key(&contents.key, key)?;
    let (certificate, key) = (certificate.display(), key.display());
    CertifiedKey::from_der(chain, private, provider).map_err(|error| {
        TlsError::new(match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => format!(
                "the key {key} does not belong to the first certificate of {certificate}; \
                 the server's own certificate comes first, its authorities follow"
            ),
            Error::InvalidCertificate(error) => {
                format!("the certificate {certificate} can't be understood: {error}")
            }
            // rustls says nothing of the key itself.
            error => format!(
                "the key {key} is of no use: {error}; it may be RSA (2048 bits or more), ECDSA \
                 (P-256, P-384) or Ed25519"
            ),
        })
    })
}

fn chain(text: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let path = path.display();
    let chain: Vec<_> = CertificateDer::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(|_broken| {
            TlsError::new(format!("the certificate {path} is broken: it is no PEM"))
        })?;
    match chain.is_empty() {
        true => Err(TlsError::new(format!(
            "{path} holds no certificate in PEM form"
        ))),
        false => Ok(chain),
    }
}

fn private_key(text: &[u8], path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    // The PEM reader's errors are left out: they may show a line of the file.
    PrivateKeyDer::from_pem_slice(text).map_err(|error| {
        let path = path.display();
        TlsError::new(match error {
            pem::Error::NoItemsFound if is_encrypted(text) => {
                format!("the key {path} is encrypted: give it without a passphrase")
            }
            pem::Error::NoItemsFound => {
                format!("{path} holds no private key in PEM form (PKCS #8, PKCS #1 or SEC 1)")
            }
            _ => format!("the key {path} is broken: it is no PEM"),
        })
    })
}

/// Returns true if a PEM file holds a key behind a passphrase.
fn is_encrypted(text: &[u8]) -> bool {
    let mark = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
    text.windows(mark.len()).any(|part| part == mark)
}
