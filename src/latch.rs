//! What the known-answer self-tests have found: of each algorithm whether it was tried, and whether any has failed.
//!
//! Every use of an algorithm passes [`Algorithm::check`], which also asks whether it is approved ([`crate::approval`]).
//!
//! Nothing is locked or allocated here. Two threads that use an algorithm first at the same time both try it, which does no
//! harm; afterwards a check is two loads.

use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

use crate::approval::{Approval, is_approved_only};
use crate::{Error, Result};

macro_rules! algorithms {
    ($($(#[$attr:meta])* $algorithm:ident = $name:literal $(not $reason:expr)?;)*) => {
        /// What is tried by itself: each kernel, and each algorithm over the crates below.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Algorithm {
            $($(#[$attr])* $algorithm,)*
        }

        impl Algorithm {
            const NAMES: &'static [&'static str] = &[$($(#[$attr])* $name,)*];

            /// Whether it is approved, whatever for.
            #[inline(always)]
            pub(crate) const fn approval(self) -> Approval {
                match self {
                    $($(#[$attr])* Algorithm::$algorithm => algorithms!(@ $name $($reason)?),)*
                }
            }
        }
    };
    (@ $name:literal) => { Approval::Approved };
    (@ $name:literal $reason:expr) => { Approval::NotApproved { algorithm: $name, reason: $reason } };
}

algorithms! {
    XtsPortable = "AES-XTS (kernel portable)";
    XtsAesNi = "AES-XTS (kernel AES-NI)";
    XtsVaes256 = "AES-XTS (kernel VAES-256)";
    XtsVaes512 = "AES-XTS (kernel VAES-512)";
    XtsArmv8 = "AES-XTS (kernel ARMv8)";
    Ctr = "AES-CTR";
    Kw = "AES-KW";
    Kwp = "AES-KWP";
    #[cfg(feature = "std")] Cbc = "AES-CBC"
        not "its IVs can be predicted or come again, which SP 800-38A, appendix C, forbids";
    #[cfg(feature = "std")] Hctr2 = "AES-HCTR2" not UNPUBLISHED;
    #[cfg(feature = "std")] Sha1 = "SHA-1" not SHA_1;
    #[cfg(feature = "std")] Sha256 = "SHA-256";
    #[cfg(feature = "std")] Sha512 = "SHA-512";
    #[cfg(feature = "std")] HkdfSha256 = "HKDF-SHA-256";
    #[cfg(feature = "std")] Pbkdf2Sha1 = "PBKDF2-HMAC-SHA-1" not SHA_1;
    #[cfg(feature = "std")] Pbkdf2Sha256 = "PBKDF2-HMAC-SHA-256";
    #[cfg(feature = "std")] Pbkdf2Sha512 = "PBKDF2-HMAC-SHA-512";
    #[cfg(feature = "std")] Argon2i = "Argon2i" not UNPUBLISHED;
    #[cfg(feature = "std")] Argon2id = "Argon2id" not UNPUBLISHED;
    #[cfg(feature = "rsa")] RsaPair = "RSA-OAEP (pairwise)";
}

/// Why SHA-1 isn't approved here.
#[cfg(feature = "std")]
pub(crate) const SHA_1: &str = "NIST ends every use of SHA-1 by 2030";
#[cfg(feature = "std")]
const UNPUBLISHED: &str = "no publication of NIST's has it";

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
    /// [`Error::SelfTest`] when it fails now, and when any algorithm has failed before; [`Error::NotApproved`] where approved
    /// ones only are taken and it is none.
    #[inline(always)]
    pub(crate) fn check(self, test: fn() -> bool) -> Result<()> {
        sound()?;
        self.approval().require()?;
        if PASSED[self as usize].load(Relaxed) == 0 { self.run(test) } else { Ok(()) }
    }

    /// Tries it whether or not it has passed before, unless it may not be used at all.
    #[cold]
    #[inline(never)]
    pub(crate) fn run(self, test: fn() -> bool) -> Result<()> {
        sound()?;
        if !self.approval().is_approved() && is_approved_only() {
            return Ok(());
        }
        self.judge(test())?;
        PASSED[self as usize].store(1, Relaxed);
        Ok(())
    }

    /// Latches a failure that was found in a test.
    pub(crate) fn judge(self, passed: bool) -> Result<()> {
        sound()?;
        if !passed || is_spoilt(self) {
            FAILED.store(self as u8 + 1, Relaxed);
        }
        sound()
    }
}

/// Bytes from hexadecimal text, when this crate is compiled: the vectors of self-tests.
pub(crate) const fn unhex<const N: usize>(text: &[u8]) -> [u8; N] {
    assert!(text.len() == 2 * N, "two digits a byte");
    let mut bytes = [0; N];
    let mut i = 0;
    while i < N {
        bytes[i] = digit(text[2 * i]) << 4 | digit(text[2 * i + 1]);
        i += 1;
    }
    bytes
}

const fn digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => panic!("a lower-case hexadecimal digit"),
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
