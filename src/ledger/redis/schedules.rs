//! The limits of an app beside its facts: written to each part, and checked by their revisions.

use futures_util::future::join_all;

use super::limits;
use crate::domain::id::AppId;
use crate::domain::schedule::Schedule;
use crate::ledger::{LedgerError, schedule_codec};
use crate::redis::client::CallTimeout;
use crate::redis::keys::{Keys, PARTS};
use crate::redis::reply::integer;
use crate::redis::scripts::ScriptId;
use crate::redis::store::{Store, UNWATCHED_CALL_TIMEOUT};

/// Returns the revision of the limits of each part. `fail_fast`: fails fast.
pub async fn revisions(
    store: &Store,
    app: &AppId,
    fail_fast: bool,
) -> Vec<Result<u64, LedgerError>> {
    let keys = Keys::new(store.ids, app);
    let timeout = CallTimeout::of(UNWATCHED_CALL_TIMEOUT, fail_fast);
    let read = async |part| {
        let keys = [keys.limits(part)];
        let found = store.call_script(ScriptId::ScheduleRevision, &keys, &[], timeout).await?;
        let revision = integer(&found).and_then(|revision| u64::try_from(revision).ok());
        Ok(revision.unwrap_or(0))
    };
    join_all(PARTS.map(read)).await
}

/// Sets the limits of each part that does not have them yet. `is_new`: none has them, so that no
/// part is checked first, which is possible in a store that refuses writes.
pub async fn put(
    store: &Store,
    app: &AppId,
    (revision, schedule): (u64, &Schedule),
    is_new: bool,
) -> Result<(), LedgerError> {
    let keys = Keys::new(store.ids, app);
    let revision = revision.to_string().into_bytes();
    let encoded = schedule_codec::encode_schedule(schedule);
    let put = |part| {
        let has_keys = [keys.limits(part)];
        let put_keys = [keys.limits(part), keys.writes(part)];
        let wanted = [revision.clone(), encoded.clone()];
        let now = store.clock.now();
        let lines = limits::Lines::new(part, schedule, now);
        let past = lines.past_segments.len().to_string().into_bytes();
        let (line, before) = (lines.line.into_bytes(), lines.past.into_bytes());
        let mut arguments = vec![revision.clone(), line, encoded.clone(), before, past];
        let segments = lines.past_segments.iter().chain(lines.later_segments);
        arguments.extend(segments.map(schedule_codec::encode_limits));
        async move {
            let has = ScriptId::HasSchedule;
            if !is_new
                && integer(
                    &store.call_script(has, &has_keys, &wanted, UNWATCHED_CALL_TIMEOUT).await?,
                ) == Some(1)
            {
                return Ok(());
            }
            let before = store.known.counts.before(app, part);
            let put = store
                .call_script(ScriptId::PutSchedule, &put_keys, &arguments, UNWATCHED_CALL_TIMEOUT)
                .await?;
            if let Some(writes) = integer(&put).and_then(|writes| u64::try_from(writes).ok()) {
                store.known.wrote(&before, app, part, writes);
            }
            Ok(())
        }
    };
    join_all(PARTS.map(put)).await.into_iter().collect()
}
