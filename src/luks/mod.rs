//! LUKS2 on disk, as bytes and nothing else: parse, validate, serialise. No file, no device, no policy.
//!
//! The source is the LUKS2 On-Disk Format Specification 1.1.4; sections named here are its sections. What the crate adds
//! to the format, the token of type `atrest`, is specified in `docs/formats.md`.

mod binary;
mod digest;
mod metadata;
mod token;

pub use binary::{BinaryHeader, HEADER_SIZES, Position, SALT_LEN};
pub use digest::{Digest, VolumeKeyDigest};
pub use metadata::{CryptSegment, Metadata, NewMetadata, Segment, SegmentKind, SegmentSize};
pub use token::{TOKEN_TYPE, Token};

/// The size of the binary header in bytes (section 2.1); the JSON area follows it.
pub const BINARY_HEADER: usize = 4096;
