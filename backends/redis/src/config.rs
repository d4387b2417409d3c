//! Reads an address once and completely, so that nothing can be wrong with it later. Opens nothing:
//! the only files that are read are those of TLS.
//!
//! Every error is `Config` and names the key of the address. An unknown key is an error, too: a
//! setting with a typing mistake must not pass for its default.

use std::sync::Arc;

use hubplane_backplane::{Address, Host, Result, Secret, Settings};
use hubplane_kit::tls::Files;
use redis::{ProtocolVersion, RedisConnectionInfo};
use rustls::ClientConfig;

use crate::backend::NAME;

/// The ports of a server and of a Sentinel, as Redis's own configuration files have them.
const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
/// The prefix of an address that names none.
pub(crate) const PREFIX: &str = "hubplane:";
/// Bytes. It is sent with every message, and the name of a channel comes on top.
const MAX_PREFIX: usize = 128;

/// What both backends need to know of an address: which Redis it means, and how to speak to it.
pub(crate) struct Config {
    /// Which servers the address means, and how to find the one in use.
    pub(crate) site: Site,
    /// How to speak to the nodes that carry messages.
    pub(crate) login: RedisConnectionInfo,
    /// With `rediss`: which authorities to trust, and our certificate if there is one.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// Stands before each channel's or key's name on the broker.
    pub(crate) prefix: String,
}

/// Everything that an address of the first backend says.
pub(crate) struct PubSub {
    pub(crate) server: Arc<Config>,
    /// Whether metadata travels with the data, in an envelope; otherwise none is looked for either.
    pub(crate) envelope: bool,
}

/// Which Redis an address means.
pub(crate) enum Site {
    /// This one server.
    Server(Node),
    /// Whichever server these Sentinels call the master of that name; they have a login of their
    /// own.
    Sentinel {
        nodes: Vec<Node>,
        master: String,
        login: Box<RedisConnectionInfo>,
    },
    /// Any node of a Cluster that sees the others; the first of these that does.
    Cluster(Vec<Node>),
}

/// One server: the name that its certificate must carry, and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) port: u16,
}

/// As an address has it: an IPv6 address in brackets.
impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name.contains(':') {
            true => write!(f, "[{}]:{}", self.name, self.port),
            false => write!(f, "{}:{}", self.name, self.port),
        }
    }
}

impl Config {
    /// Reads what the addresses of both backends have in common. The caller reads the rest and calls
    /// [`Settings::finish`].
    pub(crate) fn read(address: &Address, settings: &mut Settings<'_>) -> Result<Self> {
        let prefix = settings.text("prefix")?.unwrap_or(PREFIX).to_owned();
        if prefix.len() > MAX_PREFIX {
            return Err(settings.wrong(format!("\"prefix\" is longer than {MAX_PREFIX} bytes")));
        }
        let password = settings.password()?;
        let database = database(address, settings)?;
        let login = login(settings, address.username(), password.as_ref(), database)?;
        let site = site(address, settings, database)?;
        // Last, because it reads files.
        let tls = tls(address, settings)?;
        Ok(Self {
            site,
            login,
            tls,
            prefix,
        })
    }

    /// Returns true if the nodes are those of a Cluster, where keys have slots and a replica needs
    /// no care.
    pub(crate) const fn is_cluster(&self) -> bool {
        matches!(self.site, Site::Cluster(_))
    }
}

impl PubSub {
    /// Reads an address of the first backend. An error names the key and what it should be.
    pub(crate) fn read(address: &Address) -> Result<Self> {
        let mut settings = address.settings(NAME);
        let server = Arc::new(Config::read(address, &mut settings)?);
        let envelope = envelope(&mut settings)?;
        settings.finish()?;
        Ok(Self { server, envelope })
    }
}

/// Returns whether messages have envelopes. `never` is for channels that other programs read, which
/// would take an envelope for data.
fn envelope(settings: &mut Settings<'_>) -> Result<bool> {
    match settings.text("envelope")? {
        None | Some("auto") => Ok(true),
        Some("never") => Ok(false),
        Some(other) => Err(settings.wrong(format!(
            "{other:?} is no value for \"envelope\"; write auto or never"
        ))),
    }
}

/// Returns the number of the database to select. Publish and subscribe don't heed it; the streams
/// do.
fn database(address: &Address, settings: &Settings<'_>) -> Result<i64> {
    match address.path() {
        "" => Ok(0),
        path => match path.parse::<u16>() {
            Ok(number) => Ok(number.into()),
            Err(error) => Err(settings
                .wrong(format!(
                    "the path of the address is a database number, as in redis://host/0; {path:?} is none"
                ))
                .with_source(error)),
        },
    }
}

