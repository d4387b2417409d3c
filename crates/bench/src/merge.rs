//! Several runs as one, for tables and reports: rounds of the same backend and scenario are pooled, each with the number
//! of its run. What may be compared across runs is decided by [`super::summary`], not here.

use std::{collections::BTreeSet, fs, path::Path};

use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::{
    results::{Figures, Machine, Measured, Run, VERSION},
    scenario::Scenario,
};

/// One or several runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Merged {
    /// [`VERSION`].
    pub version: u32,
    /// The runs; a round's `run` is a place in this list.
    pub sources: Vec<Source>,
    /// All scenarios, in the order in which they came.
    pub scenarios: Vec<Scenario>,
    /// All backends, in the order in which they came.
    pub backends: Vec<Measured>,
    /// What a reader must know about how they were put together.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Where and when a run was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// When it began: seconds since 1970.
    pub started: u64,
    /// The command line.
    pub command: String,
    /// The version of hubplane.
    pub hubplane: String,
    /// What it ran on.
    pub machine: Machine,
    /// Hub processes for each backend.
    pub hubs: usize,
}

/// The part of a file that tells what it is.
#[derive(Deserialize)]
// Read first, so that a file of another layout is refused for its number and not for some missing
// field.
struct Head {
    version: u32,
    // Only its presence counts: a merged file has it, a single run's has not.
    sources: Option<IgnoredAny>,
}

impl From<Run> for Merged {
    fn from(run: Run) -> Self {
        Self {
            version: run.version,
            sources: vec![Source {
                started: run.started,
                command: run.command,
                hubplane: run.hubplane,
                machine: run.machine,
                hubs: run.hubs,
            }],
            scenarios: run.scenarios,
            backends: run.backends,
            notes: Vec::new(),
        }
    }
}

/// A run of this project's own, for who has none yet: `docs/bench.md` says how it was made.
const SHIPPED: &str = include_str!("shipped.json");

impl Merged {
    /// The figures that come along with this program.
    ///
    /// # Panics
    ///
    /// Never in a built program: a test parses the same file.
    pub fn shipped() -> Self {
        Self::parse(SHIPPED).unwrap_or_else(|error| panic!("invariant: shipped.json: {error}"))
    }

    /// Reads files that `hubplane bench --json` or this wrote, and puts them together.
    ///
    /// # Errors
    /// With the file and what is wrong with it.
    /// The order of the files decides the numbers of the runs. Each error names its file, since a
    /// user often gives many.
    pub fn read<P: AsRef<Path>>(files: &[P]) -> Result<Self, String> {
        let mut all: Option<Self> = None;
        for file in files {
            let name = file.as_ref().display();
            let text = fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
            let next = Self::parse(&text).map_err(|error| format!("{name}: {error}"))?;
            all = Some(match all {
                Some(all) => all.with(next).map_err(|error| format!("{name}: {error}"))?,
                None => next,
            });
        }
        all.ok_or_else(|| "no file was given".to_owned())
    }

    /// Reads one file's text.
    ///
    /// # Errors
    /// What is wrong with it.
    /// Both layouts are read: one run's, and one that this module wrote.
    pub fn parse(text: &str) -> Result<Self, String> {
        let no_run = |error| format!("no figures of hubplane bench: {error}");
        let head: Head = serde_json::from_str(text).map_err(no_run)?;
        if head.version != VERSION {
            return Err(format!(
                "its layout is number {}, and this hubplane reads {VERSION}: measure again, or take the hubplane that wrote it",
                head.version
            ));
        }
        let mut merged: Self = match head.sources {
            Some(_) => serde_json::from_str(text).map_err(no_run)?,
            None => serde_json::from_str::<Run>(text).map_err(no_run)?.into(),
        };
        // Older files hold the broker alone once for all rounds.
        let every = merged.backends.iter_mut();
        every
            .flat_map(|it| it.scenarios.values_mut())
            .for_each(Figures::place_alone);
        // A number of a run is used as a place in a list later, so it is checked here, where the
        // file can still be named.
        let runs = merged.sources.len();
        let figures = || merged.backends.iter().flat_map(|it| it.scenarios.values());
        let rounds = figures().flat_map(|it| it.rounds.iter().map(|round| round.run));
        let steps = figures().flat_map(|it| it.ladder.iter().map(|step| step.run));
        let faults = figures().flat_map(|it| it.faults.iter().map(|fault| fault.run));
        match rounds.chain(steps).chain(faults).find(|run| *run >= runs) {
            Some(run) => Err(format!("it has figures of run {run}, and {runs} runs")),
            None => Ok(merged),
        }
    }

    /// Adds the figures of other runs.
    ///
    /// # Errors
    /// Where one of them is here already: its rounds would count twice.
    pub fn with(mut self, mut other: Self) -> Result<Self, String> {
        // The same command at the same second on the same machine is the same run.
        if let Some(twice) = other.sources.iter().find(|it| self.sources.contains(it)) {
            return Err(format!("the run of `{}` was given twice", twice.command));
        }
        // The other runs' numbers begin where these end.
        let first = self.sources.len();
        self.sources.append(&mut other.sources);
        self.notes.append(&mut other.notes);
        let names = self.adopt(other.scenarios);
        for mut backend in other.backends {
            // Taken out, so that the names of the scenarios can be changed on the way.
            let scenarios = std::mem::take(&mut backend.scenarios);
            self.keep_apart(&mut backend, first);
            let here = match self.backends.iter().position(|it| it.name == backend.name) {
                Some(at) => {
                    self.note_difference(at, &backend, first);
                    &mut self.backends[at]
                }
                None => {
                    self.backends.push(backend);
                    self.backends.last_mut().ok_or("invariant: just pushed")?
                }
            };
            for (name, figures) in scenarios {
                let renamed = names.iter().find(|(old, _)| *old == name);
                let name = renamed.map_or(name, |(_, new)| new.clone());
                // The same scenario of the same backend: its rounds are pooled.
                pour(here.scenarios.entry(name).or_default(), figures, first);
            }
        }
        Ok(self)
    }

