//! Opening redb files: a file is created completely or not at all, a file that lost its content is
//! not replaced by a new one, and the process never ends because of damage without an error
//! message.
//!
//! redb returns an error for most damage, and panics for some. [`guarded`] turns such a panic into
//! an error that names the file and the remedy. A second panic while the first one unwinds would
//! abort the process; in that case the error is printed and the process ends with exit code 1.

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

/// The exit code if damage makes even unwinding panic: that of any failed start and any failed
/// store.
const DAMAGED_EXIT_CODE: i32 = 1;

/// The purpose of a file, which determines the remedy if it is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The embedded store.
    Store,
    /// The journal of operations that were decided without the store.
    Journal,
}

impl Purpose {
    /// Returns the remedy for a damaged file.
    fn remedy(self) -> &'static str {
        match self {
            Self::Store => {
                "restore it from a backup (`imquota backup`), or move it aside to start with an \
                 empty store and import the facts with `imquota reconcile --import`"
            }
            Self::Journal => {
                "restore it, or move it aside: operations admitted without the store and not \
                 counted yet are lost with it, and found by `imquota reconcile`"
            }
        }
    }
}

/// The reason why a file could not be opened.
#[derive(Debug)]
pub enum Failure {
    /// Another process has it open.
    InUse,
    /// The file cannot be used; the text is the reason, without the path.
    Unusable(String),
}

thread_local! {
    /// The error message for the file that this thread works on, and whether the thread has
    /// panicked.
    static IN_PROGRESS: RefCell<Option<(String, bool)>> = const { RefCell::new(None) };
}

/// Runs work on a file. A panic becomes an error that states the cause and the remedy.
pub fn guarded<T>(path: &Path, of: Purpose, work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            before(panic);
            exit_on_second_panic(panic);
        }));
    });
    let message = format!("{} is damaged; {}", path.display(), of.remedy());
    let outer = IN_PROGRESS.replace(Some((message, false)));
    // State that the panic left inconsistent is dropped with the database, which is not used again.
    let done = catch_unwind(AssertUnwindSafe(work));
    IN_PROGRESS.set(outer);
    done.map_err(|panic| format!("it is damaged ({}); {}", panic_message(&*panic), of.remedy()))
}

/// Runs work with an open database and closes it. A damaged one is not closed: that would write
/// malformed pages.
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

/// Exits the process if a guarded thread panics for the second time.
fn exit_on_second_panic(_: &PanicHookInfo<'_>) {
    IN_PROGRESS.with_borrow_mut(|in_progress| {
        let Some((message, has_panicked)) = in_progress else { return };
        if *has_panicked {
            // Writing fails if standard error is closed; the process exits in either case.
            let _ = writeln!(io::stderr(), "error: {message}");
            exit(DAMAGED_EXIT_CODE);
        }
        *has_panicked = true;
    });
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    // Only the first line: the rest are values that do not help a reader.
    text.and_then(|text| text.lines().next()).unwrap_or("its pages are malformed").to_owned()
}

/// Opens a file. A missing one is created by `prepare` and appears under its name once it is
/// complete, so an empty file is one that has lost its content.
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

/// Creates a new file under a temporary name, which is removed once the file is complete.
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
        // Unlike a rename, this does not replace a file that another process has created meanwhile.
        fs::hard_link(&new, path).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => Failure::InUse,
            _ => unusable(error),
        })?;
        Ok(database)
    };
    let named = named();
    // The temporary name is useless after a failure, and redundant after a success.
    let _ = fs::remove_file(&new);
    if let Some(directory) = path.parent() {
        // Makes the name survive a crash of the machine, if the system supports that.
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
    fn a_panic_becomes_an_error_and_the_thread_can_work_on() {
        let path = Path::new("/data/imquota.redb");
        for of in [Purpose::Store, Purpose::Journal] {
            let done = guarded(path, of, || panic!("page {} is invalid\nleft: 1", 7));
            let result: Result<(), _> = done;
            let error = result.expect_err("it panicked");
            assert!(error.starts_with("it is damaged (page 7 is invalid); restore it"), "{error}");
            assert_eq!(guarded(path, of, || 7), Ok(7));
        }
    }

    #[test]
    fn a_file_that_was_not_completed_does_not_appear_under_its_name() {
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
