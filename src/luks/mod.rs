//! LUKS2 and LUKS1 on disk, as bytes and nothing else: parse, validate, serialise. No file, no device, no policy.
//!
//! The sources are the LUKS2 On-Disk Format Specification 1.1.4, whose sections are named here, and the LUKS1 On-Disk Format
//! Specification 1.2.3, where that is said. What the crate adds to LUKS2, the token of type `atrest`, is specified in
//! `docs/formats.md`. Both versions hide the volume key in keyslots in the same way.

mod af;
mod binary;
mod digest;
#[allow(dead_code)] // `volume` does not use it yet
mod luks1;
#[allow(dead_code)] // `volume` does not use it yet
mod material;
mod metadata;
mod token;

pub use binary::{BinaryHeader, HEADER_SIZES, Position, SALT_LEN};
pub use digest::{Digest, VolumeKeyDigest};
pub use luks1::{Luks1Defect, Luks1Header, Luks1Keyslot};
#[allow(unused_imports)] // `volume` does not use it yet
pub(crate) use material::Material;
pub use metadata::{CryptSegment, Metadata, NewMetadata, Segment, SegmentKind, SegmentSize};
pub use token::{TOKEN_TYPE, Token};

/// The size of the binary header in bytes (section 2.1); the JSON area follows it.
pub const BINARY_HEADER: usize = 4096;
