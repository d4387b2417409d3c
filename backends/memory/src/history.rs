use std::sync::Arc;

use async_trait::async_trait;
use hubplane_backplane::{Channel, Error, ErrorKind, History, Page, Position, Result, Start};
use tokio::{sync::watch, task};

use crate::{NAME, closed, log::Log};

/// Messages looked at in one go: publishers wait for the log while it is read.
const LOOK: usize = 4096;

/// The log, read back.
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
    async fn read(&self, channel: &Channel, after: Option<Position>, limit: usize) -> Result<Page> {
        self.look(Some(channel), after, limit).await
    }

    /// There is one lane, and no times in it: an age means all that is kept.
    async fn scan(&self, _: u32, from: Start, limit: usize) -> Result<Page> {
        let after = match from {
            Start::After(position) => Some(position),
            Start::Recent { .. } => None,
        };
        self.look(None, after, limit).await
    }
}

impl Past {
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
