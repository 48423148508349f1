//! The parameters of a new volume's header.

use super::NewKeyslot;
use crate::cipher::CipherSpec;
use crate::ondisk::luks::{CryptSegment, Resilience, Token};
use crate::{Dek, Secret, SectorSize};

/// The error text for a data offset that no format supports.
pub(in crate::volume) const BAD_DATA_OFFSET: &str =
    "the data offset must be a multiple of 1 MiB from 1 (LUKS1: 2) to 128 MiB, or 0 with a detached header";

/// A new header. A format refuses parameters that it can't store.
pub(in crate::volume) struct NewHeader<'a> {
    /// The volume key.
    pub(in crate::volume) key: &'a Secret,
    pub(in crate::volume) cipher: CipherSpec,
    pub(in crate::volume) sector_size: SectorSize,
    /// The first byte of the data; `None` for the format's default.
    pub(in crate::volume) data_offset: Option<u64>,
    /// Whether the header is on its own device.
    pub(in crate::volume) detached: bool,
    /// The size of one copy of the metadata in bytes.
    pub(in crate::volume) metadata_size: u64,
    pub(in crate::volume) uuid: String,
    pub(in crate::volume) label: &'a str,
    pub(in crate::volume) subsystem: &'a str,
    pub(in crate::volume) written: Option<NewWritten<'a>>,
}

/// A map of written chunks.
pub(in crate::volume) struct NewWritten<'a> {
    pub(in crate::volume) dek: &'a Dek,
    pub(in crate::volume) chunk_size: u32,
    /// The most bytes of data.
    pub(in crate::volume) size: u64,
}

/// A new key of a volume, with the ways in to it.
pub(in crate::volume) struct NewKey<'a> {
    pub(in crate::volume) dek: &'a Dek,
    pub(in crate::volume) keyslots: Vec<NewKeyslot<'a>>,
    /// Still without their MACs.
    pub(in crate::volume) tokens: Vec<Token>,
}

/// The beginning of a re-encryption.
pub(in crate::volume) struct NewReencryption<'a> {
    pub(in crate::volume) old: &'a Secret,
    pub(in crate::volume) key: NewKey<'a>,
    /// How the data will be encrypted.
    pub(in crate::volume) last: CryptSegment,
    pub(in crate::volume) resilience: Resilience,
    /// The size of the volume in bytes.
    pub(in crate::volume) size: u64,
}

/// The beginning of an encryption in place.
pub(in crate::volume) struct NewEncryption {
    pub(in crate::volume) resilience: Resilience,
    /// The size of the plain data in bytes.
    pub(in crate::volume) size: u64,
    /// The byte to which the start of the data was moved to make room for the header, and the number of bytes.
    pub(in crate::volume) moved: Option<(u64, u64)>,
}

/// The beginning of a decryption in place.
pub(in crate::volume) struct NewDecryption {
    pub(in crate::volume) resilience: Resilience,
    /// The size of the volume in bytes.
    pub(in crate::volume) size: u64,
    /// How much of its start was copied to the start of the device, where all data is to go; 0 if it stays where it is.
    pub(in crate::volume) moved: u64,
}
