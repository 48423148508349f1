//! The requests under way, in memory that the front end keeps: after this process died, its successor finds there the requests
//! it has to do again (vhost-user, "Inflight I/O tracking", split virtqueues).
//!
//! Each queue has a header and an entry for each descriptor. All numbers are in this machine's byte order.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vhost::vhost_user::message::VhostUserInflight;
use vm_memory::{Bytes, FileOffset, MmapRegion, VolatileMemory, VolatileMemoryError, VolatileSlice};

use super::mapped::has;

/// The header: features (8 bytes), version (2), number of descriptors (2), last one that was given back (2), index of the
/// used ring (2).
const HEADER: usize = 16;
const VERSION: usize = 8;
const DESCRIPTORS: usize = 10;
const LAST: usize = 12;
const USED: usize = 14;

/// An entry: whether it is under way (1 byte), padding (5), the one that was given back before it (2), counter (8).
const ENTRY: usize = 16;
const NEXT: usize = 6;
const COUNTER: usize = 8;

/// The memory of one queue begins at a multiple of this.
const ALIGNMENT: usize = 64;

/// The only version there is.
const CURRENT: u16 = 1;

/// The memory for all queues.
pub(super) struct Inflight {
    region: Arc<MmapRegion>,
    queue_size: u16,
    queues: u16,
}

/// The part of one queue.
pub(super) struct InflightQueue {
    region: Arc<MmapRegion>,
    start: usize,
    queue_size: u16,
    counter: u64,
}

type Result<T, E = VolatileMemoryError> = std::result::Result<T, E>;

fn queue_len(queue_size: u16) -> usize {
    (HEADER + ENTRY * usize::from(queue_size)).next_multiple_of(ALIGNMENT)
}

impl Inflight {
    /// New memory, for the front end to keep.
    pub(super) fn new(asked: &VhostUserInflight) -> std::io::Result<(Self, VhostUserInflight, File)> {
        let file = File::from(memfd_create("atrest-inflight", MemfdFlags::CLOEXEC)?);
        let len = queue_len(asked.queue_size) * usize::from(asked.num_queues);
        ftruncate(&file, len as u64)?;
        let told = VhostUserInflight::new(len as u64, 0, asked.num_queues, asked.queue_size);
        Ok((Self::open(&told, file.try_clone()?)?, told, file))
    }

    /// Memory that the front end kept.
    pub(super) fn open(told: &VhostUserInflight, file: File) -> std::io::Result<Self> {
        let len = queue_len(told.queue_size) * usize::from(told.num_queues);
        if told.mmap_size < len as u64 || !has(&file, told.mmap_offset, len as u64) {
            return Err(std::io::ErrorKind::InvalidInput.into());
        }
        let region =
            MmapRegion::from_file(FileOffset::new(file, told.mmap_offset), len).map_err(std::io::Error::other)?;
        Ok(Inflight { region: Arc::new(region), queue_size: told.queue_size, queues: told.num_queues })
    }

    /// The part of one queue, if it has one.
    pub(super) fn queue(&self, index: usize) -> Option<InflightQueue> {
        let start = queue_len(self.queue_size) * index;
        let queue = InflightQueue { region: self.region.clone(), start, queue_size: self.queue_size, counter: 0 };
        (index < usize::from(self.queues)).then_some(queue)
    }
}

impl InflightQueue {
    /// Begins to use the memory, and returns the requests that are to be done again, in the order in which they came.
    /// `used` is the index of the used ring now.
    pub(super) fn recover(&mut self, used: u16) -> Result<Vec<u16>> {
        if self.load::<u16>(VERSION)? != CURRENT {
            self.store(CURRENT, VERSION)?;
            self.store(self.queue_size, DESCRIPTORS)?;
            self.store(used, USED)?;
            return Ok(Vec::new());
        }
        if self.load::<u16>(USED)? != used {
            // It was given back to the guest, and the process died before it said so here.
            let last = self.load::<u16>(LAST)?;
            if last < self.queue_size {
                self.store(0u8, Self::entry(last))?;
            }
            self.store(used, USED)?;
        }
        let mut again = Vec::new();
        for head in 0..self.queue_size {
            if self.load::<u8>(Self::entry(head))? != 0 {
                again.push((self.load::<u64>(Self::entry(head) + COUNTER)?, head));
            }
        }
        again.sort_unstable();
        self.counter = again.last().map_or(0, |(counter, _)| counter.wrapping_add(1));
        Ok(again.into_iter().map(|(_, head)| head).collect())
    }