    /// Takes over scenarios; two that differ and have one name are kept apart. Gives the old names with the new.
    fn adopt(&mut self, scenarios: Vec<Scenario>) -> Vec<(String, String)> {
        let mut names = Vec::new();
        for mut scenario in scenarios {
            // Two forms of a scenario are different work; their figures must never share a table.
            let old = scenario.name.clone();
            let mut number = 1;
            while let Some(known) = self.scenarios.iter().find(|it| it.name == scenario.name) {
                if *known == scenario {
                    break;
                }
                number += 1;
                scenario.name = format!("{old}-{number}");
            }
            if scenario.name != old {
                self.notes.push(format!(
                    "The scenario {old} is not the same in all runs: a second form of it is shown as {}.",
                    scenario.name
                ));
            }
            names.push((old, scenario.name.clone()));
            if !self.scenarios.contains(&scenario) {
                self.scenarios.push(scenario);
            }
        }
        names
    }

    /// Gives a backend another name where the figures under its own are another program's.
    fn keep_apart(&mut self, backend: &mut Measured, first: usize) {
        let name = backend.name.clone();
        let prefix = format!("{name} (run ");
        let same = |it: &&Measured| it.name == name || it.name.starts_with(&prefix);
        let differs = |it: &Measured| it.program.is_some() && it.program != backend.program;
        // An earlier merge may have kept this backend apart already, under a name with a run in it.
        let mut known = self.backends.iter().filter(same).peekable();
        // Where a program is not known, nothing says that it is another one.
        if backend.program.is_none() || known.peek().is_none() {
            return;
        }
        // A backend with the same program may be known under the other name: it goes there.
        backend.name = match known.find(|it| !differs(it)) {
            Some(same) => same.name.clone(),
            None => {
                let apart = format!("{prefix}{})", first + 1);
                self.notes.push(format!(
                    "The hubs of {name} were another program in run {}: its figures are shown as {apart}.",
                    first + 1
                ));
                apart
            }
        };
    }

    /// Addresses may differ between machines, so a difference is only noted. `at` is the backend's
    /// place in this list, `first` the first run of the other.
    fn note_difference(&mut self, at: usize, other: &Measured, first: usize) {
        let here = &mut self.backends[at];
        if here.address != other.address {
            self.notes.push(format!(
                "{} had the address {} at first, and {} in run {}.",
                here.name,
                here.address,
                other.address,
                first + 1
            ));
        }
        // An older file may lack them; whichever run knows them fills them in.
        if here.promises.is_empty() {
            here.promises.clone_from(&other.promises);
        }
        if let Some(failure) = &other.failure {
            // Both failures are shown: each run may have failed for a reason of its own.
            let earlier = here.failure.take().map(|it| it + "; ").unwrap_or_default();
            here.failure = Some(format!("{earlier}run {}: {failure}", first + 1));
        }
    }

    /// What a reader must know before comparing: runs that differ in what figures depend on.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.notes.clone();
        // A set, so that equal values count once and the order does not depend on that of the
        // files.
        let mut differ = |what: &str, of: fn(&Source) -> String| {
            let values: BTreeSet<_> = self.sources.iter().map(of).collect();
            if values.len() > 1 {
                warnings.push(format!(
                    "The runs were made {what} ({}). Only figures of the same run can be compared, and this compares no others.",
                    values.into_iter().collect::<Vec<_>>().join("; ")
                ));
            }
        };
        differ("on different machines", |it| describe(&it.machine));
        differ("by different versions of hubplane", |it| {
            it.hubplane.clone()
        });
        differ("with different numbers of hub processes", |it| {
            it.hubs.to_string()
        });
        warnings
    }
}

/// A machine in a line.
pub fn describe(machine: &Machine) -> String {
    format!(
        "{}, {} {}, {:.1} GiB, {}",
        machine.processor,
        machine.cores,
        if machine.cores == 1 { "core" } else { "cores" },
        machine.memory as f64 / f64::from(1 << 30),
        machine.system
    )
}

/// Adds figures whose runs count from `first`.
fn pour(into: &mut Figures, mut figures: Figures, first: usize) {
    // Nothing was measured here before: the other's knee is taken as it is, even if it is absent.
    let fresh = into.rounds.is_empty() && into.ladder.is_empty() && into.knee.is_none();
    let count = |run: &mut usize| *run += first;
    figures.rounds.iter_mut().for_each(|it| count(&mut it.run));
    figures.ladder.iter_mut().for_each(|it| count(&mut it.run));
    figures.faults.iter_mut().for_each(|it| count(&mut it.run));
    // What held in every run is what one may count on.
    into.knee = match fresh {
        true => figures.knee,
        false => into
            .knee
            .zip(figures.knee)
            .map(|(a, b)| a.min(b))
            // Only one of the two has a knee: it stands alone.
            .or(into.knee)
            .or(figures.knee),
    };
    into.rounds.append(&mut figures.rounds);
    into.ladder.append(&mut figures.ladder);
    into.faults.append(&mut figures.faults);
}

#[cfg(test)]
mod tests;
