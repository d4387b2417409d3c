//! A client of the hub that stays connected: the native protocol over WebSocket, as `docs/protocol.md` has it.
//!
//! When the connection ends, the client connects again, to the next address, after a random delay whose limit doubles. It
//! subscribes again from where it was, sends again under the same ids what was not acknowledged, drops repetitions, and
//! says when something may have been missed. With a token ([`Options::token`]) it shows who it is before all else, and
//! renews that without a break.
//!
//! A [`Client`] is only the sending end of a channel; one task (`connection`) owns the socket and all state.
//! `subscriptions`, `publishes`, `proof` and `retries` are that state: they know no socket, so that tests drive them without
//! a hub. This crate knows nothing of the inside of a hub. It speaks `ws:` and no TLS; to
//! reach a hub over a foreign network, let a proxy end TLS beside the client.
//!
//! ```no_run
//! # async fn example() -> Result<(), hubplane_client::Error> {
//! use hubplane_client::{Client, Event, Options};
//!
//! let (client, mut events) = Client::connect(Options::new(["http://127.0.0.1:8080"])).await?;
//! client.subscribe("jobs.42", None).await?;
//! client.publish("jobs.42", &serde_json::json!({ "progress": 80 }), None).await?;
//! while let Some(event) = events.next().await {
//!     match event {
//!         Event::Message(message) => println!("{}", message.data),
//!         Event::Gap { channel, .. } => println!("fetch the state of {channel} again"),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod backoff;
mod connection;
mod event;
mod options;
mod presence;
mod proof;
mod publishes;
mod retries;
mod subscriptions;
#[cfg(test)]
mod tests;
mod wire;

use std::time::Duration;

use serde::Serialize;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

pub use self::{
    backoff::Backoff,
    event::{Error, Event, Message, Published},
    options::Options,
    presence::{Member, Presence, Roster},
};
use self::{connection::Connection, options::connect, proof::Proof, publishes::Publish};

/// The cause of a gap after a new connection, when the hub could not say what was missed.
pub const NOT_RECOVERED: &str = "not_recovered";

/// Commands that wait for the connection's task; with more, the caller waits.
const COMMANDS: usize = 64;
/// How long [`Client::close`] waits for the hub to confirm the close, before it leaves the task to itself.
const LEAVE: Duration = Duration::from_secs(2);

/// What a [`Client`] asks of the connection's task.
#[derive(Debug)]
enum Command {
    Subscribe {
        channel: Box<str>,
        since: Option<Box<str>>,
        presence: Option<Box<Presence>>,
    },
    Unsubscribe {
        channel: Box<str>,
    },
    Members {
        channel: Box<str>,
    },
    Publish(Publish),
}

/// A connection to a hub, or to one of several. It ends when this is dropped.
#[derive(Debug)]
pub struct Client {
    commands: mpsc::Sender<Command>,
    task: JoinHandle<()>,
    publish_timeout: Duration,
    message_bytes: usize,
}

/// The events of a client. Keep taking them while you wait for a publish: once [`Options::events`] of them wait, the
/// client reads nothing more from the hub, and so gets no acknowledgement either. A program that only publishes may drop
/// this.
#[derive(Debug)]
pub struct Events(mpsc::Receiver<Event>);

impl Events {
    /// Returns the next event, or `None` once the client has ended. A cancelled call loses no event.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }
}

impl Client {
    /// Connects, and returns the client with its events. Tries each address once, in order; only the connections after
    /// this first one are repeated without end.
    ///
    /// # Errors
    /// [`Error::Options`] if the options can't work. [`Error::Token`] if there is no token to show. [`Error::Connect`] or [`Error::Denied`] if no hub takes this client;
    /// the reason is that of the last address.
    pub async fn connect(options: Options) -> Result<(Self, Events), Error> {
        let requests = options.requests()?;
        let proof = Proof::new(&options);
        let token = match proof.fetch() {
            Some(fetched) => Some(fetched.await.map_err(Error::Token)?),
            None => None,
        };
        let mut turn = 0;
        let socket = loop {
            match connect(&requests[turn], options.connect_timeout).await {
                Ok(socket) => break socket,
                Err(error) if turn + 1 == requests.len() => return Err(error),
                Err(_) => turn += 1,
            }
        };
        let (commands, taken) = mpsc::channel(COMMANDS);
        let (events, heard) = mpsc::channel(options.events.max(1));
        let (publish_timeout, message_bytes) = (options.publish_timeout, options.message_bytes);
        // The next attempt goes to the address behind this one: a hub that has just ended is the worst candidate.
        let connection = Connection::new(options, requests, turn + 1, taken, events);
        let client = Self {
            commands,
            task: tokio::spawn(connection.run(socket, token)),
            publish_timeout,
            message_bytes,
        };
        Ok((client, Events(heard)))
    }

