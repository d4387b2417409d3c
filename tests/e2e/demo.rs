//! The demo's page in a real browser.

use std::process::Command;

use crate::hub::{Hub, directory, hubplane};

#[test]
fn the_demo_runs_in_a_browser() {
    let mut command = hubplane();
    command.args(["demo", "--listen", "127.0.0.1:0"]);
    let demo = Hub::spawn(command, "demo on http://");
    let pictures = directory("demo");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/demo.mjs");
    let done = Command::new("node")
        .arg(script)
        .arg(demo.url())
        .arg(&*pictures)
        .output();
    let done = done.expect("node is needed; tests/run installs it");
    let said = [done.stdout, done.stderr].concat();
    assert!(
        done.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&said),
        demo.log()
    );
}
