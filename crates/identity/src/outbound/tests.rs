//! The outbound client against real servers, and against names whose addresses change.

use std::{net::SocketAddr, sync::atomic::Ordering};

use super::*;
use crate::test_server::{Certificate, Reply, Server, lookup_of};

const SOON: Duration = Duration::from_secs(20);

fn config(allow_private: bool) -> OutboundConfig {
    OutboundConfig {
        allow_private,
        ca: None,
        connect_timeout: SOON,
        answer_bytes: 1000,
        idle_connections: 4,
    }
}

async fn get(outbound: &Outbound, url: &str) -> Result<(u16, Bytes), OutboundError> {
    get_within(outbound, url, SOON).await
}

async fn get_within(
    outbound: &Outbound,
    url: &str,
    within: Duration,
) -> Result<(u16, Bytes), OutboundError> {
    let target = outbound.target(url).unwrap();
    let request = Request::new(Bytes::new());
    let answer = outbound.send(&target, request, within).await?;
    Ok((answer.status().as_u16(), answer.into_body()))
}

fn ok(text: &str) -> Reply {
    Reply::Answer(200, text.to_owned())
}

#[tokio::test]
async fn connections_are_kept_and_the_query_arrives() {
    let server = Server::start(|_, _| ok("yes")).await;
    let outbound = Outbound::new(&config(true)).unwrap();
    for _ in 0..3 {
        let answer = get(&outbound, &server.url("/a?b=c")).await.unwrap();
        assert_eq!(answer, (200, Bytes::from("yes")));
    }
    assert_eq!((server.count(), server.connections()), (3, 1));
    assert!(
        server.received()[0]
            .head
            .starts_with("GET /a?b=c HTTP/1.1\r\n")
    );
}

/// The test above once more, in a process whose environment names a proxy where nobody listens.
#[test]
fn proxies_of_the_environment_are_not_used() {
    let nobody = Server::url_of_nobody("/");
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again.args([
        "--exact",
        "outbound::tests::connections_are_kept_and_the_query_arrives",
    ]);
    for name in ["http_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        again.env(name, &nobody);
    }
    let output = String::from_utf8(again.output().unwrap().stdout).unwrap();
    assert!(output.contains("1 passed"), "{output}");
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let inner = Server::start(|_, _| ok("secret")).await;
    let location = format!(
        "HTTP/1.1 307 X\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n",
        inner.url("/")
    );
    let server = Server::start(move |_, _| Reply::Raw(location.clone().into_bytes())).await;
    let outbound = Outbound::new(&config(true)).unwrap();
    let answer = get(&outbound, &server.url("/")).await.unwrap();
    assert_eq!((answer.0, inner.connections()), (307, 0));
}

#[tokio::test]
async fn size_and_time_are_limited() {
    let outbound = Outbound::new(&config(true)).unwrap();
    let whole = Server::start(|number, _| ok(&"x".repeat(1000 + number))).await;
    assert_eq!(get(&outbound, &whole.url("/")).await.unwrap().1.len(), 1000);
    assert_eq!(
        get(&outbound, &whole.url("/")).await,
        Err(OutboundError::TooLarge)
    );

    let start = b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n";
    let endless = Server::start(|_, _| Reply::Endless(start, b"4\r\nabcd\r\n")).await;
    assert_eq!(
        get(&outbound, &endless.url("/")).await,
        Err(OutboundError::TooLarge)
    );

    let header = Server::start(|_, _| Reply::Endless(b"HTTP/1.1 200 X\r\n", b"a: b\r\n")).await;
    let error = get(&outbound, &header.url("/")).await.unwrap_err();
    assert!(matches!(error, OutboundError::Connection(_)), "{error}");

    let silent = Server::start(|_, _| Reply::Silence).await;
    let within = Duration::from_millis(50);
    assert_eq!(
        get_within(&outbound, &silent.url("/"), within).await,
        Err(OutboundError::Timeout)
    );
}

