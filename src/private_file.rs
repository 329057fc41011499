//! Files and directories that only the user of this process can use.
//!
//! Every file and directory that imquota creates is created here, except Unix sockets, whose modes
//! are settings. They hold facts, keys and bills, so the mode does not depend on the umask: a new
//! file has 0600 from its creation and a new directory 0700. Existing ones keep their mode: an
//! operator may have widened it on purpose. `tests/tidy.rs` checks that no other code creates
//! files.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use tracing::warn;

/// Permission bits of a new file.
const FILE_MODE: u32 = 0o600;
/// Permission bits of a new directory.
const DIRECTORY_MODE: u32 = 0o700;
/// Permission bits of users who are neither the owner nor in the file's group.
const OTHERS_MODE: u32 = 0o007;

/// Creates a directory and its missing parents. An existing one is not changed.
pub fn create_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)
}

/// Returns options to open a file; a file that they create is private.
#[must_use]
pub fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(FILE_MODE);
    options
}

/// Creates a file to read and write; fails if it exists.
pub fn create_new(path: &Path) -> io::Result<File> {
    options().read(true).write(true).create_new(true).open(path)
}

/// Opens a file to write it from its beginning, and creates it if it is missing.
pub fn create(path: &Path) -> io::Result<File> {
    options().write(true).create(true).truncate(true).open(path)
}

/// Writes a whole file in place.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    create(path)?.write_all(content)
}

/// Replaces a file as a whole: readers see either the old or the new content. The new content is on
/// disk when this returns, and the file is private whatever its mode was.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    // A file that a crash left behind may have another mode.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = create_new(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

/// Logs a warning if users other than the owner and the group may use the file. The group is not
/// checked: Kubernetes gives a volume to the group of `fsGroup` at each mount.
pub fn warn_if_shared(path: &Path) {
    let Ok(metadata) = fs::metadata(path) else { return };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & OTHERS_MODE != 0 {
        warn!(
            path = %path.display(),
            mode = format!("{mode:04o}"),
            "file open to every user of this machine: run chmod 600 on it"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("is there").permissions().mode() & 0o777
    }

    #[test]
    fn new_files_and_directories_are_private_and_existing_ones_keep_their_mode() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = folder.path().join("outer/inner");
        create_directory(&directory).expect("created");
        assert_eq!([mode(&directory), mode(&folder.path().join("outer"))], [0o700; 2]);
        let [new, written, replaced] = ["new", "written", "replaced"].map(|it| directory.join(it));
        create_new(&new).expect("created");
        write(&written, b"long content").expect("written");
        replace(&replaced, b"1").expect("replaced");
        assert_eq!([&new, &written, &replaced].map(|path| mode(path)), [0o600; 3]);
        for path in [&directory, &written, &replaced] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("changed");
        }
        create_directory(&directory).expect("is there");
        write(&written, b"short").expect("written");
        assert_eq!([mode(&directory), mode(&written)], [0o755; 2]);
        assert_eq!(fs::read(&written).expect("reads"), b"short");
        assert!(create_new(&written).is_err());
    }

    #[test]
    fn a_replaced_file_is_private_even_if_a_crash_left_a_wider_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        for left in [&path, &folder.path().join("x.new")] {
            fs::write(left, "before").expect("written");
            fs::set_permissions(left, fs::Permissions::from_mode(0o666)).expect("changed");
        }
        replace(&path, b"after").expect("replaced");
        assert_eq!((fs::read(&path).expect("reads"), mode(&path)), (b"after".to_vec(), 0o600));
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 1);
    }
}
