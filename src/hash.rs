//! Known-answer tests of the hashes. Checksums and the splitting of keys run one before the first use of a hash in a
//! process (see `latch`). MACs and KDFs have their own tests.

mod algorithm;
#[cfg(feature = "legacy")]
pub(crate) mod rare;

pub use algorithm::HashAlgorithm;
pub(crate) use algorithm::WithHash;

use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use crate::Result;
use crate::latch::{Algorithm, unhex};

/// Tries SHA-1 or a hash of SHA-2 before its first use.
///
/// # Errors
/// [`Error::SelfTest`](crate::Error::SelfTest); [`Error::NotApproved`](crate::Error::NotApproved) of SHA-1 and SHA-224.
pub(crate) fn check(hash: Algorithm) -> Result<()> {
    hash.check(match hash {
        Algorithm::Sha1 => sha1_is_right,
        Algorithm::Sha224 => sha224_is_right,
        Algorithm::Sha256 => sha256_is_right,
        Algorithm::Sha384 => sha384_is_right,
        _ => sha512_is_right,
    })
}

/// As [`check`], of any hash.
pub(crate) fn check_any(hash: HashAlgorithm) -> Result<()> {
    match hash {
        HashAlgorithm::Sha1
        | HashAlgorithm::Sha224
        | HashAlgorithm::Sha256
        | HashAlgorithm::Sha384
        | HashAlgorithm::Sha512 => check(hash.unit()),
        #[cfg(feature = "legacy")]
        other => rare::check(other),
    }
}

/// All of them, for running every self-test again.
pub(crate) const ALL: [(Algorithm, fn() -> bool); 5] = [
    (Algorithm::Sha1, sha1_is_right),
    (Algorithm::Sha224, sha224_is_right),
    (Algorithm::Sha256, sha256_is_right),
    (Algorithm::Sha384, sha384_is_right),
    (Algorithm::Sha512, sha512_is_right),
];

// FIPS 180-4's example of one block: "abc".

fn sha1_is_right() -> bool {
    const DIGEST: [u8; 20] = unhex(b"a9993e364706816aba3e25717850c26c9cd0d89d");
    Sha1::digest(b"abc")[..] == DIGEST
}

fn sha256_is_right() -> bool {
    const DIGEST: [u8; 32] = unhex(b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    Sha256::digest(b"abc")[..] == DIGEST
}

fn sha224_is_right() -> bool {
    const DIGEST: [u8; 28] = unhex(b"23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7");
    Sha224::digest(b"abc")[..] == DIGEST
}

fn sha384_is_right() -> bool {
    const DIGEST: [u8; 48] = unhex(
        b"cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed\
        8086072ba1e7cc2358baeca134c825a7",
    );
    Sha384::digest(b"abc")[..] == DIGEST
}

fn sha512_is_right() -> bool {
    const DIGEST: [u8; 64] = unhex(
        b"ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
        2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
    );
    Sha512::digest(b"abc")[..] == DIGEST
}
