//! The rows of notes of callbacks: one note by its name, its expiry, and the number of an app's.

use redb::{ReadableTable as _, StorageError};

use crate::ledger::callback_notes::NOTES_MAX;
use crate::redb::tables::NoteKey;
use crate::redb::writer::Unit;

/// The kind of a queue of texts.
pub(super) const QUEUE: u8 = 0;
/// The kind of an instant.
pub(super) const INSTANT: u8 = 1;
/// Expired notes that are removed for each new one, so that they become fewer.
const REMOVED_PER_NOTE: usize = 2;
/// Expired notes that each write removes beside that.
const REMOVED_MIN: usize = 10;

/// One note that has not expired.
pub(super) struct Note {
    /// The milliseconds at which it expires.
    pub(super) till: i64,
    /// Its value.
    pub(super) value: Vec<u8>,
}

/// Returns a note, unless it has expired.
pub(super) fn note(
    unit: &Unit<'_, '_>,
    key: NoteKey<'_>,
    now: i64,
) -> Result<Option<Note>, StorageError> {
    let row = unit.tables.notes.get(key)?;
    let found = row.map(|row| {
        let (till, value) = row.value();
        Note { till, value: value.to_vec() }
    });
    Ok(found.filter(|found| found.till > now))
}

/// Writes a note, which expires then.
pub(super) fn keep(
    unit: &mut Unit<'_, '_>,
    key: NoteKey<'_>,
    value: &[u8],
    till: i64,
) -> Result<(), StorageError> {
    let (app, kind, name) = key;
    let before = unit.tables.notes.insert(key, (till, value))?.map(|row| row.value().0);
    match before {
        Some(before) => {
            unit.tables.note_ends.remove((app, before, kind, name))?;
        }
        None => count(unit, app, 1)?,
    }
    unit.tables.note_ends.insert((app, till, kind, name), ())?;
    unit.wrote = true;
    Ok(())
}

/// Removes a note.
pub(super) fn remove(unit: &mut Unit<'_, '_>, key: NoteKey<'_>) -> Result<(), StorageError> {
    let (app, kind, name) = key;
    let before = unit.tables.notes.remove(key)?.map(|row| row.value().0);
    if let Some(before) = before {
        unit.tables.note_ends.remove((app, before, kind, name))?;
        count(unit, app, -1)?;
        unit.wrote = true;
    }
    Ok(())
}

/// Removes some expired notes of the app, and returns whether that number of new ones fit.
pub(super) fn has_room(
    unit: &mut Unit<'_, '_>,
    app: u64,
    more: usize,
    now: i64,
) -> Result<bool, StorageError> {
    let most = REMOVED_PER_NOTE * more + REMOVED_MIN;
    let ends = (app, i64::MIN, 0, "")..(app, now.saturating_add(1), 0, "");
    let mut expired = Vec::new();
    for row in unit.tables.note_ends.range(ends)?.take(most) {
        let (key, _) = row?;
        let (_, _, kind, name) = key.value();
        expired.push((kind, name.to_owned()));
    }
    for (kind, name) in &expired {
        remove(unit, (app, *kind, name))?;
    }
    let count = unit.tables.note_counts.get(app)?.map_or(0, |row| row.value());
    Ok(count.saturating_add(more as u64) <= NOTES_MAX as u64)
}

/// Changes the number of an app's notes.
fn count(unit: &mut Unit<'_, '_>, app: u64, by: i64) -> Result<(), StorageError> {
    let before = unit.tables.note_counts.get(app)?.map_or(0, |row| row.value());
    match before.saturating_add_signed(by) {
        0 => unit.tables.note_counts.remove(app)?,
        count => unit.tables.note_counts.insert(app, count)?,
    };
    Ok(())
}
