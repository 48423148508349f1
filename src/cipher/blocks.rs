//! Block ciphers with keys, on the crates of RustCrypto.

use aes::cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit, consts::U16};
use aes::{Aes128, Aes192, Aes256};

use super::spec::BlockCipher;
use crate::arch::Direction;
use crate::{Error, Result};

pub(super) type Block = Array<u8, U16>;

/// An expanded key. The crates wipe theirs.
#[allow(clippy::large_enum_variant)] // it lies in the cipher's place
pub(super) enum Blocks {
    Aes128(Aes128),
    Aes192(Aes192),
    Aes256(Aes256),
    #[cfg(feature = "legacy")]
    Serpent(serpent::Serpent),
    #[cfg(feature = "legacy")]
    Twofish(twofish::Twofish),
    #[cfg(feature = "legacy")]
    Camellia128(camellia::Camellia128),
    #[cfg(feature = "legacy")]
    Camellia192(camellia::Camellia192),
    #[cfg(feature = "legacy")]
    Camellia256(camellia::Camellia256),
}

impl Blocks {
    /// From a key of 16, 24 or 32 bytes.
    ///
    /// # Errors
    /// [`Error::KeyLength`] for another.
    pub(super) fn new(cipher: BlockCipher, key: &[u8]) -> Result<Self> {
        let wrong = |_| Error::KeyLength { len: key.len() };
        match (cipher, key.len()) {
            (BlockCipher::Aes, 16) => Aes128::new_from_slice(key).map(Blocks::Aes128).map_err(wrong),
            (BlockCipher::Aes, 24) => Aes192::new_from_slice(key).map(Blocks::Aes192).map_err(wrong),
            (BlockCipher::Aes, 32) => Aes256::new_from_slice(key).map(Blocks::Aes256).map_err(wrong),
            #[cfg(feature = "legacy")]
            (BlockCipher::Serpent, 16 | 24 | 32) => {
                serpent::Serpent::new_from_slice(key).map(Blocks::Serpent).map_err(wrong)
            }
            #[cfg(feature = "legacy")]
            (BlockCipher::Twofish, 16 | 24 | 32) => {
                twofish::Twofish::new_from_slice(key).map(Blocks::Twofish).map_err(wrong)
            }
            #[cfg(feature = "legacy")]
            (BlockCipher::Camellia, 16) => {
                camellia::Camellia128::new_from_slice(key).map(Blocks::Camellia128).map_err(wrong)
            }
            #[cfg(feature = "legacy")]
            (BlockCipher::Camellia, 24) => {
                camellia::Camellia192::new_from_slice(key).map(Blocks::Camellia192).map_err(wrong)
            }
            #[cfg(feature = "legacy")]
            (BlockCipher::Camellia, 32) => {
                camellia::Camellia256::new_from_slice(key).map(Blocks::Camellia256).map_err(wrong)
            }
            _ => Err(Error::KeyLength { len: key.len() }),
        }
    }

    /// Encrypts or decrypts each block by itself.
    pub(super) fn each(&self, direction: Direction, blocks: &mut [Block]) {
        match self {
            Blocks::Aes128(aes) => each(aes, direction, blocks),
            Blocks::Aes192(aes) => each(aes, direction, blocks),
            Blocks::Aes256(aes) => each(aes, direction, blocks),
            #[cfg(feature = "legacy")]
            Blocks::Serpent(serpent) => each(serpent, direction, blocks),
            #[cfg(feature = "legacy")]
            Blocks::Twofish(twofish) => each(twofish, direction, blocks),
            #[cfg(feature = "legacy")]
            Blocks::Camellia128(camellia) => each(camellia, direction, blocks),
            #[cfg(feature = "legacy")]
            Blocks::Camellia192(camellia) => each(camellia, direction, blocks),
            #[cfg(feature = "legacy")]
            Blocks::Camellia256(camellia) => each(camellia, direction, blocks),
        }
    }
}

fn each<C>(cipher: &C, direction: Direction, blocks: &mut [Block])
where
    C: aes::cipher::BlockSizeUser<BlockSize = U16> + BlockCipherEncrypt + BlockCipherDecrypt,
{
    match direction {
        Direction::Encrypt => cipher.encrypt_blocks(blocks),
        Direction::Decrypt => cipher.decrypt_blocks(blocks),
    }
}
