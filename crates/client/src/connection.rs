//! The task behind a client: connects, reads, writes, waits, and connects again.

use std::{collections::VecDeque, future::Future, pin::pin, time::Duration};

use futures_util::{SinkExt, StreamExt};
use http::Request;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_tungstenite::tungstenite::{self, protocol::CloseFrame};

use super::{
    Backoff, Command, Event, Options, event,
    options::{Socket, connect},
    publishes::Publishes,
    retries::{Again, Retries},
    subscriptions::Subscriptions,
    wire::Incoming,
};

/// Comings and goings of connections that wait for somebody who does not listen.
const UNHEARD: usize = 64;

/// How one connection ended.
enum Ending {
    /// This side does not want it any more.
    Closed,
    Lost(String),
    /// The hub does not want this client back.
    Terminal(String),
}

pub(super) struct Connection {
    options: Options,
    requests: Vec<Request<()>>,
    turn: usize,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Event>,
    /// Events that found no room; nothing is read while there are any.
    unheard: VecDeque<Event>,
    subscriptions: Subscriptions,
    publishes: Publishes,
    retries: Retries,
    patience: Backoff,
    reference: u64,
    /// Frames to send; filled and emptied within one turn.
    out: Vec<String>,
}

impl Connection {
    pub(super) fn new(
        options: Options,
        requests: Vec<Request<()>>,
        turn: usize,
        commands: mpsc::Receiver<Command>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let mut patience = options.backoff.clone();
        patience.max = Duration::from_secs(2);
        Self {
            subscriptions: Subscriptions::new(options.remember),
            publishes: Publishes::new(options.publishes, options.publish_bytes),
            patience,
            options,
            requests,
            turn,
            commands,
            events,
            unheard: VecDeque::new(),
            retries: Retries::default(),
            reference: 0,
            out: Vec::new(),
        }
    }

    pub(super) async fn run(mut self, first: Socket) {
        let mut socket = first;
        loop {
            let since = Instant::now();
            let ending = self.serve(&mut socket).await;
            drop(socket);
            self.subscriptions.down();
            self.publishes.down();
            self.retries.clear();
            let reason = match ending {
                Ending::Lost(reason) => reason,
                Ending::Closed => return,
                Ending::Terminal(reason) => {
                    self.tell(Event::Ended { reason });
                    while let Some(event) = self.unheard.pop_front() {
                        if self.events.send(event).await.is_err() {
                            return;
                        }
                    }
                    return;
                }
            };
            self.options.backoff.lasted(since.elapsed());
            self.tell(Event::Down { reason });
            socket = match self.connect_again().await {
                Some(socket) => socket,
                None => return,
            };
            self.tell(Event::Up);
        }
    }

    /// `None`: nobody wants it any more.
    async fn connect_again(&mut self) -> Option<Socket> {
        loop {
            let delay = self.options.backoff.next();
            self.meanwhile(sleep(delay)).await?;
            let request = self.requests[self.turn % self.requests.len()].clone();
            self.turn = self.turn.wrapping_add(1);
            let limit = self.options.connect_timeout;
            let attempt = Box::pin(async move { connect(&request, limit).await });
            match self.meanwhile(attempt).await? {
                Ok(socket) => return Some(socket),
                Err(error) => tracing::debug!(%error, "no hub"),
            }
        }
    }

    /// Takes commands while something else is waited for. `None`: nobody wants it any more.
    async fn meanwhile<T>(&mut self, other: impl Future<Output = T>) -> Option<T> {
        let mut other = pin!(other);
        loop {
            tokio::select! {
                done = &mut other => return Some(done),
                command = self.commands.recv() => self.take(command?),
                listens = room(&self.events), if !self.unheard.is_empty() => self.hear(listens),
            }
            // All of it is asked for anew on the next connection.
            self.out.clear();
        }
    }

