//! Releases in the journal that lower counts of users and groups that they do not name: a
//! dissolution those of all members, a deletion those of friends and groups, and both, like the
//! leave of a last member, those of the app.
//!
//! They were answered, so a later take relies on them. It is not ordered behind them, since the
//! queue does not have the users and groups that they concern. So if the store denies a take by
//! such a count, it is called again after them; if it is absent, earlier denials by such a count
//! are ignored. A blocked release is not waited for: an operator decides about it.

use std::collections::{BTreeSet, HashMap};

use super::Fallback;
use crate::domain::decision::{ItemResult, Outcome};
use crate::domain::id::AppId;
use crate::domain::limit::LimitId;
use crate::engine::{Decision, Denial, Engine, Request};
use crate::ledger::{LedgerError, Operation, OperationKind};

/// Operations that release facts that they do not name.
const RELEASES: [OperationKind; 3] =
    [OperationKind::DissolveGroup, OperationKind::DeleteAccount, OperationKind::LeaveGroup];

/// Entries that are not in the store, by app and kind.
#[derive(Default)]
pub(super) struct Freeing(HashMap<AppId, [BTreeSet<u64>; RELEASES.len()]>);

/// The latest entry of each kind that an app had at some time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Latest([Option<u64>; RELEASES.len()]);

impl Latest {
    /// Returns whether any of them may lower a count against that limit.
    pub(super) fn lower(&self, limit: &LimitId) -> bool {
        let kinds = RELEASES.iter().zip(&self.0);
        kinds
            .into_iter()
            .any(|(release, latest)| latest.is_some() && release.lowers_others(limit.kind()))
    }
}

impl Freeing {
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn add(&mut self, number: u64, app: &AppId, operation: &Operation) {
        if let Some(release) = RELEASES.iter().position(|kind| *kind == operation.kind()) {
            self.0.entry(app.clone()).or_default()[release].insert(number);
        }
    }

    pub(super) fn remove(&mut self, number: u64, app: &AppId) {
        let Some(kinds) = self.0.get_mut(app) else { return };
        for kind in kinds.iter_mut() {
            kind.remove(&number);
        }
        if kinds.iter().all(BTreeSet::is_empty) {
            self.0.remove(app);
        }
    }

    /// Returns the latest entry of each kind.
    pub(super) fn latest(&self, app: &AppId) -> Latest {
        let kinds = self.0.get(app);
        kinds.map_or_else(Latest::default, |kinds| {
            Latest(kinds.each_ref().map(|kind| kind.last().copied()))
        })
    }

    /// Returns the entries, up to the latest ones, that may lower a count against one of those
    /// limits.
    pub(super) fn up_to<'a>(
        &'a self,
        app: &AppId,
        latest: &'a Latest,
        limits: &'a [LimitId],
    ) -> impl Iterator<Item = u64> + 'a {
        let kinds = self.0.get(app).map(|kinds| RELEASES.iter().zip(kinds).zip(&latest.0));
        let lowering = kinds.into_iter().flatten().filter(|((release, _), _)| {
            limits.iter().any(|limit| release.lowers_others(limit.kind()))
        });
        lowering.flat_map(|((_, numbers), latest)| {
            latest.iter().flat_map(|latest| numbers.range(..=*latest).copied())
        })
    }
}

impl Fallback {
    /// Calls the store. If it denies by a count that releases in the journal lower, waits for these
    /// and calls it again.
    pub(super) async fn ask_after_releases(
        &self,
        engine: &Engine,
        request: &Request,
    ) -> Result<Decision, LedgerError> {
        // Taken before the call: a release that is stored by the time of the result may have come
        // after the decision.
        let latest = if self.journal.is_empty() {
            Latest::default()
        } else {
            self.queue().freeing.latest(&request.app)
        };
        let decided = self.ask(engine, request).await?;
        let limits = denied_by(&decided, &latest);
        if limits.is_empty() {
            return Ok(decided);
        }
        let is_begun = decided.results().any(|result| result.outcome == Outcome::Applied);
        let again = async {
            self.wait_for_releases(engine, request, &latest, &limits).await?;
            self.ask(engine, request).await
        };
        match Box::pin(again).await {
            Ok(again) if is_begun => Ok(merged(decided, again)),
            // The first call has written nothing; of a whole batch it may have aborted parts.
            Ok(again) => Ok(again),
            Err(error) if is_begun => Err(error.of_unfinished()),
            Err(error) => Err(error),
        }
    }

    async fn wait_for_releases(
        &self,
        engine: &Engine,
        request: &Request,
        latest: &Latest,
        limits: &[LimitId],
    ) -> Result<(), LedgerError> {
        loop {
            if engine.ledger.is_absent(&request.app, request.operation.kind().parts()) {
                return Ok(());
            }
            let entry = {
                let queue = self.queue();
                let mut entries = queue.freeing.up_to(&request.app, latest, limits);
                entries.find(|entry| !queue.is_held_up(*entry))
            };
            let Some(entry) = entry else { return Ok(()) };
            self.wait_for_entry(engine, request.deadline, entry).await?;
        }
    }
}

/// Returns the limits of denials that the releases may lower.
fn denied_by(decision: &Decision, latest: &Latest) -> Vec<LimitId> {
    let denied = decision.results().filter(|result| result.outcome == Outcome::Denied);
    let limits = denied.flat_map(|result| &result.violations).map(|it| &it.violation.limit_id);
    limits.filter(|limit| latest.lower(limit)).cloned().collect()
}

/// Merges two decisions on the same operation: the second one replaces the denials of the first.
fn merged(first: Decision, second: Decision) -> Decision {
    let later = |first: ItemResult<Denial>, second: ItemResult<Denial>| {
        if first.denied() { second } else { first }
    };
    let whole = match (first.whole, second.whole) {
        (Some(first), Some(second)) => Some(later(first, second)),
        (first, second) => first.or(second),
    };
    let items = first.items.into_iter().zip(second.items);
    Decision {
        whole,
        items: items.map(|(first, second)| later(first, second)).collect(),
        warnings: first.warnings.into_iter().chain(second.warnings).collect(),
        ..second
    }
}
