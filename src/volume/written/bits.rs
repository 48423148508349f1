//! A bit for each chunk that says whether it was written. Threads read the bits without a lock.

use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::ondisk::luks::{PAGE_CHUNKS, PAGE_WORDS};

/// The bits of whole pages.
pub(super) struct Bits {
    /// The first chunk is the lowest bit of the first word.
    words: Box<[AtomicU64]>,
    /// The pages with bits that have changed since somebody [took](Self::take_changed) the page.
    changed: Box<[AtomicBool]>,
    /// Counts changes. A thread that sees the count of a change also sees its bits and its page.
    changes: AtomicU64,
}

impl Bits {
    pub(super) fn new(pages: impl Iterator<Item = Box<[u64]>>) -> Self {
        let words: Box<[AtomicU64]> = pages.flatten().map(AtomicU64::new).collect();
        let changed = (0..words.len() / PAGE_WORDS).map(|_| AtomicBool::new(false)).collect();
        Bits { words, changed, changes: AtomicU64::new(0) }
    }

    /// Whether a chunk is there, and the end of the run of chunks in the same state, at most `end`. A thread that sees a chunk
    /// also sees everything done before it was added.
    #[inline]
    pub(super) fn run(&self, chunk: u64, end: u64) -> (bool, u64) {
        let is_there = self.word(chunk) >> (chunk % 64) & 1 == 1;
        let mut at = chunk;
        while at < end {
            let word = self.word(at);
            let others = (if is_there { !word } else { word }) >> (at % 64);
            if others != 0 {
                return (is_there, end.min(at + u64::from(others.trailing_zeros())));
            }
            at = (at / 64 + 1) * 64;
        }
        (is_there, end)
    }

    #[inline]
    pub(super) fn has_all(&self, chunks: &Range<u64>) -> bool {
        chunks.is_empty() || self.run(chunks.start, chunks.end) == (true, chunks.end)
    }

    #[inline]
    fn word(&self, chunk: u64) -> u64 {
        self.words[(chunk / 64) as usize].load(Ordering::Acquire)
    }

    /// Adds or removes chunks.
    pub(super) fn set(&self, chunks: Range<u64>, there: bool) {
        let mut at = chunks.start;
        while at < chunks.end {
            let next = chunks.end.min((at / 64 + 1) * 64);
            let mask = u64::MAX >> (64 - (next - at)) << (at % 64);
            let word = &self.words[(at / 64) as usize];
            let before =
                if there { word.fetch_or(mask, Ordering::AcqRel) } else { word.fetch_and(!mask, Ordering::AcqRel) };
            if before & mask != if there { mask } else { 0 } {
                self.changed[(at / PAGE_CHUNKS) as usize].store(true, Ordering::Release);
            }
            at = next;
        }
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Marks a page as changed.
    pub(super) fn touch(&self, page: usize) {
        self.changed[page].store(true, Ordering::Release);
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The pages that have changed since this was called before.
    pub(super) fn take_changed(&self) -> Vec<usize> {
        let pages = 0..self.changed.len();
        pages.filter(|page| self.changed[*page].swap(false, Ordering::AcqRel)).collect()
    }

    /// The words of a page.
    pub(super) fn page(&self, page: usize) -> Box<[u64]> {
        let words = &self.words[page * PAGE_WORDS..][..PAGE_WORDS];
        words.iter().map(|word| word.load(Ordering::Acquire)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_end_where_the_bits_change() {
        let bits = Bits::new((0..2).map(|_| vec![0; PAGE_WORDS].into()));
        let end = 2 * PAGE_CHUNKS;
        assert_eq!(bits.run(0, end), (false, end));
        let mut model = vec![false; end as usize];
        let ranges = [3..4, 60..70, 128..192, 200..1000, PAGE_CHUNKS - 3..PAGE_CHUNKS + 65, end - 1..end];
        for (range, there) in ranges.into_iter().map(|range| (range, true)).chain([(300..428, false), (64..65, false)])
        {
            bits.set(range.clone(), there);
            model[range.start as usize..range.end as usize].fill(there);
        }
        for from in (0..end).step_by(17).chain(0..1100) {
            let same = model[from as usize..].iter().take_while(|there| **there == model[from as usize]).count() as u64;
            assert_eq!(bits.run(from, end), (model[from as usize], from + same), "{from}");
            assert_eq!(bits.run(from, from + 1), (model[from as usize], from + 1));
        }
        assert!(bits.has_all(&(200..300)) && !bits.has_all(&(200..301)) && bits.has_all(&(5..5)));
        assert_eq!(bits.take_changed(), [0, 1]);
        bits.set(200..300, true);
        assert!(bits.take_changed().is_empty());
    }
}
