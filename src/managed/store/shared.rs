//! The interface of a store: records by key, each with a revision, and changes of a few records at once.
//!
//! It is small on purpose. Leases, queues and indices are records, too, and the layers above make them from these three
//! operations. So an engine has nothing to get wrong but atomicity and order.

use std::fmt;

use crate::Result;

/// The most bytes of a key. A key is text without control characters.
pub const MAX_KEY: usize = 1024;

/// The most bytes of a value.
pub const MAX_VALUE: usize = 256 << 10;

/// The most records that one commit checks and changes.
pub const MAX_COMMIT: usize = 64;

/// The most bytes that the keys and values of one commit have together. Engines accept this with their usual settings.
pub const MAX_COMMIT_BYTES: usize = 1 << 20;

/// The most records of a page.
pub const MAX_PAGE: usize = 1000;

/// The number of a change of a record. A later change of the same key has a greater one, also after a removal. Revisions
/// of different keys can't be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// A record as it was read. Stores make it: it has all that a store knows of a record, so it gets no more members.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Its name.
    pub key: String,
    /// Its content. The store doesn't look into it.
    pub value: Vec<u8>,
    /// The change that wrote it.
    pub revision: Revision,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Record { key, value, revision } = self;
        write!(f, "Record({key:?}, {} bytes, revision {})", value.len(), revision.0)
    }
}

/// A change of one record in a commit, with the revision that the commit expects. It gets no more members: a store that
/// doesn't know of one would commit too much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The record's key. Each key occurs once in a commit.
    pub key: String,
    /// The revision that the record must have; `None`: there must be no such record.
    pub expected: Option<Revision>,
    /// The action on the record.
    pub action: Action,
}

/// The action of a commit on a record. A store matches all of them, so that it ignores none.
#[derive(Clone, PartialEq, Eq)]
pub enum Action {
    /// It stays as it is. The commit only demands its revision.
    Check,
    /// It gets this value, and a new revision.
    Put(Vec<u8>),
    /// It is removed.
    Remove,
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Check => f.write_str("Check"),
            Action::Put(value) => write!(f, "Put({} bytes)", value.len()),
            Action::Remove => f.write_str("Remove"),
        }
    }
}

/// How a commit ended. A caller handles both, and there is no third: what is uncertain is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All of it happened, and is durable. The revisions of the records that were put, in the order of the changes.
    Committed(Vec<Revision>),
    /// None of it happened: a record has another revision than was expected.
    Conflict,
}

/// A store of records that services share.
///
/// Implementations: the embedded one in a file, which is the default; crates for PostgreSQL and etcd. Another one has to
/// pass the suite `managed::store::conformance`, of the feature `store-conformance`.
///
/// Every implementation guarantees:
/// - **Reads are current.** A read that begins after a commit returned, on whatever host, sees it. Nothing is read from a
///   replica that may lag behind.
/// - **A commit is atomic and durable.** Once it returns, all of it survives the loss of any one server.
/// - **Commits are serializable.** If one of two commits changes a record whose revision the other expects, they don't both succeed.
/// - **An error is not a 'no'.** After an error, a commit may have happened, or may still happen within
///   [`deadline`](Store::deadline). The caller reads the records again.
/// - **Time is bounded.** Each call returns within [`deadline`](Store::deadline), also when the store hangs.
pub trait Store: Send + Sync {
    /// Reads records by their keys, all as of one moment. The answer has the order of the keys; `None`: there is no such
    /// record. At most [`MAX_COMMIT`] keys.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the store can't be reached, or takes too long;
    /// [`Error::InvalidOption`](crate::Error::InvalidOption) for too many or unsound keys.
    fn get(&self, keys: &[&str]) -> Result<Vec<Option<Record>>>;

    /// Reads the records whose keys begin with `prefix` and come after `after`, in the order of the keys' bytes: at most
    /// `limit`, of 1 to [`MAX_PAGE`]. A page that has fewer is the last one. A page is read as of one moment; the next
    /// page is read as of a later one.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Record>>;

    /// Changes records, all or none: at most [`MAX_COMMIT`], with at most [`MAX_COMMIT_BYTES`] of keys and values.
    ///
    /// # Errors
    /// As [`get`](Self::get). After [`Error::Io`](crate::Error::Io) it isn't known whether it happened.
    fn commit(&self, changes: &[Change]) -> Result<Outcome>;

    /// The longest time that a call takes. After this time, a commit that failed no longer happens.
    fn deadline(&self) -> std::time::Duration;
}

impl<S: Store + ?Sized> Store for std::sync::Arc<S> {
    fn get(&self, keys: &[&str]) -> Result<Vec<Option<Record>>> {
        (**self).get(keys)
    }

    fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Record>> {
        (**self).list(prefix, after, limit)
    }

    fn commit(&self, changes: &[Change]) -> Result<Outcome> {
        (**self).commit(changes)
    }

    fn deadline(&self) -> std::time::Duration {
        (**self).deadline()
    }
}
