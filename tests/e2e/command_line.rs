//! The command line: exit codes and sentences.

use std::{fs, time::Duration};

use serde_json::Value;
use tokio::time::sleep;

use crate::{
    client::{Client, http, publish},
    hub::{Hub, Running, directory, hubplane, output},
};

fn refused(arguments: &[&str]) -> String {
    let output = output(arguments);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
    error
}

#[test]
fn what_is_wrong_ends_with_2_and_a_sentence() {
    assert!(refused(&["serve", "--listen", "0.0.0.0:0"]).contains("--key-file"));
    assert!(
        refused(&["serve", "--listen", "127.0.0.1:0", "--backplane", "pigeon:"])
            .contains("there are memory:")
    );
    assert!(
        refused(&[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--backplane",
            "memory:?x=1"
        ])
        .contains("\"x\"")
    );
    assert!(refused(&["serve", "--listen", "nowhere"]).contains("can't listen"));
    assert!(refused(&["serve", "--config", "/no/such/file"]).contains("/no/such/file"));
    assert!(
        refused(&[
            "serve",
            "--key-file",
            "/dev/null",
            "--listen",
            "127.0.0.1:0"
        ])
        .contains("/dev/null: it is empty")
    );
    refused(&["dance"]);
}

#[test]
fn backends_are_shown_as_table_and_as_data() {
    let table = String::from_utf8(output(&["backends"]).stdout).unwrap();
    assert!(
        table.contains("memory:") && table.contains("redis:") && table.contains("amqp:"),
        "{table}"
    );
    let list: Value = serde_json::from_slice(&output(&["backends", "--json"]).stdout).unwrap();
    let memory = list
        .as_array()
        .unwrap()
        .iter()
        .find(|backend| backend["feature"] == "memory")
        .unwrap();
    assert_eq!(
        (&memory["compiled"], &memory["capabilities"]["order"]),
        (&true.into(), &"per_channel".into())
    );
    let completions = output(&["completions", "bash"]);
    assert!(
        String::from_utf8(completions.stdout)
            .unwrap()
            .contains("_hubplane")
    );
}

#[tokio::test]
async fn pub_and_sub_meet_on_a_hub() {
    let hub = Hub::memory();
    let url = hub.url();
    let sub = Running::new(
        hubplane()
            .args(["sub", "--url", &url, "a", "--count", "2"])
            .stdout(std::process::Stdio::piped()),
    );
    sleep(Duration::from_millis(700)).await;
    for data in ["{\"x\":1}", "plain text"] {
        let done = hubplane()
            .args(["pub", "--url", &url, "a", data])
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
    }
    let lines = String::from_utf8(sub.output().stdout).unwrap();
    let data: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["data"].clone())
        .collect();
    assert_eq!(data, [serde_json::json!({"x":1}), "plain text".into()]);
    assert_eq!(
        output(&["pub", "--url", "http://127.0.0.1:1", "a", "b"])
            .status
            .code(),
        Some(1)
    );
}

#[tokio::test]
async fn sigterm_ends_in_good_order() {
    let mut hub = Hub::memory();
    let mut client = Client::connect(hub.address, "?channel=a", &[]).await;
    client.json().await;
    let ending = tokio::task::spawn_blocking(move || hub.terminate());
    assert_eq!(client.close_code().await, 1012);
    drop(client);
    assert_eq!(ending.await.unwrap(), Some(0));
}

#[tokio::test]
async fn the_environment_and_the_file_set_what_the_line_does_not() {
    let mut command = hubplane();
    command
        .arg("serve")
        .env("HUBPLANE_LISTEN", "127.0.0.1:0")
        .env("HUBPLANE_NODE", "by-environment");
    let hub = Hub::spawn(command, "listening on http://");
    assert!(
        http(hub.address, "GET /v1/backplane", "")
            .await
            .1
            .contains("\"by-environment\"")
    );
    let hub = Hub::configured("node = \"by-file\"\n[limits]\nmessage_bytes = 1000\n");
    assert!(
        http(hub.address, "GET /v1/backplane", "")
            .await
            .1
            .contains("\"by-file\"")
    );
    let body = format!("{{\"channel\":\"a\",\"data\":\"{}\"}}", "x".repeat(1_000));
    assert_eq!(publish(hub.address, "", &body).await.0, 413);
    let place = directory("config");
    let file = place.join("bad.toml");
    fs::write(&file, "[limits]\nno_such_limit = 1\n").unwrap();
    let said = refused(&["serve", "--config", file.to_str().unwrap()]);
    assert!(said.contains("no_such_limit"), "{said}");
}

