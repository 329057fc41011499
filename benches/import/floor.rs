//! The floors: the same facts, written by bare redb and by bare SADD.

use std::path::Path;
use std::time::{Duration, Instant};

use imquota::ledger::reconcile::Section;
use redb::{Builder, Database, TableDefinition};

use super::Export;

/// The same cache size as the store's.
const CACHE_BYTES: usize = 64 * 1024 * 1024;
/// The number of facts per durable commit.
const COMMIT: usize = 16_384;
/// The number of commands per pipeline.
const PIPELINE: usize = 1000;
const APP: u64 = 0x5eed_0000_0000_0001;

const ACCOUNTS: TableDefinition<(u64, u64), ()> = TableDefinition::new("accounts");
const LISTS: TableDefinition<(u64, u64, u64), u8> = TableDefinition::new("lists");
const MIRRORED: TableDefinition<(u64, u64, u64), u8> = TableDefinition::new("mirrored");

/// Returns a key as evenly distributed as the store's: SplitMix64 of the number.
fn fingerprint(seed: u64, kind: u64, number: u32) -> u64 {
    let mut hash = seed ^ (kind << 32 | u64::from(number));
    hash = hash.wrapping_add(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// Returns every fact of a section as a pair of keys; an account has only one key.
fn pairs(export: &Export, section: Section, seed: u64) -> Vec<(u64, u64)> {
    let user = |number: u32| fingerprint(seed, 0, number);
    let (kind, lists) = match section {
        Section::Accounts => {
            return export.accounts.iter().map(|number| (user(*number), 0)).collect();
        }
        Section::Friends => (0, &export.friends),
        Section::Groups => (1, &export.groups),
    };
    let each = |(of, list): &(u32, Vec<u32>)| {
        let of = fingerprint(seed, kind, *of);
        list.iter().map(|number| (of, user(*number))).collect::<Vec<_>>()
    };
    lists.iter().flat_map(each).collect()
}

/// Bare redb.
pub struct Embedded {
    database: Database,
    seed: u64,
}

impl Embedded {
    /// Creates the file.
    pub fn create(path: &Path, seed: u64) -> Self {
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_BYTES);
        Self { database: builder.create(path).expect("the floor opens"), seed }
    }

    /// Writes a section; returns the duration.
    pub fn write(&self, export: &Export, section: Section) -> Duration {
        let mut pairs = pairs(export, section, self.seed);
        let start = Instant::now();
        for pairs in pairs.chunks_mut(COMMIT) {
            self.commit(pairs, section).expect("the floor writes");
        }
        start.elapsed()
    }

    fn commit(&self, pairs: &mut [(u64, u64)], section: Section) -> Result<(), redb::Error> {
        let txn = self.database.begin_write()?;
        if section == Section::Accounts {
            let mut accounts = txn.open_table(ACCOUNTS)?;
            pairs.sort_unstable();
            for (user, _) in pairs {
                accounts.insert((APP, *user), ())?;
            }
        } else {
            let mut lists = txn.open_table(LISTS)?;
            let mut mirrored = txn.open_table(MIRRORED)?;
            pairs.sort_unstable();
            for (of, user) in pairs.iter() {
                lists.insert((APP, *of, *user), 1)?;
            }
            pairs.sort_unstable_by_key(|(of, user)| (*user, *of));
            for (of, user) in pairs.iter() {
                mirrored.insert((APP, *user, *of), 1)?;
            }
        }
        txn.commit()?;
        Ok(())
    }
}

/// Redis without scripts.
pub struct Redis {
    client: redis::Client,
    seed: u64,
}

impl Redis {
    /// Creates a client of that server.
    pub fn connect(url: &str, seed: u64) -> Self {
        Self { client: redis::Client::open(url).expect("a URL"), seed }
    }

    /// Writes a section; returns the duration.
    pub fn write(&self, export: &Export, section: Section) -> Duration {
        let pairs = pairs(export, section, self.seed);
        let start = Instant::now();
        let half = pairs.len() / 2;
        std::thread::scope(|scope| {
            for pairs in [&pairs[..half], &pairs[half..]] {
                scope.spawn(move || self.write_all(pairs, section));
            }
        });
        start.elapsed()
    }

    fn write_all(&self, pairs: &[(u64, u64)], section: Section) {
        let mut connection = self.client.get_connection().expect("it answers");
        let commands = if section == Section::Accounts { 1 } else { 2 };
        for pairs in pairs.chunks(PIPELINE / commands) {
            let mut pipeline = redis::pipe();
            for (of, user) in pairs {
                if section == Section::Accounts {
                    pipeline.sadd(format!("a{:03x}", of >> 52), of.cast_signed());
                } else {
                    pipeline.sadd(format!("m{of:016x}"), user.cast_signed());
                    pipeline.sadd(format!("u{user:016x}"), of.cast_signed());
                }
            }
            pipeline.query::<()>(&mut connection).expect("it writes");
        }
    }
}
