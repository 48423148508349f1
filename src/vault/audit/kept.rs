//! The file of an audit log, kept open between uses, and its lock.

use core::ops::Deref;
use std::fs::{File, Metadata, TryLockError};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::fs::{self, Links};

const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// The file of a log, open between uses.
pub(super) struct Kept {
    file: Arc<File>,
    found: Found,
}

impl Kept {
    /// Locks the file at a path and returns its length. It uses the kept file if the path still names that, and keeps the file from
    /// then on.
    pub(super) fn locked(kept: &mut Option<Kept>, path: &Path) -> io::Result<(Locked, u64)> {
        if let Some(Kept { file, found }) = kept.take() {
            let file = Locked::new(file)?;
            // The path must name neither a link nor another file, and the file must be as private as before. Ask under the lock,
            // because the length is used, too.
            let now = std::fs::symlink_metadata(path).ok();
            if let Some(now) = now.filter(|now| Found::of(now) == Some(found)) {
                *kept = Some(Kept { file: file.0.clone(), found });
                return Ok((file, now.len()));
            }
        }
        let file = Locked::new(Arc::new(fs::open_or_create(path, Links::Refuse)?))?;
        let now = file.metadata()?;
        *kept = Found::of(&now).map(|found| Kept { file: file.0.clone(), found });
        Ok((file, now.len()))
    }
}

/// Attributes that distinguish an open file from another one that its path may name, and from one that others may read.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Found {
    device: u64,
    inode: u64,
    mode: u32,
}

impl Found {
    /// The attributes of a file. No other file has the number of one that is open. `None`: the system has no such numbers.
    #[cfg(unix)]
    fn of(found: &Metadata) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        Some(Found { device: found.dev(), inode: found.ino(), mode: found.mode() })
    }

    #[cfg(not(unix))]
    fn of(_: &Metadata) -> Option<Self> {
        None
    }
}

/// A file that is locked while this lives.
pub(super) struct Locked(Arc<File>);

impl Locked {
    fn new(file: Arc<File>) -> io::Result<Self> {
        lock(&file, File::try_lock)?;
        Ok(Locked(file))
    }
}

impl Deref for Locked {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // Releasing a lock that is held can't fail.
        let _ = self.0.unlock();
    }
}

pub(super) fn lock(file: &File, attempt: fn(&File) -> Result<(), TryLockError>) -> io::Result<()> {
    let start = Instant::now();
    loop {
        match attempt(file) {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if start.elapsed() < LOCK_PATIENCE => sleep(Duration::from_micros(200)),
            Err(TryLockError::WouldBlock) => return Err(ErrorKind::ResourceBusy.into()),
            Err(TryLockError::Error(e)) => return Err(e),
        }
    }
}
