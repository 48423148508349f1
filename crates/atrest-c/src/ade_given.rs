//! What C says of a disk of Azure Disk Encryption, and what it is told.

use crate::device::Device;

/// A disk as C describes it, for as long as its pointers are good.
#[cfg_attr(not(feature = "ade"), allow(dead_code))] // only looked at by a library that has it
pub(crate) struct Given<'a> {
    pub(crate) device: &'a Device,
    pub(crate) header: Option<&'a Device>,
    pub(crate) secret: Option<&'a str>,
    /// A key, and the name of the algorithm.
    pub(crate) kek: Option<(&'a str, &'static str)>,
}

/// The ways in that a take-over removed and left, as bits of keyslots and of tokens.
pub(crate) struct Told {
    pub(crate) removed: (u32, u32),
    pub(crate) left: (u32, u32),
}
