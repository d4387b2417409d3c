//! The stream's own tests: reading anew, another log, other settings, TLS.

#![allow(clippy::unwrap_used)]

mod broker;

use std::time::Duration;

use broker::{Relay, exchange, message, next, on_exchange, outside, plain};
use hubplane_backplane::{
    Address, Driver, ErrorKind, Event, Events, GapCause, Opened, Outgoing, Position, Scope, Start,
};
use hubplane_conformance::required;
use hubplane_rabbitmq::STREAMS_DRIVER;

fn address(base: &str, exchange: &str) -> Address {
    let base = base.replacen("://", "+streams://", 1);
    on_exchange(&base, exchange).parse().unwrap()
}

async fn open(exchange: &str) -> Opened {
    STREAMS_DRIVER
        .open(&address(&plain(), exchange))
        .await
        .unwrap()
}

/// The numbers up to `last`, and the gaps.
async fn until(events: &mut Events, last: usize) -> (Vec<usize>, Vec<Event>, Option<Position>) {
    let (mut numbers, mut gaps, mut at) = (Vec::new(), Vec::new(), None);
    while numbers.last() != Some(&last) {
        match next(events).await {
            Event::Published(messages) => {
                for message in messages {
                    numbers.push(str::from_utf8(&message.data).unwrap().parse().unwrap());
                    at = message.position;
                }
            }
            gap @ Event::Gap { .. } => gaps.push(gap),
            _ => {}
        }
    }
    (numbers, gaps, at)
}

#[tokio::test(flavor = "multi_thread")]
async fn read_anew_each_message_comes_once_and_in_order() {
    let Opened {
        backplane,
        mut events,
    } = open(&exchange("renew")).await;
    let publisher = std::sync::Arc::clone(&backplane);
    let publishing = tokio::spawn(async move {
        for number in 0..1_000 {
            for answer in publisher.publish(vec![message(number)]).await {
                answer.unwrap();
            }
            if number % 250 == 100 {
                publisher.renew();
            }
        }
    });
    let (numbers, gaps, _) = until(&mut events, 999).await;
    assert_eq!(numbers, (0..1_000).collect::<Vec<_>>());
    assert_eq!(gaps, []);
    publishing.await.unwrap();
    backplane.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_stall_in_one_direction_each_message_comes_once() {
    let exchange = exchange("stall");
    let target = plain();
    let relay = Relay::before(target.rsplit('@').next().unwrap(), None).await;
    let behind = address(&relay.address(), &exchange);
    let mut hurt = STREAMS_DRIVER.open(&behind).await.unwrap();
    let other = open(&exchange).await;
    let mut sent = 0;
    let (mut heard, mut gaps) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        for stalled in [false, true, false] {
            if stalled {
                relay.hold_up();
            } else {
                relay.mend();
            }
            for _ in 0..400 {
                // Neither with an id nor with a number: its position tells.
                let plain = Outgoing::new("news", sent.to_string());
                let answers = other.backplane.publish(vec![plain]).await;
                assert!(answers[0].is_ok());
                sent += 1;
                tokio::time::sleep(Duration::from_millis(8)).await;
            }
        }
        let (numbers, more, _) = until(&mut hurt.events, sent - 1).await;
        heard.extend(numbers);
        gaps.extend(more);
    }
    assert_eq!(heard, (0..sent).collect::<Vec<_>>());
    assert_eq!(gaps, []);
    hurt.backplane.close().await;
    other.backplane.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_log_is_another_epoch_and_a_gap() {
    let exchange = exchange("replaced");
    let Opened {
        backplane,
        mut events,
    } = open(&exchange).await;
    broker::publish(&backplane, 0..3).await;
    let (_, _, before) = until(&mut events, 2).await;
    let (connection, outside) = outside().await;
    let stream = format!("hubplane.{exchange}.stream");
    outside
        .queue_delete(stream.as_str().into(), Default::default())
        .await
        .unwrap();
    connection.close(200, "done".into()).await.unwrap();
    while next(&mut events).await != Event::Up {}
    broker::publish_at_last(&backplane, 3).await;
    let (_, _, after) = until(&mut events, 3).await;
    let (before, after) = (before.unwrap(), after.unwrap());
    assert_ne!(before.epoch, after.epoch);
    let history = backplane.history().unwrap();
    let lost = history.scan(0, Start::After(before), 10).await.unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::PositionLost);
    // A page may end early on a busy machine; it says so, and where the next one begins.
    let (mut start, mut found) = (Start::since(Duration::from_secs(60)), 0);
    loop {
        let page = history.scan(0, start, 10).await.unwrap();
        found += page.publications.len();
        match page.upto {
            Some(upto) if page.more => start = Start::After(upto),
            _ => break,
        }
    }
    assert_eq!(found, 1);
    backplane.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gap_comes_before_the_other_log() {
    let exchange = exchange("gap");
    let Opened {
        backplane,
        mut events,
    } = open(&exchange).await;
    let (connection, outside) = outside().await;
    let stream = format!("hubplane.{exchange}.stream");
    outside
        .queue_delete(stream.as_str().into(), Default::default())
        .await
        .unwrap();
    connection.close(200, "done".into()).await.unwrap();
    let mut gaps = Vec::new();
    loop {
        match next(&mut events).await {
            Event::Up => break,
            Event::Gap { scope, cause } => gaps.push((scope, cause)),
            _ => {}
        }
    }
    assert_eq!(gaps, [(Scope::Lane(0), GapCause::LogReplaced)]);
    backplane.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_settings_are_refused() {
    let exchange = exchange("settings");
    let first = open(&exchange).await;
    for key in ["max-age=1h", "max-bytes=5000000", "segment-bytes=1000000"] {
        let other: Address = format!("{}&{key}", address_text(&exchange))
            .parse()
            .unwrap();
        let error = STREAMS_DRIVER.open(&other).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{key}: {error}");
        assert_eq!(error.backend(), "amqp+streams");
    }
    first.backplane.close().await;
}

fn address_text(exchange: &str) -> String {
    on_exchange(&plain().replacen("://", "+streams://", 1), exchange)
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_works() {
    let tls = required("HUBPLANE_TEST_RABBITMQ_TLS");
    let opened = STREAMS_DRIVER.open(&address(&tls, &exchange("tls"))).await;
    let Opened {
        backplane,
        mut events,
    } = opened.unwrap();
    broker::publish(&backplane, 0..1).await;
    until(&mut events, 0).await;
    backplane.close().await;
}
