//! Your own backend decides: the hub asks it by HTTP whether a client may connect, subscribe or
//! publish.
//!
//! What must hold: without an answer that is understood in full, nothing is allowed; a backend that
//! is slow or away costs the hub a limited number of connections and bytes. This module must not know the
//! hub's sockets and routes, or what a client is told.
//!
//! # The protocol
//!
//! The hub sends a `POST` with a JSON object to the URL of `connect`, `subscribe` or `publish`:
//!
//! ```json
//! {"type":"connect","address":"192.0.2.7","client":"phone","headers":{"cookie":"sid=…"}}
//! {"type":"subscribe","address":"192.0.2.7","user":"ann","channel":"orders.7","headers":{}}
//! {"type":"publish","address":"192.0.2.7","user":"ann","channel":"orders.7","headers":{},"data":{"n":1}}
//! ```
//!
//! | part | meaning |
//! |---|---|
//! | `type` | what the client wants; `connect` too when a permission is about to end |
//! | `address` | the address that the client comes from |
//! | `user`, `client` | who it is, and its own name; absent where not known |
//! | `channel` | the channel, for `subscribe` and `publish` |
//! | `headers` | those headers of the client's request that the setting `headers` names, in lower case, cookies included; several values are joined by `, ` (cookies by `; `), and a value that is not UTF-8 is left out |
//! | `data` | the message, for `publish`: JSON as it is, other text as a string, other bytes as `{"base64":"…"}` |
//!
//! The backend answers with status 200 and a JSON object:
//!
//! ```json
//! {"allow":true,"user":"ann","permissions":[{"channels":["orders.*"],"allow":["subscribe"]}],
//!  "info":{"name":"Ann"},"channels":["orders.7"],"expires_in":3600}
//! {"allow":false,"reason":"the account is closed"}
//! ```
//!
//! | part | meaning |
//! |---|---|
//! | `allow` | whether the client may; required |
//! | `reason` | a sentence for the client, with `"allow":false` |
//! | `user` | the user's name, not empty |
//! | `permissions` | what is allowed on which channels |
//! | `info` | what others see about the client where it is present |
//! | `channels` | the channels to which the client is subscribed at once |
//! | `expires_in` | for how many seconds all of this holds, from 1; more than a year is cut |
//!
//! Status 401 or 403 is a refusal too, whatever the body says but for its `reason`. Every other
//! status, a part that is not in this table, and anything but JSON mean that the endpoint failed. No
//! redirect is followed. A question may come twice, because one that found no connection or got a status
//! of 500 and above is asked once more.
//!
//! # The signature
//!
//! Each request has a header `Hubplane-Signature: t=UNIXTIME,v1=HEX`. `HEX` is the HMAC-SHA256 over the
//! digits of `t`, a full stop and the body as it was received, with the secret of the setting `secret`
//! as its key (white space around it does not count). A backend compares it, and refuses
//! what is too old, so that nobody else can ask it, or send what it was once asked again:
//!
//! ```python
//! def comes_from_the_hub(secret: bytes, header: str, body: bytes) -> bool:
//!     parts = dict(part.split("=", 1) for part in header.split(","))
//!     wanted = hmac.new(secret, parts["t"].encode() + b"." + body, "sha256").hexdigest()
//!     return hmac.compare_digest(wanted, parts["v1"]) and abs(time.time() - int(parts["t"])) <= 300
//! ```
//!
//! In Rust, [`SigningKey::verify`] does the same.
//!
//! # Settings
//!
//! ```toml
//! [endpoint]
//! connect = "https://backend.example/hub/connect"
//! secret = "file:/run/secrets/endpoint"   # or "env:NAME", 32 bytes at least
//! headers = ["cookie"]
//! ```
//!
//! All of them, with their defaults, are in [`EndpointConfig`]. A URL is `https`, and its host has public
//! addresses alone, unless `allow_private = true`: then plain `http` and addresses of the own network,
//! loopback too, are allowed. A cloud's metadata service, multicast and `0.0.0.0` never are. The addresses
//! are checked at each connection, and the connection goes to those; a name with one address that is not
//! allowed is refused.
//!
//! # When the backend does not answer
//!
//! After five failures in a row (`failures`) a URL is not asked for 5 s (`pause`); then one question tries.
//! Nothing is allowed meanwhile: who connects is told when to come back. What becomes of a session
//! whose permission ends then is for `open` to say: with `"refuse"` it is ended, with `"keep"` it goes on.

