//! The descriptors of a request (virtio 1.2, section 2.7): pieces of the guest's memory, first those that it wrote for us, then
//! those that we write for it.
//!
//! The crate `virtio-queue` walks them too, but only from the available ring, and it ends a broken chain in silence.

use virtio_queue::desc::split::Descriptor;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, VolatileSlice};

/// The bytes of a descriptor.
const DESCRIPTOR: u64 = 16;

/// A fault of a chain of descriptors. The request gets no answer, because it has no trustworthy place for one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken(pub(super) &'static str);

/// The pieces of memory of a request.
#[derive(Default)]
pub(super) struct Chain {
    pub(super) readable: Segments,
    pub(super) writable: Segments,
}

impl Chain {
    /// Reads the chain that begins with descriptor `head` of the table at `table`. `queue_size` is the number of descriptors
    /// in the table, and the most that a chain may have.
    pub(super) fn read(
        &mut self,
        memory: &GuestMemoryMmap,
        table: GuestAddress,
        queue_size: u16,
        head: u16,
    ) -> Result<(), Broken> {
        self.readable.clear();
        self.writable.clear();
        let (mut table, mut entries, mut next, mut indirect) = (table, queue_size, head, false);
        let mut left = queue_size;
        loop {
            if next >= entries {
                return Err(Broken("a descriptor that isn't there"));
            }
            let at = table.0.checked_add(u64::from(next) * DESCRIPTOR).ok_or(Broken("an address beyond all"))?;
            let descriptor: Descriptor =
                memory.read_obj(GuestAddress(at)).map_err(|_| Broken("a table outside memory"))?;
            if descriptor.refers_to_indirect_table() {
                // The table may be longer than the queue, but a chain in it may not.
                let len = u64::from(descriptor.len());
                if indirect || descriptor.has_next() || len == 0 || !len.is_multiple_of(DESCRIPTOR) {
                    return Err(Broken("an indirect table that may not be"));
                }
                entries = u16::try_from(len / DESCRIPTOR).map_err(|_| Broken("an indirect table that is too long"))?;
                (table, next, indirect) = (descriptor.addr(), 0, true);
                continue;
            }
            left = left.checked_sub(1).ok_or(Broken("more descriptors than the queue has"))?;
            let piece = (descriptor.addr(), u64::from(descriptor.len()));
            if descriptor.is_write_only() {
                self.writable.push(piece);
            } else if self.writable.pieces.is_empty() {
                self.readable.push(piece);
            } else {
                return Err(Broken("memory to read behind memory to write"));
            }
            if !descriptor.has_next() {
                return Ok(());
            }
            next = descriptor.next();
        }
    }
}

/// A request names memory that the guest doesn't have, or too little.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outside;

/// Pieces of the guest's memory, one after the other.
#[derive(Default)]
pub(super) struct Segments {
    pieces: Vec<(GuestAddress, u64)>,
    len: u64,
}

impl Segments {
    /// How many bytes they have. 32,768 descriptors of 4 GiB are the most.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    fn clear(&mut self) {
        self.pieces.clear();
        self.len = 0;
    }

    fn push(&mut self, piece: (GuestAddress, u64)) {
        self.pieces.push(piece);
        self.len += piece.1;
    }

    /// The memory from the byte `from` on, up to `len` bytes, as far as it is one piece.
    pub(super) fn piece<'m>(&self, memory: &'m GuestMemoryMmap, from: u64, len: usize) -> Option<VolatileSlice<'m>> {
        let mut skip = from;
        for &(start, of) in &self.pieces {
            if skip < of {
                let len = usize::try_from(of - skip).unwrap_or(usize::MAX).min(len);
                return memory.get_slice(GuestAddress(start.0.checked_add(skip)?), len).ok();
            }
            skip -= of;
        }
        None
    }

    /// Reads from the byte `from` on.
    pub(super) fn read(&self, memory: &GuestMemoryMmap, from: u64, bytes: &mut [u8]) -> Result<(), Outside> {
        let mut done = 0;
        self.walk(from, bytes.len() as u64, |at, len| {
            let part = &mut bytes[done..done + len];
            done += len;
            memory.read_slice(part, at).map_err(|_| Outside)
        })
    }

    /// Writes from the byte `from` on.
    pub(super) fn write(&self, memory: &GuestMemoryMmap, from: u64, bytes: &[u8]) -> Result<(), Outside> {
        let mut done = 0;
        self.walk(from, bytes.len() as u64, |at, len| {
            let part = &bytes[done..done + len];
            done += len;
            memory.write_slice(part, at).map_err(|_| Outside)
        })
    }

    /// Whether the guest's memory contains all `len` bytes from the byte `from` on.
    pub(super) fn is_inside(&self, memory: &GuestMemoryMmap, from: u64, len: u64) -> bool {
        let has = |at, len| if memory.check_range(at, len) { Ok(()) } else { Err(Outside) };
        self.walk(from, len, has).is_ok()
    }

    /// Calls with each piece of `len` bytes from `from`.
    fn walk(
        &self,
        from: u64,
        len: u64,
        mut each: impl FnMut(GuestAddress, usize) -> Result<(), Outside>,
    ) -> Result<(), Outside> {
        let (mut skip, mut left) = (from, len);
        for &(start, of) in &self.pieces {
            if left == 0 {
                break;
            }
            let now = of.saturating_sub(skip).min(left);
            if now > 0 {
                each(GuestAddress(start.0.checked_add(skip).ok_or(Outside)?), now as usize)?;
            }
            skip = skip.saturating_sub(of);
            left -= now;
        }
        if left == 0 { Ok(()) } else { Err(Outside) }
    }
}
