//! The portable kernels, over crates that run on every CPU. They take its AES instructions where there are any, and constant
//! time everywhere.

#[cfg(feature = "std")]
pub(super) mod cbc;
pub(super) mod ctr;
#[cfg(feature = "std")]
pub(super) mod hctr2;
pub(super) mod xts;
