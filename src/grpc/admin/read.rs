//! Reads of the admin service, which end at the caller's deadline, and without delay while the
//! server that holds the apps is absent.
//!
//! Only for reads, which change nothing if they are not completed.

use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use tokio::time::sleep;
use tonic::Status;

use crate::engine::admin::{AdminError, Administration};
use crate::grpc::admin_status::of_admin;
use crate::grpc::deadline::without_margin;
use crate::grpc::status::{Failure, of_failure};
use crate::ledger::LedgerError;
use crate::store::StoreError;

/// Interval at which a read checks whether the server is absent.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Waits for a read of a caller with that timeout.
pub async fn read<T>(
    administration: &Administration,
    timeout: Option<Duration>,
    work: impl Future<Output = Result<T, AdminError>>,
) -> Result<T, Status> {
    let mut work = pin!(work);
    let mut time_up = pin!(async {
        match timeout.map(without_margin) {
            Some(timeout) => sleep(timeout).await,
            None => pending().await,
        }
    });
    loop {
        let is_up = tokio::select! {
            biased;
            done = &mut work => return done.map_err(|error| of_admin(&error)),
            () = &mut time_up => true,
            () = sleep(CHECK_INTERVAL) => false,
        };
        let is_directory_absent = administration.is_directory_absent();
        if !is_directory_absent && !is_up {
            continue;
        }
        let absent = administration.absent_servers();
        if is_directory_absent || !absent.is_empty() {
            let why = match absent.as_slice() {
                [] => "its server does not answer".to_owned(),
                absent => format!("{} does not answer", absent.join(", ")),
            };
            let absent = LedgerError::Store(StoreError::Absent { why, may_be_done: false });
            return Err(of_failure(Failure::Unread(absent)));
        }
        return Err(of_failure(Failure::UnreadInTime));
    }
}
