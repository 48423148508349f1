//! AES-CBC with a new chain in each sector (SP 800-38A, 6.2), for old volumes.

use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use super::{BLOCK, KernelKind};
use crate::arch::{CbcKernel, Direction};
use crate::latch::{Algorithm, unhex};
use crate::{Error, Result};

/// An expanded key.
pub(super) struct Cbc(CbcKernel);

/// The IV of a sector: its number as 16 little-endian bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Iv {
    /// The plain number, which is public. Anyone who chooses the plaintext can mark a disk so that the mark shows in
    /// the ciphertext.
    Plain64,
    /// Encrypted under the SHA-256 of the key.
    EssivSha256,
    /// Encrypted under the key itself.
    #[cfg(feature = "bitlocker")]
    Encrypted,
}

impl Cbc {
    /// Expands a key of 16, 24 or 32 bytes. Keys of 24 bytes always use the portable kernel, whatever `kind` is.
    pub(super) fn new(key: &[u8], iv: Iv, kind: KernelKind) -> Result<Self> {
        if !matches!(key.len(), 16 | 24 | 32) {
            return Err(Error::KeyLength { len: key.len() });
        }
        let kind = if key.len() == 24 { KernelKind::Portable } else { kind };
        let mut hash: Option<[u8; 32]> = (iv == Iv::EssivSha256).then(|| Sha256::digest(key).into());
        let iv_key = match iv {
            #[cfg(feature = "bitlocker")]
            Iv::Encrypted => Some(key),
            _ => hash.as_ref().map(|hash| &hash[..]),
        };
        let kernel = CbcKernel::expand(kind, key, iv_key);
        hash.zeroize();
        kernel?.map(Cbc).ok_or_else(|| Error::KernelUnavailable { kind: kind.name() })
    }

    /// A run of whole sectors of `sector_size` bytes, numbered in units of 512 bytes.
    pub(super) fn crypt(&self, direction: Direction, first: u64, sector_size: usize, data: &mut [u8]) -> Result<()> {
        self.0.crypt(direction, first, (sector_size / 512) as u64, sector_size, data)
    }

    /// As [`crypt`](Self::crypt), where the number of a sector is its first byte.
    #[cfg(feature = "bitlocker")]
    pub(super) fn crypt_by_bytes(&self, way: Direction, first: u64, sector_size: usize, data: &mut [u8]) -> Result<()> {
        self.0.crypt(way, first, sector_size as u64, sector_size, data)
    }
}

/// Tries a kernel before its first use.
///
/// # Errors
/// [`Error::SelfTest`](crate::Error::SelfTest).
pub(super) fn check(kind: KernelKind) -> Result<()> {
    crate::hash::check(Algorithm::Sha256)?;
    let (algorithm, test) = of_kernel(kind);
    algorithm.check(test)
}

pub(super) fn of_kernel(kind: KernelKind) -> (Algorithm, fn() -> bool) {
    match kind {
        KernelKind::Portable => (Algorithm::CbcPortable, || is_right(KernelKind::Portable)),
        KernelKind::AesNi => (Algorithm::CbcAesNi, || is_right(KernelKind::AesNi)),
        KernelKind::Vaes256 => (Algorithm::CbcVaes256, || is_right(KernelKind::Vaes256)),
        KernelKind::Vaes512 => (Algorithm::CbcVaes512, || is_right(KernelKind::Vaes512)),
        KernelKind::Armv8 => (Algorithm::CbcArmv8, || is_right(KernelKind::Armv8)),
    }
}

/// SP 800-38A, F.2.1 to F.2.6. Sector 0 has an IV of zeros, so their IV is xored into the plaintext.
fn is_right(kind: KernelKind) -> bool {
    const KEY_128: [u8; 16] = unhex(b"2b7e151628aed2a6abf7158809cf4f3c");
    const KEY_192: [u8; 24] = unhex(b"8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b");
    const KEY_256: [u8; 32] = unhex(b"603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
    const PLAINTEXT: [u8; 32] = unhex(b"6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51");
    let mut masked = PLAINTEXT;
    for (i, byte) in masked[..BLOCK].iter_mut().enumerate() {
        *byte ^= i as u8;
    }
    [
        (&KEY_128[..], unhex(b"7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2")),
        (&KEY_192, unhex(b"4f021db243bc633d7178183a9fa071e8b4d9ada9ad7dedf4e5e738763f69145a")),
        (&KEY_256, unhex(b"f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d")),
    ]
    .into_iter()
    .all(|(key, ciphertext): (&[u8], [u8; 32])| {
        let Ok(cipher) = Cbc::new(key, Iv::Plain64, kind) else { return false };
        let mut data = masked;
        let mut crypt = |direction| cipher.crypt(direction, 0, 512, &mut data).is_ok().then_some(data);
        crypt(Direction::Encrypt) == Some(ciphertext) && crypt(Direction::Decrypt) == Some(masked)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The portable kernel uses another author's crate, so it is an independent reference.
    #[test]
    fn kernels_agree_at_every_number_of_blocks() {
        for (len, iv) in [(16, Iv::Plain64), (32, Iv::Plain64), (16, Iv::EssivSha256), (32, Iv::EssivSha256)] {
            let key: Vec<u8> = (0..len).map(|i| i * 5 + 1).collect();
            let portable = Cbc::new(&key, iv, KernelKind::Portable).unwrap();
            for blocks in (1..=140).chain([255, 256, 257, 1024]) {
                for sector_size in [512, 4096] {
                    let plaintext: Vec<u8> = (0..blocks * 16).map(|i| (i ^ i >> 5) as u8).collect();
                    let mut expected = plaintext.clone();
                    portable.crypt(Direction::Encrypt, 77, sector_size, &mut expected).unwrap();
                    for kind in KernelKind::available() {
                        let cipher = Cbc::new(&key, iv, kind).unwrap();
                        let mut data = plaintext.clone();
                        cipher.crypt(Direction::Encrypt, 77, sector_size, &mut data).unwrap();
                        assert!(data == expected, "{kind:?}, {blocks} blocks of {sector_size}");
                        cipher.crypt(Direction::Decrypt, 77, sector_size, &mut data).unwrap();
                        assert!(data == plaintext, "{kind:?}, {blocks} blocks of {sector_size}");
                    }
                }
            }
        }
    }
}
