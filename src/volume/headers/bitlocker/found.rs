//! Finding the metadata on a device.

use super::chunks::Chunks;
use crate::ondisk::bitlocker::{AREA, Block, BootSector, Defect, Generation};
use crate::volume::BlockDevice;
use crate::{Error, Result, TooSmall};

/// The bytes at the start of a volume of Windows Vista that aren't encrypted.
pub(super) const VISTA_PLAIN: u64 = 8 << 10;

/// The metadata found on a device.
#[derive(Clone)]
pub(super) struct Found {
    pub(super) boot: BootSector,
    /// The copy that counts, and its place on the device.
    pub(super) block: Block,
    pub(super) area: Vec<u8>,
    /// The places of those that differ from it.
    pub(super) differ: Vec<u64>,
    pub(super) device_size: u64,
    /// The first bytes of the device for Windows Vista, which leaves them plain.
    pub(super) start: Vec<u8>,
    /// The chunks that Windows has encrypted while it converts the volume in use.
    pub(super) chunks: Option<Chunks>,
}

impl Found {
    /// Reads the metadata of a device that begins with `start`. Nothing is written.
    pub(super) fn load(device: &dyn BlockDevice, start: &[u8]) -> Result<Self> {
        let device_size = device.size().map_err(|e| Error::io("asking the device for its size", e))?;
        let boot = BootSector::parse(start)?;
        let (places, count) = match boot.generation {
            Generation::Vista { copy, .. } => ([copy, 0, 0], 1),
            Generation::Seven { copies, .. } => (copies, 3),
        };
        let mut defects = Vec::new();
        let mut unsupported = None;
        for (i, place) in places.into_iter().take(count).enumerate() {
            let found = read_copy(device, device_size, place).and_then(|area| {
                let block = check_places(&boot, Block::parse(&area)?, place)?;
                Ok((block, area))
            });
            match found {
                Ok((block, area)) => {
                    let start = plain_start(device, &boot, device_size)?;
                    let chunks = match boot.generation {
                        Generation::Seven { chunks: Some(copies), .. } => {
                            Some(Chunks::load(device, device_size, copies, boot.sector_size.bytes().into())?)
                        }
                        _ => None,
                    };
                    let used = block.len();
                    let is_other = |other: &u64| {
                        let read = read_copy(device, device_size, *other);
                        read.map_or(true, |other| other.get(..used) != Some(&area[..used]))
                    };
                    let differ = places.into_iter().take(count).filter(is_other).collect();
                    return Ok(Found { boot, block, area, differ, device_size, start, chunks });
                }
                Err(Defect::Invalid(text)) => defects.push(format!("copy {} at byte {place}: {text}", i + 1)),
                Err(Defect::Unsupported(text)) => unsupported = unsupported.or(Some(text)),
            }
        }
        Err(unsupported.map_or_else(|| Defect::Invalid(defects.join("; ")), Defect::Unsupported).into())
    }
}

impl Found {
    /// Whether an area holds the same metadata.
    pub(super) fn has(&self, area: &[u8]) -> bool {
        self.area.get(..self.block.len()) == area.get(..self.block.len())
    }

    /// The places of all copies, in the order in which to write them. Copies that differ come first, since only one of the others
    /// may be intact.
    pub(super) fn in_order(&self) -> Vec<u64> {
        let others = self.block.copies.into_iter().filter(|place| !self.differ.contains(place));
        self.differ.iter().copied().chain(others).collect()
    }

    /// The copies that can be read.
    pub(super) fn copies_on(&self, device: &dyn BlockDevice) -> Vec<Vec<u8>> {
        self.block.copies.into_iter().filter_map(|place| read_copy(device, self.device_size, place).ok()).collect()
    }
}

fn read_copy(device: &dyn BlockDevice, size: u64, place: u64) -> Result<Vec<u8>, Defect> {
    let room = size.saturating_sub(place).min(AREA as u64) as usize;
    if place == 0 || !place.is_multiple_of(512) || room == 0 {
        return Err(Defect::Invalid(format!("no place of a device of {size} bytes")));
    }
    let mut area = vec![0; room];
    device.read_at(place, &mut area).map_err(|e| Defect::Invalid(format!("it can't be read: {e}")))?;
    Ok(area)
}

/// Checks that the boot sector and the copy name the same places, and that the copy names its own.
fn check_places(boot: &BootSector, block: Block, place: u64) -> Result<Block, Defect> {
    let is_same = match boot.generation {
        Generation::Vista { .. } => block.version == 1 && block.copies.contains(&place),
        Generation::Seven { copies, .. } => block.version == 2 && block.copies == copies,
    };
    if is_same { Ok(block) } else { Err(Defect::Invalid("it names other places than the boot sector".into())) }
}

/// The bytes at the start of the device that aren't encrypted, as they are there.
fn plain_start(device: &dyn BlockDevice, boot: &BootSector, size: u64) -> Result<Vec<u8>> {
    if !matches!(boot.generation, Generation::Vista { .. }) {
        return Ok(Vec::new());
    }
    if size < VISTA_PLAIN {
        return Err(Error::DeviceTooSmall { what: TooSmall::Data, needed: VISTA_PLAIN, size });
    }
    let mut start = vec![0; VISTA_PLAIN as usize];
    device.read_at(0, &mut start).map_err(|e| Error::io("reading the header", e))?;
    Ok(start)
}
