//! A client of the hub that stays connected: the native protocol over WebSocket, as `docs/protocol.md` has it.
//!
//! When the connection ends it connects again, to the next address, after a random delay that doubles; it subscribes
//! again from where it was, sends again what was not acknowledged, under the same ids, drops repetitions, and says when
//! something may have been missed. It knows nothing of the hub's inside; only `ws:`, so over other networks through a
//! proxy that ends TLS.
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
use self::{connection::Connection, options::connect, publishes::Publish};

/// The cause of a gap after a new connection, when the hub could not say what was missed.
pub const NOT_RECOVERED: &str = "not_recovered";

/// Commands that wait for the connection's task.
const COMMANDS: usize = 64;
/// To take leave of the hub.
const LEAVE: Duration = Duration::from_secs(2);

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

/// A connection to a hub, or to whichever of several is there. It ends when this is dropped.
#[derive(Debug)]
pub struct Client {
    commands: mpsc::Sender<Command>,
    task: JoinHandle<()>,
    publish_timeout: Duration,
    message_bytes: usize,
}

/// What a client hears. Take the events while you wait for a publish: when [`Options::events`] wait, nothing is read from
/// the hub, acknowledgements neither. Whoever only publishes may drop this.
#[derive(Debug)]
pub struct Events(mpsc::Receiver<Event>);

impl Events {
    /// The next; `None` after the client's end. May be cancelled.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }
}

impl Client {
    /// Connects. Only the first connection is this call's affair: it tries each address once.
    ///
    /// # Errors
    /// [`Error::Options`]: they can't work. [`Error::Connect`], [`Error::Denied`]: the last address's hub can't be reached,
    /// or refuses this client.
    pub async fn connect(options: Options) -> Result<(Self, Events), Error> {
        let requests = options.requests()?;
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
        let connection = Connection::new(options, requests, turn + 1, taken, events);
        let client = Self {
            commands,
            task: tokio::spawn(connection.run(socket)),
            publish_timeout,
            message_bytes,
        };
        Ok((client, Events(heard)))
    }

    /// Subscribes, from after `since` where that is given; the answer comes as an event. Does nothing where it is
    /// subscribed already.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn subscribe(&self, channel: &str, since: Option<&str>) -> Result<(), Error> {
        self.command(Command::Subscribe {
            channel: channel.into(),
            since: since.map(Into::into),
            presence: None,
        })
        .await
    }

    /// As [`Client::subscribe`], and takes part in the channel's presence, after each new connection again.
    ///
    /// # Errors
    /// [`Error::Closed`].
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

    /// Asks who is on a channel that is subscribed; the answer comes as [`Event::Members`]. To know it always, ask at
    /// each [`Event::Subscribed`], and watch.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn ask_members(&self, channel: &str) -> Result<(), Error> {
        let channel = channel.into();
        self.command(Command::Members { channel }).await
    }

    /// Unsubscribes; what has come before may still be among the events.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn unsubscribe(&self, channel: &str) -> Result<(), Error> {
        let channel = channel.into();
        self.command(Command::Unsubscribe { channel }).await
    }

    /// Publishes, and waits until the broker has acknowledged: across new connections, and while the broker is away.
    /// An id is made where none is given. Cancelled, it may be published all the same.
    ///
    /// # Errors
    /// Any but [`Error::Connect`], [`Error::Denied`] and [`Error::Options`].
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

    /// Ends the connection in good order. What is not acknowledged may be published or not.
    pub async fn close(self) {
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

fn new_id() -> Result<Box<str>, getrandom::Error> {
    let (high, low) = (getrandom::u64()?, getrandom::u64()?);
    Ok(format!("{high:016x}{low:016x}").into())
}
