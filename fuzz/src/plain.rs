//! A disk in memory that knows its bounds, for what serves disks.

use std::sync::Mutex;

use atrest::Result;
use atrest_host::Disk;

pub const SIZE: usize = 1 << 20;

/// It panics when it is asked for what it doesn't have: a server has to see to that.
pub struct PlainDisk {
    bytes: Mutex<Vec<u8>>,
    sector_size: u32,
    /// Whether it takes memory that somebody else may change.
    shared: bool,
    read_only: bool,
}

impl PlainDisk {
    pub fn new(flags: u8) -> Self {
        let sector_size = if flags & 1 == 0 { 512 } else { 4096 };
        PlainDisk { bytes: Mutex::new(vec![7; SIZE]), sector_size, shared: flags & 2 != 0, read_only: flags & 12 == 12 }
    }

    fn check(&self, offset: u64, len: u64) {
        let unit = u64::from(self.sector_size);
        assert!(offset % unit == 0 && len % unit == 0 && offset + len <= SIZE as u64, "{len} bytes at {offset}");
    }
}

impl Disk for PlainDisk {
    fn size(&self) -> u64 {
        SIZE as u64
    }

    fn sector_size(&self) -> u32 {
        self.sector_size
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn discards(&self) -> bool {
        true
    }

    fn takes_shared_memory(&self) -> bool {
        self.shared
    }

    fn read_at(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        self.check(offset, sectors.len() as u64);
        sectors.copy_from_slice(&self.bytes.lock().unwrap()[offset as usize..][..sectors.len()]);
        Ok(())
    }

    fn write_at(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        self.check(offset, sectors.len() as u64);
        assert!(!self.read_only);
        self.bytes.lock().unwrap()[offset as usize..][..sectors.len()].copy_from_slice(sectors);
        sectors.fill(0);
        Ok(())
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> Result<()> {
        self.check(offset, len);
        assert!(!self.read_only);
        self.bytes.lock().unwrap()[offset as usize..][..len as usize].fill(0);
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.check(offset, len);
        assert!(!self.read_only);
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}
