//! Settings as people write them, and what the command line shows of them.

use std::{fs, process::Command, time::Duration};

use tokio::time::sleep;

use crate::{
    client::{Client, http, publish},
    hub::{Hub, directory, hubplane, output, printed},
};

fn serve() -> Command {
    let mut command = hubplane();
    command
        .args(["serve", "--listen", "127.0.0.1:0"])
        .env("HUBPLANE_DRAIN", "0s");
    command
}

/// Ends with 2, and returns what it says.
fn refused(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{command:?}: {said}");
    said
}

#[tokio::test]
async fn an_empty_variable_is_unset() {
    let mut command = serve();
    for name in [
        "BACKPLANE",
        "DRAIN",
        "WAIT",
        "NODE",
        "CONFIG",
        "KEY_FILE",
        "TLS_CERT",
        "TLS_KEY",
        "INSECURE",
        "ORIGIN",
        "SHARDS",
        "LOG",
    ] {
        command.env(format!("HUBPLANE_{name}"), "");
    }
    let hub = Hub::spawn(command, "listening on http://");
    let own = format!("origin: http://{}\r\n", hub.address);
    let (status, _) = http(hub.address, "GET /live", &own).await;
    assert_eq!(status, 200);
    let mut page = Client::connect(hub.address, "?channel=a", &[("origin", &hub.url())]).await;
    assert_eq!(page.json().await["type"], "subscribed");
}

#[tokio::test]
async fn values_are_taken_as_people_write_them() {
    let place = directory("settings");
    let key = place.join("key");
    fs::write(&key, format!("\u{feff}{}\r\n", "k".repeat(40))).unwrap();
    let mut command = serve();
    command
        .env("HUBPLANE_BACKPLANE", "memory:\n")
        .env("HUBPLANE_INSECURE", "1")
        .env("HUBPLANE_DRAIN", "1h")
        .env("HUBPLANE_KEY_FILE", &key)
        .env("HUBPLANE_ANONYMOUS", "subscribe")
        .env("HUBPLANE_ORIGIN", "HTTPS://App.example:443/,");
    let hub = Hub::spawn(command, "listening on http://");
    let bearer = format!("authorization: Bearer {}\r\n", "k".repeat(40));
    let (status, answer) = publish(hub.address, &bearer, r#"{"channel":"a","data":1}"#).await;
    assert_eq!(status, 200, "{answer}");
    let origin = [("origin", "https://app.example")];
    let mut page = Client::connect(hub.address, "?channel=a", &origin).await;
    assert_eq!(page.json().await["type"], "subscribed");
}

#[test]
fn settings_that_make_no_sense_end_with_2_and_their_name() {
    let place = directory("settings");
    let file = place.join("hubplane.toml");
    for (text, said) in [
        ("[limits]\nbeacon_interval = \"0s\"", "beacon_interval"),
        ("[limits]\nwindow_bytes = 10", "window_bytes"),
        ("shards = 0", "from 1 to 64"),
        ("drain = 25", "'25s'"),
        ("origins = [\"app.example\"]", "can never match"),
    ] {
        fs::write(&file, text).unwrap();
        let error = refused(serve().arg("--config").arg(&file));
        assert!(error.contains(said), "{text}: {error}");
    }
    for (arguments, said) in [
        (["--shards", "65"], "from 1 to 64"),
        (["--origin", "https://a.example/b"], "can never match"),
        (["--drain", "25"], "25s"),
    ] {
        let error = refused(serve().args(arguments));
        assert!(error.contains(said), "{arguments:?}: {error}");
    }
}

#[test]
fn a_port_is_refused_with_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (listen, said) in [
        (address.as_str(), "choose another port"),
        ("18080", "such as --listen 127.0.0.1:8080"),
    ] {
        for command in ["serve", "demo"] {
            let error = refused(hubplane().args([command, "--listen", listen]));
            assert!(error.contains(said), "{command} {listen}: {error}");
        }
    }
}

