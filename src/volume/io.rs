//! Reading and writing a volume.

use std::io::{self, IoSlice, IoSliceMut};

use super::layout::Place;
use super::live::{InUse, State};
use super::scratch::{CHUNK, with_scratch};
use super::{BlockDevice, Volume};
use crate::{Error, Result};

/// How much is written at once to a device where each write waits long for its answer.
const LATENCY_CHUNK: usize = 1 << 20;

impl<D: BlockDevice> Volume<D> {
    /// Reads and decrypts `sectors.len()` bytes from `offset`.
    ///
    /// # Errors
    /// [`Error::Misaligned`]; [`Error::OutOfBounds`]; [`Error::Io`], after which the content of `sectors` is not
    /// defined.
    pub fn read_at(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        let len = sectors.len();
        let state = self.live.to_read(offset, len)?;
        match &self.written {
            Some(written) if !written.has_all(offset, len as u64) => {
                written.runs(offset, len as u64).try_for_each(|(run, is_written)| {
                    let part = &mut sectors[(run.start - offset) as usize..(run.end - offset) as usize];
                    if is_written {
                        return self.read_stored(&state, run.start, part);
                    }
                    part.fill(0);
                    Ok(())
                })
            }
            _ => self.read_stored(&state, offset, sectors),
        }
    }

    /// Reads from the device and decrypts.
    #[inline]
    fn read_stored(&self, state: &State, offset: u64, sectors: &mut [u8]) -> Result<()> {
        let len = sectors.len();
        for place in state.layout.places(offset, len) {
            let part = &mut sectors[place.within];
            if let Some((shown, at)) = place.shown {
                shown.read(at, part);
                continue;
            }
            let read = self.device.read_at(place.device_offset, part);
            read.map_err(|e| read_failed(offset, len, e))?;
            if let Some(cipher) = place.cipher {
                cipher.decrypt(place.first_sector, part)?;
            }
        }
        Ok(())
    }

    /// Encrypts and writes `sectors` at `offset`. They are durable after [`sync`](Self::sync).
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; [`Error::Misaligned`]; [`Error::OutOfBounds`]; [`Error::KeyExhausted`]; [`Error::Io`], after
    /// which a part may have been written.
    pub fn write_at(&self, offset: u64, sectors: &[u8]) -> Result<()> {
        self.write_by(offset, sectors.len(), |state| {
            state.layout.check_shown(offset, sectors.len(), |shown, at, within| shown.is(at, &sectors[within]))?;
            self.with_scratch(|scratch| {
                let failed = |e| write_failed(offset, sectors.len(), e);
                let mut places = state.layout.places(offset, sectors.len());
                places.try_for_each(|place| {
                    self.write_gathered(&place, [&sectors[place.within.clone()]], scratch, failed)
                })
            })
        })
    }

    /// As [`write_at`](Self::write_at), from a buffer that may be changed: `sectors` are encrypted where they lie, and handed
    /// to the device in one piece. Afterwards `sectors` hold ciphertext.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at). `sectors` are untouched then, but for [`Error::Io`].
    pub fn write_in_place(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        let len = sectors.len();
        self.write_by(offset, len, |state| {
            state.layout.check_shown(offset, len, |shown, at, within| shown.is(at, &sectors[within]))?;
            state.layout.places(offset, len).filter(|place| place.shown.is_none()).try_for_each(|place| {
                let part = &mut sectors[place.within];
                if let Some(cipher) = place.cipher {
                    cipher.encrypt(place.first_sector, part)?;
                }
                self.device.write_in_place(place.device_offset, part).map_err(|e| write_failed(offset, len, e))
            })
        })
    }

