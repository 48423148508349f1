//! Stores: where services keep the records of their fleet.
//!
//! A [`Store`] keeps records by key, each with a revision, and changes a few of them at once. The default one is a
//! [`FileStore`]: one file of one process, by `redb`, a copy-on-write B-tree with transactions. Others are shared by many
//! hosts.

mod ahead;
mod backup;
mod check;
#[cfg(any(test, feature = "store-conformance"))]
pub mod conformance;
mod contents;
mod conversion;
mod counted;
mod embedded;
mod engine;
mod errors;
mod file;
mod former;
mod hosts;
mod layer;
mod limits;
mod memory;
mod moving;
mod old;
mod opening;
mod page;
mod place;
mod queries;
mod queue;
mod record;
mod remains;
mod schema;
mod shared;
mod survey;
mod tables;
mod transaction;
mod untouched;
mod viewed;
mod work;
mod write;

pub(super) use self::ahead::Ahead;
pub(super) use self::backup::check_free;
pub use self::check::StoreCheck;
pub use self::embedded::FileStore;
pub(super) use self::layer::Records;
pub use self::limits::{check_commit, check_get, check_list};
pub use self::memory::{Call, Fault, MemoryStore};
pub(super) use self::moving::check_whole;
pub use self::moving::{copy_records, reopen_moved};
pub(super) use self::old::OldRecords;
pub(super) use self::opening::check_file;
pub(super) use self::queue::{Begun, Claim, Claimed, Found, Last, PART, Queue};
pub use self::shared::{
    Action, Change, MAX_COMMIT, MAX_COMMIT_BYTES, MAX_KEY, MAX_PAGE, MAX_VALUE, Outcome, Record, Revision, Store,
};
pub(super) use self::survey::check_shared;
pub(super) use self::tables::{Tables, next_place};
pub(super) use self::viewed::View;

#[cfg(test)]
mod tests;
