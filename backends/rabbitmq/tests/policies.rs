//! An operator's policies that match this instance's queues: seen at the start, and nothing is lost in silence.

#![allow(
    clippy::unwrap_used,
    reason = "a test says by failing what it did not get"
)]

mod broker;

use std::time::Duration;

use broker::{
    Logs, Told, behind_a_relay, ctl, exchange, next, on_exchange, open, outside, plain, publish,
};
use hubplane_backplane::{Driver, ErrorKind, Event, GapCause, Opened, Outgoing, Start};
use hubplane_rabbitmq::STREAMS_DRIVER;
use lapin::options::ExchangeDeleteOptions;
use tokio::time::{sleep, timeout};

/// A policy for the queues of one exchange; other tests use the same broker.
async fn set_policy(exchange: &str, definition: &str) {
    ctl(&format!(
        "set_policy {exchange} '^hubplane\\.{exchange}\\.' '{definition}' --apply-to queues"
    ))
    .await;
}

async fn clear_policy(exchange: &str) {
    ctl(&format!("clear_policy {exchange}")).await;
}

/// Takes what is there, until nothing has come for a while.
async fn drain(opened: &mut Opened, told: &mut Told) {
    while let Ok(Some(event)) = timeout(Duration::from_secs(2), opened.events.recv()).await {
        told.event(event);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_cuts_the_queue_is_named_and_what_it_drops_is_a_gap() {
    let logs = Logs::start();
    let exchange = exchange("length");
    set_policy(
        &exchange,
        r#"{"max-length":1,"overflow":"reject-publish","dead-letter-exchange":"amq.fanout"}"#,
    )
    .await;
    let mut slow = open(&on_exchange(&plain(), &exchange)).await;
    let other = open(&on_exchange(&plain(), &exchange)).await;
    let said = format!("hubplane.{exchange}.");
    assert_eq!(logs.count(&[&said, "max-length", "messages=1"]), 2);
    // More than the event queue and the prefetch hold.
    publish(&other.backplane, 0..20_000).await;
    let mut told = Told::default();
    drain(&mut slow, &mut told).await;
    publish(&other.backplane, 20_000..20_001).await;
    told.until(&mut slow.events, 20_000).await;
    assert!(told.numbers.len() < 20_001, "the queue was cut");
    assert!(!told.gaps.is_empty());
    assert!(told.gaps.iter().all(|cause| *cause == GapCause::Overflow));
    assert_eq!(told.downs, 0);
    assert_eq!(logs.count(&[&said, "max-length", "messages=1"]), 2, "once");
    slow.backplane.close().await;
    other.backplane.close().await;
    clear_policy(&exchange).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_ages_messages_costs_a_healthy_instance_nothing() {
    let logs = Logs::start();
    let exchange = exchange("ttl");
    set_policy(&exchange, r#"{"message-ttl":1000}"#).await;
    let (relay, mut hurt) = behind_a_relay(&exchange, "").await;
    let other = open(&on_exchange(&plain(), &exchange)).await;
    let mut told = Told::default();
    for number in 0..40 {
        publish(&other.backplane, number..number + 1).await;
        sleep(Duration::from_millis(125)).await;
    }
    told.until(&mut hurt.events, 39).await;
    assert_eq!((told.gaps.len(), told.downs), (0, 0));
    let said = format!("hubplane.{exchange}.");
    assert_eq!(logs.count(&[&said, "message-ttl"]), 2, "each instance once");
    // Away for longer than messages are kept.
    relay.cut();
    publish(&other.backplane, 40..50).await;
    sleep(Duration::from_millis(2_500)).await;
    relay.mend();
    told.until_up(&mut hurt.events).await;
    publish(&other.backplane, 50..60).await;
    told.until(&mut hurt.events, 59).await;
    assert_eq!(told.gaps.len(), 1);
    hurt.backplane.close().await;
    other.backplane.close().await;
    clear_policy(&exchange).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_grow_too_old_under_a_slow_hub_are_a_gap() {
    let exchange = exchange("old");
    let mut slow = open(&on_exchange(&plain(), &exchange)).await;
    let other = open(&on_exchange(&plain(), &exchange)).await;
    let mut told = Told::default();
    // Set while the instance runs.
    set_policy(&exchange, r#"{"message-ttl":500}"#).await;
    // In portions: the broker has a time to confirm each, and a busy machine is slow.
    for start in (0..20_000).step_by(1_000) {
        publish(&other.backplane, start..start + 1_000).await;
    }
    sleep(Duration::from_secs(2)).await;
    drain(&mut slow, &mut told).await;
    publish(&other.backplane, 20_000..20_001).await;
    told.until(&mut slow.events, 20_000).await;
    assert!(told.numbers.len() < 20_001, "messages were dropped");
    assert!(!told.gaps.is_empty());
    assert!(told.gaps.iter().all(|cause| *cause == GapCause::Overflow));
    slow.backplane.close().await;
    other.backplane.close().await;
    clear_policy(&exchange).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_deletes_unused_queues_is_named() {
    let logs = Logs::start();
    let exchange = exchange("unused");
    set_policy(&exchange, r#"{"expires":1000}"#).await;
    let mut opened = open(&on_exchange(&plain(), &exchange)).await;
    let mut told = Told::default();
    publish(&opened.backplane, 0..10).await;
    sleep(Duration::from_secs(6)).await;
    publish(&opened.backplane, 10..20).await;
    told.until(&mut opened.events, 19).await;
    assert_eq!((told.gaps.len(), told.downs), (0, 0));
    let said = format!("hubplane.{exchange}.");
    assert_eq!(logs.count(&[&said, "(expires)"]), 1);
    opened.backplane.close().await;
    clear_policy(&exchange).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_shortens_a_stream_is_named_and_what_is_gone_is_told() {
    let logs = Logs::start();
    let exchange = exchange("forgetful");
    let base = plain().replacen("://", "+streams://", 1);
    let address = on_exchange(&base, &exchange) + "&segment-bytes=100000";
    let opened = STREAMS_DRIVER.open(&address.parse().unwrap()).await;
    let mut opened = opened.unwrap();
    publish(&opened.backplane, 0..1).await;
    let position = loop {
        if let Event::Published(messages) = next(&mut opened.events).await {
            break messages[0].position.unwrap();
        }
    };
    set_policy(&exchange, r#"{"max-length-bytes":200000}"#).await;
    for _ in 0..100 {
        let filler = Outgoing::new("filler", vec![0; 20_000]);
        let filled = opened.backplane.publish(vec![filler]).await.remove(0);
        filled.unwrap();
    }
    drain_all(&mut opened).await;
    for _ in 0..2 {
        opened.backplane.renew();
        loop {
            match next(&mut opened.events).await {
                Event::Up => break,
                Event::Gap { scope, cause } => panic!("{scope:?} {cause}"),
                _ => {}
            }
        }
    }
    let said = format!("hubplane.{exchange}.stream");
    assert_eq!(logs.count(&[&said, "max-length-bytes"]), 1, "once");
    let history = opened.backplane.history().unwrap();
    let lost = history.scan(0, Start::After(position), 10).await;
    assert_eq!(lost.unwrap_err().kind(), ErrorKind::PositionLost);
    opened.backplane.close().await;
    clear_policy(&exchange).await;
}

/// Takes all events that are there.
async fn drain_all(opened: &mut Opened) {
    while timeout(Duration::from_secs(2), opened.events.recv())
        .await
        .is_ok()
    {}
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_exchange_for_dropped_messages_the_queue_is_made_anew() {
    let exchange = exchange("blind");
    let mut opened = open(&on_exchange(&plain(), &exchange)).await;
    let mut told = Told::default();
    publish(&opened.backplane, 0..10).await;
    told.until(&mut opened.events, 9).await;
    let (_connection, channel) = outside().await;
    let (lost, options) = (format!("{exchange}.lost"), ExchangeDeleteOptions::default());
    let deleted = channel.exchange_delete(lost.as_str().into(), options);
    deleted.await.unwrap();
    told.until_up(&mut opened.events).await;
    assert_eq!(told.gaps, [GapCause::QueueLost]);
    publish(&opened.backplane, 10..20).await;
    told.until(&mut opened.events, 19).await;
    opened.backplane.close().await;
}
