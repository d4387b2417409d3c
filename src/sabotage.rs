//! Faults on purpose, for the drills alone: a backplane that publishes wrongly, around a sound one. Only with the cargo
//! feature `sabotage`, and then only the fault that the environment names: `HUBPLANE_SABOTAGE=drop`.
//!
//! It proves that the drills' checker sees what clients lose. A hub finds most faults of a broker by its numbers, and
//! mends or announces them; so a message that is dropped, repeated or swapped here leaves no hole in the numbers. Two
//! faults can't be shown from out here: they are in `crates/hub/src/sabotage.rs`.

use std::{
    env,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use hubplane_backplane::{
    Backplane, Channel, History, MessageId, Opened, Origin, Outgoing, Receipt, Result,
};
use tokio::sync::mpsc;

/// One message in so many is spoilt. A prime number: every five-hundredth could always be the same publisher's.
const ONE_IN: u64 = 499;
/// How many messages of its channel overtake one that is swapped. More than one, because the checker judges the order of a
/// single publisher's messages, and several publish to a channel.
const OVERTAKING: usize = 4;
/// Batches that were acknowledged too early and wait for the broker; with more, the acknowledgement waits, too.
const QUEUE: usize = 64;
/// How the hub's own channels begin. Its beacons and its presence stay sound: only what clients publish is spoilt.
const RESERVED: &str = "$hubplane/";

/// What is done wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// A message is acknowledged and not published. The one before it in its channel goes out again under its number, so
    /// that hubs miss no number; they drop that one, since they know its id.
    Drop,
    /// A message is published twice, the second time as an outside program would: without id and number.
    Repeat,
    /// A message is published after the next few of its channel. A stand-in carries its number, as for `Drop`.
    Swap,
    /// Publishers are answered before the broker has the message, and nobody looks at the broker's answer.
    EarlyAck,
    /// The numbers of a channel begin at 1 again.
    RestartNumbers,
}

impl Fault {
    /// Returns the fault of this name. `None` for a sound hub, and for a fault that the hub commits itself.
    fn named(name: &str) -> Option<Self> {
        match name {
            "drop" => Some(Self::Drop),
            "repeat" => Some(Self::Repeat),
            "swap" => Some(Self::Swap),
            "early_ack" => Some(Self::EarlyAck),
            "restart_numbers" => Some(Self::RestartNumbers),
            _ => None,
        }
    }
}

/// Puts the fault that the environment names between the hub and its backplane. Must be called on the runtime that the
/// backend's tasks live on.
///
/// An unknown name leaves the hub sound: the hub's own faults are named by the same variable.
pub(crate) fn wrap(opened: Opened) -> Opened {
    let name = env::var("HUBPLANE_SABOTAGE").unwrap_or_default();
    match Fault::named(&name) {
        None => opened,
        Some(fault) => Opened {
            backplane: Arc::new(Saboteur::new(opened.backplane, fault, ONE_IN)),
            events: opened.events,
        },
    }
}

/// A sound backplane that is made to publish wrongly. All else is passed on to it.
#[derive(Debug)]
struct Saboteur {
    sound: Arc<dyn Backplane>,
    fault: Fault,
    /// Shared by concurrent calls; held without an await.
    spoiler: Mutex<Spoiler>,
    /// Where batches of [`Fault::EarlyAck`] wait for the broker.
    early: mpsc::Sender<Vec<Outgoing>>,
}

/// `one_in` is [`ONE_IN`], or less in tests, which have few messages.
impl Saboteur {
    fn new(sound: Arc<dyn Backplane>, fault: Fault, one_in: u64) -> Self {
        let (early, mut queue) = mpsc::channel(QUEUE);
        let broker = Arc::clone(&sound);
        // Reads for as long as the saboteur lives; its answers are thrown away, which is the fault.
        tokio::spawn(async move {
            while let Some(batch) = queue.recv().await {
                drop(broker.publish(batch).await);
            }
        });
        let spoiler = Mutex::new(Spoiler::new(fault, one_in));
        Self {
            sound,
            fault,
            spoiler,
            early,
        }
    }

    /// Returns what goes to the broker in place of a batch, and for each of it whether the hub waits for its answer.
    fn spoil(&self, batch: Vec<Outgoing>) -> (Vec<Outgoing>, Vec<bool>) {
        // What is added goes right behind its cause, so that the broker sees both in one batch.
        let mut spoiler = self.spoiler.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut sent, mut awaited) = (Vec::new(), Vec::new());
        for outgoing in batch {
            let (own, extra) = spoiler.spoil(outgoing);
            sent.push(own);
            // The hub gave one message and expects one answer; what was added has none.
            awaited.push(true);
            awaited.extend(extra.iter().map(|_| false));
            sent.extend(extra);
        }
        (sent, awaited)
    }
}

