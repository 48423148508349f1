//! The parameters of a new volume's header.

use crate::Secret;
use crate::SectorSize;
use crate::cipher::CipherSpec;

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
}