/// Returns the login for the nodes or for the Sentinels. RESP3, because only there may other
/// commands be sent on a connection that is subscribed.
fn login(
    settings: &Settings<'_>,
    user: Option<&str>,
    password: Option<&Secret>,
    database: i64,
) -> Result<RedisConnectionInfo> {
    // The name is for people who look at CLIENT LIST.
    let login = RedisConnectionInfo::default()
        .set_protocol(ProtocolVersion::RESP3)
        .set_lib_name(NAME_OF_CLIENT, env!("CARGO_PKG_VERSION"))
        .set_db(database);
    Ok(match (user, password) {
        (None, None) => login,
        (None, Some(password)) => login.set_password(password.reveal()),
        (Some(user), Some(password)) => login.set_username(user).set_password(password.reveal()),
        // Redis has users without a password, but an address that forgets it is far more common.
        (Some(user), None) => {
            return Err(settings.wrong(format!(
                "the user {user:?} has no password; write redis://{user}:PASSWORD@… or the key password=env:NAME"
            )));
        }
    })
}

/// What `CLIENT LIST` shows as the library's name.
const NAME_OF_CLIENT: &str = "hubplane";

/// Returns which Redis the address means; refuses what contradicts itself rather than guess.
fn site(address: &Address, settings: &mut Settings<'_>, database: i64) -> Result<Site> {
    let master = settings.text("sentinel")?;
    let sentinel_user = settings.text("sentinel-user")?;
    let sentinel_password = settings.secret("sentinel-password")?;
    let cluster = settings.flag("cluster")?.unwrap_or(false);
    // The same hosts are Sentinels, or servers: only the default port differs.
    let nodes = |default: u16| -> Vec<Node> {
        let node = |host: &Host| Node {
            name: host.name.clone(),
            port: host.port.unwrap_or(default),
        };
        address.hosts().iter().map(node).collect()
    };
    if address.hosts().is_empty() {
        return Err(settings.wrong("the address names no host; write redis://HOST:6379"));
    }
    // A login for Sentinels without Sentinels is a key that was forgotten, or one too many.
    if master.is_none() && (sentinel_user.is_some() || sentinel_password.is_some()) {
        return Err(settings.wrong(
            "\"sentinel-user\" and \"sentinel-password\" go with the key \"sentinel\", which names the master",
        ));
    }
    match (master, cluster) {
        (Some(_), true) => Err(settings.wrong("\"sentinel\" and \"cluster\" exclude each other")),
        (Some(master), false) => Ok(Site::Sentinel {
            nodes: nodes(SENTINEL_PORT),
            master: master.to_owned(),
            login: Box::new(login(
                settings,
                sentinel_user,
                sentinel_password.as_ref(),
                0,
            )?),
        }),
        (None, true) if database != 0 => {
            Err(settings.wrong("a Redis Cluster has only the database 0"))
        }
        (None, true) => Ok(Site::Cluster(nodes(PORT))),
        // Several servers without a word on how they belong together could be anything.
        (None, false) => match nodes(PORT).as_slice() {
            [node] => Ok(Site::Server(node.clone())),
            _ => Err(settings.wrong(
                "several hosts are either Sentinels (add sentinel=NAME-OF-THE-MASTER) or nodes of a Cluster \
                 (add cluster=true)",
            )),
        },
    }
}

/// Returns the TLS configuration for `rediss`; refuses the keys of TLS elsewhere, since somebody
/// who gives a certificate believes that the connection is encrypted.
fn tls(address: &Address, settings: &mut Settings<'_>) -> Result<Option<Arc<ClientConfig>>> {
    let files = Files {
        ca: settings.text("ca")?,
        cert: settings.text("cert")?,
        key: settings.text("key")?,
    };
    if !address.scheme().starts_with("rediss") {
        return match files.are_given() {
            false => Ok(None),
            true => Err(settings.wrong("\"ca\", \"cert\" and \"key\" need TLS: write rediss://")),
        };
    }
    files.client_config(settings).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(address: &str) -> Result<PubSub> {
        PubSub::read(&address.parse().unwrap())
    }

    #[test]
    fn the_three_sites_are_told_apart() {
        let site = |address| Arc::into_inner(read(address).unwrap().server).unwrap().site;
        assert!(matches!(site("redis://h"), Site::Server(node) if node.to_string() == "h:6379"));
        assert!(matches!(
            site("redis://a,[::1]:1?sentinel=m&sentinel-password=p"),
            Site::Sentinel { nodes, .. } if nodes[0].port == 26379 && nodes[1].to_string() == "[::1]:1"
        ));
        assert!(
            matches!(site("redis://a,b?cluster=true"), Site::Cluster(nodes) if nodes.len() == 2)
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (address, word) in [
            ("redis:", "no host"),
            ("redis://a,b", "cluster=true"),
            ("redis://a?sentinel=m&cluster=true", "exclude"),
            ("redis://a/x", "database number"),
            ("redis://a/1?cluster=true", "only the database 0"),
            ("redis://a?ca=/x", "rediss://"),
            ("rediss://a?ca=/no/such", "/no/such"),
            ("rediss://a?cert=/x", "both"),
            ("redis://me@a", "no password"),
            ("redis://a?sentinel-password=p", "sentinel"),
            ("redis://a?envelope=maybe", "auto or never"),
            ("redis://a?topic=x", "topic"),
            ("redis://a?streams=4", "streams"),
        ] {
            let error = read(address).err().expect(address).to_string();
            assert!(error.contains(word), "{address}: {error}");
        }
    }
}
