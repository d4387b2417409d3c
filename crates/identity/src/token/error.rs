//! Why a token is not accepted: one variant and one sentence each.
//!
//! What must hold: a sentence shows nothing of the token, since it goes to the client and into
//! logs. This file must not know how a token is checked.

use std::{error::Error, fmt};

use super::{MAX_INFO, MAX_NAME, MAX_PATTERNS, MAX_TOKEN};

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TokenError {
    /// It is longer than [`MAX_TOKEN`] bytes.
    TooLong,
    /// It is not three parts of base64url (RFC 7515, section 7.1).
    NotAToken,
    /// Its header is not a JSON object.
    HeaderNotAnObject,
    /// Its claims are not a JSON object.
    ClaimsNotAnObject,
    /// A member of the header stands twice.
    HeaderRepeated,
    /// A claim, or a member below one, stands twice.
    ClaimRepeated,
    /// Lists or objects are nested too deeply.
    TooDeep,
    /// The header names no algorithm, or not as text.
    AlgorithmMissing,
    /// The header says that nothing is signed: `none` (RFC 7519, section 6).
    AlgorithmNone,
    /// The algorithm is not one that this hub knows.
    AlgorithmUnknown,
    /// The algorithm is not one of the key's.
    AlgorithmOfAnotherKey,
    /// The header has `crit`: extensions that a reader must know, and this one knows none (RFC 7515, section 4.1.11).
    ExtensionUnknown,
    /// The header has `b64`: the claims would not be encoded (RFC 7797).
    ClaimsNotEncoded,
    /// The header brings a key or says where one is: `jwk`, `jku`, `x5u` or `x5c`.
    KeyInToken,
    /// The header's `typ` or `cty` is not a text.
    TypeInvalid,
    /// The header's `kid` is not a text of 1 to 255 bytes.
    KeyIdInvalid,
    /// The header names no key, and several of the issuer's fit.
    KeyIdMissing,
    /// The issuer has no such key.
    KeyUnknown,
    /// The issuer's keys are being fetched anew, since none has this id. The token may be good soon.
    KeyNotThereYet,
    /// The issuer's keys could not be fetched, or too long ago.
    KeysUnavailable,
    /// The signature is not the key's.
    SignatureWrong,
    /// There is no `exp`.
    ExpiryMissing,
    /// `exp` is not a number.
    ExpiryNotANumber,
    /// `exp` is below zero.
    ExpiryNegative,
    /// `exp` is after the year 9999.
    ExpiryTooFar,
    /// `exp` has passed.
    Expired,
    /// `nbf` is not a number from zero to the year 9999.
    NotBeforeInvalid,
    /// `nbf` is still to come.
    NotYetValid,
    /// There is no `iss`, and the hub's settings name one.
    IssuerMissing,
    /// `iss` is not a text.
    IssuerInvalid,
    /// `iss` is none that the hub's settings name.
    IssuerUnknown,
    /// There is no `aud`, and the hub's settings name one.
    AudienceMissing,
    /// `aud` is neither a text nor a list of texts.
    AudienceInvalid,
    /// `aud` names somebody else.
    AudienceWrong,
    /// `sub` is not a text of 1 to 255 bytes.
    UserInvalid,
    /// `jti` is not a text of 1 to 255 bytes.
    TokenIdInvalid,
    /// The hub's own claims are not an object.
    NamespaceNotAnObject,
    /// `permissions` is not a list of objects with `channels` and `allow` alone.
    PermissionsInvalid,
    /// There are more than [`MAX_PATTERNS`] patterns of channels.
    TooManyPatterns,
    /// A pattern of channels is not a text of 1 to 255 bytes.
    PatternInvalid,
    /// An action is none of subscribe, publish, history and presence.
    ActionUnknown,
    /// `channels` is not a list of texts of 1 to 255 bytes.
    ChannelsInvalid,
    /// There are more than [`MAX_PATTERNS`] channels to join at once.
    TooManyChannels,
    /// `channel` is not a text of 1 to 255 bytes.
    ChannelInvalid,
    /// There is a `channel` and no `sub`: a token for one channel is for one user.
    ChannelWithoutUser,
    /// `info` is longer than [`MAX_INFO`] bytes.
    InfoTooLong,
    /// `info` has half a character or a number out of range.
    InfoInvalid,
}

