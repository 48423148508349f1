//! Chunks, the unit in which disks are copied, and maps of them: which an incremental snapshot holds, which were copied, and
//! which were written.

use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// The unit of incremental snapshots and of copies, in bytes.
pub(super) const CHUNK: u64 = 64 << 10;

const MAGIC: &[u8; 8] = b"ATRESTCM";
const VERSION: u32 = 1;
/// Magic, version, chunk size, number of chunks, SHA-256 of these and the bits.
const HEAD: usize = 8 + 4 + 4 + 8 + 32;
/// It ends with a whole sector of any size.
const ALIGN: u64 = 4096;

/// A bit for each chunk, which threads set and read without a lock. That of an incremental snapshot is stored behind the data
/// of its volume, as `docs/formats/managed.md` says.
pub(super) struct ChunkMap {
    chunks: u64,
    /// The first chunk is the lowest bit of the first word.
    words: Box<[AtomicU64]>,
}

impl ChunkMap {
    /// An empty map for `size` bytes.
    pub(super) fn new(size: u64) -> Self {
        let chunks = size.div_ceil(CHUNK);
        ChunkMap { chunks, words: (0..chunks.div_ceil(64)).map(|_| AtomicU64::new(0)).collect() }
    }

    /// How many chunks there may be.
    pub(super) fn chunks(&self) -> u64 {
        self.chunks
    }

    /// Whether the map has a chunk. A thread that sees it also sees what the adding thread did before.
    pub(super) fn has(&self, chunk: u64) -> bool {
        self.words[(chunk / 64) as usize].load(Ordering::Acquire) & (1 << (chunk % 64)) != 0
    }

    /// Adds a chunk, and says whether it wasn't there. If several threads add one chunk, only one of them is told so.
    pub(super) fn add(&self, chunk: u64) -> bool {
        // A load leaves the cache line to other threads.
        !self.has(chunk) && {
            let bit = 1 << (chunk % 64);
            self.words[(chunk / 64) as usize].fetch_or(bit, Ordering::AcqRel) & bit == 0
        }
    }

    /// The chunks that are there, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        let words = self.words.iter().map(|word| word.load(Ordering::Acquire));
        let there = |(n, word): (usize, u64)| {
            let rest = |word: &u64| Some(word & (word - 1)).filter(|rest| *rest != 0);
            let bits = core::iter::successors(Some(word).filter(|word| *word != 0), rest);
            bits.map(move |word| n as u64 * 64 + u64::from(word.trailing_zeros()))
        };
        words.enumerate().flat_map(there)
    }

    /// The chunks that are not there.
    pub(super) fn complement(&self) -> Self {
        let words: Box<[_]> = self.words.iter().map(|word| AtomicU64::new(!word.load(Ordering::Acquire))).collect();
        if let (Some(last), used @ 1..) = (words.last(), self.chunks % 64) {
            last.fetch_and((1 << used) - 1, Ordering::Relaxed);
        }
        ChunkMap { chunks: self.chunks, words }
    }

    /// The bits as they are stored: the first chunk is the lowest bit of the first byte.
    fn bits(&self) -> Vec<u8> {
        let words = self.words.iter().map(|word| word.load(Ordering::Acquire));
        let mut bits: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
        bits.truncate(self.chunks.div_ceil(8) as usize);
        bits
    }

    /// How many bytes the map of `size` bytes takes where it is stored.
    pub(super) fn stored_len(size: u64) -> u64 {
        (HEAD as u64 + size.div_ceil(CHUNK).div_ceil(8)).next_multiple_of(ALIGN)
    }

    pub(super) fn to_bytes(&self, size: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::stored_len(size) as usize);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((CHUNK as u32).to_le_bytes());
        bytes.extend(self.chunks.to_le_bytes());
        let bits = self.bits();
        let digest = Sha256::new().chain_update(&bytes).chain_update(&bits).finalize();
        bytes.extend(digest);
        bytes.extend(bits);
        bytes.resize(Self::stored_len(size) as usize, 0);
        bytes
    }

    /// Parses a map for `size` bytes made by [`to_bytes`](Self::to_bytes).
    pub(super) fn from_bytes(bytes: &[u8], size: u64) -> Result<Self> {
        let mut map = ChunkMap::new(size);
        let expected = map.to_bytes(size);
        let bits = HEAD..HEAD + map.chunks.div_ceil(8) as usize;
        // All but the digest and the bits follow from the size.
        let damaged = bytes.len() != expected.len() || bytes[..24] != expected[..24];
        let digest = || Sha256::new().chain_update(&bytes[..24]).chain_update(&bytes[bits.clone()]).finalize();
        if damaged || digest()[..] != bytes[24..HEAD] {
            let text = "the map of an incremental snapshot is damaged; the snapshot, and later ones of its disk, can't be used";
            return Err(Error::InvalidHeader(text.into()));
        }
        for (word, bytes) in map.words.iter_mut().zip(bytes[bits].chunks(8)) {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            *word.get_mut() = u64::from_le_bytes(whole);
        }
        Ok(map)
    }
}

/// Where a chunk of `size` bytes is, and how long: the last one may be shorter.
pub(super) fn place(chunk: u64, size: u64) -> (u64, usize) {
    let offset = chunk * CHUNK;
    (offset, CHUNK.min(size - offset) as usize)
}

/// The chunks of `size` bytes that a run of bytes lies in.
pub(super) fn touched(offset: u64, len: u64, size: u64) -> Range<u64> {
    offset / CHUNK..offset.saturating_add(len).min(size).div_ceil(CHUNK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_comes_back_as_it_was_and_no_damaged_one_does() {
        let size = 100 * CHUNK + 512;
        let map = ChunkMap::new(size);
        let there: Vec<u64> = (0..map.chunks()).filter(|n| n * n % 7 < 3).collect();
        there.iter().for_each(|&n| assert!(map.add(n) && !map.add(n)));
        let bytes = map.to_bytes(size);
        let back = ChunkMap::from_bytes(&bytes, size).unwrap();
        assert_eq!(back.chunks(), 101);
        assert!(back.iter().eq(there.iter().copied()));
        assert!(back.complement().iter().eq((0..101).filter(|n| !there.contains(n))));
        assert!((0..101).all(|n| back.has(n) == there.contains(&n)));
        assert!(ChunkMap::from_bytes(&bytes, size + CHUNK).is_err());
        assert!(ChunkMap::from_bytes(&bytes[..40], size).is_err());
        for at in 0..HEAD + 13 {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(ChunkMap::from_bytes(&bad, size).is_err(), "{at}");
        }
    }
    #[test]
    fn of_many_threads_that_add_a_chunk_one_is_told_that_it_is_new() {
        let map = ChunkMap::new(1000 * CHUNK);
        let add_all = || (0..map.chunks()).filter(|chunk| map.add(*chunk)).count();
        let new: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(add_all)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(new, 1000);
        assert_eq!(map.iter().count(), 1000);
        assert_eq!(map.complement().iter().count(), 0);
    }

    #[test]
    fn a_run_of_bytes_touches_the_chunks_that_it_lies_in() {
        let size = 3 * CHUNK + 512;
        assert_eq!(touched(0, 0, size), 0..0);
        assert_eq!(touched(CHUNK - 512, 512, size), 0..1);
        assert_eq!(touched(CHUNK - 512, 1024, size), 0..2);
        assert_eq!(touched(3 * CHUNK, 512, size), 3..4);
        assert_eq!(touched(CHUNK, 1 << 30, size), 1..4);
        assert_eq!(touched(CHUNK, u64::MAX, size), 1..4);
    }
}
