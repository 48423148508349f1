//! A vault for [`atrest`] on key managers that speak KMIP, the protocol of OASIS for key management, over TLS with certificates on
//! both sides.
#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

mod answers;
mod client;
mod connection;
mod message;
mod object;
mod options;
mod proofs;
mod sealed;
mod tag;
mod trouble;
mod ttlv;
mod url;
mod vault;

pub use options::{KmipOptions, KmipVersion};
pub use url::open;
pub use vault::KmipVault;

/// The examples of the documentation compile.
#[cfg(doctest)]
mod guides {
    #[doc = include_str!("../../../docs/kms/kmip.md")]
    struct Guide;
}
