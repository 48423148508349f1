//! [`Aligned`]: any read or write on a device that takes only whole blocks at aligned addresses.

use core::num::NonZero;
use core::ops::Range;
use std::io::{self, IoSlice, IoSliceMut};
use std::sync::{PoisonError, RwLock};

use super::BlockDevice;
use super::device::{whole_blocks, write_zeros};
use super::scratch::{CHUNK, with_scratch};

/// A device that also takes requests that its own [`alignment`](BlockDevice::alignment) doesn't allow. Aligned requests go
/// straight through; others go by a scratch buffer. A block that is written in part is read first.
pub(super) struct Aligned<D> {
    device: D,
    /// The alignment of offsets, lengths and addresses: the size of a block.
    alignment: usize,
    has_latency: bool,
    /// A block that is written in part must not change between its read and its write: that takes the lock alone, all other
    /// writes share it. Not taken where every byte is a block.
    blocks: RwLock<()>,
}

impl<D: BlockDevice> Aligned<D> {
    pub(super) fn new(device: D) -> Self {
        let (alignment, has_latency) = (device.alignment().get(), device.has_latency());
        Aligned { device, alignment, has_latency, blocks: RwLock::new(()) }
    }

    /// The alignment of the device itself.
    pub(super) fn block(&self) -> usize {
        self.alignment
    }

    pub(super) fn get(&self) -> &D {
        &self.device
    }

    pub(super) fn into_inner(self) -> D {
        self.device
    }

    #[inline]
    fn takes(&self, offset: u64, bytes: &[u8]) -> bool {
        self.alignment == 1 || self.is_whole(offset, bytes.len()) && self.divides(bytes.as_ptr().addr())
    }

    /// Whether so many bytes are whole blocks.
    fn is_whole(&self, offset: u64, len: usize) -> bool {
        offset.is_multiple_of(self.alignment as u64) && self.divides(len)
    }

    fn divides(&self, number: usize) -> bool {
        number.is_multiple_of(self.alignment)
    }

    fn takes_all<'b>(&self, offset: u64, mut buffers: impl Iterator<Item = &'b [u8]>) -> bool {
        self.alignment == 1 || self.is_whole(offset, 0) && buffers.all(|buffer| self.takes(0, buffer))
    }

    /// Writes whole blocks, not while another writes a part of one.
    #[inline]
    fn write_whole(&self, write: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let shared = (self.alignment != 1).then(|| self.blocks.read().unwrap_or_else(PoisonError::into_inner));
        let written = write();
        drop(shared);
        written
    }

    /// Does something with each run of whole blocks that `len` bytes lie in: with its offset, room for it, where in it the
    /// bytes begin, and which of them they are.
    fn each_run(
        &self,
        offset: u64,
        len: usize,
        mut act: impl FnMut(u64, &mut [u8], usize, Range<usize>) -> io::Result<()>,
    ) -> io::Result<()> {
        let block = self.alignment;
        with_scratch(CHUNK.next_multiple_of(block), block, |scratch| {
            let mut done = 0;
            while done < len {
                let at = offset + done as u64;
                let before = (at % block as u64) as usize;
                let now = (len - done).min(scratch.len() - before);
                let run = &mut scratch[..(before + now).next_multiple_of(block)];
                act(at - before as u64, run, before, done..done + now)?;
                done += now;
            }
            Ok(())
        })
    }

    #[cold]
    fn read_by_blocks(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.each_run(offset, bytes.len(), |at, run, before, part| {
            self.device.read_at(at, run)?;
            let len = part.len();
            bytes[part].copy_from_slice(&run[before..][..len]);
            Ok(())
        })
    }

    #[cold]
    fn write_by_blocks(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let write = |at, run: &mut [u8], before: usize, part: Range<usize>| {
            let (end, len) = (before + part.len(), run.len());
            let (first, last) = (before != 0, !self.divides(end));
            if first {
                self.device.read_at(at, &mut run[..self.alignment])?;
            }
            if last && !(first && len == self.alignment) {
                let last = len - self.alignment;
                self.device.read_at(at + last as u64, &mut run[last..])?;
            }
            run[before..end].copy_from_slice(&bytes[part]);
            self.device.write_in_place(at, run)
        };
        if self.is_whole(offset, bytes.len()) {
            return self.write_whole(|| self.each_run(offset, bytes.len(), write));
        }
        let _alone = self.blocks.write().unwrap_or_else(PoisonError::into_inner);
        self.each_run(offset, bytes.len(), write)
    }
}

impl<D: BlockDevice> BlockDevice for Aligned<D> {
    /// The size of the whole blocks.
    fn size(&self) -> io::Result<u64> {
        let block = self.alignment as u64;
        self.device.size().map(|size| size / block * block)
    }

    #[inline]
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        if self.takes(offset, bytes) { self.device.read_at(offset, bytes) } else { self.read_by_blocks(offset, bytes) }
    }

    #[inline]
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.takes(offset, bytes) {
            self.write_whole(|| self.device.write_at(offset, bytes))
        } else {
            self.write_by_blocks(offset, bytes)
        }
    }

    #[inline]
    fn write_in_place(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        if self.takes(offset, bytes) {
            self.write_whole(|| self.device.write_in_place(offset, bytes))
        } else {
            self.write_by_blocks(offset, bytes)
        }
    }

    fn read_vectored_at(&self, mut offset: u64, buffers: &mut [IoSliceMut<'_>]) -> io::Result<()> {
        if self.takes_all(offset, buffers.iter().map(|buffer| &**buffer)) {
            return self.device.read_vectored_at(offset, buffers);
        }
        for buffer in buffers {
            self.read_at(offset, buffer)?;
            offset += buffer.len() as u64;
        }
        Ok(())
    }

    fn write_vectored_at(&self, mut offset: u64, buffers: &[IoSlice<'_>]) -> io::Result<()> {
        if self.takes_all(offset, buffers.iter().map(|buffer| &**buffer)) {
            return self.write_whole(|| self.device.write_vectored_at(offset, buffers));
        }
        for buffer in buffers {
            self.write_at(offset, buffer)?;
            offset += buffer.len() as u64;
        }
        Ok(())
    }

    /// The ragged ends are written.
    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        let Some(whole) = whole_blocks(offset, len, self.alignment as u64) else {
            return write_zeros(self, offset, len);
        };
        write_zeros(self, offset, whole.start - offset)?;
        self.write_whole(|| self.device.write_zeroes(whole.start, whole.end - whole.start))?;
        write_zeros(self, whole.end, offset + len - whole.end)
    }

    /// The ragged ends stay.
    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        let whole = whole_blocks(offset, len, self.alignment as u64);
        whole.map_or(Ok(()), |whole| self.write_whole(|| self.device.discard(whole.start, whole.end - whole.start)))
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.device.set_size(size)
    }

    /// It takes everything.
    fn alignment(&self) -> NonZero<usize> {
        NonZero::<usize>::MIN
    }

    fn has_latency(&self) -> bool {
        self.has_latency
    }

    fn sync(&self) -> io::Result<()> {
        self.device.sync()
    }
}
