//! One request of the kernel.

use atrest::Result;
use libublk::sys;
use rustix::io::Errno;

use super::pages::RequestPages;
use crate::Disk;
use crate::buffer::Buffer;
use crate::disk::io;

/// The kernel counts in sectors of 512 bytes, whatever the disk's sector size.
const SECTOR: u32 = 512;

/// Does requests, one after the other.
pub(super) struct Executor<'d> {
    disk: &'d dyn Disk,
    buffer: Buffer,
    piece: usize,
}

impl<'d> Executor<'d> {
    /// `piece` is the most bytes that are read or written at once.
    pub(super) fn new(disk: &'d dyn Disk, piece: usize) -> Self {
        Executor { disk, buffer: Buffer::new(piece), piece }
    }

    /// Returns the number of bytes, or the number of an error, negative.
    pub(super) fn execute(&mut self, request: &sys::ublksrv_io_desc, pages: &RequestPages<'_>) -> i32 {
        let len = request.nr_sectors.saturating_mul(SECTOR);
        let (start, operation) = (request.start_sector.saturating_mul(SECTOR.into()), request.op_flags & 0xFF);
        let is_within = start.checked_add(len.into()).is_some_and(|end| end <= self.disk.size());
        if operation != sys::UBLK_IO_OP_FLUSH && !is_within {
            return refused(Errno::INVAL);
        }
        let done = match operation {
            sys::UBLK_IO_OP_READ => self.read(start, len, pages),
            sys::UBLK_IO_OP_WRITE => self.write(start, len, pages),
            sys::UBLK_IO_OP_FLUSH => self.disk.flush(),
            sys::UBLK_IO_OP_DISCARD => self.disk.discard(start, len.into()),
            sys::UBLK_IO_OP_WRITE_ZEROES => self.disk.write_zeroes(start, len.into()),
            _ => return refused(Errno::OPNOTSUPP),
        };
        // A write that has to be on stable storage before it is answered.
        let forced = request.op_flags & sys::UBLK_IO_F_FUA != 0 && operation != sys::UBLK_IO_OP_FLUSH;
        match done.and_then(|()| if forced { self.disk.flush() } else { Ok(()) }) {
            Ok(()) => len as i32,
            Err(error) => {
                log::warn!("a request of a ublk device failed: {error}");
                refused(Errno::IO)
            }
        }
    }

    fn read(&mut self, start: u64, len: u32, pages: &RequestPages<'_>) -> Result<()> {
        for at in (0..len).step_by(self.piece) {
            let data = self.buffer.of(self.piece.min((len - at) as usize));
            self.disk.read_at(start + u64::from(at), data)?;
            pages.give(at, data).map_err(|e| io("answering a ublk request", e))?;
        }
        Ok(())
    }

    fn write(&mut self, start: u64, len: u32, pages: &RequestPages<'_>) -> Result<()> {
        for at in (0..len).step_by(self.piece) {
            let data = self.buffer.of(self.piece.min((len - at) as usize));
            pages.take(at, data).map_err(|e| io("taking the data of a ublk request", e))?;
            self.disk.write_at(start + u64::from(at), data)?;
        }
        Ok(())
    }
}

fn refused(errno: Errno) -> i32 {
    -errno.raw_os_error()
}
