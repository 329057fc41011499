//! A redb file: made whole or not at all, never taken for a new one where it lost its content, and
//! never the end of the process without a sentence.
//!
//! redb answers most damage with an error, and panics over some. [`guarded`] turns such a panic
//! into a sentence that names the file and says what to do. A second panic while the first one
//! unwinds would abort the process; then the sentence is printed and the process ends with
//! exit code 1.

use std::any::Any;
use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::Once;

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError};

use crate::private_file;

/// What the process ends with where damage does not even let a thread unwind: as any failed start
/// and any failed store.
const DAMAGED_EXIT_CODE: i32 = 1;

/// What a file is for, and so what to do where it is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The embedded store.
    Store,
    /// The journal of operations that were decided without the store.
    Journal,
}

impl Purpose {
    /// What to do about a damaged file.
    fn remedy(self) -> &'static str {
        match self {
            Self::Store => {
                "restore it from a backup (`imquota backup`), or move it aside to begin with an \
                 empty store and bring the facts back by `imquota reconcile --import`"
            }
            Self::Journal => {
                "restore it, or move it aside: what was admitted without the store and is not \
                 counted yet is lost with it, and found by `imquota reconcile`"
            }
        }
    }
}

/// Why a file is not open.
#[derive(Debug)]
pub enum Failure {
    /// Another process has it open.
    InUse,
    /// It cannot be used; the reason follows its path.
    Unusable(String),
}

thread_local! {
    /// The sentence about the file that this thread works on, and whether it has panicked.
    static AT_WORK: RefCell<Option<(String, bool)>> = const { RefCell::new(None) };
}

/// Does work on a file. A panic becomes a sentence: what happened, and what to do.
pub fn guarded<T>(path: &Path, of: Purpose, work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            before(panic);
            end_where_unwinding_panics(panic);
        }));
    });
    let sentence = format!("{} is damaged; {}", path.display(), of.remedy());
    let outer = AT_WORK.replace(Some((sentence, false)));
    // What the panic left in half is dropped with the database, which is not used any more.
    let done = catch_unwind(AssertUnwindSafe(work));
    AT_WORK.set(outer);
    done.map_err(|panic| format!("it is damaged ({}); {}", message(&*panic), of.remedy()))
}

/// Does work with an open database and closes it. A damaged one is not closed: that would write
/// pages that make no sense.
pub fn work_and_close<D>(
    path: &Path,
    of: Purpose,
    database: D,
    work: impl FnOnce(&D),
) -> Result<(), String> {
    match guarded(path, of, || work(&database)) {
        Ok(()) => guarded(path, of, || drop(database)),
        Err(damaged) => {
            std::mem::forget(database);
            Err(damaged)
        }
    }
}

/// Ends the process where a guarded thread panics for the second time.
fn end_where_unwinding_panics(_: &PanicHookInfo<'_>) {
    AT_WORK.with_borrow_mut(|at_work| {
        let Some((sentence, has_panicked)) = at_work else { return };
        if *has_panicked {
            // Standard error is gone, or it is not: the process ends either way.
            let _ = writeln!(io::stderr(), "error: {sentence}");
            exit(DAMAGED_EXIT_CODE);
        }
        *has_panicked = true;
    });
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    // The first line: what follows are values of no use to a reader.
    text.and_then(|text| text.lines().next()).unwrap_or("its pages make no sense").to_owned()
}

/// Opens a file. Where there is none, a new one is made by `prepare` and appears under its name
/// once it is whole, so that one that is empty has lost its content.
pub fn open(
    path: &Path,
    of: Purpose,
    builder: &Builder,
    prepare: impl FnOnce(&Database) -> Result<(), String>,
) -> Result<Database, Failure> {
    let opened = guarded(path, of, || match fs::metadata(path) {
        Ok(file) if file.len() == 0 => Err(Failure::Unusable(format!(
            "it is empty (0 bytes), so it has lost its content; {}",
            of.remedy()
        ))),
        Ok(_) => {
            private_file::warn_if_shared(path);
            let database = builder.create(path).map_err(failure)?;
            prepare(&database).map_err(Failure::Unusable)?;
            Ok(database)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => make(path, builder, prepare),
        Err(error) => Err(Failure::Unusable(error.to_string())),
    });
    opened.map_err(Failure::Unusable)?
}

/// Makes a new file under another name, which it gets rid of once it is whole.
fn make(
    path: &Path,
    builder: &Builder,
    prepare: impl FnOnce(&Database) -> Result<(), String>,
) -> Result<Database, Failure> {
    let unusable = |error: io::Error| Failure::Unusable(error.to_string());
    let new = unused_name(path).map_err(unusable)?;
    let named = || {
        let file = private_file::create_new(&new).map_err(unusable)?;
        let backend = FileBackend::new(file).map_err(failure)?;
        let database = builder.create_with_backend(backend).map_err(failure)?;
        prepare(&database).map_err(Failure::Unusable)?;
        // Unlike a renaming, this does not replace what another process has made meanwhile.
        fs::hard_link(&new, path).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => Failure::InUse,
            _ => unusable(error),
        })?;
        Ok(database)
    };
    let named = named();
    // Of no use after a failure; after a success the name alone goes.
    let _ = fs::remove_file(&new);
    if let Some(directory) = path.parent() {
        // So that the name outlives a crash of the machine, where the system can do that.
        let _ = File::open(directory).and_then(|directory| directory.sync_all());
    }
    named
}

fn unused_name(path: &Path) -> io::Result<PathBuf> {
    let random = getrandom::u64().map_err(io::Error::other)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(path.with_file_name(format!(".{name}.new-{random:016x}")))
}

fn failure(error: DatabaseError) -> Failure {
    match error {
        DatabaseError::DatabaseAlreadyOpen => Failure::InUse,
        other => Failure::Unusable(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_sentence_and_work_goes_on_in_the_same_thread() {
        let path = Path::new("/data/imquota.redb");
        for of in [Purpose::Store, Purpose::Journal] {
            let done = guarded(path, of, || panic!("page {} is none\nleft: 1", 7));
            let said: Result<(), _> = done;
            let said = said.expect_err("it panicked");
            assert!(said.starts_with("it is damaged (page 7 is none); restore it"), "{said}");
            assert_eq!(guarded(path, of, || 7), Ok(7));
        }
    }

    #[test]
    fn a_file_that_was_not_finished_leaves_nothing_under_its_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x.redb");
        let made = open(&path, Purpose::Store, &Builder::new(), |_| Err("full".to_owned()));
        assert!(matches!(made, Err(Failure::Unusable(why)) if why == "full"));
        assert_eq!(fs::read_dir(directory.path()).expect("readable").count(), 0);
        let made = open(&path, Purpose::Store, &Builder::new(), |_| Ok(()));
        made.expect("made");
        assert_eq!(fs::read_dir(directory.path()).expect("readable").count(), 1);
    }
}
