//! Identifiers.

use core::fmt;

use crate::{Result, random};

/// A GUID, in the mixed order of bytes in which Windows stores them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Guid(pub(crate) [u8; 16]);

impl Guid {
    /// A random one (RFC 9562, 5.4).
    ///
    /// # Errors
    /// [`Error::Random`](crate::Error::Random).
    pub(crate) fn random() -> Result<Self> {
        let mut id = random::array::<16>()?;
        (id[7], id[8]) = (id[7] & 0x0f | 0x40, id[8] & 0x3f | 0x80);
        Ok(Guid(id))
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let b = &self.0;
        // The first three fields are little-endian numbers.
        for (i, at) in [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15].into_iter().enumerate() {
            let dash = if matches!(i, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{:02x}", b[at])?;
        }
        Ok(())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