    /// Subscribes to a channel, and again on each new connection. With `since`, starts after that position. The hub's
    /// answer comes as [`Event::Subscribed`] or [`Event::Refused`]. Does nothing if the client is subscribed already.
    ///
    /// # Errors
    /// [`Error::Closed`] if the client has ended.
    pub async fn subscribe(&self, channel: &str, since: Option<&str>) -> Result<(), Error> {
        self.command(Command::Subscribe {
            channel: channel.into(),
            since: since.map(Into::into),
            presence: None,
        })
        .await
    }

    /// Subscribes as [`Client::subscribe`] does, and takes part in the channel's presence on each connection.
    ///
    /// # Errors
    /// [`Error::Closed`] if the client has ended.
    pub async fn attend(
        &self,
        channel: &str,
        since: Option<&str>,
        presence: Presence,
    ) -> Result<(), Error> {
        self.command(Command::Subscribe {
            channel: channel.into(),
            since: since.map(Into::into),
            presence: Some(Box::new(presence)),
        })
        .await
    }

    /// Asks who is on a channel to which this client is subscribed; the answer comes as [`Event::Members`]. To stay
    /// informed, ask at each [`Event::Subscribed`] and set [`Presence::watch`].
    ///
    /// # Errors
    /// [`Error::Closed`] if the client has ended.
    pub async fn ask_members(&self, channel: &str) -> Result<(), Error> {
        let channel = channel.into();
        self.command(Command::Members { channel }).await
    }

    /// Unsubscribes. Messages that came before may still be among the events.
    ///
    /// # Errors
    /// [`Error::Closed`] if the client has ended.
    pub async fn unsubscribe(&self, channel: &str) -> Result<(), Error> {
        let channel = channel.into();
        self.command(Command::Unsubscribe { channel }).await
    }

    /// Publishes a message, and waits until the broker has acknowledged it, for at most [`Options::publish_timeout`]. If
    /// the connection ends or the broker is away meanwhile, the client sends the message again. Without `id` it makes one,
    /// so that receivers can drop repetitions. If the call is cancelled, the message may be published all the same.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::TooLarge`], [`Error::Full`], [`Error::Timeout`] or [`Error::Closed`]. After the last
    /// two the message may be published all the same.
    pub async fn publish<T: Serialize + ?Sized>(
        &self,
        channel: &str,
        data: &T,
        id: Option<&str>,
    ) -> Result<Published, Error> {
        let refused = |error: &dyn std::fmt::Display| Error::Refused {
            code: "malformed".into(),
            message: error.to_string().into(),
        };
        let data = serde_json::value::to_raw_value(data).map_err(|error| refused(&error))?;
        let id = match id {
            Some(id) => id.into(),
            None => new_id().map_err(|error| refused(&error))?,
        };
        if wire::publish_bytes(channel, data.get(), &id) > self.message_bytes {
            return Err(Error::TooLarge);
        }
        let (done, answer) = oneshot::channel();
        let publish = Publish {
            channel: channel.into(),
            data,
            id,
            done,
        };
        let answered = async {
            self.command(Command::Publish(publish)).await?;
            answer.await.map_err(|_ended| Error::Closed)?
        };
        timeout(self.publish_timeout, answered)
            .await
            .map_err(|_late| Error::Timeout)?
    }

    /// Closes the connection, and waits up to two seconds for the hub to confirm it. A publish that is not acknowledged
    /// by then may be published or not.
    pub async fn close(self) {
        // The task closes the socket when nobody can give it commands any more.
        drop(self.commands);
        _ = timeout(LEAVE, self.task).await;
    }

    async fn command(&self, command: Command) -> Result<(), Error> {
        self.commands
            .send(command)
            .await
            .map_err(|_ended| Error::Closed)
    }
}

/// Returns 128 random bits as hexadecimal: an id that no other publish has.
fn new_id() -> Result<Box<str>, getrandom::Error> {
    let (high, low) = (getrandom::u64()?, getrandom::u64()?);
    Ok(format!("{high:016x}{low:016x}").into())
}
