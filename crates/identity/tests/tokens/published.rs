//! Keys that an issuer publishes at a URL.

use std::time::{Duration, Instant};

use hubplane_identity::token::{
    IssuerSettings, Issuers, JwksSettings, JwksState, KeyKind, KeysFrom, SigningKey,
    TokenError as E, generate,
};

use tokio::task::JoinSet;

use crate::{
    make::{encode, now, path, sign},
    server::{Answer, Server},
};

const HOUR: Duration = Duration::from_secs(3_600);
const CLAIMS: &str = r#"{"exp":2000000000,"sub":"ann"}"#;

/// A key pair with an id that a test chooses.
struct Pair {
    pem: String,
    kid: &'static str,
}

impl Pair {
    fn new(kid: &'static str) -> Self {
        let pem = generate(KeyKind::P256).unwrap();
        Self { pem, kid }
    }

    fn jwk(&self) -> String {
        let key = SigningKey::new(&self.pem).unwrap();
        let set = key
            .public_jwks()
            .unwrap()
            .replace(&key.id().unwrap(), self.kid);
        set.strip_prefix(r#"{"keys":["#)
            .unwrap()
            .strip_suffix("]}")
            .unwrap()
            .to_owned()
    }

    fn sign(&self, claims: &str) -> String {
        let header = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, self.kid);
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = sign("ES256", self.pem.as_bytes(), message.as_bytes());
        format!("{message}.{}", encode(signature))
    }
}

/// Fetches from a server, and after that never again by itself.
fn once(server: &Server) -> JwksSettings {
    let mut settings = JwksSettings::new(&server.url);
    settings.plain_loopback = true;
    settings.limits.refresh = HOUR;
    settings.limits.cooldown = HOUR;
    settings
}

fn issuers(settings: JwksSettings) -> Issuers {
    Issuers::new(vec![IssuerSettings::new(KeysFrom::Url(settings))]).unwrap()
}

fn verify(issuers: &Issuers, token: &str) -> Result<(), E> {
    issuers.verify(token, now()).map(|_| ())
}

async fn fetching(issuers: &Issuers, token: &str) -> Result<(), E> {
    issuers.verify_fetching(token, now()).await.map(|_| ())
}

