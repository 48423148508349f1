//! Devices in memory that keep only what was written, so that there is room for thousands.

#![allow(dead_code)] // each program uses its part

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, RwLock};

use atrest::managed::DiskBackend;
use atrest::{BlockDevice, Error, Result};

const PAGE: u64 = 4096;

/// A device that only keeps pages that aren't zero.
pub struct Sparse {
    size: u64,
    pages: RwLock<HashMap<u64, Box<[u8]>>>,
}

impl Sparse {
    /// The pages of a byte range, each with its part of the range.
    fn pages(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, core::ops::Range<usize>)> {
        let mut at = 0;
        core::iter::from_fn(move || {
            let (page, skip) = ((offset + at as u64) / PAGE, ((offset + at as u64) % PAGE) as usize);
            let part = at..len.min(at + PAGE as usize - skip);
            at = part.end;
            (!part.is_empty()).then_some((page, skip, part))
        })
    }
}

impl BlockDevice for Sparse {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let pages = self.pages.read().unwrap();
        for (page, skip, part) in Self::pages(offset, bytes.len()) {
            match pages.get(&page) {
                Some(page) => bytes[part.clone()].copy_from_slice(&page[skip..skip + part.len()]),
                None => bytes[part].fill(0),
            }
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut pages = self.pages.write().unwrap();
        for (number, skip, part) in Self::pages(offset, bytes.len()) {
            let bytes = &bytes[part];
            if bytes.iter().all(|&b| b == 0) && !pages.contains_key(&number) {
                continue;
            }
            let page = pages.entry(number).or_insert_with(|| vec![0; PAGE as usize].into());
            page[skip..skip + bytes.len()].copy_from_slice(bytes);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Where such devices are, by their ids.
#[derive(Default)]
pub struct Devices(RwLock<HashMap<String, Arc<Sparse>>>);

impl Devices {
    /// What all of them keep.
    pub fn bytes(&self) -> u64 {
        self.0.read().unwrap().values().map(|device| device.pages.read().unwrap().len() as u64 * PAGE).sum()
    }
}

impl DiskBackend for Devices {
    fn create(&self, _: &str, id: &str, size: u64) -> Result<Arc<dyn BlockDevice>> {
        let device = Arc::new(Sparse { size, pages: RwLock::default() });
        self.0.write().unwrap().insert(id.into(), device.clone());
        Ok(device)
    }

    fn open(&self, _: &str, id: &str) -> Result<Arc<dyn BlockDevice>> {
        let missing = || Error::Io { what: format!("opening {id}"), source: io::ErrorKind::NotFound.into() };
        let device: Arc<dyn BlockDevice> = self.0.read().unwrap().get(id).cloned().ok_or_else(missing)?;
        Ok(device)
    }

    fn remove(&self, _: &str, id: &str) -> Result<()> {
        self.0.write().unwrap().remove(id);
        Ok(())
    }
}
