//! Key services for `atrest`, over HTTP.
#![deny(unsafe_code)]
#[cfg(feature = "aws")]
mod aws;
#[cfg(any(feature = "transit", feature = "aws"))]
mod cached;
mod directory;
#[cfg(any(feature = "transit", feature = "aws"))]
mod input;
#[cfg(feature = "transit")]
mod transit;
#[cfg(any(feature = "transit", feature = "aws"))]
mod trouble;
mod url;

#[cfg(feature = "aws")]
pub use atrest_http::aws::AccessKey;
pub use atrest_http::{Hidden, HttpOptions};
#[cfg(feature = "aws")]
pub use aws::{AwsCredentials, AwsKms, AwsOptions};
pub use directory::KmsVaults;
#[cfg(feature = "transit")]
pub use transit::{TransitAuth, TransitOptions, TransitVault};
pub use url::open;
