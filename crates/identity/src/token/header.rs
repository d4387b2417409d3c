//! What a token's header may say (RFC 7515, section 4.1).
//!
//! What must hold: the header chooses among the issuer's keys and their algorithms, and brings none
//! of its own. This file must not know keys.

use jsonwebtoken::Algorithm;

use super::{
    MAX_NAME,
    error::TokenError,
    object::{Object, Unusable, text},
};

/// Members that bring a key, or say where to fetch one (RFC 7515, sections 4.1.2, 4.1.3, 4.1.5 and
/// 4.1.6): whoever made the token could choose it.
const KEYS: [&str; 4] = ["jwk", "jku", "x5u", "x5c"];

/// What a header says.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    /// The key's id, if the header names one.
    pub(super) kid: Option<String>,
}

impl Header {
    /// Reads a header.
    pub(super) fn read(json: &str) -> Result<Self, TokenError> {
        let object = Object::read(json).map_err(|error| match error {
            Unusable::NotAnObject => TokenError::HeaderNotAnObject,
            Unusable::Repeated => TokenError::HeaderRepeated,
            Unusable::TooDeep => TokenError::TooDeep,
        })?;
        if object.get("crit").is_some() {
            return Err(TokenError::ExtensionUnknown);
        }
        if object.get("b64").is_some() {
            return Err(TokenError::ClaimsNotEncoded);
        }
        if KEYS.iter().any(|name| object.get(name).is_some()) {
            return Err(TokenError::KeyInToken);
        }
        let is_text = |name| object.get(name).is_none_or(|json| text(json).is_some());
        if !is_text("typ") || !is_text("cty") {
            return Err(TokenError::TypeInvalid);
        }
        let name = object.get("alg").and_then(text);
        let name = name.ok_or(TokenError::AlgorithmMissing)?;
        if name.eq_ignore_ascii_case("none") {
            return Err(TokenError::AlgorithmNone);
        }
        let kid = match object.get("kid") {
            None => None,
            Some(kid) => Some(
                text(kid)
                    .filter(|kid| (1..=MAX_NAME).contains(&kid.len()))
                    .ok_or(TokenError::KeyIdInvalid)?,
            ),
        };
        Ok(Self {
            algorithm: name.parse().ok().ok_or(TokenError::AlgorithmUnknown)?,
            kid,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_brings_no_key_and_no_extension() {
        for (header, error) in [
            ("[]", TokenError::HeaderNotAnObject),
            (
                r#"{"alg":"HS256","alg":"HS256"}"#,
                TokenError::HeaderRepeated,
            ),
            (
                r#"{"alg":"HS256","crit":["exp"]}"#,
                TokenError::ExtensionUnknown,
            ),
            (
                r#"{"alg":"HS256","crit":null}"#,
                TokenError::ExtensionUnknown,
            ),
            (
                r#"{"alg":"HS256","b64":true}"#,
                TokenError::ClaimsNotEncoded,
            ),
            (r#"{"alg":"HS256","jwk":{}}"#, TokenError::KeyInToken),
            (
                r#"{"alg":"HS256","jku":"https://a"}"#,
                TokenError::KeyInToken,
            ),
            (
                r#"{"alg":"HS256","x5u":"https://a"}"#,
                TokenError::KeyInToken,
            ),
            (r#"{"alg":"HS256","x5c":[]}"#, TokenError::KeyInToken),
            ("{}", TokenError::AlgorithmMissing),
            (r#"{"alg":5}"#, TokenError::AlgorithmMissing),
            (r#"{"alg":"none"}"#, TokenError::AlgorithmNone),
            (r#"{"alg":"nOnE"}"#, TokenError::AlgorithmNone),
            (r#"{"alg":"hs256"}"#, TokenError::AlgorithmUnknown),
            (r#"{"alg":"ES512"}"#, TokenError::AlgorithmUnknown),
            (r#"{"alg":""}"#, TokenError::AlgorithmUnknown),
            (r#"{"alg":"HS256","typ":7}"#, TokenError::TypeInvalid),
            (r#"{"alg":"HS256","cty":[]}"#, TokenError::TypeInvalid),
            (r#"{"alg":"HS256","kid":7}"#, TokenError::KeyIdInvalid),
            (r#"{"alg":"HS256","kid":""}"#, TokenError::KeyIdInvalid),
        ] {
            assert_eq!(Header::read(header).unwrap_err(), error, "{header}");
        }
        let header = Header::read(r#"{"typ":"at+jwt","alg":"PS384","kid":"a","x5t":"b"}"#).unwrap();
        assert_eq!(
            (header.algorithm, header.kid.as_deref()),
            (Algorithm::PS384, Some("a"))
        );
    }
}
