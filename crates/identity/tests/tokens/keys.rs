//! Keys from files and from the environment, and which algorithms each may be used with.

use hubplane_identity::token::{IssuerSettings, Issuers, KeysFrom, TokenError as E};

use crate::make::{ALGORITHMS, issuers, make, now, public, read, settings, sign};

const CLAIMS: &str = r#"{"exp":2000000000,"sub":"ann"}"#;

fn at(place: &str) -> Result<Issuers, String> {
    Issuers::new(vec![IssuerSettings::new(KeysFrom::Place(place.to_owned()))])
}

/// Accepts tokens with the key of this text.
fn text(name: &str, text: impl AsRef<[u8]>) -> Result<Issuers, String> {
    let file = std::env::temp_dir().join(format!("hubplane-tokens-{}-{name}", std::process::id()));
    std::fs::write(&file, text).unwrap();
    let issuers = at(&format!("file:{}", file.display()));
    std::fs::remove_file(file).unwrap();
    issuers
}

#[test]
fn every_algorithm_is_accepted_with_its_own_kind_of_key_alone() {
    for (algorithm, private) in ALGORITHMS {
        let header = format!(r#"{{"alg":"{algorithm}"}}"#);
        let token = make(&header, CLAIMS, algorithm, private);
        for key in [
            "secret.txt",
            "rsa.pub.pem",
            "p256.pub.pem",
            "p384.pub.pem",
            "ed25519.pub.pem",
        ] {
            let verified = issuers(key)
                .verify(&token, now())
                .map(|claims| claims.user.unwrap());
            if key == public(private) {
                assert_eq!(verified.as_deref(), Ok("ann"), "{algorithm}");
            } else {
                assert_eq!(verified, Err(E::AlgorithmOfAnotherKey), "{algorithm} {key}");
            }
        }
    }
}

#[test]
fn a_public_key_is_no_secret() {
    // Somebody knows the public key and signs with its text, or its bytes, as a secret.
    for public in [
        "rsa.pub.pem",
        "p256.pub.pem",
        "ed25519.pub.pem",
        "rsa.cert.pem",
    ] {
        for algorithm in ["HS256", "HS384", "HS512"] {
            let header = format!(r#"{{"alg":"{algorithm}"}}"#);
            let token = make(&header, CLAIMS, algorithm, public);
            assert_eq!(
                issuers(public).verify(&token, now()),
                Err(E::AlgorithmOfAnotherKey)
            );
        }
        // Without the lines around it, it would be a text like any secret.
        let pem = String::from_utf8(read(public)).unwrap();
        let base64: String = pem
            .lines()
            .filter(|line| !line.starts_with("---"))
            .collect();
        let error = text("base64", &base64).unwrap_err();
        assert!(error.contains("without the lines of PEM"), "{error}");
        assert!(!error.contains(&base64), "{error}");
        let der = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, &base64);
        let error = text("der", der.unwrap()).unwrap_err();
        assert!(error.contains("without the lines of PEM"), "{error}");
    }
}

#[test]
fn another_key_of_the_same_kind_has_not_signed() {
    for (algorithm, private) in ALGORITHMS {
        let header = format!(r#"{{"alg":"{algorithm}"}}"#);
        let token = make(&header, CLAIMS, algorithm, private);
        let (start, _) = token.rsplit_once('.').unwrap();
        let other = format!(
            "{}.{}",
            crate::make::encode(&header),
            crate::make::encode("{}")
        );
        let signature = crate::make::encode(sign(algorithm, &read(private), other.as_bytes()));
        let swapped = format!("{start}.{signature}");
        let verified = issuers(&public(private)).verify(&swapped, now());
        assert_eq!(verified, Err(E::SignatureWrong), "{algorithm}");
    }
    let other = text("other", "another secret for the tests of tokens alone").unwrap();
    assert_eq!(
        other.verify(&crate::make::hs256(CLAIMS), now()),
        Err(E::SignatureWrong)
    );
}

#[test]
fn keys_come_as_pem_certificate_jwk_set_and_secret() {
    let rs256 = |header: &str| make(header, CLAIMS, "RS256", "rsa.pem");
    assert!(
        issuers("rsa.cert.pem")
            .verify(&rs256(r#"{"alg":"RS256","kid":"any"}"#), now())
            .is_ok()
    );
    let both = [read("p256.pub.pem"), read("rsa.pub.pem")].concat();
    assert!(
        text("both", both)
            .unwrap()
            .verify(&rs256(r#"{"alg":"RS256"}"#), now())
            .is_ok()
    );
    let secret = std::env::var("PATH").unwrap();
    let header_and_claims = crate::make::hs256(CLAIMS);
    let (message, _) = header_and_claims.rsplit_once('.').unwrap();
    let signature = sign("HS256", secret.as_bytes(), message.as_bytes());
    let token = format!("{message}.{}", crate::make::encode(signature));
    assert!(at("env:PATH").unwrap().verify(&token, now()).is_ok());
    let oct = format!(
        r#"{{"kty":"oct","k":"{}","alg":"HS256"}}"#,
        crate::make::encode(read("secret.txt").trim_ascii())
    );
    let oct = text("oct", oct).unwrap();
    assert!(oct.verify(&crate::make::hs256(CLAIMS), now()).is_ok());
    let hs512 = make(r#"{"alg":"HS512"}"#, CLAIMS, "HS512", "secret.txt");
    assert_eq!(
        oct.verify(&hs512, now()),
        Err(E::AlgorithmOfAnotherKey),
        "alg of the JWK"
    );
    let binary = text("binary", [0xff; 32]).unwrap();
    assert!(
        !format!("{binary:?}").contains("255, 255"),
        "no key is shown"
    );
}

#[test]
fn a_set_has_its_keys_by_id() {
    let key = |kid: &str, k: &str| {
        format!(
            r#"{{"kty":"oct","kid":"{kid}","k":"{}"}}"#,
            crate::make::encode(k)
        )
    };
    let secret = String::from_utf8(read("secret.txt")).unwrap();
    let strange =
        r#"{"kty":"EC","crv":"P-521","x":"a","y":"b"},{"kty":"new"},5,{"kty":"oct","k":"c2hvcnQ"}"#;
    let encryption = key("enc", secret.trim()).replace("{", r#"{"use":"enc","#);
    let set = format!(
        r#"{{"keys":[{strange},{encryption},{},{}]}}"#,
        key("a", secret.trim()),
        key("b", "b secret that signs nothing in these tests")
    );
    let set = text("set", set).unwrap();
    let verify = |header: &str| {
        set.verify(&make(header, CLAIMS, "HS256", "secret.txt"), now())
            .map(|_| ())
    };
    assert_eq!(verify(r#"{"alg":"HS256","kid":"a"}"#), Ok(()));
    assert_eq!(
        verify(r#"{"alg":"HS256","kid":"b"}"#),
        Err(E::SignatureWrong)
    );
    assert_eq!(verify(r#"{"alg":"HS256","kid":"c"}"#), Err(E::KeyUnknown));
    assert_eq!(verify(r#"{"alg":"HS256","kid":"enc"}"#), Err(E::KeyUnknown));
    assert_eq!(verify(r#"{"alg":"HS256"}"#), Ok(()), "two fit");
    let five: Vec<_> = (0..5).map(|n| key(&n.to_string(), secret.trim())).collect();
    let five = text("five", format!(r#"{{"keys":[{}]}}"#, five.join(","))).unwrap();
    assert_eq!(
        five.verify(&crate::make::hs256(CLAIMS), now()),
        Err(E::KeyIdMissing)
    );
}

#[test]
fn what_cannot_be_a_key_is_refused_with_its_place() {
    for (name, content, why) in [
        ("short", "short", "at least 32 bytes"),
        (
            "private",
            &*String::from_utf8(read("rsa.pem")).unwrap(),
            "public key",
        ),
        (
            "small",
            &*String::from_utf8(read("rsa1024.pub.pem")).unwrap(),
            "2,048",
        ),
        (
            "curve",
            &*String::from_utf8(read("secp256k1.pub.pem")).unwrap(),
            "none of RSA",
        ),
        (
            "chain",
            &*String::from_utf8([read("localhost.cert.pem"), read("authority.cert.pem")].concat())
                .unwrap(),
            "several",
        ),
        (
            "pkcs1",
            "-----BEGIN RSA PUBLIC KEY-----\nMAA=\n-----END RSA PUBLIC KEY-----\n",
            "RSAPublicKey_in",
        ),
        (
            "ssh",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGYvC8e ann@example",
            "SSH",
        ),
        ("empty", r#"{"keys":[]}"#, "no key"),
        (
            "many",
            &*format!(r#"{{"keys":[{}]}}"#, vec!["{}"; 65].join(",")),
            "64",
        ),
        ("oct", r#"{"kty":"oct","k":"c2hvcnQ"}"#, "at least 32 bytes"),
    ] {
        let error = text(name, content).unwrap_err();
        assert!(
            error.contains(why) && error.contains(&format!("-{name}")),
            "{error}"
        );
    }
    for place in [
        "env:HUBPLANE_NO_SUCH_VARIABLE",
        "file:/no/such/file",
        "a-secret-in-place-of-a-reference",
    ] {
        let error = at(place).unwrap_err();
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn each_issuers_tokens_are_checked_with_its_own_keys() {
    let named = |file: &str, name: &str| IssuerSettings {
        issuer: Some(name.to_owned()),
        ..settings(file)
    };
    let two = Issuers::new(vec![named("rsa.pub.pem", "a"), named("p256.pub.pem", "b")]).unwrap();
    let token = |iss: &str, algorithm: &str, key: &str| {
        let claims = format!(r#"{{"exp":2000000000,"iss":"{iss}"}}"#);
        make(
            &format!(r#"{{"alg":"{algorithm}","kid":"1"}}"#),
            &claims,
            algorithm,
            key,
        )
    };
    let verify = |token: &str| two.verify(token, now()).map(|_| ());
    assert_eq!(verify(&token("a", "RS256", "rsa.pem")), Ok(()));
    assert_eq!(verify(&token("b", "ES256", "p256.pem")), Ok(()));
    assert_eq!(
        verify(&token("b", "RS256", "rsa.pem")),
        Err(E::AlgorithmOfAnotherKey)
    );
    assert_eq!(
        verify(&token("c", "RS256", "rsa.pem")),
        Err(E::IssuerUnknown)
    );
    for wrong in [
        vec![settings("rsa.pub.pem"), named("p256.pub.pem", "b")],
        vec![named("rsa.pub.pem", "b"), named("p256.pub.pem", "b")],
        vec![named("rsa.pub.pem", "")],
    ] {
        assert!(Issuers::new(wrong).is_err());
    }
    assert_eq!(
        Issuers::default().verify(&token("a", "RS256", "rsa.pem"), now()),
        Err(E::IssuerUnknown)
    );
}
