//! Key services for `atrest`, over HTTP.
#![deny(unsafe_code)]
#[cfg(any(feature = "transit", feature = "aws"))]
mod cached;
mod directory;
#[cfg(feature = "transit")]
mod transit;
#[cfg(any(feature = "transit", feature = "aws"))]
mod trouble;
mod url;

pub use atrest_http::{Hidden, HttpOptions};
pub use directory::KmsVaults;
#[cfg(feature = "transit")]
pub use transit::{TransitAuth, TransitOptions, TransitVault};
pub use url::open;
