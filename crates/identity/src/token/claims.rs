//! What a token says of its bearer: the registered claims (RFC 7519, section 4.1) and the hub's
//! own, which stand under a namespace.
//!
//! Only shapes and limits are checked here. Whether the time, the issuer and the audience are right
//! is decided in `issuer.rs`, and what a permission means elsewhere.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use serde_json::value::RawValue;

use crate::Actions;

use super::{
    MAX_INFO, MAX_NAME, MAX_PATTERNS, MAX_TEXTS,
    error::TokenError,
    object::{Object, Unusable, text},
};

/// The first second of the year 10000, counted from 1970.
const END_OF_TIME: f64 = 253_402_300_800.0;
/// Claims with a meaning of their own, which no rule can ask for as `{claim}`.
const REGISTERED: [&str; 7] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];
/// The hub's own claims.
const OWN: [&str; 4] = ["permissions", "channels", "info", "channel"];

/// What an accepted token says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claims {
    /// `sub`: whom the token is for, 1 to [`MAX_NAME`] bytes.
    pub user: Option<String>,
    /// `jti`: the token's own id, 1 to [`MAX_NAME`] bytes.
    pub token_id: Option<String>,
    /// `exp`: when it ends, without any leeway.
    pub expires: SystemTime,
    /// What it allows at most; none of the list is nothing. `None`, a token that says nothing about
    /// it, allows what the hub's rules allow to such a user.
    pub permissions: Option<Vec<Permission>>,
    /// Channels to join at once, at most [`MAX_PATTERNS`] of 1 to [`MAX_NAME`] bytes.
    pub channels: Vec<String>,
    /// What others may see of the user: JSON text of at most [`MAX_INFO`] bytes.
    pub info: Option<String>,
    /// The one channel that this token is for, with one user. Such a token is no proof for a whole
    /// session.
    pub channel: Option<String>,
    /// Other claims that are texts of at most [`MAX_NAME`] bytes, by name, for `{claim}` in rules: the token's, and
    /// those of the hub's namespace, which win. At most [`MAX_TEXTS`], the first by name.
    pub texts: BTreeMap<String, String>,
}

/// What may be done with some channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// Patterns of channels, each of 1 to [`MAX_NAME`] bytes; [`MAX_PATTERNS`] in a token.
    pub channels: Vec<String>,
    /// What is allowed there.
    pub allow: Actions,
}

/// Reads the claims of a token as an object.
pub(super) fn object(json: &str) -> Result<Object<'_>, TokenError> {
    Object::read(json).map_err(|error| match error {
        Unusable::NotAnObject => TokenError::ClaimsNotAnObject,
        Unusable::Repeated => TokenError::ClaimRepeated,
        Unusable::TooDeep => TokenError::TooDeep,
    })
}

impl Claims {
    /// Reads claims, whose `exp` is `expires`; the hub's own are under `namespace`, or beside the
    /// others if that is empty.
    pub(super) fn read(
        all: &Object<'_>,
        namespace: &str,
        expires: SystemTime,
    ) -> Result<Self, TokenError> {
        let below = match all.get(namespace).filter(|_| !namespace.is_empty()) {
            Some(json) => Some(object(json).map_err(|_error| TokenError::NamespaceNotAnObject)?),
            None => None,
        };
        let nothing = Object::default();
        let own = if namespace.is_empty() {
            all
        } else {
            below.as_ref().unwrap_or(&nothing)
        };
        let user = name_at(all, "sub", TokenError::UserInvalid)?;
        let channel = name_at(own, "channel", TokenError::ChannelInvalid)?;
        if channel.is_some() && user.is_none() {
            return Err(TokenError::ChannelWithoutUser);
        }
        Ok(Self {
            user,
            token_id: name_at(all, "jti", TokenError::TokenIdInvalid)?,
            expires,
            permissions: permissions(own)?,
            channels: channels(own)?,
            info: info(own)?,
            channel,
            texts: texts(all, own),
        })
    }
}

/// Returns `exp` as a time.
pub(super) fn expiry(all: &Object<'_>) -> Result<SystemTime, TokenError> {
    let json = all.get("exp").ok_or(TokenError::ExpiryMissing)?;
    time(json).map_err(|wrong| match wrong {
        NoTime::NotANumber => TokenError::ExpiryNotANumber,
        NoTime::Negative => TokenError::ExpiryNegative,
        NoTime::TooFar => TokenError::ExpiryTooFar,
    })
}

/// Returns `nbf` as a time, if there is one.
pub(super) fn not_before(all: &Object<'_>) -> Result<Option<SystemTime>, TokenError> {
    let at = all.get("nbf").map(time).transpose();
    at.map_err(|_wrong| TokenError::NotBeforeInvalid)
}

enum NoTime {
    NotANumber,
    Negative,
    TooFar,
}

