//! The stream when its broker is killed, or comes back with an older log.

#![allow(clippy::unwrap_used)]

mod broker;

use std::time::Duration;

use broker::{exchange, message, next, on_exchange, outside, plain};
use hubplane_backplane::{Driver, Event, Events, GapCause, Opened, Position, Scope};
use hubplane_conformance::Control;
use hubplane_rabbitmq::STREAMS_DRIVER;
use lapin::{BasicProperties, options::BasicPublishOptions};
use tokio::sync::Semaphore;

/// Each test ends the broker that all have.
static ONE_AT_A_TIME: Semaphore = Semaphore::const_new(1);
const KILLS: usize = 3;
const REPLACED: Event = Event::Gap {
    scope: Scope::Lane(0),
    cause: GapCause::LogReplaced,
};

async fn open(exchange: &str) -> Opened {
    let base = plain().replacen("://", "+streams://", 1);
    let address = on_exchange(&base, exchange).parse().unwrap();
    STREAMS_DRIVER.open(&address).await.unwrap()
}

/// What an instance was told, apart from its progress.
#[derive(Debug, Default)]
struct Heard {
    numbers: Vec<usize>,
    epochs: Vec<u64>,
    gaps: Vec<Event>,
    ups: usize,
}

impl Heard {
    async fn until(&mut self, events: &mut Events, enough: impl Fn(&Self) -> bool) {
        while !enough(self) {
            match next(events).await {
                Event::Published(messages) => {
                    for message in messages {
                        let number = str::from_utf8(&message.data).unwrap().parse();
                        self.numbers.push(number.unwrap());
                        self.at(message.position.unwrap());
                    }
                }
                gap @ Event::Gap { .. } => self.gaps.push(gap),
                Event::Progress(position) => self.at(position),
                Event::Up => self.ups += 1,
                Event::Down(_) => {}
                other @ (Event::Waiting(_) | Event::Refused { .. }) => panic!("{other:?}"),
            }
        }
    }

    fn at(&mut self, position: Position) {
        if self.epochs.last() != Some(&position.epoch) {
            self.epochs.push(position.epoch);
        }
    }

