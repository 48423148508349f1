//! New volumes.
//!
//! All that is the volume's own lies at its end, one sector or more before that of the device: its first sectors, and the three copies of the metadata. Windows has the copies
//! in the middle and covers them by files of the file system that was there before. A file system that is made on a new volume
//! would not know of them; one that ends before them has no need to.

use super::copies::{now, write_copy};
use super::protector::new_protector;
use crate::ondisk::bitlocker::{AREA, BootSector, Draft, Method, NewVolume};
use crate::volume::BlockDevice;
use crate::volume::headers::{Means, check_written};
use crate::{Dek, DekAlgorithm, Error, Result, Secret, SectorSize};

/// The bytes of the first sectors, as in Windows.
const START: u64 = 8 << 10;
/// What is at the end: the first sectors, and the three copies.
const OWN: u64 = START + 3 * AREA as u64;
/// The least that is left of the device behind it: a sector of any size.
const BEHIND: u64 = 4096;
/// The least size.
const LEAST: u64 = 1 << 20;

/// A volume to be made.
pub(in crate::volume) struct NewBitLocker<'a> {
    pub(in crate::volume) dek: &'a Dek,
    pub(in crate::volume) sector_size: SectorSize,
    pub(in crate::volume) description: &'a str,
    pub(in crate::volume) secret: &'a [u8],
    pub(in crate::volume) by: Means,
}

/// What of a device a new volume takes for itself, beside its first sectors. It is all that must be blank.
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
            return Err(Error::DeviceTooSmall { needed: LEAST + BEHIND, size: device_size });
        }
        Ok(Room { size, start: size - OWN })
    }

    /// Behind it.
    pub(in crate::volume) fn end(&self) -> u64 {
        self.size
    }
}

/// Writes the metadata, and then the boot sector, which makes a volume of it.
pub(in crate::volume) fn create(device: &dyn BlockDevice, room: &Room, new: &NewBitLocker<'_>) -> Result<()> {
    let method = match new.dek.algorithm() {
        DekAlgorithm::Aes128Xts => Method::Xts128,
        DekAlgorithm::Aes256Xts => Method::Xts256,
        other => {
            let text = format!("a new BitLocker volume is encrypted by XTS, not {}", other.name());
            return Err(Error::InvalidOption(text));
        }
    };
    let protector = new_protector(new.by, new.secret)?;
    let sector = new.sector_size.bytes();
    let copies = [0, 1, 2].map(|i| room.start + START + i * AREA as u64);
    let volume = NewVolume {
        method,
        key: new.dek.secret(),
        description: new.description,
        size: room.size,
        header_sectors: START as u32 / sector,
        header_size: START,
        header_offset: room.start,
        copies,
    };
    let master_key = Secret::random(32)?;
    let mut draft = Draft::new(&volume, &master_key, now())?;
    draft.add(&protector, &master_key)?;
    let area = draft.finish(&master_key)?;
    for place in copies {
        write_copy(device, place, &area)?;
    }
    let failed = |e| Error::io("writing the boot sector", e);
    let boot = BootSector::make(new.sector_size, copies);
    device.write_at(0, &boot).map_err(failed)?;
    device.sync().map_err(failed)?;
    check_written(device, 0, &boot).map_err(failed)
}
