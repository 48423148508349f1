//! A volume with a map of written chunks: first writes, zeros, discards, and which chunks were written.

use core::ops::Range;

use super::live::State;
use super::written::Written;
use super::{BlockDevice, Volume};
use crate::{Error, Result};

/// A run of bytes of a volume, all of them alike.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VolumeExtent {
    /// Its range in the volume, in bytes.
    pub range: Range<u64>,
    /// Whether it was written. Otherwise it reads as zeros.
    pub is_written: bool,
}

impl VolumeExtent {
    /// The bytes of `range`, all written or all not.
    pub fn new(range: Range<u64>, is_written: bool) -> Self {
        VolumeExtent { range, is_written }
    }
}

impl<D: BlockDevice> Volume<D> {
    /// The size in bytes of the chunks of its [map of written chunks](crate::FormatOptions::written_map), if it has one.
    pub fn written_chunk_size(&self) -> Option<u32> {
        self.written.as_ref().map(Written::chunk_size)
    }

    /// The extents of `len` bytes from `offset`, in order, and whether each was written. The others read as zeros, so a copy
    /// needn't read them. Without a [map of written chunks](crate::FormatOptions::written_map) all bytes count as written.
    ///
    /// Other threads may write meanwhile: each extent is as it was when it was asked for.
    ///
    /// ```
    /// use atrest::{FormatOptions, MemoryDevice, Protector, Volume};
    /// # use atrest::volume::KeyslotOptions;
    /// # use atrest::key::Kdf;
    /// # let cheap = KeyslotOptions::new().kdf(Kdf::Argon2id { memory_kib: 64, passes: 1, lanes: 1 });
    /// # let options = FormatOptions::new().keyslot(cheap);
    ///
    /// let options = options.written_map(64 << 10);
    /// let volume = Volume::format(MemoryDevice::new(20 << 20), Protector::Passphrase(b"secret"), &options)?;
    /// volume.write_at(70_000 / 512 * 512, &[7; 512])?;
    /// let written: Vec<_> = volume.extents(0, volume.size())?.filter(|extent| extent.is_written).collect();
    /// assert_eq!(written.len(), 1);
    /// assert_eq!(written[0].range, 64 << 10..128 << 10);
    /// # Ok::<(), atrest::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::OutOfBounds`].
    pub fn extents(&self, offset: u64, len: u64) -> Result<impl Iterator<Item = VolumeExtent> + '_> {
        let size = self.size();
        if offset.checked_add(len).is_none_or(|end| end > size) {
            return Err(Error::OutOfBounds { offset, len: usize::try_from(len).unwrap_or(usize::MAX), size });
        }
        let mapped = self.written.as_ref().map(|written| written.runs(offset, len));
        let whole = (mapped.is_none() && len > 0).then_some((offset..offset + len, true));
        let runs = mapped.into_iter().flatten().chain(whole);
        Ok(runs.map(|(range, is_written)| VolumeExtent { range, is_written }))
    }

    /// Writes to chunks of which some were never written. It fills the rest of these with zeros, and only then counts them as
    /// written.
    #[cold]
    pub(super) fn write_first(
        &self,
        written: &Written,
        offset: u64,
        len: usize,
        write: impl FnOnce(&State) -> Result<()>,
    ) -> Result<()> {
        let claim = written.claim(written.touched(offset, len as u64));
        let whole = written.place(&claim.chunks());
        let state = self.open_for_write(whole.start, (whole.end - whole.start) as usize)?;
        for rest in [whole.start..offset, offset + len as u64..whole.end] {
            let len = rest.end - rest.start;
            if !written.has_all(rest.start, len) {
                self.store_zeros(&state, rest.start, len as usize)?;
            }
        }
        write(&state)?;
        written.add(&claim);
        Ok(())
    }

    /// Writes zeros where nothing was written, for callers that read and write the device past the volume.
    pub(super) fn define(&self, offset: u64, len: usize) -> Result<()> {
        let Some(written) = &self.written else { return Ok(()) };
        drop(self.live.to_read(offset, len)?);
        if self.read_only || written.has_all(offset, len as u64) {
            return Ok(());
        }
        self.write_first(written, offset, len, |state| {
            let mut blank = written.runs(offset, len as u64).filter(|(_, is_written)| !is_written);
            blank.try_for_each(|(run, _)| self.store_zeros(state, run.start, (run.end - run.start) as usize))
        })
    }

    /// Makes a range zeros. Whole chunks count as never written from then on, and zeros are written to the written parts of the
    /// rest. The device isn't told, since that is the purpose of a discard.
    pub(super) fn zero_chunks(&self, written: &Written, offset: u64, len: u64) -> Result<()> {
        let (end, covered) = (offset + len, written.covered(offset, len));
        if covered.is_empty() {
            return self.zero_part(written, offset..end);
        }
        let whole = written.place(&covered);
        self.zero_part(written, offset..whole.start)?;
        self.zero_part(written, whole.end..end)?;
        written.remove(&written.claim(covered), false);
        Ok(())
    }

    fn zero_part(&self, written: &Written, part: Range<u64>) -> Result<()> {
        let len = (part.end - part.start) as usize;
        let state = self.open_for_write(part.start, len)?;
        let mut runs = written.runs(part.start, len as u64).filter(|(_, is_written)| *is_written);
        runs.try_for_each(|(run, _)| self.store_zeros(&state, run.start, (run.end - run.start) as usize))
    }

    /// Makes the whole chunks of a range read as zeros. The device is told after the next sync: until then a crash may bring
    /// them back.
    pub(super) fn discard_chunks(&self, written: &Written, offset: u64, len: u64) {
        let covered = written.covered(offset, len);
        if !covered.is_empty() {
            written.remove(&written.claim(covered), self.discards);
        }
    }

    /// Syncs the data and the map. Then it discards on the device the chunks that are recorded as not written.
    pub(super) fn sync_chunks(&self, written: &Written) -> Result<()> {
        self.live.get().keys.check()?;
        written.sync(&self.device, self.map_device())?;
        let freed = written.freed();
        if !freed.is_empty() {
            // A thread that found a chunk written may still be reading it, or writing to it.
            self.live.wait_for_all();
            let state = self.live.get();
            for run in freed.runs() {
                let Range { start, end } = written.place(&run);
                for place in state.layout.places(start, (end - start) as usize) {
                    // It is a hint: synced data is safe even if it fails.
                    let _ = self.device.discard(place.device_offset, place.within.len() as u64);
                }
            }
        }
        Ok(())
    }

    /// Rewrites the copies of the map's pages that a crash has left damaged, or older than the other copies.
    pub(super) fn repair_map(&self) -> Result<()> {
        match &self.written {
            Some(written) if written.has_changed() => written.sync(&self.device, self.map_device()),
            _ => Ok(()),
        }
    }

    /// Forgets the written chunks beyond the end of the volume: if it grows again, they read as zeros.
    pub(super) fn forget_cut_off(&self) -> Result<()> {
        let Some(written) = &self.written else { return Ok(()) };
        if written.remove_from(self.size()) { written.sync(&self.device, self.map_device()) } else { Ok(()) }
    }

    /// The device of the map, if it isn't that of the data.
    fn map_device(&self) -> Option<&dyn BlockDevice> {
        self.header_device.get().map(|device| device as &dyn BlockDevice)
    }
}
