//! The database's file: accessible by its owner only, locked, and closed to a database that is no longer in use.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::StorageBackend;

use super::errors::damaged;
use crate::fs::{self, Links};
use crate::{Error, OwningProcess, Result};

/// The offset of the flags in redb's header. One flag says that the last commit was written in two phases.
const FLAGS: usize = 9;
const PRIMARY: u8 = 1;
const RECOVERY: u8 = 2;
const TWO_PHASES: u8 = 4;
/// The header's two commit slots, and the transaction number and checksum in a slot.
const SLOTS: [usize; 2] = [64, 192];
const SLOT_TRANSACTION: std::ops::Range<usize> = 104..112;
const SLOT_CHECKSUM: std::ops::Range<usize> = 112..128;
const HEADER: usize = 320;
const MAGIC: [u8; 9] = [b'r', b'e', b'd', b'b', 0x1A, 0x0A, 0xA9, 0x0D, 0x0A];

/// The file, locked while this lives.
#[derive(Debug)]
pub(super) struct StoreFile {
    owner: OwningProcess,
    path: PathBuf,
    bytes: Box<dyn Bytes>,
    /// Whether it was empty when it was opened.
    pub(super) is_new: bool,
}

/// The bytes of a store: the file, or a stand-in in tests.
pub(super) trait Bytes: core::fmt::Debug + Send + Sync {
    fn len(&self) -> io::Result<u64>;
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
    fn set_len(&self, len: u64) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    fn unlock(&self) {}
}

impl StoreFile {
    /// Opens the file, or makes it, and locks it.
    pub(super) fn open(path: &Path) -> Result<Self> {
        Self::locked(path, fs::open_or_create(path, Links::Follow))
    }

    /// Makes a file that must not be there yet, and locks it.
    pub(super) fn create(path: &Path) -> Result<Self> {
        Self::locked(path, fs::create_new(path))
    }

    fn locked(path: &Path, file: io::Result<File>) -> Result<Self> {
        let io = |e| Error::io(format!("opening the store {}", path.display()), e);
        let file = file.map_err(|e| fs::error_at(path, "store", "opening the store", e))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Busy { what: format!("the store {}", path.display()) });
            }
            Err(TryLockError::Error(e)) if e.kind() != io::ErrorKind::Unsupported => return Err(io(e)),
            _ => {}
        }
        let is_new = file.metadata().map_err(io)?.len() == 0;
        if is_new {
            fs::sync(path).map_err(io)?;
        }
        Ok(StoreFile { owner: OwningProcess::current(), path: path.into(), bytes: Box::new(file), is_new })
    }

    /// A store over other bytes than a file of its own.
    pub(super) fn over(path: &Path, bytes: Box<dyn Bytes>) -> Self {
        let is_new = bytes.len().is_ok_and(|len| len == 0);
        StoreFile { owner: OwningProcess::current(), path: path.into(), bytes, is_new }
    }

    /// The process that opened it: a child has other pages of it in memory than its parent, and no lock of its own.
    pub(super) fn owner(&self) -> OwningProcess {
        self.owner
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Empties a new file after a failure, so that the next opening makes it again.
    pub(super) fn empty(&self) {
        // If this fails, the next opening reports it.
        let _ = self.bytes.set_len(0);
    }
}

impl Drop for StoreFile {
    fn drop(&mut self) {
        // The lock is one with the parent's.
        if self.owner.is_current() {
            self.bytes.unlock();
        }
    }
}

#[cfg(unix)]
impl Bytes for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, data, offset)
    }

    fn unlock(&self) {
        // A leaked database may hold the file open.
        let _ = File::unlock(self);
    }
}

#[cfg(windows)]
impl Bytes for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read(&self, mut offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        while !out.is_empty() {
            let n = std::os::windows::fs::FileExt::seek_read(self, out, offset)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            out = &mut out[n..];
            offset += n as u64;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn write(&self, mut offset: u64, mut data: &[u8]) -> io::Result<()> {
        while !data.is_empty() {
            let n = std::os::windows::fs::FileExt::seek_write(self, data, offset)?;
            data = &data[n..];
            offset += n as u64;
        }
        Ok(())
    }

    fn unlock(&self) {
        let _ = File::unlock(self);
    }
}

/// The state of the file under one database.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// A read or write failed: the database does nothing more until it is opened again.
    pub(super) failed: AtomicBool,
    /// The database is no longer in use: none of its writes reach the file.
    pub(super) shut: AtomicBool,
    /// While the database opens, it sees a header that makes it check every page before use.
    pub(super) opening: AtomicBool,
}

