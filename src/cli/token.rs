//! `hubplane token`: makes keys and tokens for who has no identity provider yet, and shows what a token says.
//!
//! What a token may say is decided in `hubplane_identity::token`. What must hold: nothing secret is printed but the token
//! that was asked for, and a key is never overwritten.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use hubplane_backplane::parse_duration;
use hubplane_hub::channel;
use hubplane_identity::{
    Actions, Pattern,
    token::{
        DEFAULT_NAMESPACE, KeyKind, MAX_INFO, MAX_NAME, MAX_PATTERNS, MAX_TOKEN, SigningKey,
        generate, inspect,
    },
};
use serde_json::{Map, Value, json};

use super::{Failure, note, print, secret_of};

/// Make keys and tokens, and look into tokens.
///
/// A token (JWT) says who a user is and what the hub allows to them, signed
/// with a key that the hub knows. Your backend or your identity provider makes
/// them; these commands do for trying it out:
///
///   hubplane token new-key --kind ed25519 --out hub.key > hub.toml
///   hubplane serve --config hub.toml
///   hubplane token make --key hub.key --user ann --allow subscribe \
///     --channels 'orders.*' > ann.token
///   hubplane sub orders.7 --token-file ann.token
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Token {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    NewKey(NewKey),
    Make(Box<Make>),
    Show(Show),
}

/// Make a key that signs tokens, and print what to write into the hub's configuration.
#[derive(Debug, clap::Args)]
struct NewKey {
    /// Kind of the key: with ed25519 or es256 only your backend can make tokens, and the hub gets a public key; with hs256 both
    /// have the same secret
    #[arg(long)]
    kind: Kind,
    /// New file for the key, which only you can read; an existing one is not overwritten. A public key goes to FILE.pub
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// The kinds of keys by the names of their signatures (RFC 7518, section 3.1).
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Kind {
    Hs256,
    Es256,
    Ed25519,
}

/// Make a token, and print it.
#[derive(Debug, clap::Args)]
struct Make {
    /// File with the key, as `hubplane token new-key` makes it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Whom the token is for (`sub`)
    #[arg(long, value_name = "NAME")]
    user: String,
    /// How long the token is good, such as 15m, 1h or 7d; who has it can use it as long
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    expires: Duration,
    /// What it allows on --channels: subscribe, publish, history, presence; several with commas. Without --allow it only says
    /// who somebody is, and the hub's rules decide
    #[arg(
        long,
        value_name = "ACTIONS",
        value_delimiter = ',',
        requires = "channels"
    )]
    allow: Vec<String>,
    /// Channels on which it allows that, such as 'orders.*'; several with commas
    #[arg(
        long,
        value_name = "PATTERNS",
        value_delimiter = ',',
        requires = "allow"
    )]
    channels: Vec<String>,
    /// Channels that the client joins at once, without a subscribe; several with commas
    #[arg(long, value_name = "CHANNELS", value_delimiter = ',')]
    join: Vec<String>,
    /// What others may see of the user, as JSON
    #[arg(long, value_name = "JSON")]
    info: Option<String>,
    /// Who makes the token (`iss`), where the hub's configuration names its issuer
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// For which hub it is (`aud`), where the hub's configuration names its audience; several with commas
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    audience: Vec<String>,
    /// Id of the token (`jti`), by which an operator can end its sessions
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Claim that holds what is for the hub, as `claims` in its configuration
    #[arg(long, value_name = "NAME", default_value = DEFAULT_NAMESPACE)]
    claims: String,
}

/// Show what a token says, as JSON. Nothing of it is checked: anybody can write a token that says anything.
#[derive(Debug, clap::Args)]
struct Show {
    /// The token; with `-` it is read from standard input, so that it is not in the list of processes
    token: String,
}

impl Token {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::NewKey(new) => new.run(),
            Command::Make(make) => make.run(),
            Command::Show(show) => show.run(),
        }
    }
}

impl NewKey {
    fn run(&self) -> Result<(), Failure> {
        let kind = match self.kind {
            Kind::Hs256 => KeyKind::Secret,
            Kind::Es256 => KeyKind::P256,
            Kind::Ed25519 => KeyKind::Ed25519,
        };
        let text = generate(kind).map_err(Failure::failed)?;
        let public = SigningKey::new(&text)
            .map_err(Failure::failed)?
            .public_pem();
        let mut of_hub = self.out.clone();
        if public.is_some() {
            of_hub.as_mut_os_string().push(".pub");
            // Before the key is written, so that a second try is not in the way of itself.
            if fs::symlink_metadata(&of_hub).is_ok() {
                return Err(exists(&of_hub));
            }
        }
        create(&self.out, 0o600, text.trim_end())?;
        if let Some(public) = &public {
            create(&of_hub, 0o644, public.trim_end())?;
        }
        note(match public {
            Some(_) => format!(
                "{} signs tokens: keep it secret. The hub gets only {}; its configuration:",
                self.out.display(),
                of_hub.display()
            ),
            None => format!(
                "{} signs and checks tokens: keep it secret, and give it to the hub. Its configuration:",
                self.out.display()
            ),
        });
        let of_hub = std::path::absolute(&of_hub).map_err(Failure::failed)?;
        // A JSON text is one of TOML, too.
        let place = json!(format!("file:{}", of_hub.display()));
        print(format!("[[token]]\nkey = {place}"))
    }
}

/// Writes a new file that has these rights from its first moment.
fn create(path: &Path, mode: u32, text: &str) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file| writeln!(file, "{text}"));
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(path),
        _ => Failure::wrong(format!("--out {}: {error}", path.display())),
    })
}

