#![doc = include_str!("../docs/crate.md")]
#![cfg_attr(not(feature = "std"), no_std)]
#![deny(unsafe_code)]
// The documentation on docs.rs shows the feature that each item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod approval;
mod arch;
pub mod cipher;
#[cfg(feature = "std")]
mod clock;
mod error;
#[cfg(feature = "std")]
pub mod file_prefix;
#[cfg(feature = "std")]
mod fs;
#[cfg(feature = "std")]
mod hash;
pub mod key;
mod latch;
#[cfg(feature = "std")]
mod log;
#[cfg(feature = "managed")]
pub mod managed;
#[cfg(feature = "std")]
mod memory;
#[cfg(feature = "std")]
mod ondisk;
#[cfg(feature = "std")]
mod random;
mod usage;
#[cfg(feature = "std")]
pub mod vault;
#[cfg(feature = "std")]
pub mod volume;
#[cfg(feature = "std")]
mod zeros;

pub use approval::{Approval, approved_only};
pub use cipher::{SectorCipher, SectorSize, SectorUnit, StreamCipher};
#[cfg(feature = "std")]
pub use clock::{Clock, ManualClock, SystemClock};
pub use error::{Error, Result};
#[cfg(feature = "std")]
pub use error::{KeyRefusal, TooSmall, VaultFailure};
#[cfg(feature = "std")]
pub use file_prefix::FilePrefix;
pub use key::self_test;
#[cfg(feature = "std")]
pub use key::{Credential, Dek, DekAlgorithm, EncryptionType, Envelope, Fingerprint, KeyVault, Protector, hazmat};
#[cfg(feature = "std")]
pub use latch::SelfTest;
#[cfg(feature = "std")]
pub use memory::{MemoryProtection, NotInherited, OwningProcess, Secret, memory_protection, process_generation};
/// The bytes of LUKS headers, for the tests and fuzzers of this project. It may change in any release.
#[cfg(feature = "std")]
#[doc(hidden)]
pub use ondisk::luks;
pub use usage::KeyUsage;
#[cfg(feature = "std")]
pub use vault::FileVault;
#[cfg(feature = "std")]
pub use volume::{BlockDevice, FileDevice, FormatOptions, MemoryDevice, OpenOptions, Volume};

/// The examples of the guides, which are compiled and run as tests.
#[cfg(all(doctest, feature = "std"))]
mod guides {
    #[doc = include_str!("../docs/migrate.md")]
    mod migrate {}
    #[doc = include_str!("../docs/kms.md")]
    mod kms {}
    #[cfg(feature = "managed")]
    #[doc = include_str!("../docs/managed.md")]
    mod managed {}
    #[doc = include_str!("../docs/integrate/async.md")]
    mod async_code {}
    #[doc = include_str!("../docs/integrate/block.md")]
    mod block {}
    #[doc = include_str!("../docs/integrate/btree.md")]
    mod btree {}
    #[doc = include_str!("../docs/integrate/hypervisor.md")]
    mod hypervisor {}
    #[doc = include_str!("../docs/integrate/linux.md")]
    mod linux {}
    #[doc = include_str!("../docs/integrate/lsm.md")]
    mod lsm {}
    #[doc = include_str!("../docs/integrate/object.md")]
    mod object {}
}
