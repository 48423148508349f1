//! Detects the version of LUKS on a device.

use super::{BINARY_HEADER, BinaryHeader, Position};

/// A version of LUKS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LuksVersion {
    /// LUKS1, of 2004: one header, eight passphrases, sectors of 512 bytes.
    Luks1,
    /// LUKS2, of 2017: two copies of a header in JSON, with tokens.
    Luks2,
}

impl core::fmt::Display for LuksVersion {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(if *self == LuksVersion::Luks1 { "LUKS1" } else { "LUKS2" })
    }
}

/// The version of the LUKS header in a device's first block; `None` without the magic of LUKS or for an unknown
/// version.
pub fn probe_version(block: &[u8; BINARY_HEADER]) -> Option<LuksVersion> {
    if !BinaryHeader::has_magic(block, Position::Primary) {
        return None;
    }
    match BinaryHeader::version(block) {
        1 => Some(LuksVersion::Luks1),
        2 => Some(LuksVersion::Luks2),
        _ => None,
    }
}
