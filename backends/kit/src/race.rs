//! Tries several candidates side by side and takes the first that answers: nodes of a broker, IP
//! addresses of a name.
//!
//! A broker that is frozen takes connections and then says nothing, so trying one candidate after
//! the other would cost a whole time limit for each. This file doesn't know what a candidate is,
//! and sets no limit of its own: each try brings its own.

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use hubplane_backplane::{Error, ErrorKind};
use tokio::{select, time::sleep};

/// How long a candidate is tried alone before the next one is tried beside it, as RFC 8305 recommends.
const STAGGER: Duration = Duration::from_millis(250);

/// Begins the tries one after another, a quarter of a second apart or as soon as one has failed,
/// and returns the first success. One silent candidate costs a quarter of a second instead of its
/// whole time limit. The other tries are dropped.
///
/// Returns all errors if none succeeds, in the order in which they came; none if there are no
/// tries.
pub async fn first<T, E>(
    tries: impl Iterator<Item = impl Future<Output = Result<T, E>>>,
) -> Result<T, Vec<E>> {
    let mut tries = tries.fuse();
    let (mut running, mut errors) = (FuturesUnordered::new(), Vec::new());
    loop {
        let begun = tries.next().map(|another| running.push(another)).is_some();
        select! {
            answer = running.next() => match answer {
                Some(Ok(success)) => return Ok(success),
                Some(Err(error)) => errors.push(error),
                None => return Err(errors),
            },
            () = sleep(STAGGER), if begun => {}
        }
    }
}

/// Returns the error that says most of why no try succeeded: a wrong configuration
/// (`ErrorKind::Config`), which somebody must mend, before one that may pass by itself; among those
/// the last. Calls `none` if nothing was tried.
pub fn most_telling(errors: Vec<Error>, none: impl FnOnce() -> Error) -> Error {
    let wrong = errors
        .iter()
        .position(|error| error.kind() == ErrorKind::Config);
    let mut errors = errors;
    match wrong {
        Some(at) => errors.swap_remove(at),
        None => errors.pop().unwrap_or_else(none),
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Instant};

    use super::*;

    #[tokio::test]
    async fn a_silent_candidate_costs_a_moment_and_a_refusal_costs_none() {
        let start = Instant::now();
        let tries = (0..4).map(|n| async move {
            match n {
                0 => pending().await,
                1 | 2 => Err(n),
                _ => Ok(n),
            }
        });
        assert_eq!(first(tries).await, Ok(3));
        assert!(start.elapsed() >= STAGGER && start.elapsed() < 2 * STAGGER);
        let refused = (0..3).map(|n| async move { Err::<(), _>(n) });
        assert_eq!(first(refused).await, Err(vec![0, 1, 2]));
    }

    #[test]
    fn a_wrong_configuration_says_most() {
        let error = |kind, text: &str| Error::new(kind, "x", text);
        let none = || error(ErrorKind::Config, "no host");
        let away = || error(ErrorKind::Unavailable, "away");
        let wrong = error(ErrorKind::Config, "wrong");
        let said = most_telling(vec![away(), wrong, away()], none);
        assert_eq!(said.message(), "wrong");
        assert_eq!(most_telling(vec![away()], none).message(), "away");
        assert_eq!(most_telling(Vec::new(), none).message(), "no host");
    }
}
