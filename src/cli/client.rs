//! `hubplane pub` and `hubplane sub`: clients of a hub for people and scripts.
//!
//! `sub` uses `hubplane-client`. `pub` uses HTTP, as a team's backend does, so that it shows exactly what the hub answers.

use std::{
    future::ready,
    io::{Read, stdin},
    path::Path,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hubplane_backplane::{Address, OnRestart, Outgoing};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};
use tokio::{net::TcpStream, time::timeout};

use super::{Failure, HubArgs, environment::shown, note, print, runtime, secret_of};
use crate::backends;
use hubplane_client::{Client, Error, Event, Member, Options, Presence};
use hubplane_hub::Limits;

/// The most bytes of an answer that are read.
const ANSWER_BYTES: usize = 1024 * 1024;

/// Publish one message, through a hub or straight to the broker.
#[derive(Debug, clap::Args)]
pub(super) struct Pub {
    /// Channel to publish to
    channel: String,
    /// Message to publish: JSON, or other text, which is sent as a JSON string; without it, or for `-`, it is read from
    /// standard input
    data: Option<String>,
    #[command(flatten)]
    hub: HubArgs,
    /// Publish straight to this broker, without a hub; the message is then sent as it is
    #[arg(long, value_name = "ADDRESS")]
    backplane: Option<String>,
    /// Id of the message; if you publish it again with the same id, each client receives it once
    #[arg(long)]
    id: Option<String>,
}

/// Print the messages of channels as they arrive, one JSON object on each line.
#[derive(Debug, clap::Args)]
pub(super) struct Sub {
    /// Channels to subscribe to
    #[arg(required = true)]
    channels: Vec<String>,
    #[command(flatten)]
    hub: HubArgs,
    /// Exit after this many messages
    #[arg(long, value_name = "N")]
    count: Option<usize>,
    /// Start after this position of the channel, and print first what was published since
    #[arg(long, value_name = "POSITION")]
    since: Option<String>,
    /// Also print who is on the channels, and who joins and leaves
    #[arg(long)]
    presence: bool,
}

impl Pub {
    pub(super) fn run(self) -> Result<(), Failure> {
        // `-` is the usual sign for standard input.
        let data = match self.data.as_deref() {
            None | Some("-") => {
                let mut data = Vec::new();
                stdin().read_to_end(&mut data).map_err(Failure::failed)?;
                data
            }
            Some(text) => text.as_bytes().to_vec(),
        };
        runtime()?.block_on(async {
            match &self.backplane {
                Some(address) => self.straight(address, data).await,
                None => self.through_hub(&data).await,
            }
        })
    }

    /// Publishes by the backend's driver, without a hub. Hubs that are on the broker deliver the message.
    /// The message is sent as it is: what a hub would refuse as no JSON comes through here.
    async fn straight(&self, address: &str, data: Vec<u8>) -> Result<(), Failure> {
        let address: Address = address.parse()?;
        let driver = backends::find(address.scheme())?;
        // Another process has no way into a hub's own memory.
        if driver.capabilities().on_restart == OnRestart::NoBroker {
            return Err(Failure::wrong(format!(
                "--backplane {address} is inside of a hub's process, and no other program can publish there: leave \
                 --backplane out, and name the hub by --url"
            )));
        }
        let opened = driver.open(&address).await?;
        let mut outgoing = Outgoing::new(&*self.channel, data);
        outgoing.id = self.id.as_deref().map(Into::into);
        // One message in, one receipt out.
        let receipt = opened.backplane.publish(vec![outgoing]).await.pop();
        opened.backplane.close().await;
        let receipt = receipt.ok_or_else(|| Failure::failed("the backend gave no answer"))??;
        // A broker without a history gives no position: `null`.
        print(json!({ "position": receipt.position().map(|position| position.to_string()) }))
    }

    /// Publishes by `POST /v1/publish`, and prints the hub's answer.
    /// Text that is no JSON becomes a JSON string, so that `hubplane pub news hello` works.
    async fn through_hub(&self, data: &[u8]) -> Result<(), Failure> {
        let data: Value = match serde_json::from_slice(data) {
            Ok(json) => json,
            Err(_) => std::str::from_utf8(data)
                .map_err(|_binary| {
                    Failure::wrong("the data is neither JSON nor text; use --backplane for bytes")
                })?
                .into(),
        };
        let mut body = json!({ "channel": self.channel, "data": data });
        if let Some(id) = &self.id {
            body["id"] = id.as_str().into();
        }
        let answer = timeout(
            // Twice the hub's own limit, so that its answer comes first.
            Limits::default().publish_timeout * 2,
            post(&self.hub, body.to_string()),
        );
        print(
            answer
                .await
                .map_err(|_late| Failure::failed("the hub gave no answer"))??,
        )
    }
}

