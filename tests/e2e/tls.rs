//! TLS of the program, with the tools that people have at hand: curl and OpenSSL.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use crate::{
    client::SOON,
    hub::{Directory, Hub, directory, hubplane},
};

/// A certificate for this machine that is its own authority, and its key.
struct Files(Directory);

impl Files {
    fn new() -> Self {
        let files = Self(directory("tls"));
        files.write("first");
        files
    }

    fn certificate(&self) -> PathBuf {
        self.0.join("tls.crt")
    }

    fn key(&self) -> PathBuf {
        self.0.join("tls.key")
    }

    /// Writes a new certificate, whose subject is this name, and its key.
    fn write(&self, name: &str) {
        let curve = "ec_paramgen_curve:P-256";
        self.write_with(name, &["genpkey", "-algorithm", "EC", "-pkeyopt", curve]);
    }

    /// As [`Files::write`], with a key that OpenSSL makes so.
    fn write_with(&self, name: &str, make: &[&str]) {
        let openssl = || Command::new("openssl");
        let key = succeeds(&openssl().args(make).output().unwrap());
        fs::write(self.key(), key).unwrap();
        let mut sign = openssl();
        sign.args([
            "req",
            "-x509",
            "-days",
            "2",
            "-subj",
            &format!("/CN={name}"),
        ])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .arg("-key")
        .arg(self.key())
        .arg("-out")
        .arg(self.certificate());
        succeeds(&sign.output().unwrap());
    }

    fn serve(&self) -> Hub {
        let configuration = self.0.join("hubplane.toml");
        // A request may wait for its second half.
        fs::write(&configuration, "[limits]\nheader_timeout = \"60s\"\n").unwrap();
        let mut command = hubplane();
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--tls-cert"])
            .arg(self.certificate())
            .env("HUBPLANE_CONFIG", configuration)
            .env("HUBPLANE_DRAIN", "0s")
            .env("HUBPLANE_SHARDS", "1")
            .env("HUBPLANE_TLS_KEY", self.key());
        Hub::spawn(command, "listening on https://")
    }
}

