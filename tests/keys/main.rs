//! Data-encryption keys: wrapped by a KEK, in envelopes and in the prefix of a file; the bytes of each format; and the
//! count of what a key has encrypted.

#[path = "../common/mod.rs"]
mod common;
#[cfg(feature = "std")]
mod envelope;
#[cfg(feature = "std")]
mod file_prefix;
#[cfg(feature = "std")]
mod formats;
#[cfg(feature = "std")]
mod usage;
mod wrap;
