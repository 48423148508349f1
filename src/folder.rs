//! The folder that a file is in: a new name lasts only when the folder, too, has reached the disk.

use std::io;
use std::path::Path;

/// The folder of a path; the current one for a bare name.
pub(crate) fn of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a file's new name last, where the system can sync folders.
pub(crate) fn sync(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        std::fs::File::open(of(path))?.sync_all()?;
    }
    Ok(())
}
