//! The results of the known-answer self-tests: which algorithms passed, and whether any failed.
//!
//! Every use of an algorithm calls [`Algorithm::check`], which also asks whether it is approved ([`crate::approval`]).
//!
//! Nothing is locked or allocated here. If two threads first use an algorithm at the same time, both test it, which
//! does no harm. Afterwards a check is two loads.

use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

use crate::approval::{Approval, is_approved_only};
use crate::{Error, Result};

macro_rules! algorithms {
    ($($(#[$attr:meta])* $algorithm:ident = $name:literal $(not $refused:literal $reason:expr)?;)*) => {
        /// The units of testing: each kernel, and each algorithm built on other crates.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Algorithm {
            $($(#[$attr])* $algorithm,)*
        }

        impl Algorithm {
            const NAMES: &'static [&'static str] = &[$($(#[$attr])* $name,)*];

            /// Whether the algorithm is approved in any use.
            #[inline(always)]
            pub(crate) const fn approval(self) -> Approval {
                match self {
                    $($(#[$attr])* Algorithm::$algorithm => algorithms!(@ $($refused $reason)?),)*
                }
            }
        }
    };
    (@) => { Approval::Approved };
    (@ $name:literal $reason:expr) => { Approval::NotApproved { algorithm: $name, reason: $reason } };
}

algorithms! {
    XtsPortable = "AES-XTS (kernel portable)";
    XtsAesNi = "AES-XTS (kernel AES-NI)";
    XtsVaes256 = "AES-XTS (kernel VAES-256)";
    XtsVaes512 = "AES-XTS (kernel VAES-512)";
    XtsArmv8 = "AES-XTS (kernel ARMv8)";
    CtrPortable = "AES-CTR (kernel portable)";
    CtrAesNi = "AES-CTR (kernel AES-NI)";
    CtrVaes256 = "AES-CTR (kernel VAES-256)";
    CtrVaes512 = "AES-CTR (kernel VAES-512)";
    CtrArmv8 = "AES-CTR (kernel ARMv8)";
    Kw = "AES-KW";
    Kwp = "AES-KWP";
    #[cfg(feature = "std")] AesSectors = "AES in sectors";
    #[cfg(feature = "legacy")] Serpent = "Serpent" not "Serpent" UNPUBLISHED;
    #[cfg(feature = "legacy")] Twofish = "Twofish" not "Twofish" UNPUBLISHED;
    #[cfg(feature = "legacy")] Adiantum = "Adiantum" not "Adiantum" UNPUBLISHED;
    #[cfg(feature = "legacy")] Camellia = "Camellia" not "Camellia" UNPUBLISHED;
    #[cfg(feature = "std")] CbcPortable = "AES-CBC (kernel portable)" not "AES-CBC" PREDICTED;
    #[cfg(feature = "std")] CbcAesNi = "AES-CBC (kernel AES-NI)" not "AES-CBC" PREDICTED;
    #[cfg(feature = "std")] CbcVaes256 = "AES-CBC (kernel VAES-256)" not "AES-CBC" PREDICTED;
    #[cfg(feature = "std")] CbcVaes512 = "AES-CBC (kernel VAES-512)" not "AES-CBC" PREDICTED;
    #[cfg(feature = "std")] CbcArmv8 = "AES-CBC (kernel ARMv8)" not "AES-CBC" PREDICTED;
    #[cfg(feature = "std")] Hctr2Portable = "AES-HCTR2 (kernel portable)" not "AES-HCTR2" UNPUBLISHED;
    #[cfg(feature = "std")] Hctr2AesNi = "AES-HCTR2 (kernel AES-NI)" not "AES-HCTR2" UNPUBLISHED;
    #[cfg(feature = "std")] Hctr2Vaes256 = "AES-HCTR2 (kernel VAES-256)" not "AES-HCTR2" UNPUBLISHED;
    #[cfg(feature = "std")] Hctr2Vaes512 = "AES-HCTR2 (kernel VAES-512)" not "AES-HCTR2" UNPUBLISHED;
    #[cfg(feature = "std")] Hctr2Armv8 = "AES-HCTR2 (kernel ARMv8)" not "AES-HCTR2" UNPUBLISHED;
    #[cfg(feature = "std")] Sha1 = "SHA-1" not "SHA-1" SHA_1;
    #[cfg(feature = "std")] Sha224 = "SHA-224" not "SHA-224" SHA_224;
    #[cfg(feature = "std")] Sha256 = "SHA-256";
    #[cfg(feature = "std")] Sha384 = "SHA-384";
    #[cfg(feature = "std")] Sha512 = "SHA-512";
    #[cfg(feature = "std")] HmacSha256 = "HMAC-SHA-256";
    #[cfg(feature = "std")] HkdfSha256 = "HKDF-SHA-256";
    #[cfg(feature = "std")] Pbkdf2Sha1 = "PBKDF2-HMAC-SHA-1" not "PBKDF2-HMAC-SHA-1" SHA_1;
    #[cfg(feature = "std")] Pbkdf2Sha224 = "PBKDF2-HMAC-SHA-224" not "PBKDF2-HMAC-SHA-224" SHA_224;
    #[cfg(feature = "std")] Pbkdf2Sha256 = "PBKDF2-HMAC-SHA-256";
    #[cfg(feature = "std")] Pbkdf2Sha384 = "PBKDF2-HMAC-SHA-384";
    #[cfg(feature = "std")] Pbkdf2Sha512 = "PBKDF2-HMAC-SHA-512";
    #[cfg(feature = "std")] Argon2i = "Argon2i" not "Argon2i" UNPUBLISHED;
    #[cfg(feature = "std")] Argon2id = "Argon2id" not "Argon2id" UNPUBLISHED;
    #[cfg(feature = "legacy")] Sha3_224 = "SHA3-224";
    #[cfg(feature = "legacy")] Sha3_256 = "SHA3-256";
    #[cfg(feature = "legacy")] Sha3_384 = "SHA3-384";
    #[cfg(feature = "legacy")] Sha3_512 = "SHA3-512";
    #[cfg(feature = "legacy")] Ripemd160 = "RIPEMD-160" not "RIPEMD-160" UNPUBLISHED;
    #[cfg(feature = "legacy")] Whirlpool = "Whirlpool" not "Whirlpool" UNPUBLISHED;
    #[cfg(feature = "legacy")] Blake2b160 = "BLAKE2b-160" not "BLAKE2b-160" UNPUBLISHED;
    #[cfg(feature = "legacy")] Blake2b256 = "BLAKE2b-256" not "BLAKE2b-256" UNPUBLISHED;
    #[cfg(feature = "legacy")] Blake2b384 = "BLAKE2b-384" not "BLAKE2b-384" UNPUBLISHED;
    #[cfg(feature = "legacy")] Blake2b512 = "BLAKE2b-512" not "BLAKE2b-512" UNPUBLISHED;
    #[cfg(feature = "legacy")] Blake2s160 = "BLAKE2s-160" not "BLAKE2s-160" UNPUBLISHED;
    #[cfg(feature = "legacy")] Blake2s224 = "BLAKE2s-224" not "BLAKE2s-224" UNPUBLISHED;
    #[cfg(feature = "legacy")] Blake2s256 = "BLAKE2s-256" not "BLAKE2s-256" UNPUBLISHED;
    #[cfg(feature = "legacy")] Sm3 = "SM3" not "SM3" UNPUBLISHED;
    #[cfg(feature = "bitlocker")] Ccm = "AES-CCM";
    #[cfg(feature = "rsa")] RsaPair = "RSA-OAEP (pairwise)";
}

/// Why CBC isn't approved for sectors.
#[cfg(feature = "std")]
const PREDICTED: &str = "its IVs can be predicted or come again, which SP 800-38A, appendix C, forbids";
/// Why SHA-1 isn't approved.
#[cfg(feature = "std")]
pub(crate) const SHA_1: &str = "NIST ends every use of SHA-1 by 2030";
/// Why SHA-224 isn't approved.
#[cfg(feature = "std")]
const SHA_224: &str = "NIST ends every use of SHA-224 by 2030";
#[cfg(feature = "std")]
const UNPUBLISHED: &str = "no publication of NIST's has it";

/// For each algorithm, whether it has passed.
static PASSED: [AtomicU8; Algorithm::NAMES.len()] = [const { AtomicU8::new(0) }; Algorithm::NAMES.len()];
/// The number of a failed algorithm, counted from 1; 0 if none failed. It is never reset: a machine that computed
/// wrongly once isn't trusted until the process restarts.
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
    #[cfg(feature = "std")]
    if failed == OF_ANOTHER_CRATE {
        return Error::SelfTest { algorithm: OTHER.get().copied().unwrap_or("another crate's algorithm") };
    }
    Error::SelfTest { algorithm: Algorithm::NAMES[usize::from(failed) - 1] }
}

/// The number of each failed algorithm of another crate, whose name is in [`OTHER`].
#[cfg(feature = "std")]
const OF_ANOTHER_CRATE: u8 = u8::MAX;
#[cfg(feature = "std")]
static OTHER: std::sync::OnceLock<&'static str> = std::sync::OnceLock::new();
#[cfg(feature = "std")]
const _: () = assert!(Algorithm::NAMES.len() < OF_ANOTHER_CRATE as usize);

impl Algorithm {
    /// Runs `test` unless the algorithm has passed before. `test` runs in a stack frame of its own, on published keys.
    ///
    /// # Errors
    /// [`Error::SelfTest`] if it fails now or any algorithm failed before; [`Error::NotApproved`] if the process takes
    /// approved algorithms only and this is not one.
    #[inline(always)]
    pub(crate) fn check(self, test: fn() -> bool) -> Result<()> {
        sound()?;
        self.approval().require()?;
        if PASSED[self as usize].load(Relaxed) == 0 { self.run(test) } else { Ok(()) }
    }

    /// Tests it even if it has passed before, unless it may not be used at all.
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

/// An algorithm of another crate that is used with this one, with its known-answer test: for a vault or a store that computes
/// something itself. The algorithms of this crate have such tests already, and so do [`sha256`](crate::key::sha256),
/// [`HmacSha256`](crate::key::HmacSha256), [`hkdf_sha256`](crate::key::hkdf_sha256) and [`wrap`](crate::key::wrap).
///
/// All algorithms of a process share one latch: once one of them fails, of whichever crate, all are refused by its name.
///
/// ```
/// use atrest::SelfTest;
///
/// static CRC: SelfTest = SelfTest::new("CRC-8", || crc8(b"123456789") == 0xf4);
///
/// fn checksum(bytes: &[u8]) -> atrest::Result<u8> {
///     CRC.check()?; // before each use
///     Ok(crc8(bytes))
/// }
/// # fn crc8(bytes: &[u8]) -> u8 {
/// #     let step = |crc: u8, _| crc << 1 ^ if crc & 0x80 == 0 { 0 } else { 7 };
/// #     bytes.iter().fold(0, |crc, byte| (0..8).fold(crc ^ byte, step))
/// # }
/// assert_eq!(checksum(b"123456789")?, 0xf4);
/// # Ok::<(), atrest::Error>(())
/// ```
#[cfg(feature = "std")]
#[derive(Debug)]
pub struct SelfTest {
    name: &'static str,
    approval: Approval,
    test: fn() -> bool,
    passed: AtomicU8,
}

#[cfg(feature = "std")]
impl SelfTest {
    /// An approved algorithm of this name. `test` says whether it gives a published vector's results; it calls the algorithm
    /// itself, without [`check`](Self::check).
    pub const fn new(name: &'static str, test: fn() -> bool) -> Self {
        SelfTest { name, approval: Approval::Approved, test, passed: AtomicU8::new(0) }
    }

    /// Decodes the hexadecimal text of a vector, in lower case, at compile time.
    ///
    /// # Panics
    /// For text that isn't that, or another length than that of `N` bytes.
    pub const fn unhex<const N: usize>(text: &[u8]) -> [u8; N] {
        unhex(text)
    }

    /// Sets whether the algorithm is [approved](crate::approval).
    pub const fn approval(mut self, approval: Approval) -> Self {
        self.approval = approval;
        self
    }

    /// Tests the algorithm unless it has passed in this process. Call it before each use: it takes two loads then.
    ///
    /// # Errors
    /// [`Error::SelfTest`] if it fails, or any algorithm has failed before; [`Error::NotApproved`] if it is not approved and the
    /// process takes [approved algorithms only](crate::approved_only).
    #[inline]
    pub fn check(&self) -> Result<()> {
        sound()?;
        self.approval.require()?;
        if self.passed.load(Relaxed) == 0 { self.run() } else { Ok(()) }
    }

    /// Tests the algorithm even if it has passed. One that may not be used is not tested.
    ///
    /// # Errors
    /// [`Error::SelfTest`].
    #[cold]
    pub fn run(&self) -> Result<()> {
        sound()?;
        if matches!(self.approval, Approval::NotApproved { .. }) && is_approved_only() {
            return Ok(());
        }
        let passed = (self.test)();
        // It may have used an algorithm that has failed just now, which is the one to name.
        sound()?;
        if !passed {
            // Of two that fail at the same time, one gives its name.
            let _ = OTHER.set(self.name);
            FAILED.store(OF_ANOTHER_CRATE, Relaxed);
        }
        sound()?;
        self.passed.store(1, Relaxed);
        Ok(())
    }
}

/// Decodes hexadecimal text at compile time, for the vectors of self-tests.
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

/// Unit tests make a self-test fail, by name, in a process of their own. No other build can do this.
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
