//! Copies of disks in use, and of snapshots that need those before them.

mod capture;
mod chain;
mod chunk_map;
mod target;

pub(super) use capture::Capture;
pub(super) use chain::Chain;
pub(super) use chunk_map::{CHUNK, ChunkMap, place};
pub use target::CopyProgress;
pub(super) use target::Target;
