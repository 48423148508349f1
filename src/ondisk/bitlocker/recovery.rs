//! Recovery passwords: eight groups of six digits, 128 bits in all.

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::latch::Algorithm;
use crate::{Error, Result, Secret, hash};

const GROUPS: usize = 8;
/// Each group is a multiple of this, so that typing errors are noticed.
const CHECK: u32 = 11;

/// A recovery password, checked.
pub(crate) struct RecoveryPassword(Zeroizing<[u8; 2 * GROUPS]>);

impl RecoveryPassword {
    /// Parses eight groups with dashes between them.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] names the wrong group by its number, and never shows its digits.
    pub(crate) fn parse(text: &[u8]) -> Result<Self> {
        let wrong = |text: String| Error::InvalidOption(format!("not a recovery password: {text}"));
        let groups = text.split(|byte| *byte == b'-');
        let count = groups.clone().count();
        if count != GROUPS {
            return Err(wrong(format!("it has 8 groups of 6 digits with dashes between them, not {count}")));
        }
        let mut key = Zeroizing::new([0; 2 * GROUPS]);
        for (i, group) in groups.enumerate() {
            if group.len() != 6 || !group.iter().all(u8::is_ascii_digit) {
                return Err(wrong(format!("group {} isn't 6 digits", i + 1)));
            }
            let number = group.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
            let part = u16::try_from(number / CHECK).ok().filter(|_| number.is_multiple_of(CHECK));
            let part = part.ok_or_else(|| wrong(format!("group {} has a wrong digit", i + 1)))?;
            key[2 * i..][..2].copy_from_slice(&part.to_le_bytes());
        }
        Ok(RecoveryPassword(key))
    }

    /// The 128 bits.
    pub(super) fn key(&self) -> Secret {
        Secret::copy_from(&*self.0)
    }

    /// The first link of the chain of hashes.
    ///
    /// # Errors
    /// [`Error::SelfTest`].
    pub(crate) fn initial(&self) -> Result<Zeroizing<[u8; 32]>> {
        hash::check(Algorithm::Sha256)?;
        Ok(Zeroizing::new(Sha256::digest(*self.0).into()))
    }
}
