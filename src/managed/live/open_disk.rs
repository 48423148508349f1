//! An open disk.

use std::io::{IoSlice, IoSliceMut};
use std::sync::{Arc, Weak};

use super::coming::User;
use super::in_flight::DeviceWrite;
use super::resource::LiveResource;
use crate::managed::layers::Layers;
use crate::managed::lent::SecretHolder;
use crate::managed::records::Resource;
use crate::managed::sync::{Own, lock};
use crate::managed::write_back::WriteBack;
use crate::volume::{Sectors, VolumeExtent};
use crate::{Error, NotInherited, Result};

/// An open disk, for any number of threads. Only the requested sectors are in memory in the clear, and the DEK while
/// the disk's key may be used. A clone is another handle of the same disk. A forked child can't use its parent's: each call fails
/// there with [`Error::Forked`].
#[derive(Clone)]
pub struct OpenDisk {
    // Closed before its device is let go.
    live: Own<Arc<LiveResource>>,
    _user: NotInherited<User>,
    sector_size: u32,
    discards: bool,
}

/// The most bytes that are zeroed or discarded as one write, which begins and ends at a multiple of this. A snapshot that begins
/// meanwhile waits for no more than one such write, nor does the wiping of the key.
const PIECE: u64 = 8 << 20;

impl OpenDisk {
    pub(in crate::managed) fn new(live: Arc<LiveResource>, user: User, disk: &Resource, discards: bool) -> Self {
        let (live, _user) = (Own::new(live), NotInherited::new(user));
        OpenDisk { live, _user, sector_size: disk.sector_size, discards }
    }

    /// The name of the disk.
    pub fn name(&self) -> &str {
        &self.live.without_locks().name.name
    }

    /// The size of its data in bytes, which [`resize_disk`](crate::managed::DiskService::resize_disk) changes.
    pub fn size(&self) -> u64 {
        self.live.without_locks().size()
    }

    /// The sector size in bytes. Offsets and lengths must be multiples of it.
    pub fn sector_size(&self) -> u32 {
        self.sector_size
    }

    /// Whether its key may not be used, as far as is known without asking its vault. A forked child may not use it.
    pub fn is_suspended(&self) -> bool {
        self.live.get().map_or(true, |live| live.is_suspended())
    }