/// Reads seconds since 1970, which may have a fraction (RFC 7519, section 2, NumericDate). Fractions
/// are cut off.
fn time(json: &str) -> Result<SystemTime, NoTime> {
    // JSON's other values begin with none of these. A number too large for f64 becomes infinite.
    let number = matches!(json.as_bytes().first(), Some(b'-' | b'0'..=b'9'));
    let seconds: f64 = number
        .then(|| json.parse().ok())
        .flatten()
        .ok_or(NoTime::NotANumber)?;
    if seconds < 0.0 {
        return Err(NoTime::Negative);
    }
    if seconds >= END_OF_TIME {
        return Err(NoTime::TooFar);
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between zero and the year 9999"
    )]
    let whole = Duration::from_secs(seconds as u64);
    Ok(SystemTime::UNIX_EPOCH + whole)
}

/// Reads a text of 1 to [`MAX_NAME`] bytes.
fn name(json: &str) -> Option<String> {
    text(json).filter(|text| (1..=MAX_NAME).contains(&text.len()))
}

fn name_at(
    object: &Object<'_>,
    member: &str,
    error: TokenError,
) -> Result<Option<String>, TokenError> {
    object
        .get(member)
        .map(|json| name(json).ok_or(error))
        .transpose()
}

fn list(json: &str) -> Option<Vec<&RawValue>> {
    serde_json::from_str(json).ok()
}

fn permissions(own: &Object<'_>) -> Result<Option<Vec<Permission>>, TokenError> {
    let invalid = TokenError::PermissionsInvalid;
    let Some(json) = own.get("permissions") else {
        return Ok(None);
    };
    let mut patterns = 0;
    let mut permissions = Vec::new();
    for item in list(json).ok_or(invalid)? {
        let permission = permission(item.get())?;
        patterns += permission.channels.len().max(1);
        if patterns > MAX_PATTERNS {
            return Err(TokenError::TooManyPatterns);
        }
        permissions.push(permission);
    }
    Ok(Some(permissions))
}

fn permission(json: &str) -> Result<Permission, TokenError> {
    let invalid = TokenError::PermissionsInvalid;
    let object = object(json).map_err(|_error| invalid)?;
    // A member that is not known may limit what the others allow.
    if object
        .iter()
        .any(|(name, _)| !["channels", "allow"].contains(&name))
    {
        return Err(invalid);
    }
    let member = |name| object.get(name).and_then(list).ok_or(invalid);
    let mut allow = Actions::default();
    for action in member("allow")? {
        allow = text(action.get())
            .and_then(|action| allow.with(&action))
            .ok_or(TokenError::ActionUnknown)?;
    }
    let channels = member("channels")?.into_iter();
    let channels = channels.map(|json| name(json.get()).ok_or(TokenError::PatternInvalid));
    Ok(Permission {
        channels: channels.collect::<Result<_, _>>()?,
        allow,
    })
}

fn channels(own: &Object<'_>) -> Result<Vec<String>, TokenError> {
    let Some(json) = own.get("channels") else {
        return Ok(Vec::new());
    };
    let items = list(json).ok_or(TokenError::ChannelsInvalid)?;
    if items.len() > MAX_PATTERNS {
        return Err(TokenError::TooManyChannels);
    }
    let names = items.into_iter().map(|json| name(json.get()));
    names
        .collect::<Option<_>>()
        .ok_or(TokenError::ChannelsInvalid)
}

fn info(own: &Object<'_>) -> Result<Option<String>, TokenError> {
    let Some(json) = own.get("info").filter(|json| *json != "null") else {
        return Ok(None);
    };
    let info = compact(json);
    if info.len() > MAX_INFO {
        return Err(TokenError::InfoTooLong);
    }
    // Clients read it: half a character (`"\ud800"`) or a number out of range is JSON for some only.
    match serde_json::from_str::<serde_json::Value>(&info) {
        Ok(_) => Ok(Some(info)),
        Err(_) => Err(TokenError::InfoInvalid),
    }
}

/// Returns JSON without the white space between its values, so that it fits into a line.
fn compact(json: &str) -> String {
    let (mut in_text, mut escaped) = (false, false);
    let kept = json.chars().filter(|c| {
        let keep = in_text || !c.is_ascii_whitespace();
        if *c == '"' && !escaped {
            in_text = !in_text;
        }
        escaped = *c == '\\' && !escaped;
        keep
    });
    kept.collect()
}

fn texts(all: &Object<'_>, own: &Object<'_>) -> BTreeMap<String, String> {
    let others = all.iter().filter(|(name, _)| !REGISTERED.contains(name));
    let own = own.iter().filter(|(name, _)| !REGISTERED.contains(name));
    let mut texts: BTreeMap<_, _> = others
        .chain(own)
        .filter(|(name, _)| !OWN.contains(name) && name.len() <= MAX_NAME)
        .filter_map(|(claim, json)| Some((claim.to_owned(), name(json)?)))
        .collect();
    while texts.len() > MAX_TEXTS {
        texts.pop_last();
    }
    texts
}
