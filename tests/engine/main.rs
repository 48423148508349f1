//! The ciphers: AES-XTS and its kernels, the modes of `dm-crypt`, and streams, by published vectors, models and other
//! programs.

#[path = "../common/mod.rs"]
mod common;
#[cfg(feature = "std")]
mod dm_cipher;
mod kernels;
mod model;
mod refusals;
mod segments;
mod stream;
#[cfg(all(feature = "std", target_pointer_width = "64"))]
mod wiping;
mod xts;
