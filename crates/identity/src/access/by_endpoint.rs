//! From what the operator's own backend answers to a grant.
//!
//! Only connecting is asked here. A request that shows a key or a token is not asked about: that
//! says who it is already.

use std::{net::IpAddr, time::Instant};

use http::{HeaderMap, header};
use hubplane_hub::{Grant, Who};

use super::{Access, NotAdmitted, grant};
use crate::{
    Claims,
    endpoint::{Allowed, Answer, Question, Wish},
    rules::Subject,
};

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
            Ok(Answer::Allowed(allowed)) => Ok(Some(self.grant_of_answer(allowed))),
            Ok(Answer::Refused { reason }) => Err(NotAdmitted::Refused(reason)),
            Err(error) => {
                tracing::debug!(%error, "a client was not admitted");
                Err(NotAdmitted::Undecided(error.retry_after))
            }
        }
    }

    fn grant_of_answer(&self, allowed: Allowed) -> Grant {
        let wanted = self.rules.claims();
        let user = allowed.user.iter().map(|user| ("sub", &**user));
        let claims: Claims = user.filter(|(name, _)| wanted.contains(name)).collect();
        let subject = Subject::Token {
            claims,
            permissions: allowed.permissions,
        };
        let mut grant = grant(&self.rules, Who::User, subject);
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
