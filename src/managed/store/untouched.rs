//! A file that is only read. The changes that the database makes on opening a store stay in memory.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Mutex;

use super::file::Bytes;
use crate::fs::{self, Links};
use crate::managed::sync::lock;
use crate::{Error, Result};

const PAGE: usize = 4096;

#[derive(Debug)]
pub(super) struct Untouched {
    file: File,
    /// The length of the file as the database sees it, and the pages that it has changed.
    len: Mutex<u64>,
    pages: Mutex<BTreeMap<u64, Box<[u8]>>>,
}

impl Untouched {
    /// Opens a file that nobody writes meanwhile.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let io = |e| Error::io(format!("opening the store {}", path.display()), e);
        let file = fs::open(OpenOptions::new().read(true), path, Links::Follow);
        let file = file.map_err(|e| fs::error_at(path, "store", "opening the store", e))?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Busy { what: format!("the store {}", path.display()) });
            }
            Err(TryLockError::Error(e)) if e.kind() != io::ErrorKind::Unsupported => return Err(io(e)),
            _ => {}
        }
        let len = Mutex::new(file.metadata().map_err(io)?.len());
        Ok(Untouched { file, len, pages: Mutex::default() })
    }

    /// A page as in the file, with zeros after the file's end.
    fn page(&self, number: u64) -> io::Result<Box<[u8]>> {
        let mut page = vec![0; PAGE];
        let end = self.file.metadata()?.len();
        let offset = number * PAGE as u64;
        let there = end.saturating_sub(offset).min(PAGE as u64) as usize;
        Bytes::read(&self.file, offset, &mut page[..there])?;
        Ok(page.into())
    }
}

/// The pages of a byte range, each with its part of the range.
fn pages(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, core::ops::Range<usize>)> {
    let mut at = 0;
    core::iter::from_fn(move || {
        let place = offset + at as u64;
        let skip = (place % PAGE as u64) as usize;
        let part = at..len.min(at + PAGE - skip);
        at = part.end;
        (!part.is_empty()).then_some((place / PAGE as u64, skip, part))
    })
}

impl Bytes for Untouched {
    fn len(&self) -> io::Result<u64> {
        Ok(*lock(&self.len))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > *lock(&self.len)) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let changed = lock(&self.pages);
        for (number, skip, part) in pages(offset, out.len()) {
            let len = part.len();
            match changed.get(&number) {
                Some(page) => out[part].copy_from_slice(&page[skip..skip + len]),
                None => out[part].copy_from_slice(&self.page(number)?[skip..skip + len]),
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        *lock(&self.len) = len;
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut changed = lock(&self.pages);
        for (number, skip, part) in pages(offset, data.len()) {
            let page = match changed.entry(number) {
                std::collections::btree_map::Entry::Occupied(page) => page.into_mut(),
                std::collections::btree_map::Entry::Vacant(place) => place.insert(self.page(number)?),
            };
            page[skip..skip + part.len()].copy_from_slice(&data[part]);
        }
        Ok(())
    }
}