/// Sends one request over a connection of its own, and returns the body of the answer. The failure has the hub's reason.
///
/// No client library: one request needs no pool, no redirects and no TLS.
async fn post(hub: &HubArgs, body: String) -> Result<String, Failure> {
    let url = format!("{}/v1/publish", hub.base()?);
    let uri: Uri = url.parse().map_err(|_form| hub.wrong_url())?;
    let authority = uri.authority().ok_or_else(|| hub.wrong_url())?;
    let host = (authority.host(), authority.port_u16().unwrap_or(80));
    let stream = TcpStream::connect(host)
        .await
        .map_err(|error| unreachable_hub(&hub.url, &error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(Failure::failed)?;
    // The connection must be driven while the request waits for its answer.
    let connection = tokio::spawn(connection);
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(uri.path())
        .header(header::HOST, authority.as_str())
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(bearer) = bearer(hub)? {
        request = request.header(header::AUTHORIZATION, bearer);
    }
    let request = request
        .body(Full::new(Bytes::from(body)))
        .map_err(Failure::wrong)?;
    let response = sender
        .send_request(request)
        .await
        .map_err(Failure::failed)?;
    let status = response.status();
    // An answer without an end must not fill the memory.
    let body = Limited::new(response.into_body(), ANSWER_BYTES)
        .collect()
        .await
        .map_err(Failure::failed)?;
    connection.abort();
    // The answer is printed as it is, so that a user sees exactly what the hub says.
    let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    if status.is_success() {
        return Ok(text);
    }
    // Problem details (RFC 9457): `detail` is the sentence for people.
    let detail = serde_json::from_str::<Value>(&text)
        .ok()
        .and_then(|p| Some(p["detail"].as_str()?.to_owned()));
    Err(Failure::failed(format!(
        "the hub answered {status}: {}",
        detail.unwrap_or(text)
    )))
}

/// Says that no hub answers at this address, and what to do.
fn unreachable_hub(url: &str, error: &dyn std::error::Error) -> Failure {
    Failure::failed(format!(
        "no hub at {url}: {error}; `hubplane serve` starts one, --url names another"
    ))
}

/// Returns the header with the key or token, if a file with one is given. Marked as sensitive, so that no log shows it.
fn bearer(hub: &HubArgs) -> Result<Option<HeaderValue>, Failure> {
    let (option, path) = match (&hub.key_file, &hub.token_file) {
        (Some(path), _) => ("--key-file", path),
        (_, Some(path)) => ("--token-file", path),
        _ => return Ok(None),
    };
    let proof = secret_of(option, path)?;
    let mut value = HeaderValue::from_str(&format!("Bearer {proof}")).map_err(|_bad| {
        Failure::wrong(format!(
            "{option} {}: give one line of text",
            path.display()
        ))
    })?;
    // Debug output then shows "Sensitive" in its place.
    value.set_sensitive(true);
    Ok(Some(value))
}

impl Sub {
    pub(super) fn run(self) -> Result<(), Failure> {
        if self.since.is_some() && self.channels.len() > 1 {
            return Err(Failure::wrong(
                "--since is a position of one channel: give one channel only",
            ));
        }
        runtime()?.block_on(self.listen())
    }

    /// Prints what comes until `--count` messages have come, the hub refuses, or the reader of the output goes away.
    async fn listen(self) -> Result<(), Failure> {
        let base = self.hub.base()?;
        let mut options = Options::new([base]);
        if let Some(file) = self.hub.token_file.clone() {
            // In a message and not in the handshake, since only there it can be renewed.
            options = options.token(move || ready(secret_of("--token-file", &file)));
        } else if let Some(bearer) = bearer(&self.hub)? {
            options.headers.insert(header::AUTHORIZATION, bearer);
        }
        // Fails at once if the hub is not there; later breaks are mended by the client itself.
        let (client, mut events) = Client::connect(options)
            .await
            .map_err(|error| match error {
                // The library's own message would not name the option.
                Error::Options(_) => self.hub.wrong_url(),
                Error::Token(reason) => Failure::wrong(reason),
                Error::Denied { status, detail } => Failure::failed(format!(
                    "the hub at {base} refuses the connection with {status}: {detail}{}",
                    // 401 means that the hub has a key and got none, or a wrong one.
                    if status == 401 {
                        "; --key-file names a file with its key, --token-file one with your token"
                    } else {
                        ""
                    }
                )),
                error => unreachable_hub(base, &error),
            })?;
        for channel in &self.channels {
            self.subscribe(&client, channel)
                .await
                .map_err(Failure::failed)?;
        }
        // Without `--count`, until somebody ends it.
        let mut left = self.count.unwrap_or(usize::MAX);
        while left > 0 {
            match events.next().await {
                Some(Event::Message(message)) => {
                    left -= 1;
                    print(serde_json::to_string(&message).map_err(Failure::failed)?)?;
                }
                Some(Event::Gap { channel, cause }) => {
                    // A gap is printed among the messages: a script must see that something is
                    // missing.
                    print(json!({ "type": "gap", "channel": channel, "cause": cause }))?;
                }
                // The roster is asked for at each subscription, also after a reconnection: joins
                // and leaves may have been missed.
                Some(Event::Subscribed { channel, .. }) if self.presence => {
                    client
                        .ask_members(&channel)
                        .await
                        .map_err(Failure::failed)?;
                }
                Some(Event::Join { channel, member }) => change("join", &channel, &member)?,
                Some(Event::Leave { channel, member }) => change("leave", &channel, &member)?,
                Some(Event::Members(roster)) => {
                    print(serde_json::to_string(&roster).map_err(Failure::failed)?)?;
                }
                // A refusal is the user's mistake, such as a channel's name (exit code 2).
                Some(Event::Refused { message, .. }) => return Err(Failure::wrong(message)),
                Some(Event::Unauthorized { message, .. }) => {
                    return Err(self.unauthorized(&message));
                }
                Some(Event::Down { reason }) => note(format!("{reason}; connecting again")),
                Some(Event::Up) => note("connected again"),
                Some(Event::Ended { reason }) => {
                    return Err(Failure::failed(format!(
                        "the hub ended the connection: {reason}"
                    )));
                }
                // Events that a newer client library may add.
                Some(_) => {}
                None => return Err(Failure::failed("the connection is gone")),
            }
        }
        // Tells the hub, which then need not wait for a timeout.
        client.close().await;
        Ok(())
    }

    /// Subscribes with presence only where that is asked for: not everybody may see who is on a channel.
    async fn subscribe(&self, client: &Client, channel: &str) -> Result<(), Error> {
        let since = self.since.as_deref();
        if !self.presence {
            return client.subscribe(channel, since).await;
        }
        // Watching is asked for with the subscription, so that no join is missed between the two.
        let presence = Presence {
            watch: true,
            ..Presence::default()
        };
        client.attend(channel, since, presence).await
    }

    /// Says that the hub does not accept the token, and how to find out more.
    fn unauthorized(&self, why: &str) -> Failure {
        let file = self.hub.token_file.as_deref().unwrap_or(Path::new("-"));
        Failure::failed(format!(
            "the hub does not accept what is in {}: {why}; `hubplane token show - <FILE` shows what a token says",
            file.display()
        ))
    }
}

/// A join or a leave, as it is printed. What a member tells of itself is printed as it came: it may be JSON that no
/// `Value` can hold, such as `1e999`.
#[derive(Serialize)]
struct Change<'a> {
    r#type: &'a str,
    channel: &'a str,
    client: &'a str,
    user: Option<&'a str>,
    info: Option<&'a RawValue>,
}

/// Prints a join or a leave.
fn change(kind: &str, channel: &str, member: &Member) -> Result<(), Failure> {
    let change = Change {
        r#type: kind,
        channel,
        client: &member.client,
        user: member.user.as_deref(),
        info: member.info.as_deref(),
    };
    print(serde_json::to_string(&change).map_err(Failure::failed)?)
}

impl HubArgs {
    /// Returns the hub's address without a slash at its end.
    /// Also checks it: only `http`, and nothing in it that may be a password.
    fn base(&self) -> Result<&str, Failure> {
        let url = self.url.trim().trim_end_matches('/');
        match url.strip_prefix("http://") {
            Some(authority) if !authority.is_empty() && shown(url) == url => Ok(url),
            _ => Err(self.wrong_url()),
        }
    }

    /// Says how to write the address, without quoting what may be a secret.
    fn wrong_url(&self) -> Failure {
        Failure::wrong(format!(
            "--url {}: write http://HOST:PORT, such as http://127.0.0.1:8080",
            shown(&self.url)
        ))
    }
}
