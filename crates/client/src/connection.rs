//! The task behind a client: connects, reads, writes, waits, and connects again.
//!
//! Only this task touches the socket and the clock. `connection/incoming.rs` takes the frames that come; what one means for
//! a subscription or a publish is decided in `subscriptions` and `publishes`.

mod incoming;

use std::{collections::VecDeque, future::Future, pin::pin, time::Duration};

use futures_util::{SinkExt, StreamExt};
use http::Request;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_tungstenite::tungstenite;

use super::{
    Backoff, Command, Event, Options,
    options::{Socket, connect},
    proof::Proof,
    publishes::Publishes,
    retries::{Again, Retries},
    subscriptions::Subscriptions,
};

/// How many events may wait here at most before [`Event::Down`] and [`Event::Up`] are dropped. A program that takes no
/// events while a hub comes and goes for days must not fill the memory with them.
const UNHEARD: usize = 64;

/// How one connection ended.
enum Ending {
    /// The program has dropped or closed its client.
    Closed,
    /// It broke, or the hub ended it in a way that lets the client come back. With the reason.
    Lost(String),
    /// There is no coming back. With the event that says why.
    Terminal(Event),
}

/// The state of a client, through all its connections.
pub(super) struct Connection {
    options: Options,
    /// The handshake for each address.
    requests: Vec<Request<()>>,
    /// Which address the next attempt takes; wraps around.
    turn: usize,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Event>,
    /// Events that found no room. While there are any, nothing is read, so TCP holds the hub back.
    unheard: VecDeque<Event>,
    subscriptions: Subscriptions,
    publishes: Publishes,
    retries: Retries,
    proof: Proof,
    /// The code and sentence of the hub's last error that answers nothing.
    warning: Option<(Box<str>, Box<str>)>,
    /// The delays before a command is sent again that the hub could not carry out for now.
    patience: Backoff,
    /// The last `ref` that was used; each is used once in a client's life.
    reference: u64,
    /// Frames to send; filled and emptied within one turn of the loop.
    out: Vec<String>,
}

impl Connection {
    /// Returns a client's state. The next attempt to connect takes the address number `turn`.
    pub(super) fn new(
        options: Options,
        requests: Vec<Request<()>>,
        turn: usize,
        commands: mpsc::Receiver<Command>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let mut patience = options.backoff.clone();
        // The connection stands, so only the broker is away: asking every 2 s is cheap, and waiting longer gains nothing.
        patience.max = Duration::from_secs(2);
        Self {
            subscriptions: Subscriptions::new(options.remember),
            publishes: Publishes::new(options.publishes, options.publish_bytes),
            patience,
            requests,
            turn,
            commands,
            events,
            unheard: VecDeque::new(),
            retries: Retries::default(),
            proof: Proof::new(&options),
            warning: None,
            reference: 0,
            out: Vec::new(),
            options,
        }
    }

