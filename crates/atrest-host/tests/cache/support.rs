//! A plain disk in memory, a keeper with a note, and what tests do with caches.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atrest::managed::SecretHolder;
use atrest::{BlockDevice, Error, Result, Secret};
use atrest_host::cache::{CacheKeeper, CacheMode, CacheOptions, CachePlace, KnownCache};
use atrest_host::{Cache, Disk};

use crate::common::device::TestDevice;

pub const BLOCK: u64 = 4096;

/// A disk in the clear.
pub struct PlainDisk {
    pub device: Arc<TestDevice>,
    pub sector_size: u32,
}

impl PlainDisk {
    pub fn new(size: u64, sector_size: u32) -> Arc<Self> {
        Self::of(vec![0; size as usize], sector_size)
    }

    pub fn of(bytes: Vec<u8>, sector_size: u32) -> Arc<Self> {
        Arc::new(PlainDisk { device: Arc::new(TestDevice::new(bytes)), sector_size })
    }
}

fn failed(source: std::io::Error) -> Error {
    Error::Io { what: "using the test's disk".into(), source }
}

impl Disk for PlainDisk {
    fn size(&self) -> u64 {
        self.device.size().unwrap()
    }

    fn sector_size(&self) -> u32 {
        self.sector_size
    }

    fn discards(&self) -> bool {
        true
    }

    fn read_at(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        self.device.read_at(offset, sectors).map_err(failed)
    }

    /// As a volume does, it leaves something else in the buffer.
    fn write_at(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        let written = self.device.write_at(offset, sectors).map_err(failed);
        sectors.fill(0xEE);
        written
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> Result<()> {
        self.device.write_at(offset, &vec![0; len as usize]).map_err(failed)
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.device.discard(offset, len).map_err(failed)
    }

    fn flush(&self) -> Result<()> {
        self.device.sync().map_err(failed)
    }
}

/// A secret, and a note of the last cache.
pub struct Keeper {
    secret: Secret,
    pub note: Mutex<Option<String>>,
}

impl Keeper {
    pub fn new(byte: u8) -> Arc<Self> {
        Arc::new(Keeper { secret: secret(byte), note: Mutex::default() })
    }
}

impl CacheKeeper for Keeper {
    fn check_key(&self) -> Result<()> {
        Ok(())
    }

    fn lend_secret(&self, label: &str, holder: &Arc<dyn SecretHolder>) -> Result<()> {
        self.secret.lend_secret(label, holder)
    }

    fn known_cache(&self) -> Result<KnownCache> {
        Ok(self.note.lock().unwrap().clone().map_or(KnownCache::None, KnownCache::Id))
    }

    fn note_cache(&self, id: Option<&str>) -> Result<()> {
        *self.note.lock().unwrap() = id.map(str::to_owned);
        Ok(())
    }
}

pub fn secret(byte: u8) -> Secret {
    Secret::copy_from(&[byte; 32])
}

/// A cache of so many bytes, of which nothing goes to the disk by itself.
pub fn options(mode: CacheMode, size: u64) -> CacheOptions {
    CacheOptions::new(mode, size).destage_after(Duration::from_secs(3600))
}

/// A small cache of a plain disk, on a device.
pub fn on(device: &Arc<TestDevice>, disk: &Arc<PlainDisk>, options: &CacheOptions) -> Result<Cache> {
    Cache::attach(disk.clone(), Arc::new(secret(7)), CachePlace::Device(device.clone()), options)
}

pub fn read(disk: &dyn Disk, offset: u64, len: usize) -> Vec<u8> {
    let mut sectors = vec![0; len];
    disk.read_at(offset, &mut sectors).unwrap();
    sectors
}

pub fn write(disk: &dyn Disk, offset: u64, sectors: &[u8]) {
    disk.write_at(offset, &mut sectors.to_vec()).unwrap();
}

/// xorshift64: any noise will do if it is the same each time.
pub struct Noise(pub u64);

impl Noise {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// How often to do what the environment variable makes longer.
pub fn times(variable: &str, by_default: u64) -> u64 {
    std::env::var(variable).map_or(by_default, |text| text.parse().unwrap())
}

/// Sets a flag when it goes, also by a panic: so that other threads end.
pub struct SetOnDrop<'f>(pub &'f AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
