//! Reads, and writes that are held back.

use std::io;
use std::ops::Range;

use atrest_http::{Deadline, fan_out};

use crate::dirty::{Buffer, Change, SECTOR};
use crate::disk::{Base, Disk};
use crate::failure::invalid;

/// A part of one chunk: its number, the range in it, and the range of the caller's buffer.
type Part = (u64, Range<usize>, Range<u64>);

/// The data for a range.
#[derive(Clone, Copy)]
pub(crate) enum Source<'b> {
    Bytes(&'b [u8]),
    Zeros,
    /// Zeros where whole chunks are; the rest stays.
    Discard,
}

impl Disk {
    /// Checks that a range is of whole sectors and within the disk.
    fn within(&self, offset: u64, len: u64, beyond: io::ErrorKind) -> io::Result<()> {
        if !offset.is_multiple_of(SECTOR as u64) || !len.is_multiple_of(SECTOR as u64) {
            return Err(invalid(format!("{len} bytes at {offset} aren't whole sectors of 512 bytes")));
        }
        let size = self.state().size;
        match offset.checked_add(len) {
            Some(end) if end <= size => Ok(()),
            _ => Err(io::Error::new(beyond, format!("{len} bytes at {offset} go past the disk's {size}"))),
        }
    }

    fn parts(&self, offset: u64, len: u64) -> impl Iterator<Item = Part> + use<> {
        let (chunk_size, end) = (self.chunk_size as u64, offset + len);
        let chunks = offset / chunk_size..end.div_ceil(chunk_size);
        chunks.map(move |chunk| {
            let first = chunk * chunk_size;
            let (from, to) = (offset.max(first), end.min(first + chunk_size));
            (chunk, (from - first) as usize..(to - first) as usize, from - offset..to - offset)
        })
    }

    pub fn read(&self, deadline: Deadline, offset: u64, mut bytes: &mut [u8]) -> io::Result<()> {
        self.check()?;
        self.within(offset, bytes.len() as u64, io::ErrorKind::UnexpectedEof)?;
        if bytes.is_empty() {
            return Ok(());
        }
        let mut parts = Vec::new();
        for (chunk, range, _) in self.parts(offset, bytes.len() as u64) {
            let (part, rest) = bytes.split_at_mut(range.len());
            parts.push((chunk, range.start, part));
            bytes = rest;
        }
        fan_out(parts, self.parallel, |(chunk, start, part)| self.read_part(deadline, chunk, start, part))
    }

    /// Reads a part of a chunk: the newest writes lie over those being committed, and these over the manifest.
    fn read_part(&self, deadline: Deadline, chunk: u64, start: usize, out: &mut [u8]) -> io::Result<()> {
        let mut loaded = None;
        loop {
            self.check()?;
            let (missing, base) = {
                let state = self.state();
                let mut missing = Vec::from_iter(std::iter::once(start..start + out.len()));
                let flushing = state.flushing.as_ref().and_then(|flushing| flushing.get(&chunk));
                for change in [state.dirty.get(&chunk), flushing].into_iter().flatten() {
                    missing = change.fill(missing, start, out);
                }
                (missing, state.base(chunk, loaded.as_ref()))
            };
            let (Some(first), Some(last)) = (missing.first(), missing.last()) else { return Ok(()) };
            match base {
                Base::Zeros => {
                    missing.into_iter().for_each(|range| out[range.start - start..range.end - start].fill(0));
                    return Ok(());
                }
                Base::Unknown(number, entry) => loaded = Some((entry, self.page(deadline, number, entry)?)),
                Base::Object(entry) => {
                    let span = first.start..last.end;
                    let mut read = vec![0; span.len()];
                    let key = self.key(&entry.chunk(chunk));
                    if self.bucket.get_part(deadline, &key, span.start as u64, &mut read)? {
                        for range in missing {
                            let from = &read[range.start - span.start..range.end - span.start];
                            out[range.start - start..range.end - start].copy_from_slice(from);
                        }
                        return Ok(());
                    }
                    // A commit may have replaced it meanwhile.
                    let same = matches!(self.state().base(chunk, loaded.as_ref()), Base::Object(now) if now == entry);
                    if same {
                        return Err(self.missing(deadline, "a chunk"));
                    }
                }
            }
        }
    }

    /// Takes a write. If too much is held back, it is committed first.
    pub fn write(&self, deadline: Deadline, offset: u64, len: u64, source: Source<'_>) -> io::Result<()> {
        self.check()?;
        self.within(offset, len, io::ErrorKind::WriteZero)?;
        if len == 0 {
            return Ok(());
        }
        for part in self.parts(offset, len) {
            loop {
                self.check()?;
                if self.take(&part, source)? {
                    break;
                }
                self.commit(deadline)?;
            }
        }
        Ok(())
    }

    /// Takes a part of a write; false if there is no room for it.
    fn take(&self, (chunk, range, from): &Part, source: Source<'_>) -> io::Result<bool> {
        let mut state = self.state();
        let first = chunk * self.chunk_size as u64;
        // Another may have made the disk smaller.
        if first + range.end as u64 > state.size {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let whole = range.start == 0 && (range.end == self.chunk_size || first + range.end as u64 == state.size);
        let hole = whole && !matches!(source, Source::Bytes(_));
        if matches!(source, Source::Discard) && !hole {
            return Ok(true);
        }
        let held = state.dirty.get(chunk).map_or(0, Change::cost);
        let needed = if hole { Change::Hole.cost() } else { self.chunk_size };
        let others = state.dirty_cost + state.flushing_cost - held;
        if others > 0 && others + needed > self.most_dirty && needed > held {
            return Ok(false);
        }
        let buffer = match state.dirty.remove(chunk) {
            _ if hole => None,
            Some(Change::Data(buffer)) => Some(buffer),
            Some(Change::Hole) => Some(Buffer::zeros(self.chunk_size)),
            None => Some(Buffer::new(self.chunk_size)),
        };
        let change = match buffer {
            None => Change::Hole,
            Some(mut buffer) => {
                match source {
                    Source::Bytes(bytes) => {
                        buffer.write(range.start, &bytes[from.start as usize..from.end as usize]);
                    }
                    Source::Zeros | Source::Discard => buffer.zero(range.clone()),
                }
                Change::Data(buffer)
            }
        };
        state.dirty_cost = state.dirty_cost - held + change.cost();
        state.dirty.insert(*chunk, change);
        Ok(true)
    }
}
