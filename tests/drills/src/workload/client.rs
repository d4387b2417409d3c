//! A WebSocket client of the native protocol: it keeps each channel's last position, comes again with it when it is
//! cut off, and writes down all that it sees.

use std::{
    borrow::Cow,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};

use super::{Journal, Payload, Shared, Stage, fnv, random::Random};
use crate::{Result, checker::What};

/// How a client behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    Steady,
    /// Cuts its connection every few seconds and comes again.
    Restless,
    /// Reads about a KiB a second from small buffers, until it is cut off for it; then like the others.
    Slow,
    /// Reads nothing at all for so many seconds, then goes on.
    Deaf(u64),
}

/// Any message of a hub; which fields it has depends on its type.
#[derive(Debug, Deserialize)]
struct Push<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow, default)]
    channel: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    position: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    cause: Cow<'a, str>,
    #[serde(default)]
    recovered: bool,
    #[serde(rename = "ref", default)]
    reference: Option<usize>,
}

/// What the client keeps of a channel.
#[derive(Debug)]
struct Channel {
    name: String,
    /// Of the last message, or of the subscription; goes along with the next subscribe.
    position: Option<String>,
    /// A position went along with the last subscribe.
    since: bool,
    /// Has ever been subscribed, which is counted once.
    known: bool,
}

type Socket = WebSocketStream<TcpStream>;

/// One client over all its connections.
#[derive(Debug)]
pub(crate) struct Client {
    habit: Habit,
    channels: Vec<Channel>,
    shared: Arc<Shared>,
    journal: Journal,
    random: Random,
}

/// Why a connection is over.
enum Over {
    /// By the hub, or by a failure, with the code that was seen.
    Closed(u16),
    /// By this client.
    Left,
    /// The run is over.
    Ended,
}

impl Client {
    pub(crate) fn new(
        number: usize,
        habit: Habit,
        channels: Vec<String>,
        shared: Arc<Shared>,
        journal: Journal,
    ) -> Self {
        let channels = channels.into_iter().map(|name| Channel {
            name,
            position: None,
            since: false,
            known: false,
        });
        Self {
            habit,
            channels: channels.collect(),
            // Publishers have numbers below 1,000, so no two writers have the same choices.
            random: Random::new(shared.seed, 1000 + number as u64),
            shared,
            journal,
        }
    }

    /// Connects again and again until the run ends.
    pub(crate) async fn run(mut self) -> Result<()> {
        while *self.shared.stage.borrow() != Stage::Ended {
            let (hub, socket) = {
                let (hub, address) = self.shared.balancer.next();
                (hub.to_owned(), self.connect(address).await)
            };
            // A hub that is down refuses at once; without a pause the client would only spin.
            let Ok(socket) = socket else {
                sleep(self.random.between(20, 120)).await;
                continue;
            };
            self.journal.write(&What::Connected { hub })?;
            match self.connection(socket).await? {
                Over::Ended => break,
                Over::Left => {
                    // Code 0 stands for the client's own end.
                    self.journal.write(&What::Closed { code: 0 })?;
                    sleep(self.random.between(0, 1500)).await;
                }
                Over::Closed(code) => {
                    self.journal.write(&What::Closed { code })?;
                    // Cut off once, it has done its part.
                    if matches!(self.habit, Habit::Slow | Habit::Deaf(_)) {
                        self.habit = Habit::Steady;
                    }
                    // All clients of a dead hub come back, though not in the same millisecond.
                    sleep(self.random.between(0, 200)).await;
                }
            }
        }
        self.journal.flush()
    }

    async fn connect(&self, address: SocketAddr) -> Result<Socket> {
        let socket = TcpSocket::new_v4()?;
        let config = WebSocketConfig::default();
        let config = if matches!(self.habit, Habit::Slow | Habit::Deaf(_)) {
            // Small buffers, so that what it does not read stays with the hub.
            socket.set_recv_buffer_size(4096)?;
            config.read_buffer_size(1024)
        } else {
            config.read_buffer_size(16 * 1024)
        };
        let attempt = async {
            let stream = socket.connect(address).await?;
            stream.set_nodelay(true)?;
            let request = format!("ws://{address}/ws");
            Ok::<_, crate::Error>(
                client_async_with_config(request, stream, Some(config))
                    .await?
                    .0,
            )
        };
        // A frozen hub takes connections, since the kernel does, and answers nothing.
        timeout(Duration::from_secs(5), attempt).await?
    }

