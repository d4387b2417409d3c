//! What is put together must keep every round with its run, and say where runs are not alike.
use super::*;
use crate::sample::run;

/// A second run of the same program on the same machine, a day later.
fn another() -> Run {
    let mut run = run();
    run.started += 86_400;
    run
}

#[test]
fn rounds_are_pooled_and_know_their_run() {
    let one = Merged::from(run());
    let both = one.clone().with(another().into()).unwrap();
    assert_eq!(
        (both.sources.len(), both.backends.len()),
        (2, one.backends.len())
    );
    let figures = &both.backends[0].scenarios["progress"];
    let runs: Vec<_> = figures.rounds.iter().map(|round| round.run).collect();
    assert_eq!(runs, [0, 0, 0, 1, 1, 1]);
    // Runs that are alike need no warning.
    assert_eq!(both.warnings(), [""; 0]);
}

#[test]
// Three runs, merged in two steps: the third one's number must not begin anew.
fn what_was_merged_is_read_again_and_merged_further() {
    let mut third = another();
    third.started += 1;
    let both = Merged::from(run()).with(another().into()).unwrap();
    let text = serde_json::to_string(&both).unwrap();
    let again = Merged::parse(&text).unwrap().with(third.into()).unwrap();
    let rounds = &again.backends[0].scenarios["fanout"].rounds;
    assert_eq!(rounds.last().unwrap().run, 2);
}

#[test]
// A file of the older layout: no `alone` in the rounds, and `direct` beside them.
fn an_old_file_has_the_broker_alone_once() {
    let mut run = run();
    let rounds = |run: &mut Run| run.backends[1].scenarios["progress"].rounds.clone();
    let alone = rounds(&mut run)[0].alone.clone();
    let mut old = serde_json::to_value(&run).unwrap();
    let figures = &mut old["backends"][1]["scenarios"]["progress"];
    for round in figures["rounds"].as_array_mut().unwrap() {
        round.as_object_mut().unwrap().remove("alone");
    }
    figures["direct"] = serde_json::to_value(&alone).unwrap();
    let read = Merged::parse(&old.to_string()).unwrap();
    let read = &read.backends[1].scenarios["progress"].rounds;
    // Moved to the first round, and to no other.
    assert_eq!((&read[0].alone, &read[1].alone), (&alone, &None));
}

#[test]
fn other_machines_and_other_scenarios_are_marked() {
    let mut other = another();
    // Another machine is only a warning; another form of a scenario is other work, and is kept
    // apart.
    other.machine.cores = 8;
    other.scenarios[0].payload = 256;
    let both = Merged::from(run()).with(other.into()).unwrap();
    let names: Vec<_> = both.scenarios.iter().map(|it| &*it.name).collect();
    assert_eq!(names, ["progress", "fanout", "progress-2"]);
    assert_eq!(both.backends[0].scenarios["progress-2"].rounds[0].run, 1);
    let warnings = both.warnings().join("\n");
    assert!(warnings.contains("different machines"), "{warnings}");
    assert!(warnings.contains("shown as progress-2"), "{warnings}");
}

#[test]
fn another_program_is_kept_apart() {
    // The same backend, served by this program (or by one that is not known) on that day.
    let of = |program: Option<&str>, day: u64| {
        let mut run = run();
        run.started += day * 86_400;
        run.backends.truncate(1);
        run.backends[0].program = program.map(str::to_owned);
        Merged::from(run)
    };
    let with = |all: Merged, more| all.with(more).unwrap();
    // The programs alternate: a, b, a, b. The third run must find its place beside the first.
    let two = with(of(Some("a"), 0), of(Some("b"), 1));
    let all = with(with(two, of(Some("a"), 2)), of(Some("b"), 3));
    let names: Vec<_> = all.backends.iter().map(|it| &*it.name).collect();
    assert_eq!(names, ["memory", "memory (run 2)"]);
    let runs = |at: usize| {
        let rounds = &all.backends[at].scenarios["progress"].rounds;
        rounds.iter().map(|it| it.run).collect::<Vec<_>>()
    };
    assert_eq!(
        (runs(0), runs(1)),
        (vec![0, 0, 0, 2, 2, 2], vec![1, 1, 1, 3, 3, 3])
    );
    let warnings = all.warnings().join("\n");
    assert!(warnings.contains("shown as memory (run 2)"), "{warnings}");
    // Files that don't name their program are not kept apart: nothing says that they differ.
    let unknown = with(of(None, 0), of(Some("a"), 1));
    assert_eq!(unknown.backends.len(), 1);
}

#[test]
fn a_file_that_is_none_is_refused_with_the_reason() {
    // The same run twice would count its rounds twice.
    let twice = Merged::from(run()).with(run().into()).unwrap_err();
    assert!(twice.contains("given twice"), "{twice}");
    for (text, said) in [
        ("{}", "version"),
        ("[", "no figures"),
        (r#"{"version":9}"#, "its layout is number 9"),
    ] {
        let error = Merged::parse(text).unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    // The number of a run must be a place in the list of runs, or readers would panic.
    let mut wrong = run();
    wrong.backends[0]
        .scenarios
        .get_mut("fanout")
        .unwrap()
        .rounds[0]
        .run = 7;
    let error = Merged::parse(&serde_json::to_string(&wrong).unwrap()).unwrap_err();
    assert!(error.contains("run 7"), "{error}");
}