    /// Serves the first connection and those that follow, until the program or the hub wants no more. On the first one the
    /// hub is shown this token, if there is one.
    pub(super) async fn run(mut self, first: Socket, token: Option<String>) {
        let mut socket = first;
        self.proof.up(token);
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
                Ending::Terminal(event) => {
                    self.tell(event);
                    // The last event says why: wait until the program has taken it.
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

    /// Connects, however many attempts it takes. Returns `None` if the program has ended the client meanwhile.
    async fn connect_again(&mut self) -> Option<Socket> {
        loop {
            let delay = self.options.backoff.next();
            self.meanwhile(sleep(delay)).await?;
            let token = match self.proof.fetch() {
                None => None,
                Some(fetched) => match self.meanwhile(fetched).await? {
                    Ok(token) => Some(token),
                    Err(error) => {
                        tracing::debug!(%error, "no token");
                        continue;
                    }
                },
            };
            let request = self.requests[self.turn % self.requests.len()].clone();
            self.turn = self.turn.wrapping_add(1);
            let limit = self.options.connect_timeout;
            let attempt = Box::pin(async move { connect(&request, limit).await });
            match self.meanwhile(attempt).await? {
                Ok(socket) => {
                    self.proof.up(token);
                    return Some(socket);
                }
                Err(error) => tracing::debug!(%error, "no hub"),
            }
        }
    }

    /// Waits for something, and takes commands meanwhile, so that calls do not hang while there is no connection. Returns
    /// `None` if the program has ended the client.
    async fn meanwhile<T>(&mut self, other: impl Future<Output = T>) -> Option<T> {
        let mut other = pin!(other);
        loop {
            tokio::select! {
                done = &mut other => return Some(done),
                command = self.commands.recv() => self.take(command?),
                listens = room(&self.events), if !self.unheard.is_empty() => self.hear(listens),
            }
            // The next connection asks for everything again, so these frames are not needed.
            self.out.clear();
        }
    }

    /// Serves one connection to its end.
    async fn serve(&mut self, socket: &mut Socket) -> Ending {
        if self.proof.is_open() {
            self.ask_for_all();
        }
        let (mut seen, mut pinged) = (Instant::now(), false);
        loop {
            if let Some(event) = self.proof.verdict() {
                _ = timeout(self.options.pong, socket.close(None)).await;
                return Ending::Terminal(event);
            }
            self.prepare();
            if let Err(reason) = self.write(socket).await {
                return Ending::Lost(reason);
            }
            let watch = seen + self.patience_with_silence(pinged);
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
                    // Nothing was read while events waited, so the silence says nothing of the hub.
                    (seen, pinged) = (Instant::now(), false);
                }
                received = socket.next(), if self.unheard.is_empty() => {
                    (seen, pinged) = (Instant::now(), false);
                    if let Some(ending) = self.receive(received) {
                        return ending;
                    }
                }
                () = sleep_until(watch), if self.unheard.is_empty() => {
                    if pinged || !self.proof.is_open() {
                        return Ending::Lost("no answer".to_owned());
                    }
                    pinged = true;
                    self.out.push(r#"{"type":"ping"}"#.to_owned());
                }
                () = sleep_until(retry.unwrap_or(watch)), if retry.is_some() => self.retry(),
                fetched = self.proof.arrival() => self.proof.arrived(fetched),
            }
        }
    }

    /// Returns how long the hub may be silent: first until a ping, and then until the connection is given up. The answer to
    /// the first token belongs to making the connection.
    fn patience_with_silence(&self, pinged: bool) -> Duration {
        let options = &self.options;
        match (self.proof.is_open(), pinged) {
            (false, _) => options.connect_timeout,
            (true, false) => options.idle,
            (true, true) => options.idle + options.pong,
        }
    }

    /// Puts together what is to be sent now. Before the hub has accepted the token that is nothing but the token.
    fn prepare(&mut self) {
        match self.proof.is_open() {
            true => self.flush(),
            // All of it is asked for again then.
            false => self.out.clear(),
        }
        self.reference += 1;
        self.out.extend(self.proof.frame(self.reference));
    }

    /// Subscribes to all channels, and asks for the members where the program waits for them.
    fn ask_for_all(&mut self) {
        for channel in self.subscriptions.channels() {
            self.ask(&channel);
            self.question(&channel);
        }
    }

    /// Writes what waits in `out`. The error is the reason why the connection is lost.
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

    /// Carries out a command, with or without a connection.
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

    /// Sends a subscribe, if there is still such a subscription.
    fn ask(&mut self, channel: &str) {
        self.reference += 1;
        self.out
            .extend(self.subscriptions.ask(channel, self.reference));
    }

    /// Asks for the members, if the program waits for them.
    fn question(&mut self, channel: &str) {
        self.reference += 1;
        self.out
            .extend(self.subscriptions.question(channel, self.reference));
    }

    /// Sends publishes, as many as may be unanswered, unless the hub has just refused one for now.
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
                // `flush` sends them, since this no longer waits.
                Again::Publishes => {}
            }
        }
    }

    /// Tries something again after a delay, unless it waits already.
    fn again(&mut self, what: Again) {
        if !self.retries.has(&what) {
            let at = Instant::now() + self.patience.next();
            self.retries.add(at, what);
        }
    }

    /// Tells the program an event, or keeps it until there is room. The order stays the same.
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

    /// Moves one waiting event to the program, which has room now. If the program has dropped its events, forgets all
    /// that wait, so that a program that only publishes can go on.
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
