//! The commands, one file a subject.

pub mod about;
#[cfg(feature = "kms")]
pub mod add_secret;
pub mod audit;
pub mod bench;
pub mod decrypt;
pub mod dump;
pub mod encrypt;
pub mod fleet;
pub mod format;
pub mod grant;
pub mod header;
pub mod in_place;
pub mod info;
pub mod key;
#[cfg(feature = "mount")]
pub mod mount;
pub mod protector;
#[cfg(feature = "kms")]
pub mod replace_secret;
pub mod rotate;
pub mod secret;
pub mod serve;
#[cfg(feature = "kms")]
pub mod take_over;
pub mod vault;
