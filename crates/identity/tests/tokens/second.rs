//! A second, slow and plain reader of tokens, to compare with: `serde_json`'s values and `ring`, and
//! nothing of the crate under test.

use std::{collections::BTreeMap, sync::Mutex};

use ring::{
    hmac, rand,
    signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair, UnparsedPublicKey},
};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use serde_json::{Map, Value};

use crate::make::{NOW, read};

const ACTIONS: [&str; 4] = ["subscribe", "publish", "history", "presence"];
const REGISTERED: [&str; 7] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];
const OWN: [&str; 4] = ["permissions", "channels", "info", "channel"];

/// What the second reader makes of a token.
#[derive(Debug)]
pub(crate) enum Verdict {
    Refused,
    Accepted(Box<Said>),
    /// `serde_json` makes no value of what is JSON, such as a number out of range.
    Unsure,
}

/// What an accepted token says.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) user: Option<String>,
    pub(crate) token_id: Option<String>,
    pub(crate) expires: f64,
    pub(crate) permissions: Vec<(Vec<String>, Vec<String>)>,
    pub(crate) channels: Vec<String>,
    pub(crate) info: Option<Value>,
    pub(crate) channel: Option<String>,
    pub(crate) texts: BTreeMap<String, String>,
}

/// Reads a token for the issuer `idp` and the audience `hub`, with the public half of a private
/// key.
pub(crate) fn check(token: &str, private: &str, namespace: &str) -> Verdict {
    let parts: Vec<&str> = token.split('.').collect();
    let &[header, claims, signature] = &parts[..] else {
        return Verdict::Refused;
    };
    let texts = (decode(header), decode(claims), decode(signature));
    let (Some(header_json), Some(claims_json), Some(signature)) = texts else {
        return Verdict::Refused;
    };
    let mut objects = Vec::new();
    for json in [header_json, claims_json] {
        let Ok(json) = String::from_utf8(json) else {
            return Verdict::Refused;
        };
        match (
            serde_json::from_str(&json),
            serde_json::from_str::<serde::de::IgnoredAny>(&json),
        ) {
            (Ok(Value::Object(object)), _) if is_plain(&json, &object) => objects.push(object),
            (Err(_), Ok(_)) => return Verdict::Unsure,
            _ => return Verdict::Refused,
        }
    }
    let message = format!("{header}.{claims}");
    let good = token.len() <= 8_192
        && header_is_good(&objects[0])
        && is_signed(
            objects[0]["alg"].as_str().unwrap(),
            private,
            message.as_bytes(),
            &signature,
        );
    match said(&objects[1], namespace).filter(|_| good) {
        Some(said) => Verdict::Accepted(Box::new(said)),
        None => Verdict::Refused,
    }
}

/// Base64url without padding, each text of bytes in one way only.
fn decode(text: &str) -> Option<Vec<u8>> {
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for letter in text.chars() {
        bits = bits << 6 | u32::try_from(alphabet.find(letter)?).unwrap();
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).unwrap());
            bits &= (1 << held) - 1;
        }
    }
    (held < 6 && bits == 0).then_some(bytes)
}

/// True if no member was lost because another had its name, and if nothing is nested deeply.
fn is_plain(json: &str, object: &Map<String, Value>) -> bool {
    let (mut colons, mut in_text, mut letters) = (0, false, json.chars());
    while let Some(letter) = letters.next() {
        match letter {
            '"' => in_text = !in_text,
            '\\' if in_text => _ = letters.next(),
            ':' if !in_text => colons += 1,
            _ => {}
        }
    }
    let (members, depth) = size(&Value::Object(object.clone()));
    members == colons && depth <= 16
}

/// Members and depth.
fn size(value: &Value) -> (usize, usize) {
    let below: Vec<_> = match value {
        Value::Array(items) => items.iter().map(size).collect(),
        Value::Object(members) => members.values().map(size).collect(),
        _ => return (0, 0),
    };
    let own = value.as_object().map_or(0, Map::len);
    let members = below.iter().map(|(members, _)| members).sum::<usize>();
    let depth = below.iter().map(|(_, depth)| *depth).max();
    (own + members, 1 + depth.unwrap_or(0))
}

fn header_is_good(header: &Map<String, Value>) -> bool {
    let forbidden = ["crit", "b64", "jwk", "jku", "x5u", "x5c"];
    let kid = header.get("kid");
    let is_text = |name| header.get(name).is_none_or(Value::is_string);
    !forbidden.iter().any(|name| header.contains_key(*name))
        && header.get("alg").is_some_and(Value::is_string)
        && is_text("typ")
        && is_text("cty")
        && kid.is_none_or(|kid| name(kid).is_some())
}

fn is_signed(algorithm: &str, private: &str, message: &[u8], signature: &[u8]) -> bool {
    let key = public_key(private);
    let verify = |how: &'static dyn signature::VerificationAlgorithm| {
        UnparsedPublicKey::new(how, &key)
            .verify(message, signature)
            .is_ok()
    };
    let secret = |how| hmac::sign(&hmac::Key::new(how, &key), message).as_ref() == signature;
    match (private, algorithm) {
        ("secret.txt", "HS256") => secret(hmac::HMAC_SHA256),
        ("secret.txt", "HS384") => secret(hmac::HMAC_SHA384),
        ("secret.txt", "HS512") => secret(hmac::HMAC_SHA512),
        ("rsa.pem", "RS256") => verify(&signature::RSA_PKCS1_2048_8192_SHA256),
        ("rsa.pem", "RS384") => verify(&signature::RSA_PKCS1_2048_8192_SHA384),
        ("rsa.pem", "RS512") => verify(&signature::RSA_PKCS1_2048_8192_SHA512),
        ("rsa.pem", "PS256") => verify(&signature::RSA_PSS_2048_8192_SHA256),
        ("rsa.pem", "PS384") => verify(&signature::RSA_PSS_2048_8192_SHA384),
        ("rsa.pem", "PS512") => verify(&signature::RSA_PSS_2048_8192_SHA512),
        ("p256.pem", "ES256") => verify(&signature::ECDSA_P256_SHA256_FIXED),
        ("p384.pem", "ES384") => verify(&signature::ECDSA_P384_SHA384_FIXED),
        ("ed25519.pem", "EdDSA") => verify(&signature::ED25519),
        _ => false,
    }
}

