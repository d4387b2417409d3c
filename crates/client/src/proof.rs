//! What the client shows the hub to prove who it is: where a token comes from, when the next one is fetched, and what a
//! refusal means.
//!
//! Knows no socket: frames and answers go out and come in as values, and `connection` carries them. A token is never in a
//! log, an error or `Debug`.

use std::{
    fmt,
    future::{Future, pending},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout};

use super::{Backoff, Event, Options};

/// A token on its way, or the reason why there is none.
pub(super) type Fetched = Pin<Box<dyn Future<Output = Result<String, String>> + Send>>;

/// Where tokens come from.
#[derive(Clone)]
pub(super) enum Source {
    /// There is only this one.
    Fixed(Arc<str>),
    /// Each call fetches one.
    Function(Arc<dyn Fn() -> Fetched + Send + Sync>),
}

impl Source {
    /// Wraps a program's function.
    pub(super) fn function<F, T, E>(fetch: F) -> Self
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Result<String, E>> + Send + 'static,
        E: fmt::Display,
    {
        Self::Function(Arc::new(move || {
            let fetched = fetch();
            Box::pin(async move { fetched.await.map_err(|error| error.to_string()) })
        }))
    }

    /// Fetches a token after a delay, within a time limit.
    fn fetch(&self, delay: Duration, limit: Duration) -> Fetched {
        let source = self.clone();
        Box::pin(async move {
            sleep(delay).await;
            match source {
                Self::Fixed(token) => Ok(token.as_ref().to_owned()),
                Self::Function(fetch) => timeout(limit, fetch())
                    .await
                    .unwrap_or_else(|_late| Err(format!("none came within {limit:?}"))),
            }
        })
    }
}

/// The token of one client, through all its connections.
pub(super) struct Proof {
    source: Option<Source>,
    /// How long the program's function may take.
    limit: Duration,
    /// The token that is to be shown next.
    next: Option<String>,
    /// The one that was shown last; `None` after the hub could not check it, so that the same one is shown again.
    shown: Option<String>,
    /// The `ref` of the `auth` that waits for its answer.
    asked: Option<u64>,
    /// Whether this connection may be used for other things.
    open: bool,
    /// Why the hub has refused the last token; the next one is the last try.
    refusal: Option<Event>,
    /// The token that is being fetched while the connection goes on.
    coming: Option<Fetched>,
    /// The delays before these fetches. They grow where a fetch fails, brings the same token, or one that ends at once.
    delays: Backoff,
    /// When the hub accepted a token last.
    proven: Option<Instant>,
    /// Why the client has to stop.
    verdict: Option<Event>,
}

impl Proof {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            source: options.token.clone(),
            limit: options.connect_timeout,
            next: None,
            shown: None,
            asked: None,
            open: false,
            refusal: None,
            coming: None,
            delays: options.backoff.clone(),
            proven: None,
            verdict: None,
        }
    }

    /// Fetches a token for a new connection. `None` if the client shows none.
    pub(super) fn fetch(&self) -> Option<Fetched> {
        let source = self.source.as_ref()?;
        Some(source.fetch(Duration::ZERO, self.limit))
    }

    /// Begins a connection, on which this token is shown before all else.
    pub(super) fn up(&mut self, token: Option<String>) {
        self.open = token.is_none();
        self.next = token;
        self.asked = None;
        self.coming = None;
    }

    /// Returns true if subscriptions and publishes may be sent: the hub has accepted the token, or there is none.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Returns the `auth` to send, if a token is to be shown.
    pub(super) fn frame(&mut self, reference: u64) -> Option<String> {
        let token = self.next.take()?;
        self.asked = Some(reference);
        let frame = serde_json::json!({ "type": "auth", "ref": reference, "token": token });
        self.shown = Some(token);
        Some(frame.to_string())
    }

    /// Returns true if this answers the last `auth`.
    pub(super) fn is_about(&self, reference: u64) -> bool {
        self.asked == Some(reference)
    }

    /// Notes that the hub has accepted the token. Returns true if the connection may be used from now on, and not before.
    pub(super) fn accepted(&mut self, reference: u64, now: Instant) -> bool {
        if !self.is_about(reference) {
            return false;
        }
        if let Some(before) = self.proven.replace(now) {
            self.delays.lasted(now - before);
        }
        self.asked = None;
        self.refusal = None;
        !std::mem::replace(&mut self.open, true)
    }

    /// Notes that the token is about to end. A fixed one has no successor: it serves to the end, and then the hub says why.
    pub(super) fn expiring(&mut self) {
        if let Some(Source::Function(_)) = self.source {
            self.renew();
        }
    }

    /// Notes that the hub does not accept the token. After the first time another one is fetched; the second is the end.
    pub(super) fn refused(&mut self, code: Box<str>, message: Box<str>) {
        self.asked = None;
        if matches!(&*code, "unavailable" | "unknown") {
            // It could not be checked for now, so the same one may do later.
            self.shown = None;
            return self.renew();
        }
        let refusal = Event::Unauthorized { code, message };
        match self.source {
            Some(Source::Function(_)) if self.refusal.is_none() => {
                self.refusal = Some(refusal);
                self.renew();
            }
            _ => self.verdict = Some(refusal),
        }
    }

    fn renew(&mut self) {
        let delay = self.delays.next();
        let source = self.source.as_ref();
        self.coming = source.map(|source| source.fetch(delay, self.limit));
    }

    /// Takes what was fetched: a new token is shown next. The same one again is of no use, so that another fetch follows,
    /// or the end if the hub has refused it.
    pub(super) fn arrived(&mut self, fetched: Result<String, String>) {
        self.coming = None;
        match fetched {
            Ok(token) if self.shown.as_ref() != Some(&token) => self.next = Some(token),
            Ok(_same) if self.refusal.is_some() => self.verdict = self.refusal.take(),
            Ok(_same) => self.renew(),
            Err(error) => {
                tracing::debug!(%error, "no new token");
                self.renew();
            }
        }
    }

    /// Returns the event that ends this client, if the hub does not accept what it can show.
    pub(super) fn verdict(&mut self) -> Option<Event> {
        self.verdict.take()
    }

    /// Waits for the token that is being fetched, for ever if none is. A cancelled call loses nothing.
    pub(super) async fn arrival(&mut self) -> Result<String, String> {
        match &mut self.coming {
            Some(coming) => coming.await,
            None => pending().await,
        }
    }
}
