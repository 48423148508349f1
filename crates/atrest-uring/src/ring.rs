//! A ring of the kernel's.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::{IoUring, cqueue, opcode, types};

/// The direction of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// The number of requests that are submitted at once. A call for each takes a third more CPU time, and a disk that waits for
/// all that a thread begins in one go does a fifth less.
const TOGETHER: usize = 4;

/// A request's memory: an address and a length.
pub(crate) type Memory = (*mut u8, usize);

/// A ring for requests of one file at a time.
pub(crate) struct Ring {
    ring: IoUring,
    /// The kernel knows the one file of all requests, and the memory of each.
    has_file: bool,
    has_memory: bool,
}

impl Ring {
    /// # Errors
    /// The kernel's: it has no rings (`ENOSYS`), or doesn't let this process have one (`EPERM`), or there is no memory to lock.
    pub(crate) fn new(depth: u32) -> io::Result<Self> {
        // Completions then don't interrupt the thread that waits for them (Linux 5.19).
        let ring = IoUring::builder().setup_coop_taskrun().build(depth).or_else(|_| IoUring::new(depth))?;
        Ok(Ring { ring, has_file: false, has_memory: false })
    }

    /// Tells the kernel of the file of all requests, and of the memory of each, by its id: then it needn't look them up for each
    /// request. Where it doesn't take them, such as for want of memory that may be locked, requests go without.
    ///
    /// # Safety
    /// The memory stays for as long as the ring does.
    pub(crate) unsafe fn register(&mut self, file: &File, memory: &[Memory]) {
        let of = |&(start, len): &Memory| libc::iovec { iov_base: start.cast(), iov_len: len };
        let memory: Vec<libc::iovec> = memory.iter().map(of).collect();
        self.has_file = self.ring.submitter().register_files(&[file.as_raw_fd()]).is_ok();
        // SAFETY: that is this function's own condition.
        self.has_memory = unsafe { self.ring.submitter().register_buffers(&memory) }.is_ok();
    }

    /// Puts a request into the ring. Requests are submitted to the kernel every few, and the rest by [`submit`](Self::submit).
    ///
    /// # Safety
    /// Until its completion was taken, the file stays open and the memory stays valid; nothing else writes the memory, and for
    /// a read nothing else reads it. No more requests are under way than the ring is deep.
    pub(crate) unsafe fn push(&mut self, file: &File, direction: Direction, at: u64, memory: Memory, id: u64) {
        let ((start, len), number) = ((memory.0, memory.1 as u32), id as u16);
        // The two kinds of files have no common type that could be named.
        macro_rules! of {
            ($file:expr) => {
                match (direction, self.has_memory) {
                    (Direction::Read, true) => opcode::ReadFixed::new($file, start, len, number).offset(at).build(),
                    (Direction::Read, false) => opcode::Read::new($file, start, len).offset(at).build(),
                    (Direction::Write, true) => opcode::WriteFixed::new($file, start, len, number).offset(at).build(),
                    (Direction::Write, false) => opcode::Write::new($file, start, len).offset(at).build(),
                }
            };
        }
        let entry = if self.has_file { of!(types::Fixed(0)) } else { of!(types::Fd(file.as_raw_fd())) };
        let mut submission = self.ring.submission();
        // SAFETY: the entry's file and memory stay valid: that is this function's own condition.
        let pushed = unsafe { submission.push(&entry.user_data(id)) };
        assert!(pushed.is_ok(), "more requests are under way than the ring is deep");
        let waiting = submission.len();
        drop(submission);
        if waiting >= TOGETHER {
            // If it doesn't take them now, `submit` says so.
            let _ = self.submit(0);
        }
    }

    /// Submits the requests in the ring to the kernel, and waits until `least` requests are done.
    ///
    /// # Errors
    /// The kernel's. Requests may be under way all the same.
    pub(crate) fn submit(&mut self, least: usize) -> io::Result<()> {
        loop {
            match self.ring.submit_and_wait(least) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // The kernel is too busy for another entry. Taking completions makes room.
                Err(e) if e.raw_os_error() == Some(libc::EBUSY) && !self.ring.completion().is_empty() => return Ok(()),
                Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => std::thread::yield_now(),
                done => return done.map(drop),
            }
        }
    }

    /// Readable while requests are done that weren't taken.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring has it open, and is borrowed.
        unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
    }

    /// The finished requests, with the number of bytes or the error of each.
    pub(crate) fn done(&mut self) -> impl Iterator<Item = (u64, io::Result<usize>)> {
        let result = |done: cqueue::Entry| {
            let count = usize::try_from(done.result()).map_err(|_| io::Error::from_raw_os_error(-done.result()));
            (done.user_data(), count)
        };
        self.ring.completion().map(result)
    }
}
