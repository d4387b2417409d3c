//! One open instance of the second backend, as the hub holds it.

use std::{
    fmt, mem,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use hubplane_backplane::{Backplane, Channel, History, Opened, Outgoing, Receipt, Result, events};
use redis::{RedisError, Value, cmd};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::timeout,
};

use super::{
    CAPABILITIES, STREAMS, ask, history::Past, keys::Keys, log, message, reader::Reader, renamed,
};
use crate::{
    EVENTS,
    config::{Config, Log},
    connection::{Link, dial},
    failure,
    outbox::{CALL_LIMIT, Outbox},
    publish::{self, Writer},
};

/// Connects the hub's calls with the two tasks.
pub(crate) struct Instance {
    config: Arc<Config>,
    outbox: Outbox,
    past: Past,
    renew: Arc<Notify>,
    closed: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("prefix", &self.config.prefix)
            .field("closed", &*self.closed.borrow())
            .finish_non_exhaustive()
    }
}

fn log_of(config: &Config) -> &Log {
    let log = config.log.as_ref();
    log.expect("invariant: a streams address")
}

pub(crate) async fn open(config: Arc<Config>) -> Result<Opened> {
    let keys = &log_of(&config).keys;
    let mut link = dial(&config, None).await?;
    prepare(&config, keys, &mut link).await?;
    let mut publisher = dial(&config, None).await?;
    probe(&config, keys, &mut publisher).await?;
    let (sender, events) = events(EVENTS + keys.count() as usize);
    let renew = Arc::new(Notify::new());
    let reader = Reader::open(&config, &mut link, sender, Arc::clone(&renew)).await?;
    let (closed, closing) = watch::channel(false);
    let (outbox, jobs) = Outbox::new(closing.clone());
    let writer = Writer {
        config: Arc::clone(&config),
        jobs,
        closed: closing.clone(),
    };
    let past = Past::new(Arc::clone(&config), closing.clone());
    let mut ending = closing;
    let tasks = vec![
        tokio::spawn(writer.run(publisher)),
        tokio::spawn(async move {
            // Dropping the reader ends the events, wherever it waits.
            tokio::select! {
                () = reader.run(link) => {}
                () = publish::closing(&mut ending) => {}
            }
        }),
    ];
    let instance = Instance {
        config,
        outbox,
        past,
        renew,
        closed,
        tasks: Mutex::new(tasks),
    };
    Ok(Opened {
        backplane: Arc::new(instance),
        events,
    })
}

/// Whether this server, with these streams, will do.
async fn prepare(config: &Config, keys: &Keys, link: &mut Link) -> Result<()> {
    let failed = |link: &Link, error| failure::of_log(&link.node, &config.prefix, error);
    let hello: Result<Value, RedisError> = cmd("HELLO").query_async(&mut link.connection).await;
    let hello = hello.map_err(|error| failed(link, error))?;
    if version(&hello).is_some_and(|version| version < 7) {
        let node = &link.node;
        return Err(failure::config(format!(
            "{node} is too old: the streams need Redis 7 or newer"
        )));
    }
    let count = ask::count_streams(&mut link.connection, keys).await;
    let count = count.map_err(|error| failed(link, error))?;
    if count != keys.count().to_string() {
        let (prefix, own) = (&config.prefix, keys.count());
        return Err(failure::config(format!(
            "under the prefix {prefix:?} there are {count} streams, and the address asks for {own}; write streams={count}, \
             or choose another prefix=…"
        )));
    }
    warn(link).await;
    Ok(())
}

fn version(hello: &Value) -> Option<u32> {
    let Value::Map(pairs) = hello else {
        return None;
    };
    let named = |(key, _): &&(Value, Value)| log::text(key).as_deref() == Some("version");
    let version = log::text(&pairs.iter().find(named)?.1)?;
    version.split('.').next()?.parse().ok()
}

/// What makes the promises weaker, where the user may ask.
async fn warn(link: &mut Link) {
    let ask = cmd("INFO");
    let Ok(info) = ask.query_async::<String>(&mut link.connection).await else {
        return;
    };
    let node = &link.node;
    if info.contains("aof_enabled:0") {
        tracing::warn!(
            backend = STREAMS, %node,
            "Redis has no append-only file: what is published does not survive its end; set appendonly yes"
        );
    }
    if info.contains("maxmemory_policy:allkeys") {
        tracing::warn!(
            backend = STREAMS, %node,
            "Redis may evict the streams when its memory is full; set maxmemory-policy noeviction"
        );
    }
}

/// Asks for what Redis must refuse, after it has looked at the user's rights.
async fn probe(config: &Config, keys: &Keys, link: &mut Link) -> Result<()> {
    let mut add = cmd("XADD");
    add.arg(keys.stream(0))
        .arg("NOMKSTREAM")
        .arg("0-0")
        .arg("c")
        .arg("");
    match add.exec_async(&mut link.connection).await {
        Err(error) if matches!(error.code(), Some("NOPERM" | "WRONGTYPE")) => {
            Err(failure::of_log(&link.node, &config.prefix, error))
        }
        _ => Ok(()),
    }
}

impl Instance {
    fn check(&self, channels: &[Channel]) -> Result<()> {
        if *self.closed.borrow() {
            return Err(renamed(failure::closed()));
        }
        channels
            .iter()
            .try_for_each(|name| CAPABILITIES.check(STREAMS, name, 0))
    }
}

#[async_trait]
impl Backplane for Instance {
    async fn publish(&self, batch: Vec<Outgoing>) -> Vec<Result<Receipt>> {
        let log = log_of(&self.config);
        let answered = self
            .outbox
            .publish(&batch, |outgoing| message::item(log, outgoing));
        let results = answered.await.into_iter();
        results.map(|result| result.map_err(renamed)).collect()
    }

    async fn subscribe(&self, channels: &[Channel]) -> Result<()> {
        self.check(channels)
    }

    async fn unsubscribe(&self, _channels: &[Channel]) -> Result<()> {
        self.check(&[])
    }

    fn lane(&self, channel: &str) -> Option<u32> {
        Some(log_of(&self.config).keys.lane(channel))
    }

    fn renew(&self) {
        self.renew.notify_one();
    }

    fn history(&self) -> Option<&dyn History> {
        Some(&self.past)
    }

    async fn close(&self) {
        self.closed.send_replace(true);
        self.past.close();
        let tasks = mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            let abort = task.abort_handle();
            if timeout(CALL_LIMIT / 2, task).await.is_err() {
                abort.abort();
            }
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // The tasks see it and end; nothing of an instance outlives it.
        self.closed.send_replace(true);
    }
}