    /// Returns if its key may be used now, as any read does: its vault is asked if need be.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    pub fn check_key(&self) -> Result<()> {
        self.live.get()?.with_layers(|_| Ok(()))
    }

    /// Lends `holder` a secret of this disk, for a layer above it that keeps data of its own, such as a cache: 32 bytes
    /// derived from the DEK by HKDF-SHA-256 with `label` in its info. It is the same each time, and tells nothing of the DEK.
    /// When the DEK is wiped, since its key may not be used any more or nobody has the disk open, the holder is told to
    /// wipe the secret, too.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at); those of [`SecretHolder::hold`].
    pub fn lend_secret(&self, label: &str, holder: &Arc<dyn SecretHolder>) -> Result<()> {
        self.live.get()?.with_layers(|layers| layers.lend_secret(label, holder))
    }

    /// The id of the write-back cache that may hold writes which the disk lacks, as the service's store has it.
    ///
    /// # Errors
    /// Those of the store.
    pub fn host_cache(&self) -> Result<Option<String>> {
        Ok(self.live.get()?.record()?.host_cache)
    }

    /// Notes in the service's store, durably, which write-back cache may hold writes that the disk lacks. The disk must not
    /// be used without this cache until it says `None` again, and its DEK isn't replaced meanwhile.
    ///
    /// # Errors
    /// [`Error::Busy`] while the disk is being re-encrypted; those of the store.
    pub fn set_host_cache(&self, id: Option<&str>) -> Result<()> {
        self.live.get()?.note_host_cache(id)
    }

    /// Says which layer above this disk keeps writes back, if any: a snapshot, an image or a copy of the disk has it settle them
    /// first. While [`host_cache`](Self::host_cache) says that there is a cache, and none was named here, they are refused with
    /// [`Error::Busy`]. In a forked child nothing happens.
    pub fn set_write_back(&self, layer: Option<Weak<dyn WriteBack>>) {
        if let Ok(live) = self.live.get() {
            *lock(&live.write_back) = layer;
        }
    }

    /// Reads and decrypts `sectors.len()` bytes from `offset`. Unwritten sectors read as noise.
    ///
    /// # Errors
    /// [`Error::DiskSuspended`] while its key may not be used; those of [`Volume::read_at`](crate::Volume::read_at).
    pub fn read_at(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        self.within(offset, sectors.len() as u64)?.with_layers(|layers| layers.read_at(offset, sectors))
    }

    /// Encrypts and writes `sectors` at `offset`.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    pub fn write_at(&self, offset: u64, sectors: &[u8]) -> Result<()> {
        self.within(offset, sectors.len() as u64)?
            .write_with(offset, sectors.len() as u64, |layers| layers.write_at(offset, sectors))
    }

    /// As [`write_at`](Self::write_at), from a buffer that may be changed: see
    /// [`Volume::write_in_place`](crate::Volume::write_in_place).
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    pub fn write_in_place(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        self.within(offset, sectors.len() as u64)?
            .write_with(offset, sectors.len() as u64, |layers| layers.write_in_place(offset, sectors))
    }

    /// As [`read_at`](Self::read_at), into several buffers one after the other, each a whole number of sectors.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    pub fn read_vectored_at(&self, offset: u64, sectors: &mut [IoSliceMut<'_>]) -> Result<()> {
        self.within(offset, sum(sectors.iter().map(|piece| piece.len())) as u64)?
            .with_layers(|layers| layers.read_vectored_at(offset, sectors))
    }

    /// As [`write_at`](Self::write_at), from several buffers one after the other, each a whole number of sectors.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    pub fn write_vectored_at(&self, offset: u64, sectors: &[IoSlice<'_>]) -> Result<()> {
        let len = sum(sectors.iter().map(|piece| piece.len()));
        self.within(offset, len as u64)?
            .write_with(offset, len as u64, |layers| layers.write_vectored_at(offset, sectors))
    }

    /// Makes `len` bytes from `offset` zeros, encrypted as any other data: see
    /// [`Volume::write_zeroes`](crate::Volume::write_zeroes). A snapshot that begins meanwhile may hold a part of them.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at). A part may have been written then.
    pub fn write_zeroes(&self, offset: u64, len: u64) -> Result<()> {
        self.check_range(offset, len)?;
        self.in_pieces(offset, len, |layers, at, len| layers.write_zeroes(at, len))
    }

    /// Tells the device that nobody needs `len` bytes from `offset`. Their content is undefined until they are written again. See
    /// [`Volume::discard`](crate::Volume::discard). A snapshot in progress copies them before. They are passed on only with
    /// [`ServiceOptions::discard`](crate::managed::ServiceOptions::discard); without it nothing happens.
    ///
    /// # Errors
    /// [`Error::Misaligned`] and [`Error::OutOfBounds`], whether it is allowed or not; as [`read_at`](Self::read_at).
    pub fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.check_range(offset, len)?;
        if !self.discards {
            return Ok(());
        }
        self.in_pieces(offset, len, |layers, at, len| layers.discard(at, len))
    }

    /// The written extents of `len` bytes from `offset`, in order, at most `most` of them: a copy needn't read the rest. See
    /// [`Volume::extents`](crate::Volume::extents). Without a map of written chunks
    /// ([`ServiceOptions::written_map`](crate::managed::ServiceOptions::written_map)) all of it counts as written.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    pub fn extents(&self, offset: u64, len: u64, most: usize) -> Result<Vec<VolumeExtent>> {
        self.within(offset, len)?.with_layers(|layers| layers.extents(offset, len, most))
    }

    /// Whether [`discard`](Self::discard) reaches the device.
    pub fn discards(&self) -> bool {
        self.discards
    }

    /// Says where on the disk's device, the one that the backend opens for it, `len` bytes from `offset` are: the offset there
    /// in bytes, below all layers. The caller reads them, and hands them to [`complete_read`](Self::complete_read). Nothing is
    /// held meanwhile. As [`Volume::begin_read`](crate::Volume::begin_read).
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    pub fn begin_read(&self, offset: u64, len: usize) -> Result<u64> {
        self.within(offset, len as u64)?.with_layers(|layers| layers.begin_read(offset, len))
    }

    /// Decrypts the `sectors` that were read, while the disk's key may be used: not any more once it was revoked, whenever the read
    /// began.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at). `sectors` hold ciphertext then.
    pub fn complete_read(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        self.within(offset, sectors.len() as u64)?.with_layers(|layers| layers.complete_read(offset, sectors))
    }

    /// Encrypts `sectors` in place, and returns the offset on the disk's device where the caller is to write them. The caller drops
    /// the returned value once the write is done. As [`Volume::begin_write`](crate::Volume::begin_write).
    ///
    /// A snapshot that begins waits for the writes that are under way. Those that begin meanwhile are done here, before this
    /// returns; to write the same once more does no harm.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at).
    pub fn begin_write(&self, offset: u64, sectors: &mut [u8]) -> Result<DeviceWrite> {
        let len = sectors.len();
        self.within(offset, len as u64)?
            .begin_write(offset, len, |layers| Ok((layers.begin_write(offset, sectors)?, &*sectors)))
    }

    /// As [`begin_write`](Self::begin_write), of `sectors` that must not be changed, such as a guest's memory: the caller is to
    /// write `ciphertext`, of the same length.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`]; as [`write_at`](Self::write_at).
    pub fn begin_write_from(&self, offset: u64, sectors: &[u8], ciphertext: &mut [u8]) -> Result<DeviceWrite> {
        self.within(offset, sectors.len() as u64)?.begin_write(offset, sectors.len(), |layers| {
            Ok((layers.begin_write_from(offset, sectors, ciphertext)?, &*ciphertext))
        })
    }

    /// Makes earlier writes durable.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    pub fn sync(&self) -> Result<()> {
        self.live.get()?.with_layers(Layers::sync)
    }

    /// Changes a range piece by piece.
    fn in_pieces(&self, offset: u64, len: u64, act: impl Fn(&Layers, u64, u64) -> Result<()>) -> Result<()> {
        let (mut at, end) = (offset, offset + len);
        while at < end {
            let now = (end - at).min(PIECE - at % PIECE);
            self.live.get()?.write_with(at, now, |layers| act(layers, at, now))?;
            at += now;
        }
        Ok(())
    }

    /// Whether a range may be changed, all of it, before any of it is.
    fn check_range(&self, offset: u64, len: u64) -> Result<()> {
        let sector_size = self.sector_size;
        if !offset.is_multiple_of(sector_size.into()) || !len.is_multiple_of(sector_size.into()) {
            return Err(Error::Misaligned { offset, len: counted(len), sector_size });
        }
        self.within(offset, len).map(drop)
    }

    /// What a read or write of this range begins with. The volume may be larger than the disk, by spare space of its device.
    fn within(&self, offset: u64, len: u64) -> Result<&LiveResource> {
        let (live, size) = (self.live.get()?, self.size());
        if offset.checked_add(len).is_none_or(|end| end > size) {
            return Err(Error::OutOfBounds { offset, len: counted(len), size });
        }
        Ok(live)
    }
}

impl Sectors for OpenDisk {
    type Write = DeviceWrite;

    fn begin_read(&self, offset: u64, len: usize) -> Result<u64> {
        self.begin_read(offset, len)
    }

    fn complete_read(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        self.complete_read(offset, sectors)
    }

    fn begin_write(&self, offset: u64, sectors: &mut [u8]) -> Result<(u64, DeviceWrite)> {
        let write = self.begin_write(offset, sectors)?;
        Ok((write.device_offset(), write))
    }
}

/// A length as errors tell it.
fn counted(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

/// Several buffers may be the same memory, so that no sum of them is out of the question.
fn sum(lengths: impl Iterator<Item = usize>) -> usize {
    lengths.fold(0, usize::saturating_add)
}

impl core::fmt::Debug for OpenDisk {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("OpenDisk").field("name", &self.name()).field("size", &self.size()).finish_non_exhaustive()
    }
}