#[tokio::test]
async fn half_an_answer_and_none_are_failures_of_the_connection() {
    let outbound = Outbound::new(&config(true)).unwrap();
    for half in [
        "",
        "HTTP/1.1 200",
        "no HTTP at all\r\n\r\n",
        "HTTP/1.1 200 X\r\ncontent-length: 9\r\n\r\nhalf",
        "HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let server = Server::start(|_, _| Reply::Raw(half.as_bytes().to_vec())).await;
        let error = get(&outbound, &server.url("/")).await.unwrap_err();
        assert!(
            matches!(error, OutboundError::Connection(_)),
            "{half}: {error}"
        );
    }
    let url = Server::url_of_nobody("/");
    let error = get(&outbound, &url).await.unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn a_name_with_an_inner_address_is_refused_without_a_connection() {
    let server = Server::start(|_, _| ok("inner")).await;
    let url = format!("https://rebound.test:{}/", server.address.port());
    for addresses in [
        &["127.0.0.1"][..],
        &["1.1.1.1", "127.0.0.1"],
        &["::ffff:127.0.0.1"],
        &["169.254.169.254"],
    ] {
        let (lookup, _) = lookup_of(&[addresses]);
        let outbound = Outbound::with_lookup(&config(false), lookup).unwrap();
        let error = get(&outbound, &url).await.unwrap_err();
        assert!(
            matches!(&error, OutboundError::Refused(why) if why.starts_with("rebound.test is ")),
            "{error}"
        );
    }
    let (lookup, _) = lookup_of(&[&["127.0.0.1", "169.254.169.254"]]);
    let outbound = Outbound::with_lookup(&config(true), lookup).unwrap();
    let error = get(&outbound, &url).await.unwrap_err();
    assert!(error.to_string().contains("metadata"), "{error}");
    assert_eq!(server.connections(), 0);
}

/// The address that was checked is the one that is connected to, though the name has another one a
/// moment later.
#[tokio::test]
async fn a_name_is_looked_up_once_for_each_connection() {
    let first = Server::start(|_, _| ok("first")).await;
    let port = first.address.port();
    let other = SocketAddr::from(([127, 0, 0, 2], port));
    let other = Server::start_at(other, None, |_, _| ok("other")).await;
    let (lookup, asked) = lookup_of(&[&["127.0.0.1"], &["127.0.0.2"]]);
    let outbound = Outbound::with_lookup(&config(true), lookup).unwrap();
    let url = format!("http://rebound.test:{port}/");
    for _ in 0..2 {
        assert_eq!(get(&outbound, &url).await.unwrap().1, "first");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!((first.connections(), other.connections()), (1, 0));
}

#[tokio::test]
async fn a_server_must_show_the_certificate_of_its_name() {
    let certificate = Certificate::of("backend.test");
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::start_at(address, Some(&certificate), |_, _| ok("tls")).await;
    let port = server.address.port();
    let client = |ca: &Certificate| {
        let (lookup, _) = lookup_of(&[&["127.0.0.1"]]);
        let ca = Some(ca.file.clone());
        Outbound::with_lookup(&OutboundConfig { ca, ..config(true) }, lookup).unwrap()
    };
    let url = format!("https://backend.test:{port}/");
    let trusting = client(&certificate);
    assert_eq!(get(&trusting, &url).await.unwrap().1, "tls");
    let stranger = Certificate::of("backend.test");
    for (outbound, url) in [
        (&trusting, &format!("https://other.test:{port}/")),
        (&client(&stranger), &url),
    ] {
        let error = get(outbound, url).await.unwrap_err();
        assert!(error.to_string().contains("certificate"), "{error}");
    }
    assert_eq!(server.count(), 1);
}

#[test]
fn a_url_is_checked_and_its_secrets_are_not_shown() {
    let (strict, open) = (
        Outbound::new(&config(false)).unwrap(),
        Outbound::new(&config(true)).unwrap(),
    );
    for (url, why) in [
        ("http://backend.example/", "allow_private"),
        ("http://127.0.0.1/", "allow_private"),
        ("https://127.0.0.1/", "loopback"),
        ("https://[::1]:8443/", "loopback"),
        ("https://[::ffff:10.0.0.1]/", "mapped"),
        ("https://169.254.169.254/latest", "metadata"),
        ("https://ann:hidden@backend.example/", "credentials"),
        ("ftp://backend.example/", "scheme"),
        ("/hidden", "scheme and a host"),
        ("https://", "can't be read"),
    ] {
        let error = strict.target(url).unwrap_err();
        assert!(
            error.contains(why) && !error.contains("hidden"),
            "{url}: {error}"
        );
    }
    assert!(
        open.target("https://[fd00:ec2::254]/")
            .unwrap_err()
            .contains("metadata")
    );
    let target = open.target("http://10.0.0.1:8080/hidden?hidden").unwrap();
    assert_eq!(
        (format!("{target:?}"), target.origin()),
        ("http://10.0.0.1:8080".to_owned(), "http://10.0.0.1:8080")
    );
    let no_file = OutboundConfig {
        ca: Some("/no/such".into()),
        ..config(false)
    };
    assert!(
        Outbound::new(&no_file)
            .unwrap_err()
            .contains("ca = \"/no/such\"")
    );
    let no_pem = OutboundConfig {
        ca: Some("Cargo.toml".into()),
        ..config(false)
    };
    assert!(
        Outbound::new(&no_pem)
            .unwrap_err()
            .contains("no certificate")
    );
}