    async fn serve(&mut self, socket: &mut Socket) -> Ending {
        for channel in self.subscriptions.channels() {
            self.ask(&channel);
            self.question(&channel);
        }
        let (mut seen, mut pinged) = (Instant::now(), false);
        loop {
            self.flush();
            if let Err(reason) = self.write(socket).await {
                return Ending::Lost(reason);
            }
            let watch = seen
                + self.options.idle
                + if pinged {
                    self.options.pong
                } else {
                    Duration::ZERO
                };
            let retry = self.retries.at();
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.take(command),
                    None => {
                        _ = timeout(self.options.pong, socket.close(None)).await;
                        return Ending::Closed;
                    }
                },
                listens = room(&self.events), if !self.unheard.is_empty() => {
                    self.hear(listens);
                    // It was this side that did not read.
                    (seen, pinged) = (Instant::now(), false);
                }
                received = socket.next(), if self.unheard.is_empty() => {
                    (seen, pinged) = (Instant::now(), false);
                    if let Some(ending) = self.receive(received) {
                        return ending;
                    }
                }
                () = sleep_until(watch), if self.unheard.is_empty() => {
                    if pinged {
                        return Ending::Lost("no answer".to_owned());
                    }
                    pinged = true;
                    self.out.push(r#"{"type":"ping"}"#.to_owned());
                }
                () = sleep_until(retry.unwrap_or(watch)), if retry.is_some() => self.retry(),
            }
        }
    }

    async fn write(&mut self, socket: &mut Socket) -> Result<(), String> {
        if self.out.is_empty() {
            return Ok(());
        }
        let sent = async {
            for frame in self.out.drain(..) {
                socket.feed(tungstenite::Message::text(frame)).await?;
            }
            socket.flush().await
        };
        match timeout(self.options.connect_timeout, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the hub does not read".to_owned()),
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Subscribe {
                channel,
                since,
                presence,
            } => {
                if self.subscriptions.insert(&channel, since, presence) {
                    self.ask(&channel);
                }
            }
            Command::Unsubscribe { channel } => {
                self.reference += 1;
                let frame = self.subscriptions.give_up(&channel, self.reference);
                self.out.extend(frame);
            }
            Command::Members { channel } => {
                self.subscriptions.want_members(&channel);
                self.question(&channel);
            }
            Command::Publish(publish) => {
                self.reference += 1;
                self.publishes.insert(self.reference, publish);
            }
        }
    }

    fn ask(&mut self, channel: &str) {
        self.reference += 1;
        self.out
            .extend(self.subscriptions.ask(channel, self.reference));
    }

    fn question(&mut self, channel: &str) {
        self.reference += 1;
        self.out
            .extend(self.subscriptions.question(channel, self.reference));
    }

    fn flush(&mut self) {
        if !self.retries.has(&Again::Publishes) {
            while let Some(frame) = self.publishes.next() {
                self.out.push(frame);
            }
        }
    }

    fn retry(&mut self) {
        for again in self.retries.due(Instant::now()) {
            match again {
                Again::Subscribe(channel) => self.ask(&channel),
                Again::Question(channel) => self.question(&channel),
                // Held back no more.
                Again::Publishes => {}
            }
        }
    }

    fn receive(
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
                let event = self.subscriptions.ended_by_hub(channel);
                event.into_iter().for_each(|event| self.tell(event));
            }
            ("published", _, Some(reference)) => {
                self.patience.lasted(self.patience.stable);
                self.publishes.published(reference, frame.position);
            }
            ("error", _, Some(reference)) => {
                let (code, message) = (frame.code.unwrap_or_default(), frame.message);
                self.refused(reference, code, message.unwrap_or_default());
            }
            _ => {}
        }
    }

    fn refused(&mut self, reference: u64, code: Box<str>, message: Box<str>) {
        let temporary = matches!(&*code, "unavailable" | "unknown");
        match self.subscriptions.asked(reference) {
            Some(again) if temporary => self.again(again),
            Some(Again::Subscribe(channel)) => {
                self.subscriptions.remove(&channel);
                self.tell(Event::Refused {
                    channel,
                    code,
                    message,
                });
            }
            // The hub answers these for every channel that it lets be subscribed.
            Some(_) => {}
            None if temporary && self.publishes.again(reference) => self.again(Again::Publishes),
            None => _ = self.publishes.refused(reference, code, message),
        }
    }

    fn again(&mut self, what: Again) {
        if !self.retries.has(&what) {
            let at = Instant::now() + self.patience.next();
            self.retries.add(at, what);
        }
    }

    fn tell(&mut self, event: Event) {
        let passing = matches!(event, Event::Down { .. } | Event::Up);
        if self.unheard.is_empty() {
            if let Err(mpsc::error::TrySendError::Full(event)) = self.events.try_send(event) {
                self.unheard.push_back(event);
            }
        } else if !passing || self.unheard.len() < UNHEARD {
            self.unheard.push_back(event);
        }
    }

    /// There is room for one more, or nobody listens; then publishing goes on alone.
    fn hear(&mut self, listens: bool) {
        if !listens {
            self.unheard.clear();
        } else if let Some(event) = self.unheard.pop_front()
            && let Err(mpsc::error::TrySendError::Full(event)) = self.events.try_send(event)
        {
            self.unheard.push_front(event);
        }
    }
}

/// Waits for room among the events. Returns false if nobody listens.
async fn room(events: &mpsc::Sender<Event>) -> bool {
    events.reserve().await.is_ok()
}

fn ended(frame: Option<CloseFrame>) -> Ending {
    let code = frame.as_ref().map_or(1005, |frame| frame.code.into());
    let reason = frame.map_or_else(|| "no reason given".to_owned(), |frame| frame.to_string());
    if code < 3500 || (4000..4500).contains(&code) {
        Ending::Lost(reason)
    } else {
        Ending::Terminal(reason)
    }
}
