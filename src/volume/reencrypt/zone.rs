//! A zone: reads the old data, keeps the data for recovery from a crash, and writes the new data.

use core::ops::Range;
use std::sync::Arc;

use zeroize::Zeroize;

use crate::cipher::DmCipher;
use crate::key::{HashAlgorithm, self_test};
use crate::ondisk::luks::{Mode, Plan, Resilience, Segment, SegmentKind};
use crate::volume::BlockDevice;
use crate::volume::headers::{check_written, rewrite};
use crate::volume::keys::{Keys, Under};
use crate::volume::moving;
use crate::{Error, Result, SectorSize, random};

/// How much is decrypted and encrypted at once, so that it stays in the CPU's cache.
const PIECE: usize = 128 << 10;

/// A part of a volume that is being rewritten.
pub(super) struct Zone<'a> {
    plan: &'a Plan,
    range: Range<u64>,
    device: &'a dyn BlockDevice,
    header_device: &'a dyn BlockDevice,
    old: Option<Arc<DmCipher>>,
    new: Option<Arc<DmCipher>>,
}

/// How much can be rewritten at once from byte `at` of the volume, up to `wanted`, in whole sectors, but at least one.
pub(super) fn max_len(plan: &Plan, at: u64, wanted: u64) -> Result<u64> {
    let resilience = plan.resilience_at(at);
    let unit = unit(plan, resilience);
    let room = match resilience {
        Resilience::Checksum { hash, .. } => plan.area.size / checksum(hash)?.output_len() as u64 * unit,
        Resilience::Journal => plan.area.size,
        // Data goes no further than this in one step, so that it doesn't land on data that is still to be moved.
        Resilience::Shift { size, .. } if plan.is_moved_last() => *size,
        Resilience::Shift { size, .. } => return Ok(*size),
        Resilience::None | Resilience::Other(_) => {
            return Err(Error::UnsupportedHeader(
                "its re-encryption can't be recovered from a crash (resilience \"none\"), and if it was killed, the header \
                 doesn't say how far it is; if it was stopped by Ctrl+C or SIGTERM, it goes on after \
                 `hazmat_resume_unprotected`, or with `cryptsetup reencrypt --resume-only`"
                    .into(),
            ));
        }
    };
    // The reference implementation can't go on in the middle of the part that was moved to the start.
    let is_whole = plan.is_moved_last() && at < plan.moved_size();
    let wanted = if is_whole { plan.moved_size().next_multiple_of(unit) } else { wanted.max(unit) };
    match room.min(wanted) / unit * unit {
        0 => Err(Error::NoRoom("the header has no room for a step of the re-encryption".into())),
        len => Ok(len),
    }
}

/// Overwrites the range that data was moved from, with noise.
pub(super) fn overwrite(device: &dyn BlockDevice, range: Range<u64>) -> Result<()> {
    let failed = |e| Error::io("overwriting what data was moved from", e);
    rewrite(device, range, failed, true, random::fill)?;
    device.sync().map_err(failed)
}

/// The unit of recovery in bytes: the larger sector, or a block that has a checksum, whichever is larger.
fn unit(plan: &Plan, resilience: &Resilience) -> u64 {
    let block = if let Resilience::Checksum { block, .. } = resilience { *block } else { 512 };
    u64::from(plan.sector_size().max(block))
}

fn checksum(name: &str) -> Result<HashAlgorithm> {
    let hash = HashAlgorithm::from_name(name)
        .ok_or_else(|| Error::UnsupportedHeader(format!("its re-encryption has checksums by the hash {name:?}")))?;
    self_test::hash(hash)?;
    Ok(hash)
}

