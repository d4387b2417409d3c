//! Backends that are slow, away, or answer nonsense: what is tried again, and when nobody asks any more.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

const PAUSE: Duration = Duration::from_secs(5);

fn failed(result: Result<Answer, EndpointError>) -> String {
    let error = result.unwrap_err();
    let text = error.to_string();
    let Failure::Failed(how) = error.failure else {
        panic!("{text}")
    };
    assert!(
        text.starts_with("the endpoint http://127.0.0.1:") && !text.contains("/connect"),
        "{text}"
    );
    how
}

/// Lets time pass, with the clock that the breaker reads.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn what_another_try_would_not_change_is_asked_once() {
    let inner = Server::start(|_, _| allow()).await;
    let location = inner.url("/connect");
    let redirect = format!("HTTP/1.1 308 X\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
    for (reply, how) in [
        (Reply::Answer(404, String::new()), "status 404"),
        (Reply::Answer(200, "<html>".to_owned()), "no JSON"),
        (
            Reply::Answer(200, r#"{"alow":true}"#.to_owned()),
            "line 1 column",
        ),
        (
            Reply::Answer(200, "x".repeat(64 * 1024 + 1)),
            "answer_bytes",
        ),
        (
            Reply::Endless(
                b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n",
                b"1\r\n \r\n",
            ),
            "answer_bytes",
        ),
        (Reply::Raw(redirect.clone().into_bytes()), "status 308"),
    ] {
        let server = Server::start(move |_, _| reply.clone()).await;
        let said = failed(connect(&endpoint(&config(&server))).await);
        assert!(said.contains(how), "{said}");
        assert_eq!(server.count(), 1, "{how}");
    }
    assert_eq!(inner.connections(), 0);
}

#[tokio::test]
async fn what_another_try_may_change_is_asked_twice() {
    let half = b"HTTP/1.1 200 X\r\ncontent-length: 14\r\n\r\n{\"allow\"".to_vec();
    for first in [
        Reply::Answer(500, String::new()),
        Reply::Answer(503, r#"{"allow":true}"#.to_owned()),
        Reply::Raw(Vec::new()),
        Reply::Raw(half),
    ] {
        let bad = first.clone();
        let server =
            Server::start(move |number, _| if number == 0 { bad.clone() } else { allow() }).await;
        let answer = connect(&endpoint(&config(&server))).await;
        assert!(
            matches!(answer, Ok(Answer::Allowed(_))),
            "{first:?}: {answer:?}"
        );
        let received = server.received();
        assert_eq!(received.len(), 2, "{first:?}");
        assert_eq!(received[0].body, received[1].body);
        received.iter().for_each(|request| _ = signed_at(request));

        let server = Server::start(move |_, _| first.clone()).await;
        failed(connect(&endpoint(&config(&server))).await);
        assert_eq!(server.count(), 2, "no third try");
    }
}

#[tokio::test]
async fn a_backend_that_is_away_or_at_a_refused_address_fails() {
    let url = Some(Secret::new(Server::url_of_nobody("/connect")));
    let server = Server::start(|_, _| allow()).await;
    let away = endpoint(&EndpointConfig {
        connect: url,
        ..config(&server)
    });
    assert!(failed(connect(&away).await).contains("connection"));

    let url = format!("https://rebound.test:{}/", server.address.port());
    let strict = EndpointConfig {
        connect: Some(Secret::new(url)),
        subscribe: None,
        allow_private: false,
        ..config(&server)
    };
    let (lookup, asked) = lookup_of(&[&["1.1.1.1", "127.0.0.1"]]);
    let outbound = Outbound::with_lookup(&strict.outbound(), lookup).unwrap();
    let endpoint =
        Endpoint::with_parts(&strict, outbound, SigningKey::new(SECRET).unwrap()).unwrap();
    let error = connect(&endpoint).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("refused: rebound.test is a loopback address"),
        "{error}"
    );
    assert_eq!(
        (asked.load(Ordering::SeqCst), server.connections()),
        (1, 0),
        "no second try"
    );
}

#[tokio::test]
async fn both_tries_have_one_time_limit() {
    let each = Duration::from_millis(150);
    let server = Server::start(move |number, _| match number {
        0 => Reply::After(each, 500, String::new()),
        1 => Reply::After(each, 200, r#"{"allow":true}"#.to_owned()),
        _ => Reply::Silence,
    })
    .await;
    let timeout = Duration::from_millis(200);
    let endpoint = endpoint(&EndpointConfig {
        timeout,
        ..config(&server)
    });
    for most in [2, 3] {
        let said = failed(connect(&endpoint).await);
        assert_eq!(said, "it did not answer within 200ms (timeout)");
        assert!(
            server.count() <= most,
            "a timeout leaves no time for a second try"
        );
    }
}

#[tokio::test]
async fn after_failures_in_a_row_nobody_asks_until_a_trial_finds_it_well() {
    let well = Arc::new(AtomicBool::new(false));
    let is_well = Arc::clone(&well);
    let server = Server::start(move |_, request| {
        match is_well.load(Ordering::SeqCst) || request.head.contains("/subscribe") {
            true => allow(),
            false => Reply::Answer(404, String::new()),
        }
    })
    .await;
    for (open, go_on) in [(Open::Refuse, false), (Open::Keep, true)] {
        well.store(false, Ordering::SeqCst);
        let before = server.count();
        let endpoint = endpoint(&EndpointConfig {
            open,
            ..config(&server)
        });
        let paused = async || {
            let error = connect(&endpoint).await.unwrap_err();
            assert_eq!(
                (&error.failure, error.sessions_go_on),
                (&Failure::Paused, go_on),
                "{error}"
            );
            assert!(!error.retry_after.is_zero() && error.retry_after <= PAUSE);
        };
        for _ in 0..5 {
            failed(connect(&endpoint).await);
        }
        paused().await;
        let other = endpoint
            .ask(question(Wish::Subscribe { channel: "c" }))
            .await;
        assert!(
            matches!(other, Ok(Answer::Allowed(_))),
            "another URL is still asked"
        );
        assert_eq!(server.count() - before, 6);

        pass(PAUSE).await;
        failed(connect(&endpoint).await);
        paused().await;
        assert_eq!(server.count() - before, 7, "one trial, not five");

        well.store(true, Ordering::SeqCst);
        pass(PAUSE).await;
        for _ in 0..3 {
            assert!(connect(&endpoint).await.is_ok());
        }
        assert_eq!(server.count() - before, 10);
    }
}

/// Refusals are answers: a backend that refuses everybody is well.
#[tokio::test]
async fn refusals_do_not_count_as_failures() {
    let server = Server::start(|_, _| Reply::Answer(403, String::new())).await;
    let endpoint = endpoint(&config(&server));
    for _ in 0..20 {
        assert!(matches!(
            connect(&endpoint).await,
            Ok(Answer::Refused { .. })
        ));
    }
}
