//! Approved algorithms: the table, the mode that refuses all others, and the indicator of which were used.
//!
//! *Approved* means approved in a NIST publication, as of SP 800-131A Rev. 2. **This library is not a validated
//! module**, and no mode makes it one: FIPS 140-3 also asks for a tested build, a policy and an assessed entropy
//! source. This module covers the part that concerns algorithms.
//!
//! | | approved | by |
//! |---|---|---|
//! | AES-128-XTS, AES-256-XTS (`aes-xts-plain64`) | yes | SP 800-38E, for storage only |
//! | AES-256-CTR | yes, if the caller never repeats a counter under a key | SP 800-38A, 6.5 |
//! | AES-KW, AES-KWP | yes | SP 800-38F |
//! | AES-CCM, of BitLocker's keys | yes | SP 800-38C |
//! | AES-128-CFB, KDFa, KDFe and ECDH on P-256, of sessions with a TPM (`atrest-tpm`) | yes | SP 800-38A, SP 800-108 Rev. 1, SP 800-56C Rev. 2, SP 800-56A Rev. 3 |
//! | RSA-OAEP with SHA-256, keys of at least 2048 bits | yes | SP 800-56B Rev. 2 |
//! | HKDF-SHA-256, HMAC-SHA-256, SHA-256, SHA-384, SHA-512, SHA-3 | yes | SP 800-56C Rev. 2, FIPS 198-1, FIPS 180-4, FIPS 202 |
//! | PBKDF2 with one of these hashes, at least 1000 iterations, a salt of at least 16 bytes | yes | SP 800-132, 5.1 and 5.2 |
//! | SHA-1 in any use: PBKDF2, LUKS1 headers, RSA-OAEP; SHA-224 | no | Rev. 2 allows some uses; NIST ends all by 2030 |
//! | RSA1_5 | no | SP 800-131A Rev. 2, 6 |
//! | `aes-xts-plain` | no | its tweaks repeat after 2 TiB |
//! | AES-XTS with other tweaks (`plain64be`, `essiv`, `benbi`, SPDK's) | no | IEEE 1619 counts data units in little-endian numbers |
//! | AES-ECB in sectors | no | it shows which blocks are equal |
//! | AES-CBC in sectors | no | SP 800-38A, appendix C: its IVs are predictable or repeat |
//! | AES-HCTR2, Argon2i, Argon2id, BitLocker's chain of SHA-256; of the feature `legacy`: Adiantum, Serpent, Twofish, Camellia, RIPEMD-160, Whirlpool, BLAKE2, SM3 | no | in no NIST publication |
//!
//! Some more facts. A LUKS keyslot encrypts the DEK with AES-XTS and verifies it with a digest. That is neither the
//! wrapping of SP 800-38F nor the authenticated encryption that SP 800-132 asks for in 5.4. So a vault's key is the
//! approved way into a volume; a keyslot only uses approved parts. Random bytes come from the operating system.
//!
//! A quorum of vaults (`atrest-quorum`) splits a key by Shamir's scheme, which is in no NIST publication. It is not refused, because
//! no protection is claimed from it: each part is wrapped by its own vault, and that algorithm has to be approved. Without any trust
//! in the splitting, the key is still wrapped by each vault. That fewer vaults than the quorum needs learn nothing is Shamir's
//! claim, not NIST's. The indicator says [`Elsewhere`](Approval::Elsewhere).
//!
//! Connections to servers and logins there are not covered: TLS is that of `rustls` with AWS-LC, PostgreSQL's logins are those of
//! `tokio-postgres`, tokens for Azure and Google are signed by AWS-LC. Neither the mode nor the self-tests reach into these. Requests
//! to AWS and Azure are signed by HMAC-SHA-256 of this crate.
//!
//! ```
//! use atrest::approval::{self, Approval};
//! use atrest::{Dek, DekAlgorithm, SectorSize, SectorUnit};
//!
//! let (cipher, approval) = approval::observe(|| {
//!     let dek = Dek::generate(DekAlgorithm::Aes256Xts)?;
//!     dek.sector_cipher(SectorSize::B4096, SectorUnit::Bytes512)
//! });
//! assert_eq!(approval, Approval::Approved);
//! assert_eq!(cipher?.approval(), Approval::Approved);
//! # Ok::<(), atrest::Error>(())
//! ```

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::{Error, Result};

/// Whether an operation uses approved algorithms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Approval {
    /// It uses approved algorithms only.
    Approved,
    /// A vault did part of it with an algorithm it doesn't name
    /// ([`WrapAlgorithm::Opaque`](crate::key::WrapAlgorithm::Opaque)); the rest is approved. Ask the vault's maker.
    Elsewhere,
    /// Some of it is not approved.
    NotApproved {
        /// The algorithm that isn't approved.
        algorithm: &'static str,
        /// The reason.
        reason: &'static str,
    },
}

impl Approval {
    /// Whether all of it is approved.
    pub fn is_approved(self) -> bool {
        self == Approval::Approved
    }