impl<'a> Zone<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        range: Range<u64>,
        keys: &mut Keys,
        device: &'a dyn BlockDevice,
        header_device: &'a dyn BlockDevice,
    ) -> Result<Self> {
        let mut expand = |segment: &Segment, under| match &segment.kind {
            SegmentKind::Crypt(crypt) => {
                let spec = moving::cipher(segment).ok_or(Error::TamperedHeader)?;
                keys.cipher(under, spec, SectorSize::new(crypt.sector_size)?).map(Some)
            }
            SegmentKind::Other(_) => Ok(None),
        };
        let under = if plan.mode == Mode::Reencrypt { Under::Previous } else { Under::Current };
        let (old, new) = (expand(&plan.previous, under)?, expand(&plan.last, Under::Current)?);
        Ok(Zone { plan, range, device, header_device, old, new })
    }

    fn resilience(&self) -> &Resilience {
        self.plan.resilience_at(self.range.start)
    }

    fn len(&self) -> usize {
        (self.range.end - self.range.start) as usize
    }

    /// Reads the old data, as it is on the device.
    pub(super) fn read(&self, data: &mut Vec<u8>) -> Result<()> {
        self.read_from(self.device, self.plan.old_place(self.range.start).ok_or(Error::TamperedHeader)?, data)
    }

    fn read_from(&self, device: &dyn BlockDevice, offset: u64, data: &mut Vec<u8>) -> Result<()> {
        if data.capacity() < self.len() {
            // Growing it would copy it, and leave the old content in memory.
            data.zeroize();
            *data = vec![0; self.len()];
        }
        data.resize(self.len(), 0);
        device.read_at(offset, data).map_err(|e| Error::io("reading what is to be re-encrypted", e))
    }

    /// Stores the data for recovery from a crash on the disk.
    pub(super) fn protect(&self, data: &[u8]) -> Result<()> {
        let failed = |e| Error::io("keeping what a crash of the re-encryption is recovered from", e);
        // The checksums are of the data as it was read, so a crash must not lose any of it: sync the writes of others first.
        self.device.sync().map_err(failed)?;
        let kept = match self.resilience() {
            Resilience::Checksum { hash, .. } => &self.checksums(hash, data)?[..],
            Resilience::Journal => data,
            _ => return Ok(()),
        };
        self.header_device.write_at(self.plan.area.offset, kept).map_err(failed)?;
        self.header_device.sync().map_err(failed)?;
        check_written(self.header_device, self.plan.area.offset, kept).map_err(failed)
    }

    fn checksums(&self, hash: &str, data: &[u8]) -> Result<Vec<u8>> {
        let hash = checksum(hash)?;
        let unit = unit(self.plan, self.resilience()) as usize;
        // Whole sectors, because the device may be another volume.
        let len = (data.len().div_ceil(unit) * hash.output_len()).next_multiple_of(4096);
        let mut checksums = vec![0; len.min(self.plan.area.size as usize)];
        let places = checksums.chunks_mut(hash.output_len());
        data.chunks(unit).zip(places).for_each(|(block, place)| hash.digest_to(block, place));
        Ok(checksums)
    }

    /// Encrypts the data under the new key, and writes it. It is on the disk when this returns.
    pub(super) fn write(&self, data: &mut [u8]) -> Result<()> {
        for (at, piece) in (self.range.start..).step_by(PIECE).zip(data.chunks_mut(PIECE)) {
            self.convert(at, piece)?;
        }
        self.write_new(self.range.start, data)?;
        self.sync()
    }

    fn convert(&self, at: u64, piece: &mut [u8]) -> Result<()> {
        self.old.as_ref().map_or(Ok(()), |old| old.decrypt(at / 512, piece))?;
        self.new.as_ref().map_or(Ok(()), |new| new.encrypt(at / 512, piece))
    }

    fn write_new(&self, at: u64, data: &mut [u8]) -> Result<()> {
        let to = self.plan.new_place(at).ok_or(Error::TamperedHeader)?;
        self.device.write_in_place(to, data).map_err(|e| Error::io("writing what was re-encrypted", e))
    }

    fn sync(&self) -> Result<()> {
        self.device.sync().map_err(|e| Error::io("syncing what was re-encrypted", e))
    }

    /// Finishes a zone of which an unknown part was rewritten.
    pub(super) fn recover(&self, data: &mut Vec<u8>) -> Result<()> {
        // Nobody proves the length of a zone in a header without a token of ours.
        if self.range.end - self.range.start > max_len(self.plan, self.range.start, u64::MAX)? {
            return Err(Error::TamperedHeader);
        }
        match self.resilience() {
            Resilience::Checksum { hash, .. } => self.recover_by_checksums(hash, data),
            Resilience::Journal => {
                self.read_from(self.header_device, self.plan.area.offset, data)?;
                self.write(data)
            }
            // The old place is as it was.
            Resilience::Shift { .. } => {
                self.read(data)?;
                self.write(data)
            }
            Resilience::None | Resilience::Other(_) => Err(Error::TamperedHeader),
        }
    }

    fn recover_by_checksums(&self, hash: &str, data: &mut Vec<u8>) -> Result<()> {
        let unit = unit(self.plan, self.resilience()) as usize;
        self.read(data)?;
        let found = self.checksums(hash, data)?;
        let mut kept = vec![0; found.len()];
        let reading = |e| Error::io("reading the checksums of the re-encryption", e);
        self.header_device.read_at(self.plan.area.offset, &mut kept).map_err(reading)?;
        let len = checksum(hash)?.output_len();
        let blocks = data.chunks_mut(unit).zip(kept.chunks(len).zip(found.chunks(len)));
        for (at, (block, (kept, found))) in (self.range.start..).step_by(unit).zip(blocks) {
            // A block that still has its old checksum was not rewritten.
            if found == kept {
                self.convert(at, block)?;
            }
        }
        // Write all of it: rewritten blocks may be in a cache only, and a failed sync may have marked them as written.
        self.write_new(self.range.start, data)?;
        self.sync()
    }
}
