//! The tags of a secret.

use std::collections::BTreeMap;

use atrest::key::{KeyId, WrapAlgorithm};
use atrest::{Error, Result};

use crate::object_url::kek_id;

pub(crate) const KEK_URL: &str = "DiskEncryptionKeyEncryptionKeyURL";
const ALGORITHM: &str = "DiskEncryptionKeyEncryptionAlgorithm";
pub(crate) const FILE: &str = "DiskEncryptionKeyFileName";
const MACHINE: &str = "MachineName";
const LETTER: &str = "VolumeLetter";
const LABEL: &str = "VolumeLabel";

/// The name of the file with the passphrase, as the extension for Linux has it. For a data disk, `_CONTROLLER_LUN` follows.
pub const FILE_NAME: &str = "LinuxPassPhraseFileName";

/// The key that wraps a passphrase or a startup key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Kek {
    /// The key's version.
    pub id: KeyId,
    /// `RSA-OAEP`, `RSA-OAEP-256` or `RSA1_5`.
    pub algorithm: WrapAlgorithm,
}

impl Kek {
    /// A key by its URL, `https://NAME.vault.azure.net/keys/KEY/VERSION`, and the name of its algorithm.
    ///
    /// # Errors
    /// [`Error::InvalidName`] for another form of the URL; [`Error::InvalidOption`] for another algorithm.
    pub fn new(url: &str, algorithm: &str) -> Result<Self> {
        let known = WrapAlgorithm::from_name(algorithm).filter(|algorithm| {
            [WrapAlgorithm::RsaOaep, WrapAlgorithm::RsaOaep256, WrapAlgorithm::Rsa15].contains(algorithm)
        });
        let why = || Error::InvalidOption("passphrases are wrapped by RSA-OAEP, RSA-OAEP-256 or RSA1_5".into());
        Ok(Kek { id: kek_id(url)?, algorithm: known.ok_or_else(why)? })
    }

    /// The tags that name it.
    pub(crate) fn tags(&self) -> [(String, String); 2] {
        [(KEK_URL.into(), self.id.to_string()), (ALGORITHM.into(), self.algorithm.name().into())]
    }
}

/// The tags of a secret, as the extension has the host set them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tags {
    /// `DiskEncryptionKeyEncryptionKeyURL` and `DiskEncryptionKeyEncryptionAlgorithm`; `None` if it isn't wrapped.
    pub kek: Option<Kek>,
    /// `DiskEncryptionKeyFileName`: of Linux see [`FILE_NAME`]; of Windows the name of the startup key's file, its identifier and `.BEK`.
    pub file_name: Option<String>,
    /// `MachineName`.
    pub machine_name: Option<String>,
    /// `VolumeLetter`, of Windows: `C:\`.
    pub volume_letter: Option<String>,
    /// `VolumeLabel`, of Windows.
    pub volume_label: Option<String>,
}

impl Tags {
    /// Tags for a new secret of a disk of Linux. Those of Windows begin with [`Tags::default`], and have no file name as yet.
    pub fn new(kek: Option<Kek>, file_name: &str, machine_name: &str) -> Self {
        Tags { kek, file_name: Some(file_name.into()), machine_name: Some(machine_name.into()), ..Tags::default() }
    }

    /// Reads the tags of a secret. If there is no algorithm, it is `RSA-OAEP`, the extension's own default. An algorithm
    /// without a key's URL is ignored: old versions of the extension set it for unwrapped passphrases too.
    ///
    /// # Errors
    /// As [`Kek::new`].
    pub fn read(tags: &BTreeMap<String, String>) -> Result<Self> {
        let get = |name: &str| tags.get(name).filter(|value| !value.is_empty()).cloned();
        let kek =
            get(KEK_URL).map(|url| Kek::new(&url, get(ALGORITHM).as_deref().unwrap_or("RSA-OAEP"))).transpose()?;
        Ok(Tags {
            kek,
            file_name: get(FILE),
            machine_name: get(MACHINE),
            volume_letter: get(LETTER),
            volume_label: get(LABEL),
        })
    }

    /// The tags for "Set Secret".
    pub fn to_map(&self) -> BTreeMap<String, String> {
        let others = [
            (FILE, &self.file_name),
            (MACHINE, &self.machine_name),
            (LETTER, &self.volume_letter),
            (LABEL, &self.volume_label),
        ];
        let others = others.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)));
        self.kek.iter().flat_map(Kek::tags).chain(others).collect()
    }
}

/// Whether the tags of a secret say that it holds a startup key.
pub(crate) fn of_startup_key(tags: &BTreeMap<String, String>) -> bool {
    tags.get(FILE).is_some_and(|name| name.to_ascii_uppercase().ends_with(".BEK"))
}
