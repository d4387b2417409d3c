//! Handshakes: what is agreed on, and what is refused.

use hubplane_hub::Limits;
use rustls::{ProtocolVersion, version};

use super::client::{Socket, config, connect, get, hub, trusting};

#[tokio::test]
async fn both_versions_carry_http_and_websockets() {
    let (server, authority) = hub("versions", Limits::default()).await;
    for (version, agreed) in [
        (&version::TLS12, ProtocolVersion::TLSv1_2),
        (&version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let open = || connect(server.address(), config(&authority, &[version]));
        let stream = open().await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(agreed));
        let answer = get(stream, "/live").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let mut socket = Socket::open(open().await.unwrap(), "c").await;
        socket.say(r#"{"type":"ping"}"#).await;
        assert_eq!(socket.hear().await.unwrap().1, r#"{"type":"pong"}"#);
    }
    let answer = get(trusting(&server, &authority).await, "/metrics").await;
    assert!(
        answer.contains("\nhubplane_tls_handshakes_failed_total 0\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn http_1_1_is_the_only_protocol_above_it() {
    let (server, authority) = hub("alpn", Limits::default()).await;
    let offering = |protocols: &[&str]| {
        let mut config = config(&authority, rustls::ALL_VERSIONS);
        config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        connect(server.address(), config)
    };
    let stream = offering(&["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let error = offering(&["h2"]).await.unwrap_err();
    assert!(
        error.to_string().contains("NoApplicationProtocol"),
        "{error}"
    );
    let stream = offering(&[]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), None);
    let answer = get(stream, "/metrics").await;
    assert!(
        answer.contains("\nhubplane_tls_handshakes_failed_total 1\n"),
        "{answer}"
    );
}
