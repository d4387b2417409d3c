//! What stands in for fetching keys in a build without the feature `jwks`: a clear error.

use std::{convert::Infallible, sync::Arc};

use super::{error::TokenError, keys::KeySet, settings::JwksSettings};

/// Published keys, of which there are none.
#[derive(Debug)]
pub(super) struct Remote(Infallible);

impl Remote {
    pub(super) fn new(_settings: &JwksSettings) -> Result<Self, String> {
        Err("this build can't fetch keys from a jwks URL: the feature jwks is off".to_owned())
    }

    pub(super) fn keys(&self) -> Result<Arc<KeySet>, TokenError> {
        match self.0 {}
    }

    pub(super) fn missed(&self) -> TokenError {
        match self.0 {}
    }
}
