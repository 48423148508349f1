//! Copies: of a disk that is written meanwhile, and of snapshots that need the ones before them.

mod capture;
mod chain;
mod target;

pub(super) use capture::Capture;
pub(super) use chain::Chain;
pub use target::CopyProgress;
pub(super) use target::Target;