/// Waits until the first issuer's keys are as wanted.
async fn until(issuers: &Issuers, wanted: impl Fn(&JwksState) -> bool) -> JwksState {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let state = issuers.published().remove(0);
        if wanted(&state) {
            return state;
        }
        assert!(Instant::now() < end, "{state:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_first_fetch_is_waited_for_and_is_the_only_one() {
    let key = Pair::new("a");
    let server = Server::start(Answer::keys(&[&key.jwk()]), false).await;
    let issuers = issuers(once(&server));
    let token = key.sign(CLAIMS);
    assert_eq!(
        verify(&issuers, &token),
        Err(E::KeysUnavailable),
        "nothing is fetched yet"
    );
    let _fetching = issuers.start();
    let mut waiting = JoinSet::new();
    for _ in 0..50 {
        let (issuers, token) = (issuers.clone(), token.clone());
        waiting.spawn(async move { fetching(&issuers, &token).await });
    }
    assert_eq!(waiting.join_all().await, vec![Ok(()); 50]);
    assert_eq!(verify(&issuers, &token), Ok(()));
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_new_key_is_fetched_when_a_token_names_it() {
    let (old, new) = (Pair::new("old"), Pair::new("new"));
    let server = Server::start(Answer::keys(&[&old.jwk()]), false).await;
    let mut settings = once(&server);
    settings.limits.cooldown = Duration::ZERO;
    let issuers = issuers(settings);
    let _fetching = issuers.start();
    assert_eq!(fetching(&issuers, &old.sign(CLAIMS)).await, Ok(()));
    server.answer(Answer::keys(&[&old.jwk(), &new.jwk()]));
    assert_eq!(verify(&issuers, &new.sign(CLAIMS)), Err(E::KeyNotThereYet));
    until(&issuers, |state| state.keys == 2).await;
    assert_eq!(verify(&issuers, &new.sign(CLAIMS)), Ok(()));
    assert_eq!(
        verify(&issuers, &old.sign(CLAIMS)),
        Ok(()),
        "both are good together"
    );
    server.answer(Answer::keys(&[&Pair::new("newer").jwk()]));
    assert_eq!(
        fetching(&issuers, &Pair::new("missing").sign(CLAIMS)).await,
        Err(E::KeyNotThereYet)
    );
    assert_eq!(
        fetching(&issuers, &old.sign(CLAIMS)).await,
        Err(E::KeyNotThereYet),
        "it was removed"
    );
}

#[tokio::test]
async fn a_key_without_an_id_may_be_replaced() {
    let (old, new) = (Pair::new(""), Pair::new(""));
    let without_id = |pair: &Pair| pair.jwk().replace(r#""kid":"","#, "");
    let server = Server::start(Answer::keys(&[&without_id(&old)]), false).await;
    let mut settings = once(&server);
    settings.limits.cooldown = Duration::ZERO;
    let issuers = issuers(settings);
    let _fetching = issuers.start();
    let sign = |pair: &Pair| {
        let message = format!("{}.{}", encode(r#"{"alg":"ES256"}"#), encode(CLAIMS));
        let signature = sign("ES256", pair.pem.as_bytes(), message.as_bytes());
        format!("{message}.{}", encode(signature))
    };
    assert_eq!(fetching(&issuers, &sign(&old)).await, Ok(()));
    server.answer(Answer::keys(&[&without_id(&new)]));
    assert_eq!(verify(&issuers, &sign(&new)), Err(E::SignatureWrong));
    until(&issuers, |_| verify(&issuers, &sign(&new)) == Ok(())).await;
}

#[tokio::test]
async fn made_up_key_ids_cause_one_request_per_cooldown() {
    let key = Pair::new("a");
    let server = Server::start(Answer::keys(&[&key.jwk()]), false).await;
    let mut settings = once(&server);
    settings.limits.cooldown = Duration::from_millis(200);
    let issuers = issuers(settings);
    let began = Instant::now();
    let _fetching = issuers.start();
    let other = Pair::new("b").sign(CLAIMS);
    let (_, rest) = other.split_once('.').unwrap();
    let mut kid = 0;
    while server.requests() < 4 {
        kid += 1;
        let header = encode(format!(r#"{{"alg":"ES256","kid":"{kid}"}}"#));
        assert!(verify(&issuers, &format!("{header}.{rest}")).is_err());
        assert!(began.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(
        began.elapsed() >= Duration::from_millis(600),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(verify(&issuers, &key.sign(CLAIMS)), Ok(()));
}

#[tokio::test]
async fn an_unknown_key_is_refused_at_once_after_a_fetch() {
    let server = Server::start(Answer::keys(&[&Pair::new("a").jwk()]), false).await;
    let issuers = issuers(once(&server));
    let _fetching = issuers.start();
    until(&issuers, |state| state.keys == 1).await;
    let token = Pair::new("b").sign(CLAIMS);
    for _ in 0..1_000 {
        assert_eq!(verify(&issuers, &token), Err(E::KeyUnknown));
        assert_eq!(fetching(&issuers, &token).await, Err(E::KeyUnknown));
    }
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_bad_answer_is_a_failure_with_a_reason() {
    let elsewhere = Server::start(Answer::keys(&[]), false).await;
    let key = Pair::new("a");
    let many = vec![&*key.jwk(); 65].join(",");
    let huge = format!(
        "{{\"keys\":[{}],\"x\":\"{}\"}}",
        key.jwk(),
        "x".repeat(256 * 1_024)
    );
    let secret = r#"{"kty":"oct","k":"dGhpcyBzZWNyZXQgaXMgZm9yIHRoZSB0ZXN0cyBvZiB0b2tlbnM"}"#;
    let moved = format!("302 Found\r\nlocation: {}", elsewhere.url);
    for (answer, why) in [
        (Answer::Status(moved), "redirects (302 Found)"),
        (Answer::Status("404 Not Found".to_owned()), "404"),
        (
            Answer::Status("500 Internal Server Error".to_owned()),
            "500",
        ),
        (Answer::Status("204 No Content".to_owned()), "204"),
        (Answer::Body(huge.into()), "longer than 262144 bytes"),
        (Answer::Body(vec![0xff; 100]), "not a text"),
        (Answer::Body(b"<html>".to_vec()), "not a JSON object"),
        (Answer::Body(b"{\"keys\":7}".to_vec()), "not a list"),
        (Answer::keys(&[]), "no key"),
        (Answer::keys(&[&many]), "more than 64 keys"),
        (Answer::keys(&[secret]), "must not be public"),
        (Answer::Truncated, "ends too early"),
        (Answer::Never, "no answer in 300 ms"),
    ] {
        let server = Server::start(answer, false).await;
        let mut settings = once(&server);
        settings.limits.timeout = Duration::from_millis(300);
        let issuers = issuers(settings);
        let _fetching = issuers.start();
        let state = until(&issuers, |state| state.failure.is_some()).await;
        assert!(
            state.failure.as_ref().unwrap().contains(why),
            "{why}: {state:?}"
        );
        assert_eq!(
            fetching(&issuers, &key.sign(CLAIMS)).await,
            Err(E::KeysUnavailable)
        );
        assert_eq!((server.requests(), elsewhere.requests()), (1, 0), "{why}");
    }
}

#[tokio::test]
async fn a_server_that_fails_leaves_the_keys_for_a_time() {
    let key = Pair::new("a");
    let server = Server::start(Answer::keys(&[&key.jwk()]), false).await;
    let mut settings = once(&server);
    settings.limits.refresh = Duration::from_millis(10);
    settings.limits.cooldown = Duration::from_millis(10);
    settings.limits.stale = Duration::from_secs(1);
    let issuers = issuers(settings);
    let _fetching = issuers.start();
    let token = key.sign(CLAIMS);
    assert_eq!(fetching(&issuers, &token).await, Ok(()));
    server.answer(Answer::Status("503 Service Unavailable".to_owned()));
    let failed = until(&issuers, |state| state.failure.is_some()).await;
    until(&issuers, |_| verify(&issuers, &token) != Ok(())).await;
    assert!(failed.fetched.unwrap().elapsed() >= Duration::from_secs(1));
    assert_eq!(verify(&issuers, &token), Err(E::KeysUnavailable));
    server.answer(Answer::keys(&[&key.jwk()]));
    until(&issuers, |state| state.failure.is_none()).await;
    assert_eq!(verify(&issuers, &token), Ok(()));
}

#[tokio::test]
async fn a_server_that_is_down_is_asked_again() {
    let key = Pair::new("a");
    let server = Server::start(Answer::keys(&[&key.jwk()]), false).await;
    let mut settings = once(&server);
    // Nobody listens at a port that was just given back.
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    settings.url = format!("http://{free}/keys?tenant=a");
    settings.limits.cooldown = Duration::from_millis(10);
    let issuers = issuers(settings);
    let _fetching = issuers.start();
    let state = until(&issuers, |state| state.failure.is_some()).await;
    assert!(state.failure.unwrap().contains("refused"));
    assert_eq!(verify(&issuers, &key.sign(CLAIMS)), Err(E::KeysUnavailable));
}

#[tokio::test]
async fn keys_come_through_tls_from_who_is_trusted() {
    let key = Pair::new("a");
    let server = Server::start(Answer::keys(&[&key.jwk()]), true).await;
    let mut settings = once(&server);
    settings.plain_loopback = false;
    settings.authorities = Some(format!("file:{}", path("authority.cert.pem")));
    let trusting = issuers(settings.clone());
    let _fetching = trusting.start();
    assert_eq!(fetching(&trusting, &key.sign(CLAIMS)).await, Ok(()));
    settings.authorities = Some(format!("file:{}", path("rsa.cert.pem")));
    let distrusting = issuers(settings.clone());
    let _fetching = distrusting.start();
    let state = until(&distrusting, |state| state.failure.is_some()).await;
    assert!(state.failure.unwrap().contains("certificate"));
    assert_eq!(server.requests(), 1);
    for (url, plain) in [
        ("http://127.0.0.1/keys", false),
        ("http://idp.example/keys", true),
        ("ftp://127.0.0.1/keys", true),
        ("https://user:password@idp.example/keys", true),
        ("127.0.0.1", true),
        ("", true),
    ] {
        url.clone_into(&mut settings.url);
        settings.plain_loopback = plain;
        let settings = IssuerSettings::new(KeysFrom::Url(settings.clone()));
        let error = Issuers::new(vec![settings]).unwrap_err();
        assert!(!error.contains("password@"), "{error}");
    }
}

#[tokio::test]
async fn two_tenants_with_one_key_id_do_not_mix() {
    let tenants = [Pair::new("1"), Pair::new("1")];
    let mut servers = Vec::new();
    let mut settings = Vec::new();
    for (tenant, name) in tenants.iter().zip(["a", "b"]) {
        let server = Server::start(Answer::keys(&[&tenant.jwk()]), false).await;
        settings.push(IssuerSettings {
            issuer: Some(name.to_owned()),
            ..IssuerSettings::new(KeysFrom::Url(once(&server)))
        });
        servers.push(server);
    }
    let issuers = Issuers::new(settings).unwrap();
    let _fetching = issuers.start();
    for (signer, own) in tenants.iter().zip(["a", "b"]) {
        for name in ["a", "b"] {
            let token = signer.sign(&format!(r#"{{"exp":2000000000,"iss":"{name}"}}"#));
            let expected = if name == own {
                Ok(())
            } else {
                Err(E::SignatureWrong)
            };
            assert_eq!(
                fetching(&issuers, &token).await,
                expected,
                "{own}'s key, {name}'s token"
            );
        }
    }
}