impl TokenError {
    /// Returns true if the same token may be good in some seconds, so a client may come back with
    /// it.
    pub const fn is_temporary(self) -> bool {
        matches!(
            self,
            Self::KeyNotThereYet | Self::KeysUnavailable | Self::NotYetValid
        )
    }

    const fn sentence(self) -> &'static str {
        match self {
            Self::TooLong | Self::InfoTooLong | Self::TooManyPatterns | Self::TooManyChannels => {
                "the token is larger than allowed"
            }
            Self::NotAToken => "the token is not three parts of base64url with dots between them",
            Self::HeaderNotAnObject => "the token's header is not a JSON object",
            Self::ClaimsNotAnObject => "the token's claims are not a JSON object",
            Self::HeaderRepeated => "a member of the token's header stands twice",
            Self::ClaimRepeated => "a claim of the token stands twice",
            Self::TooDeep => "the token's claims are nested too deeply",
            Self::AlgorithmMissing => "the token's header has no alg",
            Self::AlgorithmNone => "the token is not signed",
            Self::AlgorithmUnknown => "the token's alg is not a known one",
            Self::AlgorithmOfAnotherKey => "the token's alg does not belong to the issuer's key",
            Self::ExtensionUnknown => "the token asks for extensions (crit) that are not known",
            Self::ClaimsNotEncoded => "the token's header has b64, which is not supported",
            Self::KeyInToken => "the token brings a key along (jwk, jku, x5u or x5c)",
            Self::TypeInvalid => "the token's typ or cty is not a text",
            Self::KeyIdInvalid => "the token's kid is not a text of 1 to 255 bytes",
            Self::KeyIdMissing => "the token has no kid, and several keys of its issuer fit",
            Self::KeyUnknown => "the token is signed with an unknown key",
            Self::KeyNotThereYet => "the token's key is not there yet; try again in some seconds",
            Self::KeysUnavailable => "the keys of the token's issuer are not available now",
            Self::SignatureWrong => "the token's signature is wrong",
            Self::ExpiryMissing => "the token has no exp",
            Self::ExpiryNotANumber => "the token's exp is not a number",
            Self::ExpiryNegative => "the token's exp is negative",
            Self::ExpiryTooFar => "the token's exp is after the year 9999",
            Self::Expired => "the token has expired",
            Self::NotBeforeInvalid => "the token's nbf is not a time",
            Self::NotYetValid => "the token is not yet valid",
            Self::IssuerMissing => "the token has no iss",
            Self::IssuerInvalid => "the token's iss is not a text",
            Self::IssuerUnknown => "the token is of an unknown issuer",
            Self::AudienceMissing => "the token has no aud",
            Self::AudienceInvalid => "the token's aud is neither a text nor a list of texts",
            Self::AudienceWrong => "the token is for another audience",
            Self::UserInvalid => "the token's sub is not a text of 1 to 255 bytes",
            Self::TokenIdInvalid => "the token's jti is not a text of 1 to 255 bytes",
            Self::NamespaceNotAnObject => "the token's claims for the hub are not an object",
            Self::PermissionsInvalid => {
                "the token's permissions are not a list of objects with channels and allow"
            }
            Self::PatternInvalid => "a pattern in the token is not a text of 1 to 255 bytes",
            Self::ActionUnknown => {
                "the token allows something else than subscribe, publish, history and presence"
            }
            Self::ChannelsInvalid => {
                "the token's channels are not a list of texts of 1 to 255 bytes"
            }
            Self::ChannelInvalid => "the token's channel is not a text of 1 to 255 bytes",
            Self::InfoInvalid => "the token's info is not JSON that every client reads",
            Self::ChannelWithoutUser => "the token is for one channel and names no user (sub)",
        }
    }

    /// Returns what is limited, and the limit, where a limit is exceeded.
    const fn limit(self) -> Option<(&'static str, usize)> {
        match self {
            Self::TooLong => Some(("bytes", MAX_TOKEN)),
            Self::InfoTooLong => Some(("bytes of info", MAX_INFO)),
            Self::TooManyPatterns => Some(("patterns", MAX_PATTERNS)),
            Self::TooManyChannels => Some(("channels", MAX_PATTERNS)),
            _ => None,
        }
    }
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())?;
        match self.limit() {
            Some((what, limit)) => write!(f, ": at most {limit} {what}"),
            None => Ok(()),
        }
    }
}

impl Error for TokenError {}

// The sentences name this length as a number.
const _: () = assert!(MAX_NAME == 255);
