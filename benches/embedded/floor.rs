//! The floor: bare redb that writes the rows of a join, without reading or deciding.
//!
//! Keys and values have the shapes of the store's tables, so that trees grow and pages split in the
//! same way. The numbers in the values are arbitrary; only their width matters.

use std::path::Path;
use std::time::{Duration, Instant};

use redb::{Builder, Database, TableDefinition};

use super::load::GROUP_TYPE;
use super::shared::Pair;

/// The same cache size as the store's.
const CACHE_BYTES: usize = 64 * 1024 * 1024;
const APP: u64 = 0x5eed_0000_0000_0001;

const USERS: TableDefinition<(u64, u64), (u64, u64)> = TableDefinition::new("users");
const GROUPS: TableDefinition<(u64, u64), (&str, u64, u32)> = TableDefinition::new("groups");
const MEMBERS: TableDefinition<(u64, u64, u64), bool> = TableDefinition::new("members");
const MEMBERSHIPS: TableDefinition<(u64, u64, u64), bool> = TableDefinition::new("memberships");

/// A database without any quota logic.
pub struct Floor {
    database: Database,
    seed: u64,
}

impl Floor {
    /// Opens the file, creating it if it is missing.
    pub fn create(path: &Path, seed: u64) -> Self {
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_BYTES);
        Self { database: builder.create(path).expect("the floor opens"), seed }
    }

    /// Writes the rows of each join, `per_commit` joins per durable commit; returns the duration.
    pub fn write(&self, pairs: &[Pair], per_commit: u32) -> Duration {
        let rows: Vec<_> = pairs
            .iter()
            .map(|pair| (self.fingerprint(0, pair.user), self.fingerprint(1, pair.group)))
            .collect();
        let start = Instant::now();
        for batch in rows.chunks(per_commit as usize) {
            self.commit(batch).expect("the floor writes");
        }
        start.elapsed()
    }

    fn commit(&self, batch: &[(u64, u64)]) -> Result<(), redb::Error> {
        let txn = self.database.begin_write()?;
        {
            let mut users = txn.open_table(USERS)?;
            let mut groups = txn.open_table(GROUPS)?;
            let mut members = txn.open_table(MEMBERS)?;
            let mut memberships = txn.open_table(MEMBERSHIPS)?;
            for (user, group) in batch {
                users.insert((APP, *user), (0, 1))?;
                groups.insert((APP, *group), (GROUP_TYPE, 1, 0))?;
                memberships.insert((APP, *user, *group), true)?;
                members.insert((APP, *group, *user), true)?;
            }
        }
        txn.commit()?;
        Ok(())
    }

    /// Returns a key as evenly distributed as the store's: SplitMix64 of the number.
    fn fingerprint(&self, kind: u64, number: u32) -> u64 {
        let mut hash = self.seed ^ (kind << 32 | u64::from(number));
        hash = hash.wrapping_add(0x9e37_79b9_7f4a_7c15);
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^ (hash >> 31)
    }
}

/// Returns the bytes of the pages in use in a redb file that no process has open.
pub fn bytes_in_use(path: &Path) -> u64 {
    let database = Database::open(path).expect("the file opens");
    let txn = database.begin_write().expect("there is no other writer");
    let stats = txn.stats().expect("the file is whole");
    let page = u64::try_from(stats.page_size()).expect("pages are small");
    let used = stats.allocated_pages() * page;
    txn.abort().expect("nothing was written");
    used
}
