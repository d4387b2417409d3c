//! Where a command takes connections. Also the demo listens by this.

use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, TcpSocket, lookup_host};

use crate::cli::{Failure, environment::shown};

/// Connections that may wait to be accepted: after a failure of the network all clients come at
/// once.
const BACKLOG: u32 = 4_096;

/// Listens on an address, `HOST:PORT`. The error says what to do: choose another port, or write the address otherwise.
pub(in crate::cli) async fn listen_on(address: &str) -> Result<TcpListener, Failure> {
    bind(address).await.map_err(|error| {
        // The three mistakes that users make, each with its way out.
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "; another program listens there: end it, or choose another port, such as --listen 127.0.0.1:8090"
            }
            io::ErrorKind::InvalidInput => "; write host and port, such as --listen 127.0.0.1:8080",
            io::ErrorKind::PermissionDenied => "; ports below 1024 need root: choose another, such as --listen 127.0.0.1:8080",
            _ => "",
        };
        Failure::wrong(format!("can't listen on {}: {error}{hint}", shown(address)))
    })
}

/// Binds the first of a name's addresses that can be bound. The error is that of the last one.
async fn bind(address: &str) -> io::Result<TcpListener> {
    // A name without any address gives this error.
    let mut last = io::ErrorKind::AddrNotAvailable.into();
    for address in lookup_host(address).await? {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        // Otherwise a hub that is started again at once could not have the port of the one before for a minute.
        socket.set_reuseaddr(true)?;
        match socket.bind(address).and_then(|()| socket.listen(BACKLOG)) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Refuses to listen beyond this machine unless it is `allowed`: by a key, or because the user asked for it. So nobody opens a
/// hub to a network by accident.
pub(super) fn refuse_open_door(address: SocketAddr, allowed: bool) -> Result<(), Failure> {
    if address.ip().is_loopback() || allowed {
        return Ok(());
    }
    Err(Failure::wrong(format!(
        "other machines can reach {address}, and anyone who does could publish: give --key-file FILE, or --insecure \
         if that is what you want"
    )))
}
