//! Key services for `atrest`, over HTTP.
#![deny(unsafe_code)]
#[cfg(any(feature = "transit", feature = "aws"))]
mod cached;
#[cfg(feature = "transit")]
mod transit;
#[cfg(any(feature = "transit", feature = "aws"))]
mod trouble;

pub use atrest_http::{Hidden, HttpOptions};
#[cfg(feature = "transit")]
pub use transit::{TransitAuth, TransitOptions, TransitVault};
