//! A small format that uses all that a format can have.
//!
//! A message is bytes and holds lines, each a command: `HELLO`, which comes first; `SUB tag channel [since]`,
//! `UNSUB tag`, `PUB channel text`, `AUTH proof`; and `.`, the answer to the server's `?`.

use hubplane_backplane::Secret;
use hubplane_hub::{
    Action, Message,
    command::{Command, Ending, Push, Reply, Which},
    frame::{Encoding, Frame, Framing},
    presence::{Member, PresenceOptions, Roster},
};
use warp::{Filter, Reply as _};

use hubplane_protocol::{Close, Decoder, Features, Format, Incoming, Input, SessionName};

use super::super::encode::WebSocket;
use crate::mounts::{Mount, Mounted, Routes};

/// The format.
#[derive(Debug)]
struct Toy;

/// The format in WebSocket messages.
pub(super) static TOY: Encoding = Encoding {
    format: &Toy,
    framing: &WebSocket,
};

/// The format in lines of a response's body.
static LINES: Encoding = Encoding {
    format: &Toy,
    framing: &PlainLines,
};

/// The format at a path of its own, with routes of its own: `GET /toy/sessions`, and `GET /toy/lines?channel=…`, whose
/// body is a session without a WebSocket.
pub(super) const MOUNT: Mount = Mount {
    path: "/toy",
    websocket: FORMATS,
    routes: Some(routes),
};
static FORMATS: &[&Encoding] = &[&TOY];

fn routes(mounted: Mounted) -> Routes {
    let with = warp::any().map(move || mounted.clone());
    let sessions = warp::path!("toy" / "sessions")
        .and(with.clone())
        .map(|mounted: Mounted| mounted.hub().session_count().to_string().into_response());
    let lines = warp::path!("toy" / "lines")
        .and(with)
        .and(warp::header::headers_cloned())
        .and(warp::query::<Vec<(String, String)>>())
        .then(
            |mounted: Mounted, headers, query: Vec<(String, String)>| async move {
                let channels = query.into_iter().map(|(_, channel)| channel).collect();
                match mounted.grant(&headers) {
                    Ok(grant) => mounted.stream(grant, &LINES, channels).await,
                    Err(problem) => problem.into_response(),
                }
            },
        );
    sessions.or(lines).unify().boxed()
}

/// A message a line, and no frames.
#[derive(Debug)]
struct PlainLines;

impl Framing for PlainLines {
    fn room(&self) -> usize {
        0
    }

    fn frame(&self, _binary: bool, mut buffer: Vec<u8>, tail: usize) -> Frame {
        // A head's line ends with its tail.
        if tail == 0 {
            buffer.push(b'\n');
        }
        buffer.into()
    }

    fn ping(&self) -> Frame {
        Frame::from_static(b"\n")
    }

    fn close(&self, _close: &Close) -> Frame {
        Frame::new()
    }
}

/// Whether the client has said hello, and as whom.
#[derive(Debug, Default)]
struct Lines {
    client: Option<String>,
}

impl Decoder for Lines {
    fn decode(&mut self, incoming: Incoming<'_>, on: &mut dyn FnMut(Input)) {
        let Incoming::Binary(bytes) = incoming else {
            return on(Input::End(Close::new(4001, "bytes, please")));
        };
        for line in String::from_utf8_lossy(bytes).lines() {
            on(self.line(line));
        }
    }
}