    /// As [`read_at`](Self::read_at), into several buffers one after the other, as `preadv` does. Each is a whole number of
    /// sectors; it may be empty.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    pub fn read_vectored_at(&self, offset: u64, sectors: &mut [IoSliceMut<'_>]) -> Result<()> {
        let len = self.check_pieces(offset, sectors.iter().map(|piece| piece.len()))?;
        let state = self.live.to_read(offset, len)?;
        let is_whole = self.written.as_ref().is_none_or(|written| written.has_all(offset, len as u64));
        let Some(place) = state.layout.one_place(offset, len).filter(|_| is_whole) else {
            drop(state);
            return each_piece(offset, slices_mut(sectors), |at, piece| self.read_at(at, piece));
        };
        let read = self.device.read_vectored_at(place.device_offset, sectors);
        read.map_err(|e| read_failed(offset, len, e))?;
        let Some(cipher) = place.cipher else { return Ok(()) };
        each_piece(0, slices_mut(sectors), |into, piece| cipher.decrypt(place.first_sector + into / 512, piece))
    }

    /// As [`write_at`](Self::write_at), from several buffers one after the other, as `pwritev` does. Each is a whole number
    /// of sectors; it may be empty.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    pub fn write_vectored_at(&self, offset: u64, sectors: &[IoSlice<'_>]) -> Result<()> {
        let len = self.check_pieces(offset, sectors.iter().map(|piece| piece.len()))?;
        self.write_by(offset, len, |state| {
            let failed = |e| write_failed(offset, len, e);
            if state.layout.shows {
                each_piece(offset, slices(sectors), |at, piece| {
                    state.layout.check_shown(at, piece.len(), |shown, at, within| shown.is(at, &piece[within]))
                })?;
            }
            self.with_scratch(|scratch| match state.layout.one_place(offset, len) {
                Some(place) => self.write_gathered(&place, slices(sectors), scratch, failed),
                None => each_piece(offset, slices(sectors), |at, piece| {
                    let mut places = state.layout.places(at, piece.len());
                    places.try_for_each(|place| {
                        self.write_gathered(&place, [&piece[place.within.clone()]], scratch, failed)
                    })
                }),
            })
        })
    }

    /// Adds up the bytes of pieces. Refuses a piece that isn't a whole number of sectors.
    fn check_pieces(&self, offset: u64, lengths: impl Iterator<Item = usize>) -> Result<usize> {
        let sector_size = self.sector_size().bytes();
        let mut all = 0usize;
        for len in lengths {
            if !len.is_multiple_of(sector_size as usize) {
                return Err(Error::Misaligned { offset, len, sector_size });
            }
            all = all.saturating_add(len);
        }
        Ok(all)
    }

    /// The state for a write. Checks that all of the range can be written, before any of it is.
    pub(super) fn open_for_write(&self, offset: u64, len: usize) -> Result<InUse> {
        if self.read_only {
            return Err(Error::ReadOnly);
        }
        let state = self.live.to_write(offset, len)?;
        state.check_usage(len)?;
        Ok(state)
    }

    /// Writes by `write`. On a volume with a map of written chunks, it defines every chunk that the write touches.
    #[inline]
    fn write_by(&self, offset: u64, len: usize, write: impl FnOnce(&State) -> Result<()>) -> Result<()> {
        let state = self.open_for_write(offset, len)?;
        match &self.written {
            Some(written) if !written.has_all(offset, len as u64) => {
                drop(state);
                self.write_first(written, offset, len, write)
            }
            _ => write(&state),
        }
    }

    pub(super) fn with_scratch<T>(&self, act: impl FnOnce(&mut [u8]) -> T) -> T {
        let block = self.device.block();
        with_scratch(if self.device.has_latency() { LATENCY_CHUNK.next_multiple_of(block) } else { CHUNK }, block, act)
    }

    /// Encrypts pieces that follow one another on the device, and writes them together.
    fn write_gathered<'a>(
        &self,
        place: &Place<'_>,
        pieces: impl IntoIterator<Item = &'a [u8]>,
        scratch: &mut [u8],
        failed: impl Fn(io::Error) -> Error,
    ) -> Result<()> {
        let Place { mut device_offset, mut first_sector, cipher, shown, .. } = *place;
        if shown.is_some() {
            return Ok(()); // this content is there already
        }
        let mut filled = 0;
        let mut flush = |ciphertext: &mut [u8]| {
            self.device.write_in_place(device_offset, ciphertext).map_err(&failed)?;
            device_offset += ciphertext.len() as u64;
            Ok(())
        };
        for mut left in pieces {
            while !left.is_empty() {
                let (now, later) = left.split_at(left.len().min(scratch.len() - filled));
                let to = &mut scratch[filled..filled + now.len()];
                match cipher {
                    Some(cipher) => cipher.encrypt_to(first_sector, now, to)?,
                    None => to.copy_from_slice(now),
                }
                first_sector += (now.len() / 512) as u64;
                (filled, left) = (filled + now.len(), later);
                if filled == scratch.len() {
                    flush(scratch)?;
                    filled = 0;
                }
            }
        }
        if filled == 0 { Ok(()) } else { flush(&mut scratch[..filled]) }
    }

    /// Makes the written data durable: returns when the device says that it is on the disk.
    ///
    /// # Errors
    /// [`Error::Io`]: data written since the last sync may be lost. On a volume with a
    /// [map of written chunks](crate::FormatOptions::written_map), the chunks that were first written since then read as zeros
    /// again.
    pub fn sync(&self) -> Result<()> {
        match &self.written {
            Some(written) if !self.read_only => self.sync_chunks(written),
            _ => self.device.sync().map_err(|e| Error::io("syncing the device", e)),
        }
    }
}

