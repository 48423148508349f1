//! One request of a guest (virtio 1.2, section 5.2.6): from its descriptors to its status.
//!
//! All that a guest says may be a lie. A request that can't be understood gets an I/O error where there is room for a status.

use std::ops::Range;

use atrest::Result;
use vm_memory::GuestMemoryMmap;

use super::chain::{Chain, Outside, Segments};
use super::device::{MAX_RANGE, MAX_RANGES, SECTOR};
use super::transfer::{Failed, IO_ERROR, PIECE, Transfer, logged};
use crate::Disk;
use crate::buffer::Buffer;

/// The header of a request: type, reserved, sector.
pub(super) const HEADER: usize = 16;

/// The length of a disk's id.
const ID: usize = 20;

/// A segment of a discard, or of a write of zeros: sector, number of sectors, flags.
const RANGE: usize = 16;

/// The most bytes of a transfer that others wait for.
const SHORT_TRANSFER: u64 = 64 << 10;

const OK: u8 = 0;
const UNSUPPORTED: u8 = 2;

/// The types of requests.
const READ: u32 = 0;
const WRITE: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;
const DISCARD: u32 = 11;
const WRITE_ZEROES: u32 = 13;

/// The flag of a range of zeros that may become a hole.
const UNMAP: u32 = 1;

/// A disk with its id, for one queue of a guest.
pub(super) struct Executor<'a> {
    disk: &'a dyn Disk,
    id: [u8; ID],
    /// Data that lies in small pieces of the guest's memory is copied here, and all data if the disk needs that.
    buffer: Buffer,
}

impl<'a> Executor<'a> {
    pub(super) fn new(disk: &'a dyn Disk, id: &str) -> Self {
        let mut padded = [0; ID];
        for (byte, of) in padded.iter_mut().zip(id.bytes()) {
            *byte = of;
        }
        Executor { disk, id: padded, buffer: Buffer::new(PIECE) }
    }

    /// Memory for a caller that does a request in its place.
    pub(super) fn buffer(&mut self) -> &mut Buffer {
        &mut self.buffer
    }

    /// Executes a request, and returns the number of bytes written to the guest's memory.
    pub(super) fn execute(&mut self, memory: &GuestMemoryMmap, chain: &Chain) -> u32 {
        let Some(room) = chain.writable.len().checked_sub(1) else { return 0 }; // nowhere to say how it went
        let answer = self.answer(memory, chain, room);
        Self::say(memory, chain, room, answer)
    }

    /// The transfer of a request, if it only moves data, is complete, and is allowed; `None` otherwise.
    pub(super) fn transfer(&self, memory: &GuestMemoryMmap, chain: &Chain) -> Option<Transfer> {
        let room = chain.writable.len().checked_sub(1)?;
        let mut header = [0; HEADER];
        chain.readable.read(memory, 0, &mut header).ok()?;
        let writes = match u32_at(&header, 0) {
            READ => false,
            WRITE if !self.disk.is_read_only() => true,
            _ => return None,
        };
        let (of, from) = if writes { (&chain.readable, HEADER as u64) } else { (&chain.writable, 0) };
        let len = if writes { chain.readable.len() - HEADER as u64 } else { room };
        let range = self.range(u64_at(&header, 8), len).ok()?;
        (len > 0 && of.is_inside(memory, from, len)).then_some(Transfer { writes, offset: range.start, len })
    }

    /// Whether a request is done soon on a fast disk.
    pub(super) fn is_short(&self, memory: &GuestMemoryMmap, chain: &Chain) -> bool {
        self.transfer(memory, chain).is_some_and(|transfer| transfer.len <= SHORT_TRANSFER)
    }

    /// Tells the guest how a transfer went: how many bytes of its memory were written, or that it failed.
    pub(super) fn tell(&self, memory: &GuestMemoryMmap, chain: &Chain, done: Result<u64, ()>) -> u32 {
        let Some(room) = chain.writable.len().checked_sub(1) else { return 0 };
        Self::say(memory, chain, room, done.map_err(|()| Failed(IO_ERROR)))
    }

    fn say(memory: &GuestMemoryMmap, chain: &Chain, room: u64, answer: Result<u64, Failed>) -> u32 {
        let (status, written) = match answer {
            Ok(written) => (OK, written),
            Err(Failed(status)) => (status, 0),
        };
        match chain.writable.write(memory, room, &[status]) {
            Ok(()) => u32::try_from(written + 1).unwrap_or(u32::MAX),
            Err(Outside) => 0,
        }
    }

