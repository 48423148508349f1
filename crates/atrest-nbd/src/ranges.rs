//! Sets of bytes of a request.

use core::ops::Range;

/// The most pieces that a reply may lie in at once before they join. A server that answers in order has one.
const MAX_PIECES: usize = 4096;

/// A set of bytes, as ranges in order that don't touch.
#[derive(Debug, Default)]
pub(crate) struct Ranges(Vec<Range<usize>>);

impl Ranges {
    /// Adds a non-empty range. Returns `false`, and adds nothing, if it overlaps one that is there, or there are too many pieces.
    pub(crate) fn add(&mut self, range: Range<usize>) -> bool {
        let at = self.0.partition_point(|other| other.end < range.start);
        // `at` is the first one that touches the range or lies behind it.
        let touches_before = self.0.get(at).is_some_and(|other| other.end == range.start);
        let behind = at + usize::from(touches_before);
        let next = self.0.get(behind);
        if next.is_some_and(|other| other.start < range.end) {
            return false;
        }
        let touches_behind = next.is_some_and(|other| other.start == range.end);
        match (touches_before, touches_behind) {
            (true, true) => {
                self.0[at].end = self.0[behind].end;
                self.0.remove(behind);
            }
            (true, false) => self.0[at].end = range.end,
            (false, true) => self.0[behind].start = range.start,
            (false, false) if self.0.len() == MAX_PIECES => return false,
            (false, false) => self.0.insert(at, range),
        }
        true
    }

    pub(crate) fn is_all_of(&self, len: usize) -> bool {
        matches!(&self.0[..], [only] if *only == (0..len))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Range<usize>> {
        self.0.iter().cloned()
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compared with a list of bits, over all pairs of short ranges and random orders.
    #[test]
    fn ranges_are_what_bits_are() {
        let mut noise = 1u64;
        for _ in 0..2000 {
            let (mut ranges, mut bits) = (Ranges::default(), [false; 24]);
            for _ in 0..20 {
                noise ^= noise << 13;
                noise ^= noise >> 7;
                noise ^= noise << 17;
                let start = (noise % 24) as usize;
                let end = (start + 1 + (noise >> 8) as usize % 6).min(24);
                let free = bits[start..end].iter().all(|bit| !bit);
                assert_eq!(ranges.add(start..end), free);
                if free {
                    bits[start..end].fill(true);
                }
                assert_eq!(ranges.is_all_of(24), bits.iter().all(|bit| *bit));
                let mut again = [false; 24];
                ranges.iter().for_each(|range| again[range].fill(true));
                assert_eq!(again, bits);
                assert!(ranges.0.windows(2).all(|pair| pair[0].end < pair[1].start));
            }
        }
    }

    #[test]
    fn pieces_are_limited() {
        let mut ranges = Ranges::default();
        assert!((0..MAX_PIECES).all(|n| ranges.add(2 * n..2 * n + 1)));
        assert!(!ranges.add(2 * MAX_PIECES..2 * MAX_PIECES + 1));
        assert!(ranges.add(1..2));
    }
}
