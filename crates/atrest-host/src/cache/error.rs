//! Faults of a cache's file.

use std::fmt;
use std::io;

use atrest::Error;

/// A fault of a cache's file. It is the source of an [`Error::Io`]: see [`of`](Self::of).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheError {
    /// The file isn't a cache.
    NotACache,
    /// The cache is of another disk, or its header is damaged.
    Foreign,
    /// The cache isn't the one that the store names as the disk's last: an older copy, or one of another attachment.
    NotTheLast,
    /// The store names a write-back cache that isn't there. Acknowledged writes are in it.
    Missing,
    /// Acknowledged writes in the cache are damaged.
    Damaged {
        /// The offset on the disk, in bytes; `None` if the damage is in the journal, which lists the cached writes.
        offset: Option<u64>,
    },
}

impl CacheError {
    /// The fault of a cache's file inside an error, if the error has one.
    pub fn of(error: &Error) -> Option<&CacheError> {
        match error {
            Error::Io { source, .. } => source.get_ref()?.downcast_ref(),
            _ => None,
        }
    }

    /// The error, for a cache of this name.
    pub(super) fn at(self, name: &str) -> Error {
        Error::Io {
            what: format!("using the host cache {name}"),
            source: io::Error::new(io::ErrorKind::InvalidData, self),
        }
    }
}

impl fmt::Display for CacheError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const GIVE_UP: &str = "or give up the writes that only the cache has, with `hazmat_give_up`";
        match self {
            CacheError::NotACache => f.write_str("the file holds something else than a cache; name another file"),
            CacheError::Foreign => {
                write!(f, "it is the cache of another disk, or its header is damaged; name this disk's file, {GIVE_UP}")
            }
            CacheError::NotTheLast => write!(
                f,
                "it is not the cache that the store names as this disk's last; put the last one back, take what this one \
                 has with `hazmat_adopt`, {GIVE_UP}"
            ),
            CacheError::Missing => {
                write!(f, "acknowledged writes are in this disk's last cache, which is missing; put it back, {GIVE_UP}")
            }
            CacheError::Damaged { offset: Some(offset) } => write!(
                f,
                "an acknowledged write at byte {offset} of the disk is damaged in the cache; restore the cache's file, {GIVE_UP}"
            ),
            CacheError::Damaged { offset: None } => write!(
                f,
                "the cache's journal is damaged, and acknowledged writes are missing; restore the cache's file, {GIVE_UP}"
            ),
        }
    }
}

impl std::error::Error for CacheError {}
