//! Static buffers, because there is no allocator.

/// The longest run of sectors.
pub const LONGEST: usize = 512 << 10;

const GUARD: usize = 64;
const GUARD_BYTE: u8 = 0xEE;
const SIZE: usize = LONGEST + 4 * GUARD;

#[repr(align(64))]
struct Aligned([u8; SIZE]);

static mut MEMORY: [Aligned; 4] = [const { Aligned([0; SIZE]) }; 4];

/// Bytes that begin `offset` behind an address aligned to 64, and guards before and behind them.
pub struct Buffer {
    memory: &'static mut [u8; SIZE],
    start: usize,
    len: usize,
}

impl Buffer {
    /// # Safety
    /// It is called once.
    pub unsafe fn all() -> [Buffer; 4] {
        let memory = &raw mut MEMORY;
        // SAFETY: the caller promises that this is the only reference.
        let memory = unsafe { &mut *memory };
        memory.each_mut().map(|memory| Buffer { memory: &mut memory.0, start: GUARD, len: 0 })
    }

    /// Becomes a copy of `bytes`.
    pub fn put(&mut self, bytes: &[u8], offset: usize) -> &mut [u8] {
        self.make(bytes.len(), offset).copy_from_slice(bytes);
        self.get_mut()
    }

    /// Becomes `len` bytes of anything.
    pub fn make(&mut self, len: usize, offset: usize) -> &mut [u8] {
        assert!(offset <= GUARD);
        (self.start, self.len) = (GUARD + offset, len);
        self.memory[self.start - GUARD..self.start].fill(GUARD_BYTE);
        self.memory[self.start + len..self.start + len + GUARD].fill(GUARD_BYTE);
        self.get_mut()
    }

    pub fn get(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }

    pub fn get_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }

    /// The bytes, for good.
    pub fn leak(self) -> &'static [u8] {
        &self.memory[self.start..self.start + self.len]
    }

    /// Whether these are the bytes, and none was written beside them.
    pub fn is(&self, bytes: &[u8]) -> bool {
        let end = self.start + self.len;
        let guards = [&self.memory[self.start - GUARD..self.start], &self.memory[end..end + GUARD]];
        self.get() == bytes && guards == [&[GUARD_BYTE; GUARD]; 2]
    }
}