#[async_trait]
impl Backplane for Saboteur {
    // Only publishing is spoilt: what hubs receive must be judged by what the broker really had.
    async fn publish(&self, batch: Vec<Outgoing>) -> Vec<Result<Receipt>> {
        if self.fault == Fault::EarlyAck {
            // Accepted, before the broker has seen anything of it.
            let answers = batch.iter().map(|_| Ok(Receipt::Accepted)).collect();
            // The task that reads ends with this sender, or with the runtime.
            _ = self.early.send(batch).await;
            return answers;
        }
        let (sent, awaited) = self.spoil(batch);
        let answers = self.sound.publish(sent).await.into_iter().zip(awaited);
        let awaited = answers.filter(|(_, awaited)| *awaited);
        awaited.map(|(answer, _)| answer).collect()
    }

    async fn subscribe(&self, channels: &[Channel]) -> Result<()> {
        self.sound.subscribe(channels).await
    }

    async fn unsubscribe(&self, channels: &[Channel]) -> Result<()> {
        self.sound.unsubscribe(channels).await
    }

    fn lane(&self, channel: &str) -> Option<u32> {
        self.sound.lane(channel)
    }

    fn renew(&self) {
        self.sound.renew();
    }

    fn history(&self) -> Option<&dyn History> {
        self.sound.history()
    }

    async fn close(&self) {
        self.sound.close().await;
    }
}

/// Decides which message is spoilt, and how. Pure; sees the messages in the order of publishing.
#[derive(Debug)]
struct Spoiler {
    // Only clients' messages count.
    fault: Fault,
    one_in: u64,
    /// Messages of clients so far.
    count: u64,
    /// `Drop`, `Swap`: was published; stands in for the next one of its channel.
    stand_in: Option<Outgoing>,
    /// `Swap`: to be published once so many more of its channel were.
    held: Option<(Outgoing, usize)>,
    /// `RestartNumbers`: a channel, and what is taken off its numbers.
    restarted: Option<(Channel, u64)>,
}

impl Spoiler {
    const fn new(fault: Fault, one_in: u64) -> Self {
        Self {
            fault,
            one_in,
            count: 0,
            stand_in: None,
            held: None,
            restarted: None,
        }
    }

    /// Returns what is published in place of a message, and what is published after that.
    /// The second is published in the same batch, and its answer is not awaited.
    fn spoil(&mut self, outgoing: Outgoing) -> (Outgoing, Option<Outgoing>) {
        if outgoing.channel.starts_with(RESERVED) {
            return (outgoing, None);
        }
        self.count += 1;
        let due = self.count.is_multiple_of(self.one_in);
        match self.fault {
            Fault::Repeat if due => {
                // Without id and number, hubs can't know that they had it.
                let again = named(&outgoing, None, None);
                (outgoing, Some(again))
            }
            Fault::Drop | Fault::Swap => self.replace(outgoing, due),
            Fault::RestartNumbers => (self.renumber(outgoing, due), None),
            Fault::Repeat | Fault::EarlyAck => (outgoing, None),
        }
    }

    /// A message that is due stands in for the next one of its channel; that one is held until others have overtaken it, or
    /// is gone. One at a time.
    fn replace(&mut self, outgoing: Outgoing, due: bool) -> (Outgoing, Option<Outgoing>) {
        // Messages of other channels pass untouched, or their order would change too.
        let same = |other: &mut Outgoing| other.channel == outgoing.channel;
        // The stand-in takes the number of this one, so that no number is missing.
        if let Some(stand_in) = self.stand_in.take_if(same) {
            let stand_in = named(&stand_in, stand_in.id.clone(), outgoing.origin);
            let swapped = self.fault == Fault::Swap;
            // `Drop` lets it go; `Swap` keeps it for later.
            self.held = swapped.then_some((outgoing, OVERTAKING));
            return (stand_in, None);
        }
        // Counts only messages of its own channel: others don't overtake it.
        let overtaken = self.held.take_if(|(held, left)| {
            *left -= usize::from(same(held));
            *left == 0
        });
        // Its number has been seen already, with the stand-in.
        let overtaken = overtaken.map(|(held, _)| named(&held, held.id.clone(), None));
        // Without an id, a hub could not know the stand-in for a repetition, and would deliver it.
        if due && self.held.is_none() && outgoing.id.is_some() {
            self.stand_in = Some(outgoing.clone());
        }
        (outgoing, overtaken)
    }

