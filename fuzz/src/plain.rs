//! A disk in memory that knows its bounds, for what serves disks.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Mutex;

use atrest::Result;
use atrest_host::Disk;

pub const SIZE: usize = 1 << 20;

/// What a disk holds at first.
const FIRST: u8 = 7;

thread_local! {
    /// The bytes of a disk that is gone, as a new one has them: to fill them for each input would take most of its time.
    static SPARE: RefCell<Vec<u8>> = RefCell::new(vec![FIRST; SIZE]);
}

/// It panics when it is asked for what it doesn't have: a server has to see to that.
pub struct PlainDisk {
    state: Mutex<State>,
    sector_size: u32,
    /// Whether it takes memory that somebody else may change.
    shared: bool,
    read_only: bool,
}

impl PlainDisk {
    pub fn new(flags: u8) -> Self {
        let sector_size = if flags & 1 == 0 { 512 } else { 4096 };
        let bytes = SPARE.take();
        let bytes = if bytes.is_empty() { vec![FIRST; SIZE] } else { bytes };
        let state = Mutex::new(State { bytes, written: SIZE..SIZE });
        PlainDisk { state, sector_size, shared: flags & 2 != 0, read_only: flags & 12 == 12 }
    }

    fn check(&self, offset: u64, len: u64) {
        let unit = u64::from(self.sector_size);
        assert!(offset % unit == 0 && len % unit == 0 && offset + len <= SIZE as u64, "{len} bytes at {offset}");
    }
}

struct State {
    bytes: Vec<u8>,
    /// All that was written lies in here.
    written: Range<usize>,
}

impl State {
    /// What is to be written.
    fn range(&mut self, offset: u64, len: usize) -> &mut [u8] {
        let range = offset as usize..offset as usize + len;
        let end = if self.written.is_empty() { 0 } else { self.written.end };
        self.written = self.written.start.min(range.start)..end.max(range.end);
        &mut self.bytes[range]
    }
}

impl Drop for PlainDisk {
    fn drop(&mut self) {
        // A server that panicked has been found out already.
        let Ok(State { bytes, written }) = self.state.get_mut() else { return };
        bytes[written.clone()].fill(FIRST);
        SPARE.set(std::mem::take(bytes));
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
        sectors.copy_from_slice(&self.state.lock().unwrap().bytes[offset as usize..][..sectors.len()]);
        Ok(())
    }

    fn write_at(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        self.check(offset, sectors.len() as u64);
        assert!(!self.read_only);
        self.state.lock().unwrap().range(offset, sectors.len()).copy_from_slice(sectors);
        sectors.fill(0);
        Ok(())
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> Result<()> {
        self.check(offset, len);
        assert!(!self.read_only);
        self.state.lock().unwrap().range(offset, len as usize).fill(0);
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
