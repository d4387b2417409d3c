//! Making keys and signing claims, for who tries a hub out or has no identity provider.
//!
//! The hub itself signs nothing. RSA is left out: its keys are larger and slower, and whoever has
//! them has a program that signs. This file must not know where keys are written to.

use std::fmt;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, Header};
use ring::{
    digest, hmac,
    rand::{SecureRandom, SystemRandom},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair,
    },
};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use serde_json::json;

use super::{
    MAX_TOKEN, MIN_SECRET, claims,
    load::{bytes_at, shown},
};

const NO_RANDOMNESS: &str = "the system gives no random bytes";

/// A kind of key that can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// A shared secret for HS256: who checks tokens can make them too.
    Secret,
    /// An Ed25519 key pair, for EdDSA (RFC 8037).
    Ed25519,
    /// A P-256 key pair, for ES256.
    P256,
    /// A P-384 key pair, for ES384.
    P384,
}

impl KeyKind {
    /// What of the encoded public key stands before its point (RFC 5280, section 4.1.2.7; RFC 5480;
    /// RFC 8410): the same bytes for all keys of a kind.
    const fn prefix(self) -> &'static [u8] {
        match self {
            Self::Secret => b"",
            Self::Ed25519 => b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00",
            Self::P256 => {
                b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00"
            }
            Self::P384 => {
                b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00"
            }
        }
    }
}

/// Makes a new key: 64 hexadecimal digits for a secret, else a private key as PEM (PKCS #8).
///
/// # Errors
/// A sentence: the system gives no random bytes.
pub fn generate(kind: KeyKind) -> Result<String, String> {
    let random = SystemRandom::new();
    let pair = match kind {
        KeyKind::Secret => {
            let mut secret = [0; MIN_SECRET];
            random
                .fill(&mut secret)
                .map_err(|_error| NO_RANDOMNESS.to_owned())?;
            return Ok(secret.iter().map(|byte| format!("{byte:02x}")).collect());
        }
        // The older form without the public key, which every program reads.
        KeyKind::Ed25519 => {
            let mut seed = [0; 32];
            random
                .fill(&mut seed)
                .map_err(|_error| NO_RANDOMNESS.to_owned())?;
            let prefix = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
            return Ok(pem("PRIVATE KEY", &[&prefix[..], &seed].concat()));
        }
        KeyKind::P256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random),
        KeyKind::P384 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random),
    };
    let pair = pair.map_err(|_error| NO_RANDOMNESS.to_owned())?;
    Ok(pem("PRIVATE KEY", pair.as_ref()))
}

/// A key that signs tokens.
pub struct SigningKey {
    kind: KeyKind,
    pair: Pair,
}

enum Pair {
    Secret(hmac::Key),
    Ed25519(Ed25519KeyPair),
    Ec(EcdsaKeyPair, SystemRandom),
}

/// Shows nothing of the key.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({:?})", self.kind)
    }
}

impl SigningKey {
    /// Reads a key at `file:PATH` or `env:NAME`, as [`generate`] makes it.
    ///
    /// # Errors
    /// A sentence that names the place.
    pub fn at(place: &str) -> Result<Self, String> {
        let text = bytes_at(place).and_then(|bytes| {
            String::from_utf8(bytes).map_err(|_error| "it is not a text".to_owned())
        });
        text.and_then(|text| Self::new(&text))
            .map_err(|error| format!("the signing key {}: {error}", shown(place)))
    }

