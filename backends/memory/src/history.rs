//! Reads the log back, for one channel or for all. It never blocks publishers for long: the log is locked for one step
//! at a time.

use std::sync::Arc;

use async_trait::async_trait;
use hubplane_backplane::{Channel, Error, ErrorKind, History, Page, Position, Result, Start};
use tokio::{sync::watch, task};

use crate::{NAME, closed, log::Log};

/// Messages that are looked at in one step. Publishers wait while the log is locked for it.
const LOOK: usize = 4096;

/// The past of one instance; it ends with the instance.
#[derive(Debug)]
pub(crate) struct Past {
    pub(crate) log: Arc<Log>,
    pub(crate) closed: watch::Receiver<bool>,
}

fn lost(message: &str) -> Error {
    Error::new(ErrorKind::PositionLost, NAME, message)
}

#[async_trait]
impl History for Past {
    /// A channel has no index of its own: all messages after the position are looked at.
    async fn read(&self, channel: &Channel, after: Option<Position>, limit: usize) -> Result<Page> {
        self.look(Some(channel), after, limit).await
    }

    /// There is one lane, and its messages carry no times: an age stands for everything that is kept.
    async fn scan(&self, _: u32, from: Start, limit: usize) -> Result<Page> {
        let after = match from {
            Start::After(position) => Some(position),
            Start::Recent { .. } => None,
        };
        self.look(None, after, limit).await
    }
}

impl Past {
    /// Collects up to `limit` publications of a channel, or of all, step by step. Between the steps other tasks run,
    /// and the log may be trimmed.
    async fn look(
        &self,
        channel: Option<&Channel>,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page> {
        let mut offset = match after {
            Some(after) => self.log.offset(after).ok_or_else(|| {
                lost("the position is of another log, or ahead of this one's end")
            })?,
            None => 0,
        };
        let mut publications = Vec::new();
        // Whether the caller knows where the page begins. A reading from the oldest message loses nothing if the log
        // is trimmed before it has found one.
        let mut begun = after.is_some();
        loop {
            if *self.closed.borrow() {
                return Err(closed());
            }
            let mut stretch = self.log.look(offset, channel, LOOK);
            if stretch.trimmed && begun {
                return match publications.is_empty() {
                    true => Err(lost("the log no longer reaches back to the position")),
                    // Trimmed while it was read: the next read will say so.
                    false => Ok(Page {
                        publications,
                        upto: Some(self.log.position(offset)),
                        more: true,
                    }),
                };
            }
            publications.append(&mut stretch.publications);
            offset = stretch.upto;
            begun = !publications.is_empty() || after.is_some();
            // One more than asked for was found, so there is more.
            if publications.len() > limit {
                publications.truncate(limit);
                let last = publications.last().and_then(|last| last.position);
                return Ok(Page {
                    publications,
                    upto: last.or(after),
                    more: true,
                });
            }
            if stretch.at_end {
                return Ok(Page {
                    publications,
                    upto: Some(self.log.position(offset)),
                    more: false,
                });
            }
            task::yield_now().await;
        }
    }
}
