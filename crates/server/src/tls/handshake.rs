//! The handshake of a new connection. A client that speaks plain HTTP here is told so; a wrong
//! address is the usual reason. The caller limits the time.

use std::{future::poll_fn, io};

use tokio::net::TcpStream;

use super::{Secured, Tls};
use crate::refusal::{self, Refusal};

/// The answer to plain HTTP.
const NOT_TLS: Refusal = Refusal {
    status: "400 Bad Request",
    headers: "",
    title: "Bad Request",
    detail: "this port speaks TLS: the address begins with https:// or wss://",
};

impl Tls {
    /// Does the handshake on a new connection. Returns `None` if the client has gone away without a
    /// word.
    ///
    /// # Errors
    /// The client speaks no TLS, or nothing that this server may agree to; it does not trust the
    /// certificate; it has gone away.
    pub(crate) async fn handshake(&self, socket: TcpStream) -> io::Result<Option<Secured>> {
        let mut first = [0];
        if socket.peek(&mut first).await? == 0 {
            // A balancer that looks whether the port is open.
            return Ok(None);
        }
        // A record of a handshake begins with 22, a request with its method.
        if first[0].is_ascii_uppercase() {
            _ = refusal::answer(socket, &NOT_TLS).await;
            return Err(io::Error::other("the client speaks plain HTTP"));
        }
        let secured = Secured::new(socket, self.config())?;
        poll_fn(|cx| secured.poll_handshake(cx)).await?;
        Ok(Some(secured))
    }
}
