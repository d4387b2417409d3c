//! From what the operator's own backend answers to a grant.
//!
//! A request that shows a key or a token is not asked about when it connects: that says who it is
//! already. Single channels are asked about where a rule says so.

use std::{borrow::Cow, fmt, net::IpAddr, sync::Arc, time::Instant};

use http::{HeaderMap, header};
use hubplane_hub::{Action, Asking, Grant, Unproven, Who};

use super::{Access, NotAdmitted, grant};
use crate::{
    Claims,
    endpoint::{Allowed, Answer, Question, Wish},
    rules::Subject,
};

pub use crate::endpoint::Endpoint;

/// Asks the endpoint about single channels for one client.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    endpoint: Arc<Endpoint>,
    client: Arc<Client>,
}

/// Whom a question is about. Of its headers only those are kept that are passed on.
struct Client {
    user: Option<Box<str>>,
    headers: HeaderMap,
    address: IpAddr,
}

/// Shows no headers.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl Asker {
    pub(super) fn ask(&self, action: Action, channel: &str, data: &[u8]) -> Asking {
        let Self { endpoint, client } = self.clone();
        let (channel, data) = (channel.to_owned(), data.to_vec());
        Box::pin(async move {
            let channel = &*channel;
            let wish = match action {
                Action::Publish => Wish::Publish {
                    channel,
                    data: &data,
                },
                _ => Wish::Subscribe { channel },
            };
            let question = Question {
                wish,
                user: client.user.as_deref(),
                client: None,
                address: client.address,
                headers: &client.headers,
            };
            match endpoint.ask(question).await {
                Ok(Answer::Allowed(_)) => Ok(()),
                Ok(Answer::Refused { reason }) => {
                    let reason =
                        reason.map_or("this channel may not be used so".into(), Cow::Owned);
                    Err(Unproven(reason))
                }
                Err(error) => {
                    tracing::debug!(%error, "a question about a channel is not decided");
                    let wait = error.retry_after.as_secs().max(1);
                    let why = format!("nobody can decide that now; try again in {wait} s");
                    Err(Unproven(why.into()))
                }
            }
        })
    }
}

impl Access {
    /// Asks the backend whether a client may connect that shows neither a key nor a token. Returns
    /// `None` if there is nobody to ask, or the client shows something.
    ///
    /// # Errors
    /// The client is not let in.
    pub async fn admit(
        &self,
        headers: &HeaderMap,
        address: IpAddr,
    ) -> Result<Option<Grant>, NotAdmitted> {
        let Some(endpoint) = &self.endpoint else {
            return Ok(None);
        };
        if !endpoint.asks(&Wish::Connect) || headers.contains_key(header::AUTHORIZATION) {
            return Ok(None);
        }
        let question = Question {
            wish: Wish::Connect,
            user: None,
            client: None,
            address,
            headers,
        };
        match endpoint.ask(question).await {
            Ok(Answer::Allowed(allowed)) => {
                Ok(Some(self.grant_of_answer(allowed, headers, address)))
            }
            Ok(Answer::Refused { reason }) => Err(NotAdmitted::Refused(reason)),
            Err(error) => {
                tracing::debug!(%error, "a client was not admitted");
                Err(NotAdmitted::Undecided(error.retry_after))
            }
        }
    }

    /// Returns what asks the endpoint about single channels for a client; `None` if the endpoint is
    /// not asked about these.
    pub(super) fn asker(
        &self,
        user: Option<&str>,
        headers: &HeaderMap,
        address: IpAddr,
    ) -> Option<Asker> {
        let endpoint = self.endpoint.as_ref()?;
        let asks = endpoint.asks(&Wish::Subscribe { channel: "" })
            || endpoint.asks(&Wish::Publish {
                channel: "",
                data: b"",
            });
        asks.then(|| Asker {
            endpoint: Arc::clone(endpoint),
            client: Arc::new(Client {
                user: user.map(Into::into),
                headers: endpoint.passed(headers),
                address,
            }),
        })
    }

    fn grant_of_answer(&self, allowed: Allowed, headers: &HeaderMap, address: IpAddr) -> Grant {
        let wanted = self.rules.claims();
        let user = allowed.user.iter().map(|user| ("sub", &**user));
        let claims: Claims = user.filter(|(name, _)| wanted.contains(name)).collect();
        let subject = Subject::Token {
            claims,
            permissions: allowed.permissions,
        };
        let asker = self.asker(allowed.user.as_deref(), headers, address);
        let mut grant = grant(&self.rules, Who::User, subject, asker);
        if let Some(user) = allowed.user {
            grant = grant.named(user);
        }
        if let Some(info) = allowed.info {
            grant = grant.with_info(info.get());
        }
        if let Some(left) = allowed.expires_in {
            grant = grant.until(Instant::now() + left);
        }
        grant.joining(allowed.channels)
    }
}
