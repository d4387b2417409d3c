//! Makes tokens that nobody else would make: any header, any claims, any key.

use std::time::{Duration, SystemTime};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hubplane_identity::token::{Claims, IssuerSettings, Issuers, KeysFrom, TokenError};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        Ed25519KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
        RSA_PSS_SHA384, RSA_PSS_SHA512, RsaKeyPair,
    },
};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject};

/// The time of all tests, in seconds since 1970.
pub(crate) const NOW: u64 = 1_900_000_000;
/// The algorithms and the file with each one's private key.
pub(crate) const ALGORITHMS: [(&str, &str); 12] = [
    ("HS256", "secret.txt"),
    ("HS384", "secret.txt"),
    ("HS512", "secret.txt"),
    ("RS256", "rsa.pem"),
    ("RS384", "rsa.pem"),
    ("RS512", "rsa.pem"),
    ("PS256", "rsa.pem"),
    ("PS384", "rsa.pem"),
    ("PS512", "rsa.pem"),
    ("ES256", "p256.pem"),
    ("ES384", "p384.pem"),
    ("EdDSA", "ed25519.pem"),
];

pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
}

pub(crate) fn path(file: &str) -> String {
    format!("{}/tests/tokens/keys/{file}", env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn read(file: &str) -> Vec<u8> {
    std::fs::read(path(file)).unwrap()
}

/// The file with what checks signatures of this private key.
pub(crate) fn public(private: &str) -> String {
    private.replace(".pem", ".pub.pem")
}

pub(crate) fn settings(file: &str) -> IssuerSettings {
    IssuerSettings::new(KeysFrom::Place(format!("file:{}", path(file))))
}

/// Accepts tokens of one unnamed issuer with this key.
pub(crate) fn issuers(file: &str) -> Issuers {
    Issuers::new(vec![settings(file)]).unwrap()
}

/// Checks an HS256 token with these claims, which expires in a minute unless they say otherwise.
pub(crate) fn verify(claims: &str) -> Result<Claims, TokenError> {
    verify_with(&settings("secret.txt"), claims)
}

pub(crate) fn verify_with(settings: &IssuerSettings, claims: &str) -> Result<Claims, TokenError> {
    let issuers = Issuers::new(vec![settings.clone()]).unwrap();
    issuers.verify(&hs256(&with_expiry(claims)), now())
}

pub(crate) fn with_expiry(claims: &str) -> String {
    if claims.contains("\"exp\"") || !claims.starts_with('{') {
        return claims.to_owned();
    }
    let rest = claims[1..].trim_start();
    let comma = if rest.starts_with('}') { "" } else { "," };
    format!("{{\"exp\":{}{comma}{rest}", NOW + 60)
}

pub(crate) fn hs256(claims: &str) -> String {
    make(r#"{"alg":"HS256"}"#, claims, "HS256", "secret.txt")
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Makes a token: its header need not agree with how it is signed.
pub(crate) fn make(header: &str, claims: &str, algorithm: &str, private: &str) -> String {
    let message = format!("{}.{}", encode(header), encode(claims));
    let signature = sign(algorithm, &read(private), message.as_bytes());
    format!("{message}.{}", encode(signature))
}

/// Signs a message. HMAC takes the file's text without white space around it.
pub(crate) fn sign(algorithm: &str, key: &[u8], message: &[u8]) -> Vec<u8> {
    let random = SystemRandom::new();
    let hmac = |hash| {
        hmac::sign(&hmac::Key::new(hash, key.trim_ascii()), message)
            .as_ref()
            .to_vec()
    };
    let der = || PrivatePkcs8KeyDer::from_pem_slice(key).unwrap();
    let ec = |curve| {
        let pair = EcdsaKeyPair::from_pkcs8(curve, der().secret_pkcs8_der(), &random).unwrap();
        pair.sign(&random, message).unwrap().as_ref().to_vec()
    };
    let rsa = |encoding: &'static dyn ring::signature::RsaEncoding| {
        let pair = RsaKeyPair::from_pkcs8(der().secret_pkcs8_der()).unwrap();
        let mut signature = vec![0; pair.public().modulus_len()];
        pair.sign(encoding, &random, message, &mut signature)
            .unwrap();
        signature
    };
    match algorithm {
        "HS256" => hmac(hmac::HMAC_SHA256),
        "HS384" => hmac(hmac::HMAC_SHA384),
        "HS512" => hmac(hmac::HMAC_SHA512),
        "RS256" => rsa(&RSA_PKCS1_SHA256),
        "RS384" => rsa(&RSA_PKCS1_SHA384),
        "RS512" => rsa(&RSA_PKCS1_SHA512),
        "PS256" => rsa(&RSA_PSS_SHA256),
        "PS384" => rsa(&RSA_PSS_SHA384),
        "PS512" => rsa(&RSA_PSS_SHA512),
        "ES256" => ec(&ECDSA_P256_SHA256_FIXED_SIGNING),
        "ES384" => ec(&ECDSA_P384_SHA384_FIXED_SIGNING),
        "EdDSA" => {
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der().secret_pkcs8_der());
            pair.unwrap().sign(message).as_ref().to_vec()
        }
        other => panic!("{other}"),
    }
}
