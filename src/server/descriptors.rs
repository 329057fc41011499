//! File descriptors: the number of connections that the system allows.
//!
//! Each listener has its own number of connections, and their sum leaves enough descriptors for the
//! store, the journal, the probes and the metrics, so that no listener can exhaust those of
//! another.

#[cfg(target_os = "linux")]
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Descriptors for everything but the connections of the gRPC listeners: the store's files or
/// connections, the journal, probes and metrics, and connections that are closing.
const RESERVED: u64 = 256;
/// Fewest connections of a listener, even if descriptors are short.
const CONNECTIONS_MIN: usize = 16;

/// Returns the most connections of each of `listeners`, which are to have `wanted`. The process's
/// limit is raised as far as the system allows.
pub(super) fn connections_max(wanted: usize, listeners: usize) -> usize {
    let needed = RESERVED + (wanted * listeners) as u64;
    let Some(limit) = raised_limit(needed) else { return wanted };
    let fitting = fitting(limit, wanted, listeners);
    if fitting < wanted {
        warn!(
            limit,
            needed,
            connections_max = fitting,
            "file descriptors short, listeners accept fewer connections: raise RLIMIT_NOFILE"
        );
    }
    fitting
}

fn fitting(limit: u64, wanted: usize, listeners: usize) -> usize {
    let share = limit.saturating_sub(RESERVED) / listeners.max(1) as u64;
    usize::try_from(share).unwrap_or(usize::MAX).clamp(CONNECTIONS_MIN.min(wanted), wanted)
}

/// Returns the limit of file descriptors, raised to the hard limit if it is lower than needed;
/// `None` if there is no limit.
#[cfg(target_os = "linux")]
fn raised_limit(needed: u64) -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let current = current?;
    if current >= needed {
        return Some(current);
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => maximum,
        Err(error) => {
            warn!(%error, current, "limit of file descriptors not raised");
            Some(current)
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn raised_limit(_: u64) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_and_the_reserve_fit_into_the_limit() {
        for (limit, listeners, expected) in [
            (1_048_576, 2, 1024),
            (256 + 2 * 1024, 2, 1024),
            (256 + 2 * 1024 - 1, 2, 1023),
            (1024, 2, 384),
            (1024, 3, 256),
            (300, 2, 22),
            (256, 2, 16),
            (64, 4, 16),
        ] {
            assert_eq!(fitting(limit, 1024, listeners), expected, "{limit} {listeners}");
        }
        assert_eq!(fitting(64, 8, 2), 8, "no more than is wanted");
    }
}
