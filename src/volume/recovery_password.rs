//! [`RecoveryPassword`]: a new recovery password of BitLocker.

use core::fmt;

use zeroize::Zeroizing;

use crate::ondisk::bitlocker;
use crate::{Result, Secret};

const GROUPS: usize = 8;

/// A new recovery password of BitLocker: 128 random bits, which people can write down.
///
/// ```
/// use atrest::volume::RecoveryPassword;
///
/// let password = RecoveryPassword::generate()?;
/// assert_eq!(password.expose().len(), 8 * 6 + 7); // eight groups of six digits, with dashes between them
/// assert_eq!(format!("{password:?}"), "RecoveryPassword");
/// # Ok::<(), atrest::Error>(())
/// ```
pub struct RecoveryPassword(Zeroizing<String>);

impl RecoveryPassword {
    /// A new one, from the operating system's random bytes.
    ///
    /// # Errors
    /// [`Error::Random`](crate::Error::Random).
    pub fn generate() -> Result<Self> {
        let key = Secret::random(2 * GROUPS)?;
        // Room for all of it, since a string that grows leaves copies.
        let mut text = Zeroizing::new(String::with_capacity(7 * GROUPS));
        for part in key.expose().as_chunks().0 {
            if !text.is_empty() {
                text.push('-');
            }
            let mut number = 11 * u32::from(u16::from_le_bytes(*part));
            let mut digits = Zeroizing::new([0; 6]);
            for digit in digits.iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
            digits.iter().for_each(|digit| text.push(char::from(*digit)));
        }
        Ok(RecoveryPassword(text))
    }

    /// Parses a recovery password that was typed or printed: eight groups of six digits, with dashes between them. Each group's
    /// checksum is verified; only opening the volume shows whether the password is right.
    ///
    /// ```
    /// use atrest::volume::RecoveryPassword;
    ///
    /// let typed = "000000-000011-000022-720885-051260-432531-011000-597531";
    /// assert_eq!(RecoveryPassword::parse(typed)?.expose(), typed);
    /// assert!(RecoveryPassword::parse("000001-000011-000022-720885-051260-432531-011000-597531").is_err()); // a slip
    /// # Ok::<(), atrest::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidOption`](crate::Error::InvalidOption) names the wrong group by its number, and never shows its digits.
    pub fn parse(text: &str) -> Result<Self> {
        bitlocker::RecoveryPassword::parse(text.as_bytes())?;
        Ok(RecoveryPassword(Zeroizing::new(text.into())))
    }

    /// The text, to be shown once, and for [`Protector::RecoveryPassword`](crate::Protector::RecoveryPassword) and
    /// [`Credential::RecoveryPassword`](crate::Credential::RecoveryPassword).
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RecoveryPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryPassword")
    }
}
