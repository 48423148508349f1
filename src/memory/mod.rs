//! [`Secret`], the only place for key bytes, and [`Locked`], the place for expanded keys.

#![allow(unsafe_code)]

mod alignment;
#[cfg(unix)]
mod fork;
#[cfg(not(unix))]
mod fork {
    /// This system has no fork.
    pub(crate) fn generation() -> u32 {
        1
    }
}
mod bytes;
mod heap;
mod locked;
#[cfg(unix)]
mod mapping;
#[cfg(unix)]
mod pages;
mod process;
mod protection;

pub use process::{NotInherited, OwningProcess};
pub use protection::{MemoryProtection, memory_protection};

pub(crate) use locked::Locked;
pub(crate) use protection::require_locked;

use core::fmt;

use subtle::ConstantTimeEq;

use crate::Result;
use bytes::Memory;

/// The number of this process among those of its ancestors that had secrets. It differs after each fork. For the C
/// library, whose handles hold it as a number. All else has an [`OwningProcess`].
#[doc(hidden)]
pub fn process_generation() -> u32 {
    fork::generation()
}

/// Secret bytes: wiped when dropped, in pages that are locked into memory and left out of core dumps where the
/// operating system allows it.
///
/// Comparison takes the same time whatever the bytes are; `Debug` shows the length only.
///
/// A forked child has none of its parent's secrets: on Linux the kernel gives it zeros instead. An operation that needs
/// one fails there with [`Error::Forked`](crate::Error::Forked). [`expose`](Self::expose) panics, because zeros must
/// not pass for a key. Open the vault and the volume again in the child.
///
/// ```
/// let secret = atrest::Secret::copy_from(b"correct horse");
/// assert_eq!(secret.expose(), b"correct horse");
/// assert_eq!(format!("{secret:?}"), "Secret(13 bytes)");
/// ```
pub struct Secret(Memory);

impl Secret {
    /// A secret of `len` zero bytes, to be filled by [`expose_mut`](Self::expose_mut).
    #[inline]
    pub fn zeroed(len: usize) -> Self {
        Secret(Memory::zeroed(len))
    }

    /// A secret of `len` random bytes from the operating system.
    ///
    /// # Errors
    /// [`Error::Random`](crate::Error::Random) when the operating system gives none.
    pub fn random(len: usize) -> Result<Self> {
        let mut secret = Secret::zeroed(len);
        crate::random::fill(secret.expose_mut())?;
        Ok(secret)
    }

    /// Copies `bytes`. The caller must wipe the original.
    #[inline]
    pub fn copy_from(bytes: &[u8]) -> Self {
        let mut secret = Secret::zeroed(bytes.len());
        secret.expose_mut().copy_from_slice(bytes);
        secret
    }

    /// The bytes. The name makes every place that looks at a secret easy to find.
    ///
    /// # Panics
    /// In a child of the process that made it.
    #[inline]
    pub fn expose(&self) -> &[u8] {
        self.0.check().expect(NOT_HERE);
        self.0.as_slice()
    }

    /// The bytes, for writing.
    ///
    /// # Panics
    /// In a child of the process that made it.
    #[inline]
    pub fn expose_mut(&mut self) -> &mut [u8] {
        self.0.check().expect(NOT_HERE);
        self.0.as_mut_slice()
    }

    /// Checks that the secret can be [exposed](Self::expose), i.e. that this is no child of the process that made it.
    ///
    /// # Errors
    /// [`Error::Forked`](crate::Error::Forked).
    pub fn check(&self) -> Result<()> {
        self.0.check()
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        self.0.as_slice().len()
    }

    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

const NOT_HERE: &str = "a secret stays in the process that made it";

impl Clone for Secret {
    fn clone(&self) -> Self {
        Secret::copy_from(self.expose())
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_every_length_keep_apart() {
        let mut secrets: Vec<Secret> = (0..400).map(|len| Secret::copy_from(&vec![len as u8; len])).collect();
        // Free every third and take new ones, so that slots are used again.
        for i in (0..400).step_by(3) {
            secrets[i] = Secret::copy_from(&vec![!(i as u8); i]);
        }
        for (i, secret) in secrets.iter().enumerate() {
            let byte = if i % 3 == 0 { !(i as u8) } else { i as u8 };
            assert_eq!(secret.expose(), vec![byte; i]);
        }
    }

    #[test]
    fn a_new_secret_is_zero_even_in_a_used_slot() {
        for _ in 0..200 {
            let mut secret = Secret::zeroed(48);
            assert_eq!(secret.expose(), [0; 48]);
            secret.expose_mut().fill(0xA5);
        }
    }

    #[test]
    fn equality_and_debug() {
        assert_eq!(Secret::copy_from(b"a"), Secret::copy_from(b"a"));
        assert_ne!(Secret::copy_from(b"a"), Secret::copy_from(b"b"));
        assert_ne!(Secret::copy_from(b"a"), Secret::copy_from(b"ab"));
        assert_eq!(format!("{:?}", Secret::copy_from(b"key")), "Secret(3 bytes)");
    }

    #[test]
    fn threads_share_the_pages() {
        std::thread::scope(|scope| {
            for t in 0..4u8 {
                scope.spawn(move || {
                    for _ in 0..500 {
                        let secret = Secret::copy_from(&[t; 32]);
                        assert_eq!(secret.expose(), [t; 32]);
                    }
                });
            }
        });
    }
}
