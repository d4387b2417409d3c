//! Who may come in: keys, rules, origins and host names, from options and file to an [`Access`].
//!
//! What they mean is decided in `hubplane-identity`; this file only brings them together, and reads
//! the keys anew while the hub runs.

use std::{path::PathBuf, sync::Arc, time::Duration};

use hubplane_identity::{
    ANY, Access, AccessConfig, Actions, Hosts, KeyConfig, Keys, endpoint::Endpoint, parse_host,
    parse_origin,
};
use tokio::{task::spawn_blocking, time::interval};

use super::{super::config::File, Failure, given_list, issuers::issuers};

/// How often the files of keys are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// The options that say who may come in.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Door {
    /// File with the key (32 bytes or more) that programs send as `Authorization: Bearer KEY`; it allows everything.
    /// The configuration file can have several keys that allow less
    #[arg(long, env = "HUBPLANE_KEY_FILE", value_name = "FILE")]
    pub(super) key_file: Option<PathBuf>,
    /// What clients without a key or token may do on channels that no rule is about: subscribe, history, presence,
    /// publish; several with commas [default: nothing, or everything on a hub without keys]
    #[arg(
        long,
        env = "HUBPLANE_ANONYMOUS",
        value_name = "ACTIONS",
        value_delimiter = ','
    )]
    anonymous: Vec<String>,
    /// Origin of web pages that may connect, such as `https://app.example` or `https://*.app.example`; give it several
    /// times, or * for all [default: pages of the hub's own host]
    #[arg(
        long = "origin",
        env = "HUBPLANE_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    origins: Vec<String>,
    /// Name that the hub answers to, such as hub.example; give it several times. Addresses and localhost always count
    /// [default: any, or none for a hub on loopback without a key]
    #[arg(
        long = "host",
        env = "HUBPLANE_HOST",
        value_name = "NAME",
        value_delimiter = ','
    )]
    hosts: Vec<String>,
}

/// What is checked before the hub listens, because the address decides about the rest.
#[derive(Debug)]
pub(super) struct Checked {
    config: AccessConfig,
    hosts: Vec<String>,
}

impl Door {
    /// Reads and checks all of it. Takes its part out of the file.
    pub(super) fn check(self, file: &mut File) -> Result<Checked, Failure> {
        let keys = keys(self.key_file.or(file.key_file.take()), &mut file.key)?;
        let anonymous = given_list(self.anonymous, file.anonymous.take());
        let anonymous = Actions::parse(&anonymous)
            .map_err(|error| Failure::wrong(format!("--anonymous: {error}")))?;
        let hosts = given_list(self.hosts, file.hosts.take());
        let hosts: Result<Vec<_>, _> = hosts.iter().map(|text| parse_host(text)).collect();
        let issuers = issuers(std::mem::take(&mut file.token)).map_err(Failure::wrong)?;
        let endpoint = file.endpoint.take();
        let endpoint = endpoint.map(|config| Endpoint::new(&config)).transpose();
        let config = AccessConfig {
            keys,
            issuers,
            endpoint: endpoint.map_err(Failure::wrong)?,
            anonymous,
            rules: std::mem::take(&mut file.channel),
            origins: allowed_origins(self.origins, file.origins.take())?,
            hosts: Hosts::Any,
        };
        Ok(Checked {
            config,
            hosts: hosts.map_err(Failure::wrong)?,
        })
    }
}

impl Checked {
    /// Returns true if the hub knows who may do what, so that it may listen beyond this machine.
    pub(super) fn knows_somebody(&self) -> bool {
        self.config.knows_somebody()
    }

    /// Makes the access of a hub. One on loopback that knows nobody (`only_local`) answers to no name but those given: a
    /// web page could otherwise make its own name point to this machine, and use the hub of the user who visits it.
    pub(super) fn access(mut self, only_local: bool) -> Result<Arc<Access>, Failure> {
        self.config.hosts = match self.hosts.is_empty() && !only_local {
            true => Hosts::Any,
            false => Hosts::Named(self.hosts),
        };
        let access = Access::new(self.config).map_err(Failure::wrong)?;
        Ok(Arc::new(access))
    }
}

/// Returns the keys of the file, and that of `--key-file`, which allows everything.
fn keys(key_file: Option<PathBuf>, named: &mut Vec<KeyConfig>) -> Result<Keys, Failure> {
    let keys = match key_file {
        Some(path) if named.is_empty() => Keys::from_file(&path),
        Some(path) => {
            named.push(KeyConfig::everything("key-file", &path));
            Keys::new(named)
        }
        None => Keys::new(named),
    };
    keys.map_err(Failure::wrong)
}

/// Returns the origins of pages that may connect; empty if only pages of the hub's own host may.
fn allowed_origins(
    options: Vec<String>,
    file: Option<Vec<String>>,
) -> Result<Vec<String>, Failure> {
    let origins: Vec<_> = given_list(options, file)
        .iter()
        .map(|text| parse_origin(text))
        .collect::<Result<_, _>>()
        .map_err(Failure::wrong)?;
    if origins.iter().any(|origin| origin == ANY) {
        tracing::warn!("pages of every origin may connect (--origin '*')");
    }
    Ok(origins)
}

/// Reads files of keys anew when they have changed, for ever. An error is logged once, and again only after it was another.
pub(super) async fn reload_keys(access: Arc<Access>) {
    let mut looks = interval(LOOK);
    let mut known = Vec::new();
    loop {
        looks.tick().await;
        let access = Arc::clone(&access);
        let Ok(reloaded) = spawn_blocking(move || access.reload_keys()).await else {
            return;
        };
        for name in &reloaded.changed {
            tracing::info!(key = name, "a key was read anew");
        }
        if reloaded.errors != known {
            for error in &reloaded.errors {
                tracing::error!("{error}; what it was before still holds");
            }
            known = reloaded.errors;
        }
    }
}
