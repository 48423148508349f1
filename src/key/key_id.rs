//! [`KeyId`]: the name of one version of a key in a vault.

use core::fmt;

use crate::{Error, Result};

const MAX_VAULT_ID: usize = 512;
const MAX_KEY_NAME: usize = 127;

/// The name of one version of one key: `{vault}/keys/{key}/{version}`, its URL.
///
/// ```
/// use atrest::key::KeyId;
///
/// let id: KeyId = "https://contoso.vault.example/keys/disks/4f3a".parse()?;
/// assert_eq!((id.vault(), id.key(), id.version()), ("https://contoso.vault.example", "disks", "4f3a"));
/// assert_eq!(id.to_string(), "https://contoso.vault.example/keys/disks/4f3a");
/// # Ok::<(), atrest::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyId {
    vault: String,
    key: String,
    version: String,
}

impl KeyId {
    /// Puts a name together from its parts.
    ///
    /// # Errors
    /// [`Error::InvalidName`] unless `vault` is 1 to 512 visible ASCII characters, and `key` and `version` are 1 to 127
    /// of letters, digits, `-`, `_` and `.`, and neither `.` nor `..`.
    pub fn new(vault: &str, key: &str, version: &str) -> Result<Self> {
        Self::check_vault(vault)?;
        Self::check_name("key", key)?;
        Self::check_name("version", version)?;
        Ok(KeyId { vault: vault.into(), key: key.into(), version: version.into() })
    }

    /// The vault's own name.
    pub fn vault(&self) -> &str {
        &self.vault
    }

    /// The name of the key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The version of the key.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The output of `Display`, in one allocation.
    pub(crate) fn url(&self) -> String {
        [&self.vault, "/keys/", &self.key, "/", &self.version].concat()
    }

    pub(crate) fn check_vault(vault: &str) -> Result<()> {
        let sound = (1..=MAX_VAULT_ID).contains(&vault.len()) && vault.bytes().all(|b| b.is_ascii_graphic());
        let text = || format!("the name of a vault is 1 to {MAX_VAULT_ID} visible ASCII characters");
        sound.then_some(()).ok_or_else(|| Error::InvalidName(text()))
    }

    pub(crate) fn check_name(what: &str, name: &str) -> Result<()> {
        let sound = (1..=MAX_KEY_NAME).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
            // In a URL these two refer to other paths.
            && ![".", ".."].contains(&name);
        let text = || {
            format!(
                "a {what}'s name is 1 to {MAX_KEY_NAME} of letters, digits, '-', '_' and '.', not '.' or '..' alone"
            )
        };
        sound.then_some(()).ok_or_else(|| Error::InvalidName(text()))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/keys/{}/{}", self.vault, self.key, self.version)
    }
}

impl core::str::FromStr for KeyId {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        // The vault's name may itself hold '/keys/'; names of keys and versions hold no '/'.
        let split = url.rsplit_once('/').and_then(|(rest, version)| {
            let (rest, key) = rest.rsplit_once('/')?;
            Some((rest.strip_suffix("/keys")?, key, version))
        });
        let (vault, key, version) =
            split.ok_or_else(|| Error::InvalidName("a key's URL has the form VAULT/keys/KEY/VERSION".into()))?;
        KeyId::new(vault, key, version)
    }
}
