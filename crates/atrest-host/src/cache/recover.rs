//! The writes that a write-back cache holds for its disk after a crash.

use std::collections::BTreeMap;

use atrest::{BlockDevice, Result};

use super::error::CacheError;
use super::format::{BLOCK, Header, Layout, Mark, SECTOR, Written, read_record};
use super::inner::PIECE;
use super::keys::Keys;
use crate::Disk;
use crate::buffer::Buffer;
use crate::disk::io;

/// The journal in a cache's file, as read.
pub(super) struct Journal<'a> {
    device: &'a dyn BlockDevice,
    keys: &'a Keys,
    layout: Layout,
    name: &'a str,
    /// The writes to each block, the oldest first, with the numbers of their records.
    blocks: BTreeMap<u64, Vec<(u64, Written)>>,
    /// The mark that counts.
    mark: Mark,
    /// The record after the last.
    end: u64,
    /// Records are missing that were durable.
    is_cut: bool,
}

impl<'a> Journal<'a> {
    pub(super) fn read(device: &'a dyn BlockDevice, keys: &'a Keys, header: &Header, name: &'a str) -> Result<Self> {
        let reading = |e| io(format!("reading the host cache {name}"), e);
        let layout = header.layout;
        let mut journal =
            Journal { device, keys, layout, name, blocks: BTreeMap::new(), mark: Mark::FIRST, end: 0, is_cut: false };
        if layout.journal == 0 {
            return Ok(journal);
        }
        let mut sector = [0; SECTOR];
        let mut newest: Option<Mark> = None;
        for number in 0..2 {
            device.read_at(Layout::mark(number), &mut sector).map_err(reading)?;
            newest = newest.into_iter().chain(Mark::from_bytes(keys, &sector)?).max_by_key(|mark| mark.number);
        }
        let Some(mark) = newest else {
            journal.is_cut = true;
            return Ok(journal);
        };
        journal.mark = mark;
        let mut number = mark.tail;
        while number < mark.tail + u64::from(layout.journal) {
            device.read_at(layout.record(number), &mut sector).map_err(reading)?;
            let Some(written) = read_record(keys, number, &sector)? else { break };
            for written in written {
                journal.blocks.entry(written.place.block).or_default().push((number, written));
            }
            number += 1;
        }
        (journal.end, journal.is_cut) = (number, number < mark.durable);
        Ok(journal)
    }

    /// Whether the disk may lack something.
    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty() && !self.is_cut
    }

    /// Writes to the disk all blocks that it may lack, and flushes it. Repeating it does no harm. Returns the number of blocks,
    /// and the number lost.
    ///
    /// # Errors
    /// [`CacheError::Damaged`], unless the damaged writes are to be given up.
    pub(super) fn destage(&self, disk: &dyn Disk, give_up: bool) -> Result<(u64, u64)> {
        if self.is_cut && !give_up {
            return Err(CacheError::Damaged { offset: None }.at(self.name));
        }
        let (mut done, mut lost) = (0, 0);
        let mut buffer = Buffer::new((self.blocks.len() + 1).min(PIECE) * BLOCK);
        // A run of blocks in the buffer: the first, and how many there are.
        let (mut first, mut count) = (0, 0);
        for (&block, versions) in &self.blocks {
            if (block + 1) * BLOCK as u64 > disk.size() {
                continue; // the disk was made smaller
            }
            if count == PIECE || block != first + count as u64 {
                write_run(disk, first, count, &mut buffer)?;
                (first, count) = (block, 0);
            }
            let found = self.newest(versions, &mut buffer.of((count + 1) * BLOCK)[count * BLOCK..], give_up)?;
            match found {
                Some(true) => (count, done) = (count + 1, done + 1),
                Some(false) => lost += 1,
                None => {}
            }
        }
        write_run(disk, first, count, &mut buffer)?;
        disk.flush()?;
        Ok((done, lost))
    }

    /// Marks in the file that the disk lacks nothing any more.
    pub(super) fn end(&self) -> Result<()> {
        let end = self.end.max(self.mark.durable);
        let mark = Mark { number: self.mark.number + 1, tail: end, durable: end };
        let written = self.device.write_at(Layout::mark(mark.number), &mark.to_bytes(self.keys)?);
        let marked = written.and_then(|()| self.device.sync());
        marked.map_err(|e| io(format!("writing the host cache {}", self.name), e))
    }

    /// Reads the newest intact version of a block. `Some(false)` if an acknowledged version is lost and no intact one is left;
    /// `None` if none was ever acknowledged.
    fn newest(&self, versions: &[(u64, Written)], block: &mut [u8], give_up: bool) -> Result<Option<bool>> {
        let mut lost = None;
        for (record, Written { place, tag }) in versions.iter().rev() {
            let read = if place.slot < self.layout.slots {
                self.device.read_at(self.layout.slot(place.slot), block)
            } else {
                Err(std::io::ErrorKind::InvalidData.into())
            };
            if read.is_ok() && self.keys.open(*place, tag, block)? {
                return Ok(Some(true));
            }
            // A newer write may be torn: no flush has covered it.
            if *record < self.mark.durable {
                lost = Some(false);
                if !give_up {
                    return Err(match read {
                        Err(error) => io(format!("reading the host cache {}", self.name), error),
                        Ok(()) => CacheError::Damaged { offset: Some(place.block * BLOCK as u64) }.at(self.name),
                    });
                }
            }
        }
        Ok(lost)
    }
}

fn write_run(disk: &dyn Disk, first: u64, count: usize, buffer: &mut Buffer) -> Result<()> {
    if count == 0 { Ok(()) } else { disk.write_at(first * BLOCK as u64, buffer.of(count * BLOCK)) }
}
