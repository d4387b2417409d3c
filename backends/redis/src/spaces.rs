//! Lets the conformance suite use somebody's Redis without touching anything of theirs: each case
//! gets a prefix of its own behind the address's.
//!
//! So an ACL for the address's prefix covers the cases, too; and nothing here uses a command that
//! the documentation's ACL doesn't allow. Only the suite calls this; a running hub never does.

use std::sync::Arc;

use async_trait::async_trait;
use hubplane_backplane::{Address, Error, ErrorKind, Leaving, Result, Spaces};
use redis::{Cmd, cmd};

use crate::{
    RedisDriver,
    backend::NAME,
    config::{Config, PREFIX, PubSub},
    connection::Link,
    dial::Dialer,
    failure,
    streams::{StreamsDriver, backend::renamed, config::Log, keys::Part},
};

/// Returns the address with a prefix of its own for the case `name`. An address that can't be read
/// gets the default prefix; opening it says what is wrong.
fn within(address: &Address, name: &str) -> Address {
    let prefix = address.settings(NAME).text("prefix").ok().flatten();
    let prefix = prefix.unwrap_or(PREFIX);
    address.clone().with("prefix", format!("{prefix}{name}:"))
}

#[async_trait]
impl Spaces for RedisDriver {
    fn within(&self, address: &Address, name: &str) -> Address {
        within(address, name)
    }

    /// Returns nothing: subscriptions end with their connections.
    fn leaves(&self, _: &Address) -> Vec<Leaving> {
        Vec::new()
    }

    /// Does nothing, since nothing stays.
    async fn remove(&self, _: &Address) -> Result<()> {
        Ok(())
    }

    /// Publishes a bare payload, as a program does that has never heard of hubplane.
    async fn publish_outside(&self, address: &Address, channel: &str, data: &[u8]) -> Result<()> {
        let dialer = Dialer::new(PubSub::read(address)?.server);
        // A connection for each message: the suite publishes a handful of them.
        let mut link = dialer.dial(None, None).await?;
        let config = &dialer.config;
        let mut publish = cmd("PUBLISH");
        publish.arg(config.prefix.clone() + channel).arg(data);
        let asked = publish.exec_async(&mut link.connection).await;
        asked.map_err(|error| failure::of_login(&link.node, error))
    }

    /// Refuses: without a log there is nothing to cut.
    async fn trim(&self, _: &Address) -> Result<()> {
        Err(Error::new(ErrorKind::Rejected, NAME, "there is no log"))
    }
}

/// Returns a connection to where a part's streams are.
async fn to(dialer: &Dialer, part: &Part) -> Result<Link> {
    dialer.dial(part.slot, None).await.map_err(renamed)
}

/// Reads an address of streams, and returns what it says with a dialer for it.
fn streams(address: &Address) -> Result<(Log, Arc<Dialer>)> {
    let log = Log::read(address)?;
    let dialer = Dialer::new(Arc::clone(&log.server));
    Ok((log, dialer))
}

/// Carries out one command; its answer is of no interest.
async fn ask(config: &Config, link: &mut Link, command: &Cmd) -> Result<()> {
    let asked = command.exec_async(&mut link.connection).await;
    asked.map_err(|error| renamed(failure::of_log(&link.node, config, error)))
}

#[async_trait]
impl Spaces for StreamsDriver {
    /// Returns the address with a prefix of its own, as for the first backend.
    fn within(&self, address: &Address, name: &str) -> Address {
        within(address, name)
    }

    /// Returns the keys of a case, which Redis keeps for ever, with the command that removes them.
    fn leaves(&self, address: &Address) -> Vec<Leaving> {
        let Ok(log) = Log::read(address) else {
            return Vec::new();
        };
        let (keys, prefix) = (&log.keys, &log.server.prefix);
        let all = (0..keys.count()).map(|lane| keys.of(lane));
        // For a person: UNLINK needs a right that this backend does without.
        let unlink = |key: String| format!("redis-cli UNLINK '{key}'");
        let each = all.flat_map(|key| [key.stream.clone(), key.token.to_string()]);
        let each = each.chain([keys.number().to_owned()]).map(unlink);
        vec![Leaving {
            what: format!("the keys {prefix}stream:*"),
            removal: each.collect::<Vec<_>>().join("; "),
        }]
    }

    /// Replaces each key by a value that expires after a millisecond: this backend has no right to
    /// delete keys, and needs none. A key that is left over would give the next run of a case an
    /// old log.
    async fn remove(&self, address: &Address) -> Result<()> {
        let (log, dialer) = streams(address)?;
        // Part by part, since in a Cluster each has a node of its own.
        for part in &log.parts {
            let mut link = to(&dialer, part).await?;
            let own = log.keys.within(part).iter();
            let own = own.flat_map(|key| [key.stream.as_str(), &key.token]);
            // The number of streams lies beside the first stream, in its slot.
            let number = part.lanes.contains(&0).then(|| log.keys.number());
            for key in own.chain(number) {
                let mut set = cmd("SET");
                set.arg(key).arg("").arg("PX").arg(1);
                ask(&log.server, &mut link, &set).await?;
            }
        }
        Ok(())
    }

    /// Adds an entry with the two fields that the documentation asks of an outside program.
    async fn publish_outside(&self, address: &Address, channel: &str, data: &[u8]) -> Result<()> {
        let (log, dialer) = streams(address)?;
        let mut link = to(&dialer, &log.parts[log.part(channel)]).await?;
        let mut add = cmd("XADD");
        add.arg(&log.keys.of(log.keys.lane(channel)).stream);
        add.arg("*").arg("c").arg(channel).arg("d").arg(data);
        ask(&log.server, &mut link, &add).await
    }

    /// Adds one entry to each stream and keeps only that, so every earlier position is behind the
    /// oldest entry.
    async fn trim(&self, address: &Address) -> Result<()> {
        let (log, dialer) = streams(address)?;
        for part in &log.parts {
            let mut link = to(&dialer, part).await?;
            for key in log.keys.within(part) {
                let mut add = cmd("XADD");
                add.arg(&key.stream).arg("MAXLEN").arg("=").arg(1).arg("*");
                add.arg("c").arg("filler").arg("d").arg("x");
                ask(&log.server, &mut link, &add).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DRIVER, STREAMS_DRIVER};

    #[test]
    fn a_space_is_a_prefix_behind_the_own_one() {
        let prefix = |spaces: &dyn Spaces, text: &str| {
            let address = spaces.within(&text.parse().unwrap(), "c1");
            match address.scheme() {
                "redis" => PubSub::read(&address).unwrap().server.prefix.clone(),
                _ => Log::read(&address).unwrap().server.prefix.clone(),
            }
        };
        assert_eq!(prefix(&DRIVER, "redis://h"), "hubplane:c1:");
        assert_eq!(prefix(&DRIVER, "redis://h?prefix=a:"), "a:c1:");
        assert_eq!(prefix(&STREAMS_DRIVER, "redis+streams://h"), "hubplane:c1:");
    }

    #[test]
    fn what_stays_is_named_with_its_removal() {
        let address = "redis+streams://h?prefix=a:&streams=1".parse().unwrap();
        assert_eq!(
            STREAMS_DRIVER.leaves(&address)[0].removal,
            "redis-cli UNLINK 'a:stream:{0}'; redis-cli UNLINK 'a:stream:{0}:epoch'; \
             redis-cli UNLINK 'a:stream:{0}:streams'"
        );
    }
}
