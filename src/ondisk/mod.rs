//! On-disk formats, as bytes only: parse, validate, serialise.

#[cfg(feature = "bitlocker")]
pub(crate) mod bitlocker;
pub mod luks;
