//! Vault files.

use std::path::Path;

use atrest::vault::{FileVault, Unlock};
use atrest::{Error, Result};

use crate::{VaultOptions, secret};

/// Opens the vault file of `file:PATH[?key-file=PATH]` by its owner's handle. An empty authority may stand before the path (RFC 8089).
///
/// # Errors
/// [`Error::InvalidOption`] for another URL, and for a passphrase that is missing; otherwise as [`FileVault::open`].
pub fn open_file(url: &str, options: &VaultOptions) -> Result<FileVault> {
    let other = || Error::InvalidOption("a vault file's URL is file:PATH[?key-file=PATH]".into());
    let rest = url.strip_prefix("file:").ok_or_else(other)?;
    let (path, query) = rest.rsplit_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
    let path = match path.strip_prefix("//") {
        Some(absolute) if absolute.starts_with('/') => absolute,
        Some(_) => {
            return Err(Error::InvalidOption("a vault on another host can't be opened: write file:/PATH".into()));
        }
        None => path,
    };
    let key_file = match query {
        None => None,
        Some(query) => {
            let file = query.strip_prefix("key-file=").filter(|file| !file.is_empty() && !file.contains('&'));
            // Not the query: it may contain a passphrase.
            let why = || Error::InvalidOption("the only part of file: behind the path is key-file=PATH".into());
            Some(file.ok_or_else(why)?)
        }
    };
    if let Some(file) = key_file {
        return FileVault::open(path, Unlock::KeyFile(Path::new(file)));
    }
    let missing = || {
        let text =
            "a vault file opens by key-file=PATH, or by a passphrase that the program gives as ATREST_PASSPHRASE";
        Error::InvalidOption(text.into())
    };
    let passphrase = secret(options, "ATREST_PASSPHRASE")?.ok_or_else(missing)?;
    FileVault::open(path, Unlock::Passphrase(passphrase.expose()))
}
