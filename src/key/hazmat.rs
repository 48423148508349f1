//! Functions that are easy to misuse. Search your code for this word.

use crate::{Dek, DekAlgorithm, Result, Secret};

/// Makes a DEK for XTS from your own bytes.
///
/// The DEK is weak if the bytes aren't random, if another program also holds them, or if they encrypt two disks. This
/// crate can't detect that. Meant for moving volumes in from other systems, and for tests against published vectors.
///
/// # Errors
/// [`Error::KeyLength`](crate::Error::KeyLength) unless there are 32 or 64 bytes;
/// [`Error::EqualKeyHalves`](crate::Error::EqualKeyHalves).
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

/// The bytes of a DEK, unwrapped. Anyone who has them can read the disk for ever, even if the KEK is revoked.
///
/// Meant for opening a volume with other tools (`cryptsetup --volume-key-file`).
pub fn dek_bytes(dek: &Dek) -> Secret {
    dek.secret().clone()
}
