//! The parameters of a run of a kernel.

/// The direction of a run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Encrypt,
    Decrypt,
}

/// The way that output reaches memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    /// Through the cache.
    Cache,
    /// Past the cache, if the kernel and the alignment of the output allow it.
    Stream,
}

/// The size and numbering of the data units of a buffer.
#[derive(Clone, Copy)]
pub(crate) struct DataUnits {
    /// The number of the first data unit.
    pub(crate) first: u128,
    /// The increment of the number from one data unit to the next.
    pub(crate) step: u64,
    /// The length of a data unit in bytes: at least 16, and a divisor of the buffer's length.
    pub(crate) len: usize,
}
