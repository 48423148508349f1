//! A ring of the kernel's.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::{IoUring, cqueue, opcode, types};

/// What is to be done with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// A request's memory: an address and a length.
pub(crate) type Memory = (*mut u8, usize);

/// A ring for requests of one file at a time.
pub(crate) struct Ring {
    ring: IoUring,
}

impl Ring {
    /// # Errors
    /// The kernel's: it has none (`ENOSYS`), or doesn't let this process have one (`EPERM`), or there is no memory to lock.
    pub(crate) fn new(depth: u32) -> io::Result<Self> {
        Ok(Ring { ring: IoUring::new(depth)? })
    }

    /// Puts a request into the ring. Nobody is told of it before [`submit`](Self::submit).
    ///
    /// # Safety
    /// Until its completion was taken, the file stays open, the memory stays, and nobody reads it, or writes it, for a read.
    /// No more requests are under way than the ring is deep.
    pub(crate) unsafe fn push(&mut self, file: &File, direction: Direction, at: u64, memory: Memory, id: u64) {
        let (fd, len) = (types::Fd(file.as_raw_fd()), memory.1 as u32);
        let entry = match direction {
            Direction::Read => opcode::Read::new(fd, memory.0, len).offset(at).build(),
            Direction::Write => opcode::Write::new(fd, memory.0.cast_const(), len).offset(at).build(),
        };
        // SAFETY: what the entry names stays: that is this function's own condition.
        let pushed = unsafe { self.ring.submission().push(&entry.user_data(id)) };
        assert!(pushed.is_ok(), "more requests are under way than the ring is deep");
    }

    /// Tells the kernel of what was put in, and waits until `least` requests are done.
    ///
    /// # Errors
    /// The kernel's. Requests may be under way all the same.
    pub(crate) fn submit(&mut self, least: usize) -> io::Result<()> {
        loop {
            match self.ring.submit_and_wait(least) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // It has too much to do for another entry. What is done makes room.
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

    /// The requests that are done, with what became of them: how many bytes, or the error.
    pub(crate) fn done(&mut self) -> impl Iterator<Item = (u64, io::Result<usize>)> {
        let result = |done: cqueue::Entry| {
            let count = usize::try_from(done.result()).map_err(|_| io::Error::from_raw_os_error(-done.result()));
            (done.user_data(), count)
        };
        self.ring.completion().map(result)
    }
}
