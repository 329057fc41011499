//! Reloading, with real files. The tests wait for calls of the handler, not for fixed times.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use imquota::catalog;
use imquota::diagnostics::LoadError;
use imquota::diagnostics::watch::FileWatch;
use imquota::domain::catalog::Catalog;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::broken::SMALL;

/// The argument of a call of the handler: the version, or the report.
type Answer = Result<String, String>;

struct Watching {
    answers: mpsc::UnboundedReceiver<Answer>,
    reload: mpsc::Sender<()>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Watching {
    fn start(watch: FileWatch<Catalog>, poll_interval: Duration) -> Self {
        let (told, answers) = mpsc::unbounded_channel();
        let (reload, reloads) = mpsc::channel(1);
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(watch.polling_every(poll_interval).run(
            reloads,
            shutdown.clone(),
            move |catalog| {
                let answer = catalog.map(|c| c.version).map_err(|e: LoadError| e.to_string());
                let told = told.clone();
                async move { told.send(answer).expect("the test listens") }
            },
        ));
        Self { answers, reload, shutdown, task }
    }

    /// The next call of the handler. The timeout only ends a failing test.
    async fn next(&mut self) -> Answer {
        let answer = timeout(Duration::from_secs(30), self.answers.recv()).await;
        answer.expect("the handler is called in time").expect("the watch runs")
    }

    /// Ends the watch; returns the calls of the handler that were not awaited.
    async fn stop(mut self) -> Vec<Answer> {
        self.shutdown.cancel();
        timeout(Duration::from_secs(30), self.task).await.expect("in time").expect("no panic");
        let mut left = Vec::new();
        while let Ok(answer) = self.answers.try_recv() {
            left.push(answer);
        }
        left
    }
}

const FAST: Duration = Duration::from_millis(1);
/// An interval longer than a test, so that only the first poll happens.
const RARE: Duration = Duration::from_secs(3600);

fn text(version: &str) -> String {
    SMALL.replace("\"v1\"", &format!("\"{version}\""))
}

/// Replaces a file by renaming.
fn replace(path: &Path, content: &str) {
    let new = path.with_extension("new");
    fs::write(&new, content).expect("written");
    fs::rename(&new, path).expect("renamed");
}

fn folder_with_catalog() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("catalog.toml");
    fs::write(&path, text("v1")).expect("written");
    (folder, path)
}

#[tokio::test]
async fn valid_and_invalid_changes_are_delivered_once_each() {
    let (_folder, path) = folder_with_catalog();
    let (catalog, watch) = catalog::watch(&path).expect("good");
    assert_eq!(catalog.version, "v1");
    let mut watching = Watching::start(watch, FAST);

    replace(&path, &text("v2"));
    assert_eq!(watching.next().await, Ok("v2".into()));
    replace(&path, "schema = 7");
    let report = watching.next().await.expect_err("wrong");
    assert!(
        report.ends_with(
            "catalog.toml:1:10: schema: must be 1, the layout that this version reads, not 7"
        ),
        "{report}"
    );
    fs::remove_file(&path).expect("removed");
    let report = watching.next().await.expect_err("gone");
    assert!(report.contains("catalog.toml: cannot be read"), "{report}");
    replace(&path, &text("v3"));
    // The next call is for the next content: the polls in between made none.
    assert_eq!(watching.next().await, Ok("v3".into()));
    replace(&path, &text("v4"));
    assert_eq!(watching.next().await, Ok("v4".into()));
    assert_eq!(watching.stop().await, []);
}

#[tokio::test]
async fn a_change_before_the_first_poll_is_detected() {
    let (_folder, path) = folder_with_catalog();
    let (_, watch) = catalog::watch(&path).expect("good");
    replace(&path, &text("v2"));
    let mut watching = Watching::start(watch, RARE);
    assert_eq!(watching.next().await, Ok("v2".into()));
    assert_eq!(watching.stop().await, []);
}

#[tokio::test]
async fn a_swapped_symlink_is_a_change() {
    // Like a ConfigMap in Kubernetes: catalog.toml -> ..data/catalog.toml, ..data -> a folder.
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    for version in ["v1", "v2"] {
        fs::create_dir(at(version)).expect("made");
        fs::write(at(version).join("catalog.toml"), text(version)).expect("written");
    }
    symlink("v1", at("..data")).expect("linked");
    symlink("..data/catalog.toml", at("catalog.toml")).expect("linked");
    let (_, watch) = catalog::watch(&at("catalog.toml")).expect("good");
    let mut watching = Watching::start(watch, FAST);
    symlink("v2", at("..new")).expect("linked");
    fs::rename(at("..new"), at("..data")).expect("swapped");
    assert_eq!(watching.next().await, Ok("v2".into()));
    assert_eq!(watching.stop().await, []);
}

#[tokio::test]
async fn a_requested_reload_is_always_delivered() {
    let (_folder, path) = folder_with_catalog();
    let (_, watch) = catalog::watch(&path).expect("good");
    let mut watching = Watching::start(watch, RARE);
    for _ in 0..2 {
        watching.reload.send(()).await.expect("the watch runs");
        assert_eq!(watching.next().await, Ok("v1".into()));
    }
    fs::write(&path, "schema = 7").expect("written");
    for _ in 0..2 {
        watching.reload.send(()).await.expect("the watch runs");
        assert!(watching.next().await.is_err());
    }
    assert_eq!(watching.stop().await, []);
}

#[tokio::test]
async fn polling_continues_without_reload_senders() {
    let (_folder, path) = folder_with_catalog();
    let (_, watch) = catalog::watch(&path).expect("good");
    let mut watching = Watching::start(watch, FAST);
    watching.reload = mpsc::channel(1).0;
    replace(&path, &text("v2"));
    assert_eq!(watching.next().await, Ok("v2".into()));
    assert_eq!(watching.stop().await, []);
}

#[tokio::test]
async fn the_watch_ends_with_the_guard_of_its_shutdown() {
    let (_folder, path) = folder_with_catalog();
    let (_, watch) = catalog::watch(&path).expect("good");
    let watching = Watching::start(watch, RARE);
    drop(watching.shutdown.drop_guard());
    timeout(Duration::from_secs(30), watching.task).await.expect("in time").expect("no panic");
}

#[test]
fn an_invalid_file_is_refused_at_the_start() {
    let (_folder, path) = folder_with_catalog();
    fs::write(&path, "").expect("written");
    assert!(matches!(catalog::watch(&path), Err(LoadError::Invalid { .. })));
}