/// What it printed; panics with what it said if it failed.
fn succeeds(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn curl(hub: &Hub, authority: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--fail", "--max-time", "20"])
        .arg("--cacert")
        .arg(authority)
        .args(arguments)
        .arg(format!("https://{}/metrics", hub.address));
    command.output().unwrap()
}

/// What `openssl s_client` tells of a connection that ends at once.
fn s_client(hub: &Hub, arguments: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &hub.address.to_string()])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Waits until the hub has logged this.
fn logs(hub: &Hub, wanted: &str) {
    let start = Instant::now();
    while !hub.log().contains(wanted) {
        assert!(start.elapsed() < SOON, "no {wanted:?} in {}", hub.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn hang_up(hub: &Hub) {
    let pid = hub.pid().to_string();
    let sent = Command::new("kill").args(["-HUP", &pid]).status();
    assert!(sent.unwrap().success());
}

#[test]
fn curl_and_openssl_speak_with_it() {
    let files = Files::new();
    let hub = files.serve();
    let authority = files.certificate();
    for version in [&["--tls-max", "1.2"][..], &["--tlsv1.3"]] {
        let metrics = succeeds(&curl(&hub, &authority, version));
        assert!(metrics.contains("hubplane_tls_handshakes_failed_total"));
    }
    let other = Files::new();
    let refused = curl(&hub, &other.certificate(), &[]);
    assert_eq!(refused.status.code(), Some(60), "curl: not to be trusted");
    logs(&hub, "TLS handshakes failed");
    let metrics = succeeds(&curl(&hub, &authority, &[]));
    assert!(
        metrics.contains("hubplane_tls_handshakes_failed_total 1\n"),
        "{metrics}"
    );
    let told = s_client(&hub, &["-alpn", "h2,http/1.1", "-tls1_3"]);
    assert!(told.contains("ALPN protocol: http/1.1"), "{told}");
    assert!(
        told.contains("Protocol  : TLSv1.3") || told.contains("New, TLSv1.3"),
        "{told}"
    );
    let told = s_client(&hub, &["-tls1_2"]);
    assert!(told.contains("Cipher is ECDHE-"), "forward secrecy: {told}");
    let told = s_client(&hub, &["-tls1_1"]);
    assert!(told.contains("Cipher is (NONE)"), "too old: {told}");
}

/// SEC 1, PKCS #8 and PKCS #1.
#[test]
fn keys_are_read_in_every_usual_form() {
    let files = Files::new();
    let p384 = "ec_paramgen_curve:P-384";
    for (make, label) in [
        (
            &["ecparam", "-name", "prime256v1", "-genkey", "-noout"][..],
            "EC PRIVATE",
        ),
        (
            &["genpkey", "-algorithm", "EC", "-pkeyopt", p384],
            "PRIVATE",
        ),
        (&["genrsa", "-traditional", "2048"], "RSA PRIVATE"),
        (&["genrsa", "2048"], "PRIVATE"),
        (&["genpkey", "-algorithm", "ed25519"], "PRIVATE"),
    ] {
        files.write_with("any", make);
        let key = fs::read_to_string(files.key()).unwrap();
        let begin = format!("-----BEGIN {label} KEY-----");
        assert!(key.starts_with(&begin), "{make:?}");
        let hub = files.serve();
        for version in [&["--tls-max", "1.2"][..], &["--tlsv1.3"]] {
            succeeds(&curl(&hub, &files.certificate(), version));
        }
    }
}

/// An open connection outlives both a new certificate and broken files.
#[test]
fn sighup_has_the_files_read_again() {
    let files = Files::new();
    let hub = files.serve();
    let mut open = Command::new("openssl")
        .args(["s_client", "-quiet", "-connect", &hub.address.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut send = open.stdin.take().unwrap();
    // The first half of a request, whose rest comes at the end.
    send.write_all(b"GET /live HTTP/1.1\r\nhost: ").unwrap();
    files.write("second");
    hang_up(&hub);
    logs(&hub, "SIGHUP: the TLS certificate was read again");
    assert!(s_client(&hub, &[]).contains("CN = second"));
    fs::write(files.key(), "no key").unwrap();
    hang_up(&hub);
    logs(&hub, "SIGHUP: the TLS certificate stays as it was");
    assert!(hub.log().contains("tls.key holds no private key"));
    assert!(s_client(&hub, &[]).contains("CN = second"));
    send.write_all(b"127.0.0.1\r\nconnection: close\r\n\r\n")
        .unwrap();
    let answer = open.wait_with_output().unwrap().stdout;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn what_is_wrong_with_the_files_is_said_at_the_start() {
    let files = Files::new();
    let refused = |arguments: &[&str]| {
        let mut command = hubplane();
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        let output = command.args(arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        said
    };
    let (certificate, key) = (files.certificate(), files.key());
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let said = refused(&["--tls-cert", certificate]);
    assert!(said.contains("give --tls-key FILE, too"), "{said}");
    let said = refused(&["--tls-key", key]);
    assert!(said.contains("give --tls-cert FILE, too"), "{said}");
    let said = refused(&["--tls-cert", certificate, "--tls-key", "/no/such.key"]);
    assert!(said.contains("/no/such.key can't be read"), "{said}");
    let said = refused(&["--tls-cert", key, "--tls-key", key]);
    assert!(said.contains("tls.key holds no certificate"), "{said}");
    let other = Files::new();
    let other = other.key();
    let said = refused(&[
        "--tls-cert",
        certificate,
        "--tls-key",
        other.to_str().unwrap(),
    ]);
    assert!(said.contains("does not belong to"), "{said}");
    // The same from a configuration file.
    let configuration = files.0.join("hubplane.toml");
    fs::write(&configuration, format!("tls_cert = \"{certificate}\"\n")).unwrap();
    let configuration = configuration.to_str().unwrap();
    let said = refused(&["--config", configuration]);
    assert!(said.contains("give --tls-key FILE, too"), "{said}");
}