    /// Takes the numbers of one channel down so that the message that is due has number 1.
    fn renumber(&mut self, mut outgoing: Outgoing, due: bool) -> Outgoing {
        // Messages of other programs have no number to change.
        let Some(origin) = &mut outgoing.origin else {
            return outgoing;
        };
        if due {
            let before = origin.number.saturating_sub(1);
            self.restarted = Some((Channel::clone(&outgoing.channel), before));
        }
        if let Some((channel, before)) = &self.restarted
            && *channel == outgoing.channel
        {
            // One that is tried again may carry a lower number than the restart.
            origin.number = origin.number.saturating_sub(*before).max(1);
        }
        outgoing
    }
}

/// The same message with another id and number.
fn named(outgoing: &Outgoing, id: Option<MessageId>, origin: Option<Origin>) -> Outgoing {
    Outgoing {
        id,
        origin,
        ..outgoing.clone()
    }
}

#[cfg(test)]
mod tests {
    use hubplane_backplane::{Driver, Publication, Start};
    use tokio::task::yield_now;

    use super::*;

    /// Publishes ten numbered messages one after the other, every fifth due, and returns what the log has then.
    async fn published(fault: Fault) -> Vec<Publication> {
        let address = "memory:".parse().unwrap();
        let sound = hubplane_memory::DRIVER.open(&address).await.unwrap();
        let saboteur = Saboteur::new(sound.backplane, fault, 5);
        for number in 1..=10 {
            let outgoing = Outgoing {
                id: Some(format!("id-{number}").into()),
                origin: Some(Origin { id: 7, number }),
                ..Outgoing::new("c", number.to_string())
            };
            let answers = saboteur.publish(vec![outgoing]).await;
            assert!(matches!(answers[..], [Ok(_)]), "{answers:?}");
        }
        // All batches have left the queue, though the last may still be at the broker.
        while saboteur.early.capacity() < QUEUE {
            yield_now().await;
        }
        let history = saboteur.history().unwrap();
        // The whole log, from its beginning.
        let from = Start::since(std::time::Duration::MAX);
        history.scan(0, from, 100).await.unwrap().publications
    }

    /// The texts of the messages, in the order of the log.
    fn texts(all: &[Publication]) -> Vec<&str> {
        let text = |it| std::str::from_utf8(it).unwrap();
        all.iter().map(|it| text(&it.data)).collect()
    }

    /// Numbers that a hub could miss something by.
    fn numbers(all: &[Publication]) -> Vec<u64> {
        let origins = all.iter().filter_map(|it| it.origin);
        origins.map(|origin| origin.number).collect()
    }

    #[tokio::test]
    async fn a_dropped_message_leaves_no_hole_in_the_numbers() {
        let all = published(Fault::Drop).await;
        // 6 is gone; 5 stands in for it under the number 6.
        let expected = ["1", "2", "3", "4", "5", "5", "7", "8", "9", "10"];
        assert_eq!(texts(&all), expected);
        assert_eq!(all[5].id, all[4].id, "a hub drops the stand-in");
        assert_eq!(numbers(&all), (1..=10).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_repeated_message_looks_like_an_outside_one() {
        let all = published(Fault::Repeat).await;
        // 5 and 10 are due, and repeated right behind themselves.
        let expected = ["1", "2", "3", "4", "5", "5", "6", "7", "8", "9", "10", "10"];
        assert_eq!(texts(&all), expected);
        assert_eq!((&all[5].id, all[5].origin), (&None, None));
    }

    #[tokio::test]
    async fn a_swapped_message_comes_after_its_successors() {
        let all = published(Fault::Swap).await;
        // 6 was to follow 5, and comes after four others.
        let expected = ["1", "2", "3", "4", "5", "5", "7", "8", "9", "10", "6"];
        assert_eq!(texts(&all), expected);
        assert_eq!(all[5].id, all[4].id, "a hub drops the stand-in");
        assert_eq!(all[10].id.as_deref(), Some("id-6"));
        assert_eq!(numbers(&all), (1..=10).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn numbers_begin_again() {
        let all = published(Fault::RestartNumbers).await;
        // 5 and 10 are due, and each begins anew at 1.
        assert_eq!(numbers(&all), [1, 2, 3, 4, 1, 2, 3, 4, 5, 1]);
    }

    #[tokio::test]
    async fn an_early_acknowledgement_does_not_wait_for_the_broker() {
        // All reach the broker, only later.
        assert_eq!(published(Fault::EarlyAck).await.len(), 10);
        let address = "memory:".parse().unwrap();
        let sound = hubplane_memory::DRIVER.open(&address).await.unwrap();
        // A broker that takes nothing: the message is lost, and yet acknowledged.
        sound.backplane.close().await;
        let saboteur = Saboteur::new(sound.backplane, Fault::EarlyAck, 5);
        let answers = saboteur.publish(vec![Outgoing::new("c", "lost")]).await;
        assert!(matches!(answers[..], [Ok(Receipt::Accepted)]));
    }
}
