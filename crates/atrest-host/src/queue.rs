//! Disks that have many requests of one thread under way.

use std::os::fd::BorrowedFd;

use atrest::Result;

/// A queue of a disk, returned by [`Disk::queue`](crate::Disk::queue). One thread uses it to keep many requests under way
/// without waiting for any of them. Offsets and lengths are as those of [`Disk`](crate::Disk).
///
/// Requests finish in any order. Dropping the queue waits for those under way.
pub trait DiskQueue {
    /// The most bytes of one request.
    fn most(&self) -> usize;

    /// Whether a finished request must be reported before another can begin.
    fn is_full(&self) -> bool;

    /// Begins to read `len` bytes from `offset`. `tag` identifies it when it is done.
    ///
    /// # Errors
    /// Any: it has not begun then, and the same by [`Disk::read_at`](crate::Disk::read_at) may succeed.
    fn read(&mut self, offset: u64, len: usize, tag: u64) -> Result<()>;

    /// Begins to write `len` bytes at `offset`. `fill` is called once at most, to put them into memory of the queue's.
    ///
    /// # Errors
    /// Any: it has not begun then, and the same by [`Disk::write_at`](crate::Disk::write_at) may succeed.
    fn write(&mut self, offset: u64, len: usize, tag: u64, fill: &mut dyn FnMut(&mut [u8])) -> Result<()>;

    /// Waits until `least` requests are done, or all if fewer are under way, and calls `each` with the tag of each finished
    /// request and the data it read (empty for a write). With 0 it doesn't wait. Returns the number of finished requests.
    ///
    /// # Errors
    /// [`Error::Io`](atrest::Error::Io) if the system doesn't take the requests. They stay under way.
    fn wait(&mut self, least: usize, each: &mut dyn FnMut(u64, Result<&[u8]>)) -> Result<usize>;

    /// A file that is readable while finished requests wait to be reported; `None` if every request is done when it begins.
    fn fd(&self) -> Option<BorrowedFd<'_>>;
}
