//! LUKS2 and LUKS1 on disk, as bytes and nothing else: parse, validate, serialise. No file, no device, no policy.
//!
//! The sources are the LUKS2 On-Disk Format Specification 1.1.4, whose sections are named here, and the LUKS1 On-Disk Format
//! Specification 1.2.3, where that is said. What the crate adds to LUKS2, the token of type `atrest`, is specified in
//! `docs/formats.md`. Both versions hide the volume key in keyslots in the same way.

mod af;
mod binary;
mod digest;
mod luks1;
mod material;
mod metadata;
mod token;

pub use binary::{BinaryHeader, HEADER_SIZES, Label, Position, SALT_LEN};
pub use digest::{Digest, VolumeKeyDigest};
pub use luks1::{Luks1Defect, Luks1Header, Luks1Keyslot};
pub(crate) use material::Material;
pub use metadata::{
    Area, CryptSegment, Keyslot, KeyslotKdf, KeyslotKind, Metadata, NewMetadata, PassphraseKeyslot, Priority,
    Reencryption, Segment, SegmentKind, SegmentSize, TokenInfo, WIPING_TYPE,
};
pub use token::{TOKEN_TYPE, Token};

/// The size of the binary header in bytes (section 2.1); the JSON area follows it.
pub const BINARY_HEADER: usize = 4096;

/// A version of LUKS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LuksVersion {
    /// The first, of 2004: one header, eight passphrases, sectors of 512 bytes.
    Luks1,
    /// The second, of 2017: two copies of a header in JSON, with tokens.
    Luks2,
}

impl core::fmt::Display for LuksVersion {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(if *self == LuksVersion::Luks1 { "LUKS1" } else { "LUKS2" })
    }
}

/// The version that the first block of a device says it has, if it has the magic of LUKS and a version that is known.
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

/// How many stripes the anti-forensic splitter makes of a key: neither version of LUKS has another number.
pub(crate) const STRIPES: u32 = 4000;
