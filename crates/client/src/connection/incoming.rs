//! What a connection makes of what comes from the hub: frames, errors and the close.

use tokio::time::Instant;
use tokio_tungstenite::tungstenite::{self, protocol::CloseFrame};

use super::{Connection, Ending};
use crate::{Event, event, retries::Again, wire::Incoming};

impl Connection {
    /// Takes what the socket gave. Returns how the connection ended, or `None` if it goes on.
    pub(super) fn receive(
        &mut self,
        received: Option<Result<tungstenite::Message, tungstenite::Error>>,
    ) -> Option<Ending> {
        match received {
            Some(Ok(tungstenite::Message::Text(text))) => {
                match serde_json::from_str::<Incoming>(&text) {
                    Ok(incoming) => self.incoming(incoming),
                    Err(error) => {
                        return Some(Ending::Lost(format!("not of this protocol: {error}")));
                    }
                }
                None
            }
            Some(Ok(tungstenite::Message::Close(frame))) => Some(ended(frame)),
            Some(Ok(_)) => None,
            Some(Err(error)) => Some(Ending::Lost(error.to_string())),
            None => Some(Ending::Lost("the connection ended".to_owned())),
        }
    }

    /// Takes one frame. Kinds that this client does not know are skipped: a newer hub may send them.
    fn incoming(&mut self, frame: Incoming) {
        if matches!(&*frame.kind, "join" | "leave" | "presence") {
            let event = self.subscriptions.presence(frame);
            return event.into_iter().for_each(|event| self.tell(event));
        }
        match (&*frame.kind, frame.channel, frame.reference) {
            ("message", Some(channel), _) => {
                let Some(data) = frame.data else { return };
                let message = event::Message {
                    channel,
                    data,
                    position: frame.position,
                    id: frame.id,
                };
                if let Some(event) = self.subscriptions.message(message) {
                    self.tell(event);
                }
            }
            ("gap", Some(channel), _) => {
                let cause = frame.cause.unwrap_or_default();
                if let Some(event) = self.subscriptions.gap(channel, cause) {
                    self.tell(event);
                }
            }
            ("subscribed", Some(channel), Some(reference)) => {
                let (position, recovered) = (frame.position, frame.recovered);
                for event in self
                    .subscriptions
                    .subscribed(reference, channel, position, recovered)
                {
                    self.tell(event);
                }
            }
            ("unsubscribed", Some(channel), None) => {
                let why = self.warning.clone();
                let event = self.subscriptions.ended_by_hub(channel, why);
                event.into_iter().for_each(|event| self.tell(event));
            }
            ("published", _, Some(reference)) => {
                self.patience.lasted(self.patience.stable);
                self.publishes.published(reference, frame.position);
            }
            ("authenticated", _, Some(reference)) => self.authenticated(reference),
            ("expiring", ..) => self.proof.expiring(),
            ("error", _, reference) => {
                let code = frame.code.unwrap_or_default();
                let message = frame.message.unwrap_or_default();
                match reference {
                    Some(reference) if self.proof.is_about(reference) => {
                        self.proof.refused(code, message);
                    }
                    Some(reference) => self.refused(reference, code, message),
                    // It answers nothing: an `unsubscribed` follows, and this is why.
                    None => self.warning = Some((code, message)),
                }
            }
            _ => {}
        }
    }

    fn authenticated(&mut self, reference: u64) {
        if self.proof.accepted(reference, Instant::now()) {
            self.ask_for_all();
        }
    }

    /// Takes the hub's error. After `unavailable` and `unknown` the command is sent again: the broker is away or gave no
    /// answer, or the hub has too much to do. Repeating a publish is safe because its id stays the same. Other codes are
    /// final.
    fn refused(&mut self, reference: u64, code: Box<str>, message: Box<str>) {
        let temporary = matches!(&*code, "unavailable" | "unknown");
        match self.subscriptions.asked(reference) {
            Some(again) if temporary => self.again(again),
            // Who may not read the past may still hear what comes, and is told of the gap.
            Some(Again::Subscribe(channel))
                if &*code == "forbidden" && self.subscriptions.forget_position(&channel) =>
            {
                self.ask(&channel);
            }
            Some(Again::Subscribe(channel)) => {
                self.subscriptions.remove(&channel);
                self.tell(Event::Refused {
                    channel,
                    code,
                    message,
                });
            }
            // The hub never refuses for good to name the members of a channel that it lets be subscribed.
            Some(_) => {}
            None if temporary && self.publishes.again(reference) => self.again(Again::Publishes),
            None => _ = self.publishes.refused(reference, code, message),
        }
    }
}

/// Tells from the hub's close code whether the client may come back: codes 3500 to 3999 and from 4500 on say no.
fn ended(frame: Option<CloseFrame>) -> Ending {
    let code = frame.as_ref().map_or(1005, |frame| frame.code.into());
    let reason = frame.map_or_else(|| "no reason given".to_owned(), |frame| frame.to_string());
    if code < 3500 || (4000..4500).contains(&code) {
        Ending::Lost(reason)
    } else {
        Ending::Terminal(Event::Ended { reason })
    }
}
