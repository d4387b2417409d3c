//! The report of a run, opened from disk in a real browser.

use std::{fs, process::Command};

use hubplane_bench::sample;

use crate::hub::{directory, output};

#[test]
fn a_report_opens_from_disk_in_a_browser() {
    let place = directory("report");
    let path = |name: &str| place.join(name).to_str().unwrap().to_owned();
    let (one, two) = (path("one.json"), path("two.json"));
    let mut run = sample::run();
    fs::write(&one, serde_json::to_string(&run).unwrap()).unwrap();
    run.started += 86_400;
    run.machine.cores = 16;
    // As many backends as there are, and a line of a chart for each run of them.
    let more = run.backends.clone().into_iter();
    let names = ["redis+streams", "amqp", "amqp+streams"];
    run.backends.extend(more.zip(names).map(|(mut it, name)| {
        it.name = name.to_owned();
        it
    }));
    fs::write(&two, serde_json::to_string(&run).unwrap()).unwrap();
    let (page, both) = (path("report.html"), path("both.json"));
    let done = output(&["bench", "report", &one, "--out", &page]);
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(
        done.status.success() && said.contains("delivery p50"),
        "{done:?}"
    );
    look(&page, &place.join("one"));
    let done = output(&[
        "bench", "report", &one, &two, "--out", &page, "--json", &both,
    ]);
    assert!(done.status.success(), "{done:?}");
    assert!(fs::read_to_string(&both).unwrap().contains("\"sources\""));
    look(&page, &place.join("two"));
}

fn look(page: &str, pictures: &std::path::Path) {
    fs::create_dir_all(pictures).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser/report.mjs");
    let done = Command::new("node")
        .args([script, page])
        .arg(pictures)
        .output()
        .expect("node is needed; tests/run installs it");
    let said = [done.stdout, done.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(done.status.success(), "{said}");
}

#[test]
fn a_file_that_is_no_run_is_refused() {
    let place = directory("report");
    let wrong = place.join("wrong.json");
    fs::write(&wrong, "{\"version\":1}").unwrap();
    for arguments in [
        &["bench", "report", wrong.to_str().unwrap()][..],
        &["bench", "report", "/nowhere/run.json"],
        &["bench", "report"],
    ] {
        let done = output(arguments);
        assert_eq!(done.status.code(), Some(2), "{arguments:?}: {done:?}");
    }
}
