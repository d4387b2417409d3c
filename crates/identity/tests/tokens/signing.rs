//! Keys that this crate makes, the tokens that they sign, and what a token shows of itself.

use hubplane_identity::token::{
    IssuerSettings, Issuers, KeyKind, KeysFrom, SigningKey, generate, inspect,
};

use crate::make::now;

const CLAIMS: &str = r#"{"exp":2000000000,"sub":"ann","hubplane":{"channels":["c"]}}"#;

#[test]
fn made_keys_sign_tokens_that_a_hub_accepts() {
    for kind in [
        KeyKind::Secret,
        KeyKind::Ed25519,
        KeyKind::P256,
        KeyKind::P384,
    ] {
        let text = generate(kind).unwrap();
        assert_ne!(text, generate(kind).unwrap());
        let key = SigningKey::new(&text).unwrap();
        let token = key.sign(CLAIMS).unwrap();
        let checking = match key.public_pem() {
            Some(pem) => vec![pem, key.public_jwks().unwrap()],
            None => vec![text.clone()],
        };
        for (n, checking) in checking.into_iter().enumerate() {
            let name = format!("hubplane-signing-{}-{kind:?}-{n}", std::process::id());
            let file = std::env::temp_dir().join(name);
            std::fs::write(&file, checking).unwrap();
            let place = KeysFrom::Place(format!("file:{}", file.display()));
            let issuers = Issuers::new(vec![IssuerSettings::new(place)]).unwrap();
            std::fs::remove_file(file).unwrap();
            assert_eq!(
                issuers.verify(&token, now()).unwrap().user.as_deref(),
                Some("ann")
            );
        }
        let shown = inspect(&token).unwrap();
        assert_eq!(shown.claims, CLAIMS);
        assert_eq!(
            shown.header.contains("\"kid\""),
            kind != KeyKind::Secret,
            "{}",
            shown.header
        );
        assert!(!format!("{key:?}").contains(&text[30..40]));
    }
}

#[test]
fn the_id_is_the_keys_thumbprint() {
    // RFC 8037, appendices A.1 to A.3.
    let seed = "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g";
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{seed}\n-----END PRIVATE KEY-----\n");
    let key = SigningKey::new(&pem).unwrap();
    assert_eq!(
        key.id().as_deref(),
        Some("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k")
    );
}

#[test]
fn nothing_is_signed_that_a_hub_would_not_read() {
    let key = SigningKey::new(&generate(KeyKind::Secret).unwrap()).unwrap();
    for wrong in [
        "",
        "[]",
        r#"{"a":1,"a":1}"#,
        &format!(r#"{{"a":"{}"}}"#, "x".repeat(8_192)),
    ] {
        assert!(key.sign(wrong).is_err());
    }
    assert!(SigningKey::new("short").is_err());
    assert!(SigningKey::new("-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----").is_err());
    assert!(SigningKey::at("env:HUBPLANE_NO_SUCH_VARIABLE").is_err());
    assert!(inspect("a.b").is_err());
}
