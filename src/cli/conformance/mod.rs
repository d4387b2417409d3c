//! `hubplane conformance`: the suite that every backend passes, on the user's own broker.
//!
//! The cases are in `hubplane-conformance`; this folder chooses and runs them, and reports.

mod progress;
mod report;

use std::{
    panic,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use hubplane_backplane::{Address, Error, ErrorKind, OnRestart};
use hubplane_conformance::{Case, Control, Outcome, Site, cases};
use tokio::sync::watch;

use self::{
    progress::Progress,
    report::{Report, Tried},
};
use super::{Failure, print, runtime, signals::Signals};
use crate::backends;

/// Test your own broker: does it keep what the backend promises?
///
/// Runs the test cases that every backend passes on the broker that you name. Each case creates a topic, prefix or
/// exchange of its own, inside of the one in the address, and removes it afterwards. Prints a table with each guarantee,
/// what the backend promises, and what was found. The exit code is 1 if a promise was not kept.
#[derive(Debug, clap::Args)]
pub(super) struct Conformance {
    /// Address of the broker, with the settings that your hubs use: memory:, redis://…, kafka://…, amqp://…
    #[arg(long, value_name = "ADDRESS", required_unless_present = "list")]
    backplane: Option<String>,
    /// Run only this case; can be given several times
    #[arg(long = "case", value_name = "NAME")]
    names: Vec<String>,
    /// List all cases with what each tests, and exit
    #[arg(long)]
    list: bool,
    /// Shell command that stops, kills and starts the broker, so that restarts are tested, too. In it, {} is replaced by
    /// stop, kill or start; for start it must return only when the broker answers. Example: './broker.sh {}'
    #[arg(long, value_name = "COMMAND")]
    disturb: Option<String>,
    /// Use the topic, prefix or exchange of the address itself instead of new ones. Nobody else may publish there during
    /// the test, and everybody who listens there receives what the cases publish
    #[arg(long)]
    in_place: bool,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

impl Conformance {
    pub(super) fn run(self) -> Result<(), Failure> {
        if self.list {
            return list(self.json);
        }
        let chosen = self.chosen()?;
        let site = self.site()?;
        // Boxed, as the future holds a whole case and would not fit on the stack.
        let report = runtime()?.block_on(Box::pin(self.all(&site, &chosen)))?;
        match self.json {
            true => print(report.json())?,
            // The report comes before the exit code: also a failed run prints it.
            false => print(report.table())?,
        }
        match report.failure() {
            Some(message) => Err(Failure::failed(message)),
            None => Ok(()),
        }
    }

    /// Returns the cases to run: those that are named, or all.
    fn chosen(&self) -> Result<Vec<Case>, Failure> {
        let all = cases();
        let unknown = |name: &&String| !all.iter().any(|case| case.name == name.as_str());
        if let Some(name) = self.names.iter().find(unknown) {
            let message =
                format!("there is no case {name:?}; `hubplane conformance --list` has all");
            return Err(Failure::wrong(message));
        }
        // In the suite's order, whatever order the options have.
        let chosen =
            |case: &Case| self.names.is_empty() || self.names.iter().any(|n| n == case.name);
        Ok(all.into_iter().filter(chosen).collect())
    }

    /// Returns where the cases run, as the options say.
    fn site(&self) -> Result<Site, Failure> {
        let address: Address = self.backplane.as_deref().unwrap_or("memory:").parse()?;
        let backend = backends::find_spaces(address.scheme())?;
        let no_broker = backend.capabilities().on_restart == OnRestart::NoBroker;
        // Without a broker there is nothing to disturb, and no place that others could share.
        if no_broker && (self.in_place || self.disturb.is_some()) {
            let message = "--in-place and --disturb are for brokers, and this backend has none";
            return Err(Failure::wrong(message));
        }
        let mut site = Site::new(backend, address);
        if self.in_place {
            site = site.in_place();
        }
        if let Some(command) = &self.disturb {
            let control = Control::from_command(command.as_str());
            let wrong = |error| Failure::wrong(format!("--disturb: {error}"));
            site = site.disturbed_by(control.map_err(wrong)?);
        }
        Ok(site)
    }

    /// Runs the cases, one after the other, and removes after each what it created. Fails if the broker can't be used at all; a
    /// case that is not held is part of the report.
    async fn all(&self, site: &Site, chosen: &[Case]) -> Result<Report, Failure> {
        // Before the first case, and until the report is complete.
        let panics = Panics::catch();
        let stopped = signals()?;
        let mut report = Report::new(site, self.in_place);
        // A first look: can the broker be reached, and may this user create what the cases need?
        let checked = site.check().await;
        // The look itself creates something, which must not stay.
        report.left.extend(site.tidy().await);
        if let Err(error) = checked {
            // A user who may not create topics can still try the cases within one.
            let of_space = site.is_of_space(&error);
            let mut failure = Failure::from(error);
            if of_space {
                failure.message += "; --in-place makes nothing and stays within the address's own";
            }
            return Err(failure);
        }
        let progress = Progress::of(chosen.len());
        for (index, case) in chosen.iter().enumerate() {
            progress.begins(index, case.name);
            let start = Instant::now();
            let mut stop = stopped.clone();
            // Ends the case early when a signal comes; the case then counts as not tried.
            let stop = async { _ = stop.wait_for(|stopped| *stopped).await };
            let interrupted = *stopped.borrow();
            let outcome = match (&report.gone, interrupted) {
                // Once the broker is gone, the other cases are listed but not tried.
                (Some(_), _) => {
                    Outcome::NotTried("the broker can't be reached any more".to_owned())
                }
                (None, true) => Outcome::NotTried("interrupted".to_owned()),
                // Boxed for the same reason as the whole run.
                (None, false) => Box::pin(case.attempt(site, stop)).await,
            };
            // Only after a failure: asking the broker after each case would take time.
            if matches!(outcome, Outcome::NotHeld(_)) {
                // If the broker is gone, all later cases would fail for that reason alone; they count as not tried.
                report.gone = gone(site).await;
            }
            // Also after a case that failed, or its topics would stay.
            report.left.extend(site.tidy().await);
            let tried = Tried {
                case: *case,
                outcome: panics.beside(outcome),
                took: start.elapsed(),
            };
            progress.ended(index, &tried);
            report.tried.push(tried);
        }
        // Also if the signal came after the last case.
        report.interrupted = *stopped.borrow();
        Ok(report)
    }
}

/// Returns why the broker can't be reached, or `None` if it can.
///
/// Another error, such as a refused right, does not mean that the broker is gone.
async fn gone(site: &Site) -> Option<Error> {
    let error = site.check().await.err();
    error.filter(|error| error.kind() == ErrorKind::Unavailable)
}

/// Prints all cases, a line each, with the guarantees that they test. In JSON it is one object a
/// line.
fn list(json: bool) -> Result<(), Failure> {
    for case in cases() {
        let about: Vec<_> = case
            .about
            .iter()
            .map(|guarantee| guarantee.as_str())
            .collect();
        print(match json {
            true => {
                serde_json::json!({ "name": case.name, "about": about, "disturbs": case.disturbs })
                    .to_string()
            }
            false => {
                let disturbs = if case.disturbs {
                    "; needs --disturb"
                } else {
                    ""
                };
                format!("{:42}{}{disturbs}", case.name, about.join(", "))
            }
        })?;
    }
    Ok(())
}

/// Returns a value that becomes true with the first signal to end. The run then stops and removes what it created, instead of
/// leaving topics on the user's broker.
fn signals() -> Result<watch::Receiver<bool>, Failure> {
    let (send, stopped) = watch::channel(false);
    let mut signals = Signals::catch()?;
    tokio::spawn(async move {
        signals.next().await;
        send.send_replace(true);
        // If the sender ended, the receivers would stop waiting too.
        std::future::pending::<()>().await;
    });
    Ok(stopped)
}

/// Collects the panics of this process instead of printing them. A case panics if it is not held, and that belongs in the report.
struct Panics(Arc<Mutex<Vec<String>>>);

impl Panics {
    fn catch() -> Self {
        let all = Arc::new(Mutex::new(Vec::new()));
        let noting = Arc::clone(&all);
        panic::set_hook(Box::new(move |panic| {
            // A panic within the hook itself must not lose the messages before it.
            let mut all = noting.lock().unwrap_or_else(PoisonError::into_inner);
            all.push(panic.to_string());
        }));
        Self(all)
    }

    /// Returns the outcome of a case in view of the panics meanwhile: if the case held, a panic was in a task of the backend, and
    /// that is a finding too.
    fn beside(&self, outcome: Outcome) -> Outcome {
        // Taken, so that the next case begins with none.
        let all = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        match outcome {
            // A case that did not hold has its own reason, which is shown instead.
            Outcome::Held if !all.is_empty() => {
                Outcome::NotHeld(format!("a task of the backend ended: {}", all.join("; ")))
            }
            outcome => outcome,
        }
    }
}

impl Drop for Panics {
    fn drop(&mut self) {
        // The hook can't be taken during a panic; trying would abort the process and lose the message.
        if !std::thread::panicking() {
            _ = panic::take_hook();
        }
    }
}
