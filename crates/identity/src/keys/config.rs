//! How a named key is written in the configuration.

use std::{fmt, path::Path};

use serde::Deserialize;

use super::KeyGrant;
use crate::reference::Reference;

/// The longest name of a key, in bytes.
const MAX_NAME: usize = 64;

/// One table `[[key]]` of the configuration.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// By what logs and errors call the key: 1 to 64 ASCII letters, digits, `_`, `-` and `.`; each name is there once.
    pub name: String,
    /// Where the key is: `env:NAME` or `file:PATH`. It is a text of at least [`MIN_KEY`](super::MIN_KEY) bytes. A file may
    /// hold two, one a line, while users of the old one change to the new one.
    pub key: String,
    /// What it allows: `publish`, `subscribe`, `history`, `presence`, `metrics` (read the metrics), `admin` (see and end
    /// connections).
    pub allow: Vec<String>,
    /// Patterns of the channels it allows that on; all without it.
    pub channels: Option<Vec<String>>,
}

impl KeyConfig {
    /// Returns the table of a key in a file that allows everything.
    pub fn everything(name: &str, file: &Path) -> Self {
        let words = [
            "publish",
            "subscribe",
            "history",
            "presence",
            "metrics",
            "admin",
        ];
        Self {
            name: name.to_owned(),
            key: format!("file:{}", file.display()),
            allow: words.map(str::to_owned).to_vec(),
            channels: None,
        }
    }

    /// Returns what the key allows, and where it is.
    ///
    /// # Errors
    /// A sentence that names the field and never shows `key`, which may be a key written here by mistake.
    pub(super) fn check(&self) -> Result<(KeyGrant, Reference), String> {
        let allowed = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'_' | b'-' | b'.');
        let name = &*self.name;
        if !(1..=MAX_NAME).contains(&name.len()) || !name.bytes().all(allowed) {
            return Err("name: it has 1 to 64 letters, digits, _, - and .".to_owned());
        }
        let grant = KeyGrant::parse(name, &self.allow, self.channels.as_deref())
            .map_err(|error| format!("({name}): {error}"))?;
        let place =
            Reference::parse(&self.key).map_err(|error| format!("({name}): key: {error}"))?;
        Ok((grant, place))
    }
}

/// Leaves out `key`.
impl fmt::Debug for KeyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyConfig")
            .field("name", &self.name)
            .field("allow", &self.allow)
            .field("channels", &self.channels)
            .finish_non_exhaustive()
    }
}
