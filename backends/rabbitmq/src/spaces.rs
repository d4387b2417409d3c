//! Lets the conformance suite use somebody's RabbitMQ without touching anything of theirs: each
//! case gets an exchange of its own, named behind the address's.
//!
//! So permissions for the address's names cover the cases, too. Only the suite calls this; a
//! running hub never does.

use async_trait::async_trait;
use hubplane_backplane::{Address, Error, ErrorKind, Leaving, Result, Spaces};
use lapin::{
    BasicProperties, Channel,
    options::{
        BasicPublishOptions, ConfirmSelectOptions, ExchangeDeleteOptions, QueueDeleteOptions,
    },
};

use crate::{
    RabbitDriver,
    capabilities::NAME,
    config::{Config, EXCHANGE},
    declare::dead_letters,
    link::{Link, explain},
    nodes::Nodes,
    streams::{
        StreamsDriver,
        error::{STREAMS, renamed},
        log,
    },
};

/// Bytes. To make a log forget takes twice of what it keeps; more than this is not written for it.
const MOST: u64 = 128 << 20;
/// Bytes of one message that fills a log.
const FILLER: u64 = 100_000;
/// The stream of a space if the address does not say: small enough to be filled.
const SMALL: [(&str, &str); 2] = [("segment-bytes", "1000000"), ("max-bytes", "20000000")];

/// Returns the address with an exchange of its own for the case `name`. An address that can't be
/// read gets the default; opening it says what is wrong.
fn within(address: &Address, name: &str) -> Address {
    let exchange = address.settings(NAME).text("exchange").ok().flatten();
    let exchange = exchange.unwrap_or(EXCHANGE);
    let space = format!("{exchange}.{name}");
    address.clone().with("exchange", space)
}

/// Returns a channel that confirms what is published, and the connection that it lives on.
async fn open(config: &Config) -> Result<(Link, Channel)> {
    let link = Box::pin(Link::dial(
        config,
        &Nodes::new(config.hosts.len()),
        "outside",
    ))
    .await?;
    let failed = |error| explain(config, "opening a channel", error);
    let channel = link.channel().await.map_err(failed)?;
    let select = ConfirmSelectOptions::default();
    channel.confirm_select(select).await.map_err(failed)?;
    Ok((link, channel))
}

/// Publishes one message without any of hubplane's headers, and waits for the confirm.
async fn publish(config: &Config, channel: &Channel, name: &str, data: &[u8]) -> Result<()> {
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    let exchange = config.exchange.as_str().into();
    let published = channel.basic_publish(exchange, name.into(), options, data, properties);
    let failed = |error| explain(config, "publishing", error);
    let answer = published.await.map_err(failed)?.await.map_err(failed)?;
    match answer.is_ack() {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::Unavailable,
            NAME,
            "RabbitMQ did not take the message",
        )),
    }
}

/// Publishes a bare message, as a program does that has never heard of hubplane.
async fn publish_outside(address: &Address, channel: &str, data: &[u8]) -> Result<()> {
    let config = Config::read(address)?;
    let (link, outside) = open(&config).await?;
    let published = publish(&config, &outside, channel, data).await;
    link.close().await;
    published
}

/// Returns the exchanges of an address, and its streams if it has any.
fn names(config: &Config) -> (Vec<String>, Vec<String>) {
    let exchange = config.exchange.clone();
    match config.retention {
        None => (vec![exchange, dead_letters(config).to_string()], Vec::new()),
        Some(_) => (vec![exchange], vec![log::name(config), log::epochs(config)]),
    }
}

/// Deletes what a case has made. The queues of instances expire by themselves, and deleting what is
/// not there is no error.
async fn remove(address: &Address) -> Result<()> {
    let config = Config::read(address)?;
    let (link, channel) = open(&config).await?;
    let failed = |error| explain(&config, "deleting", error);
    let (exchanges, streams) = names(&config);
    for exchange in exchanges {
        let options = ExchangeDeleteOptions::default();
        let deleted = channel.exchange_delete(exchange.into(), options);
        deleted.await.map_err(failed)?;
    }
    for stream in streams {
        let deleted = channel.queue_delete(stream.into(), QueueDeleteOptions::default());
        deleted.await.map_err(failed)?;
    }
    link.close().await;
    Ok(())
}

