//! [`Tls`]: the certificate that is served now, and its renewal when the files change.
//!
//! What must hold: a file that is broken or half written never takes the place of a certificate that
//! works, and connections that are open go on with the one that they have.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::ServerConfig;
use tokio::{task::spawn_blocking, time::sleep};

use super::{
    TlsError,
    certificate::{self, Contents},
};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(3);

/// A server's certificate and key, from two PEM files. Cloning it is cheap, and all clones share
/// one certificate.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    certificate: PathBuf,
    key: PathBuf,
    state: Mutex<State>,
}

struct State {
    /// What new connections get.
    config: Arc<ServerConfig>,
    /// What the files held at the last look, whether it is served or not.
    seen: Result<Contents, TlsError>,
}

impl Tls {
    /// Reads a certificate (its own first, then those of its authorities) and its private key
    /// (PKCS #8, PKCS #1 or SEC 1), both in PEM form.
    ///
    /// # Errors
    /// A file can't be read or does not hold what it should, or the key does not belong to the
    /// certificate. Without the feature `tls`: always.
    pub fn from_files(
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Result<Self, TlsError> {
        let (certificate, key) = (certificate.into(), key.into());
        let contents = Contents::read(&certificate, &key)?;
        let state = State {
            config: certificate::config(&contents, &certificate, &key)?,
            seen: Ok(contents),
        };
        Ok(Self(Arc::new(Shared {
            certificate,
            key,
            state: Mutex::new(state),
        })))
    }

    /// Reads the files again and serves what they hold to new connections. A running server does so
    /// by itself, a few seconds after they have changed. It reads files, so it may block.
    ///
    /// # Errors
    /// As [`Tls::from_files`]; then the certificate stays as it was.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.take(Contents::read(&self.0.certificate, &self.0.key))
    }

    /// What a new connection gets.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.state().config)
    }

    /// Looks at the files for as long as the future is polled.
    pub(crate) async fn watch(self) {
        loop {
            sleep(LOOK).await;
            let tls = self.clone();
            match spawn_blocking(move || tls.look()).await {
                Ok(Some(Ok(()))) => tracing::info!("the TLS certificate has changed"),
                Ok(Some(Err(error))) => {
                    tracing::error!(%error, "the TLS certificate stays as it was");
                }
                // Nothing new, or the runtime ends.
                Ok(None) | Err(_) => {}
            }
        }
    }

    /// Takes the files over if they are not as they were at the last look.
    pub(super) fn look(&self) -> Option<Result<(), TlsError>> {
        let contents = Contents::read(&self.0.certificate, &self.0.key);
        let is_new = contents != self.state().seen;
        is_new.then(|| self.take(contents))
    }

    fn take(&self, contents: Result<Contents, TlsError>) -> Result<(), TlsError> {
        let config = match &contents {
            Ok(contents) => certificate::config(contents, &self.0.certificate, &self.0.key),
            Err(error) => Err(error.clone()),
        };
        let mut state = self.state();
        state.seen = contents;
        state.config = config?;
        Ok(())
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // A panic elsewhere can't have left half a state: each field is set as a whole.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("certificate", &self.0.certificate)
            .field("key", &self.0.key)
            .finish_non_exhaustive()
    }
}
