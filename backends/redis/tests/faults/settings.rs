//! What somebody changes at the server, or forbids, while an instance runs or before it starts.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use hubplane_backplane::{Driver, ErrorKind, Event};
use hubplane_redis::{DRIVER, STREAMS_DRIVER};
use tokio::time::sleep;
use tracing::{
    Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::set_default,
};

use crate::{
    next, open, publish,
    server::{KEPT, Server},
    told::Told,
};

/// Keeps the warnings of this test's thread.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<String>>);

struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, _: &Field, value: &dyn std::fmt::Debug) {
        writeln!(self.0, "{value:?}").unwrap();
    }
}

impl Warnings {
    fn count(&self, word: &str) -> usize {
        self.0.lock().unwrap().matches(word).count()
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut Line(&mut self.0.lock().unwrap()));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

fn streams(server: &Server, keys: &str) -> String {
    server.address().replace("redis:", "redis+streams:") + keys
}

#[tokio::test]
async fn a_setting_that_weakens_the_promises_is_looked_for_again() {
    let warnings = Warnings::default();
    let _guard = set_default(warnings.clone());
    let server = Server::start(KEPT);
    let told = Told::open(&streams(&server, "")).await;
    told.hears("a", "1").await;
    assert_eq!(
        warnings.count("append-only") + warnings.count("may evict"),
        0
    );
    server.ask(&["config", "set", "appendonly", "no"]);
    server.ask(&["config", "set", "maxmemory-policy", "allkeys-lru"]);
    for round in 1..=2 {
        server.ask(&["client", "kill", "type", "normal"]);
        told.until("up", |it| it.downs_and_ups() == "-+".repeat(round))
            .await;
        told.hears("a", &format!("back {round}")).await;
    }
    let noted = warnings.0.lock().unwrap().clone();
    assert_eq!(warnings.count("append-only"), 1, "{noted}");
    assert_eq!(warnings.count("may evict"), 1, "{noted}");
}

#[tokio::test]
async fn another_number_of_streams_is_noticed_under_a_running_instance() {
    let server = Server::start(KEPT);
    let told = Told::open(&streams(&server, "?streams=2")).await;
    told.hears("a", "1").await;
    let key = "hubplane:stream:{0}:streams";
    server.ask(&["set", key, "8"]);
    told.until("down", |it| it.downs_and_ups().starts_with('-'))
        .await;
    let error = told.publish("a", "where?").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("streams=8"), "{error}");
    let down = |event| matches!(event, Event::Down(reason) if reason.contains("streams=8"));
    assert!(told.events().into_iter().any(down));
    server.ask(&["set", key, "2"]);
    told.until("up", |it| it.downs_and_ups().ends_with('+'))
        .await;
    told.hears("a", "2").await;
    assert_eq!(told.gaps(), []);
}

#[tokio::test]
async fn what_redis_refuses_a_publish_for_is_said() {
    let warnings = Warnings::default();
    let _guard = set_default(warnings.clone());
    let server = Server::start(KEPT);
    let told = Told::open(&streams(&server, "")).await;
    told.hears("a", "1").await;
    server.ask(&["config", "set", "min-replicas-to-write", "1"]);
    for _ in 0..20 {
        let error = told.publish("a", "nowhere").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.message().contains("NOREPLICAS"), "{error}");
    }
    assert_eq!(warnings.count("NOREPLICAS"), 1, "few lines");
    server.ask(&["config", "set", "min-replicas-to-write", "0"]);
    told.hears("a", "2").await;
}

#[tokio::test]
async fn a_password_that_is_changed_becomes_the_reason() {
    let server = Server::start(&["user app on >s allchannels allkeys +@all"]);
    let address = server.address().replace("redis://", "redis://app:s@");
    let mut instance = open(&address).await;
    server.ask(&["acl", "setuser", "app", "resetpass", ">t"]);
    server.ask(&["client", "kill", "user", "app"]);
    let broken = next(&mut instance, 5).await;
    assert!(matches!(broken, Event::Down(_)), "{broken:?}");
    let wrong = next(&mut instance, 5).await;
    assert!(
        matches!(&wrong, Event::Down(reason) if reason.contains("password")),
        "{wrong:?}"
    );
    server.ask(&["acl", "setuser", "app", ">s"]);
    assert_eq!(next(&mut instance, 5).await, Event::Up);
    while publish(&instance.backplane, "a", b"").await.is_some() {
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_right_that_is_missing_at_the_start_is_named() {
    let all = "publish subscribe unsubscribe";
    let of_streams = "xadd xread xrange xlen xinfo get mget set watch unwatch multi exec time";
    let server = Server::start(&[]);
    let cases: [(&dyn Driver, &str, &str, usize); 2] = [
        // Leaving channels is not asked for at the start in a way that could fail.
        (&DRIVER, "redis", all, 2),
        (&STREAMS_DRIVER, "redis+streams", of_streams, usize::MAX),
    ];
    for (driver, scheme, rights, most) in cases {
        for missing in rights.split(' ').take(most) {
            let given = rights.split(' ').filter(|right| *right != missing);
            let given: Vec<_> = given.map(|right| format!("+{right}")).collect();
            let mut set = vec!["acl", "setuser", "app", "reset", "on", ">s", "&hubplane:*"];
            set.push("~hubplane:*");
            set.extend(given.iter().map(|right| &**right));
            server.ask(&set);
            let address = format!("{scheme}://app:s@{}", server.host());
            let opened = driver.open(&address.parse().unwrap()).await;
            let error = opened.expect_err(missing);
            assert_eq!(error.kind(), ErrorKind::Config, "{missing}: {error}");
            let text = error.to_string();
            assert!(text.contains(&format!("'{missing}")), "{missing}: {text}");
        }
    }
}
