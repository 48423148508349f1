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
mod version;

pub(crate) use af::STRIPES;
pub use binary::{BINARY_HEADER, BinaryHeader, HEADER_SIZES, Label, Position, SALT_LEN};
pub use digest::{Digest, VolumeKeyDigest};
pub use luks1::{Luks1Defect, Luks1Header, Luks1Keyslot};
pub(crate) use material::Material;
pub use metadata::{
    Area, CryptSegment, Keyslot, KeyslotKdf, KeyslotKind, Metadata, NewMetadata, PassphraseKeyslot, Priority,
    Reencryption, Segment, SegmentKind, SegmentSize, TokenInfo, WIPING_TYPE,
};
pub use token::{TOKEN_TYPE, Token};
pub use version::{LuksVersion, probe_version};
