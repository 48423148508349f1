//! Functions that are easy to misuse. Search your code for this word.

use super::self_test;
use crate::arch::on_wiped_stack;
use crate::hash::HashAlgorithm;
use crate::{Dek, DekAlgorithm, Result, Secret};

/// Makes a DEK for XTS from your own bytes.
///
/// The DEK is weak if the bytes aren't random, if another program also holds them, or if they encrypt two disks. This
/// crate can't detect that. Meant for moving volumes in from other systems, and for tests against published vectors.
///
/// # Errors
/// [`Error::KeyLength`](crate::Error::KeyLength) unless there are 32 or 64 bytes;
/// [`Error::EqualKeyHalves`](crate::Error::EqualKeyHalves).
#[inline]
pub fn dek_from_bytes(bytes: &[u8]) -> Result<Dek> {
    let algorithm = if bytes.len() == 32 { DekAlgorithm::Aes128Xts } else { DekAlgorithm::Aes256Xts };
    Dek::from_secret(algorithm, Secret::copy_from(bytes))
}

/// As [`dek_from_bytes`], for an algorithm that the length doesn't determine, such as CBC of old volumes.
///
/// # Errors
/// [`Error::KeyLength`](crate::Error::KeyLength) unless there are [`key_len`](DekAlgorithm::key_len) bytes;
/// [`Error::EqualKeyHalves`](crate::Error::EqualKeyHalves) for an XTS key.
pub fn dek_from_bytes_for(algorithm: DekAlgorithm, bytes: &[u8]) -> Result<Dek> {
    Dek::from_secret(algorithm, Secret::copy_from(bytes))
}

/// Makes the DEK that `cryptsetup open --type plain` makes from a passphrase. The key begins with the hash of the passphrase. While
/// it is longer, the hash of the passphrase with one more letter `A` before it follows.
///
/// Guessing passphrases costs an attacker next to nothing, because a hash is fast and there is no salt. The default hash of
/// `cryptsetup` was `ripemd160`, which needs the feature `legacy`; since 2.7 it is `sha256`. It takes a key file without a hash
/// ([`dek_from_bytes_for`]), and cuts a passphrase at the end of its line.
///
/// # Errors
/// [`Error::EqualKeyHalves`](crate::Error::EqualKeyHalves) for an XTS key; [`Error::NotApproved`](crate::Error::NotApproved).
///
/// ```
/// use atrest::key::HashAlgorithm;
/// use atrest::{DekAlgorithm, hazmat};
///
/// let dek = hazmat::plain_dek(DekAlgorithm::Aes256Cbc, HashAlgorithm::Sha256, b"abc")?;
/// assert_eq!(hazmat::dek_bytes(&dek).expose()[..4], [0xba, 0x78, 0x16, 0xbf]);
/// # Ok::<(), atrest::Error>(())
/// ```
pub fn plain_dek(algorithm: DekAlgorithm, hash: HashAlgorithm, passphrase: &[u8]) -> Result<Dek> {
    self_test::hash(hash)?;
    on_wiped_stack(|| {
        let mut key = Secret::zeroed(algorithm.key_len());
        let mut hashed = Secret::zeroed(hash.output_len());
        for (round, part) in key.expose_mut().chunks_mut(hash.output_len()).enumerate() {
            let mut text = Secret::zeroed(round + passphrase.len());
            let (letters, rest) = text.expose_mut().split_at_mut(round);
            letters.fill(b'A');
            rest.copy_from_slice(passphrase);
            hash.digest_to(text.expose(), hashed.expose_mut());
            part.copy_from_slice(&hashed.expose()[..part.len()]);
        }
        Dek::from_secret(algorithm, key)
    })
}

/// The bytes of a DEK, unwrapped. Anyone who has them can read the disk for ever, even if the KEK is revoked.
///
/// Meant for opening a volume with other tools (`cryptsetup --volume-key-file`).
pub fn dek_bytes(dek: &Dek) -> Secret {
    dek.secret().clone()
}
