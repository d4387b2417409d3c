//! A client of the native protocol that is led step by step.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use crate::Result;

const SOON: Duration = Duration::from_secs(10);

/// A message of numbers, as this client publishes them.
#[derive(Debug)]
pub(crate) struct Numbered {
    pub(crate) seq: u64,
    pub(crate) position: Option<String>,
}

/// The answer to a subscribe.
#[derive(Debug)]
pub(crate) struct Subscribed {
    pub(crate) position: Option<String>,
    pub(crate) recovered: bool,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Came while an answer was waited for.
    early: VecDeque<Value>,
}

impl Wire {
    pub(crate) async fn connect(hub: SocketAddr) -> Result<Self> {
        let (socket, _) = timeout(SOON, connect_async(format!("ws://{hub}/ws"))).await??;
        Ok(Self {
            socket,
            early: VecDeque::new(),
        })
    }

    /// The next object, unless none comes in that time.
    pub(crate) async fn next(&mut self, limit: Duration) -> Result<Option<Value>> {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            match tokio::time::timeout_at(deadline, self.socket.next()).await {
                Err(_) => return Ok(None),
                Ok(Some(Ok(Message::Text(text)))) => return Ok(Some(serde_json::from_str(&text)?)),
                Ok(Some(Ok(Message::Close(frame)))) => {
                    return Err(format!("closed: {frame:?}").into());
                }
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(error))) => return Err(error.into()),
                Ok(None) => return Err("the connection ended".into()),
            }
        }
    }

    /// Sends a command and waits for the answer of that type; an error is an error.
    pub(crate) async fn ask(&mut self, command: &Value, answer: &str) -> Result<Value> {
        self.socket.send(Message::text(command.to_string())).await?;
        loop {
            let value = self
                .next(SOON)
                .await?
                .ok_or_else(|| format!("no answer to {command}"))?;
            match value["type"].as_str() {
                Some(kind) if kind == answer => return Ok(value),
                Some("error") => return Err(value.to_string().into()),
                _ => self.early.push_back(value),
            }
        }
    }

    pub(crate) async fn subscribe(
        &mut self,
        channel: &str,
        since: Option<&str>,
    ) -> Result<Subscribed> {
        // What is left of an earlier subscription is not this one's.
        self.early.clear();
        let mut command = json!({ "type": "subscribe", "ref": 1, "channel": channel });
        if let Some(since) = since {
            command["since"] = json!(since);
        }
        let value = self.ask(&command, "subscribed").await?;
        Ok(Subscribed {
            position: value["position"].as_str().map(str::to_owned),
            recovered: value["recovered"].as_bool().unwrap_or(false),
        })
    }

    pub(crate) async fn unsubscribe(&mut self, channel: &str) -> Result<()> {
        let command = json!({ "type": "unsubscribe", "ref": 2, "channel": channel });
        self.ask(&command, "unsubscribed").await.map(drop)
    }

    /// Returns when the broker has it.
    pub(crate) async fn publish(&mut self, channel: &str, seq: u64) -> Result<()> {
        let command = json!({ "type": "publish", "ref": 3, "channel": channel, "data": seq });
        self.ask(&command, "published").await.map(drop)
    }

    /// The next message, unless none comes in that time; a gap is an error here.
    pub(crate) async fn message(&mut self, limit: Duration) -> Result<Option<Numbered>> {
        loop {
            let value = match self.early.pop_front() {
                Some(value) => value,
                None => match self.next(limit).await? {
                    Some(value) => value,
                    None => return Ok(None),
                },
            };
            match value["type"].as_str() {
                Some("message") => {
                    return Ok(Some(Numbered {
                        seq: value["data"].as_u64().ok_or("not a number")?,
                        position: value["position"].as_str().map(str::to_owned),
                    }));
                }
                Some("gap") => return Err(value.to_string().into()),
                _ => {}
            }
        }
    }
}
