//! Reloads a file when it changes or on request.
//!
//! The file's content is compared at each poll: that also works if the path is a symlink that is
//! swapped, as Kubernetes does for a `ConfigMap`, and on network file systems, on which
//! notifications do not work. The content at the opening of the watch is the first one compared
//! with, so a change before the first poll is noticed. Replace the file by renaming a new one over
//! it: a half-written file is reported as it is, and again when it is complete.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::{LoadError, read_file};

/// Parses the bytes of the file at a path.
pub type Parse<T> = fn(&Path, &[u8]) -> Result<T, LoadError>;

/// Time between polls: soon enough for a person who waits, and a read of a small file is cheap.
pub const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// Shortest time between polls, so that a test's zero does not spin.
const POLL_INTERVAL_MIN: Duration = Duration::from_millis(1);

/// Watches one file, whose content is parsed to a `T`.
#[derive(Debug)]
pub struct FileWatch<T> {
    path: PathBuf,
    parse: Parse<T>,
    poll_interval: Duration,
    seen: Seen,
}

/// Content of the file.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Content(Vec<u8>),
    /// Reason why there was none, so that the same failure is reported once.
    Failure(String),
}

impl<T: Send + 'static> FileWatch<T> {
    /// Loads the file and stores its content.
    pub fn open(path: &Path, parse: Parse<T>) -> Result<(T, Self), LoadError> {
        let content = read_file(path)?;
        let parsed = parse(path, &content)?;
        let seen = Seen::Content(content);
        Ok((parsed, Self { path: path.to_owned(), parse, poll_interval: POLL_INTERVAL, seen }))
    }

    /// Sets the interval of polls, which is [`POLL_INTERVAL`] by default.
    #[must_use]
    pub fn polling_every(mut self, interval: Duration) -> Self {
        self.poll_interval = interval.max(POLL_INTERVAL_MIN);
        self
    }

    /// Passes the parsed file to `handler` each time the content has changed, and for each message
    /// of `reload`, changed or not. For a file that cannot be read or violates rules it passes the
    /// error, once for each content. Ends when `shutdown` is cancelled; a running handler is
    /// completed first.
    pub async fn run<H, F>(
        mut self,
        mut reload: mpsc::Receiver<()>,
        shutdown: CancellationToken,
        mut handler: H,
    ) where
        H: FnMut(Result<T, LoadError>) -> F,
        F: Future<Output = ()>,
    {
        let mut polls = tokio::time::interval(self.poll_interval);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reloadable = true;
        loop {
            let requested = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                message = reload.recv(), if reloadable => {
                    // Without a sender, only polling continues.
                    reloadable = message.is_some();
                    reloadable
                }
                _ = polls.tick() => false,
            };
            // A reload counts as a poll.
            polls.reset();
            let (seen, parsed) = read(self.path.clone(), self.parse).await;
            let changed = seen != self.seen;
            self.seen = seen;
            if changed || requested {
                handler(parsed).await;
            }
        }
    }
}

/// Reads the file on a thread that may block.
async fn read<T: Send + 'static>(path: PathBuf, parse: Parse<T>) -> (Seen, Result<T, LoadError>) {
    let reading = spawn_blocking({
        let path = path.clone();
        move || match read_file(&path) {
            Ok(content) => {
                let parsed = parse(&path, &content);
                (Seen::Content(content), parsed)
            }
            Err(error) => (Seen::Failure(error.to_string()), Err(error)),
        }
    });
    reading.await.unwrap_or_else(|stopped| {
        let error = std::io::Error::other(stopped);
        (Seen::Failure(error.to_string()), Err(LoadError::Io { path, error }))
    })
}
