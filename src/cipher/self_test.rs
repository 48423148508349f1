//! The known-answer tests of all ciphers. Each lies with its cipher, and is run once per process before the first use of
//! that (`latch`).

#[cfg(feature = "std")]
use super::{cbc, hctr2};
use super::{known_answers, stream};
use crate::Result;
use crate::arch::KernelKind;
use crate::latch::Algorithm;

/// Tries all that this CPU can run, anew.
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
