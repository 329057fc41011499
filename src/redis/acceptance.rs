//! Accepts a store that lost its facts.
//!
//! One new generation replaces all that any sidecar may have: first the identity, which fences off
//! every call of an earlier generation, then the mark of every slot, then the record that all marks
//! exist, at which the other sidecars continue. An interrupted acceptance is finished by the next
//! request.

use super::generation;
use super::identity::{self, FORMAT, FORMATS, Identity, Known, Match, UNFINISHED};
use super::keys::IDENTITY;
use super::reply::integer;
use super::scripts::ScriptId;
use super::store::{Store, UNWATCHED_CALL_TIMEOUT};
use crate::store::StoreError;
use crate::store::{AcceptError, Accepted};

/// Begins an acceptance: see
/// [`Identified::begin_acceptance`](crate::store::Identified::begin_acceptance).
pub async fn begin(
    store: &Store,
    request_id: &str,
    found_id: &str,
) -> Result<Accepted, AcceptError> {
    // A loss is detected here at the latest.
    store.check_once(0).await;
    if !store.standing.is_lost() && store.marks.slots().len() > 1 {
        let wrong = generation::find_wrong_mark(store, store.marks.slots()).await;
        wrong.map(|why| store.lose(&why));
    }
    let found = identity::read(&store.client).await?;
    let known = store.standing.known();
    if !store.standing.is_lost() {
        let repeated = found.accepted == request_id && found.generation == known.generation;
        return if repeated { Ok(accepted(known, true)) } else { Err(AcceptError::NotLost) };
    }
    let is_other = !found.id.is_empty() && found.id != known.id;
    if is_other && found.id != found_id {
        return Err(AcceptError::OtherStore(found.id));
    }
    let unfinished = known.compare(&found) == Match::Lost(UNFINISHED.to_owned());
    let new = if unfinished && found.key == known.key {
        found.known()
    } else {
        write_identity(store, &known, &found, request_id).await?
    };
    let _alone = store.standing.using.write().await;
    store.standing.begin_acceptance(new.clone());
    if let Err(error) = generation::renew_marks(store).await {
        store.standing.abandon_acceptance(&error.to_string());
        return Err(error.into());
    }
    Ok(accepted(new, false))
}

async fn write_identity(
    store: &Store,
    known: &Known,
    found: &Identity,
    request_id: &str,
) -> Result<Known, AcceptError> {
    let new = Known {
        id: if known.id.is_empty() { identity::random()? } else { known.id.clone() },
        generation: identity::random()?,
        previous: known.replaced(found),
        key: known.key.clone(),
    };
    let previous = new.previous.join(",");
    // Facts that are left may need the format that was found.
    let is_readable = FORMATS.contains(&found.format.as_str());
    let format = if is_readable { found.format.as_str() } else { FORMAT };
    let arguments =
        [&found.generation, format, &new.key, &new.generation, &new.id, &previous, request_id]
            .map(|text: &str| text.as_bytes().to_vec());
    let script = ScriptId::AcceptStore as usize;
    let written =
        store.client.call(script, &[IDENTITY.to_vec()], &arguments, UNWATCHED_CALL_TIMEOUT).await;
    if integer(&written.map_err(StoreError::from)?) == Some(1) {
        return Ok(new);
    }
    let why = "another request accepts it at the same time";
    Err(StoreError::Refused(why.to_owned()).into())
}

/// Finishes an acceptance: see
/// [`Identified::finish_acceptance`](crate::store::Identified::finish_acceptance).
pub async fn finish(store: &Store) -> Result<(), AcceptError> {
    let finished = generation::finish(store).await;
    let found = match finished {
        Ok(true) => identity::read(&store.client).await,
        Ok(false) => Err(StoreError::StoreLost("its generation has changed".to_owned())),
        Err(error) => Err(error),
    };
    match found {
        Ok(found) => {
            let _alone = store.standing.using.write().await;
            store.standing.reopen(&found);
            Ok(())
        }
        Err(error) => {
            store.standing.abandon_acceptance(&error.to_string());
            Err(error.into())
        }
    }
}

fn accepted(known: Known, is_repetition: bool) -> Accepted {
    let Known { id, generation, previous, .. } = known;
    Accepted { id, generation, previous, is_repetition }
}
