//! What a `memory:` address says. The limits that apply if it says nothing are in `log.rs`, because a second open of a
//! shared log may leave them out.

use hubplane_backplane::{Address, Result};

use crate::NAME;

/// The settings of an address, read and checked.
#[derive(Debug)]
pub(crate) struct Config {
    /// The name of a shared log. `None` if the instance gets a log that nobody else opens.
    pub(crate) name: Option<String>,
    /// How many messages the log keeps. `None` if the address does not say.
    pub(crate) max_messages: Option<usize>,
    /// How many bytes the log keeps, as `log.rs` counts them. `None` if the address does not say.
    pub(crate) max_bytes: Option<usize>,
}

impl Config {
    /// Reads an address. `Config` if it has an unknown key, a limit of 0, or a part that has no meaning here, such as
    /// a port: it was then most likely meant for a broker.
    pub(crate) fn read(address: &Address) -> Result<Self> {
        let mut settings = address.settings(NAME);
        let max_messages = settings.parsed("max-messages")?;
        let max_bytes = settings.parsed("max-bytes")?;
        if max_messages == Some(0) || max_bytes == Some(0) {
            return Err(settings.wrong("max-messages and max-bytes must be at least 1"));
        }
        let password = settings.password()?;
        let name = match address.hosts() {
            [] => None,
            [host] if host.port.is_none() => Some(host.name.clone()),
            _ => {
                return Err(
                    settings.wrong("write memory: or memory://NAME, with one name and no port")
                );
            }
        };
        if address.username().is_some() || password.is_some() || !address.path().is_empty() {
            return Err(settings.wrong("there is no user, password or path in a memory: address"));
        }
        settings.finish()?;
        Ok(Self {
            name,
            max_messages,
            max_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use hubplane_backplane::ErrorKind;

    use super::*;

    #[test]
    fn an_address_is_read() {
        let config = Config::read(&"memory://news?max-messages=5".parse().unwrap()).unwrap();
        assert_eq!(
            (config.name.as_deref(), config.max_messages),
            (Some("news"), Some(5))
        );
        assert_eq!(
            Config::read(&"memory:".parse().unwrap()).unwrap().name,
            None
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "memory:?max-messages=0",
            "memory:?max-bytes=-1",
            "memory:?topic=x",
            "memory://a,b",
            "memory://a:1",
            "memory://u@a",
            "memory://:hunter2@a",
            "memory://a/path",
        ] {
            let error = Config::read(&text.parse().unwrap()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{text}");
            assert!(!error.to_string().contains("hunter2"));
        }
    }
}
