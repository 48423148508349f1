//! The header of an encryption in place, kept in the free end of the device until it is at the start.
//!
//! The start of the device holds plain data until the header is written over it, which is many writes. If they are cut off,
//! the start is neither data nor a header. So the whole header is first written to the free end. A repeated call finds it there,
//! and writes it to the start. It is wiped once the header is in its place.

#[cfg(feature = "managed")]
use std::io;
#[cfg(feature = "managed")]
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::super::headers::{self, check_written};
use super::super::{BlockDevice, MemoryDevice};
use crate::{Error, Result};

const MAGIC: &[u8; 16] = b"atrest in-place\0";
/// The magic, the size of the header, its hash.
const FIXED: usize = 16 + 8 + 32;
/// The bytes before the header.
const BLOCK: usize = 4096;

/// The distances by which data can be moved, in MiB.
const SHIFTS: core::ops::RangeInclusive<u64> = 1..=128;
const MIB: u64 = 1 << 20;

pub(super) struct Intent {
    /// Its first byte on the device.
    offset: u64,
    /// The distance in bytes by which the data is to be moved.
    shift: u64,
    header: Vec<u8>,
}

impl Intent {
    /// Looks for one in the free end of a device of `size` bytes. Anyone who could write there can have made it: only a
    /// credential that opens its header proves it.
    pub(super) fn find(device: &dyn BlockDevice, size: u64) -> Result<Option<Self>> {
        let shifts = SHIFTS.map(|n| n * MIB).take_while(|shift| 2 * shift < size);
        for shift in shifts {
            if let Some(header) = Self::header_at(device, size - 2 * shift, shift)? {
                return Ok(Some(Intent { offset: size - 2 * shift, shift, header }));
            }
        }
        Ok(None)
    }

    /// Whether the header at the start of the device is the unchanged header of an intent: a copy of it may be missing.
    pub(super) fn is_half_done(device: &dyn BlockDevice) -> Result<bool> {
        let size = device.size().map_err(|e| Error::io("asking the device for its size", e))?;
        let Some(intent) = Self::find(device, size)? else { return Ok(false) };
        let first = headers::load(&intent.image())?;
        let found = headers::load(device)?;
        Ok(first.uuid() == found.uuid() && first.epoch() == found.epoch())
    }

    fn header_at(device: &dyn BlockDevice, offset: u64, room: u64) -> Result<Option<Vec<u8>>> {
        let failed = |e| Error::io("looking for what was begun before", e);
        let mut block = vec![0; BLOCK];
        device.read_at(offset, &mut block).map_err(failed)?;
        let len = u64::from_le_bytes(block[16..24].try_into().expect("there are 8 bytes"));
        if !block.starts_with(MAGIC) || len < BLOCK as u64 || len > room - BLOCK as u64 {
            return Ok(None);
        }
        let mut header = vec![0; len as usize];
        device.read_at(offset + BLOCK as u64, &mut header).map_err(failed)?;
        Ok((Sha256::digest(&header)[..] == block[24..FIXED]).then_some(header))
    }

    /// Writes one, and returns when it is on the disk. `image` is the start of a device with the header.
    pub(super) fn write(device: &dyn BlockDevice, size: u64, shift: u64, image: &[u8]) -> Result<Self> {
        let offset = size - 2 * shift;
        let failed = |e| Error::io("keeping the header in the free end of the device", e);
        let used = image.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1).next_multiple_of(BLOCK);
        if (used + BLOCK) as u64 > shift {
            return Err(Error::NoRoom("the free end of the device has no room for the header".into()));
        }
        let header = image[..used].to_vec();
        let mut block = vec![0; BLOCK];
        block[..16].copy_from_slice(MAGIC);
        block[16..24].copy_from_slice(&(used as u64).to_le_bytes());
        block[24..FIXED].copy_from_slice(&Sha256::digest(&header));
        device.write_at(offset + BLOCK as u64, &header).map_err(failed)?;
        device.sync().map_err(failed)?;
        device.write_at(offset, &block).map_err(failed)?;
        device.sync().map_err(failed)?;
        check_written(device, offset, &block).map_err(failed)?;
        check_written(device, offset + BLOCK as u64, &header).map_err(failed)?;
        Ok(Intent { offset, shift, header })
    }

    /// The device as it will be once the header is at its start. It can only be read.
    #[cfg(feature = "managed")]
    pub(super) fn carried_out(self, device: Arc<dyn BlockDevice>) -> Arc<dyn BlockDevice> {
        Arc::new(CarriedOut { device, intent: self })
    }

    pub(super) fn shift(&self) -> u64 {
        self.shift
    }

    /// The start of the device as it will be. The stored header may be too short to be read as one, because its last zeros are left
    /// out.
    pub(super) fn image(&self) -> MemoryDevice {
        let mut image = self.header.clone();
        image.resize(self.shift as usize, 0);
        MemoryDevice::from_bytes(image)
    }

    /// Writes the header to the start of the device, with zeros up to the data, and wipes the copy.
    pub(super) fn carry_out(self, device: &dyn BlockDevice) -> Result<()> {
        let failed = |e| Error::io("writing the header over the start of the data, which was moved", e);
        let zeros = vec![0; MIB as usize];
        let used = self.header.len() as u64;
        for at in (used..self.shift).step_by(MIB as usize) {
            device.write_at(at, &zeros[..(self.shift - at).min(MIB) as usize]).map_err(failed)?;
        }
        // No later call repeats this once the header is whole, so write the areas that it names first. Section 2.1 has the size of
        // a copy.
        let copy = u64::from_be_bytes(self.header[8..16].try_into().expect("there are 8 bytes"));
        let (copies, areas) = self.header.split_at(copy.saturating_mul(2).min(used) as usize);
        device.write_at(copies.len() as u64, areas).map_err(failed)?;
        device.sync().map_err(failed)?;
        device.write_at(0, copies).map_err(failed)?;
        device.sync().map_err(failed)?;
        check_written(device, 0, &self.header).map_err(failed)?;
        device.write_at(self.offset, &vec![0; BLOCK + self.header.len()]).map_err(failed)?;
        device.sync().map_err(failed)
    }
}

#[cfg(feature = "managed")]
struct CarriedOut {
    device: Arc<dyn BlockDevice>,
    intent: Intent,
}

#[cfg(feature = "managed")]
impl BlockDevice for CarriedOut {
    fn size(&self) -> io::Result<u64> {
        self.device.size()
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        // Up to the data there are the header and zeros.
        let Intent { shift, header, .. } = &self.intent;
        let (start, data) = bytes.split_at_mut(shift.saturating_sub(offset).min(bytes.len() as u64) as usize);
        start.fill(0);
        let known = header.get(offset as usize..).unwrap_or_default();
        start.iter_mut().zip(known).for_each(|(byte, known)| *byte = *known);
        if data.is_empty() { Ok(()) } else { self.device.read_at(offset + start.len() as u64, data) }
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
