//! The group types that any app of the store has groups of.

use std::collections::BTreeSet;

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableError};

use super::counter_names::type_of_counter;
use crate::domain::id::Name;
use crate::redb::tables::COUNTERS;

/// Returns the types of which any app has groups, as of the last commit. It reads concurrently with
/// the writing thread.
pub(super) fn in_use(database: &Database) -> Result<BTreeSet<Name>, redb::Error> {
    let counters = match database.begin_read()?.open_table(COUNTERS) {
        Ok(counters) => counters,
        Err(TableError::TableDoesNotExist(_)) => return Ok(BTreeSet::new()),
        Err(error) => return Err(error.into()),
    };
    let mut types = BTreeSet::new();
    for row in counters.iter()? {
        let (key, count) = row?;
        let of_type = type_of_counter(key.value().1).filter(|_| count.value() > 0);
        if let Some(name) = of_type.filter(|name| !types.contains(*name)) {
            types.insert(name.to_owned());
        }
    }
    Ok(types.iter().map(|name| Name::from(name.as_str())).collect())
}
