//! BitLocker on disk, as bytes only: parse, validate, serialise. No files, no devices, no policy.
//!
//! Microsoft has published only the Elephant diffuser. The sources are the analyses of others, above all the BDE format
//! specification of libbde, and images made by Windows Vista to 11.
//!
//! A volume begins with a boot sector that names three places. Each has a copy of the metadata: a [`Block`]. It holds the
//! volume's key, sealed under a master key; and the master key, sealed once for each protector.

mod block;
mod boot;
mod bytes;
mod chunks;
mod draft;
mod entry;
mod external_key;
mod guid;
mod protector;
mod recovery;
mod sealed;
mod stretch;

pub(crate) use block::{AREA, Block, Integrity, Method, State, VOID};
pub(crate) use boot::{BootSector, Generation};
pub(crate) use chunks::{Bitmap, Information, MAX_BITMAP, MAX_INFORMATION};
pub(crate) use draft::{Draft, NewProtector, NewVolume};
pub(crate) use external_key::{ExternalKey, MAX_FILE};
pub(crate) use protector::{Kind, Protector};
pub(crate) use recovery::RecoveryPassword;
pub(crate) use sealed::Sealed;
pub(crate) use stretch::{ITERATIONS, Stretch, of_password};

use crate::Error;

/// Why bytes are refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Defect {
    /// They break the format; the text says how.
    Invalid(String),
    /// They need a feature that this library doesn't have.
    Unsupported(String),
}

impl From<Defect> for Error {
    fn from(defect: Defect) -> Self {
        match defect {
            Defect::Invalid(text) => Error::InvalidHeader(format!("BitLocker: {text}")),
            Defect::Unsupported(text) => Error::UnsupportedHeader(format!("BitLocker: {text}")),
        }
    }
}

impl From<String> for Defect {
    fn from(text: String) -> Self {
        Defect::Invalid(text)
    }
}
