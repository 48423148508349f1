//! The audit log: each use of a vault's keys, with its user and outcome.

mod chain;
mod entry;
mod kept;
mod log;
mod writer;

pub use entry::{AuditEntry, AuditHead};
pub(super) use entry::{AuditRecord, Use, outcome};
pub use log::AuditLog;
pub(super) use writer::{ARCHIVE, AuditWriter};
