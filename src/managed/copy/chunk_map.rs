//! The map of the chunks that an incremental snapshot holds.

use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// The unit of incremental snapshots and of copies, in bytes.
pub(in crate::managed) const CHUNK: u64 = 64 << 10;

const MAGIC: &[u8; 8] = b"ATRESTCM";
const VERSION: u32 = 1;
/// Magic, version, chunk size, number of chunks, SHA-256 of these and the bits.
const HEAD: usize = 8 + 4 + 4 + 8 + 32;
/// The stored map is a whole number of sectors of any size.
const ALIGN: u64 = 4096;

/// A bit for each chunk. It is stored after the data in the snapshot's volume, as `docs/formats.md` says.
pub(in crate::managed) struct ChunkMap {
    chunks: u64,
    /// The first chunk is the lowest bit of the first byte.
    bits: Vec<u8>,
}

impl ChunkMap {
    /// The map of `size` bytes without any chunk.
    pub(in crate::managed) fn new(size: u64) -> Self {
        let chunks = size.div_ceil(CHUNK);
        ChunkMap { chunks, bits: vec![0; chunks.div_ceil(8) as usize] }
    }

    /// The number of chunks.
    pub(in crate::managed) fn chunks(&self) -> u64 {
        self.chunks
    }

    pub(in crate::managed) fn has(&self, chunk: u64) -> bool {
        self.bits[(chunk / 8) as usize] & (1 << (chunk % 8)) != 0
    }

    pub(in crate::managed) fn add(&mut self, chunk: u64) {
        self.bits[(chunk / 8) as usize] |= 1 << (chunk % 8);
    }

    /// The length of the stored map of `size` bytes.
    pub(in crate::managed) fn stored_len(size: u64) -> u64 {
        (HEAD as u64 + size.div_ceil(CHUNK).div_ceil(8)).next_multiple_of(ALIGN)
    }

    pub(in crate::managed) fn to_bytes(&self, size: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::stored_len(size) as usize);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((CHUNK as u32).to_le_bytes());
        bytes.extend(self.chunks.to_le_bytes());
        let digest = Sha256::new().chain_update(&bytes).chain_update(&self.bits).finalize();
        bytes.extend(digest);
        bytes.extend(&self.bits);
        bytes.resize(Self::stored_len(size) as usize, 0);
        bytes
    }

    /// Reads the output of [`to_bytes`](Self::to_bytes) for `size` bytes.
    pub(in crate::managed) fn from_bytes(bytes: &[u8], size: u64) -> Result<Self> {
        let mut map = ChunkMap::new(size);
        let expected = map.to_bytes(size);
        let bits = HEAD..HEAD + map.bits.len();
        // The size determines everything but the digest and the bits.
        let damaged = bytes.len() != expected.len() || bytes[..24] != expected[..24];
        let digest = || Sha256::new().chain_update(&bytes[..24]).chain_update(&bytes[bits.clone()]).finalize();
        if damaged || digest()[..] != bytes[24..HEAD] {
            let text = "the map of an incremental snapshot is damaged; the snapshot, and later ones of its disk, can't be used";
            return Err(Error::InvalidHeader(text.into()));
        }
        map.bits.copy_from_slice(&bytes[bits]);
        Ok(map)
    }
}

/// The offset and length of a chunk of `size` bytes. The last one may be shorter.
pub(in crate::managed) fn place(chunk: u64, size: u64) -> (u64, usize) {
    let offset = chunk * CHUNK;
    (offset, CHUNK.min(size - offset) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_comes_back_as_it_was_and_no_damaged_one_does() {
        let size = 100 * CHUNK + 512;
        let mut map = ChunkMap::new(size);
        let there: Vec<u64> = (0..map.chunks()).filter(|n| n * n % 7 < 3).collect();
        there.iter().for_each(|&n| map.add(n));
        let bytes = map.to_bytes(size);
        let back = ChunkMap::from_bytes(&bytes, size).unwrap();
        assert_eq!(back.chunks(), 101);
        assert!((0..101).all(|n| back.has(n) == there.contains(&n)));
        assert!(ChunkMap::from_bytes(&bytes, size + CHUNK).is_err());
        assert!(ChunkMap::from_bytes(&bytes[..40], size).is_err());
        for at in 0..HEAD + 13 {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(ChunkMap::from_bytes(&bad, size).is_err(), "{at}");
        }
    }
}
