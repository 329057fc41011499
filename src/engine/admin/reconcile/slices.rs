//! Compares claims with the ledger, slice by slice, so that decisions run in between.

use super::{PART_TIMEOUT, ReconcileError, Reconciliation};
use crate::domain::decision::Mode;
use crate::ledger::LedgerError;
use crate::ledger::reconcile::{Comparison, Difference, ExpectedState};

/// Facts that a server compares in one slice, about a millisecond.
const SLICE_FACTS: usize = 512;

impl Reconciliation {
    pub(super) async fn compare_claims(
        &self,
        claims: Vec<ExpectedState>,
    ) -> Result<Vec<Difference>, ReconcileError> {
        let facts: u64 = claims.iter().map(|claim| claim.facts() as u64).sum();
        let compared = self.compare_in_slices(claims).await;
        if compared.is_err() {
            self.memory().facts_unknown += facts;
        }
        Ok(compared?)
    }

    /// Compares claims, slice by slice if the store is a server that serves others too. A store in
    /// this process has a thread and slices of its own, and compares many in one commit.
    async fn compare_in_slices(
        &self,
        mut claims: Vec<ExpectedState>,
    ) -> Result<Vec<Difference>, LedgerError> {
        let engine = self.engine();
        let has_servers = !engine.ledger.servers().is_empty();
        let mut differences = Vec::new();
        while !claims.is_empty() {
            let slice = if has_servers { SLICE_FACTS } else { usize::MAX };
            let rest = claims.split_off(ExpectedState::fitting(&claims, slice));
            let pace = self.service.pace();
            let _reading = if has_servers { Some(pace.next_reads().await) } else { None };
            let deadline = engine.local_now() + PART_TIMEOUT;
            let mode = Mode::Force;
            let (call, _) = engine.call(self.begin.app.clone(), mode, deadline);
            let (repair, tracked_since) = (self.begin.repair, self.tracked_since());
            let comparison = Comparison { call, repair, tracked_since };
            differences.append(&mut engine.ledger.compare(&comparison, claims).await?);
            claims = rest;
        }
        Ok(differences)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_has_as_many_claims_as_fit_and_one_at_least() {
        let of = |friends: usize| ExpectedState::Friends { user: 0, friends: vec![0; friends] };
        let facts = of(1).facts();
        for (claims, length) in [
            (vec![of(SLICE_FACTS * 2), of(1)], 1),
            (vec![of(1); SLICE_FACTS], SLICE_FACTS / facts),
            (vec![of(1), of(SLICE_FACTS)], 1),
            (vec![of(1), of(2)], 2),
        ] {
            assert_eq!(ExpectedState::fitting(&claims, SLICE_FACTS), length);
        }
    }
}
