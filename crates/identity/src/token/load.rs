//! Keys from files and from the environment: PEM, JWK, JWK set, or a shared secret.
//!
//! What must hold: a public key is never taken for a secret, since everybody could then sign; an
//! error names the place and shows nothing of what stands there.

use std::{env, ffi::OsString, fs};

use base64::{Engine, engine::general_purpose::STANDARD};
use jsonwebtoken::{Algorithm, DecodingKey};
use rustls_pki_types::pem::{PemObject, SectionKind};
use x509_parser::{
    oid_registry::{
        OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION,
        OID_SIG_ED25519,
    },
    prelude::{FromDer, X509Certificate},
    public_key::PublicKey,
    x509::SubjectPublicKeyInfo,
};

use super::{jwk, keys::Key};

type Material = (DecodingKey, Vec<Algorithm>);

/// Reads the keys at `place`: `file:` and a path, or `env:` and a variable's name.
///
/// # Errors
/// A sentence that names the place.
pub(super) fn keys_at(place: &str) -> Result<Vec<Key>, String> {
    let keys = bytes_at(place).and_then(|bytes| keys(&bytes));
    keys.map_err(|error| format!("the token key {}: {error}", shown(place)))
}

/// Reads what is at `place`.
///
/// # Errors
/// A sentence that does not name the place.
pub(super) fn bytes_at(place: &str) -> Result<Vec<u8>, String> {
    match place.split_once(':') {
        Some(("file", path)) => fs::read(path).map_err(|error| error.to_string()),
        Some(("env", name)) => env::var_os(name)
            .map(OsString::into_encoded_bytes)
            .ok_or_else(|| "this environment variable is not set".to_owned()),
        _ => Err("write file:PATH or env:NAME".to_owned()),
    }
}

/// Returns a place for an error. What is no reference may be the secret itself.
pub(super) fn shown(place: &str) -> String {
    if place.starts_with("file:") || place.starts_with("env:") {
        format!("{place:?}")
    } else {
        "***".to_owned()
    }
}

/// Reads keys of any form. White space and a byte order mark around a text do not count.
fn keys(bytes: &[u8]) -> Result<Vec<Key>, String> {
    let Ok(text) = str::from_utf8(bytes) else {
        refuse_der(bytes)?;
        return Ok(vec![of(jwk::secret(bytes)?)]);
    };
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.contains("-----BEGIN ") {
        return pem(text);
    }
    if text.starts_with('{') {
        return jwk::read(text, true);
    }
    // Some programs show a public key as its base64 alone.
    let packed: String = text.split_ascii_whitespace().collect();
    refuse_der(&STANDARD.decode(packed).unwrap_or_default())?;
    if text.starts_with("ssh-") || text.starts_with("ecdsa-") {
        return Err("this is a key of SSH; write a public key as PEM".to_owned());
    }
    Ok(vec![of(jwk::secret(text.as_bytes())?)])
}

fn of((key, algorithms): Material) -> Key {
    Key {
        id: None,
        algorithms,
        key,
    }
}

/// Refuses what is a public key or a certificate without the lines around it.
fn refuse_der(bytes: &[u8]) -> Result<(), String> {
    if SubjectPublicKeyInfo::from_der(bytes).is_ok() || X509Certificate::from_der(bytes).is_ok() {
        return Err(
            "this is a public key or a certificate without the lines of PEM around it".to_owned(),
        );
    }
    Ok(())
}

/// Reads every public key of a PEM text (RFC 7468), or its only certificate.
fn pem(text: &str) -> Result<Vec<Key>, String> {
    let mut keys = Vec::new();
    let mut certificates = 0;
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()) {
        let (kind, der) = section.map_err(|_error| "it is not valid PEM".to_owned())?;
        keys.push(of(match kind {
            SectionKind::PublicKey => {
                let (_, key) = SubjectPublicKeyInfo::from_der(&der)
                    .map_err(|_error| "its public key can't be read".to_owned())?;
                public_key(&key)?
            }
            SectionKind::Certificate => {
                certificates += 1;
                let (_, certificate) = X509Certificate::from_der(&der)
                    .map_err(|_error| "its certificate can't be read".to_owned())?;
                public_key(certificate.public_key())?
            }
            _ => return Err("only public keys and certificates check a token: write the public key (`openssl pkey -pubout`)".to_owned()),
        }));
    }
    if certificates > 1 {
        // The others may be of authorities, which sign no tokens.
        return Err("it has several certificates: write the one that signs tokens".to_owned());
    }
    if keys.is_empty() {
        return Err(
            "it has neither a PUBLIC KEY nor a CERTIFICATE (`openssl rsa -RSAPublicKey_in -pubout` converts an RSA PUBLIC KEY)"
                .to_owned(),
        );
    }
    Ok(keys)
}

/// Reads a public key (RFC 5280, section 4.1.2.7). The curve is in the algorithm's parameters.
fn public_key(info: &SubjectPublicKeyInfo<'_>) -> Result<Material, String> {
    let kind = &info.algorithm.algorithm;
    let data: &[u8] = &info.subject_public_key.data;
    if *kind == OID_PKCS1_RSAENCRYPTION {
        return match info.parsed() {
            Ok(PublicKey::RSA(rsa)) => jwk::rsa(rsa.modulus, rsa.exponent),
            _ => Err("its RSA key can't be read".to_owned()),
        };
    }
    if *kind == OID_SIG_ED25519 {
        return jwk::point(Algorithm::EdDSA, data);
    }
    let parameters = info.algorithm.parameters.as_ref();
    let curve = parameters.and_then(|parameters| parameters.as_oid().ok());
    match curve {
        Some(curve) if *kind == OID_KEY_TYPE_EC_PUBLIC_KEY && curve == OID_EC_P256 => {
            jwk::point(Algorithm::ES256, data)
        }
        Some(curve) if *kind == OID_KEY_TYPE_EC_PUBLIC_KEY && curve == OID_NIST_EC_P384 => {
            jwk::point(Algorithm::ES384, data)
        }
        _ => Err("its key is none of RSA, P-256, P-384 and Ed25519".to_owned()),
    }
}
