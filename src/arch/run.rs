//! How a kernel is told what to do.

/// Which way a run goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Encrypt,
    Decrypt,
}

/// Where output goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    /// Through the cache.
    Cache,
    /// Past the cache, where the kernel and the alignment of the output allow it.
    Stream,
}

/// How a buffer is cut into data units and how these are numbered.
#[derive(Clone, Copy)]
pub(crate) struct DataUnits {
    /// The number of the first data unit.
    pub(crate) first: u128,
    /// By how much the number grows from one data unit to the next.
    pub(crate) step: u64,
    /// The length of a data unit in bytes: at least 16, and a divisor of the buffer's length.
    pub(crate) len: usize,
}
