//! What one watcher heard of one member, and what it must have heard.

use std::{ops::RangeInclusive, time::Duration};

use tokio::time::Instant;

/// Joins (true) and leaves, and when.
pub(super) type History = Vec<(bool, Instant)>;

/// What has become of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// There before the watcher, and ever since.
    Was,
    /// Came, and is there, if through another hub now.
    Stayed,
    /// Came, and stayed away after its hub's death.
    Left,
}

impl Fate {
    /// How long after the death it left, where it had to; or what is wrong.
    pub(super) fn judge(
        self,
        history: &History,
        killed: Instant,
        times: &RangeInclusive<Duration>,
    ) -> Result<Option<Duration>, String> {
        let wanted: &[bool] = match self {
            Self::Was => &[],
            Self::Stayed => &[true],
            Self::Left => &[true, false],
        };
        let told = history.iter().map(|(joined, at)| {
            let word = if *joined { "join" } else { "leave" };
            let after = at.saturating_duration_since(killed).as_millis();
            format!("{word} after {after} ms")
        });
        let wrong = |why: &str| {
            let told: Vec<String> = told.clone().collect();
            format!("({self:?}) {why}: {told:?}")
        };
        // The joins and leaves themselves, in their order.
        if !history.iter().map(|(joined, _)| joined).eq(wanted) {
            return Err(wrong("is not what happened"));
        }
        // Only who left has a second event.
        let Some((_, left)) = history.get(1) else {
            return Ok(None);
        };
        let after = left.saturating_duration_since(killed);
        if after < *times.start() {
            return Err(wrong("left within its grace"));
        }
        if after > *times.end() {
            return Err(wrong("left too late"));
        }
        Ok(Some(after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 9 s to 16 s: grace 10 s, dead 15 s, and a second of slack.
    const TIMES: RangeInclusive<Duration> = Duration::from_secs(9)..=Duration::from_secs(16);

    /// Events at seconds of a run, in which the hub dies at second 10.
    fn judge(fate: Fate, events: &[(bool, u64)]) -> Result<Option<Duration>, String> {
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let history = events.iter().map(|(joined, s)| (*joined, at(*s))).collect();
        fate.judge(&history, at(10), &TIMES)
    }

    #[test]
    fn what_must_be_is_found_right() {
        // Nobody spoke of who was there all the time.
        assert_eq!(judge(Fate::Was, &[]), Ok(None));
        assert_eq!(judge(Fate::Stayed, &[(true, 1)]), Ok(None));
        // Left at 25 s, which is 15 s after the death.
        let after = Duration::from_secs(15);
        assert_eq!(
            judge(Fate::Left, &[(true, 1), (false, 25)]),
            Ok(Some(after))
        );
    }

    #[test]
    fn everything_else_is_found_wrong() {
        let wrong: [(Fate, &[(bool, u64)]); 12] = [
            // In this order: a leave, a leave and a return, a join that was none; then what is
            // missing, twice, or too early or late.
            (Fate::Was, &[(false, 12)]),
            (Fate::Was, &[(false, 12), (true, 13)]),
            (Fate::Was, &[(true, 11)]),
            (Fate::Stayed, &[]),
            (Fate::Stayed, &[(true, 1), (true, 11)]),
            (Fate::Stayed, &[(true, 1), (false, 25)]),
            (Fate::Stayed, &[(true, 1), (false, 25), (true, 26)]),
            (Fate::Left, &[(true, 1)]),
            (Fate::Left, &[(true, 1), (false, 24), (false, 25)]),
            (Fate::Left, &[(true, 1), (false, 27)]),
            (Fate::Left, &[(true, 1), (false, 9)]),
            (Fate::Left, &[(true, 1), (false, 12)]),
        ];
        for (fate, events) in wrong {
            assert!(judge(fate, events).is_err(), "{fate:?} {events:?}");
        }
    }
}
