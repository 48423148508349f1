//! The known-answer tests of all ciphers. Each is next to its cipher, and runs once per process before the cipher's
//! first use (see `latch`).

#[cfg(feature = "std")]
use super::{cbc, hctr2, sectors};
use super::{known_answers, stream};
use crate::Result;
use crate::arch::KernelKind;

/// Runs the tests of all ciphers and kernels that this CPU supports, even if they ran before.
///
/// # Errors
/// [`Error::SelfTest`](crate::Error::SelfTest).
pub(crate) fn all() -> Result<()> {
    for (algorithm, test) in KernelKind::available().map(known_answers::of_kernel) {
        algorithm.run(test)?;
    }
    for (algorithm, test) in KernelKind::available().map(stream::of_kernel) {
        algorithm.run(test)?;
    }
    #[cfg(feature = "std")]
    {
        for (algorithm, test) in crate::hash::ALL {
            algorithm.run(test)?;
        }
        for &cipher in sectors::CIPHERS {
            let (algorithm, test) = sectors::of_cipher(cipher);
            algorithm.run(test)?;
        }
        #[cfg(feature = "legacy")]
        super::adiantum::SELF_TEST.0.run(super::adiantum::SELF_TEST.1)?;
        for kind in KernelKind::available() {
            for (algorithm, test) in [cbc::of_kernel(kind), hctr2::of_kernel(kind)] {
                algorithm.run(test)?;
            }
        }
    }
    Ok(())
}
