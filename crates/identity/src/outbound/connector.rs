//! Opens the connections of the outbound client: looks up the name, checks every address, connects
//! to those addresses and no others, and speaks TLS.
//!
//! What must hold: between the check and the connection there is no second look-up, so a DNS answer
//! that changes in between (DNS rebinding) changes nothing. This file must not know requests.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
    vec,
};

use futures_util::future::BoxFuture;
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::connect::{HttpConnector, dns::Name},
    rt::TokioIo,
};
use rustls::ClientConfig;
use tokio::{net::TcpStream, time};
use tower_service::Service;

use super::{
    BoxError,
    address::{Refusal, refusal},
};

/// Looks up the addresses of a host name.
pub(crate) type Lookup =
    Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// Returns the look-up of the operating system.
pub(super) fn system_lookup() -> Lookup {
    Arc::new(|host| {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    })
}

/// A name has an address to which the hub must not talk.
#[derive(Debug)]
pub(super) struct RefusedAddress {
    pub(super) host: String,
    pub(super) why: Refusal,
}

impl fmt::Display for RefusedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}", self.host, self.why)
    }
}

impl std::error::Error for RefusedAddress {}

/// Looks up names and returns checked addresses only.
#[derive(Clone)]
pub(super) struct CheckedLookup {
    lookup: Lookup,
    allow_private: bool,
}

impl CheckedLookup {
    pub(super) fn new(lookup: Lookup, allow_private: bool) -> Self {
        Self {
            lookup,
            allow_private,
        }
    }
}

/// Returns an error if a request must not go to this address of the host.
pub(super) fn check(host: &str, ip: IpAddr, allow_private: bool) -> Result<(), RefusedAddress> {
    match refusal(ip) {
        None => Ok(()),
        Some(Refusal::Private(_)) if allow_private => Ok(()),
        Some(why) => Err(RefusedAddress {
            host: host.to_owned(),
            why,
        }),
    }
}

impl Service<Name> for CheckedLookup {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let found = (self.lookup)(name.as_str().to_owned());
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found = found.await?;
            // One bad address refuses the name: who mixes inner addresses into a public name
            // waits for the try that takes one of them.
            for ip in &found {
                check(name.as_str(), *ip, allow_private)?;
            }
            // The connector puts the URL's port in.
            let found: Vec<_> = found.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect();
            Ok(found.into_iter())
        })
    }
}

/// Connects by TCP and TLS, within a time limit.
///
/// The client may finish a connection in the background after the request took another one, so
/// the request's own time limit is not enough.
#[derive(Clone)]
pub(super) struct Connector {
    https: HttpsConnector<HttpConnector<CheckedLookup>>,
    within: Duration,
}

impl Connector {
    pub(super) fn new(lookup: CheckedLookup, tls: ClientConfig, within: Duration) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(lookup);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Self { https, within }
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connected = time::timeout(self.within, self.https.call(uri));
        Box::pin(async move { connected.await? })
    }
}
