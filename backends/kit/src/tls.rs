//! TLS as the keys `ca`, `cert` and `key` of an address ask for it. All backends that speak TLS by
//! rustls read the same keys, so that an operator learns them once.

use std::{path::Path, sync::Arc};

use hubplane_backplane::{Error, Result, Settings};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject};

/// Files in PEM form that an address names.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files<'a> {
    /// The authorities that are trusted, and no others; without it the system's.
    pub ca: Option<&'a str>,
    /// The client's certificate.
    pub cert: Option<&'a str>,
    /// Its private key.
    pub key: Option<&'a str>,
}

impl Files<'_> {
    /// Returns true if the address names any.
    pub const fn are_given(&self) -> bool {
        self.ca.is_some() || self.cert.is_some() || self.key.is_some()
    }

    /// Reads the files.
    ///
    /// # Errors
    /// `Config`, with the file's name: it can't be read, or does not hold what it should; a certificate without its key.
    pub fn client_config(&self, settings: &Settings<'_>) -> Result<Arc<ClientConfig>> {
        // The provider is named, because a process that links two of them has no default and rustls
        // would panic.
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| settings.wrong("TLS can't be set up").with_source(error))?
            .with_root_certificates(roots(settings, self.ca)?);
        let config = match (self.cert, self.key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(cert), Some(key)) => builder
                .with_client_auth_cert(certificates(settings, cert)?, private_key(settings, key)?)
                .map_err(|error| {
                    let message = format!("the key {key} does not fit the certificate {cert}");
                    settings.wrong(message).with_source(error)
                })?,
            _ => {
                let message = "a client certificate needs both \"cert\" and \"key\"";
                return Err(settings.wrong(message));
            }
        };
        Ok(Arc::new(config))
    }
}

/// Returns the authorities to trust: those of the file, or the system's where the address names
/// none.
fn roots(settings: &Settings<'_>, ca: Option<&str>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            for certificate in certificates(settings, path)? {
                roots.add(certificate).map_err(|error| {
                    let message = format!("{path} holds a certificate that can't be trusted");
                    settings.wrong(message).with_source(error)
                })?;
            }
        }
        // Systems carry odd certificates; only having none at all is an error.
        None => _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
    }
    match roots.is_empty() {
        true => Err(settings.wrong(
            "this system has no trusted certificates; give the broker's authority by ca=/path/to/ca.pem",
        )),
        false => Ok(roots),
    }
}

/// Reads all certificates of a PEM file; a file without any is an error, since it is surely the
/// wrong one.
fn certificates(settings: &Settings<'_>, path: &str) -> Result<Vec<CertificateDer<'static>>> {
    let read = |error| unreadable(settings, path, "certificates", error);
    let found = CertificateDer::pem_file_iter(Path::new(path)).map_err(read)?;
    let found: Vec<_> = found.collect::<std::result::Result<_, _>>().map_err(read)?;
    match found.is_empty() {
        true => Err(settings.wrong(format!("{path} holds no certificate in PEM form"))),
        false => Ok(found),
    }
}

fn private_key(settings: &Settings<'_>, path: &str) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(Path::new(path))
        .map_err(|error| unreadable(settings, path, "a private key", error))
}

fn unreadable(settings: &Settings<'_>, path: &str, what: &str, error: pem::Error) -> Error {
    let message = format!("{path} can't be read as {what} in PEM form");
    settings.wrong(message).with_source(error)
}

#[cfg(test)]
mod tests {
    use hubplane_backplane::Address;

    use super::*;

    #[test]
    fn what_is_wrong_is_said_with_the_files_name() {
        let address: Address = "x://h".parse().unwrap();
        let settings = address.settings("x");
        let said = |files: Files<'_>| files.client_config(&settings).unwrap_err().to_string();
        let none = Files::default();
        let given = |path| Files {
            ca: Some(path),
            ..none
        };
        assert!(said(given("/no/such")).contains("/no/such"));
        // A file that is there, but holds no certificate.
        assert!(said(given("Cargo.toml")).contains("no certificate"));
        let cert = Some("/no/such");
        assert!(said(Files { cert, ..none }).contains("both"));
        assert!(!none.are_given() && Files { cert, ..none }.are_given());
    }
}
