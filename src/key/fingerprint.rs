//! Which DEK it is, said without saying the DEK.

use core::fmt;
use core::str::FromStr;

use subtle::ConstantTimeEq;

use super::Dek;
use crate::{Error, Result};

const INFO: &str = "atrest fingerprint v1";

/// Which DEK it is: 32 bytes that follow from the key and its algorithm, and from which nobody learns the key
/// (HKDF-SHA-256, RFC 5869). It is no secret, and is kept where an attacker who writes to the disk can't write.
///
/// What lies on a disk proves that its parts belong together, under the DEK that is wrapped there. It can't prove that
/// this is *your* DEK. Who may wrap keys under your KEK makes a volume of their own that your vault opens: with the
/// public half of an RSA key, with `wrapKey` alone, or with another key of the same vault. If it is put in the place of
/// yours, they can read what you write. So keep the fingerprint when a volume, envelope or file is made, and demand it
/// when it is opened: [`OpenOptions::expect`](crate::OpenOptions::expect), [`check`](Self::check),
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
    /// A fingerprint that was kept.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Fingerprint(bytes)
    }

    /// The bytes to keep.
    pub fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// Refuses any other DEK than the one that this was taken of.
    ///
    /// # Errors
    /// [`Error::OtherDek`]; [`Error::Forked`].
    pub fn check(&self, dek: &Dek) -> Result<()> {
        if dek.fingerprint()?.0.ct_eq(&self.0).into() { Ok(()) } else { Err(Error::OtherDek) }
    }
}

impl Dek {
    /// Which DEK this is: see [`Fingerprint`].
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

    /// Reads what `Display` wrote.
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
