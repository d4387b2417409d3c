//! The signatures' mathematics, done by `ring`, which rustls has brought along already.
//!
//! `jsonwebtoken` can do this through a provider, but takes the one that its cargo features or the
//! first caller in the process chose. A hub inside of another program must not choose for it, nor
//! depend on its choice, so the library's keys are handed to `ring` here. This file must not know
//! which algorithms a key may be used with: see `keys.rs`.

use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind};
use ring::{
    hmac,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
        RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
        RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
        UnparsedPublicKey, VerificationAlgorithm,
    },
};

/// Returns true if `signature` is the key's for this message. A key of another family than the
/// algorithm's has signed nothing.
pub(super) fn verify(
    algorithm: Algorithm,
    key: &DecodingKey,
    message: &[u8],
    signature: &[u8],
) -> bool {
    if key.family() != algorithm.family() {
        return false;
    }
    match (key.family(), key.kind()) {
        (AlgorithmFamily::Hmac, DecodingKeyKind::SecretOrDer(secret)) => hash(algorithm)
            .map(|hash| hmac::Key::new(hash, secret))
            // Compares in constant time.
            .is_some_and(|key| hmac::verify(&key, message, signature).is_ok()),
        (AlgorithmFamily::Rsa, DecodingKeyKind::RsaModulusExponent { n, e }) => rsa(algorithm)
            .is_some_and(|rsa| {
                let key = RsaPublicKeyComponents { n, e };
                key.verify(rsa, message, signature).is_ok()
            }),
        (_, DecodingKeyKind::SecretOrDer(point)) => curve(algorithm).is_some_and(|curve| {
            let key = UnparsedPublicKey::new(curve, point);
            key.verify(message, signature).is_ok()
        }),
        _ => false,
    }
}

/// The hash function of an HMAC algorithm (RFC 7518, section 3.2).
fn hash(algorithm: Algorithm) -> Option<hmac::Algorithm> {
    match algorithm {
        Algorithm::HS256 => Some(hmac::HMAC_SHA256),
        Algorithm::HS384 => Some(hmac::HMAC_SHA384),
        Algorithm::HS512 => Some(hmac::HMAC_SHA512),
        _ => None,
    }
}

/// Keys of 2,048 to 8,192 bits (RFC 7518, sections 3.3 and 3.5).
fn rsa(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::RS256 => Some(&RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Some(&RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Some(&RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Some(&RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Some(&RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Some(&RSA_PSS_2048_8192_SHA512),
        _ => None,
    }
}

/// ECDSA with both numbers of the signature in a fixed width (RFC 7518, section 3.4), and Ed25519
/// (RFC 8037).
fn curve(algorithm: Algorithm) -> Option<&'static dyn VerificationAlgorithm> {
    match algorithm {
        Algorithm::ES256 => Some(&ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => Some(&ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => Some(&ED25519),
        _ => None,
    }
}
