//! The known-answer tests of all ciphers. Each is next to its cipher, and runs once per process before the cipher's
//! first use (see `latch`).

#[cfg(feature = "std")]
use super::{cbc, hctr2};
use super::{known_answers, stream};
use crate::Result;
use crate::arch::KernelKind;
use crate::latch::Algorithm;

/// Runs the tests of all ciphers and kernels that this CPU supports, even if they ran before.
///
/// # Errors
/// [`Error::SelfTest`](crate::Error::SelfTest).
pub(crate) fn all() -> Result<()> {
    for (algorithm, test) in KernelKind::available().map(known_answers::of_kernel) {
        algorithm.run(test)?;
    }
    Algorithm::Ctr.run(stream::is_right)?;
    #[cfg(feature = "std")]
    {
        for (algorithm, test) in crate::hash::ALL {
            algorithm.run(test)?;
        }
        Algorithm::Cbc.run(cbc::is_right)?;
        Algorithm::Hctr2.run(hctr2::is_right)?;
    }
    Ok(())
}
