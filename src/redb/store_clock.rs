//! The clock of the embedded store, and the highest instant that it has recorded.
//!
//! The time of day at the start is continued by the monotonic clock ([`ClockGuard`]). The recorded
//! instant and the last acceptance of a clock are in the store's `clock` table, each after a
//! version byte.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use redb::{ReadableTable, StorageError, Table};

use super::writer::Unit;
use crate::clock::Clock;
use crate::domain::clock_guard::{AcceptedClock, ClockGuard, ClockReading, Clocks};
use crate::domain::id::RequestId;
use crate::domain::time::Timestamp;

/// The longest time between readings of the two clocks that count as simultaneous.
const READ_WITHIN: Duration = Duration::from_millis(100);
/// Most readings for one that is quick enough: a machine that is slower for long has no other.
const READ_ATTEMPTS_MAX: u32 = 8;

/// The key of the highest recorded instant.
const RECORDED_KEY: &str = "recorded";
/// The key of the last acceptance of a clock.
const ACCEPTED_KEY: &str = "accepted";
/// The version of both values.
const VERSION: u8 = 1;
const MILLIS_BYTES: usize = 8;

/// The table of both values.
pub type ClockTable<'txn> = Table<'txn, &'static str, &'static [u8]>;

/// The clock of one open store.
pub struct StoreClock {
    clock: Arc<dyn Clock>,
    guard: Mutex<ClockGuard>,
}

impl StoreClock {
    /// Starts the clock of a store that has recorded that instant.
    pub fn start(clock: Arc<dyn Clock>, recorded: Option<Timestamp>) -> Self {
        let guard = ClockGuard::start(clocks(&*clock), recorded);
        Self { clock, guard: Mutex::new(guard) }
    }

    /// Returns the time, and the operations that it can be trusted for.
    pub fn reading(&self) -> ClockReading {
        // Under the lock, so that readings are in order.
        let mut guard = self.guard();
        guard.observe(clocks(&*self.clock))
    }

    /// Returns the store's time.
    pub fn now(&self) -> Timestamp {
        self.reading().now
    }

    /// Converts a deadline by this process's clock to the store's. To be called as soon as the
    /// deadline is received: the remaining time is the same by both clocks.
    pub fn deadline(&self, deadline: Timestamp) -> Timestamp {
        self.reading_before(deadline).1
    }

    /// Returns the time, as [`StoreClock::reading`] does, and the deadline, as
    /// [`StoreClock::deadline`] does.
    pub fn reading_before(&self, deadline: Timestamp) -> (ClockReading, Timestamp) {
        let reading = self.reading();
        let ahead = reading.now.as_millis().saturating_sub(self.clock.now().as_millis());
        (reading, Timestamp::from_millis(deadline.as_millis().saturating_add(ahead)))
    }

    /// Records the highest instant, if that is due.
    pub fn record(&self, unit: &mut Unit<'_, '_>) -> Result<(), StorageError> {
        let mut guard = self.guard();
        if let Some(due) = guard.due(clocks(&*self.clock)) {
            write_recorded(&mut unit.tables.clock, due)?;
            unit.wrote = true;
            guard.recorded(due);
        }
        Ok(())
    }

    /// Returns whether an instant is due to be recorded.
    pub fn is_due(&self) -> bool {
        self.guard().due(clocks(&*self.clock)).is_some()
    }

    /// Sets the store's clock to the time of day, unless the two agree already.
    pub fn accept(
        &self,
        unit: &mut Unit<'_, '_>,
        request_id: &RequestId,
    ) -> Result<AcceptedClock, StorageError> {
        let (mut guard, clocks) = (self.guard(), clocks(&*self.clock));
        let reading = guard.observe(clocks);
        let table = &mut unit.tables.clock;
        let recorded = recorded(table)?.ok().flatten();
        let mut accepted = AcceptedClock {
            request_id: request_id.clone(),
            before: recorded.map_or(reading.now, |recorded| recorded.max(reading.now)),
            after: reading.now,
        };
        if reading.selling().is_err() {
            accepted.after = reading.wall;
            write_recorded(table, accepted.after)?;
            guard.accept(clocks);
        }
        table.insert(ACCEPTED_KEY, encode_accepted(&accepted).as_slice())?;
        unit.wrote = true;
        Ok(accepted)
    }

    /// Returns by how many seconds the time of day is ahead of the store's time.
    #[allow(clippy::cast_precision_loss, reason = "exact for some hundred thousand years")]
    pub fn skew_s(&self) -> f64 {
        self.reading().skew_ms() as f64 / 1000.0
    }

    fn guard(&self) -> MutexGuard<'_, ClockGuard> {
        self.guard.lock()
    }
}

/// Reads both clocks at one moment. If the process was suspended between the two readings they
/// would differ for ever, so they are then read again, a few times.
fn clocks(clock: &dyn Clock) -> Clocks {
    let mut attempts = 0;
    loop {
        let before = clock.monotonic();
        let wall = clock.wall();
        let monotonic = clock.monotonic();
        attempts += 1;
        if monotonic.abs_diff(before) < READ_WITHIN || attempts == READ_ATTEMPTS_MAX {
            return Clocks { wall, monotonic };
        }
    }
}

/// The reason why a value of the table cannot be read.
type Unreadable = String;

/// Returns the highest instant that a store has recorded; `None` if it has none.
pub fn recorded(
    table: &ClockTable<'_>,
) -> Result<Result<Option<Timestamp>, Unreadable>, StorageError> {
    let Some(row) = table.get(RECORDED_KEY)? else { return Ok(Ok(None)) };
    Ok(match row.value() {
        [VERSION, millis @ ..] => match millis.try_into() {
            Ok(millis) => Ok(Some(Timestamp::from_millis(i64::from_le_bytes(millis)))),
            Err(_) => Err("its recorded instant is damaged".to_owned()),
        },
        _ => Err("its recorded instant was written by another version".to_owned()),
    })
}

