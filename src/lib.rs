#![doc = include_str!("../docs/crate.md")]
#![cfg_attr(not(feature = "std"), no_std)]
#![deny(unsafe_code)]

pub mod approval;
mod arch;
pub mod cipher;
#[cfg(feature = "std")]
mod clock;
mod error;
#[cfg(feature = "std")]
pub mod file;
#[cfg(feature = "std")]
mod folder;
#[cfg(feature = "std")]
mod hash;
pub mod key;
mod latch;
#[cfg(feature = "std")]
pub mod luks;
#[cfg(feature = "managed")]
pub mod managed;
#[cfg(feature = "std")]
mod random;
#[cfg(feature = "std")]
mod secret;
mod usage;
#[cfg(feature = "std")]
pub mod volume;

pub use approval::{Approval, approved_only};
pub use cipher::{SectorCipher, SectorSize, SectorUnit, StreamCipher};
#[cfg(feature = "std")]
pub use clock::{Clock, ManualClock, SystemClock};
pub use error::{Error, Result};
#[cfg(feature = "std")]
pub use file::FilePrefix;
pub use key::self_test;
#[cfg(feature = "std")]
pub use key::{
    Credential, Dek, DekAlgorithm, EncryptionType, Envelope, FileVault, Fingerprint, KeyVault, Protector, hazmat,
};
#[cfg(feature = "std")]
pub use secret::{MemoryProtection, Secret, memory_protection, process_generation};
pub use usage::KeyUsage;
#[cfg(feature = "std")]
pub use volume::{BlockDevice, FileDevice, FormatOptions, MemoryDevice, OpenOptions, Volume};
