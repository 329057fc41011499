//! The rows of holds of an app in the tables of a transaction.

use redb::ReadableTable as _;

use super::rows::{TableRows, put};
use crate::domain::calendar::Day;
use crate::domain::time::Timestamp;
use crate::ledger::in_process::hold_record::{
    HoldKey, Provisional, Record, fact_of_key, key_of_fact,
};
use crate::ledger::in_process::rows::{HoldRows, Result};
use crate::ledger::reconcile::Fact;

impl HoldRows for TableRows<'_, '_, '_> {
    fn provisional(&self, fact: Fact) -> Result<Option<Provisional>> {
        let (kind, one, other) = key_of_fact(fact);
        let row = self.unit.tables.provisional.get((self.app, kind, one, other))?;
        let Some(row) = row else { return Ok(None) };
        let (expires, day, holds) = row.value();
        let (expires, taken_on) = (Timestamp::from_millis(expires), Day::from_number(day));
        Ok(Some(Provisional { expires, taken_on, holds: Provisional::decode_holds(holds)? }))
    }

    fn put_provisional(&mut self, fact: Fact, row: Option<&Provisional>) -> Result<()> {
        let ((kind, one, other), app) = (key_of_fact(fact), self.app);
        let tables = &mut *self.unit.tables;
        let holds = row.map(Provisional::encode_holds).unwrap_or_default();
        let expires = row.map(|row| row.expires.as_millis());
        let value = row.map(|row| (row.expires.as_millis(), row.taken_on.number(), &*holds));
        let key = (app, kind, one, other);
        let before = match value {
            Some(value) => tables.provisional.insert(key, value)?,
            None => tables.provisional.remove(key)?,
        };
        let before = before.map(|row| row.value().0);
        self.unit.wrote |= before.is_some() || row.is_some();
        if before == expires {
            return Ok(());
        }
        if let Some(before) = before {
            tables.due.remove((app, before, kind, one, other))?;
        }
        if let Some(expires) = expires {
            tables.due.insert((app, expires, kind, one, other), ())?;
        }
        Ok(())
    }

    fn due(&self, now: Timestamp, max: usize) -> Result<Vec<Fact>> {
        let last = (self.app, now.as_millis(), u8::MAX, u64::MAX, u64::MAX);
        let due = self.unit.tables.due.range((self.app, i64::MIN, 0, 0, 0)..=last)?;
        let fact = |(_, _, kind, one, other)| fact_of_key((kind, one, other));
        due.take(max).map(|row| row.and_then(|(key, _)| fact(key.value()))).collect()
    }

    fn hold(&self, key: &HoldKey) -> Result<Option<Record>> {
        let row = self.unit.tables.holds.get((self.app, key.kind.code(), key.id.as_str()))?;
        row.map(|row| Record::decode(row.value())).transpose()
    }

    fn put_hold(&mut self, key: &HoldKey, record: Option<&Record>) -> Result<()> {
        let (kind, id) = (key.kind.code(), key.id.as_str());
        let before = self.hold(key)?.map(|record| record.kept_until);
        let after = record.map(|record| record.kept_until);
        let bytes = record.map(Record::encode);
        let tables = &mut *self.unit.tables;
        self.unit.wrote |= put(&mut tables.holds, (self.app, kind, id), bytes.as_deref())?;
        if before == after {
            return Ok(());
        }
        if let Some(before) = before {
            tables.hold_ends.remove((self.app, before.as_millis(), kind, id))?;
        }
        if let Some(after) = after {
            tables.hold_ends.insert((self.app, after.as_millis(), kind, id), ())?;
        }
        Ok(())
    }

    fn ended_holds(&self, now: Timestamp, max: usize) -> Result<Vec<HoldKey>> {
        let first = (self.app, i64::MIN, 0, "");
        let last = (self.app, now.as_millis().saturating_add(1), 0, "");
        let ended = self.unit.tables.hold_ends.range(first..last)?.take(max);
        ended
            .map(|row| {
                let (key, _) = row?;
                let (_, _, kind, id) = key.value();
                HoldKey::stored(kind, id)
            })
            .collect()
    }
}