/// In a variable's value, in a line of a file that can't be read, and where `--backplane` was forgotten.
#[test]
fn no_secret_is_shown_by_help_or_by_an_error() {
    const ADDRESS: &str = "redis://u:canary-7b1f9d@127.0.0.1:1";
    let place = directory("settings");
    let file = place.join("hubplane.toml");
    fs::write(&file, format!("backplane = \"{ADDRESS}\" x\n")).unwrap();
    let help = hubplane()
        .args(["serve", "--help"])
        .env("HUBPLANE_BACKPLANE", ADDRESS)
        .output()
        .unwrap();
    assert!(help.status.success());
    let all = [
        String::from_utf8(help.stdout).unwrap(),
        refused(serve().arg("--config").arg(&file)),
        refused(serve().arg(ADDRESS)),
        refused(serve().args(["--wait", ADDRESS])),
        refused(hubplane().arg(ADDRESS)),
        refused(hubplane().args(["serve", "--listen", ADDRESS])),
        refused(hubplane().args(["pub", "a", "1", "--url", ADDRESS])),
        refused(hubplane().args(["sub", "a", "--url", ADDRESS])),
        refused(hubplane().args(["sub", "a", "--url", "http://u:canary@127.0.0.1:1"])),
        refused(hubplane().args(["bench", "--hub", ADDRESS])),
        refused(serve().args(["--origin", ADDRESS])),
    ];
    for said in all {
        assert!(!said.contains("canary"), "{said}");
    }
}

#[tokio::test]
async fn sub_says_that_the_key_is_wrong() {
    let place = directory("settings");
    let (right, wrong) = (place.join("right"), place.join("wrong"));
    fs::write(&right, "r".repeat(40)).unwrap();
    fs::write(&wrong, "w".repeat(40)).unwrap();
    let hub = Hub::start(&["--key-file", right.to_str().unwrap()]);
    let key = wrong.to_str().unwrap();
    let done = output(&["sub", "a", "--url", &hub.url(), "--key-file", key]);
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(said.contains("refuses the connection with 401"), "{said}");
    assert!(!said.contains("starts one"), "{said}");
}

#[test]
fn pub_and_sub_say_how_a_hub_is_named() {
    for command in ["pub", "sub"] {
        let error = refused(hubplane().args([command, "a", "--url", "127.0.0.1:8080"]));
        assert!(error.contains("such as http://127.0.0.1:8080"), "{error}");
    }
}

#[test]
fn nothing_can_be_published_into_another_process() {
    let error = refused(hubplane().args(["pub", "--backplane", "memory:", "a", "1"]));
    assert!(error.contains("no other program"), "{error}");
}

/// JSON that the hub takes and that no number or text of Rust can hold.
#[tokio::test]
async fn sub_prints_what_a_member_tells_as_it_came() {
    let hub = Hub::configured("[limits]\npresence_grace = \"0s\"\n");
    let mut command = hubplane();
    command.args([
        "sub",
        "a",
        "--presence",
        "--count",
        "1",
        "--url",
        &hub.url(),
    ]);
    let printing = printed(command);
    sleep(Duration::from_millis(700)).await;
    for (client, info) in [("b", "1e999"), ("c", r#""\ud800""#)] {
        let mut member = Client::connect(hub.address, "", &[]).await;
        let subscribe = format!(
            r#"{{"type":"subscribe","channel":"a","presence":{{"client":"{client}","info":{info}}}}}"#
        );
        assert_eq!(member.ask(&subscribe).await["type"], "subscribed");
        sleep(Duration::from_millis(300)).await;
    }
    sleep(Duration::from_millis(700)).await;
    publish(hub.address, "", r#"{"channel":"a","data":1}"#).await;
    let done = printing.await.unwrap();
    assert!(done.status.success(), "{done:?}");
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(said.contains(r#""info":1e999"#), "{said}");
    assert!(said.contains(r#""info":"\ud800""#), "{said}");
}

#[tokio::test]
async fn another_method_is_told_which_one() {
    let hub = Hub::memory();
    let (status, answer) = http(hub.address, "GET /v1/publish", "").await;
    assert_eq!(status, 405, "{answer}");
    assert!(answer.contains("use POST for /v1/publish"), "{answer}");
}
