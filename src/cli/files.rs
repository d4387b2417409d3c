//! How many files this process may open (getrlimit(2)). Each connection is one, so the system's
//! limit is a limit of connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that are kept free of connections: for the broker, also when it has to be reached again, for logs, and for the answers to
/// connections above the limit.
const RESERVED: u64 = 256;

/// Raises the limit of open files as far as the system lets it, and returns how many connections fit: `wanted`, or less.
pub(super) fn connections_that_fit(wanted: usize) -> usize {
    // The soft limit is often 1,024 for the sake of `select`, which nothing here uses; up to the
    // hard limit, any process may raise it.
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        let raised = Rlimit {
            current: maximum,
            maximum,
        };
        // Not fatal: the hub then takes as many connections as fit.
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open files stays as it is");
        }
    }
    // `None` means no limit at all.
    let files = getrlimit(Resource::Nofile).current;
    let fitting = files.map_or(wanted, |files| fitting(wanted, files));
    // Said once at the start, since the hub would refuse connections later for no visible reason.
    if fitting < wanted {
        tracing::warn!(
            files,
            wanted,
            fitting,
            "the system's limit of open files (ulimit -n, LimitNOFILE) leaves room for fewer connections"
        );
    }
    fitting
}

/// Returns how many connections fit if the process may open `files` files.
fn fitting(wanted: usize, files: u64) -> usize {
    // If the limit is too small for the reserve, half of it is for connections.
    let left = files.saturating_sub(RESERVED).max(files / 2);
    wanted.min(usize::try_from(left).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_files_are_left_for_the_broker() {
        // More files than connections are wanted: nothing is taken away.
        assert_eq!(fitting(100_000, 1_048_576), 100_000);
        // 4,096 less the 256 that are kept free.
        assert_eq!(fitting(100_000, 4_096), 3_840);
        assert_eq!(fitting(10, 4_096), 10);
        // Less than the reserve: one half each.
        assert_eq!(fitting(100_000, 100), 50);
    }
}
