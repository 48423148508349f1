//! A server's description of an export.

use crate::wire::*;

/// A server's description of an export. A server that describes it otherwise after a reconnection has another export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Export {
    /// In bytes.
    pub(crate) size: u64,
    pub(crate) flags: u16,
    pub(crate) blocks: Blocks,
    /// Whether replies have chunks.
    pub(crate) structured: bool,
    /// The number of `base:allocation`, if the server reports it.
    pub(crate) allocation: Option<u32>,
}

/// Sizes of blocks in bytes ("Block size constraints").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blocks {
    /// The unit of offsets and lengths, in bytes.
    pub(crate) minimum: u32,
    /// The longest payload.
    pub(crate) maximum: u32,
}

impl Default for Blocks {
    /// The limits for a server that reports none.
    fn default() -> Self {
        Blocks { minimum: 1, maximum: MAX_PAYLOAD }
    }
}

impl Export {
    pub(crate) fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// Whether a server has the same export after a reconnection. Its offers beyond requests may differ.
    pub(crate) fn is_same(&self, other: &Export) -> bool {
        let allocation = self.allocation.is_some() == other.allocation.is_some();
        allocation && Export { allocation: self.allocation, ..other.clone() } == *self
    }
}