    /// Serves one connection to its end.
    async fn connection(&mut self, mut socket: Socket) -> Result<Over> {
        for at in 0..self.channels.len() {
            if self.subscribe(&mut socket, at).await.is_err() {
                // 1006 is what a client sees without a close frame (RFC 6455, section 7.4.1).
                return Ok(Over::Closed(1006));
            }
        }
        let leave = match self.habit {
            Habit::Restless => Instant::now() + self.random.between(3000, 10_000),
            // Never, for all practical purposes.
            _ => Instant::now() + Duration::from_secs(1_000_000),
        };
        let mut deaf = match self.habit {
            Habit::Deaf(seconds) => Some(Duration::from_secs(seconds)),
            _ => None,
        };
        let mut stage = self.shared.stage.clone();
        loop {
            let message = tokio::select! {
                message = socket.next() => message,
                // Restless clients stay while everything settles: they must hear what is left.
                () = sleep_until(leave), if *stage.borrow() == Stage::Running => return Ok(Over::Left),
                changed = stage.changed() => {
                    if changed.is_err() || *stage.borrow() == Stage::Ended {
                        return Ok(Over::Ended);
                    }
                    continue;
                }
            };
            match message {
                Some(Ok(Message::Text(text))) => {
                    let again = self.push(&text)?;
                    // It has the answer to its subscribe, and now it looks away.
                    if let Some(deaf) = deaf.take() {
                        sleep(deaf).await;
                        self.journal.write(&What::Awake)?;
                    }
                    if let Some(at) = again {
                        // A hub that refused may be about to recover.
                        sleep(Duration::from_millis(200)).await;
                        if self.subscribe(&mut socket, at).await.is_err() {
                            return Ok(Over::Closed(1006));
                        }
                    }
                }
                Some(Ok(Message::Close(frame))) => {
                    // 1005: a close frame without a code.
                    return Ok(Over::Closed(frame.map_or(1005, |frame| frame.code.into())));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Ok(Over::Closed(1006)),
            }
            if self.habit == Habit::Slow && !self.shared.hurry.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(500)).await;
            }
        }
    }

    /// Asks for a channel, from the last position on if there is one.
    async fn subscribe(&mut self, socket: &mut Socket, at: usize) -> Result<()> {
        let channel = &mut self.channels[at];
        channel.since = channel.position.is_some();
        let mut command = json!({ "type": "subscribe", "ref": at, "channel": channel.name });
        if let Some(position) = &channel.position {
            command["since"] = json!(position);
        }
        Ok(socket.send(Message::text(command.to_string())).await?)
    }

    /// Writes down what came; a channel whose subscription failed is to be asked for again.
    fn push(&mut self, text: &str) -> Result<Option<usize>> {
        // The time first: reading the message must not count.
        let t = self.journal.now();
        let push: Push<'_> =
            serde_json::from_str(text).map_err(|error| format!("{error}: {text}"))?;
        match push.kind {
            "message" => self.message(t, &push)?,
            "subscribed" => {
                let at = push.reference.ok_or("subscribed without ref")?;
                let channel = &mut self.channels[at];
                if !std::mem::replace(&mut channel.known, true) {
                    self.shared.subscribed.fetch_add(1, Ordering::Relaxed);
                }
                let what = What::Subscribed {
                    channel: channel.name.clone(),
                    recovered: push.recovered,
                    since: channel.since,
                };
                // What was missed is still to come, so its own position is the one to go on from.
                if !push.recovered {
                    channel.position = push.position.map(Cow::into_owned);
                }
                self.journal.write_at(t, &what)?;
            }
            "gap" => {
                let what = What::Gap {
                    channel: push.channel.into_owned(),
                    cause: push.cause.into_owned(),
                };
                self.journal.write_at(t, &what)?;
            }
            "error" => return Ok(push.reference),
            _ => {}
        }
        Ok(None)
    }

    /// Writes down a message, and keeps its position for the next subscribe.
    fn message(&mut self, t: u64, push: &Push<'_>) -> Result<()> {
        let data = push.data.map_or("", RawValue::get);
        if let (Some(position), Some(channel)) = (
            &push.position,
            self.channels
                .iter_mut()
                .find(|channel| channel.name == push.channel),
        ) {
            // The text is used again: there are many thousand messages.
            let kept = channel.position.get_or_insert_default();
            kept.clear();
            kept.push_str(position);
        }
        let what = match serde_json::from_str::<Payload<'_>>(data) {
            Ok(payload) => What::Message {
                channel: push.channel.to_string(),
                publisher: payload.publisher.to_owned(),
                seq: payload.seq,
                // Of the bytes as they came, so that any change is seen.
                hash: fnv(data.as_bytes()),
                id: push.id.as_deref().unwrap_or_default().to_owned(),
            },
            Err(_) => What::Foreign {
                channel: push.channel.to_string(),
                text: data.chars().take(80).collect(),
            },
        };
        self.journal.write_at(t, &what)
    }
}
