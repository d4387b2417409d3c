//! The broker is stopped or killed under traffic and comes back. Every acknowledged message must be heard, or a gap
//! must stand in its place, as far as the capabilities allow.

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

/// How long a broker's restart and the reconnection may take, on a busy machine.
/// A broker that was killed may have to read its log first.
pub(super) const BACK: Duration = Duration::from_secs(60);
/// Several, since a backend may lose one and keep another.
const CHANNELS: [&str; 3] = ["c0", "c1", "c2"];
/// How many messages are acknowledged before the broker ends, and as many after it is back. A number instead of a time,
/// so that a slow machine tries as much as a fast one.
const ENOUGH: usize = 60;

/// The broker ends in an orderly way and starts again.
pub(crate) async fn a_restart_is_survived(harness: &dyn Harness) {
    survived(harness, false).await;
}

/// The broker is killed by SIGKILL and starts again.
pub(crate) async fn a_kill_is_survived(harness: &dyn Harness) {
    survived(harness, true).await;
}

/// Returns how to stop the broker. `None` only for a backend that declares to have none.
pub(super) fn control(harness: &dyn Harness) -> Option<Control> {
    let control = harness.control();
    let on_restart = harness.driver().capabilities().on_restart;
    // Without a control, the case would pass without trying anything.
    assert_eq!(
        control.is_none(),
        on_restart == OnRestart::NoBroker,
        "what has a broker can lose it"
    );
    control
}

/// What publishing answered. Each message is the number of its channel and its own number.
#[derive(Default)]
struct Answers {
    /// These must be heard, or a gap must stand in their place.
    acknowledged: Vec<(usize, u32)>,
    /// These must not be heard.
    surely_not_stored: Vec<(usize, u32)>,
}

/// Publishes all the time while the broker goes and comes back, until both instances say that they are back; then
/// compares what each instance heard with the answers.
async fn survived(harness: &dyn Harness, kill: bool) {
    let Some(control) = control(harness) else {
        return;
    };
    let space = Space::new(harness);
    let (a, b) = space.pair(&CHANNELS).await;
    // Wakes `hurt` once enough was acknowledged.
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
            // In turn, so that every channel has traffic at each moment of the fault.
            let channel = number as usize % CHANNELS.len();
            // One at a time, so that each number has an answer of its own.
            match a.publish(CHANNELS[channel], number.to_string()).await {
                Ok(_) => answers.acknowledged.push((channel, number)),
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    answers.surely_not_stored.push((channel, number))
                }
                // `Unknown`: may be heard or not, so it is in neither list.
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unknown, "{error}"),
            }
            number += 1;
            if answers.acknowledged.len() == ENOUGH {
                flows.notify_one();
            }
            if until_up.is_none() && [&a, &b].iter().all(|instance| is_back(instance)) {
                until_up = Some(answers.acknowledged.len());
            }
            // A pause, or the log would be too long to be judged.
            sleep(Duration::from_millis(3)).await;
        }
        answers
    };
    // Only once there is traffic, or the broker would be stopped before anything was tried.
    let hurt = async {
        flows.notified().await;
        if kill {
            control.kill().await
        } else {
            control.stop().await
        }
        // Long enough that both instances must notice.
        sleep(Duration::from_millis(300)).await;
        control.start().await;
    };
    // One task: traffic and fault run at the same time, and end together.
    let (mut answers, ()) = tokio::join!(traffic, hurt);
    // A message after the return must be heard. It also marks the end of the hole in each channel.
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
    // A repetition or a late gap would still come.
    sleep(SETTLE).await;
    for instance in [&a, &b] {
        account(&space, instance, &answers);
    }
    a.close().await;
    b.close().await;
}

/// All events of an instance besides messages and `Progress`.
fn told(instance: &Instance) -> Vec<Event> {
    let events = instance.events().into_iter();
    events
        .filter(|event| !matches!(event, Event::Published(_) | Event::Progress(_)))
        .collect()
}

/// Returns true if the instance said that it was cut off, and last that messages arrive again.
///
/// Both are needed: an instance that never noticed the fault is not back, it was never gone.
pub(super) fn is_back(instance: &Instance) -> bool {
    let told = told(instance);
    let last = told
        .iter()
        .rev()
        .find(|event| matches!(event, Event::Down(_) | Event::Up));
    matches!(last, Some(Event::Up)) && told.iter().any(|event| matches!(event, Event::Down(_)))
}

/// Compares what an instance heard with the answers: every acknowledged message, or a gap in its place; nothing that was
/// surely not stored; repetitions only if they are declared.
fn account(space: &Space<'_>, instance: &Instance, answers: &Answers) {
    let capabilities = space.capabilities;
    let acknowledged = &answers.acknowledged;
    // `Up` and `Down` alternate, though `Down` may be said again with another reason.
    let mut down = false;
    for event in told(instance) {
        match event {
            Event::Down(_) => down = true,
            Event::Up => assert!(std::mem::take(&mut down), "Up comes only after a Down"),
            _ => {}
        }
    }
    // A case that tried too little must not pass.
    assert!(
        acknowledged.len() >= 2 * ENOUGH,
        "there was traffic: {}",
        acknowledged.len()
    );
    for (index, channel) in CHANNELS.iter().enumerate() {
        // The numbers in the order in which they were heard, and `None` for each gap that concerns the channel.
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
        // What came twice counts once for "was it heard".
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
        // With repetitions, earlier numbers come again and the order can't be judged so simply.
        if repeated == 0 {
            // Numbers grow per publisher, so a sorted list is the publisher's order.
            assert!(heard.is_sorted(), "order holds across the restart");
        }
        for &(_, number) in acknowledged.iter().filter(|(of, _)| *of == index) {
            if distinct.contains(&number) {
                continue;
            }
            // Where every message is promised, a gap is no excuse.
            assert_ne!(
                capabilities.on_restart,
                OnRestart::Delivered,
                "{number} of {channel} is lost; around it came {:?} and {:?}",
                heard.iter().filter(|n| **n < number).max(),
                heard.iter().filter(|n| **n > number).min(),
            );
            // The gap must stand behind the last message that was heard before it, and in front of the first one after it.
            // By place in the time line: right behind the last smaller number.
            let before = timeline
                .iter()
                .rposition(|entry| entry.is_some_and(|n| n < number))
                .map_or(0, |at| at + 1);
            let after = timeline
                .iter()
                .position(|entry| entry.is_some_and(|n| n > number));
            // Repetitions may put a greater number before a smaller one; then the hole is empty,
            // and no gap is in it.
            let hole =
                &timeline[before.min(after.unwrap_or(before))..after.unwrap_or(timeline.len())];
            assert!(
                hole.contains(&None),
                "{number} of {channel} is lost without a gap in its place"
            );
        }
    }
}

/// Returns true if a gap of this scope tells the subscribers of the channel.
fn concerns(instance: &Instance, scope: &Scope, channel: &str) -> bool {
    match scope {
        Scope::All => true,
        Scope::Lane(lane) => instance.backplane.lane(channel) == Some(*lane),
        Scope::Channels(channels) => channels.iter().any(|known| &**known == channel),
    }
}