/// A secret in every place where one can be: it must not come out anywhere.
#[tokio::test]
async fn planted_secrets_are_never_printed() {
    const SECRET: &str = "canary-7b1f9d";
    let place = directory("secret");
    let file = place.join("key");
    fs::write(&file, SECRET).unwrap();
    for address in [
        format!("redis://u:{SECRET}@127.0.0.1:1"),
        format!("redis+streams://u:{SECRET}@127.0.0.1:1"),
        format!("redis://u@127.0.0.1:1?password={SECRET}"),
        format!("rediss://u:{SECRET}@127.0.0.1:1?no-such-key=1"),
        format!("kafka://u:{SECRET}@127.0.0.1:1?sasl=plain"),
        format!("kafka://u:{SECRET}@127.0.0.1:1"),
        format!("kafka://127.0.0.1:1?kafka.ssl.key.password={SECRET}&topic=a"),
        // Misspelt, so that librdkafka refuses it and would name its value.
        format!("kafka://127.0.0.1:1?kafka.sasl.pasword={SECRET}"),
        format!("amqp://u:{SECRET}@127.0.0.1:1"),
        format!("amqps://u:{SECRET}@127.0.0.1:1/%2f?x=1"),
        format!("memory:?password={SECRET}"),
        format!("redis://u:{SECRET}@h:port"),
        format!("redis://u:{SECRET}/x@127.0.0.1:1"),
        format!("redis+streams://u:x?{SECRET}@127.0.0.1:1"),
        format!("kafka://u:{SECRET}#x@127.0.0.1:1/x"),
        format!("kafka://u:12/{SECRET}@127.0.0.1:1"),
        format!("amqp://u:{SECRET}?x@127.0.0.1:1"),
        format!("amqp+streams://u:12?{SECRET}@127.0.0.1:1"),
        format!("{SECRET}://u@127.0.0.1:1/a@b"),
        "redis://u@127.0.0.1:1?password=env:HUBPLANE_TEST_SECRET".to_owned(),
        format!("amqp://u@127.0.0.1:1?password=file:{}", file.display()),
    ] {
        let output = hubplane()
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--log",
                "trace",
                "--backplane",
                &address,
            ])
            .env("HUBPLANE_TEST_SECRET", SECRET)
            .output()
            .unwrap();
        assert_ne!(output.status.code(), Some(0), "{address} must fail");
        let all = [output.stdout, output.stderr].concat();
        let all = String::from_utf8_lossy(&all);
        assert!(!all.contains(SECRET), "{all}");
        assert!(
            !all.contains("not in this build"),
            "{all}: test with --features full"
        );
    }
    let short = output(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--key-file",
        file.to_str().unwrap(),
    ]);
    assert!(!String::from_utf8_lossy(&short.stderr).contains(SECRET));

    // One that runs: what it answers and logs, with the key and without.
    fs::write(&file, SECRET.repeat(4)).unwrap();
    let hub = Hub::start(&["--log", "trace", "--key-file", file.to_str().unwrap()]);
    let key = format!("authorization: Bearer {}\r\n", SECRET.repeat(4));
    let mut all = publish(hub.address, &key, "{\"channel\":\"a\",\"data\":1}")
        .await
        .1
        .to_string();
    for path in ["/v1/backplane", "/metrics", "/ready", "/live", "/nothing"] {
        all += &http(hub.address, &format!("GET {path}"), "").await.1;
    }
    all += &hub.log();
    assert!(!all.contains(SECRET), "{all}");
}