/// Whether a commit slot of the header has the checksum that is written in it.
fn is_sound(slot: &[u8]) -> bool {
    xxhash_rust::xxh3::xxh3_128(&slot[..SLOT_CHECKSUM.start]).to_le_bytes() == slot[SLOT_CHECKSUM]
}

/// The file as seen by one database.
#[derive(Debug)]
pub(super) struct Backend {
    file: Arc<StoreFile>,
    gate: Arc<Gate>,
    /// Whether the last commit was written in two phases. Then it is complete, and no earlier commit may replace it.
    two_phases: bool,
}

impl Backend {
    pub(super) fn new(file: Arc<StoreFile>, gate: Arc<Gate>) -> Result<Self> {
        let mut backend = Backend { file, gate, two_phases: false };
        let damaged = |text| Err(damaged(text));
        let reading = |e| Error::io(format!("reading the store {}", backend.file.path.display()), e);
        let is_empty = backend.file.bytes.len().map_err(reading)? == 0;
        if !is_empty {
            let mut header = [0; HEADER];
            match backend.file.bytes.read(0, &mut header) {
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return damaged("it is cut off in its header"),
                read => read.map_err(reading)?,
            }
            if header[..FLAGS] != MAGIC {
                return damaged("it does not begin as a store does");
            }
            // The other slot is newer than the primary one: the second phase didn't happen, or a damaged flag points to
            // the older commit. Either way, the newer one counts if all of its pages are there.
            let primary = usize::from(header[FLAGS] & PRIMARY);
            let number =
                |slot: usize| u64::from_le_bytes(header[SLOTS[slot]..][SLOT_TRANSACTION].try_into().expect("8 bytes"));
            // A primary one whose own checksum is wrong may be the newer, whatever its number says: it is an error.
            let is_newer = number(1 - primary) > number(primary) && is_sound(&header[SLOTS[primary]..]);
            backend.two_phases = header[FLAGS] & TWO_PHASES != 0 && !is_newer;
        }
        backend.gate.opening.store(!is_empty, Ordering::Relaxed);
        Ok(backend)
    }

    pub(super) fn has_two_phases(&self) -> bool {
        self.two_phases
    }

    fn act<T>(&self, act: impl FnOnce(&dyn Bytes) -> io::Result<T>) -> io::Result<T> {
        if self.gate.shut.load(Ordering::Relaxed) {
            return Err(io::Error::other("the store is closed"));
        }
        act(&*self.file.bytes).inspect_err(|_| self.gate.failed.store(true, Ordering::Relaxed))
    }

    fn is_opening(&self) -> bool {
        self.gate.opening.load(Ordering::Relaxed)
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.act(|bytes| bytes.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.act(|bytes| {
            // Check before `out` is touched: a damaged page may give any length.
            if offset.checked_add(out.len() as u64).is_none_or(|end| bytes.len().is_ok_and(|len| end > len)) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            bytes.read(offset, out)
        })?;
        // redb trusts a database that was closed cleanly and checks its pages only when used; others it checks as a
        // whole. So make every database look unclean. If the first slot can't be torn, hide the other one.
        if self.is_opening() && offset == 0 && out.len() >= HEADER {
            out[FLAGS] = out[FLAGS] & !TWO_PHASES | RECOVERY;
            if self.two_phases {
                let other = SLOTS[1 - usize::from(out[FLAGS] & PRIMARY)];
                out[other..][SLOT_CHECKSUM].iter_mut().for_each(|byte| *byte = !*byte);
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.act(|bytes| bytes.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.act(|bytes| bytes.sync())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.is_opening() && self.two_phases && offset == 0 && data.len() >= HEADER {
            // Write the flag as it is on disk, not as the database was made to see it.
            let mut data = data.to_vec();
            data[FLAGS] |= TWO_PHASES;
            return self.act(|bytes| bytes.write(0, &data));
        }
        self.act(|bytes| bytes.write(offset, data))
    }
}
