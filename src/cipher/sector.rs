//! How a device is cut into sectors and how these are numbered.

use crate::{Error, Result};

/// The size of a sector, one XTS data unit: 512 to 65,536 bytes.
///
/// Storage uses 512 and 4096. Sizes with room for a checksum, such as 520 or 4160, work too; where one isn't a multiple
/// of 512, sectors can only be counted by [`SectorUnit::Sector`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SectorSize(u32);

impl SectorSize {
    /// 512 bytes.
    pub const B512: SectorSize = SectorSize(512);
    /// 4096 bytes.
    pub const B4096: SectorSize = SectorSize(4096);

    /// A size in bytes.
    ///
    /// # Errors
    /// [`Error::SectorSize`] when it is below 512 or over 65,536.
    pub const fn new(bytes: u32) -> Result<Self> {
        if bytes < 512 || bytes > 65_536 {
            return Err(Error::SectorSize { size: bytes as u64 });
        }
        Ok(SectorSize(bytes))
    }

    /// The size in bytes.
    pub const fn bytes(self) -> u32 {
        self.0
    }
}

/// What the number of a sector counts. It decides the tweak of each sector, so both sides of a disk must agree on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SectorUnit {
    /// Units of 512 bytes, whatever the sector size: `plain64` of dm-crypt. Sectors of 4096 bytes are 0, 8, 16, ...
    #[default]
    Bytes512,
    /// Whole sectors: `plain64` with `iv_large_sectors` of dm-crypt. Sectors are 0, 1, 2, ... at any size.
    Sector,
}

impl SectorUnit {
    /// By how much the number grows from one sector to the next.
    pub(crate) const fn units_per_sector(self, size: SectorSize) -> u32 {
        match self {
            SectorUnit::Bytes512 => size.0 / 512,
            SectorUnit::Sector => 1,
        }
    }
}
