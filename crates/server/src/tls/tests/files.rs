//! The two files: which forms are read, and what is said of those that can't be served.

use std::fs;

use rcgen::KeyPair;

use super::authority::{Authority, GOOD, pem, replace};

#[test]
fn an_error_names_the_file_and_what_is_wrong() {
    let authority = Authority::new();
    let (certificate, key) = (authority.certificate(), authority.key());
    let said = || authority.load().unwrap_err().to_string();
    assert!(
        said().contains("tls.crt can't be read: No such file"),
        "{}",
        said()
    );
    authority.write(GOOD);
    fs::remove_file(&key).unwrap();
    assert!(
        said().contains("tls.key can't be read: No such file"),
        "{}",
        said()
    );
    let other = KeyPair::generate().unwrap();
    let encrypted = pem("ENCRYPTED PRIVATE KEY", &other.serialize_der());
    let broken = pem("PRIVATE KEY", b"no key at all");
    let cut = &pem("PRIVATE KEY", &other.serialize_der())[..90];
    for (text, what) in [
        (
            pem("PRIVATE KEY", &other.serialize_der()).as_str(),
            "does not belong to",
        ),
        (&encrypted, "is encrypted"),
        (&broken, "is of no use"),
        (cut, "is broken"),
        ("", "holds no private key in PEM form"),
        ("-----BEGIN PRIVATE KEY SECRET\n", "is broken"),
    ] {
        replace(&key, text);
        let said = said();
        assert!(
            said.contains("tls.key") && said.contains(what),
            "{text}: {said}"
        );
        assert!(!said.contains("SECRET"), "{said}");
    }
    let whole = fs::read_to_string(&certificate).unwrap();
    for (text, what) in [
        ("", "holds no certificate in PEM form"),
        (&whole[..90], "is broken"),
        (&pem("CERTIFICATE", b"none"), "can't be understood"),
        (&"x".repeat(2 << 20), "has 2097152 bytes"),
    ] {
        authority.write(GOOD);
        replace(&certificate, text);
        let said = said();
        assert!(said.contains("tls.crt") && said.contains(what), "{said}");
    }
}

/// Keys made by OpenSSL, which writes all forms: SEC 1, PKCS #8 and PKCS #1.
#[test]
fn keys_are_read_in_every_usual_form() {
    let authority = Authority::new();
    for make in [
        &["ecparam", "-name", "prime256v1", "-genkey", "-noout"][..],
        &[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-384",
        ],
        &["genrsa", "-traditional", "2048"],
        &["genrsa", "2048"],
        &["genpkey", "-algorithm", "ed25519"],
    ] {
        let output = |arguments: &[&str]| {
            let output = std::process::Command::new("openssl")
                .args(arguments)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{arguments:?}: {said}");
            String::from_utf8(output.stdout).unwrap()
        };
        replace(&authority.key(), &output(make));
        let key = authority.key();
        let certificate = output(&[
            "req",
            "-x509",
            "-key",
            key.to_str().unwrap(),
            "-subj",
            "/CN=h",
        ]);
        replace(&authority.certificate(), &certificate);
        authority
            .load()
            .unwrap_or_else(|error| panic!("{make:?}: {error}"));
    }
}
