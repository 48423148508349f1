//! The audit log: what was done with a vault's keys, by whom, and what came of it.

mod chain;
mod entry;
mod log;
mod writer;

pub use entry::{AuditEntry, AuditHead};
pub(super) use entry::{AuditRecord, Use, outcome};
pub use log::AuditLog;
pub(super) use writer::{ARCHIVE, AuditWriter};
