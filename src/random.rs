//! Random bytes from the operating system; there is no other source in the crate.

use crate::{Error, Result};

/// Fills `out` with random bytes of the operating system.
pub(crate) fn fill(out: &mut [u8]) -> Result<()> {
    getrandom::fill(out).map_err(|_| Error::Random)
}

/// An array of random bytes.
pub(crate) fn array<const N: usize>() -> Result<[u8; N]> {
    let mut out = [0; N];
    fill(&mut out)?;
    Ok(out)
}
