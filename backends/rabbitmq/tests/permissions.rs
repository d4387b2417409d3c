//! What a user may not do is an error at the start that names it, and while the hub runs it reaches callers and the log.

#![allow(
    clippy::unwrap_used,
    reason = "a test says by failing what it did not get"
)]

mod broker;

use std::time::Duration;

use broker::{
    Logs, PATIENCE, aside, ctl, exchange, next, on_exchange, plain, publish, publish_at_last,
};
use hubplane_backplane::{Driver, ErrorKind, Event};
use hubplane_rabbitmq::{DRIVER, STREAMS_DRIVER};
use tokio::time::{Instant, sleep};

/// Names that are nobody's.
const NOTHING: &str = "^$";
const ALL: &str = ".*";

/// A user of one test.
async fn user(name: &str) {
    ctl(&format!("add_user {name} secret")).await;
}

async fn permit(user: &str, configure: &str, write: &str, read: &str) {
    ctl(&format!(
        "set_permissions {user} '{configure}' '{write}' '{read}'"
    ))
    .await;
}

fn address(driver: &dyn Driver, user: &str, exchange: &str) -> hubplane_backplane::Address {
    let base = plain().replace("guest:guest@", &format!("{user}:secret@"));
    let base = match driver.schemes()[0] {
        "amqp" => base,
        _ => base.replacen("://", "+streams://", 1),
    };
    on_exchange(&base, exchange).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_permission_is_named_at_the_start() {
    let exchange = exchange("may");
    user(&exchange).await;
    // So that all is there, and only the permission is missing.
    permit(&exchange, ALL, ALL, ALL).await;
    for driver in [&DRIVER as &dyn Driver, &STREAMS_DRIVER] {
        let opened = driver.open(&address(driver, &exchange, &exchange)).await;
        opened.unwrap().backplane.close().await;
    }
    let other = format!("^(?!{exchange}$).*$");
    for (configure, write, read, what) in [
        (NOTHING, ALL, ALL, "configure"),
        (ALL, NOTHING, ALL, "write"),
        (ALL, &other, ALL, "(permission write)"),
        (ALL, ALL, NOTHING, "read"),
    ] {
        permit(&exchange, configure, write, read).await;
        for driver in [&DRIVER as &dyn Driver, &STREAMS_DRIVER] {
            let opened = driver.open(&address(driver, &exchange, &exchange)).await;
            let error = opened.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{what}: {error}");
            let said = error.to_string();
            let (refused, needed) = said.split_once("; hubplane needs").unwrap();
            assert!(refused.contains(what), "{what}: {error}");
            assert!(
                needed.contains("refused for user"),
                "the broker's words: {error}"
            );
        }
    }
    ctl(&format!("delete_user {exchange}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_is_taken_away_is_the_answers_reason() {
    let logs = Logs::start();
    for driver in [&DRIVER as &dyn Driver, &STREAMS_DRIVER] {
        let exchange = exchange(&format!("taken-{}", driver.schemes()[0].len()));
        user(&exchange).await;
        permit(&exchange, ALL, ALL, ALL).await;
        let opened = driver.open(&address(driver, &exchange, &exchange)).await;
        let mut opened = opened.unwrap();
        publish(&opened.backplane, 0..1).await;
        permit(&exchange, ALL, NOTHING, ALL).await;
        let said = format!("access to exchange '{exchange}'");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = opened.backplane.publish(vec![aside()]).await.remove(0);
            if let Err(error) = answer
                && error.kind() == ErrorKind::Unavailable
                && error.to_string().contains(&said)
            {
                break;
            }
            assert!(Instant::now() < deadline, "the reason is answered");
            // RabbitMQ asks for the permission again once a channel has been idle.
            sleep(Duration::from_secs(3)).await;
        }
        sleep(Duration::from_secs(3)).await;
        assert_eq!(
            logs.count(&["lapin"]),
            0,
            "said by the backend, not by its library"
        );
        let lines = logs.count(&["nothing can be published", &said]);
        assert!((1..=2).contains(&lines), "{lines} lines");
        permit(&exchange, ALL, ALL, ALL).await;
        publish_at_last(&opened.backplane, 1).await;

        // And what Down says, once nothing can be read again.
        permit(&exchange, ALL, ALL, NOTHING).await;
        opened.backplane.renew();
        loop {
            match next(&mut opened.events).await {
                Event::Down(why) if why.contains("(permission") => break,
                Event::Up => panic!("nothing can be read"),
                _ => {}
            }
        }
        permit(&exchange, ALL, ALL, ALL).await;
        while next(&mut opened.events).await != Event::Up {}
        opened.backplane.close().await;
        ctl(&format!("delete_user {exchange}")).await;
    }
}
