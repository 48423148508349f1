//! Copies: of a disk that is written meanwhile, and of snapshots that need the ones before them.

mod capture;
mod chain;
mod chunk_map;

pub use capture::CopyProgress;
pub(super) use capture::{Capture, Target};
pub(super) use chain::{Chain, Link};
pub(super) use chunk_map::{CHUNK, ChunkMap, place};
