//! What the readers of the parts say together of their connections: one `Down` at the first loss,
//! and `Up` when all are back.
//!
//! In a Cluster an instance has a connection for each stream, and the hub knows only one backend.
//! Nothing here knows a connection; the readers report.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hubplane_backplane::{Event, EventSender};

/// How many readers are without a connection now.
#[derive(Debug, Default)]
pub(crate) struct Absence(Mutex<usize>);

impl Absence {
    // While a place in the queue is held, the count and the event that it asks for are one step.
    fn away(&self) -> MutexGuard<'_, usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a reader has lost its connection, for this reason; to be called once for each
    /// loss. An error says that nobody takes events any more.
    pub(crate) async fn begin(&self, events: &EventSender, reason: String) -> Result<(), ()> {
        let place = events.reserve().await.or(Err(()))?;
        let mut away = self.away();
        *away += 1;
        if *away == 1 {
            place.send(Event::Down(reason));
        }
        Ok(())
    }

    /// Notes that a reader is back. To be called once after each [`Self::begin`], when what was
    /// missed has been given out: `Up` must not come before it.
    pub(crate) async fn end(&self, events: &EventSender) -> Result<(), ()> {
        let place = events.reserve().await.or(Err(()))?;
        let mut away = self.away();
        *away -= 1;
        if *away == 0 {
            place.send(Event::Up);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use hubplane_backplane::events;

    use super::*;

    #[tokio::test]
    async fn down_is_said_at_the_first_loss_and_up_at_the_last_return() {
        let (sender, mut queue) = events(4);
        let absence = Absence::default();
        for reason in ["one", "two"] {
            absence.begin(&sender, reason.to_owned()).await.unwrap();
        }
        assert_eq!(queue.recv().await, Some(Event::Down("one".to_owned())));
        absence.end(&sender).await.unwrap();
        assert!(queue.try_recv().is_err());
        absence.end(&sender).await.unwrap();
        assert_eq!(queue.recv().await, Some(Event::Up));
    }
}
