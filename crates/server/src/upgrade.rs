//! The opening handshake of a WebSocket (RFC 6455, 4.2), and handing the raw socket on.
//!
//! This file checks the handshake and makes the answer, and hyper writes it. `websocket/` then reads
//! the frames on the raw socket under hyper's connection. The mount chooses which format is spoken.

use std::net::IpAddr;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use sha1::{Digest, Sha1};
use tokio::{net::TcpStream, time::timeout};

use super::{
    context::Context,
    handoff::{Connection, Handoff},
    mounts::Mount,
    problem::Problem,
    tls::Secured,
    websocket::Negotiated,
};
use hubplane_hub::Who;

/// A handshake that was checked: what the answer needs, and what the session needs.
#[derive(Debug)]
pub(super) struct Handshake {
    accept: String,
    subprotocol: Option<&'static str>,
    pub(super) negotiated: Negotiated,
}

/// Checks a request for a WebSocket at this mount. `channels` are those that the query asks to
/// subscribe to.
///
/// # Errors
/// 400: a bad `Sec-WebSocket-Key`, or a body. 401: a wrong key. 403: a page of a foreign origin.
/// 429: a user with too many sessions. 426: not a WebSocket handshake, or not version 13.
pub(super) async fn check(
    headers: &HeaderMap,
    mut channels: Vec<String>,
    (context, address): (&Context, IpAddr),
    mount: &Mount,
) -> Result<Handshake, Problem> {
    if !names(headers, header::UPGRADE, "websocket")
        || !names(headers, header::CONNECTION, "upgrade")
    {
        let detail = "this address is a WebSocket: connect with a WebSocket client";
        return Err(Problem::new(StatusCode::UPGRADE_REQUIRED, detail));
    }
    if headers
        .get(header::SEC_WEBSOCKET_VERSION)
        .is_none_or(|version| version != "13")
    {
        return Err(Problem::new(
            StatusCode::UPGRADE_REQUIRED,
            "the WebSocket version is 13",
        ));
    }
    let length = headers.get(header::CONTENT_LENGTH);
    if length.is_some_and(|length| length != "0") || headers.contains_key(header::TRANSFER_ENCODING)
    {
        // What comes after the handshake is read as frames.
        let detail = "the handshake of a WebSocket has no body";
        return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
    }
    if !context.access.origin_is_allowed(headers) {
        let detail =
            "pages of this origin may not connect; the hub's operator can allow it with --origin";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    // After the origin: a browser sends cookies along whichever page connects.
    let grant = context.admit(headers, address).await?;
    let room = context.hub.has_room_for(&grant);
    room.map_err(|limited| Problem::limited(&limited))?;
    channels.extend(grant.join.iter().map(|channel| channel.to_string()));
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .map(HeaderValue::as_bytes);
    // 16 bytes in Base64 (RFC 6455, 4.1). They are not decoded: only the text goes into the answer.
    let Some(key) = key.filter(|key| key.len() == 24 && key.ends_with(b"==")) else {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "Sec-WebSocket-Key is 16 bytes in Base64",
        ));
    };
    let offers = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let (subprotocol, encoding) = mount.negotiated(offers);
    let negotiated = Negotiated {
        encoding,
        // On a hub without a key everybody gets that grant, and nobody is trusted to send faster.
        with_key: grant.who == Who::Key && context.access.knows_somebody(),
        grant,
        channels,
        peer: context.peer.clone(),
    };
    Ok(Handshake {
        accept: accept_key(key),
        subprotocol,
        negotiated,
    })
}

/// Returns the answer 101, which makes the connection a WebSocket.
pub(super) fn switch(handshake: &Handshake) -> warp::reply::Response {
    let mut response = Response::new(Default::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    let accept =
        HeaderValue::from_str(&handshake.accept).expect("invariant: Base64 is a header's value");
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(name) = handshake.subprotocol {
        headers.insert(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(name),
        );
    }
    response
}

/// Waits until hyper has written the answer, and makes a handoff of the raw socket. Returns `None`
/// if the client has gone away before, or if that takes longer than `wait`.
pub(super) async fn handoff(
    upgrade: OnUpgrade,
    negotiated: Negotiated,
    wait: std::time::Duration,
) -> Option<Handoff> {
    let upgraded = timeout(wait, upgrade).await.ok()?.ok()?;
    let (stream, early) = raw(upgraded);
    Some(Handoff::Upgraded {
        stream,
        early,
        negotiated,
    })
}

/// Returns the TCP stream or the TLS connection under hyper's connection, and the bytes that hyper had read of it
/// already. The connection of another server, in an application that embeds the hub, is neither,
/// and is used as it is.
fn raw(upgraded: Upgraded) -> (Connection, Bytes) {
    let upgraded = match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => return (Connection::Here(parts.io.into_inner()), parts.read_buf),
        Err(upgraded) => upgraded,
    };
    match upgraded.downcast::<Secured>() {
        Ok(parts) => (Connection::Secured(parts.io), parts.read_buf),
        Err(upgraded) => (Connection::Foreign(upgraded), Bytes::new()),
    }
}

/// Returns true if a header that is a list names `wanted`, in upper or lower case.
fn names(headers: &HeaderMap, name: header::HeaderName, wanted: &str) -> bool {
    let values = headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().eq_ignore_ascii_case(wanted))
}

/// Returns the proof that this server understood the handshake (RFC 6455, 4.2.2). It is no secret
/// and protects nothing; SHA-1 is what the standard asks for.
fn accept_key(key: &[u8]) -> String {
    const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_key_is_that_of_the_standard() {
        let accept = accept_key(b"dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
