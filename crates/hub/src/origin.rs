//! Makes the id that tells this process from all others that publish.

use hubplane_backplane::{Error, ErrorKind, Result};

/// Returns a random id for this process, new at each start. Two hubs of the same id would take each
/// other's messages for repetitions and drop them, so a hub does not start without random numbers.
pub(super) fn new_origin(random: impl Fn() -> Result<u64, getrandom::Error>) -> Result<u128> {
    let half = || {
        random().map(u128::from).map_err(|error| {
            let message = "the system gives no random numbers, which a hub needs to start";
            Error::new(ErrorKind::Unavailable, "hub", message).with_source(error)
        })
    };
    Ok((half()? << 64) | half()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_randomness_there_is_no_origin() {
        let error = new_origin(|| Err(getrandom::Error::UNSUPPORTED)).unwrap_err();
        assert!(error.message().contains("random"), "{error}");
        let (one, other) = (new_origin(getrandom::u64), new_origin(getrandom::u64));
        assert_ne!(one.unwrap(), other.unwrap());
    }
}
