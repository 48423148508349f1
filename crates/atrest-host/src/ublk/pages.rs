//! The pages of the kernel's requests, through the character device (`UBLK_F_USER_COPY`).
#![allow(unsafe_code)]

use std::io;
use std::os::fd::BorrowedFd;

use libublk::io::{UblkDev, UblkIOCtx};
use rustix::io::{pread, pwrite};

/// The pages of all requests of a device.
pub(super) struct Pages<'d> {
    device: BorrowedFd<'d>,
}

/// The pages of one request.
pub(super) struct RequestPages<'p> {
    device: BorrowedFd<'p>,
    queue: u16,
    tag: u16,
}

impl<'d> Pages<'d> {
    pub(super) fn of(device: &'d UblkDev) -> Self {
        // SAFETY: the first descriptor is that of the character device, which `device` keeps open while it lives.
        Pages { device: unsafe { BorrowedFd::borrow_raw(device.tgt.fds[0]) } }
    }

    pub(super) fn of_request(&self, queue: u16, tag: u16) -> RequestPages<'_> {
        RequestPages { device: self.device, queue, tag }
    }
}

impl RequestPages<'_> {
    /// Reads the data of a write, from the byte `at` of the request.
    pub(super) fn take(&self, at: u32, data: &mut [u8]) -> io::Result<()> {
        self.each(at, data.len(), |place, done| Ok(pread(self.device, &mut data[done..], place)?))
    }

    /// Hands over data that was read.
    pub(super) fn give(&self, at: u32, data: &[u8]) -> io::Result<()> {
        self.each(at, data.len(), |place, done| Ok(pwrite(self.device, &data[done..], place)?))
    }

    fn each(&self, at: u32, len: usize, mut copy: impl FnMut(u64, usize) -> io::Result<usize>) -> io::Result<()> {
        let mut done = 0;
        while done < len {
            let place = UblkIOCtx::ublk_user_copy_pos(self.queue, self.tag, at + done as u32);
            match copy(place, done) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}