    fn last(&self) -> Option<usize> {
        self.numbers.last().copied()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_lose_nothing_and_begin_no_epoch() {
    let _turn = ONE_AT_A_TIME.acquire().await.unwrap();
    let exchange = exchange("kills");
    let (mut first, mut second) = (open(&exchange).await, open(&exchange).await);
    let publisher = std::sync::Arc::clone(&first.backplane);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let publishing = tokio::spawn(async move {
        let (mut confirmed, mut number) = (Vec::new(), 0);
        while stopped.is_empty() {
            if publisher.publish(vec![message(number)]).await[0].is_ok() {
                confirmed.push(number);
            }
            number += 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        broker::publish_at_last(&publisher, number).await;
        (confirmed, number)
    });
    let control = Control::from_env(broker::CONTROL);
    let (mut here, mut there) = (Heard::default(), Heard::default());
    for kill in 1..=KILLS {
        tokio::time::sleep(Duration::from_millis(500)).await;
        control.kill().await;
        control.start().await;
        for (heard, instance) in [(&mut here, &mut first), (&mut there, &mut second)] {
            let back = |heard: &Heard| heard.ups == kill;
            heard.until(&mut instance.events, back).await;
        }
    }
    stop.send(()).unwrap();
    let (confirmed, last) = publishing.await.unwrap();
    assert!(confirmed.len() > 20 * KILLS, "{confirmed:?}");
    for (mut heard, mut instance) in [(here, first), (there, second)] {
        let all = |heard: &Heard| heard.last() == Some(last);
        heard.until(&mut instance.events, all).await;
        assert_eq!(heard.gaps, []);
        assert_eq!(heard.epochs.len(), 1, "{:?}", heard.epochs);
        assert!(heard.numbers.windows(2).all(|pair| pair[0] < pair[1]));
        let missing = |number: &&usize| !heard.numbers.contains(number);
        assert_eq!(confirmed.iter().find(missing), None);
        instance.backplane.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_rolled_back_is_another_one_for_all() {
    let _turn = ONE_AT_A_TIME.acquire().await.unwrap();
    let exchange = exchange("rolled");
    let (mut first, mut second) = (open(&exchange).await, open(&exchange).await);
    let (mut here, mut there) = (Heard::default(), Heard::default());
    broker::publish(&first.backplane, 0..10).await;
    let control = Control::from_env(broker::CONTROL);
    control.stop().await;
    broker::verb("save").await;
    control.start().await;
    here.until(&mut first.events, |heard| heard.ups == 1).await;
    there
        .until(&mut second.events, |heard| heard.ups == 1)
        .await;
    for number in 10..20 {
        broker::publish_at_last(&first.backplane, number).await;
    }
    for (heard, instance) in [(&mut here, &mut first), (&mut there, &mut second)] {
        let all = |heard: &Heard| heard.last() == Some(19);
        heard.until(&mut instance.events, all).await;
        assert_eq!(heard.gaps, []);
    }
    control.kill().await;
    broker::verb("restore").await;
    control.start().await;
    here.until(&mut first.events, |heard| heard.ups == 2).await;
    there
        .until(&mut second.events, |heard| heard.ups == 2)
        .await;
    let third = open(&exchange).await;
    broker::publish_at_last(&first.backplane, 20).await;
    let instances = [(here, first), (there, second), (Heard::default(), third)];
    let mut epochs = Vec::new();
    for (mut heard, mut instance) in instances {
        let all = |heard: &Heard| heard.last() == Some(20);
        heard.until(&mut instance.events, all).await;
        assert_eq!(heard.gaps.is_empty(), heard.epochs.len() == 1, "{heard:?}");
        epochs.push(heard.epochs);
        instance.backplane.close().await;
    }
    let newest = epochs[2][0];
    assert_eq!(epochs[0].last(), Some(&newest));
    assert_eq!(epochs[1].last(), Some(&newest));
    assert_ne!(epochs[0][0], newest);
}

/// What only one instance could see: it had read what was lost.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_instance_found_is_believed() {
    let _turn = ONE_AT_A_TIME.acquire().await.unwrap();
    let exchange = exchange("found");
    let Opened {
        backplane,
        mut events,
    } = open(&exchange).await;
    let mut heard = Heard::default();
    broker::publish(&backplane, 0..1).await;
    heard
        .until(&mut events, |heard| heard.last() == Some(0))
        .await;
    let stream = format!("hubplane.{exchange}.stream");
    let (connection, outside) = outside().await;
    let put = async |queue: &str, body: Vec<u8>| {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let put = outside.basic_publish("".into(), queue.into(), options, &body, properties);
        put.await.unwrap().await.unwrap();
    };
    // Somebody who was slow, or no hubplane at all: looking again finds nothing new.
    put(&stream, b"no marker".to_vec()).await;
    put(&stream, vec![1; 16]).await;
    heard.until(&mut events, |heard| heard.ups == 1).await;
    broker::publish_at_last(&backplane, 1).await;
    heard
        .until(&mut events, |heard| heard.last() == Some(1))
        .await;
    assert_eq!((heard.gaps.len(), heard.epochs.len()), (0, 1));
    // Somebody who has begun an epoch.
    put(&(stream.clone() + ".epochs"), vec![1; 8]).await;
    put(&stream, vec![1; 16]).await;
    heard.until(&mut events, |heard| heard.ups == 2).await;
    assert_eq!(heard.gaps, [REPLACED]);
    assert_eq!(heard.epochs[1..], [u64::from_be_bytes([1; 8])]);
    connection.close(200, "done".into()).await.unwrap();
    backplane.close().await;
}
