//! Reads an address once and completely, so that nothing can be wrong with it later. Opens nothing:
//! the only files that are read are those of TLS.
//!
//! Every error is `Config` and names the key of the address. Both backends' addresses are read
//! here, since they differ by a few keys only.

use std::{sync::Arc, time::Duration};

use hubplane_backplane::{Address, Error, ErrorKind, Result, Secret, Settings};
use hubplane_kit::tls::Files;
use rustls::ClientConfig;

use crate::capabilities::NAME;

/// The exchange of an address that names none.
pub(crate) const EXCHANGE: &str = "hubplane";

/// Everything that an address says, with the defaults for what it doesn't say.
#[derive(Debug)]
pub(crate) struct Config {
    /// Names and ports of the nodes, in the order in which a search goes round them.
    pub(crate) hosts: Vec<(String, u16)>,
    /// `None` for `amqp://`.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) username: String,
    pub(crate) password: Secret,
    pub(crate) vhost: String,
    pub(crate) exchange: String,
    /// How long the broker keeps this instance's queue while the instance is away.
    pub(crate) expires: Duration,
    /// How many bytes of waiting messages the broker keeps: in this instance's queue, or in the
    /// stream.
    pub(crate) max_bytes: u64,
    /// For `amqp+streams://` alone.
    pub(crate) retention: Option<Retention>,
}

/// What the stream keeps, besides `max_bytes`. RabbitMQ forgets by whole segments.
#[derive(Debug)]
pub(crate) struct Retention {
    pub(crate) max_age: Duration,
    pub(crate) segment_bytes: u64,
}

impl Retention {
    /// Reads the keys that only an address of streams has.
    fn read(settings: &mut Settings<'_>) -> Result<Self> {
        let max_age = settings.duration("max-age")?;
        let max_age = max_age.unwrap_or(Duration::from_secs(24 * 3600));
        let segment_bytes = settings.parsed("segment-bytes")?;
        let segment_bytes = segment_bytes.unwrap_or(64 * 1024 * 1024);
        let wrong = |message: &str| Err(Error::new(ErrorKind::Config, NAME, message));
        if !(1..=365 * 24 * 3600).contains(&max_age.as_secs()) || max_age.subsec_nanos() > 0 {
            return wrong("max-age must be whole seconds, from 1s to 365d");
        }
        if !(1_000..=3_000_000_000).contains(&segment_bytes) {
            return wrong("segment-bytes must be from 1000 to 3000000000");
        }
        Ok(Self {
            max_age,
            segment_bytes,
        })
    }
}

/// Bytes. Leaves room for `hubplane.` in front and a random part and `.lost` behind, within the 255
/// bytes of a name.
const LONGEST_EXCHANGE: usize = 190;
/// Shorter than this the queue would expire between two probes of a busy machine.
const SHORTEST_EXPIRY: Duration = Duration::from_secs(5);
const LONGEST_EXPIRY: Duration = Duration::from_secs(7 * 24 * 3600);

impl Config {
    /// Reads an address. An error is `Config` and says which key is wrong and what it should be.
    pub(crate) fn read(address: &Address) -> Result<Self> {
        let mut settings = address.settings(NAME);
        let wrong = |message: &str| Err(Error::new(ErrorKind::Config, NAME, message));
        let exchange = settings.text("exchange")?.unwrap_or(EXCHANGE).to_owned();
        let streams = address.scheme().ends_with("+streams");
        // A key of the other backend is left unread here, and `finish` refuses it as unknown.
        let (retention, expires, most) = match streams {
            true => (Some(Retention::read(&mut settings)?), None, 1 << 30),
            false => (None, settings.duration("expires")?, 64 << 20),
        };
        let max_bytes = settings.parsed("max-bytes")?.unwrap_or(most);
        let files = Files {
            ca: settings.text("ca")?,
            cert: settings.text("cert")?,
            key: settings.text("key")?,
        };
        let password = settings.password()?;
        let encrypted = address.scheme().starts_with("amqps");
        let tls = match encrypted {
            true => Some(files.client_config(&settings)?),
            false => None,
        };
        // Unknown keys come before wrong values: the name of a key explains more than its value.
        settings.finish()?;

        if exchange.len() > LONGEST_EXCHANGE || exchange.starts_with("amq.") {
            return wrong(
                "an exchange's name has at most 190 bytes here and does not begin with amq.",
            );
        }
        let expires = expires.unwrap_or(Duration::from_secs(60));
        if !(SHORTEST_EXPIRY..=LONGEST_EXPIRY).contains(&expires) {
            return wrong("expires must be from 5s to 7d");
        }
        if !(1..=i64::MAX as u64).contains(&max_bytes) {
            return wrong("max-bytes must be at least 1");
        }
        if !encrypted && files.are_given() {
            return wrong("ca, cert and key are for amqps:// addresses; amqp:// is not encrypted");
        }
        if address.hosts().is_empty() {
            return wrong("a host is missing; write amqp://HOST:PORT");
        }
        let port = if encrypted { 5671 } else { 5672 };
        let host = |host: &hubplane_backplane::Host| (host.name.clone(), host.port.unwrap_or(port));
        Ok(Self {
            hosts: address.hosts().iter().map(host).collect(),
            tls,
            username: address.username().unwrap_or("guest").to_owned(),
            password: password.unwrap_or_else(|| Secret::new("guest")),
            vhost: match address.path() {
                "" => "/".to_owned(),
                path => path.to_owned(),
            },
            exchange,
            expires,
            max_bytes,
            retention,
        })
    }

    /// Returns the hosts for messages; an IPv6 address in brackets.
    pub(crate) fn shown(&self) -> String {
        let hosts = self
            .hosts
            .iter()
            .map(|(name, port)| match name.contains(':') {
                true => format!("[{name}]:{port}"),
                false => format!("{name}:{port}"),
            });
        hosts.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config> {
        Config::read(&text.parse().unwrap())
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let config = read("amqp://broker").unwrap();
        assert_eq!(config.hosts, [("broker".to_owned(), 5672)]);
        assert_eq!(
            (&*config.username, config.password.reveal(), &*config.vhost),
            ("guest", "guest", "/")
        );
        assert_eq!(
            (&*config.exchange, config.expires, config.max_bytes),
            ("hubplane", Duration::from_secs(60), 67_108_864)
        );
    }

    #[test]
    fn an_address_is_read() {
        let text = "amqp://me:secret@a:1,[::1]/%2fnews?exchange=x&expires=5m&max-bytes=7";
        let config = read(text).unwrap();
        assert_eq!(config.shown(), "a:1, [::1]:5672");
        assert_eq!((&*config.username, &*config.vhost), ("me", "/news"));
        assert_eq!((config.expires.as_secs(), config.max_bytes), (300, 7));
        assert!(!format!("{config:?}").contains("secret"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "amqp:",
            "amqp://h?exchange=amq.fanout",
            "amqp://h?expires=1s",
            "amqp://h?max-bytes=0",
            "amqp://h?queue=x",
            "amqp://h?ca=/ca.pem",
            "amqps://h?ca=/no/such/file",
            "amqps://h?cert=/no/such/file",
        ] {
            assert_eq!(read(text).unwrap_err().kind(), ErrorKind::Config, "{text}");
        }
    }
}