mod answer;
mod breaker;
mod config;
mod error;
mod question;
mod queue;
mod signature;
#[cfg(test)]
mod tests;

pub use self::{
    answer::{Allowed, Answer, MAX_EXPIRY},
    config::{EndpointConfig, Open},
    error::{EndpointError, Failure},
    question::{Question, Wish},
    signature::{BadSignature, MIN_SECRET, SIGNATURE_HEADER, SigningKey},
};

use std::{
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, Response, header};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use self::{
    breaker::{Breaker, Change, Leave, Outcome},
    queue::{Place, Queue},
};
use crate::outbound::{Outbound, OutboundError, Target};

/// What clients are told to wait where nothing better is known.
const RETRY: Duration = Duration::from_secs(1);

/// The operator's backend, which decides. Shared by all who ask.
#[derive(Debug)]
pub struct Endpoint {
    outbound: Outbound,
    connect: Option<Route>,
    subscribe: Option<Route>,
    publish: Option<Route>,
    key: SigningKey,
    headers: Vec<HeaderName>,
    queue: Queue,
    timeout: Duration,
    open: Open,
}

/// The URL for one kind of question. Each has a breaker of its own: where one is wrong, the others
/// still answer.
#[derive(Debug)]
struct Route {
    word: &'static str,
    target: Target,
    pause: Duration,
    breaker: Mutex<Breaker>,
}

impl Endpoint {
    /// Reads the secret and the authorities' file, and checks the URLs. Connects to nothing.
    ///
    /// # Errors
    /// A sentence that names the setting which is wrong.
    pub fn new(config: &EndpointConfig) -> Result<Self, String> {
        config.check()?;
        let outbound =
            Outbound::new(&config.outbound()).map_err(|error| format!("[endpoint] {error}"))?;
        Self::with_parts(config, outbound, config.signing_key()?)
    }

    fn with_parts(
        config: &EndpointConfig,
        outbound: Outbound,
        key: SigningKey,
    ) -> Result<Self, String> {
        let route = |word, url: &Option<hubplane_backplane::Secret>| {
            let url = url.as_ref().map(|url| outbound.target(url.reveal()));
            let target = url
                .transpose()
                .map_err(|error| format!("[endpoint] {word}: {error}"))?;
            Ok::<_, String>(target.map(|target| Route {
                word,
                target,
                pause: config.pause,
                breaker: Mutex::new(Breaker::new(config.failures, config.pause)),
            }))
        };
        Ok(Self {
            connect: route("connect", &config.connect)?,
            subscribe: route("subscribe", &config.subscribe)?,
            publish: route("publish", &config.publish)?,
            key,
            headers: config.header_names()?,
            queue: Queue::new(config.concurrency, config.queue, config.queue_bytes),
            timeout: config.timeout,
            open: config.open,
            outbound,
        })
    }

    /// Returns true if the settings name a URL for such a question.
    pub fn asks(&self, wish: &Wish<'_>) -> bool {
        self.route(wish).is_some()
    }

