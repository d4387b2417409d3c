//! The commands about tokens: `hubplane token`, `hubplane check`, and `--token-file` of `pub` and `sub`.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Output, Stdio},
};

use serde_json::{Value, json};

use crate::hub::{Directory, Hub, Running, directory, hubplane, output};

/// What stands in a key of each kind, and must not be printed.
const KINDS: [(&str, &str); 3] = [
    ("hs256", ""),
    ("es256", "BEGIN PRIVATE"),
    ("ed25519", "BEGIN PRIVATE"),
];

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

/// Runs a command that succeeds, and returns what it printed.
fn done(arguments: &[&str]) -> String {
    let output = output(arguments);
    let (printed, notes) = said(&output);
    assert!(output.status.success(), "{arguments:?}: {notes}");
    printed
}

/// Runs a command that fails with this code, and returns what it said.
fn failed(code: i32, arguments: &[&str]) -> String {
    let output = output(arguments);
    let (printed, notes) = said(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {notes}");
    assert_eq!(printed, "", "{arguments:?}");
    notes
}

/// A key, and a hub whose configuration is what the key's maker printed, and some more.
struct Made {
    hub: Hub,
    key: String,
    config: String,
    place: Directory,
}

fn made(kind: &str, more: &str) -> Made {
    let place = directory("token");
    let key = at(&place, "hub.key");
    let config = done(&["token", "new-key", "--kind", kind, "--out", &key]) + more;
    let file = at(&place, "hub.toml");
    fs::write(&file, config).unwrap();
    let hub = Hub::start(&["--config", &file]);
    Made {
        hub,
        key,
        config: file,
        place,
    }
}

fn at(place: &Path, name: &str) -> String {
    place.join(name).to_str().unwrap().to_owned()
}

impl Made {
    /// Writes a token into a file, and returns its path.
    fn token(&self, options: &[&str]) -> String {
        let make = ["token", "make", "--key", &self.key, "--user", "ann"];
        let token = done(&[&make, options].concat());
        let file = at(&self.place, "ann.token");
        fs::write(&file, token).unwrap();
        file
    }

    fn publishes(&self, file: &str, channel: &str) -> Output {
        let url = self.hub.url();
        output(&["pub", "--url", &url, "--token-file", file, channel, "1"])
    }
}

#[test]
fn a_key_is_its_owners_alone_and_never_overwritten() {
    for (kind, secret) in KINDS {
        let place = directory("key");
        let key = at(&place, "hub.key");
        let new = ["token", "new-key", "--kind", kind, "--out", &key];
        let (printed, notes) = said(&output(&new));
        let text = fs::read_to_string(&key).unwrap();
        assert!(text.contains(secret) && text.len() > 64, "{kind}");
        let rights = fs::metadata(&key).unwrap().permissions().mode();
        assert_eq!(rights & 0o777, 0o600, "{kind}");
        for line in text.lines() {
            assert!(!printed.contains(line) && !notes.contains(line), "{kind}");
        }
        assert!(
            printed.starts_with("[[token]]\nkey = \"file:/"),
            "{printed}"
        );
        assert!(notes.contains("keep it secret"), "{notes}");
        assert_eq!(printed.contains("hub.key.pub"), kind != "hs256");
        let again = failed(2, &new);
        assert!(
            again.contains("exists already") && again.contains("--out"),
            "{again}"
        );
        assert_eq!(fs::read_to_string(&key).unwrap(), text, "{kind}");
        if kind != "hs256" {
            fs::remove_file(&key).unwrap();
            assert!(failed(2, &new).contains("hub.key.pub exists already"));
            assert!(fs::metadata(&key).is_err(), "nothing is left half made");
        }
    }
}

/// From a new key to a message, as a newcomer does it.
#[test]
fn tokens_of_each_kind_of_key_let_in_where_they_say() {
    for (kind, _) in KINDS {
        let made = made(kind, "");
        let allow = ["--allow", "subscribe,publish", "--channels", "orders.*"];
        let file = made.token(&allow);
        let url = made.hub.url();
        let sub = ["sub", "orders.7", "--url", &url, "--token-file", &file];
        let mut running = Running::new(
            hubplane()
                .args(sub)
                .args(["--count", "1"])
                .stdout(Stdio::null()),
        );
        // One of them comes after the subscription.
        for n in 0.. {
            assert!(n < 200, "{kind}: nothing came");
            let sent = made.publishes(&file, "orders.7");
            assert!(sent.status.success(), "{kind}: {sent:?}");
            if let Some(status) = running.child().try_wait().unwrap() {
                assert!(status.success(), "{kind}");
                break;
            }
        }
        let watching = failed(2, &[&sub[..], &["--presence"]].concat());
        assert!(watching.contains("presence"), "{kind}: {watching}");
        let other = made.publishes(&file, "users.7");
        let (_, notes) = said(&other);
        assert_eq!(other.status.code(), Some(1), "{kind}: {notes}");
        assert!(notes.contains("403"), "{kind}: {notes}");
    }
}

#[test]
fn a_token_that_is_not_accepted_ends_the_command_and_is_not_shown() {
    let made = made("ed25519", "");
    let url = made.hub.url();
    let foreign = directory("foreign");
    let key = at(&foreign, "key");
    done(&["token", "new-key", "--kind", "ed25519", "--out", &key]);
    let token = done(&["token", "make", "--key", &key, "--user", "eve"]);
    let file = at(&foreign, "eve.token");
    fs::write(&file, &token).unwrap();
    for (command, says) in [
        (
            &["sub", "orders.7", "--url", &url][..],
            "signature is wrong",
        ),
        (&["pub", "orders.7", "1", "--url", &url], "401"),
    ] {
        let notes = failed(1, &[command, &["--token-file", &file]].concat());
        assert!(notes.contains(says), "{notes}");
        assert!(!notes.contains(token.trim()), "{notes}");
        let missing = failed(2, &[command, &["--token-file", "/no/such/file"]].concat());
        assert!(
            missing.contains("--token-file: the file /no/such/file"),
            "{missing}"
        );
        let both = ["--token-file", &file, "--key-file", &key];
        assert!(failed(2, &[command, &both].concat()).contains("cannot be used with"));
    }
    let notes = failed(1, &["sub", "c", "--url", &url, "--token-file", &file]);
    assert!(notes.contains("hubplane token show"), "{notes}");
}

#[test]
fn a_token_says_what_was_asked_for_and_is_shown_unbelieved() {
    let place = directory("make");
    let key = at(&place, "key");
    done(&["token", "new-key", "--kind", "es256", "--out", &key]);
    let make = ["token", "make", "--key", &key, "--user", "ann"];
    let options = "--expires 15m --allow subscribe,history --channels orders.*,a --join orders.7 --info {\"a\":1} \
                   --issuer me --audience hub,other --id 7 --claims https://hub.example";
    let options: Vec<_> = options.split_whitespace().collect();
    let token = done(&[&make[..], &options].concat());
    let show = output(&["token", "show", token.trim()]);
    let (printed, notes) = said(&show);
    assert!(
        notes.contains("nothing of this is checked") && notes.contains("it ends in"),
        "{notes}"
    );
    let mut shown: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(shown["header"]["alg"], "ES256");
    let claims = shown["claims"].as_object_mut().unwrap();
    let (from, to) = (claims.remove("iat").unwrap(), claims.remove("exp").unwrap());
    assert_eq!(to.as_u64().unwrap() - from.as_u64().unwrap(), 15 * 60);
    let own = json!({
        "permissions": [{ "channels": ["orders.*", "a"], "allow": ["subscribe", "history"] }],
        "channels": ["orders.7"], "info": { "a": 1 },
    });
    let expected = json!({
        "sub": "ann", "iss": "me", "aud": ["hub", "other"], "jti": "7", "https://hub.example": own,
    });
    assert_eq!(shown["claims"], expected);
    // By standard input, and what is no JSON does not reach the terminal as it is.
    let strange = "G1szMW0.G1szMW0.";
    let mut shows = hubplane();
    shows.args(["token", "show", "-"]);
    let file = at(&place, "strange");
    fs::write(&file, format!(" {strange}\n")).unwrap();
    let shown = shows.stdin(fs::File::open(file).unwrap()).output().unwrap();
    let (printed, notes) = said(&shown);
    assert!(shown.status.success(), "{notes}");
    assert!(!printed.contains('\u{1b}') && printed.contains("\\u001b[31m"));
    assert!(failed(2, &["token", "show", "what"]).contains("three parts"));
}

#[test]
fn what_no_hub_would_take_is_not_signed() {
    let place = directory("wrong");
    let key = at(&place, "key");
    done(&["token", "new-key", "--kind", "hs256", "--out", &key]);
    let long = "x".repeat(2_000);
    let info = json!(long).to_string();
    for (options, says) in [
        (&["--allow", "subscribe"][..], "--channels"),
        (&["--channels", "a"], "--allow"),
        (&["--allow", "dance", "--channels", "a"], "\"dance\""),
        (
            &["--allow", "publish", "--channels", "a.{sub}"],
            "--channels",
        ),
        (&["--join", "a b"], "--join"),
        (&["--info", "{"], "--info: it is not JSON"),
        (&["--info", &info], "1024 bytes"),
        (&["--user", &long], "cannot be used multiple times"),
        (&["--id", &long], "--id: give 1 to 255"),
        (&["--expires", "0s"], "at least 1s"),
        (&["--expires", "10"], "with its unit"),
        (&["--claims", "sub", "--join", "a"], "--claims: sub"),
    ] {
        let make = ["token", "make", "--key", &key, "--user", "ann"];
        let notes = failed(2, &[&make[..], options].concat());
        assert!(notes.contains(says), "{options:?}: {notes}");
    }
    fs::write(&key, "short-secret").unwrap();
    let notes = failed(2, &["token", "make", "--key", &key, "--user", "ann"]);
    assert!(
        notes.contains("at least 32 bytes") && !notes.contains("short-secret"),
        "{notes}"
    );
}

#[test]
fn check_says_which_rule_decides() {
    let program = directory("check");
    let program_key = at(&program, "program");
    fs::write(&program_key, "p".repeat(40)).unwrap();
    let more = format!(
        "[[channel]]\nmatch = \"open.*\"\nallow = {{ anonymous = [\"subscribe\"] }}\n\
         [[channel]]\nmatch = \"user.{{sub}}\"\nallow = {{ token = [\"subscribe\", \"publish\"] }}\n\
         [[key]]\nname = \"program\"\nkey = \"file:{program_key}\"\nallow = [\"publish\"]\nchannels = [\"*\"]\n"
    );
    let made = made("ed25519", &more);
    let token = made.token(&[]);
    let text = fs::read_to_string(&token).unwrap();
    let check = |channel: &str, options: &[&str]| {
        let check = ["check", "--config", &made.config, "--channel", channel];
        done(&[&check[..], options].concat())
    };
    let decided = |printed: &str, action: &str| {
        let mut lines = printed.lines();
        let line = lines.find(|line| line.starts_with(action));
        line.unwrap()[action.len()..].trim().to_owned()
    };
    let nobody = check("open.1", &[]);
    assert_eq!(nobody.lines().count(), 4, "{nobody}");
    assert!(decided(&nobody, "subscribe").starts_with("rule 1: allowed"));
    assert!(decided(&nobody, "publish").starts_with("rule 1: refused"));
    assert!(decided(&check("other", &[]), "subscribe").starts_with("refused"));
    for show in [["--token", &text], ["--token-file", &token]] {
        assert!(decided(&check("user.ann", &show), "publish").starts_with("rule 2: allowed"));
        assert!(decided(&check("user.eve", &show), "publish").starts_with("rule 2: refused"));
    }
    let key = check("free", &["--key-file", &program_key]);
    assert!(decided(&key, "history").contains("refused"), "{key}");
    let check = ["check", "--config", &made.config, "--channel"];
    let notes = failed(1, &[&check[..], &["c", "--token", "a.b.c"]].concat());
    assert!(notes.contains("would not let this client in"), "{notes}");
    assert!(failed(2, &[&check[..], &["a b"]].concat()).contains("--channel"));
    let missing = failed(2, &["check", "--config", "/no/such", "--channel", "c"]);
    assert!(missing.contains("/no/such"), "{missing}");
}
