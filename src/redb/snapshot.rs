//! A copy of the whole store as of one instant, while the store stays in use.

use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Database, Key, ReadTransaction, TableDefinition, TableError, Value, WriteTransaction};
use redb::{ReadableDatabase as _, ReadableTable as _};

use super::tables::copy_all;
use crate::private_file;

/// Copies all committed data into a new file of the same format. The file has no name any more;
/// dropping it frees its space.
pub(super) fn copy(database: &Arc<Database>, directory: &Path) -> Result<File, String> {
    let to_text = |error: redb::Error| error.to_string();
    let file = nameless(directory).map_err(|error| error.to_string())?;
    let own = file.try_clone().map_err(|error| error.to_string())?;
    let reading = database.begin_read().map_err(|error| to_text(error.into()))?;
    let backend = FileBackend::new(own).map_err(|error| to_text(error.into()))?;
    let copy = super::open::builder().create_with_backend(backend);
    let copy = copy.map_err(|error| to_text(error.into()))?;
    let writing = copy.begin_write().map_err(|error| to_text(error.into()))?;
    copy_all(&reading, &writing).map_err(to_text)?;
    writing.commit().map_err(|error| to_text(error.into()))?;
    drop(copy);
    let mut file = file;
    file.seek(SeekFrom::Start(0)).map_err(|error| error.to_string())?;
    Ok(file)
}

/// Creates a file whose name is removed immediately, so that nothing is left of it after a crash.
fn nameless(directory: &Path) -> std::io::Result<File> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(std::io::Error::other)?;
    let name = format!(".imquota-backup-{:016x}", u64::from_be_bytes(random));
    let path = directory.join(name);
    let file = private_file::create_new(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// Copies a table, if it exists.
pub(super) fn copy_table<K: Key + 'static, V: Value + 'static>(
    from: &ReadTransaction,
    to: &WriteTransaction,
    table: TableDefinition<K, V>,
) -> Result<(), redb::Error> {
    let source = match from.open_table(table) {
        Ok(source) => source,
        Err(TableError::TableDoesNotExist(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mut target = to.open_table(table)?;
    for row in source.iter()? {
        let (key, value) = row?;
        target.insert(key.value(), value.value())?;
    }
    Ok(())
}
