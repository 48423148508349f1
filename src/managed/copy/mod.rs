//! Copies of disks in use, and of snapshots that need those before them.

mod capture;
mod chain;
mod target;

pub(super) use capture::Capture;
pub(super) use chain::Chain;
pub use target::CopyProgress;
pub(super) use target::Target;
