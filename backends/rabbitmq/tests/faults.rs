//! The broker out of order: frozen, short of memory, restarted, killed; and connections that it refuses.

#![allow(
    clippy::unwrap_used,
    reason = "a test says by failing what it did not get"
)]

mod broker;

use std::time::Duration;

use broker::{
    CONTROL, Told, aside, behind_a_relay, ctl, exchange, next, on_exchange, open, outside, plain,
    publish, publish_at_last,
};
use hubplane_backplane::{Driver, ErrorKind, GapCause};
use hubplane_conformance::{Control, required};
use hubplane_rabbitmq::DRIVER;
use lapin::{
    ExchangeKind,
    options::{ExchangeDeclareOptions, ExchangeDeleteOptions},
};
use tokio::{sync::RwLock, time::Instant};

/// Tests that hurt the whole broker hold it alone.
static BROKER: RwLock<()> = RwLock::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_spoken_and_the_name_is_checked() {
    let _broker = BROKER.read().await;
    let tls = required("HUBPLANE_TEST_RABBITMQ_TLS");
    let mut opened = open(&on_exchange(&tls, &exchange("tls"))).await;
    publish(&opened.backplane, 0..10).await;
    Told::default().until(&mut opened.events, 9).await;
    opened.backplane.close().await;
    let untrusted = tls.split("?ca=").next().unwrap().to_owned();
    let plain_port = plain()
        .replace("amqp://", "amqps://")
        .replace("127.0.0.1", "localhost");
    let ca = tls.split("?ca=").nth(1).unwrap();
    for wrong in [
        tls.replace("localhost", "127.0.0.1"),
        untrusted,
        format!("{plain_port}?ca={ca}"),
    ] {
        let error = DRIVER.open(&wrong.parse().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{wrong}: {error}");
        assert!(!error.to_string().contains("guest:guest"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_broker_is_noticed() {
    let _broker = BROKER.read().await;
    let exchange = exchange("frozen");
    let (relay, mut hurt) = behind_a_relay(&exchange, "").await;
    let other = open(&on_exchange(&plain(), &exchange)).await;
    let mut told = Told::default();
    publish(&hurt.backplane, 0..10).await;
    told.until(&mut hurt.events, 9).await;

    relay.freeze();
    let frozen = Instant::now();
    let answer = hurt.backplane.publish(vec![aside()]).await.remove(0);
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::Unknown);
    assert!(frozen.elapsed() < Duration::from_secs(5));
    while told.downs == 0 {
        told.event(next(&mut hurt.events).await);
    }
    assert!(
        frozen.elapsed() < Duration::from_secs(5),
        "{:?}",
        frozen.elapsed()
    );
    let asked = Instant::now();
    let answer = hurt.backplane.publish(vec![aside()]).await.remove(0);
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(asked.elapsed() < Duration::from_millis(200), "said at once");
    publish(&other.backplane, 10..20).await;

    relay.mend();
    told.until(&mut hurt.events, 19).await;
    assert_eq!((told.gaps.len(), told.downs), (0, 1));
    hurt.backplane.close().await;
    other.backplane.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_broker_is_unavailable_and_still_read() {
    let _broker = BROKER.write().await;
    let mut opened = open(&on_exchange(&plain(), &exchange("blocked"))).await;
    let mut told = Told::default();
    publish(&opened.backplane, 0..10).await;
    ctl("set_vm_memory_high_watermark absolute 1MB").await;
    let mut unavailable = 0;
    for number in 0..3 {
        let asked = Instant::now();
        let answer = opened.backplane.publish(vec![aside()]).await.remove(0);
        assert!(asked.elapsed() < Duration::from_secs(5), "{number}");
        match answer.unwrap_err().kind() {
            ErrorKind::Unavailable => unavailable += 1,
            kind => assert_eq!((kind, number), (ErrorKind::Unknown, 0)),
        }
    }
    assert!(unavailable >= 2);
    told.until(&mut opened.events, 9).await;
    let closing = open_while_blocked_then_close(&exchange("alarm")).await;
    ctl("set_vm_memory_high_watermark absolute 1GB").await;
    closing.unwrap();
    publish_at_last(&opened.backplane, 10).await;
    let closed = Instant::now();
    opened.backplane.close().await;
    assert!(closed.elapsed() < Duration::from_secs(5));
}

/// The alarm must be taken back before anything may panic.
async fn open_while_blocked_then_close(exchange: &str) -> Result<(), String> {
    let address = on_exchange(&plain(), exchange).parse().unwrap();
    let opened = DRIVER
        .open(&address)
        .await
        .map_err(|error| error.to_string())?;
    let _ = opened.backplane.publish(vec![aside()]).await;
    let asked = Instant::now();
    opened.backplane.close().await;
    match asked.elapsed() {
        long if long > Duration::from_secs(5) => Err(format!("close took {long:?}")),
        _ => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_broker_is_a_gap() {
    let _broker = BROKER.write().await;
    let control = Control::from_env(CONTROL);
    let exchange = exchange("restart");
    let mut opened = open(&on_exchange(&plain(), &exchange)).await;
    let mut told = Told::default();
    publish(&opened.backplane, 0..10).await;
    told.until(&mut opened.events, 9).await;
    control.stop().await;
    control.start().await;
    told.until_up(&mut opened.events).await;
    assert_eq!(told.gaps, [GapCause::QueueLost]);
    publish_at_last(&opened.backplane, 10).await;
    told.until(&mut opened.events, 10).await;
    opened.backplane.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_refuses_is_said_with_advice() {
    let _broker = BROKER.read().await;
    let exchange = exchange("kind");
    let (_connection, channel) = outside().await;
    let (kind, options) = (ExchangeKind::Topic, ExchangeDeclareOptions::default());
    let declared = channel.exchange_declare(
        exchange.as_str().into(),
        kind,
        options,
        lapin::types::FieldTable::default(),
    );
    declared.await.unwrap();
    for (address, advice) in [
        (
            on_exchange(&plain(), &exchange),
            "delete it, or name another",
        ),
        (plain().replace(":guest@", ":wrong@"), "the password"),
        (plain() + "/nowhere", "virtual host"),
    ] {
        let error = DRIVER.open(&address.parse().unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains(advice), "{error}");
        assert!(!error.to_string().contains("wrong"), "{error}");
    }
    let asked = Instant::now();
    let absent = "amqp://127.0.0.1:1".parse().unwrap();
    let error = DRIVER.open(&absent).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(asked.elapsed() < Duration::from_secs(5));
    let options = ExchangeDeleteOptions::default();
    channel
        .exchange_delete(exchange.as_str().into(), options)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_confirmed_arrives_or_lies_in_a_gap_when_the_broker_is_killed() {
    let _broker = BROKER.write().await;
    let control = Control::from_env(CONTROL);
    let exchange = exchange("kill");
    let mut reader = open(&on_exchange(&plain(), &exchange)).await;
    let writer = open(&on_exchange(&plain(), &exchange)).await;
    let mut told = Told::default();
    let backplane = std::sync::Arc::clone(&writer.backplane);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let writing = tokio::spawn(async move {
        let mut number = 0;
        while stopped.is_empty() {
            publish_at_last(&backplane, number).await;
            number += 1;
        }
        number
    });
    for _ in 0..2 {
        let start = told.numbers.last().map_or(0, |last| last + 1);
        told.until(&mut reader.events, start + 500).await;
        told.gap = false;
        control.kill().await;
        control.start().await;
        told.until_up(&mut reader.events).await;
    }
    let start = told.numbers.last().map_or(0, |last| last + 1);
    told.until(&mut reader.events, start + 500).await;
    stop.send(()).unwrap();
    let count = writing.await.unwrap();
    told.until(&mut reader.events, count - 1).await;
    assert_eq!(told.gaps, [GapCause::QueueLost; 2]);
    reader.backplane.close().await;
    writer.backplane.close().await;
}
