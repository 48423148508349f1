//! Arguments and results of C for disks of Azure Disk Encryption, as Rust values.

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

/// A first passphrase, as C describes its place.
#[cfg_attr(not(feature = "ade"), allow(dead_code))] // only looked at by a library that has it
pub(crate) struct New<'a> {
    pub(crate) secret: Option<&'a str>,
    pub(crate) kek: Option<&'a str>,
    /// The name of the algorithm.
    pub(crate) algorithm: &'static str,
    pub(crate) machine: Option<&'a str>,
    pub(crate) file: Option<&'a str>,
    pub(crate) vault: Option<&'a str>,
    pub(crate) resource: Option<&'a str>,
    pub(crate) attestation: Option<&'a str>,
    pub(crate) letter: Option<&'a str>,
    pub(crate) label: Option<&'a str>,
}

/// The ways in that a take-over removed and left: each a bit set of keyslots and one of tokens.
pub(crate) struct Told {
    pub(crate) removed: (u32, u32),
    pub(crate) left: (u32, u32),
}
