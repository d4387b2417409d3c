//! Signs questions, so that a backend can tell that one comes from its hub, and when. What the
//! signature says is described in [the module](super).
//!
//! What must hold: the secret is in no error and no log line, and comparing takes the same time for
//! each wrong signature. This file must not know what is signed.

use std::{fmt, time::Duration};

use ring::hmac;

/// The header of a signature.
pub const SIGNATURE_HEADER: &str = "hubplane-signature";
/// The fewest bytes of a secret. `openssl rand -hex 32` makes one of 64.
pub const MIN_SECRET: usize = 32;

/// The key of signatures. It is shown nowhere.
#[derive(Clone)]
pub struct SigningKey(hmac::Key);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(***)")
    }
}

/// Why a signature is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadSignature {
    /// The header has another form.
    Malformed,
    /// It was made too long ago, or later than now: somebody may send an old question again.
    OutOfTime,
    /// It was made for another body, or with another secret.
    Wrong,
}

impl fmt::Display for BadSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the signature has another form than t=UNIXTIME,v1=HEX",
            Self::OutOfTime => "the signature's time is too far from now",
            Self::Wrong => "the signature was made for another body or with another secret",
        })
    }
}

impl std::error::Error for BadSignature {}

impl SigningKey {
    /// Makes the key of a secret.
    ///
    /// # Errors
    /// A sentence: the secret has less than [`MIN_SECRET`] bytes.
    pub fn new(secret: &str) -> Result<Self, String> {
        if secret.len() < MIN_SECRET {
            return Err(format!(
                "secret has less than {MIN_SECRET} bytes; `openssl rand -hex 32` makes one"
            ));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())))
    }

    /// Returns the header's value for a body.
    ///
    /// `time` is in seconds since 1970.
    pub fn sign(&self, time: u64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(format!("{time}.").as_bytes());
        context.update(body);
        let mut value = format!("t={time},v1=");
        for byte in context.sign().as_ref() {
            value.push_str(&format!("{byte:02x}"));
        }
        value
    }

    /// Checks a header's value as a backend has to. For tests and backends in Rust.
    ///
    /// `now` is in seconds since 1970; the signature may be `tolerance` older or newer, to the second.
    ///
    /// # Errors
    /// The signature is not one of this body, made with this secret at about this time.
    pub fn verify(
        &self,
        value: &str,
        body: &[u8],
        now: u64,
        tolerance: Duration,
    ) -> Result<(), BadSignature> {
        let parts = value
            .strip_prefix("t=")
            .and_then(|rest| rest.split_once(",v1="));
        let (time, signature) = parts.ok_or(BadSignature::Malformed)?;
        let time: u64 = time.parse().ok().ok_or(BadSignature::Malformed)?;
        let signature = from_hex(signature).ok_or(BadSignature::Malformed)?;
        let mut signed = format!("{time}.").into_bytes();
        signed.extend_from_slice(body);
        // Whoever has no key learns nothing about the clock.
        if hmac::verify(&self.0, &signed, &signature).is_err() {
            return Err(BadSignature::Wrong);
        }
        match time.abs_diff(now) <= tolerance.as_secs() {
            true => Ok(()),
            false => Err(BadSignature::OutOfTime),
        }
    }
}

/// Reads 32 bytes of hexadecimal digits.
fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const NOW: u64 = 1_800_000_000;
    const MINUTE: Duration = Duration::from_secs(60);

    /// Made by Python's hmac: `hmac.new(SECRET, b"1800000000.{}", "sha256").hexdigest()`.
    const VALUE: &str =
        "t=1800000000,v1=a8471f58daa469f8073cbebd823830f85e8942f4bbc0acd2ef47c28edc8c488e";

    #[test]
    fn a_signature_is_the_one_that_others_compute() {
        let key = SigningKey::new(SECRET).unwrap();
        assert_eq!(key.sign(NOW, b"{}"), VALUE);
        assert_eq!(key.verify(VALUE, b"{}", NOW + 60, MINUTE), Ok(()));
        assert_eq!(key.verify(VALUE, b"{}", NOW - 60, MINUTE), Ok(()));
    }

    #[test]
    fn each_difference_is_found() {
        let key = SigningKey::new(SECRET).unwrap();
        let said = |key: &SigningKey, value: &str, body: &[u8], now| {
            key.verify(value, body, now, MINUTE).unwrap_err()
        };
        assert_eq!(said(&key, VALUE, b"{}", NOW + 61), BadSignature::OutOfTime);
        assert_eq!(said(&key, VALUE, b"{}", NOW - 61), BadSignature::OutOfTime);
        assert_eq!(said(&key, VALUE, b"{ }", NOW), BadSignature::Wrong);
        let other = SigningKey::new(&SECRET.replace('f', "e")).unwrap();
        assert_eq!(said(&other, VALUE, b"{}", NOW), BadSignature::Wrong);
        let later = VALUE.replace("t=1800000000", "t=1800000001");
        assert_eq!(said(&key, &later, b"{}", NOW), BadSignature::Wrong);
        for malformed in [
            "",
            "t=1",
            "t=x,v1=00",
            &VALUE[1..],
            &VALUE[..VALUE.len() - 1],
            &VALUE.replace("v1=", "v1=é"),
        ] {
            assert_eq!(
                said(&key, malformed, b"{}", NOW),
                BadSignature::Malformed,
                "{malformed}"
            );
        }
    }

    #[test]
    fn a_short_secret_is_refused_and_none_is_shown() {
        let error = SigningKey::new(&SECRET[1..]).unwrap_err();
        assert!(error.contains("32 bytes") && !error.contains(&SECRET[1..]));
        assert_eq!(
            format!("{:?}", SigningKey::new(SECRET).unwrap()),
            "SigningKey(***)"
        );
    }
}
