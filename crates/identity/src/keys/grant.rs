//! What one named key allows.

use hubplane_hub::Action;

use crate::{actions::Actions, permission::Permission};

/// What somebody may do who shows a key. Rules may cut the channels' part down, see `rules`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyGrant {
    name: Box<str>,
    channels: Permission,
    metrics: bool,
    admin: bool,
}

impl KeyGrant {
    /// Reads the words of a key: those for actions, `metrics` and `admin`. Without patterns, all channels are meant.
    ///
    /// # Errors
    /// A sentence that names the field.
    pub fn parse(
        name: &str,
        words: &[String],
        patterns: Option<&[String]>,
    ) -> Result<Self, String> {
        let (mut actions, mut metrics, mut admin) = (Vec::new(), false, false);
        for word in words {
            match (word.as_str(), Actions::action(word)) {
                ("metrics", _) => metrics = true,
                ("admin", _) => admin = true,
                (_, Some(action)) => actions.push(action),
                _ => {
                    return Err(format!(
                        "allow: {word:?} is no word for what a key allows: there are publish, subscribe, history, presence, \
                         metrics and admin"
                    ));
                }
            }
        }
        let actions = Actions::from_iter(actions);
        let every = ["*".to_owned()];
        let patterns = patterns.unwrap_or(&every);
        if actions.is_empty() && !metrics && !admin {
            return Err("allow: the key allows nothing".to_owned());
        }
        if patterns.is_empty() && !actions.is_empty() {
            return Err(format!("channels: the key allows {actions}, on no channel"));
        }
        let channels =
            Permission::new(actions, patterns).map_err(|error| format!("channels: {error}"))?;
        Ok(Self {
            name: name.into(),
            channels,
            metrics,
            admin,
        })
    }

    /// Returns the grant of a key that allows everything.
    pub fn everything(name: &str) -> Self {
        let every = Permission::new(Actions::all(), &["*".to_owned()]);
        Self {
            name: name.into(),
            channels: every.expect("invariant: a star alone is a pattern"),
            metrics: true,
            admin: true,
        }
    }

    /// Returns the key's name, which may be shown.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns true if the key allows the action on the channel. [`Action::Operate`] and [`Action::Metrics`] concern no
    /// channel: a key for `admin` allows both, one for `metrics` the latter.
    pub fn allows(&self, action: Action, channel: &str) -> bool {
        match action {
            Action::Operate => self.admin,
            Action::Metrics => self.metrics || self.admin,
            _ => self.channels.allows(action, channel),
        }
    }

    /// Returns true if the key allows the action on some channel.
    pub fn allows_somewhere(&self, action: Action) -> bool {
        match action {
            Action::Operate => self.admin,
            Action::Metrics => self.metrics || self.admin,
            _ => self.channels.allows_somewhere(action),
        }
    }

    /// Returns true if nothing is kept from who shows the key.
    pub fn is_for_everything(&self) -> bool {
        *self == Self::everything(&self.name)
    }
}
