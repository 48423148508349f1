//! A vault for [`atrest`] on PKCS#11 tokens: HSMs, smart cards, SoftHSM, NSS.
#![doc = include_str!("../README.md")]

mod fault;
mod functions;
mod keys;
mod module;
mod options;
mod pin;
mod session;
mod token;
mod uri;
mod vault;
mod verdict;
mod wrap;
mod wrapped;

pub use options::Pkcs11Options;
pub use pin::Pin;
pub use uri::{Pkcs11Uri, open};
pub use vault::Pkcs11Vault;

/// The examples of the documentation compile.
#[cfg(doctest)]
mod guides {
    #[doc = include_str!("../../../docs/kms/pkcs11.md")]
    struct Guide;
}
