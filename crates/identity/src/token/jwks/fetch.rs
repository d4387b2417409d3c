//! One HTTP request for a set of keys.
//!
//! What must hold: the URL is the settings' own and nothing of a token is in it; a redirect is not
//! followed; the answer is bounded in time and size. This file must not know what keys are.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use tokio::time;

use super::super::{
    load::{bytes_at, shown},
    settings::JwksSettings,
};

/// Asks one URL.
#[derive(Debug)]
pub(super) struct Fetcher {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    url: Uri,
    timeout: Duration,
    bytes: usize,
}

impl Fetcher {
    pub(super) fn new(settings: &JwksSettings) -> Result<Self, String> {
        let url = checked(settings)?;
        let tls = tls(settings.authorities.as_deref())?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        // Minutes lie between two requests: no connection is kept for the next.
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(connector);
        Ok(Self {
            client,
            url,
            timeout: settings.limits.timeout,
            bytes: settings.limits.bytes,
        })
    }

    /// Returns the URL for people, without its query, in which a secret may stand.
    pub(super) fn url(&self) -> String {
        without_query(&self.url)
    }

    /// Fetches the text at the URL.
    ///
    /// # Errors
    /// A sentence, without anything of the answer's body.
    pub(super) async fn fetch(&self) -> Result<String, String> {
        time::timeout(self.timeout, self.ask())
            .await
            .unwrap_or_else(|_elapsed| Err(format!("no answer in {} ms", self.timeout.as_millis())))
    }

    async fn ask(&self) -> Result<String, String> {
        let request = http::Request::get(self.url.clone())
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        let answer = self.client.request(request).await.map_err(causes)?;
        let status = answer.status();
        if status.is_redirection() {
            return Err(format!("it redirects ({status}), which is not followed"));
        }
        if status != StatusCode::OK {
            return Err(format!("it answers {status}"));
        }
        let body = Limited::new(answer.into_body(), self.bytes).collect().await;
        let body = body.map_err(|error| {
            if error.is::<LengthLimitError>() {
                format!("its answer is longer than {} bytes", self.bytes)
            } else {
                "its answer ends too early".to_owned()
            }
        })?;
        String::from_utf8(body.to_bytes().into())
            .map_err(|_error| "its answer is not a text".to_owned())
    }
}

/// Writes an error with what caused it: the outermost says hardly more than “client error”.
#[allow(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
fn causes(error: hyper_util::client::legacy::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Checks that keys come through TLS, since whoever changes them on the way can sign.
fn checked(settings: &JwksSettings) -> Result<Uri, String> {
    // The text may hold a password.
    let url: Uri = settings
        .url
        .parse()
        .map_err(|_error| "the jwks URL can't be read".to_owned())?;
    let authority = url.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return Err("the jwks URL has a user or a password, which is not supported".to_owned());
    }
    let loopback = ["127.0.0.1", "[::1]", "localhost"].contains(&url.host().unwrap_or_default());
    match url.scheme_str() {
        Some("https") => Ok(url),
        Some("http") if settings.plain_loopback && loopback => Ok(url),
        _ => Err(format!(
            "the jwks URL {} does not begin with https://",
            without_query(&url)
        )),
    }
}

fn without_query(url: &Uri) -> String {
    let text = url.to_string();
    text.split('?').next().unwrap_or_default().to_owned()
}

/// Trusts the authorities at a place, or those of the system.
fn tls(authorities: Option<&str>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    if let Some(place) = authorities {
        let at = |error: String| format!("the jwks authorities {}: {error}", shown(place));
        let pem = bytes_at(place).map_err(at)?;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let added = certificate
                .map_err(|error| error.to_string())
                .and_then(|it| roots.add(it).map_err(|error| error.to_string()));
            added.map_err(at)?;
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if roots.is_empty() {
        return Err("there are no certificate authorities to trust for the jwks URL".to_owned());
    }
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
