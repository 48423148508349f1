//! Identifies a DEK without revealing it.

use core::fmt;
use core::str::FromStr;

use subtle::ConstantTimeEq;

use super::Dek;
use crate::{Error, Result};

const INFO: &str = "atrest fingerprint v1";

/// Identifies a DEK: 32 bytes derived from the key and its algorithm by HKDF-SHA-256 (RFC 5869). They reveal nothing
/// about the key and are no secret. Keep them where an attacker with write access to the disk can't change them.
///
/// The parts of a volume prove that they belong together, under the DEK wrapped there. They can't prove that this is
/// *your* DEK. An attacker who may wrap keys under your KEK can make a volume that your vault opens: with the public
/// half of an RSA key, with `wrapKey` alone, or with another key of the same vault. If the attacker puts it in place of
/// yours, they can read the data you write to it. So keep the fingerprint when you make a volume, envelope or file, and
/// demand it when you open it: [`OpenOptions::expect`](crate::OpenOptions::expect), [`check`](Self::check),
/// [`FilePrefix::expect`](crate::FilePrefix::expect).
///
/// ```
/// use atrest::key::Fingerprint;
/// use atrest::{Dek, DekAlgorithm, Error};
///
/// let dek = Dek::generate(DekAlgorithm::Aes256Xts)?;
/// let kept: String = dek.fingerprint()?.to_string();
///
/// let expected: Fingerprint = kept.parse()?;
/// expected.check(&dek)?;
/// let planted = Dek::generate(DekAlgorithm::Aes256Xts)?;
/// assert!(matches!(expected.check(&planted), Err(Error::OtherDek)));
/// # Ok::<(), atrest::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// A stored fingerprint.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Fingerprint(bytes)
    }

    /// The bytes to store.
    pub fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// Refuses every DEK but the one with this fingerprint.
    ///
    /// # Errors
    /// [`Error::OtherDek`]; [`Error::Forked`].
    pub fn check(&self, dek: &Dek) -> Result<()> {
        if dek.fingerprint()?.0.ct_eq(&self.0).into() { Ok(()) } else { Err(Error::OtherDek) }
    }
}

impl Dek {
    /// The fingerprint of this DEK: see [`Fingerprint`].
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn fingerprint(&self) -> Result<Fingerprint> {
        self.check()?;
        let derived = crate::arch::on_wiped_stack(|| self.derive(&format!("{INFO} {}", self.algorithm().name())));
        let mut bytes = [0; 32];
        bytes.copy_from_slice(derived.expose());
        Ok(Fingerprint(bytes))
    }
}

impl fmt::Display for Fingerprint {
    /// 64 digits in hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = Error;

    /// Reads the output of `Display`.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::InvalidOption("a fingerprint is 64 digits in hexadecimal".into());
        let (digits, []) = text.as_bytes().as_chunks::<2>() else { return Err(wrong()) };
        let byte = |pair: &[u8; 2]| {
            let digit = |digit: u8| char::from(digit).to_digit(16);
            Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8)
        };
        let bytes: Option<Vec<u8>> = digits.iter().map(byte).collect();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(wrong)?;
        Ok(Fingerprint(bytes))
    }
}
