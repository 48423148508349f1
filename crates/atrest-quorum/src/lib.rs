//! A vault for `atrest` made of several: any *m* of *n* vaults together unwrap a DEK, and fewer than *m* learn nothing about it.
//!
//! ```
//! use std::sync::Arc;
//! use atrest::vault::{FileVault, Unlock};
//! use atrest::{Credential, FormatOptions, KeyVault, MemoryDevice, OpenOptions, Protector, Volume};
//! use atrest_quorum::{Member, Quorum};
//! # let folder = tempfile::tempdir()?;
//! # let make = |name: &str| -> atrest::Result<Arc<dyn KeyVault>> {
//! #     let key_file = folder.path().join(format!("{name}.key"));
//! #     FileVault::generate_key_file(&key_file)?;
//! #     let vault = FileVault::create(folder.path().join(name), Unlock::KeyFile(&key_file))?;
//! #     vault.create_key("disks")?;
//! #     Ok(Arc::new(vault))
//! # };
//!
//! // Any vaults: key services, tokens, vault files. Each has a key "disks".
//! let [legal, security, operations] = [make("legal")?, make("security")?, make("operations")?];
//! let members = [legal, security, operations].map(Member::new);
//! let quorum = Quorum::new("quorum:board", 2, members)?;
//!
//! let device = MemoryDevice::new(20 << 20);
//! let volume = Volume::format(device, Protector::Vault(&quorum, "disks"), &FormatOptions::new())?;
//! let volume = Volume::open(volume.into_device(), Credential::Vault(&quorum), &OpenOptions::new())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What holds
//!
//! | | |
//! |---|---|
//! | the split | Shamir's, over GF(256), of a random key of 32 bytes for each wrap; that key wraps the DEK by AES-256 (RFC 5649) |
//! | *m* of *n* | 2 to *n* of at most 16. Stored bytes can't lower *m*: fewer than [`Quorum`] was made with are refused |
//! | one volume's parts | open no other: all of it is bound together, and by the volume's or envelope's own MAC to the place it is stored in |
//! | to wrap | all vaults have to answer. Each part is unwrapped once as a check |
//! | to unwrap | *m* vaults, asked at the same time; if some fail, the next ones. One that failed isn't asked for a while |
//! | a wrong part | is detected, so that a vault that lies or was replaced costs no more than one that is down |
//! | refusals | when so many vaults refuse that *m* can't be reached any more, it is [`Error::KeyRefused`](atrest::Error); while it could still be reached, missing answers are an outage, [`Error::Vault`](atrest::Error) |
//! | rotation | a new version of any member's key is a new version of the quorum's key |
//! | secrets | the parts and keys are wiped |
#![deny(unsafe_code)]
mod bundle;
mod quorum;
mod self_test;
mod split;
mod version;

pub use quorum::{Member, Quorum};
pub use self_test::self_test;

#[cfg(doctest)]
mod documents {
    //! The examples of the documentation.
    #[doc = include_str!("../../../docs/kms/quorum.md")]
    struct Several;
    #[doc = include_str!("../README.md")]
    struct Readme;
}
