//! A new certificate while clients are connected.

use std::{fs, sync::Arc, time::Duration};

use hubplane_hub::Limits;
use tokio::time::{Instant, sleep};

use super::{
    authority::{Authority, GOOD, replace},
    client::{PATIENCE, Socket, get, hub, trusting},
};

#[tokio::test]
async fn a_new_certificate_is_for_new_clients_and_drops_none() {
    let (server, authority) = hub("reload", Limits::default()).await;
    let mut sockets = Vec::new();
    for _ in 0..200 {
        sockets.push(Socket::open(trusting(&server, &authority).await, "c").await);
    }
    let served = async || {
        let stream = trusting(&server, &authority).await;
        let chain = stream.get_ref().1.peer_certificates().unwrap();
        chain[0].to_vec()
    };
    let old = served().await;
    let new = authority.write(GOOD);
    assert_ne!(old, new);
    let start = Instant::now();
    while served().await != new {
        assert!(start.elapsed() < PATIENCE, "the new certificate is served");
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(server.hub().session_count(), 200);
    for socket in &mut sockets {
        socket.say(r#"{"type":"ping"}"#).await;
        assert_eq!(socket.hear().await.unwrap().1, r#"{"type":"pong"}"#);
    }
    let answer = get(trusting(&server, &authority).await, "/live").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn broken_files_are_told_once_and_change_nothing() {
    let authority = Authority::new();
    authority.write(GOOD);
    let tls = authority.load().unwrap();
    let first = tls.config();
    assert_eq!(tls.look(), None, "nothing is new");
    let told = |what: &str| {
        let error = tls.look().unwrap().unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
        assert_eq!(tls.look(), None, "an error is told once");
        assert!(Arc::ptr_eq(&first, &tls.config()), "the old one is served");
    };
    replace(&authority.key(), "half a");
    told("tls.key");
    fs::remove_file(authority.certificate()).unwrap();
    told("tls.crt");
    authority.write(GOOD);
    assert_eq!(tls.look(), Some(Ok(())));
    assert!(!Arc::ptr_eq(&first, &tls.config()), "the new one is served");
}

#[test]
fn a_reload_by_hand_says_what_is_wrong() {
    let authority = Authority::new();
    authority.write(GOOD);
    let tls = authority.load().unwrap();
    assert_eq!(tls.reload(), Ok(()));
    replace(&authority.key(), "");
    let error = tls.reload().unwrap_err().to_string();
    assert!(error.contains("tls.key"), "{error}");
    authority.write(GOOD);
    assert_eq!(tls.reload(), Ok(()));
    let shown = format!("{tls:?}");
    assert!(
        shown.contains("tls.crt") && !shown.contains("BEGIN"),
        "{shown}"
    );
}