fn exists(path: &Path) -> Failure {
    Failure::wrong(format!(
        "{} exists already, and a key is never overwritten: give another --out, or remove it",
        path.display()
    ))
}

impl Make {
    fn run(&self) -> Result<(), Failure> {
        let key = secret_of("--key", &self.key)?;
        let key = SigningKey::new(&key)
            .map_err(|error| Failure::wrong(format!("--key {}: {error}", self.key.display())))?;
        let claims = self.claims(SystemTime::now())?;
        print(key.sign(&claims.to_string()).map_err(Failure::wrong)?)
    }

    /// Puts the claims together, and checks what the hub would refuse.
    fn claims(&self, now: SystemTime) -> Result<Value, Failure> {
        let own = self.own_claims()?;
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        let now = since.map_err(Failure::failed)?.as_secs();
        if self.expires.as_secs() == 0 {
            return Err(Failure::wrong("--expires: a token lasts at least 1s"));
        }
        let mut claims = Map::new();
        claims.insert("sub".to_owned(), name("--user", &self.user)?);
        claims.insert("iat".to_owned(), now.into());
        claims.insert("exp".to_owned(), (now + self.expires.as_secs()).into());
        if let Some(issuer) = &self.issuer {
            claims.insert("iss".to_owned(), name("--issuer", issuer)?);
        }
        if let Some(id) = &self.id {
            claims.insert("jti".to_owned(), name("--id", id)?);
        }
        match &*self.audience {
            [] => {}
            [one] => _ = claims.insert("aud".to_owned(), name("--audience", one)?),
            several => _ = claims.insert("aud".to_owned(), json!(several)),
        }
        if self.claims.is_empty() {
            claims.extend(own);
        } else if !own.is_empty() && claims.insert(self.claims.clone(), own.into()).is_some() {
            let reason = "this claim has a meaning already";
            return Err(option("--claims", format!("{}: {reason}", self.claims)));
        }
        Ok(claims.into())
    }

    /// Returns what is for the hub alone.
    fn own_claims(&self) -> Result<Map<String, Value>, Failure> {
        let mut own = Map::new();
        if !self.allow.is_empty() {
            Actions::parse(&self.allow).map_err(|error| option("--allow", error))?;
            for pattern in &self.channels {
                Pattern::without_claims(pattern).map_err(|error| option("--channels", error))?;
            }
            at_most("--channels", &self.channels)?;
            let permission = json!({ "channels": self.channels, "allow": self.allow });
            own.insert("permissions".to_owned(), json!([permission]));
        }
        if !self.join.is_empty() {
            for name in &self.join {
                channel::check(name)
                    .map_err(|error| option("--join", format!("{name:?}: {error}")))?;
            }
            at_most("--join", &self.join)?;
            own.insert("channels".to_owned(), json!(self.join));
        }
        if let Some(info) = &self.info {
            let read: Value = serde_json::from_str(info).map_err(|error| {
                option(
                    "--info",
                    format!("it is not JSON ({error}); write a text as '\"text\"'"),
                )
            })?;
            if read.to_string().len() > MAX_INFO {
                return Err(option(
                    "--info",
                    format!("it has more than {MAX_INFO} bytes"),
                ));
            }
            own.insert("info".to_owned(), read);
        }
        Ok(own)
    }
}

fn option(name: &str, error: impl std::fmt::Display) -> Failure {
    Failure::wrong(format!("{name}: {error}"))
}

/// Returns a text that the hub takes as a name.
fn name(of: &str, text: &str) -> Result<Value, Failure> {
    match (1..=MAX_NAME).contains(&text.len()) {
        true => Ok(text.into()),
        false => Err(option(of, format!("give 1 to {MAX_NAME} bytes"))),
    }
}

fn at_most(of: &str, all: &[String]) -> Result<(), Failure> {
    match all.len() > MAX_PATTERNS {
        true => Err(option(of, format!("there are more than {MAX_PATTERNS}"))),
        false => Ok(()),
    }
}

impl Show {
    fn run(self) -> Result<(), Failure> {
        let token = match &*self.token {
            "-" => {
                let mut text = String::new();
                // Some white space around it does no harm.
                let most = 2 * MAX_TOKEN as u64;
                let read = io::stdin().take(most).read_to_string(&mut text);
                read.map_err(|error| Failure::wrong(format!("standard input: {error}")))?;
                text
            }
            _ => self.token,
        };
        let inspected = inspect(&token).map_err(Failure::wrong)?;
        // What is no JSON is shown as a text of it, so that nothing in it reaches the terminal as it is.
        let shown = |text: String| serde_json::from_str(&text).unwrap_or(Value::String(text));
        let (header, claims) = (shown(inspected.header), shown(inspected.claims));
        note(format!(
            "nothing of this is checked: anybody can write a token that says anything{}",
            ends(&claims, SystemTime::now())
        ));
        let both = json!({ "header": header, "claims": claims });
        print(serde_json::to_string_pretty(&both).map_err(Failure::failed)?)
    }
}

/// Says when the token ends, if it says so, since nobody reads seconds since 1970.
fn ends(claims: &Value, now: SystemTime) -> String {
    let since = now.duration_since(SystemTime::UNIX_EPOCH);
    let (Some(at), Ok(now)) = (claims["exp"].as_u64(), since) else {
        return String::new();
    };
    let now = now.as_secs();
    match at.checked_sub(now) {
        Some(left) if left > 0 => format!("; it says that it ends in {left} s"),
        _ => format!("; it says that it ended {} s ago", now.saturating_sub(at)),
    }
}
