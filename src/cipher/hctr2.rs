//! HCTR2, a wide-block mode: each byte of a sector's ciphertext depends on each byte of its plaintext.
//!
//! Crowley, Huckleberry and Biggers, *Length-preserving encryption with HCTR2* (2021). The tweak is that of dm-crypt:
//! the sector number as a little-endian integer of 32 bytes.

use super::KernelKind;
use crate::arch::{Direction, Hctr2Kernel};
use crate::latch::{Algorithm, unhex};
use crate::{Error, Result};

/// An expanded key.
pub(super) struct Hctr2(Hctr2Kernel);

impl Hctr2 {
    pub(super) fn new(key: &[u8], kind: KernelKind) -> Result<Self> {
        let key = key.try_into().map_err(|_| Error::KeyLength { len: key.len() })?;
        let kernel = Hctr2Kernel::expand(kind, key)?;
        kernel.map(Hctr2).ok_or_else(|| Error::KernelUnavailable { kind: kind.name() })
    }

    /// Encrypts or decrypts a run of whole sectors of `sector_size` bytes, a multiple of the block. Their numbers grow by `step`.
    pub(super) fn crypt(
        &self,
        way: Direction,
        first: u64,
        step: u64,
        sector_size: usize,
        data: &mut [u8],
    ) -> Result<()> {
        self.0.crypt(way, [u128::from(first), 0], step, sector_size, data)
    }
}

/// Tries a kernel before its first use.
///
/// # Errors
/// [`Error::SelfTest`](crate::Error::SelfTest).
pub(super) fn check(kind: KernelKind) -> Result<()> {
    let (algorithm, test) = of_kernel(kind);
    algorithm.check(test)
}

pub(super) fn of_kernel(kind: KernelKind) -> (Algorithm, fn() -> bool) {
    match kind {
        KernelKind::Portable => (Algorithm::Hctr2Portable, || is_right(KernelKind::Portable)),
        KernelKind::AesNi => (Algorithm::Hctr2AesNi, || is_right(KernelKind::AesNi)),
        KernelKind::Vaes256 => (Algorithm::Hctr2Vaes256, || is_right(KernelKind::Vaes256)),
        KernelKind::Vaes512 => (Algorithm::Hctr2Vaes512, || is_right(KernelKind::Vaes512)),
        KernelKind::Armv8 => (Algorithm::Hctr2Armv8, || is_right(KernelKind::Armv8)),
    }
}

/// The authors' vector of 48 bytes, in both directions.
fn is_right(kind: KernelKind) -> bool {
    const KEY: [u8; 32] = unhex(b"0365036e4de6e84e8bbe22194831eed9a09121be6289de78d9b036a33cce43d5");
    const VECTOR_TWEAK: [u8; 32] = unhex(b"a9c34be70ffc6dbf5627211cfcd604105f43e23035296c1090f1bf61ed0f8a91");
    const PLAINTEXT: [u8; 48] = unhex(
        b"07aa0226b498115e3341215151632c7200ab32a71cc83c9c250e8b9adf85ed2d\
        f4f2bc55ca926d22fd223b424c0b74ec",
    );
    const CIPHERTEXT: [u8; 48] = unhex(
        b"7bb1436dd8726cf6676a00c4f1f0f5a4fc6091ab460b15fcd7c12815a1fcf768\
        8ecc276200645672a617d73f67801058",
    );
    let Ok(cipher) = Hctr2::new(&KEY, kind) else { return false };
    let (mut one, mut two) = ([0; 16], [0; 16]);
    one.copy_from_slice(&VECTOR_TWEAK[..16]);
    two.copy_from_slice(&VECTOR_TWEAK[16..]);
    let tweak = [u128::from_le_bytes(one), u128::from_le_bytes(two)];
    let mut data = PLAINTEXT;
    let mut crypt = |direction| cipher.0.crypt(direction, tweak, 0, data.len(), &mut data).is_ok().then_some(data);
    crypt(Direction::Encrypt) == Some(CIPHERTEXT) && crypt(Direction::Decrypt) == Some(PLAINTEXT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(kind: KernelKind, direction: Direction, key: &[u8], tweak: &[u8], data: &[u8]) -> Vec<u8> {
        let halves = [0, 16].map(|at| u128::from_le_bytes(tweak[at..at + 16].try_into().unwrap()));
        let mut data = data.to_vec();
        Hctr2::new(key, kind).unwrap().0.crypt(direction, halves, 0, data.len(), &mut data).unwrap();
        data
    }

    /// The vectors with a tweak of 32 bytes, the size for sectors, for every kernel.
    #[test]
    fn the_vectors_of_the_authors() {
        let bytes = |hex: &str| -> Vec<u8> {
            let hex = hex.trim_matches('-');
            (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
        };
        let vectors = include_str!("../../tests/vectors/hctr2.txt").lines().filter(|line| !line.starts_with('#'));
        let mut passed = 0;
        for line in vectors {
            let fields: Vec<Vec<u8>> = line.split(' ').map(bytes).collect();
            let [key, tweak, plaintext, ciphertext] = &fields[..] else { panic!("{line}") };
            if tweak.len() != 32 {
                continue;
            }
            for kind in KernelKind::available() {
                assert_eq!(&run(kind, Direction::Encrypt, key, tweak, plaintext), ciphertext, "{kind:?}: {line}");
                assert_eq!(&run(kind, Direction::Decrypt, key, tweak, ciphertext), plaintext, "{kind:?}: {line}");
            }
            passed += 1;
        }
        assert!(passed > 0);
    }

    /// The portable kernel uses other authors' crates, so it is an independent reference.
    #[test]
    fn kernels_agree_at_every_number_of_blocks() {
        let key: Vec<u8> = (0..32).map(|i| i * 7 + 3).collect();
        let tweak: Vec<u8> = (0..32).map(|i| 255 - i).collect();
        for blocks in (1..=140).chain([255, 256, 257, 1024]) {
            let plaintext: Vec<u8> = (0..blocks * 16).map(|i| (i ^ i >> 5) as u8).collect();
            let expected = run(KernelKind::Portable, Direction::Encrypt, &key, &tweak, &plaintext);
            for kind in KernelKind::available() {
                let ciphertext = run(kind, Direction::Encrypt, &key, &tweak, &plaintext);
                assert!(ciphertext == expected, "{kind:?}, {blocks} blocks");
                let back = run(kind, Direction::Decrypt, &key, &tweak, &ciphertext);
                assert!(back == plaintext, "{kind:?}, {blocks} blocks");
            }
        }
    }
}
