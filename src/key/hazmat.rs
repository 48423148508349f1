//! Doors that are easy to hurt yourself with. Search your code for this word.

use crate::{Dek, DekAlgorithm, Result, Secret};

/// A DEK for XTS from bytes that you bring.
///
/// Bytes that aren't random, that another program also holds, or that encrypt two disks make a weak DEK, and nothing here
/// can tell. Meant for moving volumes in from other systems, and for tests against published vectors.
///
/// # Errors
/// [`Error::KeyLength`](crate::Error::KeyLength) unless there are 32 or 64 bytes;
/// [`Error::EqualKeyHalves`](crate::Error::EqualKeyHalves).
pub fn dek_from_bytes(bytes: &[u8]) -> Result<Dek> {
    let algorithm = if bytes.len() == 32 { DekAlgorithm::Aes128Xts } else { DekAlgorithm::Aes256Xts };
    Dek::from_secret(algorithm, Secret::copy_from(bytes))
}

/// As [`dek_from_bytes`], for an algorithm that the length doesn't tell: those of CBC, which old volumes have.
///
/// # Errors
/// [`Error::KeyLength`](crate::Error::KeyLength) unless there are [`key_len`](DekAlgorithm::key_len) bytes;
/// [`Error::EqualKeyHalves`](crate::Error::EqualKeyHalves) of a key for XTS.
pub fn dek_from_bytes_for(algorithm: DekAlgorithm, bytes: &[u8]) -> Result<Dek> {
    Dek::from_secret(algorithm, Secret::copy_from(bytes))
}

/// The bytes of a DEK, unwrapped: whoever has them can read the disk for ever, whatever happens to the KEK.
///
/// Meant for opening a volume with other tools (`cryptsetup --volume-key-file`).
pub fn dek_bytes(dek: &Dek) -> Secret {
    dek.secret().clone()
}
