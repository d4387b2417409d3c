//! Keys as JSON (JWK and JWK set, RFC 7517).
//!
//! `jsonwebtoken` reads them; what it does not check is checked here: sizes, curves, and what a key
//! may be used for. This file must not know where the JSON comes from.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use serde_json::value::RawValue;

use super::{MAX_NAME, MIN_SECRET, keys::Key, object::Object};

/// The most keys in a set.
pub(super) const MAX_KEYS: usize = 64;
/// Sizes of RSA keys in bytes: 2,048 to 8,192 bits, which is what `ring` takes.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1_024;

/// Reads a key or a set of keys. Keys for other purposes, and of kinds that are not known, are
/// passed over (RFC 7517, section 5); shared secrets are as well if `secrets` is false.
///
/// # Errors
/// A sentence: it is neither, there are too many, or none is left.
pub(super) fn read(json: &str, secrets: bool) -> Result<Vec<Key>, String> {
    let object = Object::read(json).map_err(|_error| "it is not a JSON object".to_owned())?;
    let Some(keys) = object.get("keys") else {
        return Ok(vec![read_one(json, secrets)?]);
    };
    let keys: Vec<&RawValue> =
        serde_json::from_str(keys).map_err(|_error| "its keys are not a list".to_owned())?;
    if keys.len() > MAX_KEYS {
        return Err(format!("it has more than {MAX_KEYS} keys"));
    }
    let read = keys.iter().map(|key| read_one(key.get(), secrets));
    let (good, bad): (Vec<_>, Vec<_>) = read.partition(Result::is_ok);
    match bad.into_iter().next() {
        Some(Err(why)) if good.is_empty() => Err(format!("it has no usable key: {why}")),
        None if good.is_empty() => Err("it has no key".to_owned()),
        _ => Ok(good.into_iter().flatten().collect()),
    }
}

fn read_one(json: &str, secrets: bool) -> Result<Key, String> {
    let jwk: Jwk = serde_json::from_str(json).map_err(|_error| "a key is not a JWK".to_owned())?;
    let common = &jwk.common;
    let other_use = |given: &PublicKeyUse| *given != PublicKeyUse::Signature;
    let verifies = |given: &Vec<KeyOperations>| given.contains(&KeyOperations::Verify);
    if common.public_key_use.as_ref().is_some_and(other_use)
        || common
            .key_operations
            .as_ref()
            .is_some_and(|given| !verifies(given))
    {
        return Err("a key is not for checking signatures".to_owned());
    }
    let (key, mut algorithms) = material(&jwk.algorithm, secrets)?;
    if let Some(only) = common.key_algorithm {
        algorithms.retain(|algorithm| only == (*algorithm).into());
        if algorithms.is_empty() {
            return Err("a key's alg does not belong to its kind, or is not supported".to_owned());
        }
    }
    let id = common.key_id.clone();
    if id
        .as_ref()
        .is_some_and(|id| !(1..=MAX_NAME).contains(&id.len()))
    {
        return Err(format!("a key's kid has not 1 to {MAX_NAME} bytes"));
    }
    Ok(Key {
        id,
        algorithms,
        key,
    })
}

/// Returns a key's material, and the algorithms that fit it.
fn material(
    parameters: &AlgorithmParameters,
    secrets: bool,
) -> Result<(DecodingKey, Vec<Algorithm>), String> {
    match parameters {
        AlgorithmParameters::RSA(rsa) => self::rsa(&bytes(&rsa.n)?, &bytes(&rsa.e)?),
        AlgorithmParameters::EllipticCurve(ec) => {
            let curve = match ec.curve {
                EllipticCurve::P256 => Algorithm::ES256,
                EllipticCurve::P384 => Algorithm::ES384,
                _ => return Err("a key's curve is not supported".to_owned()),
            };
            let point = [vec![4], bytes(&ec.x)?, bytes(&ec.y)?].concat();
            self::point(curve, &point)
        }
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            point(Algorithm::EdDSA, &bytes(&pair.x)?)
        }
        AlgorithmParameters::OctetKey(key) if secrets => secret(&bytes(&key.value)?),
        AlgorithmParameters::OctetKey(_) => {
            Err("a key is a shared secret, which must not be public".to_owned())
        }
        _ => Err("a key's kind is not supported".to_owned()),
    }
}

fn bytes(text: &str) -> Result<Vec<u8>, String> {
    let bytes = URL_SAFE_NO_PAD.decode(text);
    bytes.map_err(|_error| "a key's numbers are not base64url".to_owned())
}

/// Makes an RSA key of its modulus and exponent, both big-endian.
pub(super) fn rsa(n: &[u8], e: &[u8]) -> Result<(DecodingKey, Vec<Algorithm>), String> {
    let significant = |number: &[u8]| {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        number[zeros..].to_vec()
    };
    let (n, e) = (significant(n), significant(e));
    if !RSA_BYTES.contains(&n.len()) {
        return Err("an RSA key has 2,048 to 8,192 bits".to_owned());
    }
    let odd = e.last().is_some_and(|byte| byte % 2 == 1);
    if e.len() > 4 || !odd || e == [1] {
        return Err("an RSA key's exponent is an odd number from 3 to 2^32".to_owned());
    }
    let algorithms = AlgorithmFamily::Rsa.algorithms().to_vec();
    Ok((DecodingKey::from_rsa_raw_components(&n, &e), algorithms))
}

/// Makes a key of a point on the algorithm's curve: uncompressed for ECDSA (SEC 1, section 2.3.3).
pub(super) fn point(
    algorithm: Algorithm,
    point: &[u8],
) -> Result<(DecodingKey, Vec<Algorithm>), String> {
    let (length, key) = match algorithm {
        Algorithm::ES256 => (65, DecodingKey::from_ec_der(point)),
        Algorithm::ES384 => (97, DecodingKey::from_ec_der(point)),
        _ => (32, DecodingKey::from_ed_der(point)),
    };
    let uncompressed = algorithm == Algorithm::EdDSA || point.first() == Some(&4);
    if point.len() != length || !uncompressed {
        return Err("a key's point has not the size of its curve".to_owned());
    }
    Ok((key, vec![algorithm]))
}

/// Makes a key of a shared secret.
pub(super) fn secret(secret: &[u8]) -> Result<(DecodingKey, Vec<Algorithm>), String> {
    if secret.len() < MIN_SECRET {
        return Err(format!(
            "a secret has at least {MIN_SECRET} bytes; `openssl rand -hex 32` makes one"
        ));
    }
    let algorithms = AlgorithmFamily::Hmac.algorithms().to_vec();
    Ok((DecodingKey::from_secret(secret), algorithms))
}