impl Lines {
    fn line(&mut self, line: &str) -> Input {
        let words: Vec<_> = line.splitn(4, ' ').collect();
        let reference = Some(words[0].into());
        let command = match (&*words, &self.client) {
            (["HELLO", client], None) => {
                self.client = Some((*client).to_owned());
                Command::Ping
            }
            (_, None) => return Input::End(Close::new(4002, "say hello first")),
            (["."], _) => return Input::Alive,
            (["SUB", tag, channel, since @ ..], Some(client)) => {
                let member = Member {
                    client: client.as_str().into(),
                    user: None,
                    info: None,
                    verified: false,
                };
                let presence = PresenceOptions {
                    member: Some(member),
                    watch: false,
                };
                Command::Subscribe {
                    reference,
                    channel: (*channel).into(),
                    tag: Some((*tag).into()),
                    since: since.first().and_then(|since| since.parse().ok()),
                    presence: Some(Box::new(presence)),
                    max_rate: None,
                }
            }
            (["UNSUB", tag], _) => Command::Unsubscribe {
                reference,
                which: Which::Tag((*tag).into()),
            },
            (["PUB", channel, text], _) => Command::Publish {
                reference,
                channel: (*channel).into(),
                data: text.as_bytes().to_vec().into(),
                id: None,
                not_to_me: true,
            },
            (["AUTH", proof], _) => Command::Authenticate {
                reference,
                proof: Secret::new(*proof),
            },
            _ => {
                let message = "what is this?".to_owned();
                return Input::Refused { reference, message };
            }
        };
        Input::Command(command)
    }
}

impl Format for Toy {
    fn subprotocol(&self) -> &'static str {
        "toy"
    }

    fn features(&self) -> Features {
        let mut features = Features::default();
        features.binary = true;
        features.greets = true;
        features.heads = true;
        features.keep_alive = true;
        features.missed_inside = true;
        features.members_inside = true;
        features
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(Lines::default())
    }

    fn greeting(&self, session: &SessionName, out: &mut Vec<u8>) {
        put(out, &format!("YOU ARE {session}"));
    }

    fn reply(&self, reply: &Reply<'_>, out: &mut Vec<u8>) {
        let text = match reply {
            Reply::Subscribed {
                tag,
                recovered,
                missed,
                members,
                ..
            } => {
                let missed: Vec<_> = missed.iter().map(|it| text(it)).collect();
                let count = members.map_or(0, |roster| roster.count);
                let tag = tag.unwrap_or_default();
                format!("SUBSCRIBED {tag} {recovered} {missed:?} {count}")
            }
            Reply::Unsubscribed { tag, .. } => format!("LEFT {}", tag.unwrap_or_default()),
            Reply::Published { position, .. } => {
                let position = position.map(|it| it.to_string()).unwrap_or_default();
                format!("PUBLISHED {position}")
            }
            Reply::Members { .. } => "MEMBERS ".to_owned(),
            Reply::Error {
                reference, code, ..
            } => format!("{} {}", code.as_str(), reference.unwrap_or_default()),
            Reply::Expiring(seconds) => format!("EXPIRING {seconds}"),
            Reply::Authenticated { grant, .. } => {
                format!("WELCOME {}", grant.allows_somewhere(Action::Publish))
            }
            Reply::Pong => "HI".to_owned(),
        };
        put(out, &text);
    }

    fn push(&self, push: &Push<'_>, out: &mut Vec<u8>) {
        let text = match push {
            Push::Message(message) => text(message),
            Push::Gap { cause, .. } => format!("gap {}", cause.as_str()),
            Push::Presence(change) => format!("{} {}", change.joined, change.member.client),
        };
        put(out, &text);
    }

    fn head(&self, tag: Option<&str>, out: &mut Vec<u8>) {
        put(out, &format!("{}: ", tag.unwrap_or_default()));
    }

    fn members(&self, _channel: &str, roster: &Roster, out: &mut Vec<u8>) {
        put(out, &roster.count.to_string());
    }

    fn keep_alive(&self, out: &mut Vec<u8>) {
        out.push(b'?');
    }

    fn ending(&self, ending: Ending, out: &mut Vec<u8>) -> Close {
        put(out, &format!("BYE {ending:?}"));
        let code = match ending {
            Ending::Expired => 4010,
            Ending::NoPong => 4011,
            _ => 4012,
        };
        Close::new(code, "")
    }
}

fn text(message: &Message) -> String {
    String::from_utf8_lossy(&message.data).into_owned()
}

fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}