/// Returns what stays at the broker, each with a command that removes it.
fn leaves(address: &Address) -> Vec<Leaving> {
    let Ok(config) = Config::read(address) else {
        return Vec::new();
    };
    let (exchanges, streams) = names(&config);
    let leaving = |what: &str, name: String| Leaving {
        removal: format!(
            "rabbitmqadmin -V '{}' delete {what} name={name}",
            config.vhost
        ),
        what: format!("the {what} {name}"),
    };
    let exchanges = exchanges.into_iter().map(|name| leaving("exchange", name));
    let streams = streams.into_iter().map(|name| leaving("queue", name));
    exchanges.chain(streams).collect()
}

#[async_trait]
impl Spaces for RabbitDriver {
    fn within(&self, address: &Address, name: &str) -> Address {
        within(address, name)
    }

    fn leaves(&self, address: &Address) -> Vec<Leaving> {
        leaves(address)
    }

    async fn remove(&self, address: &Address) -> Result<()> {
        remove(address).await
    }

    async fn publish_outside(&self, address: &Address, channel: &str, data: &[u8]) -> Result<()> {
        publish_outside(address, channel, data).await
    }

    async fn trim(&self, _: &Address) -> Result<()> {
        Err(Error::new(ErrorKind::Rejected, NAME, "there is no log"))
    }
}

#[async_trait]
impl Spaces for StreamsDriver {
    /// Returns the address of a space with a small log, if the address says nothing of its size.
    fn within(&self, address: &Address, name: &str) -> Address {
        let space = within(address, name);
        let settings = |key| address.settings(STREAMS).text(key);
        match SMALL
            .iter()
            .all(|(key, _)| matches!(settings(key), Ok(None)))
        {
            true => SMALL
                .iter()
                .fold(space, |space, (key, value)| space.with(key, *value)),
            false => space,
        }
    }

    fn leaves(&self, address: &Address) -> Vec<Leaving> {
        leaves(address)
    }

    async fn remove(&self, address: &Address) -> Result<()> {
        remove(address).await.map_err(renamed)
    }

    async fn publish_outside(&self, address: &Address, channel: &str, data: &[u8]) -> Result<()> {
        publish_outside(address, channel, data)
            .await
            .map_err(renamed)
    }

    /// Writes twice what the log keeps: the broker forgets the oldest segments when new ones are
    /// begun, and at no other time.
    async fn trim(&self, address: &Address) -> Result<()> {
        let config = Config::read(address).map_err(renamed)?;
        let fill = config.max_bytes.saturating_mul(2);
        if fill > MOST {
            let message = format!(
                "to be cut, the stream must be filled twice, and it keeps {} bytes; give the address max-bytes and \
                 segment-bytes of at most {} for this",
                config.max_bytes,
                MOST / 2
            );
            return Err(Error::new(ErrorKind::Rejected, STREAMS, message));
        }
        let (link, outside) = open(&config).await.map_err(renamed)?;
        let body = vec![0; FILLER as usize];
        for _ in 0..fill.div_ceil(FILLER) {
            let filled = publish(&config, &outside, "filler", &body).await;
            filled.map_err(renamed)?;
        }
        link.close().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_space_is_an_exchange_behind_the_own_one() {
        let within = |driver: &dyn Spaces, text: &str| {
            let config = Config::read(&driver.within(&text.parse().unwrap(), "c1")).unwrap();
            (config.exchange, config.max_bytes)
        };
        let plain = within(&RabbitDriver, "amqp://h?exchange=news&max-bytes=7");
        assert_eq!(plain, ("news.c1".to_owned(), 7));
        let small = within(&StreamsDriver, "amqp+streams://h");
        assert_eq!(small, ("hubplane.c1".to_owned(), 20_000_000));
        assert_eq!(within(&StreamsDriver, "amqp+streams://h?max-bytes=7").1, 7);
    }

    #[test]
    fn what_stays_is_named_with_its_removal() {
        let said = |text: &str| {
            let all = leaves(&text.parse().unwrap()).into_iter();
            all.map(|leaving| leaving.removal).collect::<Vec<_>>()
        };
        let plain = said("amqp://h?exchange=a");
        assert_eq!(plain[1], "rabbitmqadmin -V '/' delete exchange name=a.lost");
        let streams = said("amqp+streams://h/v?exchange=a");
        assert_eq!(
            streams[1],
            "rabbitmqadmin -V 'v' delete queue name=hubplane.a.stream"
        );
        assert_eq!((plain.len(), streams.len()), (2, 3));
    }
}
