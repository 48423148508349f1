//! Key services for `atrest`, over HTTP: the transit engine of HashiCorp Vault and OpenBao, AWS KMS, Azure Key Vault and
//! Google Cloud KMS.
//!
//! A DEK is wrapped and unwrapped by the service. Its keys never leave it. There is no daemon, no SDK and no asynchronous runtime:
//! calls block, and end at a deadline, 20 s by default.
//!
//! | feature | vault | tried on |
//! |---|---|---|
//! | `transit` | `TransitVault` | OpenBao 2.7 |
//! | `aws` | `AwsKms` | moto 5.2, an emulator; **not on the real service** |
//! | `azure` | `AzureKeyVault` | a fake from the documentation; **not on the real service** |
//! | `gcp` | `GcpKms` | a fake from the documentation; **not on the real service** |
//!
//! ```no_run
//! use atrest::{Credential, FileDevice, FormatOptions, OpenOptions, Protector, Volume};
//!
//! // Logs in by VAULT_TOKEN; such as awskms://eu-central-1 for another one.
//! let vault = atrest_kms::open("vault+https://vault.example:8200/transit")?;
//! let device = FileDevice::open("disk.img")?;
//! let volume = Volume::format(device, Protector::Vault(&*vault, "disks"), &FormatOptions::new())?;
//! volume.write_at(0, &[7; 4096])?;
//! # Ok::<(), atrest::Error>(())
//! ```
//!
//! # What holds
//!
//! | | |
//! |---|---|
//! | refusals | a key that is missing, disabled or deleted, and a caller that may not use it, are [`Error::KeyRefused`](atrest::Error): only the service's own words count, in its own form |
//! | outages | all other failures are [`Error::Vault`](atrest::Error): no answer, TLS, 429, 5xx, a sealed server, redirects, malformed answers |
//! | retries | for transient failures, until the deadline, within a budget; a `Retry-After` beyond the deadline ends the call at once |
//! | a time-out | unknown, and harmless: wrapping and unwrapping change nothing |
//! | altered bytes | [`Error::UnwrapFailed`](atrest::Error), and not an outage |
//! | answers | at most 1 MiB; an answer that names another key yields no DEK |
//! | secrets | tokens, keys and DEKs are wiped after use where this crate holds them, and appear in no `Debug` and no error. Buffers of TLS and HTTP below it aren't wiped |
#![deny(unsafe_code)]
#[cfg(feature = "aws")]
mod aws;
#[cfg(feature = "azure")]
mod azure;
#[cfg(any(feature = "azure", feature = "gcp"))]
mod bearer;
#[cfg(feature = "gcp")]
mod gcp;
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp", feature = "transit"))]
mod input;
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp", feature = "transit"))]
mod query;
#[cfg(feature = "transit")]
mod transit;
#[cfg(any(feature = "aws", feature = "azure", feature = "gcp", feature = "transit"))]
mod trouble;
mod url;
mod url_options;

#[cfg(feature = "aws")]
pub use atrest_http::aws::AccessKey;
pub use atrest_http::{Environment, Hidden, HttpOptions};
#[cfg(feature = "azure")]
pub use atrest_oauth::AzureIdentity;
#[cfg(feature = "gcp")]
pub use atrest_oauth::GoogleIdentity;
#[cfg(feature = "aws")]
pub use aws::{AwsCredentials, AwsKms, AwsOptions};
#[cfg(feature = "azure")]
pub use azure::{AzureKeyVault, AzureOptions, AzureSecret, AzureSecrets};
#[cfg(feature = "gcp")]
pub use gcp::{GcpKms, GcpOptions};
#[cfg(feature = "transit")]
pub use transit::{TransitAuth, TransitOptions, TransitVault};
pub use url::{open, open_with};
pub use url_options::UrlOptions;

#[cfg(doctest)]
mod documents {
    //! The examples of the documentation.
    #[cfg(feature = "aws")]
    #[doc = include_str!("../../../docs/kms/aws.md")]
    struct Aws;
    #[cfg(feature = "azure")]
    #[doc = include_str!("../../../docs/kms/azure.md")]
    struct Azure;
    #[cfg(feature = "gcp")]
    #[doc = include_str!("../../../docs/kms/gcp.md")]
    struct Gcp;
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[cfg(feature = "transit")]
    #[doc = include_str!("../../../docs/kms/transit.md")]
    struct Transit;
}
