//! Changes that aren't in the store yet.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::manifest::Entry;

/// The unit of writes.
pub(crate) const SECTOR: usize = 512;
/// The bytes that a chunk of zeros counts towards the memory limit.
const HOLE: usize = 256;

/// Chunks that were written to, by their numbers.
pub(crate) type Changes = BTreeMap<u64, Change>;

pub(crate) enum Change {
    /// The whole chunk is zeros.
    Hole,
    Data(Buffer),
}

/// A chunk with some written sectors.
pub(crate) struct Buffer {
    /// Zeros in sectors that weren't written.
    pub bytes: Vec<u8>,
    /// A bit for each sector.
    written: Vec<u64>,
    /// The object that holds the chunk as it is here, after a sync that failed later.
    pub uploaded: Option<Entry>,
}

impl Buffer {
    pub fn new(chunk_size: usize) -> Self {
        Buffer { bytes: vec![0; chunk_size], written: vec![0; (chunk_size / SECTOR).div_ceil(64)], uploaded: None }
    }

    /// A chunk that is zeros, written as a whole.
    pub fn zeros(chunk_size: usize) -> Self {
        let mut buffer = Self::new(chunk_size);
        buffer.mark(0..chunk_size);
        buffer
    }

    /// Writes whole sectors.
    pub fn write(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self.mark(at..at + bytes.len());
    }

    /// Writes whole sectors of zeros.
    pub fn zero(&mut self, range: Range<usize>) {
        self.bytes[range.clone()].fill(0);
        self.mark(range);
    }

    fn mark(&mut self, range: Range<usize>) {
        self.uploaded = None;
        for sector in range.start / SECTOR..range.end / SECTOR {
            self.written[sector / 64] |= 1 << (sector % 64);
        }
    }

    fn has(&self, sector: usize) -> bool {
        self.written[sector / 64] >> (sector % 64) & 1 == 1
    }

    /// Whether all of it was written.
    pub fn is_full(&self) -> bool {
        (0..self.bytes.len() / SECTOR).all(|sector| self.has(sector))
    }

    /// The runs of a range, of whole sectors, that were written (`true`) or not.
    fn runs(&self, range: Range<usize>) -> Vec<(bool, Range<usize>)> {
        let mut runs = Vec::<(bool, Range<usize>)>::new();
        for sector in range.start / SECTOR..range.end / SECTOR {
            let (written, start) = (self.has(sector), sector * SECTOR);
            match runs.last_mut() {
                Some((last, run)) if *last == written => run.end = start + SECTOR,
                _ => runs.push((written, start..start + SECTOR)),
            }
        }
        runs
    }

    /// The chunk, with `base` in the sectors that weren't written.
    pub fn over(&self, mut base: Vec<u8>) -> Vec<u8> {
        for (written, run) in self.runs(0..self.bytes.len()) {
            if written {
                base[run.clone()].copy_from_slice(&self.bytes[run]);
            }
        }
        base
    }
}

impl Change {
    /// The bytes that it counts towards the memory limit.
    pub fn cost(&self) -> usize {
        match self {
            Change::Hole => HOLE,
            Change::Data(buffer) => buffer.bytes.len(),
        }
    }

    /// Fills those of the missing ranges of a chunk that are known here, and returns those that aren't. `out` begins at `start`
    /// of the chunk.
    pub fn fill(&self, missing: Vec<Range<usize>>, start: usize, out: &mut [u8]) -> Vec<Range<usize>> {
        match self {
            Change::Hole => {
                missing.into_iter().for_each(|range| out[range.start - start..range.end - start].fill(0));
                Vec::new()
            }
            Change::Data(buffer) => {
                let mut left = Vec::new();
                for (written, run) in missing.into_iter().flat_map(|range| buffer.runs(range)) {
                    if written {
                        out[run.start - start..run.end - start].copy_from_slice(&buffer.bytes[run]);
                    } else {
                        left.push(run);
                    }
                }
                left
            }
        }
    }
}

/// Puts older changes back under newer ones, after a sync that failed. `uploaded` are the objects that hold older ones already.
pub(crate) fn put_back(newer: &mut Changes, older: Changes, uploaded: &BTreeMap<u64, Entry>) {
    for (chunk, older) in older {
        let merged = match (newer.remove(&chunk), older) {
            (Some(Change::Hole), _) => Change::Hole,
            (Some(Change::Data(newer)), Change::Hole) => {
                let full = newer.over(vec![0; newer.bytes.len()]);
                let mut buffer = Buffer::zeros(full.len());
                buffer.write(0, &full);
                Change::Data(buffer)
            }
            (Some(Change::Data(newer)), Change::Data(mut older)) => {
                for (written, run) in newer.runs(0..newer.bytes.len()) {
                    if written {
                        older.write(run.start, &newer.bytes[run]);
                    }
                }
                Change::Data(older)
            }
            (None, Change::Hole) => Change::Hole,
            (None, Change::Data(mut older)) => {
                older.uploaded = uploaded.get(&chunk).copied().or(older.uploaded);
                Change::Data(older)
            }
        };
        newer.insert(chunk, merged);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 65536;

    fn data(writes: &[(usize, u8)]) -> Change {
        let mut buffer = Buffer::new(SIZE);
        writes.iter().for_each(|&(sector, byte)| buffer.write(sector * SECTOR, &[byte; SECTOR]));
        Change::Data(buffer)
    }

    /// The first bytes of some sectors, and whether they are known.
    fn looks(change: &Change, sectors: &[usize]) -> Vec<Option<u8>> {
        let look = |&sector: &usize| {
            let (start, mut out) = (sector * SECTOR, vec![0xEE; SECTOR]);
            let missing = change.fill(std::iter::once(start..start + SECTOR).collect(), start, &mut out);
            missing.is_empty().then_some(out[0])
        };
        sectors.iter().map(look).collect()
    }

    #[test]
    fn newer_changes_cover_older_ones() {
        let entry = Entry { generation: 4, session: 4 };
        let mut newer = Changes::from([(1, data(&[(2, 9)])), (2, data(&[(2, 9)])), (3, Change::Hole)]);
        let older = [(1, data(&[(1, 5), (2, 5)])), (2, Change::Hole), (3, data(&[(1, 5)])), (4, data(&[(127, 5)]))];
        put_back(&mut newer, Changes::from(older), &BTreeMap::from([(1, entry), (4, entry)]));
        assert_eq!(looks(&newer[&1], &[0, 1, 2]), [None, Some(5), Some(9)]);
        assert_eq!(looks(&newer[&2], &[0, 1, 2]), [Some(0), Some(0), Some(9)]);
        assert_eq!(looks(&newer[&3], &[0, 1]), [Some(0), Some(0)]);
        assert_eq!(looks(&newer[&4], &[126, 127]), [None, Some(5)]);
        // Chunks that were changed since have to be uploaded again; the others don't.
        let uploaded = |change: &Change| matches!(change, Change::Data(buffer) if buffer.uploaded == Some(entry));
        assert!(!uploaded(&newer[&1]) && uploaded(&newer[&4]));
    }

    #[test]
    fn a_chunk_is_full_when_its_last_sector_was_written() {
        let mut buffer = Buffer::new(SIZE);
        buffer.write(SECTOR, &vec![1; SIZE - SECTOR]);
        assert!(!buffer.is_full());
        assert_eq!(buffer.over(vec![7; SIZE])[SECTOR - 1..=SECTOR], [7, 1]);
        buffer.zero(0..SECTOR);
        assert!(buffer.is_full());
    }
}
