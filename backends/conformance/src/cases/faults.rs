use std::{collections::HashSet, time::Duration};

use hubplane_backplane::{Delivery, ErrorKind, Event, OnRestart, Scope};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use crate::{
    Control, Harness,
    space::{Instance, SETTLE, SOON, Space},
};

/// A broker's restart and the reconnection after it, on a busy machine.
pub(super) const BACK: Duration = Duration::from_secs(60);
const CHANNELS: [&str; 3] = ["c0", "c1", "c2"];
/// Acknowledged messages before the broker ends, and as many after it is back: however long a machine takes for them.
const ENOUGH: usize = 60;

pub(crate) async fn a_restart_is_survived(harness: &dyn Harness) {
    survived(harness, false).await;
}

pub(crate) async fn a_kill_is_survived(harness: &dyn Harness) {
    survived(harness, true).await;
}

pub(super) fn control(harness: &dyn Harness) -> Option<Control> {
    let control = harness.control();
    let on_restart = harness.driver().capabilities().on_restart;
    assert_eq!(
        control.is_none(),
        on_restart == OnRestart::NoBroker,
        "what has a broker can lose it"
    );
    control
}

/// What was answered, as (channel, number).
#[derive(Default)]
struct Answers {
    acknowledged: Vec<(usize, u32)>,
    surely_not_stored: Vec<(usize, u32)>,
}

async fn survived(harness: &dyn Harness, kill: bool) {
    let Some(control) = control(harness) else {
        return;
    };
    let space = Space::new(harness);
    let (a, b) = space.pair(&CHANNELS).await;
    let flows = Notify::new();
    let traffic = async {
        let (mut answers, mut number, start) = (Answers::default(), 0_u32, Instant::now());
        // How many were acknowledged when both instances had come back.
        let mut until_up = None;
        while until_up.is_none_or(|before| answers.acknowledged.len() < before + ENOUGH) {
            assert!(
                start.elapsed() < BACK,
                "both instances come back and say so: {:?} {:?}",
                told(&a),
                told(&b)
            );
            let channel = number as usize % CHANNELS.len();
            match a.publish(CHANNELS[channel], number.to_string()).await {
                Ok(_) => answers.acknowledged.push((channel, number)),
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    answers.surely_not_stored.push((channel, number))
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unknown, "{error}"),
            }
            number += 1;
            if answers.acknowledged.len() == ENOUGH {
                flows.notify_one();
            }
            if until_up.is_none() && [&a, &b].iter().all(|instance| is_back(instance)) {
                until_up = Some(answers.acknowledged.len());
            }
            sleep(Duration::from_millis(3)).await;
        }
        answers
    };
    let hurt = async {
        flows.notified().await;
        if kill {
            control.kill().await
        } else {
            control.stop().await
        }
        sleep(Duration::from_millis(300)).await;
        control.start().await;
    };
    let (mut answers, ()) = tokio::join!(traffic, hurt);
    // What is published now that all are back is heard, gap or not.
    let marker = answers
        .acknowledged
        .last()
        .map_or(0, |(_, number)| number + 1);
    for (index, channel) in CHANNELS.iter().enumerate() {
        a.publish(channel, marker.to_string())
            .await
            .expect("published");
        answers.acknowledged.push((index, marker));
        for instance in [&a, &b] {
            let hears = |it: &Instance| it.texts(channel).contains(&marker.to_string());
            instance
                .until("a message after the return", SOON, hears)
                .await;
        }
    }
    sleep(SETTLE).await;
    for instance in [&a, &b] {
        account(&space, instance, &answers);
    }
    a.close().await;
    b.close().await;
}

/// What an instance was told besides messages.
fn told(instance: &Instance) -> Vec<Event> {
    let events = instance.events().into_iter();
    events
        .filter(|event| !matches!(event, Event::Published(_) | Event::Progress(_)))
        .collect()
}

/// `Down` and, as the last of its kind, `Up`.
pub(super) fn is_back(instance: &Instance) -> bool {
    let told = told(instance);
    let last = told
        .iter()
        .rev()
        .find(|event| matches!(event, Event::Down(_) | Event::Up));
    matches!(last, Some(Event::Up)) && told.iter().any(|event| matches!(event, Event::Down(_)))
}

/// Every acknowledged message was heard, or a gap stands where it is missing; what was surely not stored was not.
fn account(space: &Space<'_>, instance: &Instance, answers: &Answers) {
    let capabilities = space.capabilities;
    let acknowledged = &answers.acknowledged;
    let mut down = false;
    for event in told(instance) {
        match event {
            Event::Down(_) => down = true,
            Event::Up => assert!(std::mem::take(&mut down), "Up comes only after a Down"),
            _ => {}
        }
    }
    assert!(
        acknowledged.len() >= 2 * ENOUGH,
        "there was traffic: {}",
        acknowledged.len()
    );
    for (index, channel) in CHANNELS.iter().enumerate() {
        let mut timeline = Vec::new();
        for event in instance.events() {
            match event {
                Event::Published(all) => {
                    let own = all
                        .iter()
                        .filter(|publication| &*publication.channel == *channel);
                    timeline.extend(own.map(|publication| {
                        let text = std::str::from_utf8(&publication.data).expect("text");
                        Some(text.parse::<u32>().expect("a number"))
                    }));
                }
                Event::Gap { scope, .. } if concerns(instance, &scope, channel) => {
                    timeline.push(None)
                }
                _ => {}
            }
        }
        let heard: Vec<u32> = timeline.iter().filter_map(|entry| *entry).collect();
        let distinct: HashSet<_> = heard.iter().collect();
        for &(_, number) in answers
            .surely_not_stored
            .iter()
            .filter(|(of, _)| *of == index)
        {
            assert!(
                !distinct.contains(&number),
                "{number} of {channel} was called surely not stored, and yet heard"
            );
        }
        let repeated = heard.len() - distinct.len();
        assert!(
            capabilities.delivery == Delivery::AtLeastOnce || repeated == 0,
            "{repeated} are heard twice"
        );
        if repeated == 0 {
            assert!(heard.is_sorted(), "order holds across the restart");
        }
        for &(_, number) in acknowledged.iter().filter(|(of, _)| *of == index) {
            if distinct.contains(&number) {
                continue;
            }
            assert_ne!(
                capabilities.on_restart,
                OnRestart::Delivered,
                "{number} of {channel} is lost; around it came {:?} and {:?}",
                heard.iter().filter(|n| **n < number).max(),
                heard.iter().filter(|n| **n > number).min(),
            );
            // Between the last one heard before it and the first after it, at the latest.
            let before = timeline
                .iter()
                .rposition(|entry| entry.is_some_and(|n| n < number))
                .map_or(0, |at| at + 1);
            let after = timeline
                .iter()
                .position(|entry| entry.is_some_and(|n| n > number));
            let hole =
                &timeline[before.min(after.unwrap_or(before))..after.unwrap_or(timeline.len())];
            assert!(
                hole.contains(&None),
                "{number} of {channel} is lost without a gap in its place"
            );
        }
    }
}

fn concerns(instance: &Instance, scope: &Scope, channel: &str) -> bool {
    match scope {
        Scope::All => true,
        Scope::Lane(lane) => instance.backplane.lane(channel) == Some(*lane),
        Scope::Channels(channels) => channels.iter().any(|known| &**known == channel),
    }
}
