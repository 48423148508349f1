//! Temporary disks that live as long as their machine, under a DEK that is nowhere but in this process's locked memory.

use std::path::Path;

use atrest::{BlockDevice, Dek, DekAlgorithm, Error, FileDevice, Result, SectorCipher, SectorSize, SectorUnit};

use crate::Disk;
use crate::disk::io;

/// A temporary disk. Its file has no name: nothing is left of it when this is dropped, or the process is killed.
pub(crate) struct TemporaryDisk {
    file: FileDevice,
    cipher: Box<SectorCipher>,
    size: u64,
}

impl TemporaryDisk {
    /// Makes a disk in a folder, with a fresh DEK. `size` is in bytes.
    pub(crate) fn new(folder: &Path, size: u64, sector_size: SectorSize) -> Result<Self> {
        if size == 0 || !size.is_multiple_of(sector_size.bytes().into()) {
            return Err(Error::InvalidOption(format!("a disk's size is a number of whole sectors, not {size} bytes")));
        }
        let file = tempfile::tempfile_in(folder).and_then(|file| file.set_len(size).map(|()| file));
        let file = file.map_err(|e| io(format!("making a temporary disk in {}", folder.display()), e))?;
        let cipher = Dek::generate(DekAlgorithm::Aes256Xts)?.sector_cipher(sector_size, SectorUnit::Bytes512)?;
        Ok(TemporaryDisk { file: FileDevice::from_file(file), cipher, size })
    }

    /// The number of the 512-byte unit at an offset.
    fn sector(offset: u64) -> u64 {
        offset / 512
    }
}

impl Disk for TemporaryDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn sector_size(&self) -> u32 {
        self.cipher.sector_size().bytes()
    }

    fn read_at(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        self.cipher.check_run(Self::sector(offset), sectors.len())?;
        self.file.read_at(offset, sectors).map_err(|e| io("reading a temporary disk", e))?;
        self.cipher.decrypt(Self::sector(offset), sectors)
    }

    fn write_at(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        self.cipher.encrypt(Self::sector(offset), sectors)?;
        self.file.write_at(offset, sectors).map_err(|e| io("writing a temporary disk", e))
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> Result<()> {
        const PIECE: u64 = 64 << 10;
        let mut zeros = vec![0; len.min(PIECE) as usize];
        for at in (0..len).step_by(PIECE as usize) {
            let piece = &mut zeros[..(len - at).min(PIECE) as usize];
            piece.fill(0);
            self.write_at(offset + at, piece)?;
        }
        Ok(())
    }

    /// Nothing of it outlives the process, so there is nothing to make durable.
    fn flush(&self) -> Result<()> {
        Ok(())
    }
}
