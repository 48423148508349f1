//! Files in memory that are copied often: copies share their pages, and pages of zeros aren't kept.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const PAGE: usize = 4096;

/// The content of a file.
#[derive(Clone, Default, Debug)]
pub struct Pages {
    len: u64,
    pages: BTreeMap<u64, Arc<[u8; PAGE]>>,
}

impl Pages {
    pub fn read_file(path: &Path) -> io::Result<Self> {
        let bytes = fs::read(path)?;
        let mut pages = Pages { len: bytes.len() as u64, ..Pages::default() };
        for (offset, page) in (0u64..).step_by(PAGE).zip(bytes.chunks(PAGE)) {
            if *page != [0; PAGE][..page.len()] {
                pages.write_at(offset, page);
            }
        }
        Ok(pages)
    }

    /// Makes a file of it, with holes.
    pub fn write_file(&self, path: &Path) -> io::Result<()> {
        let file = File::create(path)?;
        self.pages.iter().try_for_each(|(number, page)| file.write_all_at(&page[..], number * PAGE as u64))?;
        file.set_len(self.len)
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn set_len(&mut self, len: u64) {
        self.pages.split_off(&len.div_ceil(PAGE as u64));
        if let Some(page) = self.pages.get_mut(&(len / PAGE as u64)) {
            Arc::make_mut(page)[(len % PAGE as u64) as usize..].fill(0);
        }
        self.len = len;
    }

    pub fn read_at(&self, offset: u64, mut bytes: &mut [u8]) -> io::Result<()> {
        if offset + bytes.len() as u64 > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, range) in parts(offset, bytes.len()) {
            let (now, later) = bytes.split_at_mut(range.len());
            match self.pages.get(&number) {
                Some(page) => now.copy_from_slice(&page[range]),
                None => now.fill(0),
            }
            bytes = later;
        }
        Ok(())
    }

    /// Writes bytes, also behind the end.
    pub fn write_at(&mut self, offset: u64, mut bytes: &[u8]) {
        self.len = self.len.max(offset + bytes.len() as u64);
        for (number, range) in parts(offset, bytes.len()) {
            let (now, later) = bytes.split_at(range.len());
            let page = self.pages.entry(number).or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(page)[range].copy_from_slice(now);
            bytes = later;
        }
    }
}

/// The pages of a range, and of each what of it is in the range.
fn parts(offset: u64, len: usize) -> impl Iterator<Item = (u64, Range<usize>)> {
    let (size, end) = (PAGE as u64, offset + len as u64);
    (offset / size..end.div_ceil(size)).map(move |number| {
        let start = number * size;
        (number, offset.saturating_sub(start) as usize..(end - start).min(size) as usize)
    })
}

/// What is in a folder, and in those within it.
#[derive(Default)]
pub struct Folder {
    folders: Vec<PathBuf>,
    files: Vec<(PathBuf, Pages)>,
}

impl Folder {
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut folder = Folder::default();
        folder.add(path, Path::new(""))?;
        Ok(folder)
    }

    fn add(&mut self, path: &Path, within: &Path) -> io::Result<()> {
        for entry in fs::read_dir(path.join(within))? {
            let entry = entry?;
            let name = within.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                self.folders.push(name.clone());
                self.add(path, &name)?;
            } else {
                self.files.push((name, Pages::read_file(&entry.path())?));
            }
        }
        Ok(())
    }

    /// Makes all of it in a folder that is empty.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        self.folders.iter().try_for_each(|name| fs::create_dir(path.join(name)))?;
        self.files.iter().try_for_each(|(name, pages)| pages.write_file(&path.join(name)))
    }
}
