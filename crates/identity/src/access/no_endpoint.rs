//! A build without an endpoint: nobody is asked.

use std::net::IpAddr;

use http::HeaderMap;
use hubplane_hub::Grant;

use super::{Access, NotAdmitted};

impl Access {
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
