//! Which algorithms are approved, the mode that takes no others, and the indicator that tells which were used.
//!
//! *Approved* means: in a publication of NIST's, as of SP 800-131A Rev. 2. **This library is no validated module**, and no
//! mode makes it one: FIPS 140-3 also asks for a tested build, a policy, and an entropy source that was assessed. What is
//! offered here is what a module of its kind would have to do about algorithms.
//!
//! | | approved | by |
//! |---|---|---|
//! | AES-128-XTS, AES-256-XTS (`aes-xts-plain64`) | yes | SP 800-38E, for storage only |
//! | AES-256-CTR | yes, if no counter comes twice under a key, which is the caller's to see to | SP 800-38A, 6.5 |
//! | AES-KW, AES-KWP | yes | SP 800-38F |
//! | RSA-OAEP with SHA-256, keys of 2048 bits and more | yes | SP 800-56B Rev. 2 |
//! | HKDF-SHA-256, HMAC-SHA-256, SHA-256, SHA-512 | yes | SP 800-56C Rev. 2, FIPS 198-1, FIPS 180-4 |
//! | PBKDF2 with SHA-256 or SHA-512, 1000 iterations, a salt of 16 bytes, or more | yes | SP 800-132, 5.1 and 5.2 |
//! | SHA-1 in any use: PBKDF2, LUKS1 headers, RSA-OAEP | no | Rev. 2 bears with some; NIST ends all by 2030 |
//! | RSA1_5 | no | SP 800-131A Rev. 2, 6 |
//! | `aes-xts-plain` | no | its tweaks come twice after 2 TiB |
//! | AES-CBC in sectors | no | SP 800-38A, appendix C: its IVs can be predicted, or come again |
//! | AES-HCTR2, Argon2i, Argon2id | no | in no publication of NIST's |
//!
//! Two things that the table can't say. A keyslot of LUKS keeps the DEK under AES-XTS and proves it by a digest, which is
//! neither SP 800-38F's wrapping nor the authenticated encryption that SP 800-132 wants in 5.4: a vault's key is the
//! approved way into a volume, and a keyslot only one by approved parts. And random bytes are the operating system's.
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

/// Whether a service is done by approved algorithms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Approval {
    /// By approved ones alone.
    Approved,
    /// In part by a vault, in a way that it doesn't tell ([`WrapAlgorithm::Opaque`](crate::key::WrapAlgorithm::Opaque)), and
    /// otherwise by approved ones: its maker can say.
    Elsewhere,
    /// Not, or not all of it.
    NotApproved {
        /// What isn't approved.
        algorithm: &'static str,
        /// Why.
        reason: &'static str,
    },
}

impl Approval {
    /// Whether it is by approved algorithms alone.
    pub fn is_approved(self) -> bool {
        self == Approval::Approved
    }

    /// The approval of two services in one: the lesser. Of two that aren't approved, the first.
    #[must_use]
    pub fn and(self, other: Approval) -> Approval {
        match (self, other) {
            (Approval::NotApproved { .. }, _) | (_, Approval::Approved) => self,
            _ => other,
        }
    }

    /// The one place that every use of an algorithm passes: it is refused where approved ones only are taken, and noted for
    /// who observes.
    ///
    /// # Errors
    /// [`Error::NotApproved`].
    #[inline(always)]
    pub(crate) fn require(self) -> Result<()> {
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
            Approval::Elsewhere => f.write_str("done in part by a vault that doesn't tell how"),
            Approval::NotApproved { algorithm, reason } => write!(f, "{algorithm} is not approved: {reason}"),
        }
    }
}

static ONLY: AtomicBool = AtomicBool::new(false);

/// Takes approved algorithms only, in this process from now on: whatever needs another is refused with
/// [`Error::NotApproved`], ciphers that are open already too. There is no way back.
///
/// Call it first of all. What was derived, wrapped or written before stays as it is.
pub fn approved_only() {
    ONLY.store(true, Relaxed);
}

/// Whether [`approved_only`] was called.
pub fn is_approved_only() -> bool {
    ONLY.load(Relaxed)
}

#[cfg(feature = "std")]
std::thread_local! {
    /// The least approval of what this thread has done since it was reset.
    static NOTED: core::cell::Cell<Approval> = const { core::cell::Cell::new(Approval::Approved) };
}

/// Has a service done, and tells whether this thread did all of it by approved algorithms: the indicator that FIPS 140-3 asks
/// for (IG 2.4.C). A service that fails may have used some before.
///
/// What other threads do meanwhile, those that a service starts among them, isn't seen. Inside another observation, the other
/// sees it too.
#[cfg(feature = "std")]
pub fn observe<T>(service: impl FnOnce() -> T) -> (T, Approval) {
    let outer = Outer(NOTED.replace(Approval::Approved));
    let answer = service();
    let approval = NOTED.get();
    drop(outer);
    (answer, approval)
}

/// Puts back what was noted before, at the end of an observation, also when the service panics.
#[cfg(feature = "std")]
struct Outer(Approval);

#[cfg(feature = "std")]
impl Drop for Outer {
    fn drop(&mut self) {
        NOTED.set(self.0.and(NOTED.get()));
    }
}

/// Begins an observation that [`since_reset`] ends, for who can't have it done by [`observe`].
#[cfg(feature = "std")]
pub fn reset() {
    NOTED.set(Approval::Approved);
}

/// Whether this thread has used approved algorithms alone since it was [`reset`], or began.
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
