//! The rows of holds of an app in maps.

use std::collections::{BTreeMap, BTreeSet};

use super::app::{MemoryRows, put};
use crate::domain::time::Timestamp;
use crate::ledger::in_process::hold_record::{
    FactKey, HoldKey, Provisional, Record, fact_of_key, key_of_fact,
};
use crate::ledger::in_process::rows::{HoldRows, Result};
use crate::ledger::reconcile::Fact;

/// The holds of an app.
#[derive(Debug, Default)]
pub struct Holds {
    provisional: BTreeMap<FactKey, Provisional>,
    /// Provisional facts in order of their expiry.
    due: BTreeSet<(Timestamp, FactKey)>,
    records: BTreeMap<HoldKey, Record>,
    /// Records by the instant until which they are kept.
    ends: BTreeSet<(Timestamp, HoldKey)>,
}

impl Holds {
    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.provisional.is_empty() && self.records.is_empty()
    }
}

impl HoldRows for MemoryRows<'_> {
    fn provisional(&self, fact: Fact) -> Result<Option<Provisional>> {
        Ok(self.holds().provisional.get(&key_of_fact(fact)).cloned())
    }

    fn put_provisional(&mut self, fact: Fact, row: Option<&Provisional>) -> Result<()> {
        let (key, holds) = (key_of_fact(fact), self.change_holds());
        if let Some(before) = holds.provisional.get(&key) {
            holds.due.remove(&(before.expires, key));
        }
        holds.due.extend(row.map(|row| (row.expires, key)));
        put(&mut holds.provisional, key, row.cloned());
        Ok(())
    }

    fn due(&self, now: Timestamp, max: usize) -> Result<Vec<Fact>> {
        let due = self.holds().due.iter().take_while(|(expires, _)| *expires <= now);
        due.take(max).map(|(_, key)| fact_of_key(*key)).collect()
    }

    fn hold(&self, key: &HoldKey) -> Result<Option<Record>> {
        Ok(self.holds().records.get(key).cloned())
    }

    fn put_hold(&mut self, key: &HoldKey, record: Option<&Record>) -> Result<()> {
        let holds = self.change_holds();
        if let Some(before) = holds.records.get(key) {
            holds.ends.remove(&(before.kept_until, key.clone()));
        }
        holds.ends.extend(record.map(|record| (record.kept_until, key.clone())));
        put(&mut holds.records, key.clone(), record.cloned());
        Ok(())
    }

    fn ended_holds(&self, now: Timestamp, max: usize) -> Result<Vec<HoldKey>> {
        let ended = self.holds().ends.iter().take_while(|(kept_until, _)| *kept_until <= now);
        Ok(ended.take(max).map(|(_, key)| key.clone()).collect())
    }
}
