//! Keys: data keys ([`Dek`]), the trait of vaults that hold the keys to wrap them ([`KeyVault`]), and the record of a
//! wrapped data key ([`Envelope`]). This crate's own vault is [`vault`](crate::vault).
//!
//! A DEK encrypts sectors; a KEK encrypts DEKs and never leaves its vault. The wrapped DEK is stored next to the data,
//! with the name of the KEK that opens it.

#[cfg(feature = "bitlocker")]
pub(crate) mod aes_ccm;
mod aes_kw;
#[cfg(feature = "std")]
mod any_vault;
#[cfg(feature = "std")]
mod credential;
#[cfg(feature = "std")]
mod dek;
#[cfg(feature = "std")]
mod dek_algorithm;
#[cfg(feature = "std")]
mod description;
#[cfg(feature = "std")]
mod envelope;
#[cfg(feature = "std")]
mod fingerprint;
#[cfg(feature = "std")]
pub mod hazmat;
#[cfg(feature = "std")]
mod hmac;
#[cfg(feature = "std")]
mod kdf;
#[cfg(feature = "std")]
mod key_id;
#[cfg(feature = "std")]
mod key_vault;
#[cfg(all(test, feature = "std"))]
#[path = "../../tests/common/peers.rs"]
pub(crate) mod peers; // for unit tests, of the layers above too
pub(crate) mod self_test;
#[cfg(feature = "std")]
mod sha256;
#[cfg(all(test, feature = "std"))]
#[path = "../../tests/common/spoilt.rs"]
pub(crate) mod spoilt;
pub mod wrap;

#[cfg(feature = "std")]
pub use crate::hash::HashAlgorithm;
#[cfg(feature = "std")]
pub(crate) use crate::hash::WithHash;
#[cfg(feature = "std")]
pub use any_vault::AnyVault;
#[cfg(feature = "std")]
pub(crate) use credential::Passphrase;
#[cfg(feature = "std")]
pub use credential::{Credential, MAX_PASSPHRASE, Protector};
#[cfg(feature = "std")]
pub use dek::Dek;
#[cfg(feature = "std")]
pub use dek_algorithm::DekAlgorithm;
#[cfg(feature = "std")]
pub use description::{KeyDescription, KeyKind};
#[cfg(feature = "std")]
pub use envelope::Envelope;
#[cfg(feature = "std")]
pub(crate) use envelope::check_context;
#[cfg(feature = "std")]
pub use fingerprint::Fingerprint;
#[cfg(feature = "std")]
pub use hmac::{HmacSha256, hkdf_sha256};
#[cfg(feature = "std")]
pub(crate) use kdf::too_long;
#[cfg(feature = "std")]
pub use kdf::{Kdf, KdfKind, KdfLimits};
#[cfg(feature = "std")]
pub use key_id::KeyId;
#[cfg(feature = "std")]
pub use key_vault::{EncryptionType, KeyVault, WrappedDek};
pub use self_test::self_test;
#[cfg(feature = "std")]
pub use sha256::{sha256, sha256_secret};
pub use wrap::WrapAlgorithm;

/// The longest context that an envelope or a volume can be bound to, in bytes.
pub const MAX_CONTEXT: usize = 1024;

/// The longest wrapped DEK in bytes. It has room for RSA-4096, for the records of other vaults, and for those of several vaults
/// together.
pub const MAX_WRAPPED: usize = 1792;
