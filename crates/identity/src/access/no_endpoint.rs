//! A build without an endpoint: nobody is asked.

use std::net::IpAddr;

use http::HeaderMap;
use hubplane_hub::{Action, Asking, Grant};

use super::{Access, NotAdmitted};

/// Nobody, who is never asked.
#[derive(Debug)]
pub(super) enum Asker {}

/// No endpoint.
#[derive(Debug)]
pub enum Endpoint {}

impl Endpoint {
    pub(super) fn passes_cookies(&self) -> bool {
        match *self {}
    }
}

impl Asker {
    pub(super) fn ask(&self, _: Action, _: &str, _: &[u8]) -> Asking {
        match *self {}
    }
}

impl Access {
    #[expect(clippy::unused_self, reason = "as with an endpoint")]
    pub(super) fn asker(&self, _: Option<&str>, _: &HeaderMap, _: IpAddr) -> Option<Asker> {
        None
    }

    /// Returns `None`: there is nobody to ask.
    ///
    /// # Errors
    /// None.
    #[expect(clippy::unused_async, reason = "as with an endpoint")]
    pub async fn admit(
        &self,
        _headers: &HeaderMap,
        _address: IpAddr,
    ) -> Result<Option<Grant>, NotAdmitted> {
        Ok(None)
    }
}