    /// Says that a request is under way.
    pub(super) fn take(&mut self, head: u16) -> Result<()> {
        self.store(self.counter, Self::entry(head) + COUNTER)?;
        self.counter = self.counter.wrapping_add(1);
        self.store(1u8, Self::entry(head))
    }

    /// Says that a request will be given back next.
    pub(super) fn giving_back(&mut self, head: u16) -> Result<()> {
        let last = self.load::<u16>(LAST)?;
        self.store(last, Self::entry(head) + NEXT)?;
        self.store(head, LAST)
    }

    /// Says that it has been given back. `used` is the index of the used ring since.
    pub(super) fn given_back(&mut self, head: u16, used: u16) -> Result<()> {
        self.store(0u8, Self::entry(head))?;
        self.store(used, USED)
    }

    fn entry(head: u16) -> usize {
        HEADER + ENTRY * usize::from(head)
    }

    fn memory(&self) -> Result<VolatileSlice<'_>> {
        self.region.get_slice(self.start, queue_len(self.queue_size))
    }

    fn load<T: vm_memory::AtomicAccess>(&self, at: usize) -> Result<T> {
        self.memory()?.load(at, Ordering::Acquire)
    }

    /// Stores in the order of the calls: a successor that finds a dead process's memory sees all stores up to one.
    fn store<T: vm_memory::AtomicAccess>(&self, value: T, at: usize) -> Result<()> {
        self.memory()?.store(value, at, Ordering::Release)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> VhostUserInflight {
        VhostUserInflight::new(0, 0, 2, 4)
    }

    /// As after a process that died: the memory is mapped anew.
    fn again(told: &VhostUserInflight, file: &File) -> InflightQueue {
        Inflight::open(told, file.try_clone().unwrap()).unwrap().queue(1).unwrap()
    }

    #[test]
    fn what_was_under_way_comes_again_in_its_order() {
        let (inflight, told, file) = Inflight::new(&asked()).unwrap();
        let mut queue = inflight.queue(1).unwrap();
        assert_eq!(queue.recover(7).unwrap(), [0u16; 0]);
        for head in [3, 0, 2] {
            queue.take(head).unwrap();
        }
        queue.giving_back(0).unwrap();
        queue.given_back(0, 8).unwrap();
        assert_eq!(again(&told, &file).recover(8).unwrap(), [3, 2]);
        // It was put into the used ring, and then the process died.
        queue.giving_back(3).unwrap();
        assert_eq!(again(&told, &file).recover(9).unwrap(), [2]);
        // Requests taken since come after those under way.
        let mut queue = again(&told, &file);
        assert_eq!(queue.recover(9).unwrap(), [2]);
        queue.take(0).unwrap();
        assert_eq!(again(&told, &file).recover(9).unwrap(), [2, 0]);
        // The other queue is unaffected.
        assert_eq!(inflight.queue(0).unwrap().recover(0).unwrap(), [0u16; 0]);
        assert!(inflight.queue(2).is_none());
    }

    #[test]
    fn what_was_to_be_given_back_and_was_not_comes_again() {
        let (inflight, told, file) = Inflight::new(&asked()).unwrap();
        let mut queue = inflight.queue(1).unwrap();
        queue.recover(0).unwrap();
        queue.take(1).unwrap();
        queue.giving_back(1).unwrap();
        assert_eq!(again(&told, &file).recover(0).unwrap(), [1]);
    }

    #[test]
    fn memory_that_is_too_short_is_refused() {
        let (_, told, file) = Inflight::new(&asked()).unwrap();
        let short = VhostUserInflight { mmap_size: told.mmap_size - 1, ..told };
        assert!(Inflight::open(&short, file.try_clone().unwrap()).is_err());
        ftruncate(&file, told.mmap_size - 1).unwrap();
        assert!(Inflight::open(&told, file).is_err());
    }
}