    /// Reads a key as [`generate`] makes it: a private key as PEM (PKCS #8), or a secret.
    ///
    /// # Errors
    /// A sentence: it is neither, or the secret is shorter than [`MIN_SECRET`] bytes.
    pub fn new(text: &str) -> Result<Self, String> {
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.contains("-----BEGIN ") {
            return Self::from_pem(text);
        }
        if text.len() < MIN_SECRET {
            return Err(format!("a secret has at least {MIN_SECRET} bytes"));
        }
        Ok(Self {
            kind: KeyKind::Secret,
            pair: Pair::Secret(hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes())),
        })
    }

    fn from_pem(text: &str) -> Result<Self, String> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(|_error| {
            "it is not a PRIVATE KEY (`openssl pkcs8 -topk8 -nocrypt` converts others)".to_owned()
        })?;
        let der = der.secret_pkcs8_der();
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            return Ok(Self {
                kind: KeyKind::Ed25519,
                pair: Pair::Ed25519(pair),
            });
        }
        let curves: [(KeyKind, &'static EcdsaSigningAlgorithm); 2] = [
            (KeyKind::P256, &ECDSA_P256_SHA256_FIXED_SIGNING),
            (KeyKind::P384, &ECDSA_P384_SHA384_FIXED_SIGNING),
        ];
        let random = SystemRandom::new();
        let found = curves.into_iter().find_map(|(kind, curve)| {
            let pair = EcdsaKeyPair::from_pkcs8(curve, der, &random).ok()?;
            Some((kind, pair))
        });
        let (kind, pair) = found.ok_or("its key is none of Ed25519, P-256 and P-384")?;
        Ok(Self {
            kind,
            pair: Pair::Ec(pair, random),
        })
    }

    /// Signs claims, a JSON object. The header names the key by [`SigningKey::id`].
    ///
    /// # Errors
    /// A sentence: the claims are not an object that a hub would read, or the token gets longer than [`MAX_TOKEN`].
    pub fn sign(&self, claims: &str) -> Result<String, String> {
        claims::object(claims).map_err(|error| error.to_string())?;
        let header = Header {
            kid: self.id(),
            ..Header::new(self.algorithm())
        };
        let header = serde_json::to_string(&header).map_err(|error| error.to_string())?;
        let encode = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
        let message = format!(
            "{}.{}",
            encode(header.as_bytes()),
            encode(claims.as_bytes())
        );
        let signature = match &self.pair {
            Pair::Secret(key) => hmac::sign(key, message.as_bytes()).as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
            Pair::Ec(pair, random) => {
                let signature = pair.sign(random, message.as_bytes());
                let signature = signature.map_err(|_error| NO_RANDOMNESS.to_owned())?;
                signature.as_ref().to_vec()
            }
        };
        let token = format!("{message}.{}", encode(&signature));
        if token.len() > MAX_TOKEN {
            return Err(format!("a token has at most {MAX_TOKEN} bytes"));
        }
        Ok(token)
    }

    /// Returns the public key as PEM; `None` for a secret.
    pub fn public_pem(&self) -> Option<String> {
        let point = self.point()?;
        Some(pem("PUBLIC KEY", &[self.kind.prefix(), point].concat()))
    }

    /// Returns a set with the public key (RFC 7517, section 5), to be served as JWKS; `None` for a
    /// secret.
    pub fn public_jwks(&self) -> Option<String> {
        let mut key = self.members()?;
        key["use"] = "sig".into();
        key["alg"] = serde_json::to_value(self.algorithm()).ok()?;
        key["kid"] = self.id()?.into();
        Some(json!({ "keys": [key] }).to_string())
    }

    /// Returns the key's id, its thumbprint (RFC 7638); `None` for a secret, about which nothing is
    /// told.
    pub fn id(&self) -> Option<String> {
        // serde_json writes members in the order of their names, as section 3.2 asks.
        let members = self.members()?.to_string();
        let digest = digest::digest(&digest::SHA256, members.as_bytes());
        Some(URL_SAFE_NO_PAD.encode(digest))
    }

    fn algorithm(&self) -> Algorithm {
        match self.kind {
            KeyKind::Secret => Algorithm::HS256,
            KeyKind::Ed25519 => Algorithm::EdDSA,
            KeyKind::P256 => Algorithm::ES256,
            KeyKind::P384 => Algorithm::ES384,
        }
    }

    fn point(&self) -> Option<&[u8]> {
        match &self.pair {
            Pair::Secret(_) => None,
            Pair::Ed25519(pair) => Some(pair.public_key().as_ref()),
            Pair::Ec(pair, _) => Some(pair.public_key().as_ref()),
        }
    }

    /// The members of the public JWK that make the key what it is.
    fn members(&self) -> Option<serde_json::Value> {
        let point = self.point()?;
        let encode = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
        if self.kind == KeyKind::Ed25519 {
            return Some(json!({"crv": "Ed25519", "kty": "OKP", "x": encode(point)}));
        }
        let crv = if self.kind == KeyKind::P256 {
            "P-256"
        } else {
            "P-384"
        };
        let (x, y) = point[1..].split_at(point.len() / 2);
        Some(json!({"crv": crv, "kty": "EC", "x": encode(x), "y": encode(y)}))
    }
}

/// Writes DER as PEM (RFC 7468).
fn pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    let base64 = STANDARD.encode(der);
    let mut rest = &*base64;
    while !rest.is_empty() {
        let (line, next) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = next;
    }
    text + &format!("-----END {label}-----\n")
}
