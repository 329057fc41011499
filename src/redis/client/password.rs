//! The password for the next connection: its file is read again each time, so that a rotated
//! password takes effect without a restart.

use std::mem::replace;
use std::path::PathBuf;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::warn;

use crate::input_file::read_secret;
use crate::redis::options::Credentials;

/// The password of one user.
pub(super) struct Password {
    file: Option<PathBuf>,
    last: Mutex<Last>,
}

/// The result of the last reads.
struct Last {
    password: Option<String>,
    /// True if the file has been unreadable since, which was logged.
    is_failing: bool,
}

impl Password {
    /// Creates the password of these credentials.
    pub(super) fn of(credentials: &Credentials) -> Self {
        let last = Last { password: credentials.password.clone(), is_failing: false };
        Self { file: credentials.password_file.clone(), last: Mutex::new(last) }
    }

    /// Returns the current password; the last one that was read if the file cannot be read in time.
    pub(super) async fn current(&self, read_timeout: Duration) -> Option<String> {
        let Some(file) = &self.file else { return self.last().password.clone() };
        let path = file.clone();
        let read = match timeout(read_timeout, spawn_blocking(move || read_secret(&path))).await {
            Ok(Ok(read)) => read,
            Ok(Err(panic)) => Err(panic.to_string()),
            Err(_) => Err(format!("not read within {} ms", read_timeout.as_millis())),
        };
        let mut last = self.last();
        match read {
            Ok(password) => *last = Last { password: Some(password), is_failing: false },
            Err(error) if !replace(&mut last.is_failing, true) => warn!(
                file = %file.display(),
                error,
                "password file not read, the last password is used"
            ),
            Err(_) => {}
        }
        last.password.clone()
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock()
    }
}