    /// Returns how many bytes of data were written to the guest.
    fn answer(&mut self, memory: &GuestMemoryMmap, chain: &Chain, room: u64) -> Result<u64, Failed> {
        let mut header = [0; HEADER];
        chain.readable.read(memory, 0, &mut header)?;
        let payload = chain.readable.len() - HEADER as u64;
        let (kind, sector) = (u32_at(&header, 0), u64_at(&header, 8));
        match kind {
            READ => self.read(memory, chain, sector, room),
            WRITE => self.write(memory, chain, sector, payload).map(|()| 0),
            FLUSH => logged(self.disk.flush()).map(|()| 0),
            GET_ID if room >= ID as u64 => Ok(chain.writable.write(memory, 0, &self.id).map(|()| ID as u64)?),
            GET_ID => Err(Failed(IO_ERROR)),
            DISCARD | WRITE_ZEROES => self.ranges(memory, chain, kind, payload).map(|()| 0),
            _ => Err(Failed(UNSUPPORTED)),
        }
    }

    fn read(&mut self, memory: &GuestMemoryMmap, chain: &Chain, sector: u64, len: u64) -> Result<u64, Failed> {
        let range = self.range(sector, len)?;
        self.run(memory, &chain.writable, 0, Transfer { writes: false, offset: range.start, len })?;
        Ok(len)
    }

    fn write(&mut self, memory: &GuestMemoryMmap, chain: &Chain, sector: u64, len: u64) -> Result<(), Failed> {
        let range = self.range(sector, len)?;
        self.writes()?;
        self.run(memory, &chain.readable, HEADER as u64, Transfer { writes: true, offset: range.start, len })
    }

    fn run(&mut self, memory: &GuestMemoryMmap, of: &Segments, from: u64, transfer: Transfer) -> Result<(), Failed> {
        transfer.run(self.disk, memory, of, from, &mut self.buffer)
    }

    fn ranges(&mut self, memory: &GuestMemoryMmap, chain: &Chain, kind: u32, len: u64) -> Result<(), Failed> {
        if kind == DISCARD && !self.disk.discards() {
            return Err(Failed(UNSUPPORTED));
        }
        self.writes()?;
        if len == 0 || !len.is_multiple_of(RANGE as u64) || len / RANGE as u64 > u64::from(MAX_RANGES) {
            return Err(Failed(IO_ERROR));
        }
        // All of them are checked before the first is done, in one copy of the guest's data.
        let mut bytes = [0; RANGE * MAX_RANGES as usize];
        let bytes = &mut bytes[..len as usize];
        chain.readable.read(memory, HEADER as u64, bytes)?;
        let allowed = if kind == WRITE_ZEROES { UNMAP } else { 0 };
        for range in bytes.chunks_exact(RANGE) {
            if u32_at(range, 12) & !allowed != 0 {
                return Err(Failed(UNSUPPORTED));
            }
            if u32_at(range, 8) > MAX_RANGE {
                return Err(Failed(IO_ERROR));
            }
            self.range(u64_at(range, 0), u64::from(u32_at(range, 8)) * SECTOR)?;
        }
        for range in bytes.chunks_exact(RANGE) {
            let Range { start, end } = self.range(u64_at(range, 0), u64::from(u32_at(range, 8)) * SECTOR)?;
            let result = match kind {
                DISCARD => self.disk.discard(start, end - start),
                _ => self.disk.write_zeroes(start, end - start),
            };
            logged(result)?;
        }
        Ok(())
    }

    /// The bytes of the disk that a request is about, if there are such.
    fn range(&self, sector: u64, len: u64) -> Result<Range<u64>, Failed> {
        let (size, unit) = (self.disk.size(), u64::from(self.disk.sector_size()));
        let start = sector.checked_mul(SECTOR).ok_or(Failed(IO_ERROR))?;
        let end = start.checked_add(len).ok_or(Failed(IO_ERROR))?;
        if end > size || !start.is_multiple_of(unit) || !len.is_multiple_of(unit) {
            return Err(Failed(IO_ERROR));
        }
        Ok(start..end)
    }

    fn writes(&self) -> Result<(), Failed> {
        if self.disk.is_read_only() { Err(Failed(IO_ERROR)) } else { Ok(()) }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