fn write_recorded(table: &mut ClockTable<'_>, at: Timestamp) -> Result<(), StorageError> {
    table.insert(RECORDED_KEY, encode_recorded(at).as_slice())?;
    Ok(())
}

fn encode_recorded(at: Timestamp) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend(at.as_millis().to_le_bytes());
    bytes
}

/// Returns the last acceptance, if that request made it. An unreadable one counts as none: the
/// request is then carried out again, which does no harm.
pub fn accepted_by(
    table: &ClockTable<'_>,
    request_id: &RequestId,
) -> Result<Option<AcceptedClock>, StorageError> {
    let Some(row) = table.get(ACCEPTED_KEY)? else { return Ok(None) };
    Ok(decode_accepted(row.value()).filter(|accepted| accepted.request_id == *request_id))
}

fn encode_accepted(accepted: &AcceptedClock) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bytes.extend(accepted.before.as_millis().to_le_bytes());
    bytes.extend(accepted.after.as_millis().to_le_bytes());
    bytes.extend(accepted.request_id.as_str().as_bytes());
    bytes
}

fn decode_accepted(bytes: &[u8]) -> Option<AcceptedClock> {
    let (&[version], rest) = bytes.split_first_chunk::<1>()?;
    let (before, rest) = rest.split_first_chunk::<MILLIS_BYTES>()?;
    let (after, request_id) = rest.split_first_chunk::<MILLIS_BYTES>()?;
    let instant = |bytes: &[u8; MILLIS_BYTES]| Timestamp::from_millis(i64::from_le_bytes(*bytes));
    let request_id = RequestId::try_from(std::str::from_utf8(request_id).ok()?).ok()?;
    (version == VERSION).then(|| AcceptedClock {
        request_id,
        before: instant(before),
        after: instant(after),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use redb::{AccessGuard, TableDefinition};

    use super::*;
    use crate::redb::RedbStore;

    /// Changes the table of a closed store, by its name on disk.
    fn change(directory: &Path, change: impl Fn(Option<&[u8]>) -> Option<Vec<u8>>) {
        let database = redb::Database::open(directory.join("imquota.redb")).expect("opens");
        let txn = database.begin_write().expect("begins");
        let name = TableDefinition::<&str, &[u8]>::new("clock");
        let table = txn.open_table(name).expect("opens");
        let row = table.get(RECORDED_KEY).expect("reads");
        let changed = change(row.as_ref().map(AccessGuard::value));
        drop(row);
        drop(table);
        match changed {
            Some(row) => {
                let mut table = txn.open_table(name).expect("opens");
                table.insert(RECORDED_KEY, row.as_slice()).expect("writes");
            }
            None => assert!(txn.delete_table(name).expect("deletes")),
        }
        txn.commit().expect("commits");
    }

    struct FixedClock(i64);

    impl Clock for FixedClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(self.0)
        }
    }

    #[tokio::test]
    async fn a_store_of_the_previous_version_has_recorded_nothing_and_opens() {
        const LATER: i64 = 1_000_000_000_000;
        let folder = tempfile::tempdir().expect("a directory");
        let open = |at: i64| RedbStore::open(folder.path(), Arc::new(FixedClock(at)));
        let store = open(0).expect("opens");
        let work = store.writer.clone();
        let record = move |unit: &mut Unit<'_, '_>| {
            unit.wrote = true;
            write_recorded(&mut unit.tables.clock, Timestamp::from_millis(LATER))
        };
        work.submit_without_timeout(record).await.expect("written");
        store.writer.close().await;
        drop((work, store));
        change(folder.path(), |row| row.map(<[u8]>::to_vec));
        let behind = open(0).expect("opens");
        assert!(behind.clock.reading().selling().is_err());
        behind.writer.close().await;
        drop(behind);
        // Without the table, as in the previous version.
        change(folder.path(), |_| None);
        let store = open(0).expect("opens");
        assert_eq!(store.clock.reading().selling(), Ok(()));
        store.writer.close().await;
        drop(store);
        for (row, why) in
            [(&[2, 0][..], "another version"), (&[1, 2, 3], "damaged"), (&[], "another")]
        {
            change(folder.path(), |_| Some(row.to_vec()));
            let refused = open(0).err().expect("refused").to_string();
            assert!(refused.contains(why), "{refused}");
        }
    }

    #[test]
    fn stored_values_are_the_golden_bytes() {
        let at = Timestamp::from_millis(0x0102_0304_0506);
        assert_eq!(encode_recorded(at), [1, 6, 5, 4, 3, 2, 1, 0, 0]);
        let accepted = AcceptedClock {
            request_id: RequestId::try_from("r-1").expect("an id"),
            before: at,
            after: Timestamp::from_millis(-2),
        };
        let bytes = encode_accepted(&accepted);
        let golden = b"\x01\x06\x05\x04\x03\x02\x01\0\0\xfe\xff\xff\xff\xff\xff\xff\xffr-1";
        assert_eq!(bytes, golden);
        assert_eq!(decode_accepted(&bytes), Some(accepted));
        for cut in 0..bytes.len() - 2 {
            assert_eq!(decode_accepted(&bytes[..cut]), None, "{cut} bytes");
        }
        assert_eq!(decode_accepted(&[&[2], &bytes[1..]].concat()), None);
    }
}
