//! `hubplane check`: says what a hub with a configuration file would allow, and why, without starting one.
//!
//! Decides nothing: it asks the same [`Access`] that a hub asks.

use std::path::PathBuf;

use hubplane_hub::{Action, channel};
use hubplane_identity::Access;

use super::{Failure, print, runtime, secret_of, serve::access_of};

/// The actions on channels, by the words that configuration and tokens have for them.
const ACTIONS: [(&str, Action); 4] = [
    ("subscribe", Action::Subscribe),
    ("publish", Action::Publish),
    ("history", Action::History),
    ("presence", Action::Presence),
];

/// Say what a hub with this configuration would allow on a channel, and which rule decides.
///
/// It starts no hub and asks no broker. Without --token, --token-file or --key-file it is about clients that show nothing.
#[derive(Debug, clap::Args)]
pub(super) struct Check {
    /// The hub's configuration, as for `hubplane serve`
    #[arg(long, env = "HUBPLANE_CONFIG", value_name = "FILE")]
    config: PathBuf,
    /// The channel in question
    #[arg(long)]
    channel: String,
    /// The token that a client shows; better in a file, since others on this machine can see a command's options
    #[arg(long, group = "proof")]
    token: Option<String>,
    /// File with the token that a client shows
    #[arg(long, value_name = "FILE", group = "proof")]
    token_file: Option<PathBuf>,
    /// File with the key that a client shows
    #[arg(long, value_name = "FILE", group = "proof")]
    key_file: Option<PathBuf>,
}

impl Check {
    pub(super) fn run(self) -> Result<(), Failure> {
        channel::check(&self.channel)
            .map_err(|error| Failure::wrong(format!("--channel: {error}")))?;
        let proof = match (&self.token_file, &self.key_file) {
            (Some(file), _) => Some(secret_of("--token-file", file)?),
            (_, Some(file)) => Some(secret_of("--key-file", file)?),
            _ => self.token.as_deref().map(|token| token.trim().to_owned()),
        };
        let access = access_of(&self.config)?;
        if let Some(proof) = &proof {
            // Keys of tokens may be at a URL.
            runtime()?.block_on(async {
                let _fetching = access.fetch_keys();
                access.wait_for_key(proof).await;
            });
        }
        self.explain(&access, proof.as_deref())
    }

    fn explain(&self, access: &Access, proof: Option<&str>) -> Result<(), Failure> {
        for (word, action) in ACTIONS {
            let decision = access
                .explain(proof, action, &self.channel)
                .map_err(|unproven| {
                    Failure::failed(format!(
                        "the hub would not let this client in: {}",
                        unproven.0
                    ))
                })?;
            print(format!("{word:<10} {decision}"))?;
        }
        Ok(())
    }
}
