//! Several nodes in the address: one that is silent, or sick, costs neither the start nor the messages.

#![allow(
    clippy::unwrap_used,
    reason = "a test says by failing what it did not get"
)]

mod broker;

use std::time::Duration;

use broker::{Relay, Told, exchange, next, on_exchange, open, plain, publish, publish_at_last};
use hubplane_backplane::{Driver, Event, GapCause, Opened};
use hubplane_rabbitmq::{DRIVER, STREAMS_DRIVER};
use tokio::time::{Instant, sleep};

/// Two ways to the broker, as if to two nodes.
async fn two() -> (Relay, Relay) {
    let target = plain();
    let target = target.rsplit('@').next().unwrap();
    (
        Relay::before(target, None).await,
        Relay::before(target, None).await,
    )
}

fn both(exchange: &str, first: &Relay, second: &Relay) -> String {
    let hosts = format!("{},{}", first.address(), second.host());
    on_exchange(&hosts, exchange)
}

fn streams(address: &str) -> String {
    address.replacen("://", "+streams://", 1)
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + broker::PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Less than the five seconds after which a silent address alone is given up, and enough for a busy
/// machine: the other address is tried a quarter of a second later.
const LITTLE: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_first_address_costs_little() {
    let (silent, well) = two().await;
    silent.freeze();
    let exchange = exchange("silent");
    let address = both(&exchange, &silent, &well);
    for (driver, address) in [
        (&DRIVER as &dyn Driver, address.clone()),
        (&STREAMS_DRIVER, streams(&address)),
    ] {
        let asked = Instant::now();
        let opened = driver.open(&address.parse().unwrap()).await.unwrap();
        assert!(asked.elapsed() < LITTLE, "{:?}", asked.elapsed());
        publish(&opened.backplane, 0..10).await;
        if let Some(history) = opened.backplane.history() {
            let asked = Instant::now();
            let page = history.read(&"news".into(), None, 10).await.unwrap();
            assert_eq!(page.publications.len(), 10);
            assert!(asked.elapsed() < LITTLE, "{:?}", asked.elapsed());
        }
        opened.backplane.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_leaves_a_sick_node_with_all_its_connections() {
    let (sick, well) = two().await;
    let exchange = exchange("sick");
    let mut hurt = open(&both(&exchange, &sick, &well)).await;
    let mut told = Told::default();
    publish(&hurt.backplane, 0..10).await;
    told.until(&mut hurt.events, 9).await;
    // The first answers first, so it is used.
    assert!(sick.connections() >= 2 && well.connections() == 0);
    sick.freeze();
    let frozen = Instant::now();
    // The old connection is ended as the broker would end it; it keeps the queue for itself as long as it lives.
    while told.downs == 0 {
        told.event(next(&mut hurt.events).await);
    }
    sick.cut();
    told.until_up(&mut hurt.events).await;
    publish_at_last(&hurt.backplane, 10).await;
    assert!(
        frozen.elapsed() < Duration::from_secs(10),
        "{:?}",
        frozen.elapsed()
    );
    told.until(&mut hurt.events, 10).await;
    assert_eq!(told.gaps, []);
    until("both are at the other node", || well.connections() >= 2).await;
    hurt.backplane.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn renew_goes_to_another_node_with_both_connections() {
    let (first, second) = two().await;
    let exchange = exchange("another");
    let address = both(&exchange, &first, &second);
    let mut opened = open(&address).await;
    let mut told = Told::default();
    for (round, (from, to)) in [(&first, &second), (&second, &first)]
        .into_iter()
        .enumerate()
    {
        until("both are at one node", || {
            from.connections() >= 2 && to.connections() == 0
        })
        .await;
        opened.backplane.renew();
        told.until_up(&mut opened.events).await;
        until("both have moved", || {
            to.connections() >= 2 && from.connections() == 0
        })
        .await;
        publish_at_last(&opened.backplane, round).await;
        told.until(&mut opened.events, round).await;
    }
    assert_eq!(told.gaps, [GapCause::QueueLost; 2]);
    opened.backplane.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_read_on_at_another_node() {
    let (first, second) = two().await;
    let exchange = exchange("streamed");
    let address = streams(&both(&exchange, &first, &second));
    let opened = STREAMS_DRIVER.open(&address.parse().unwrap()).await;
    let Opened {
        backplane,
        mut events,
    } = opened.unwrap();
    publish(&backplane, 0..10).await;
    let history = backplane.history().unwrap();
    history.read(&"news".into(), None, 10).await.unwrap();
    first.freeze();
    let mut numbers = Vec::new();
    loop {
        match next(&mut events).await {
            Event::Published(messages) => numbers.extend(messages.into_iter().map(|m| m.data)),
            Event::Up => break,
            Event::Gap { scope, cause } => panic!("{scope:?} {cause}"),
            _ => {}
        }
    }
    publish_at_last(&backplane, 10).await;
    until("both are at the other node", || second.connections() >= 2).await;
    let asked = Instant::now();
    let page = history.read(&"news".into(), None, 100).await.unwrap();
    assert_eq!(page.publications.len(), 11);
    assert!(
        asked.elapsed() < Duration::from_secs(2),
        "not over the connection that is frozen"
    );
    while numbers.len() < 11 {
        if let Event::Published(messages) = next(&mut events).await {
            numbers.extend(messages.into_iter().map(|m| m.data));
        }
    }
    let all: Vec<_> = (0..11).map(|number: usize| number.to_string()).collect();
    assert_eq!(numbers, all);
    backplane.close().await;
}