    /// The approval of two operations together: the lesser of both. If neither is approved, the first.
    #[must_use]
    pub fn and(self, other: Approval) -> Approval {
        match (self, other) {
            (Approval::NotApproved { .. }, _) | (_, Approval::Approved) => self,
            _ => other,
        }
    }

    /// Every use of an algorithm passes here. It notes the use for observers ([`observe`]), and refuses an unapproved one if the
    /// process takes approved algorithms only. For vaults that use others: [`WrapAlgorithm::approval`](crate::key::WrapAlgorithm::approval).
    ///
    /// # Errors
    /// [`Error::NotApproved`].
    #[inline(always)]
    pub fn require(self) -> Result<()> {
        if self == Approval::Approved { Ok(()) } else { self.require_unapproved() }
    }

    #[cold]
    fn require_unapproved(self) -> Result<()> {
        if let (Approval::NotApproved { algorithm, reason }, true) = (self, is_approved_only()) {
            return Err(Error::NotApproved { algorithm, reason });
        }
        #[cfg(feature = "std")]
        NOTED.set(NOTED.get().and(self));
        Ok(())
    }
}

impl fmt::Display for Approval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Approval::Approved => f.write_str("approved"),
            Approval::Elsewhere => f.write_str("done in part by a vault that doesn't name its algorithm"),
            Approval::NotApproved { algorithm, reason } => write!(f, "{algorithm} is not approved: {reason}"),
        }
    }
}

static ONLY: AtomicBool = AtomicBool::new(false);

/// From now on this process takes approved algorithms only. Any use of another one is refused with
/// [`Error::NotApproved`], also in ciphers that are already open. There is no way back.
///
/// Call it first. Data and keys that already exist stay as they are.
pub fn approved_only() {
    ONLY.store(true, Relaxed);
}

/// Whether [`approved_only`] was called.
pub fn is_approved_only() -> bool {
    ONLY.load(Relaxed)
}

#[cfg(feature = "std")]
std::thread_local! {
    /// The least approval of this thread's operations since the last reset.
    static NOTED: core::cell::Cell<Approval> = const { core::cell::Cell::new(Approval::Approved) };
}

/// Runs `service` and reports whether this thread used approved algorithms only: the indicator that FIPS 140-3 asks for
/// (IG 2.4.C). A service that fails may have used some before it failed.
///
/// Other threads are not observed, including threads that the service starts. An outer observation also sees everything
/// that an inner one sees.
#[cfg(feature = "std")]
pub fn observe<T>(service: impl FnOnce() -> T) -> (T, Approval) {
    let outer = Outer(NOTED.replace(Approval::Approved));
    let answer = service();
    let approval = NOTED.get();
    drop(outer);
    (answer, approval)
}

/// Restores the outer observation's note when an inner one ends, also if the service panics.
#[cfg(feature = "std")]
struct Outer(Approval);

#[cfg(feature = "std")]
impl Drop for Outer {
    fn drop(&mut self) {
        NOTED.set(self.0.and(NOTED.get()));
    }
}

/// Begins an observation that [`since_reset`] ends. For callers that can't pass a closure to [`observe`].
#[cfg(feature = "std")]
pub fn reset() {
    NOTED.set(Approval::Approved);
}

/// Whether this thread has used approved algorithms only since it started or last called [`reset`].
#[cfg(feature = "std")]
pub fn since_reset() -> Approval {
    NOTED.get()
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;

    const A: Approval = Approval::NotApproved { algorithm: "A", reason: "a" };
    const B: Approval = Approval::NotApproved { algorithm: "B", reason: "b" };

    #[test]
    fn the_lesser_of_two_counts() {
        use Approval::{Approved, Elsewhere};
        for (one, other, both) in [
            (Approved, Approved, Approved),
            (Approved, Elsewhere, Elsewhere),
            (Elsewhere, Approved, Elsewhere),
            (Elsewhere, A, A),
            (A, Elsewhere, A),
            (Approved, A, A),
            (A, Approved, A),
            (A, B, A),
            (B, A, B),
        ] {
            assert_eq!(one.and(other), both, "{one:?} {other:?}");
        }
    }

    #[test]
    fn an_observation_sees_its_own_thread_and_nests() {
        reset();
        let ((), outer) = observe(|| {
            assert_eq!(observe(|| Approval::Approved.require().unwrap()).1, Approval::Approved);
            assert_eq!(observe(|| A.require().unwrap()).1, A);
            assert_eq!(observe(|| Approval::Elsewhere.require().unwrap()).1, Approval::Elsewhere);
            std::thread::spawn(|| B.require().unwrap()).join().unwrap();
        });
        assert_eq!((outer, since_reset()), (A, A));
        let panicked = std::panic::catch_unwind(|| observe(|| std::panic::resume_unwind(Box::new(()))));
        assert!(panicked.is_err() && since_reset() == A);
        reset();
        assert_eq!(since_reset(), Approval::Approved);
    }
}
