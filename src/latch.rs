//! What the known-answer self-tests have found: of each algorithm whether it was tried, and whether any has failed.
//!
//! Nothing is locked or allocated here. Two threads that use an algorithm first at the same time both try it, which does no
//! harm; afterwards a check is two loads.

use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

use crate::{Error, Result};

macro_rules! algorithms {
    ($($(#[$attr:meta])* $algorithm:ident = $name:literal,)*) => {
        /// What is tried by itself: each kernel, and each algorithm over the crates below.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Algorithm {
            $($(#[$attr])* $algorithm,)*
        }

        impl Algorithm {
            const NAMES: &'static [&'static str] = &[$($(#[$attr])* $name,)*];
        }
    };
}

algorithms! {
    XtsPortable = "AES-XTS (kernel portable)",
    XtsAesNi = "AES-XTS (kernel AES-NI)",
    XtsVaes256 = "AES-XTS (kernel VAES-256)",
    XtsVaes512 = "AES-XTS (kernel VAES-512)",
    XtsArmv8 = "AES-XTS (kernel ARMv8)",
    Ctr = "AES-CTR",
    Kw = "AES-KW",
    Kwp = "AES-KWP",
    #[cfg(feature = "std")] Cbc = "AES-CBC",
    #[cfg(feature = "std")] Hctr2 = "AES-HCTR2",
    #[cfg(feature = "std")] Sha256 = "SHA-256",
    #[cfg(feature = "std")] HkdfSha256 = "HKDF-SHA-256",
    #[cfg(feature = "std")] Pbkdf2Sha1 = "PBKDF2-HMAC-SHA-1",
    #[cfg(feature = "std")] Pbkdf2Sha256 = "PBKDF2-HMAC-SHA-256",
    #[cfg(feature = "std")] Pbkdf2Sha512 = "PBKDF2-HMAC-SHA-512",
    #[cfg(feature = "std")] Argon2i = "Argon2i",
    #[cfg(feature = "std")] Argon2id = "Argon2id",
}

/// Of each algorithm, whether it has passed.
static PASSED: [AtomicU8; Algorithm::NAMES.len()] = [const { AtomicU8::new(0) }; Algorithm::NAMES.len()];
/// The number of one that failed, counted from 1; 0 while none has. It is never taken back: what computed wrongly once isn't
/// trusted before the process starts anew.
static FAILED: AtomicU8 = AtomicU8::new(0);

/// Refuses everything once a self-test has failed.
#[inline(always)]
pub(crate) fn sound() -> Result<()> {
    match FAILED.load(Relaxed) {
        0 => Ok(()),
        failed => Err(refusal(failed)),
    }
}

#[cold]
fn refusal(failed: u8) -> Error {
    Error::SelfTest { algorithm: Algorithm::NAMES[usize::from(failed) - 1] }
}

impl Algorithm {
    /// Tries the algorithm by `test` unless it has passed before. `test` runs in a frame of its own, on published keys.
    ///
    /// # Errors
    /// [`Error::SelfTest`] when it fails now, and when any algorithm has failed before.
    #[inline(always)]
    pub(crate) fn check(self, test: fn() -> bool) -> Result<()> {
        sound()?;
        if PASSED[self as usize].load(Relaxed) == 0 { self.run(test) } else { Ok(()) }
    }

    /// Tries it whether or not it has passed before.
    #[cold]
    #[inline(never)]
    pub(crate) fn run(self, test: fn() -> bool) -> Result<()> {
        sound()?;
        if !test() || is_spoilt(self) {
            FAILED.store(self as u8 + 1, Relaxed);
            return sound();
        }
        PASSED[self as usize].store(1, Relaxed);
        Ok(())
    }
}

/// Unit tests let a self-test fail, by its name, in a process of their own. No other build has a way to.
#[cfg(all(test, feature = "std"))]
fn is_spoilt(algorithm: Algorithm) -> bool {
    std::env::var("ATREST_SPOIL").is_ok_and(|name| name == Algorithm::NAMES[algorithm as usize])
}

#[cfg(not(all(test, feature = "std")))]
fn is_spoilt(_: Algorithm) -> bool {
    false
}

#[cfg(all(test, feature = "std"))]
pub(crate) fn names() -> &'static [&'static str] {
    Algorithm::NAMES
}
