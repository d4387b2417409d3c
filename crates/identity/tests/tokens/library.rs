//! `jsonwebtoken`'s own decoding, with `ring` behind it: what the crate accepts, the library must
//! accept too.

use std::sync::Once;

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, Validation,
    crypto::{CryptoProvider, JwtVerifier, KeyUtils},
    errors::{Error, ErrorKind, new_error},
    signature::{self, Verifier},
};
use ring::signature as by;
use serde_json::Value;

use crate::second::public_key;

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(new_error(ErrorKind::UnsupportedAlgorithm)),
    verifier_factory: |algorithm, key| Ok(Box::new(Ring(*algorithm, key.clone()))),
    key_utils: KeyUtils::new_unimplemented(),
};

struct Ring(Algorithm, DecodingKey);

impl JwtVerifier for Ring {
    fn algorithm(&self) -> Algorithm {
        self.0
    }
}

impl Verifier<Vec<u8>> for Ring {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let DecodingKeyKind::SecretOrDer(key) = self.1.kind() else {
            return Err(signature::Error::new());
        };
        let secret = |how| {
            let key = ring::hmac::Key::new(how, key);
            ring::hmac::verify(&key, message, signature).map_err(|_error| signature::Error::new())
        };
        let how: &dyn by::VerificationAlgorithm = match self.0 {
            Algorithm::HS256 => return secret(ring::hmac::HMAC_SHA256),
            Algorithm::HS384 => return secret(ring::hmac::HMAC_SHA384),
            Algorithm::HS512 => return secret(ring::hmac::HMAC_SHA512),
            Algorithm::RS256 => &by::RSA_PKCS1_2048_8192_SHA256,
            Algorithm::RS384 => &by::RSA_PKCS1_2048_8192_SHA384,
            Algorithm::RS512 => &by::RSA_PKCS1_2048_8192_SHA512,
            Algorithm::PS256 => &by::RSA_PSS_2048_8192_SHA256,
            Algorithm::PS384 => &by::RSA_PSS_2048_8192_SHA384,
            Algorithm::PS512 => &by::RSA_PSS_2048_8192_SHA512,
            Algorithm::ES256 => &by::ECDSA_P256_SHA256_FIXED,
            Algorithm::ES384 => &by::ECDSA_P384_SHA384_FIXED,
            Algorithm::EdDSA => &by::ED25519,
            _ => return Err(signature::Error::new()),
        };
        by::UnparsedPublicKey::new(how, key)
            .verify(message, signature)
            .map_err(|_error| signature::Error::new())
    }
}

/// Decodes a token of the issuer `idp` for the audience `hub`, at whatever time it is good.
pub(crate) fn accepts(token: &str, private: &str) -> Result<(), Error> {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| PROVIDER.install_default().unwrap());
    let (family, key) = key(private);
    let algorithm = jsonwebtoken::decode_header(token)?.alg;
    assert_eq!(algorithm.family(), family);
    let mut validation = Validation::new(algorithm);
    // Its clock is the machine's.
    validation.validate_exp = false;
    validation.set_issuer(&["idp"]);
    validation.set_audience(&["hub"]);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    jsonwebtoken::decode::<Value>(token, &key, &validation).map(|_| ())
}

fn key(private: &str) -> (AlgorithmFamily, DecodingKey) {
    let key = public_key(private);
    match private {
        "secret.txt" => (AlgorithmFamily::Hmac, DecodingKey::from_secret(&key)),
        "rsa.pem" => (AlgorithmFamily::Rsa, DecodingKey::from_rsa_der(&key)),
        "ed25519.pem" => (AlgorithmFamily::Ed, DecodingKey::from_ed_der(&key)),
        _ => (AlgorithmFamily::Ec, DecodingKey::from_ec_der(&key)),
    }
}
