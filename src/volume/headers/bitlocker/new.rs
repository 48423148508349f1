//! New volumes.
//!
//! The first sectors and the three copies of the metadata lie at the end of the volume, which is one sector or more before the end
//! of the device. Windows has the copies in the middle, and covers them by files of the file system that was there before. A file
//! system made on a new volume would not know of them; one that ends before them needn't.

use super::copies::{now, write_copy};
use super::protector::new_protector;
use crate::ondisk::bitlocker::{AREA, BootSector, Draft, Method, NewProtector, NewVolume};
use crate::volume::BlockDevice;
use crate::volume::headers::{Means, check_written};
use crate::{Dek, DekAlgorithm, Error, Result, Secret, SectorSize, TooSmall};

/// The bytes of the first sectors, as in Windows.
const START: u64 = 8 << 10;
/// The bytes taken at the end: the first sectors, and the three copies.
const OWN: u64 = START + 3 * AREA as u64;
/// The least number of bytes left on the device behind the volume: a sector of any size.
const BEHIND: u64 = 4096;
/// The least size.
const LEAST: u64 = 1 << 20;

/// A volume to be made, by a method that BitLocker has, with a protector that is sound.
pub(in crate::volume) struct NewBitLocker<'a> {
    method: Method,
    dek: &'a Dek,
    sector_size: SectorSize,
    description: &'a str,
    protector: NewProtector,
}

/// The range of a device that a new volume takes for itself, beside its first sectors. Only this and those must be blank.
pub(in crate::volume) struct Room {
    /// The size of the volume.
    size: u64,
    pub(in crate::volume) start: u64,
}

impl Room {
    pub(in crate::volume) fn of(device_size: u64) -> Result<Self> {
        // libcryptsetup fills the gaps between the places with mappings of data, and never ends where there is none behind the
        // last one.
        let size = device_size.saturating_sub(BEHIND) / AREA as u64 * AREA as u64;
        if size < LEAST {
            return Err(Error::DeviceTooSmall {
                what: TooSmall::NewBitLocker,
                needed: LEAST + BEHIND,
                size: device_size,
            });
        }
        Ok(Room { size, start: size - OWN })
    }

    /// The byte behind it.
    pub(in crate::volume) fn end(&self) -> u64 {
        self.size
    }
}

impl<'a> NewBitLocker<'a> {
    pub(in crate::volume) fn new(
        dek: &'a Dek,
        sector_size: SectorSize,
        description: &'a str,
        secret: &[u8],
        by: Means,
    ) -> Result<Self> {
        let method = match dek.algorithm() {
            DekAlgorithm::Aes128Xts => Method::Xts128,
            DekAlgorithm::Aes256Xts => Method::Xts256,
            other => {
                let text = format!("a new BitLocker volume is encrypted by XTS, not {}", other.name());
                return Err(Error::InvalidOption(text));
            }
        };
        Ok(NewBitLocker { method, dek, sector_size, description, protector: new_protector(by, secret)? })
    }

    /// Makes the bytes to be written. Every refusal happens here, before the device loses its content.
    pub(in crate::volume) fn make(&self, room: &Room) -> Result<MadeBitLocker> {
        let copies = [0, 1, 2].map(|i| room.start + START + i * AREA as u64);
        let volume = NewVolume {
            method: self.method,
            key: self.dek.secret(),
            description: self.description,
            size: room.size,
            header_sectors: START as u32 / self.sector_size.bytes(),
            header_size: START,
            header_offset: room.start,
            copies,
        };
        let master_key = Secret::random(32)?;
        let mut draft = Draft::new(&volume, &master_key, now())?;
        draft.add(&self.protector, &master_key)?;
        let area = draft.finish(&master_key)?;
        let boot = BootSector::make(self.sector_size, copies);
        Ok(MadeBitLocker { copies, area, boot })
    }
}

/// The bytes that are written for a new volume.
pub(in crate::volume) struct MadeBitLocker {
    copies: [u64; 3],
    area: Vec<u8>,
    boot: [u8; 512],
}

impl MadeBitLocker {
    /// Writes the metadata, and then the boot sector, which makes a volume of it.
    pub(in crate::volume) fn write(&self, device: &dyn BlockDevice) -> Result<()> {
        for place in self.copies {
            write_copy(device, place, &self.area)?;
        }
        let failed = |e| Error::io("writing the boot sector", e);
        device.write_at(0, &self.boot).map_err(failed)?;
        device.sync().map_err(failed)?;
        check_written(device, 0, &self.boot).map_err(failed)
    }
}