/// The public half of a private key as `ring` takes it, or the secret. Made once, since that takes
/// longer than a signature.
pub(crate) fn public_key(private: &str) -> Vec<u8> {
    static MADE: Mutex<BTreeMap<String, Vec<u8>>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap();
    made.entry(private.to_owned())
        .or_insert_with(|| make_public_key(private))
        .clone()
}

fn make_public_key(private: &str) -> Vec<u8> {
    let file = read(private);
    if private == "secret.txt" {
        return file.trim_ascii().to_vec();
    }
    let der = PrivatePkcs8KeyDer::from_pem_slice(&file).unwrap();
    let der = der.secret_pkcs8_der();
    let ec = |curve| {
        let pair = EcdsaKeyPair::from_pkcs8(curve, der, &rand::SystemRandom::new()).unwrap();
        pair.public_key().as_ref().to_vec()
    };
    match private {
        "rsa.pem" => RsaKeyPair::from_pkcs8(der)
            .unwrap()
            .public()
            .as_ref()
            .to_vec(),
        "p256.pem" => ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
        "p384.pem" => ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
        _ => {
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).unwrap();
            pair.public_key().as_ref().to_vec()
        }
    }
}

fn said(all: &Map<String, Value>, namespace: &str) -> Option<Said> {
    #[allow(
        clippy::cast_precision_loss,
        reason = "seconds of these years are exact"
    )]
    let now = NOW as f64;
    let time = |value: &Value| {
        let seconds = value
            .as_f64()
            .filter(|it| (0.0..253_402_300_800.0).contains(it));
        seconds.map(f64::floor)
    };
    let expires = time(all.get("exp")?).filter(|it| it + 10.0 > now)?;
    if let Some(nbf) = all.get("nbf") {
        time(nbf).filter(|it| *it <= now + 10.0)?;
    }
    if all.get("iss")?.as_str()? != "idp" {
        return None;
    }
    let audiences = match all.get("aud")? {
        Value::Array(list) => list.iter().map(Value::as_str).collect::<Option<Vec<_>>>()?,
        one => vec![one.as_str()?],
    };
    if !audiences.contains(&"hub") {
        return None;
    }
    let own = match all.get(namespace) {
        _ if namespace.is_empty() => all.clone(),
        Some(own) => own.as_object()?.clone(),
        None => Map::new(),
    };
    let (user, channel) = (named(all, "sub")?, named(&own, "channel")?);
    if channel.is_some() && user.is_none() {
        return None;
    }
    let info = own.get("info").filter(|info| !info.is_null()).cloned();
    if info
        .as_ref()
        .is_some_and(|info| info.to_string().len() > 1_024)
    {
        return None;
    }
    Some(Said {
        user,
        token_id: named(all, "jti")?,
        expires,
        permissions: permissions(own.get("permissions"))?,
        channels: own
            .get("channels")
            .map_or(Some(Vec::new()), |list| names(list, 64))?,
        info,
        channel,
        texts: texts(all, &own),
    })
}

fn texts(all: &Map<String, Value>, own: &Map<String, Value>) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    for (claim, value) in all.iter().chain(own) {
        let special = REGISTERED.contains(&&**claim) || OWN.contains(&&**claim);
        if let Some(text) = name(value).filter(|_| !special) {
            texts.insert(claim.clone(), text);
        }
    }
    texts
}

fn permissions(list: Option<&Value>) -> Option<Vec<(Vec<String>, Vec<String>)>> {
    let Some(list) = list else {
        return Some(Vec::new());
    };
    let mut permissions = Vec::new();
    for permission in list.as_array()? {
        let permission = permission.as_object()?;
        let channels = names(permission.get("channels")?, 64)?;
        let mut allow = names(permission.get("allow")?, usize::MAX)?;
        if permission.len() != 2 || !allow.iter().all(|it| ACTIONS.contains(&&**it)) {
            return None;
        }
        allow.sort_by_key(|it| ACTIONS.iter().position(|known| known == it));
        allow.dedup();
        permissions.push((channels, allow));
    }
    let patterns = permissions
        .iter()
        .map(|(channels, _)| channels.len().max(1));
    (patterns.sum::<usize>() <= 64).then_some(permissions)
}

fn name(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    (1..=255).contains(&text.len()).then(|| text.to_owned())
}

fn named(object: &Map<String, Value>, member: &str) -> Option<Option<String>> {
    match object.get(member) {
        None => Some(None),
        Some(value) => Some(Some(name(value)?)),
    }
}

fn names(list: &Value, most: usize) -> Option<Vec<String>> {
    let names: Option<Vec<_>> = list.as_array()?.iter().map(name).collect();
    names.filter(|names| names.len() <= most)
}
