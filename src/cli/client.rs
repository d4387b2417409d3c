//! `hubplane pub` and `hubplane sub`.

use std::{
    fs,
    io::{Read, stdin},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hubplane_backplane::Outgoing;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};

use super::{Failure, HubArgs, note, print, runtime};
use crate::backends;
use hubplane_client::{Client, Error, Event, Member, Options, Presence};
use hubplane_hub::Limits;

/// Most of an answer that is read.
const ANSWER_BYTES: usize = 1024 * 1024;

/// Publishes one message.
#[derive(Debug, clap::Args)]
pub(super) struct Pub {
    /// Where to
    channel: String,
    /// What: JSON, or else sent as a JSON string; `-`, or nothing, reads standard input
    data: Option<String>,
    #[command(flatten)]
    hub: HubArgs,
    /// Publish straight to this broker, without a hub; data is then sent as it is
    #[arg(long, value_name = "ADDRESS")]
    backplane: Option<String>,
    /// The message's id, for retries
    #[arg(long)]
    id: Option<String>,
}

/// Prints messages.
#[derive(Debug, clap::Args)]
pub(super) struct Sub {
    /// Which channels
    #[arg(required = true)]
    channels: Vec<String>,
    #[command(flatten)]
    hub: HubArgs,
    /// End after this many messages
    #[arg(long, value_name = "N")]
    count: Option<usize>,
    /// Begin after this position of the channel, with what was missed since
    #[arg(long, value_name = "POSITION")]
    since: Option<String>,
    /// Print who is on the channels, too, and who joins and leaves
    #[arg(long)]
    presence: bool,
}

impl Pub {
    pub(super) fn run(self) -> Result<(), Failure> {
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

    async fn straight(&self, address: &str, data: Vec<u8>) -> Result<(), Failure> {
        let (_, opened) = backends::open(address).await?;
        let mut outgoing = Outgoing::new(&*self.channel, data);
        outgoing.id = self.id.as_deref().map(Into::into);
        let receipt = opened.backplane.publish(vec![outgoing]).await.pop();
        opened.backplane.close().await;
        let receipt = receipt.ok_or_else(|| Failure::failed("the backend gave no answer"))??;
        print(json!({ "position": receipt.position().map(|position| position.to_string()) }))
    }

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

async fn post(hub: &HubArgs, body: String) -> Result<String, Failure> {
    let url = format!("{}/v1/publish", hub.url.trim_end_matches('/'));
    let uri: Uri = url
        .parse()
        .map_err(|error| Failure::wrong(format!("--url {}: {error}", hub.url)))?;
    let (Some("http"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(Failure::wrong(format!(
            "--url {}: give http://host:port",
            hub.url
        )));
    };
    let host = (authority.host(), authority.port_u16().unwrap_or(80));
    let stream = TcpStream::connect(host)
        .await
        .map_err(|error| unreachable_hub(hub, &error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(Failure::failed)?;
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
    let body = Limited::new(response.into_body(), ANSWER_BYTES)
        .collect()
        .await
        .map_err(Failure::failed)?;
    connection.abort();
    let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    if status.is_success() {
        return Ok(text);
    }
    let detail = serde_json::from_str::<Value>(&text)
        .ok()
        .and_then(|p| Some(p["detail"].as_str()?.to_owned()));
    Err(Failure::failed(format!(
        "the hub answered {status}: {}",
        detail.unwrap_or(text)
    )))
}

fn unreachable_hub(hub: &HubArgs, error: &std::io::Error) -> Failure {
    Failure::failed(format!(
        "no hub at {}: {error}; `hubplane serve` starts one, --url names another",
        hub.url
    ))
}

fn bearer(hub: &HubArgs) -> Result<Option<HeaderValue>, Failure> {
    let Some(path) = &hub.key_file else {
        return Ok(None);
    };
    let key = fs::read_to_string(path)
        .map_err(|error| Failure::wrong(format!("the key file {}: {error}", path.display())))?;
    let mut value = HeaderValue::from_str(&format!("Bearer {}", key.trim())).map_err(|_bad| {
        Failure::wrong(format!(
            "the key file {}: a key is one line of text",
            path.display()
        ))
    })?;
    value.set_sensitive(true);
    Ok(Some(value))
}

impl Sub {
    pub(super) fn run(self) -> Result<(), Failure> {
        if self.since.is_some() && self.channels.len() > 1 {
            return Err(Failure::wrong("--since is of one channel: name one"));
        }
        runtime()?.block_on(self.listen())
    }

    async fn listen(self) -> Result<(), Failure> {
        let base = self.hub.url.trim_end_matches('/');
        let mut options = Options::new([base]);
        if let Some(bearer) = bearer(&self.hub)? {
            options.headers.insert(header::AUTHORIZATION, bearer);
        }
        let (client, mut events) = Client::connect(options)
            .await
            .map_err(|error| match error {
                Error::Options(reason) => Failure::wrong(format!("--url {reason}")),
                error => Failure::failed(format!(
                    "no hub at {base}: {error}; `hubplane serve` starts one, --url names another"
                )),
            })?;
        for channel in &self.channels {
            let presence = Presence {
                watch: self.presence,
                ..Presence::default()
            };
            client
                .attend(channel, self.since.as_deref(), presence)
                .await
                .map_err(Failure::failed)?;
        }
        let mut left = self.count.unwrap_or(usize::MAX);
        while left > 0 {
            match events.next().await {
                Some(Event::Message(message)) => {
                    left -= 1;
                    print(serde_json::to_string(&message).map_err(Failure::failed)?)?;
                }
                Some(Event::Gap { channel, cause }) => {
                    print(json!({ "type": "gap", "channel": channel, "cause": cause }))?;
                }
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
                Some(Event::Refused { message, .. }) => return Err(Failure::wrong(message)),
                Some(Event::Down { reason }) => note(format!("{reason}; connecting again")),
                Some(Event::Up) => note("connected again"),
                Some(Event::Ended { reason }) => {
                    return Err(Failure::failed(format!(
                        "the hub ended the connection: {reason}"
                    )));
                }
                Some(_) => {}
                None => return Err(Failure::failed("the connection is gone")),
            }
        }
        client.close().await;
        Ok(())
    }
}

fn change(kind: &str, channel: &str, member: &Member) -> Result<(), Failure> {
    let Member { client, user, info } = member;
    print(json!({ "type": kind, "channel": channel, "client": client, "user": user, "info": info }))
}