    /// Returns those of a client's headers that are passed on.
    pub fn passed(&self, headers: &HeaderMap) -> HeaderMap {
        let named = headers
            .iter()
            .filter(|(name, _)| self.headers.contains(name));
        named
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// Returns true if clients' cookies are passed on.
    pub fn passes_cookies(&self) -> bool {
        self.headers.contains(&header::COOKIE)
    }

    /// Asks the backend. The question is written down at once, so what it borrows is free while the
    /// answer is waited for. When the future is dropped, the question leaves the queue. Needs a runtime of
    /// tokio with time and I/O.
    ///
    /// # Errors
    /// There is no decision; nothing is allowed then.
    pub fn ask<'a>(
        &'a self,
        question: Question<'_>,
    ) -> impl Future<Output = Result<Answer, EndpointError>> + Send + use<'a> {
        let start = self.enter(question);
        async move {
            let (route, place, body) = start?;
            let _turn = place.turn().await;
            let asked = route.ask();
            let asked = asked.map_err(|wait| self.error(Some(route), Failure::Paused, wait))?;
            // In a box, so that those who wait do not hold the room for it.
            let answer = Box::pin(self.try_twice(route, &body))
                .await
                .and_then(|answer| Answer::read(answer.status(), answer.body()));
            asked.end(answer.as_ref().err());
            answer.map_err(|how| self.error(Some(route), Failure::Failed(how), RETRY))
        }
    }

    /// Takes a place in the queue. Nobody waits while the endpoint is paused, or for a place that is
    /// not there.
    fn enter(&self, question: Question<'_>) -> Result<(&Route, Place<'_>, Bytes), EndpointError> {
        let Some(route) = self.route(&question.wish) else {
            return Err(self.error(None, Failure::NotAsked, RETRY));
        };
        let pause = route.breaker().closed_for(Instant::now());
        if let Some(wait) = pause {
            return Err(self.error(Some(route), Failure::Paused, wait));
        }
        let body = question.body(&self.headers);
        match self.queue.enter(body.len()) {
            Some(place) => Ok((route, place, body)),
            None => Err(self.error(Some(route), Failure::Busy, RETRY)),
        }
    }

    const fn route(&self, wish: &Wish<'_>) -> Option<&Route> {
        match wish {
            Wish::Connect => self.connect.as_ref(),
            Wish::Subscribe { .. } => self.subscribe.as_ref(),
            Wish::Publish { .. } => self.publish.as_ref(),
        }
    }

    /// Sends the question; once more if there was no connection or the backend says that it failed.
    async fn try_twice(&self, route: &Route, body: &Bytes) -> Result<Response<Bytes>, String> {
        let end = Instant::now() + self.timeout;
        let first = self.send(route, body, self.timeout).await;
        let again = match &first {
            Ok(answer) => answer.status().is_server_error(),
            Err(error) => matches!(error, OutboundError::Connection(_)),
        };
        let left = end.saturating_duration_since(Instant::now());
        let last = match again && !left.is_zero() {
            true => self.send(route, body, left).await,
            false => first,
        };
        last.map_err(|error| match error {
            OutboundError::Timeout => {
                format!("it did not answer within {:?} (timeout)", self.timeout)
            }
            OutboundError::TooLarge => "its answer is too large (answer_bytes)".to_owned(),
            other => other.to_string(),
        })
    }

    /// Sends the question, signed now.
    async fn send(
        &self,
        route: &Route,
        body: &Bytes,
        within: Duration,
    ) -> Result<Response<Bytes>, OutboundError> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let request = Request::builder()
            .method(Method::POST)
            .header(header::CONTENT_TYPE, "application/json")
            .header(
                header::USER_AGENT,
                concat!("hubplane/", env!("CARGO_PKG_VERSION")),
            )
            .header(SIGNATURE_HEADER, self.key.sign(now.as_secs(), body))
            .body(body.clone())
            .expect("invariant: names and values of these headers are valid");
        self.outbound.send(&route.target, request, within).await
    }

    fn error(
        &self,
        route: Option<&Route>,
        failure: Failure,
        retry_after: Duration,
    ) -> EndpointError {
        EndpointError {
            failure,
            retry_after,
            sessions_go_on: self.open == Open::Keep,
            origin: route.map_or("", |route| route.target.origin()).to_owned(),
        }
    }
}

impl Route {
    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        // Its state is one assignment, so it is whole whoever panicked.
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to ask.
    ///
    /// # Errors
    /// The time after which it is worth asking again.
    fn ask(&self) -> Result<Asked<'_>, Duration> {
        let leave = self.breaker().ask(Instant::now())?;
        let outcome = Outcome::Unknown;
        Ok(Asked {
            route: self,
            leave,
            outcome,
            how: "",
        })
    }
}

/// A question that is being asked. The breaker is told how it ended, also when nobody waits for it
/// any more.
struct Asked<'a> {
    route: &'a Route,
    leave: Leave,
    outcome: Outcome,
    /// How it failed.
    how: &'a str,
}

impl<'a> Asked<'a> {
    /// Ends it with how it failed, or with `None` if there is an answer.
    fn end(mut self, how: Option<&'a String>) {
        self.outcome = match how {
            Some(_) => Outcome::Failed,
            None => Outcome::Answered,
        };
        self.how = how.map_or("", |how| how);
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        let change = self.route.breaker().report(self.leave, self.outcome, now);
        let (endpoint, question) = (self.route.target.origin(), self.route.word);
        let (pause, how) = (self.route.pause, self.how);
        match change {
            Some(Change::Opened) => warn!(
                endpoint,
                question, "the endpoint failed too often and is not asked for {pause:?}: {how}"
            ),
            Some(Change::Closed) => info!(endpoint, question, "the endpoint answers again"),
            None if self.outcome == Outcome::Failed => {
                debug!(endpoint, question, "the endpoint failed: {how}");
            }
            None => {}
        }
    }
}
