//! A fake time of day for a server process.
//!
//! Redis decides by its own clock, so a test over months has to set that one. The server is a real
//! one; only its `gettimeofday` is replaced (`moved_clock.c`).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

/// The offset behind the real time until the clock is set, in microseconds: ten years, so that a
/// test can begin in the past without setting it back.
const BEHIND_AT_FIRST: i64 = 10 * 365 * 86_400 * 1_000_000;

/// The clock's file, and the library that makes a process read it.
pub struct MovedClock {
    folder: TempDir,
}

impl MovedClock {
    /// Builds the library with the C compiler that Rust links with. Until the clock is set it runs,
    /// since servers that form a deployment wait by it.
    pub fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/moved_clock.c");
        let library = folder.path().join("moved_clock.so");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source);
        let done = compiler.status().expect("cc is installed: Rust links with it");
        assert!(done.success(), "cc: {done}");
        let clock = Self { folder };
        std::fs::write(clock.file(), (-BEHIND_AT_FIRST).to_ne_bytes()).expect("writes");
        clock
    }

    /// The file with the time: microseconds since the epoch, or the offset to the real time if
    /// negative.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("clock")
    }

    /// Lets the clock run with that offset behind the real time.
    pub fn run_behind(&self, behind: Duration) {
        let micros = i64::try_from(behind.as_micros()).expect("some years");
        // In place: the servers have the file mapped. Zero would stop the clock.
        let file = std::fs::OpenOptions::new().write(true).open(self.file()).expect("is there");
        std::os::unix::fs::FileExt::write_all_at(&file, &(-micros.max(1)).to_ne_bytes(), 0)
            .expect("writes");
    }

    /// The environment of a process that uses the clock.
    pub fn environment(&self) -> Vec<String> {
        let library = self.folder.path().join("moved_clock.so");
        vec![
            format!("LD_PRELOAD={}", library.display()),
            format!("MOVED_CLOCK={}", self.file().display()),
        ]
    }
}
