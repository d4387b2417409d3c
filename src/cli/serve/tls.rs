//! TLS of the program: which files it takes, and SIGHUP, which has them read again.
//!
//! What a certificate must be, and how it is served, is decided in `hubplane-server`.

use std::{io, path::PathBuf};

use hubplane_server::{Server, Shards, Tls};
use tokio::{net::TcpListener, signal::unix::Signal, task::spawn_blocking};

use crate::cli::Failure;

/// Reads the certificate and the key. Returns `None` if neither is given. An empty name, as an empty variable gives it, is
/// the same as none.
pub(super) fn certificate(
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
) -> Result<Option<Tls>, Failure> {
    let written = |path: &PathBuf| !path.as_os_str().is_empty();
    match (certificate.filter(written), key.filter(written)) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => {
            let tls = Tls::from_files(certificate, key).map_err(Failure::wrong)?;
            Ok(Some(tls))
        }
        (Some(certificate), None) => Err(Failure::wrong(format!(
            "--tls-cert {} needs its private key: give --tls-key FILE, too",
            certificate.display()
        ))),
        (None, Some(key)) => Err(Failure::wrong(format!(
            "--tls-key {} needs its certificate: give --tls-cert FILE, too",
            key.display()
        ))),
    }
}

/// Starts the server. With a certificate, SIGHUP has its files read again for as long as the process lives.
pub(super) fn start(
    shards: Shards,
    listener: TcpListener,
    tls: Option<Tls>,
    hangup: Signal,
) -> io::Result<Server> {
    let Some(tls) = tls else {
        return Server::start(shards, listener);
    };
    tokio::spawn(reload_on(hangup, tls.clone()));
    Server::start_tls(shards, listener, tls)
}

/// Reads the files again at each signal. A broken file changes nothing but the log.
async fn reload_on(mut hangup: Signal, tls: Tls) {
    while hangup.recv().await.is_some() {
        let tls = tls.clone();
        // Reading files may block, and this may be the thread that serves sockets.
        match spawn_blocking(move || tls.reload()).await {
            Ok(Ok(())) => tracing::info!("SIGHUP: the TLS certificate was read again"),
            Ok(Err(error)) => {
                tracing::error!(%error, "SIGHUP: the TLS certificate stays as it was");
            }
            Err(_runtime_ends) => return,
        }
    }
}
