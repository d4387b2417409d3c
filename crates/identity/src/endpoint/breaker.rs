//! Decides whether an endpoint that fails is still asked (a circuit breaker).
//!
//! What must hold: after so many failures in a row nobody waits for the endpoint any more, until one
//! trial in each pause finds it well again. This file is pure: the time is handed in.

use std::time::Duration;

use tokio::time::Instant;

/// How the endpoint did so far.
#[derive(Debug)]
enum State {
    /// It is asked; so many failures came since the last answer.
    Closed { failures: u32 },
    /// It is not asked until the time is over.
    Open { until: Instant },
    /// One question is asked as a trial.
    Trial,
}

/// The breaker of one endpoint.
#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
    /// Counts the changes of the state: what was asked before one says nothing about the state after it.
    era: u64,
    most_failures: u32,
    pause: Duration,
}

/// Leave to ask once. [`Breaker::report`] takes it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leave {
    era: u64,
}

/// How asking ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The endpoint answered, whatever it said.
    Answered,
    /// It failed.
    Failed,
    /// Nobody waited for the answer any more, so nothing is known.
    Unknown,
}

/// What a report changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// From now on nobody asks.
    Opened,
    /// The endpoint is asked again.
    Closed,
}

impl Breaker {
    /// Returns a breaker that opens after so many failures in a row, for this long.
    pub(super) const fn new(most_failures: u32, pause: Duration) -> Self {
        Self {
            state: State::Closed { failures: 0 },
            era: 0,
            most_failures,
            pause,
        }
    }

    /// Returns in which time to ask again, or `None` if somebody may ask now.
    pub(super) fn closed_for(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Closed { .. } => None,
            State::Open { until } => (until > now).then(|| until - now),
            // How long the trial takes is not known; it is limited by the time of a question.
            State::Trial => Some(self.pause),
        }
    }

    /// Gives leave to ask, once. When the pause is over, the first one's question is the trial.
    ///
    /// # Errors
    /// The time after which it is worth asking again.
    pub(super) fn ask(&mut self, now: Instant) -> Result<Leave, Duration> {
        if let Some(wait) = self.closed_for(now) {
            return Err(wait);
        }
        if matches!(self.state, State::Open { .. }) {
            self.change(State::Trial);
        }
        Ok(Leave { era: self.era })
    }

    /// Takes how a question ended. Each [`Leave`] is reported once.
    pub(super) fn report(
        &mut self,
        leave: Leave,
        outcome: Outcome,
        now: Instant,
    ) -> Option<Change> {
        if leave.era != self.era {
            return None;
        }
        match (&mut self.state, outcome) {
            (State::Closed { failures }, Outcome::Answered) => *failures = 0,
            (State::Closed { failures }, Outcome::Failed) => {
                *failures += 1;
                if *failures >= self.most_failures {
                    let until = now + self.pause;
                    self.change(State::Open { until });
                    return Some(Change::Opened);
                }
            }
            (State::Trial, Outcome::Answered) => {
                self.change(State::Closed { failures: 0 });
                return Some(Change::Closed);
            }
            (State::Trial, Outcome::Failed) => {
                let until = now + self.pause;
                self.change(State::Open { until });
            }
            // The next one is the trial.
            (State::Trial, Outcome::Unknown) => self.change(State::Open { until: now }),
            (State::Closed { .. }, Outcome::Unknown) | (State::Open { .. }, _) => {}
        }
        None
    }

    fn change(&mut self, state: State) {
        self.state = state;
        self.era += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::{Outcome::*, *};

    const PAUSE: Duration = Duration::from_secs(5);

    fn failed_until_open(now: Instant) -> Breaker {
        let mut breaker = Breaker::new(3, PAUSE);
        for number in 1..=3 {
            let leave = breaker.ask(now).unwrap();
            let opened = breaker.report(leave, Failed, now) == Some(Change::Opened);
            assert_eq!(opened, number == 3);
        }
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_an_answer_starts_the_count_again() {
        let now = Instant::now();
        let mut breaker = Breaker::new(3, PAUSE);
        for outcome in [Failed, Failed, Answered, Failed, Unknown, Failed] {
            let leave = breaker.ask(now).unwrap();
            assert_eq!(breaker.report(leave, outcome, now), None);
        }
        let leave = breaker.ask(now).unwrap();
        assert_eq!(breaker.report(leave, Failed, now), Some(Change::Opened));
        assert_eq!(breaker.ask(now + PAUSE / 5), Err(PAUSE * 4 / 5));
    }

    #[test]
    fn one_trial_decides_after_each_pause() {
        let now = Instant::now();
        let mut breaker = failed_until_open(now);
        let soon = now + PAUSE - Duration::from_millis(1);
        assert_eq!(breaker.ask(soon), Err(Duration::from_millis(1)));
        let mut later = now + PAUSE;
        for _ in 0..2 {
            let trial = breaker.ask(later).unwrap();
            assert_eq!(breaker.ask(later), Err(PAUSE));
            assert_eq!(breaker.report(trial, Failed, later), None);
            assert_eq!(breaker.ask(later), Err(PAUSE));
            later += PAUSE;
        }
        let trial = breaker.ask(later).unwrap();
        assert_eq!(breaker.report(trial, Answered, later), Some(Change::Closed));
        assert!(breaker.ask(later).is_ok() && breaker.ask(later).is_ok());
    }

    #[test]
    fn a_trial_that_nobody_waits_for_leaves_the_turn_to_the_next() {
        let now = Instant::now();
        let mut breaker = failed_until_open(now);
        let later = now + PAUSE;
        let trial = breaker.ask(later).unwrap();
        assert_eq!(breaker.report(trial, Unknown, later), None);
        let trial = breaker.ask(later).unwrap();
        assert_eq!(breaker.report(trial, Answered, later), Some(Change::Closed));
    }

    /// Those that were asked before it opened come back late.
    #[test]
    fn late_ends_change_nothing() {
        let now = Instant::now();
        let mut breaker = Breaker::new(1, PAUSE);
        let leaves: Vec<_> = (0..4).map(|_| breaker.ask(now).unwrap()).collect();
        assert_eq!(breaker.report(leaves[0], Failed, now), Some(Change::Opened));
        assert_eq!(breaker.report(leaves[1], Answered, now), None);
        assert_eq!(breaker.ask(now), Err(PAUSE));
        let trial = breaker.ask(now + PAUSE).unwrap();
        assert_eq!(breaker.report(leaves[2], Answered, now + PAUSE), None);
        assert_eq!(
            breaker.ask(now + PAUSE),
            Err(PAUSE),
            "the trial is not over"
        );
        assert_eq!(
            breaker.report(trial, Answered, now + PAUSE),
            Some(Change::Closed)
        );
        assert_eq!(breaker.report(leaves[3], Failed, now + PAUSE), None);
        assert!(breaker.ask(now + PAUSE).is_ok());
    }
}
