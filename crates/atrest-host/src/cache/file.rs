//! The file of a cache.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use atrest::{BlockDevice, Error, FileDevice, Result};
use rustix::fs::{FallocateFlags, fallocate};

use super::format::{BLOCK, Header, Layout, SECTOR};
use super::keys::Place;
use super::options::CachePlace;

pub(super) struct CacheFile {
    pub(super) device: Arc<dyn BlockDevice>,
    pub(super) layout: Layout,
    path: Option<PathBuf>,
}

/// The name of a cache, for people.
pub(super) fn name(place: &CachePlace) -> String {
    match place {
        CachePlace::File(path) => path.display().to_string(),
        CachePlace::Device(_) => "on its device".into(),
    }
}

/// Opens an existing cache file, if there is one.
pub(super) fn open(place: &CachePlace) -> Result<Option<Arc<dyn BlockDevice>>> {
    match place {
        CachePlace::Device(device) if device.alignment().get() > 1 => {
            Err(Error::InvalidOption("a cache's device must take reads and writes of any alignment".into()))
        }
        CachePlace::Device(device) => Ok(Some(device.clone())),
        CachePlace::File(path) => match FileDevice::open(path) {
            Ok(device) => Ok(Some(Arc::new(device))),
            Err(Error::NotFound { path: missing, .. }) if missing == *path => Ok(None),
            Err(error) => Err(error),
        },
    }
}

/// The first sector of a file, with zeros where it is shorter.
pub(super) fn first_sector(device: &dyn BlockDevice) -> io::Result<[u8; SECTOR]> {
    let mut sector = [0; SECTOR];
    let len = device.size()?.min(SECTOR as u64) as usize;
    device.read_at(0, &mut sector[..len])?;
    Ok(sector)
}

/// Whether a file is empty or begins with more zeros than any file system does.
pub(super) fn is_blank(device: &dyn BlockDevice) -> io::Result<bool> {
    let mut start = vec![0; device.size()?.min(1 << 20) as usize];
    device.read_at(0, &mut start)?;
    Ok(start.chunks(BLOCK).all(|block| *block == [0; BLOCK][..block.len()]))
}

/// Overwrites the material that the keys of a cache were derived from, durably, and removes its file.
pub(super) fn wipe(device: &dyn BlockDevice, place: &CachePlace) -> io::Result<()> {
    let path = match place {
        CachePlace::File(path) => Some(path.as_path()),
        CachePlace::Device(_) => None,
    };
    forget(device, path)
}

fn forget(device: &dyn BlockDevice, path: Option<&Path>) -> io::Result<()> {
    let overwritten = device.size().and_then(|size| {
        device.write_at(0, &Header::wiped()[..size.min(BLOCK as u64) as usize])?;
        device.sync()
    });
    match path {
        // A file that can't be written any more can perhaps be removed.
        Some(path) => std::fs::remove_file(path).and_then(|()| sync_name(path)).and(overwritten),
        None => overwritten,
    }
}

fn sync_name(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// The file of a new cache, which gets its name when it is complete.
pub(super) struct NewFile {
    file: CacheFile,
    made_as: Option<PathBuf>,
}

impl NewFile {
    pub(super) fn make(place: &CachePlace, layout: Layout) -> Result<Self> {
        let path = match place {
            CachePlace::Device(device) => {
                let file = CacheFile { device: device.clone(), layout, path: None };
                return Ok(NewFile { file, made_as: None });
            }
            CachePlace::File(path) => path,
        };
        let mut made_as = path.clone().into_os_string();
        made_as.push(".new");
        let made_as = PathBuf::from(made_as);
        // One that was being made when the host died.
        let _ = std::fs::remove_file(&made_as);
        let device = FileDevice::create(&made_as, layout.size())?;
        // So that the file system is full now, and not when data waits.
        let reserved = fallocate(device.file(), FallocateFlags::empty(), 0, layout.size());
        let file = CacheFile { device: Arc::new(device), layout, path: Some(path.clone()) };
        let new = NewFile { file, made_as: Some(made_as) };
        match reserved {
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => Ok(new),
            Err(error) => {
                let what = format!("reserving {} bytes for the host cache {}", layout.size(), path.display());
                Err(Error::Io { what, source: error.into() })
            }
        }
    }

    /// Writes its first sectors, the header last, and gives it its name.
    pub(super) fn complete(mut self, marks: Option<[u8; SECTOR]>, header: &[u8; SECTOR]) -> io::Result<CacheFile> {
        if let Some(mark) = marks {
            self.file.device.write_at(Layout::mark(0), &mark)?;
            self.file.device.write_at(Layout::mark(1), &[0; SECTOR])?;
            self.file.device.sync()?;
        }
        self.file.device.write_at(0, header)?;
        self.file.device.sync()?;
        if let (Some(made_as), Some(path)) = (&self.made_as, &self.file.path) {
            std::fs::rename(made_as, path)?;
            sync_name(path)?;
        }
        self.made_as = None;
        let CacheFile { device, layout, path } = &mut self.file;
        Ok(CacheFile { device: device.clone(), layout: *layout, path: path.take() })
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(path) = &self.made_as {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl CacheFile {
    pub(super) fn read_slot(&self, slot: u32, block: &mut [u8]) -> io::Result<()> {
        self.device.read_at(self.layout.slot(slot), block)
    }

    /// Writes blocks to their places, neighbours at once.
    pub(super) fn write_slots(&self, places: &[Place], blocks: &[u8]) -> io::Result<()> {
        let mut rest = blocks;
        for run in places.chunk_by(|a, b| a.slot + 1 == b.slot) {
            let (now, later) = rest.split_at(run.len() * BLOCK);
            self.device.write_at(self.layout.slot(run[0].slot), now)?;
            rest = later;
        }
        Ok(())
    }

    /// Writes consecutive records of the journal.
    pub(super) fn write_records(&self, first: u64, records: &[u8]) -> io::Result<()> {
        let until_end = (u64::from(self.layout.journal) - first % u64::from(self.layout.journal)) as usize;
        let (now, wrapped) = records.split_at(records.len().min(until_end * SECTOR));
        self.device.write_at(self.layout.record(first), now)?;
        if wrapped.is_empty() { Ok(()) } else { self.device.write_at(self.layout.record(0), wrapped) }
    }

    /// Makes the cache unreadable, and removes its file.
    pub(super) fn wipe(&self) -> io::Result<()> {
        forget(&*self.device, self.path.as_deref())
    }
}
