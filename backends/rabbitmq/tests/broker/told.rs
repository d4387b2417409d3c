use std::time::Duration;

use hubplane_backplane::{Event, Events, GapCause, Publication, Scope};
use tokio::time::timeout;

pub const PATIENCE: Duration = Duration::from_secs(40);

pub async fn next(events: &mut Events) -> Event {
    let event = timeout(PATIENCE, events.recv()).await;
    event.expect("an event in time").expect("still open")
}

fn number(publication: &Publication) -> usize {
    str::from_utf8(&publication.data).unwrap().parse().unwrap()
}

/// What arrived, and what was said, up to the message `last`.
#[derive(Debug, Default)]
pub struct Told {
    pub numbers: Vec<usize>,
    pub gaps: Vec<GapCause>,
    /// A gap was said, so a hole may come.
    pub gap: bool,
    pub downs: usize,
    pub ups: usize,
}

impl Told {
    pub async fn until(&mut self, events: &mut Events, last: usize) {
        while self.numbers.last() < Some(&last) {
            self.event(next(events).await);
        }
    }

    pub async fn until_up(&mut self, events: &mut Events) {
        let ups = self.ups;
        while self.ups == ups {
            self.event(next(events).await);
        }
    }

    pub fn event(&mut self, event: Event) {
        match event {
            Event::Published(messages) => {
                let counted = messages
                    .iter()
                    .filter(|message| &*message.channel == "news");
                for number in counted.map(number) {
                    let follows = self.numbers.last().is_none_or(|last| number == last + 1);
                    assert!(
                        follows || self.gap,
                        "{number} after {:?} without a gap",
                        self.numbers.last()
                    );
                    self.numbers.push(number);
                }
            }
            Event::Gap { scope, cause } => {
                assert_eq!(scope, Scope::All);
                self.gaps.push(cause);
                self.gap = true;
            }
            Event::Down(_) => self.downs += 1,
            Event::Up => self.ups += 1,
            Event::Progress(_) | Event::Waiting(_) | Event::Refused { .. } => {
                panic!("no positions and no interest")
            }
        }
    }
}