fn slices<'a>(buffers: &'a [IoSlice<'_>]) -> impl Iterator<Item = &'a [u8]> {
    buffers.iter().map(|buffer| &**buffer)
}

fn slices_mut<'a>(buffers: &'a mut [IoSliceMut<'_>]) -> impl Iterator<Item = &'a mut [u8]> {
    buffers.iter_mut().map(|buffer| &mut **buffer)
}

/// Does something with each of several pieces, which begin at `at`.
fn each_piece<P>(
    mut at: u64,
    pieces: impl IntoIterator<Item = P>,
    mut act: impl FnMut(u64, P) -> Result<()>,
) -> Result<()>
where
    P: core::ops::Deref<Target = [u8]>,
{
    pieces.into_iter().try_for_each(|piece| {
        let len = piece.len() as u64;
        act(at, piece)?;
        at += len;
        Ok(())
    })
}

fn read_failed(offset: u64, len: usize, e: io::Error) -> Error {
    Error::io(format!("reading {len} bytes at offset {offset}"), e)
}

fn write_failed(offset: u64, len: usize, e: io::Error) -> Error {
    Error::io(format!("writing {len} bytes at offset {offset}"), e)
}

/// A volume as the device of another volume, for two layers of encryption.
impl<D: BlockDevice> BlockDevice for Volume<D> {
    fn size(&self) -> io::Result<u64> {
        Ok(Volume::size(self))
    }

    fn has_latency(&self) -> bool {
        self.device.has_latency()
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        Volume::read_at(self, offset, bytes).map_err(device_error)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        Volume::write_at(self, offset, bytes).map_err(device_error)
    }

    fn write_in_place(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        Volume::write_in_place(self, offset, bytes).map_err(device_error)
    }

    fn read_vectored_at(&self, offset: u64, buffers: &mut [IoSliceMut<'_>]) -> io::Result<()> {
        Volume::read_vectored_at(self, offset, buffers).map_err(device_error)
    }

    fn write_vectored_at(&self, offset: u64, buffers: &[IoSlice<'_>]) -> io::Result<()> {
        Volume::write_vectored_at(self, offset, buffers).map_err(device_error)
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> io::Result<()> {
        Volume::write_zeroes(self, offset, len).map_err(device_error)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        Volume::discard(self, offset, len).map_err(device_error)
    }

    fn sync(&self) -> io::Result<()> {
        Volume::sync(self).map_err(device_error)
    }
}

/// Passes the device's own error through unchanged, and wraps any other.
fn device_error(error: Error) -> io::Error {
    if let Error::Io { source, .. } = error { source } else { io::Error::other(error) }
}
