//! The portable kernels, built on crates that run on every CPU. They use the CPU's AES instructions where it has them.
//! They take constant time everywhere.

#[cfg(feature = "std")]
pub(super) mod cbc;
pub(super) mod ctr;
#[cfg(feature = "std")]
pub(super) mod hctr2;
pub(super) mod xts;
