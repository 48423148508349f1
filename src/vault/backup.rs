//! Copies of a vault's files, and a look at one that is locked.

use std::fs::File;
use std::io;
use std::path::Path;

use super::file::VaultFile;
use super::format::Sealed;
use super::{FileVault, VaultProperties};
use crate::{Error, Result, fs};

impl FileVault {
    /// Copies the vault and its audit log to a new place, where they are a vault that the same passphrase or root key file
    /// opens. Changes by others wait meanwhile; uses of keys go on.
    ///
    /// The copy holds the keys of this moment: after a rotation it lacks the new version, so make another. Keep the root key
    /// file elsewhere, and copy it too. A leaked passphrase opens all copies that were made before it was changed.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let (path, copy) = (folder.path().join("keys.vault"), folder.path().join("copy.vault"));
    /// use atrest::vault::{FileVault, Unlock};
    ///
    /// let vault = FileVault::create(&path, Unlock::Passphrase(b"correct horse battery staple"))?;
    /// vault.create_key("disks")?;
    /// vault.backup(&copy)?;
    /// let copy = FileVault::open(&copy, Unlock::Passphrase(b"correct horse battery staple"))?;
    /// assert_eq!(copy.keys()?, vault.keys()?);
    /// # Ok::<(), atrest::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] if a vault, or a copy or log of one, has the new name; [`Error::NotFound`] for its folder;
    /// [`Error::DamagedVault`]; [`Error::Busy`]; [`Error::Io`]. On failure nothing is left there.
    pub fn backup(&self, to: impl AsRef<Path>) -> Result<()> {
        let store = &self.store;
        let _lock = store.file.lock()?;
        // Verify the text first: a copy of a damaged vault is no backup.
        let text = store.file.text()?;
        let sealed = Sealed::parse(&text).map_err(Error::DamagedVault)?;
        sealed.verify(&self.root())?;
        let copy = VaultFile::at(to.as_ref());
        copy.check_absent()?;
        let log = fs::beside(copy.path(), ".audit");
        // The log is copied after the vault: it then reaches as far as the vault says, or further.
        let logged = copy_log(&fs::beside(store.file.path(), ".audit"), &log)?;
        copy.create(&text).inspect_err(|_| {
            if logged {
                let _ = std::fs::remove_file(&log);
            }
        })
    }

    /// Reads the properties of a vault file without opening it. **Only a checksum protects them:** anyone who can write to the
    /// file can change them.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::NotAVault`]; [`Error::DamagedVault`]; [`Error::Io`].
    pub fn peek(path: impl AsRef<Path>) -> Result<VaultProperties> {
        let (sealed, _) = VaultFile::at(path.as_ref()).read()?;
        Ok(sealed.body.properties())
    }
}

/// Copies an audit log, if there is one. Returns whether there was.
fn copy_log(from: &Path, to: &Path) -> Result<bool> {
    let mut log = match fs::open(File::options().read(true), from, fs::Links::Refuse) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened.map_err(|e| fs::error_at(from, "audit log", "reading", e))?,
    };
    let mut copy = fs::create_new(to).map_err(|e| fs::error_at(to, "audit log", "making", e))?;
    let copied = io::copy(&mut log, &mut copy).and_then(|_| copy.sync_all()).and_then(|()| fs::sync(to));
    copied.map_err(|e| {
        let _ = std::fs::remove_file(to);
        Error::io(format!("copying the audit log to {}", to.display()), e)
    })?;
    Ok(true)
}
