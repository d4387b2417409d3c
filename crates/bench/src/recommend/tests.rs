//! What a recommendation says must follow from declarations and figures alone, and “not known” must
//! never become “yes”.
use super::*;
use crate::{results::Run, sample::run};

/// Each backend of the run, with its figures of the first scenario.
fn candidates(run: &Run) -> Vec<Candidate<'_>> {
    let one = |it: &'_ crate::results::Measured| Candidate {
        name: it.name.clone(),
        broker: it.name.clone(),
        promises: it.promises.clone(),
        figures: None,
    };
    let mut all: Vec<_> = run.backends.iter().map(one).collect();
    for (candidate, backend) in all.iter_mut().zip(&run.backends) {
        candidate.figures = backend.scenarios.get("progress");
    }
    all
}

/// Names and answers, in the order of the recommendation.
fn answers(run: &Run, needs: &Needs) -> Vec<(String, Answer)> {
    let judged = recommend(needs, &candidates(run), &run.scenarios[0]);
    judged.into_iter().map(|it| (it.name, it.answer)).collect()
}

fn pairs(all: &[(&str, Answer)]) -> Vec<(String, Answer)> {
    all.iter()
        .map(|(name, it)| ((*name).to_owned(), *it))
        .collect()
}

use Answer::{No, Unknown, Yes};

#[test]
fn without_needs_all_that_serve_several_processes_satisfy_the_cheapest_first() {
    let run = run();
    // `memory` serves one process only, so it fails the default need.
    let all = pairs(&[("redis", Yes), ("kafka", Yes), ("memory", No)]);
    assert_eq!(answers(&run, &Needs::default()), all);
    let needs = Needs {
        one_process: true,
        ..Needs::default()
    };
    // With one process allowed, the least CPU time decides.
    let all = pairs(&[("memory", Yes), ("redis", Yes), ("kafka", Yes)]);
    assert_eq!(answers(&run, &needs), all);
}

#[test]
fn what_is_declared_answers_needs() {
    let run = run();
    // Four needs, each of which redis does not meet by its declaration (or the user does not have
    // it).
    let redis_fails = pairs(&[("kafka", Yes), ("memory", No), ("redis", No)]);
    for needs in [
        Needs {
            replay: true,
            ..Needs::default()
        },
        Needs {
            restart: true,
            ..Needs::default()
        },
        Needs {
            one_order: true,
            ..Needs::default()
        },
        Needs {
            have: vec!["kafka".to_owned()],
            ..Needs::default()
        },
    ] {
        assert_eq!(answers(&run, &needs), redis_fails, "{needs:?}");
    }
    let needs = Needs {
        // One byte more than Kafka's declared largest message.
        payload: Some(1_000_001),
        ..Needs::default()
    };
    let judged = recommend(&needs, &candidates(&run), &run.scenarios[0]);
    let kafka = judged.iter().find(|it| it.name == "kafka").unwrap();
    assert!(
        kafka
            .reasons
            .iter()
            .any(|it| it.answer == No && it.says == "its largest message is 1000000 B")
    );
}

#[test]
fn what_was_measured_answers_needs() {
    let mut run = run();
    // The last reason is the measured one.
    let says = |run: &Run, needs: &Needs, name: &str| {
        let judged = recommend(needs, &candidates(run), &run.scenarios[0]);
        let found = judged.into_iter().find(|it| it.name == name).unwrap();
        found.reasons.last().cloned().unwrap()
    };
    let p99 = |ms| Needs {
        p99: Some(Duration::from_millis(ms)),
        ..Needs::default()
    };
    // The worst round is within the limit.
    let reason = says(&run, &p99(1), "redis");
    assert!(
        reason.answer == Yes && reason.says.starts_with("p99 520 µs (500–540) at 500 "),
        "{reason:?}"
    );
    assert_eq!(says(&run, &p99(1), "kafka").answer, No);
    // A rate together with a limit of 50 ms.
    let rate = |rate| Needs {
        rate: Some(rate),
        ..p99(50)
    };
    // The ladder's step above 9,000 held.
    let reason = says(&run, &rate(9_000.0), "redis");
    assert!(
        reason.answer == Yes && reason.says.ends_with("at 16,000 messages a second"),
        "{reason:?}"
    );
    // Kafka held at less and failed at 16,000; nothing was measured at 9,000.
    assert_eq!(says(&run, &rate(9_000.0), "kafka").answer, Unknown);
    // A lower rate failed already: a higher one can't hold.
    let reason = says(&run, &rate(1e6), "kafka");
    assert!(
        reason.answer == No && reason.says.starts_with("the limit was passed already"),
        "{reason:?}"
    );
    // All that was tried held: more is not known.
    let figures = run.backends[1].scenarios.get_mut("progress").unwrap();
    figures.ladder.retain(|step| step.held);
    assert_eq!(says(&run, &rate(1e6), "redis").answer, Unknown);
    run.backends[1].scenarios.clear();
    let reason = says(&run, &rate(9_000.0), "redis");
    assert_eq!(
        (reason.answer, &*reason.says),
        (Unknown, "it was not measured")
    );
}

/// A step far above the wanted rate that failed tells nothing about the wanted rate.
#[test]
fn a_failure_above_the_rate_is_no_answer_but_advice() {
    // All steps held by their own limit; the user's limit of 1 ms is lower than their p99.
    let step = |rate: f64, p99| Step {
        rate,
        p99,
        lost: 0,
        held: true,
        ..run().backends[1].scenarios["progress"].ladder[0]
    };
    // 8,000 is far from 5,000; 5,100 counts as measured at 5,000.
    let (far, near) = (step(8_000.0, 1_500), step(5_100.0, 1_500));
    let (answer, says) = climb(&[&far], 5_000.0, 1_000);
    assert_eq!(answer, Unknown);
    assert!(says.contains("measure 5,000 messages a second"), "{says}");
    assert_eq!(climb(&[&near, &far], 5_000.0, 1_000).0, No);
}

#[test]
fn reasons_are_sentences() {
    let run = run();
    let needs = Needs {
        replay: true,
        ..Needs::default()
    };
    let judged = recommend(&needs, &candidates(&run), &run.scenarios[0]);
    // No raw cell of the table is left.
    let mut says = judged.iter().flat_map(|it| &it.reasons).map(|it| &*it.says);
    assert!(says.clone().all(|it| !it.contains("replay:")));
    assert!(says.any(|it| it.starts_with("it keeps no messages")));
}

#[test]
fn a_promise_that_a_kill_belies_is_no_promise() {
    let mut run = run();
    let needs = Needs {
        restart: true,
        ..Needs::default()
    };
    // Kafka declares that a restart loses nothing; this run saw four losses.
    let figures = run.backends[2].scenarios.get_mut("progress").unwrap();
    figures.faults[1].lost = 4;
    assert_eq!(answers(&run, &needs)[0].1, No);
    // A loss without any fault counts against a backend even if nobody asked for it.
    run.backends[1]
        .scenarios
        .get_mut("progress")
        .unwrap()
        .rounds[0]
        .lost = 1;
    assert!(answers(&run, &Needs::default()).contains(&("redis".to_owned(), No)));
}

#[test]
fn sizes_are_read() {
    let sizes = ["64 KiB", "16KiB", "1 MiB", "1000000 B", "512"].map(parse_size);
    assert_eq!(sizes, [65_536, 16_384, 1_048_576, 1_000_000, 512].map(Some));
    // Units of 1,000 are refused, so that nothing is read as another size than was meant.
    assert_eq!(["", "KiB", "1 GB", "-1"].map(parse_size), [None; 4]);
}
