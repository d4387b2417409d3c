//! The authorities whose certificates the outbound client trusts.
//!
//! What must hold: with a file, that file's alone; a file without a certificate is an error, since
//! it is surely the wrong one. This file must not know hosts or URLs.

use std::{path::Path, sync::Arc};

use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, pem::PemObject};

/// Returns how the client speaks TLS: 1.2 or 1.3, trusting the authorities of the PEM file, or the
/// system's without one.
///
/// # Errors
/// A sentence that names the file and the setting `ca`.
pub(super) fn client_config(ca: Option<&Path>) -> Result<ClientConfig, String> {
    // The provider is named: a process that links two of them has no default, and rustls would
    // panic.
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS can't be set up: {error}"))?;
    let roots = match ca {
        Some(path) => roots_of(path)?,
        None => roots_of_system()?,
    };
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn roots_of(path: &Path) -> Result<RootCertStore, String> {
    let wrong = |what: String| format!("ca = \"{}\": {what}", path.display());
    let unreadable = |error| {
        wrong(format!(
            "the file can't be read as certificates in PEM form: {error}"
        ))
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        roots
            .add(certificate.map_err(unreadable)?)
            .map_err(|error| wrong(format!("a certificate can't be trusted: {error}")))?;
    }
    match roots.is_empty() {
        true => Err(wrong(
            "the file holds no certificate in PEM form".to_owned(),
        )),
        false => Ok(roots),
    }
}

fn roots_of_system() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    // Systems carry odd certificates; only having none at all is an error.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    match roots.is_empty() {
        true => Err("this system has no trusted certificates; give the authority's file as ca = \"/path/to/ca.pem\"".to_owned()),
        false => Ok(roots),
    }
}
