//! The size and the numbering of sectors.

use crate::{Error, Result};

/// The size of a sector, one XTS data unit: 512 to 65,536 bytes.
///
/// Storage uses 512 and 4096. Sizes with room for a checksum, such as 520 or 4160, work too. If a size isn't a multiple
/// of 512, sectors can only be counted with [`SectorUnit::Sector`].
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
    /// [`Error::SectorSize`] if it is below 512 or over 65,536.
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

/// The unit that sector numbers count. It determines the tweak of each sector, so all users of a disk must agree on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SectorUnit {
    /// Whole sectors or pages: 0, 1, 2, ... for any size. dm-crypt's `plain64` with `iv_large_sectors`.
    Sector,
    /// Units of 512 bytes for any sector size: `plain64` of dm-crypt and LUKS. Sectors of 4096 bytes have the numbers
    /// 0, 8, 16, ... Numbers between them are refused ([`Error::SectorNumber`]), because sectors numbered 0, 1, 2, ...
    /// would share tweaks.
    Bytes512,
    /// Units of 512 bytes, starting at any number: dm-crypt's `plain64` with an offset (`iv_offset`) that isn't a
    /// multiple of the sector size. Runs with overlapping numbers share tweaks, and this isn't detected.
    Bytes512AnyOffset,
}

impl SectorUnit {
    /// The difference between the numbers of two consecutive sectors.
    pub(crate) const fn units_per_sector(self, size: SectorSize) -> u32 {
        match self {
            SectorUnit::Bytes512 | SectorUnit::Bytes512AnyOffset => size.0 / 512,
            SectorUnit::Sector => 1,
        }
    }

    /// Refuses a first number that lies inside a sector.
    #[inline]
    pub(crate) fn check_number(self, size: SectorSize, first_sector: u64) -> Result<()> {
        if self != SectorUnit::Bytes512 {
            return Ok(());
        }
        let step = self.units_per_sector(size);
        // Sizes are nearly always powers of two, and a division is measurable for one sector.
        let between = match step.is_power_of_two() {
            true => first_sector & u64::from(step - 1) != 0,
            false => !first_sector.is_multiple_of(u64::from(step)),
        };
        if between {
            return Err(Error::SectorNumber { first_sector, units_per_sector: step });
        }
        Ok(())
    }
}
