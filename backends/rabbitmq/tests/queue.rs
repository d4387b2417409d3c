//! What only RabbitMQ has: the instance's queue, and what becomes of it while the connection is away.

#![allow(
    clippy::unwrap_used,
    reason = "a test says by failing what it did not get"
)]

mod broker;

use std::time::Duration;

use broker::{
    Logs, Relay, Told, behind_a_relay, ctl, exchange, message, next, on_exchange, open, outside,
    plain, publish, publish_at_last, publish_outside,
};
use hubplane_backplane::{ErrorKind, Event, GapCause, Outgoing};
use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions};
use tokio::time::sleep;

async fn queues(exchange: &str) -> Vec<String> {
    let prefix = format!("hubplane.{exchange}.");
    let listed = ctl("list_queues -q --no-table-headers name").await;
    let mine = listed.lines().filter(|name| name.starts_with(&prefix));
    mine.map(str::to_owned).collect()
}

async fn delete_queues(exchange: &str) {
    let (_connection, channel) = outside().await;
    for queue in queues(exchange).await {
        let options = QueueDeleteOptions::default();
        channel
            .queue_delete(queue.as_str().into(), options)
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_loses_and_repeats_nothing() {
    let exchange = exchange("blip");
    let (relay, mut hurt) = behind_a_relay(&exchange, "").await;
    let other = open(&on_exchange(&plain(), &exchange)).await;
    let mut told = Told::default();
    for round in 0..5 {
        let start = round * 900;
        // Cut in the middle of a stream, with messages delivered and not acknowledged.
        publish(&other.backplane, start..start + 300).await;
        told.until(&mut hurt.events, start + 50 * round).await;
        relay.cut();
        publish(&other.backplane, start + 300..start + 600).await;
        sleep(Duration::from_millis(300)).await;
        relay.mend();
        publish(&other.backplane, start + 600..start + 900).await;
        told.until(&mut hurt.events, start + 899).await;
    }
    assert_eq!(told.numbers, (0..4_500).collect::<Vec<_>>());
    assert_eq!((told.gaps.len(), told.downs, told.ups), (0, 5, 5));
    hurt.backplane.close().await;
    other.backplane.close().await;
}

/// A message of another program; every tenth has an id.
fn other_programs(number: usize) -> Outgoing {
    let mut message = message(number);
    message.id = message.id.filter(|_| number.is_multiple_of(10));
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_again_after_a_stall_in_one_direction_is_dropped() {
    let exchange = exchange("stall");
    let (relay, mut hurt) = behind_a_relay(&exchange, "").await;
    let other = open(&on_exchange(&plain(), &exchange)).await;
    let mut told = Told::default();
    let mut number = 0;
    for _ in 0..2 {
        let publish = async |number: &mut usize, count| {
            for _ in 0..count {
                let answers = other.backplane.publish(vec![other_programs(*number)]).await;
                assert!(answers[0].is_ok());
                *number += 1;
                sleep(Duration::from_millis(5)).await;
            }
        };
        publish(&mut number, 100).await;
        // Messages still come; acknowledgements no longer arrive.
        relay.hold_up();
        publish(&mut number, 600).await;
        relay.cut();
        sleep(Duration::from_millis(200)).await;
        relay.mend();
        publish(&mut number, 100).await;
        told.until(&mut hurt.events, number - 1).await;
    }
    assert_eq!(told.numbers, (0..number).collect::<Vec<_>>());
    assert_eq!((told.gaps.len(), told.downs), (0, 2));
    hurt.backplane.close().await;
    other.backplane.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_queue_and_its_witness_do_not_expire() {
    let logs = Logs::start();
    let exchange = exchange("idle");
    let (relay, mut opened) = behind_a_relay(&exchange, "&expires=5s").await;
    sleep(Duration::from_secs(12)).await;
    relay.cut();
    sleep(Duration::from_millis(500)).await;
    relay.mend();
    let mut told = Told::default();
    told.until_up(&mut opened.events).await;
    assert_eq!(told.gaps, []);
    sleep(Duration::from_secs(1)).await;
    let said = format!("hubplane.{exchange}.");
    assert_eq!(logs.count(&[&said, "policy"]), 0, "there is none");
    opened.backplane.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_gone_is_a_gap() {
    let exchange = exchange("gone");
    let (relay, mut hurt) = behind_a_relay(&exchange, "").await;
    let mut other = open(&on_exchange(&plain(), &exchange)).await;
    let (mut told, mut others) = (Told::default(), Told::default());
    publish(&other.backplane, 0..10).await;
    told.until(&mut hurt.events, 9).await;

    // While the instance is away; the other's is deleted under its eyes.
    relay.cut();
    publish(&other.backplane, 10..20).await;
    others.until(&mut other.events, 19).await;
    delete_queues(&exchange).await;
    others.until_up(&mut other.events).await;
    publish(&other.backplane, 20..30).await;
    others.until(&mut other.events, 29).await;
    relay.mend();
    told.until_up(&mut hurt.events).await;
    publish(&other.backplane, 30..40).await;
    told.until(&mut hurt.events, 39).await;
    assert_eq!(told.gaps, [GapCause::QueueLost]);
    assert_eq!(others.gaps, [GapCause::QueueLost]);
    assert_eq!(told.numbers[10..], (30..40).collect::<Vec<_>>());

    hurt.backplane.close().await;
    other.backplane.close().await;
    assert_eq!(
        queues(&exchange).await,
        Vec::<String>::new(),
        "close deletes the queues"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_exchange_is_a_gap() {
    let exchange = exchange("unbound");
    let mut opened = open(&on_exchange(&plain(), &exchange)).await;
    let mut told = Told::default();
    publish(&opened.backplane, 0..10).await;
    told.until(&mut opened.events, 9).await;
    let (_connection, channel) = outside().await;
    let options = ExchangeDeleteOptions::default();
    channel
        .exchange_delete(exchange.as_str().into(), options)
        .await
        .unwrap();
    told.until_up(&mut opened.events).await;
    publish_at_last(&opened.backplane, 10).await;
    told.until(&mut opened.events, 10).await;
    assert_eq!(told.gaps, [GapCause::QueueLost]);
    opened.backplane.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_cut_while_away_is_a_gap() {
    let exchange = exchange("cut");
    let (relay, mut hurt) = behind_a_relay(&exchange, "&max-bytes=1000").await;
    let other = open(&on_exchange(&plain(), &exchange)).await;
    let mut told = Told::default();
    publish(&other.backplane, 0..10).await;
    told.until(&mut hurt.events, 9).await;
    for round in 1..3 {
        let start = round * 1_000;
        relay.cut();
        publish(&other.backplane, start..start + 990).await;
        relay.mend();
        told.until_up(&mut hurt.events).await;
        assert_eq!(told.gaps, vec![GapCause::Overflow; round]);
        publish(&other.backplane, start + 990..start + 1_000).await;
        told.until(&mut hurt.events, start + 999).await;
        // Time for the token to be put back, and for a false alarm to come.
        sleep(Duration::from_millis(2_500)).await;
        told.gap = false;
    }
    relay.cut();
    sleep(Duration::from_millis(100)).await;
    relay.mend();
    told.until_up(&mut hurt.events).await;
    assert_eq!(told.gaps.len(), 2, "a blip after a cut loses nothing");
    hurt.backplane.close().await;
    other.backplane.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_cut_under_a_slow_hub_is_a_gap_before_the_hole() {
    let exchange = exchange("slow");
    let mut slow = open(&format!(
        "{}&max-bytes=20000",
        on_exchange(&plain(), &exchange)
    ))
    .await;
    let other = open(&on_exchange(&plain(), &exchange)).await;
    let mut told = Told::default();
    let mut start = 0;
    for round in 0..3 {
        // More than the event queue and the prefetch hold, so that the queue fills; and then again while it drains.
        publish(&other.backplane, start..start + 12_000).await;
        let drain = async {
            for _ in 0..40 {
                told.event(next(&mut slow.events).await);
                sleep(Duration::from_millis(5)).await;
            }
        };
        let more = publish(&other.backplane, start + 12_000..start + 24_000);
        tokio::join!(drain, more);
        start += 24_000;
        told.until(&mut slow.events, start - 1).await;
        assert!(
            told.gaps.len() > round,
            "round {round}: {} gaps",
            told.gaps.len()
        );
        assert!(told.gaps.iter().all(|cause| *cause == GapCause::Overflow));
        sleep(Duration::from_millis(1_500)).await;
        assert!(slow.events.is_empty());
        told.gap = false;
    }
    assert_eq!((told.downs, told.ups), (0, 0));
    assert!(told.numbers.len() < start, "the queue was cut");
    slow.backplane.close().await;
    other.backplane.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_read_costs_a_gap_and_no_more() {
    let exchange = exchange("garbled");
    let target = plain();
    let target = target.rsplit('@').next().unwrap();
    let relay = Relay::before(target, Some((b"garbled-key", b"garbled\xff\xffey"))).await;
    let producer = open(&on_exchange(&relay.address(), &exchange)).await;
    let mut opened = open(&on_exchange(&plain(), &exchange)).await;
    let mut told = Told::default();
    publish(&opened.backplane, 0..10).await;
    told.until(&mut opened.events, 9).await;
    let mut bad = message(10);
    bad.channel = "garbled-key".into();
    producer
        .backplane
        .publish(vec![bad])
        .await
        .remove(0)
        .unwrap();
    told.until_up(&mut opened.events).await;
    assert_eq!(told.gaps, [GapCause::Undecodable]);
    publish(&opened.backplane, 20..30).await;
    told.until(&mut opened.events, 29).await;
    opened.backplane.close().await;
    producer.backplane.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outside_message_needs_nothing_of_ours() {
    let exchange = exchange("outside");
    let mut opened = open(&on_exchange(&plain(), &exchange)).await;
    publish_outside(&exchange, "any.channel", b"\xff\x00").await;
    let Event::Published(messages) = next(&mut opened.events).await else {
        panic!("a message first");
    };
    assert_eq!(&*messages[0].channel, "any.channel");
    assert_eq!(&messages[0].data[..], b"\xff\x00");
    opened.backplane.close().await;
    let late = opened.backplane.publish(vec![message(1)]).await.remove(0);
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Closed);
}
