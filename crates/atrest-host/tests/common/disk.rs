//! A disk for tests of the ways to serve one.

#![allow(dead_code)] // each program uses its part

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use atrest::{Error, Result};
use atrest_host::Disk;

pub const SIZE: usize = 1 << 20;

/// A disk in memory that counts, waits and fails as it is told.
pub struct TestDisk {
    pub bytes: Mutex<Vec<u8>>,
    pub sector_size: u32,
    pub read_only: bool,
    /// Whether it takes the guest's memory as it lies.
    pub shared: bool,
    pub writes: AtomicUsize,
    pub flushes: AtomicUsize,
    pub discards: Mutex<Vec<(u64, u64)>>,
    pub fails: AtomicBool,
    /// While it is locked, writes wait.
    pub gate: Mutex<()>,
}

impl TestDisk {
    pub fn new() -> Self {
        TestDisk {
            bytes: Mutex::new((0..SIZE).map(|i| (i / 512 + i) as u8).collect()),
            sector_size: 512,
            read_only: false,
            shared: true,
            writes: AtomicUsize::new(0),
            flushes: AtomicUsize::new(0),
            discards: Mutex::default(),
            fails: AtomicBool::new(false),
            gate: Mutex::new(()),
        }
    }

    fn check(&self) -> Result<()> {
        let source = std::io::ErrorKind::Other.into();
        if self.fails.load(Ordering::SeqCst) { Err(Error::Io { what: "this".into(), source }) } else { Ok(()) }
    }

    pub fn content(&self, at: usize, len: usize) -> Vec<u8> {
        self.bytes.lock().unwrap()[at..at + len].to_vec()
    }
}

impl Disk for TestDisk {
    fn size(&self) -> u64 {
        self.bytes.lock().unwrap().len() as u64
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

    fn read_at(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        self.check()?;
        sectors.copy_from_slice(&self.content(offset as usize, sectors.len()));
        Ok(())
    }

    fn write_at(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        drop(self.gate.lock().unwrap());
        self.check()?;
        self.writes.fetch_add(1, Ordering::SeqCst);
        self.bytes.lock().unwrap()[offset as usize..][..sectors.len()].copy_from_slice(sectors);
        // As one that encrypts them where they lie.
        sectors.fill(0xcc);
        Ok(())
    }

    fn takes_shared_memory(&self) -> bool {
        self.shared
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> Result<()> {
        self.write_at(offset, &mut vec![0; len as usize])
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.discards.lock().unwrap().push((offset, len));
        self.check()
    }

    fn flush(&self) -> Result<()> {
        self.flushes.fetch_add(1, Ordering::SeqCst);
        self.check()
    }
}

pub fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i as u8).wrapping_mul(31) ^ (i >> 8) as u8 ^ seed).collect()
}
