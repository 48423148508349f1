//! The data of a request, moved between a disk and the guest's memory.

use atrest::Result;
use vm_memory::{GuestMemoryMmap, VolatileSlice};

use super::chain::{Outside, Segments};
use super::lent;
use crate::Disk;
use crate::buffer::Buffer;

/// The most that is read or written at once: it stays in the cache of a core between the system call and the cipher.
pub(super) const PIECE: usize = 256 << 10;

pub(super) const IO_ERROR: u8 = 1;

/// A request has failed, with the status that the guest gets.
pub(super) struct Failed(pub(super) u8);

impl From<Outside> for Failed {
    fn from(_: Outside) -> Self {
        Failed(IO_ERROR)
    }
}

/// A transfer between the disk and the guest's memory.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Transfer {
    pub(super) writes: bool,
    /// The offset on the disk, in bytes.
    pub(super) offset: u64,
    pub(super) len: u64,
}

impl Transfer {
    /// Moves the bytes to or from the memory of `of`, beginning at its byte `from`. Data in small pieces goes through `buffer`,
    /// and all data if the disk needs that.
    pub(super) fn run(
        self,
        disk: &dyn Disk,
        memory: &GuestMemoryMmap,
        of: &Segments,
        from: u64,
        buffer: &mut Buffer,
    ) -> Result<(), Failed> {
        let mut done = 0;
        while done < self.len {
            let (at, from) = (self.offset + done, from + done);
            done += match lendable(disk, of, memory, from, self.len - done) {
                Some(lent) if self.writes => {
                    logged(lent::read(&lent, |sectors| disk.write_from(at, sectors)))?;
                    lent.len()
                }
                Some(lent) => {
                    logged(lent::write(&lent, |sectors| disk.read_at(at, sectors)))?;
                    lent.len()
                }
                None => {
                    let buffer = buffer.of((self.len - done).min(PIECE as u64) as usize);
                    if self.writes {
                        of.read(memory, from, buffer)?;
                        logged(disk.write_at(at, buffer))?;
                    } else {
                        logged(disk.read_at(at, buffer))?;
                        of.write(memory, from, buffer)?;
                    }
                    buffer.len()
                }
            } as u64;
        }
        Ok(())
    }
}

/// The guest's memory from the byte `from` of a request on, if the disk takes it as it is, in whole sectors. Short pieces that
/// others follow are copied, because each would be a call of its own.
fn lendable<'m>(
    disk: &dyn Disk,
    of: &Segments,
    memory: &'m GuestMemoryMmap,
    from: u64,
    left: u64,
) -> Option<VolatileSlice<'m>> {
    const SHORT: usize = 32 << 10;
    if !disk.takes_shared_memory() {
        return None;
    }
    let whole = left.min(PIECE as u64) as usize;
    let piece = of.piece(memory, from, whole)?;
    let len = piece.len() / disk.sector_size() as usize * disk.sector_size() as usize;
    (len == whole || len >= SHORT).then(|| piece.subslice(0, len).ok()).flatten()
}

/// The guest learns only that there was a failure. The log has the rest.
pub(super) fn logged(result: Result<()>) -> Result<(), Failed> {
    result.map_err(|error| {
        log::warn!("a guest's request failed: {error:#}");
        Failed(IO_ERROR)
    })
}
