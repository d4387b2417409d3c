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
