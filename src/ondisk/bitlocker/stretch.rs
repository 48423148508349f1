//! Derives keys from passwords by a chain of SHA-256.

use sha2::block_api::compress256;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::approval::Approval;
use crate::arch::on_wiped_stack;
use crate::latch::Algorithm;
use crate::{Error, Result, Secret, hash};

/// The length of the chain, always.
pub(crate) const ITERATIONS: u32 = 0x10_0000;

/// The bytes of each link of the chain.
const HASHED: u64 = 32 + 32 + 16 + 8;
/// FIPS 180-4, 5.3.3.
const INITIAL_STATE: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The salt of a protector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stretch(pub(crate) [u8; 16]);

impl Stretch {
    /// Derives the key from the first link of the chain.
    ///
    /// # Errors
    /// [`Error::SelfTest`]; [`Error::NotApproved`].
    pub(crate) fn derive(&self, initial: &Zeroizing<[u8; 32]>) -> Result<Secret> {
        const NOT_APPROVED: Approval = Approval::NotApproved {
            algorithm: "BitLocker's chain of SHA-256",
            reason: "no publication of NIST's has it",
        };
        NOT_APPROVED.require()?;
        hash::check(Algorithm::Sha256)?;
        let mut key = Secret::zeroed(32);
        on_wiped_stack(|| {
            // The hash is over the last hash, the initial one, the salt, and the number of hashes before. Then comes the padding
            // of SHA-256, to two blocks (FIPS 180-4, 5.1.1).
            let mut blocks = [[0; 64]; 2];
            blocks[0][32..].copy_from_slice(&**initial);
            blocks[1][..16].copy_from_slice(&self.0);
            blocks[1][24] = 0x80;
            blocks[1][56..].copy_from_slice(&(HASHED * 8).to_be_bytes());
            for count in 0..u64::from(ITERATIONS) {
                blocks[1][16..24].copy_from_slice(&count.to_le_bytes());
                let mut state = INITIAL_STATE;
                compress256(&mut state, &blocks);
                for (word, bytes) in state.iter().zip(blocks[0].as_chunks_mut::<4>().0) {
                    *bytes = word.to_be_bytes();
                }
                state.zeroize();
            }
            key.expose_mut().copy_from_slice(&blocks[0][..32]);
            blocks.zeroize();
        });
        Ok(key)
    }
}

/// The first link of the chain for a password: the SHA-256 of the SHA-256 of its UTF-16.
///
/// # Errors
/// [`Error::InvalidOption`] if it isn't UTF-8; [`Error::SelfTest`].
pub(crate) fn of_password(password: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
    hash::check(Algorithm::Sha256)?;
    let text = core::str::from_utf8(password)
        .map_err(|_| Error::InvalidOption("a password of BitLocker is text: give it in UTF-8".into()))?;
    on_wiped_stack(|| {
        let mut first = Sha256::new();
        for unit in text.encode_utf16() {
            first.update(unit.to_le_bytes());
        }
        let mut first = first.finalize();
        let initial = Zeroizing::new(Sha256::digest(first).into());
        first.zeroize();
        Ok(initial)
    })
}
