//! LUKS2 and LUKS1 on disk, as bytes only: parse, validate, serialise. No files, no devices, no policy.
//!
//! The sources are the LUKS2 On-Disk Format Specification 1.1.4, whose sections are cited here, and the LUKS1 On-Disk
//! Format Specification 1.2.3, where it is named. This crate adds the token of type `atrest` to LUKS2;
//! `docs/formats/volume.md` specifies it. Both versions protect the volume key in keyslots in the same way.

mod af;
mod binary;
mod digest;
mod fields;
mod luks1;
mod material;
mod metadata;
mod previous_key;
mod token;
mod version;
mod written;
mod written_page;

pub(crate) use af::STRIPES;
pub use binary::{BINARY_HEADER, BinaryHeader, HEADER_SIZES, Label, Position, SALT_LEN};
pub use digest::{Digest, VolumeKeyDigest};
pub use luks1::{Luks1Defect, Luks1Header, Luks1Keyslot};
pub(crate) use material::Material;
pub use metadata::{
    Area, CryptSegment, Direction, Keyslot, KeyslotKdf, KeyslotKind, Metadata, Mode, NewMetadata, PassphraseKeyslot,
    Plan, Priority, Proven, Reencryption, Resilience, Segment, SegmentKind, SegmentSize, TokenInfo, WIPING_TYPE,
};
pub use token::{TOKEN_TYPE, Token};
pub use version::{LuksVersion, probe_version};
#[cfg(feature = "managed")]
pub(crate) use written::WRITTEN_TYPE;
pub(crate) use written::{WRITTEN_REQUIREMENT, WrittenMap};
pub(crate) use written_page::{PAGE, PAGE_CHUNKS, PAGE_WORDS, Page, PageKeys};
