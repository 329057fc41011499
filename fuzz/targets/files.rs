//! What operators write: catalogs, configuration files, store URLs and exports.

use std::fs;
use std::path::PathBuf;

use imquota::catalog;
use imquota::cli::read_export;
use imquota::config::{Config, Environment, Flags, Store};
use imquota::diagnostics::PROBLEMS_MAX;
use imquota::domain::id::{GroupId, UserId};
use imquota::domain::schedule::Schedule;
use tempfile::TempDir;

thread_local! {
    static FOLDER: TempDir = tempfile::tempdir().expect("a folder for files");
}

/// A file with these bytes. Its name is used again by the next call.
fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = FOLDER.with(|folder| folder.path().join(name));
    // A file that is cut off and written anew would wait for the disk.
    let _ = fs::remove_file(&path);
    fs::write(&path, bytes).expect("written");
    path
}

/// A catalog: what is accepted has a default edition, and what is refused says where.
pub fn catalog(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else { return false };
    match catalog::parse(text) {
        Ok(catalog) => {
            Schedule::default_of(&catalog).expect("the default edition is in the catalog");
            true
        }
        Err(problems) => {
            let lines = text.lines().count() + 1;
            assert!((1..=PROBLEMS_MAX + 1).contains(&problems.0.len()), "{problems}");
            for problem in &problems.0 {
                assert!((1..=lines).contains(&problem.line) && problem.column > 0, "{problem}");
                assert!(!problem.message.is_empty());
            }
            false
        }
    }
}

/// A configuration file.
pub fn config(bytes: &[u8]) -> bool {
    let path = file("imquota.toml", bytes);
    let env = Environment::from_iter([("IMQUOTA_CONFIG".into(), path.into())]);
    match Config::load(&Flags::default(), &env) {
        Ok(config) => {
            assert!(!config.listen.is_empty() && !config.admin_listen.is_empty());
            true
        }
        Err(errors) => {
            assert!(!errors.to_string().is_empty());
            false
        }
    }
}

/// The setting `store`: it is shown without its password, and what is shown is read as the same.
pub fn store_url(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else { return false };
    let Ok(store) = load_store(text) else { return false };
    let shown = store.to_string();
    if let Store::Redis(options) = &store {
        if let Some(password) = &options.credentials.password {
            let debugged = format!("{options:?}");
            // A short password may be a part of other words.
            assert!(password.len() < 8 || !debugged.contains(password), "{debugged}");
        }
        let Ok(Store::Redis(again)) = load_store(&shown) else {
            panic!("{shown:?} is not read, and {text:?} was");
        };
        assert_eq!(again.topology, options.topology);
    } else {
        // An empty text counts as absent, and blanks around a text are kept.
        assert_eq!(load_store(&shown), Ok(store));
    }
    true
}

fn load_store(text: &str) -> Result<Store, String> {
    let env = Environment::from_iter([("IMQUOTA_STORE".into(), text.into())]);
    let config = Config::load(&Flags::default(), &env);
    config.map(|config| config.store).map_err(|errors| errors.to_string())
}

/// An export as CSV. The first byte says what it has.
pub fn reconcile_csv(bytes: &[u8]) -> bool {
    export("export.csv", bytes)
}

/// An export as JSON lines. The first byte says what it has.
pub fn reconcile_jsonl(bytes: &[u8]) -> bool {
    export("export.jsonl", bytes)
}

/// Reads an export to its end: every id keeps the rules of ids, and lines are in order.
fn export(name: &str, bytes: &[u8]) -> bool {
    let Some((kind, bytes)) = bytes.split_first() else { return false };
    let kind = match kind {
        b'g' => "groups",
        b'f' => "friends",
        _ => "accounts",
    };
    let mut last = 0;
    let mut check = |line: u64, id: &str, listed: &[String]| {
        assert!(line > last, "{line} after {last}");
        last = line;
        if kind == "groups" {
            GroupId::try_from(id).expect("an id of a group");
        } else {
            UserId::try_from(id).expect("an id of a user");
        }
        for (at, of_list) in listed.iter().enumerate() {
            UserId::try_from(of_list.as_str()).expect("an id of a user");
            assert!(kind != "friends" || of_list != id, "{id} is a friend of their own");
            assert!(!listed[..at].contains(of_list), "{of_list} is listed twice");
        }
    };
    match read_export(kind, &file(name, bytes), &mut check) {
        Ok(read) => {
            assert_eq!(read, bytes.len() as u64, "read to its end");
            true
        }
        Err(why) => {
            assert!(!why.is_empty());
            false
        }
    }
}
