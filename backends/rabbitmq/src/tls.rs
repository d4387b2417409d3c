use std::{path::Path, sync::Arc};

use hubplane_backplane::{Error, ErrorKind, Result};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject};

use crate::capabilities::NAME;

fn wrong(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, NAME, message)
}

fn unreadable(path: &str, what: &str, error: pem::Error) -> Error {
    wrong(format!("{path} can't be read as {what} in PEM form")).with_source(error)
}

fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>> {
    let read = |error| unreadable(path, "certificates", error);
    let found = CertificateDer::pem_file_iter(Path::new(path)).map_err(read)?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(read)?;
    if found.is_empty() {
        return Err(wrong(format!("there is no certificate in {path}")));
    }
    Ok(found)
}

/// Who is trusted: those of the file `ca` and nobody else, or the system's where there is none.
fn roots(ca: Option<&str>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| {
                    wrong(format!("a certificate of {path} can't be trusted")).with_source(error)
                })?;
            }
        }
        None => {
            // Systems carry odd certificates; only having none at all is an error.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(wrong(
                    "this system has no trusted certificates; name the broker's authority with ca=FILE",
                ));
            }
        }
    }
    Ok(roots)
}

/// What an `amqps://` connection uses.
pub(crate) fn config(
    ca: Option<&str>,
    cert: Option<&str>,
    key: Option<&str>,
) -> Result<Arc<ClientConfig>> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong("TLS can't be set up").with_source(error))?
        .with_root_certificates(roots(ca)?);
    let config = match (cert, key) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let private = PrivateKeyDer::from_pem_file(Path::new(key))
                .map_err(|error| unreadable(key, "a private key", error))?;
            builder
                .with_client_auth_cert(certificates(cert)?, private)
                .map_err(|error| {
                    wrong(format!("{cert} and {key} do not belong together")).with_source(error)
                })?
        }
        _ => {
            return Err(wrong(
                "a client certificate needs both cert=FILE and key=FILE",
            ));
        }
    };
    Ok(Arc::new(config))
}
