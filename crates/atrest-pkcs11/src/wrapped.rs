//! Wrapped bytes, and how they were made.

use atrest::key::WrapAlgorithm;

/// How wrapped bytes begin that only this crate reads: a mark, its version, and how they were made.
pub(crate) const MARK: [u8; 4] = *b"P11\x01";
/// AES-GCM: a nonce of 12 bytes, the ciphertext, a tag of 16 bytes.
pub(crate) const BY_GCM: u8 = 1;
/// `C_WrapKey` by an unidentified mechanism: the mechanism's number in four bytes, big-endian, and its output.
pub(crate) const BY_WRAP: u8 = 2;

/// Wrapped bytes that a version has unwrapped, or is to unwrap.
#[derive(Debug, Clone)]
pub(crate) struct Wrapped {
    pub(crate) algorithm: WrapAlgorithm,
    pub(crate) bytes: Vec<u8>,
}

impl Wrapped {
    /// The way in which they are unwrapped: the algorithm, and for opaque bytes their kind.
    pub(crate) fn way(&self) -> (WrapAlgorithm, Option<u8>) {
        let is_opaque = self.algorithm == WrapAlgorithm::Opaque;
        (self.algorithm, self.bytes.get(MARK.len()).copied().filter(|_| is_opaque))
    }
}
