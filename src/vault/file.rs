//! The files of a vault: `NAME`, the copy `NAME.bak`, and `NAME.lock`.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::format::Sealed;
use super::held::{Attributes, Stamp};
use crate::fs::{self, Links, NewFile, beside, read_bounded, read_open};
use crate::key::{HashAlgorithm, self_test};
use crate::{Error, Result};

const MAX_FILE: u64 = 64 << 20;
/// The name of the file in errors.
const VAULT: &str = "vault file";
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct VaultFile {
    path: PathBuf,
}

impl VaultFile {
    /// The files at a path. Links are resolved once, here. Otherwise replacing the file would replace the link, and a
    /// user of the link would take another lock.
    pub(super) fn at(path: &Path) -> Self {
        let through_folder = || Some(std::fs::canonicalize(fs::parent(path)).ok()?.join(path.file_name()?));
        let real = std::fs::canonicalize(path).ok().or_else(through_folder);
        VaultFile { path: real.unwrap_or_else(|| path.to_owned()) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the writers' lock. It is a file of its own, because the vault's file gets replaced.
    pub(super) fn lock(&self) -> Result<File> {
        let path = beside(&self.path, ".lock");
        let file =
            fs::open_or_create(&path, Links::Refuse).map_err(|e| fs::error_at(&path, "lock file", "opening", e))?;
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if start.elapsed() < LOCK_PATIENCE => sleep(Duration::from_millis(5)),
                Err(TryLockError::WouldBlock) => return Err(Error::Busy { what: self.path.display().to_string() }),
                Err(TryLockError::Error(e)) => return Err(Error::io(format!("locking {}", path.display()), e)),
            }
        }
    }

    /// Checks that there is no vault to overwrite. A copy without its vault may hold the only remaining keys.
    pub(super) fn check_absent(&self) -> Result<()> {
        for path in [self.path.clone(), beside(&self.path, ".bak"), beside(&self.path, ".audit")] {
            match std::fs::symlink_metadata(&path) {
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(Error::io(format!("looking for {}", path.display()), e)),
                Ok(_) => return Err(Error::AlreadyExists { what: VAULT, path }),
            }
        }
        Ok(())
    }

    pub(super) fn exists(&self) -> bool {
        std::fs::symlink_metadata(&self.path).is_ok()
    }

    /// Whether there is a copy, which may be the last remains of a vault.
    pub(super) fn has_copy(&self) -> bool {
        std::fs::symlink_metadata(beside(&self.path, ".bak")).is_ok()
    }

    /// The bytes of the file.
    pub(super) fn text(&self) -> Result<Vec<u8>> {
        read_bounded(&self.path, MAX_FILE).map_err(|e| fs::error_at(&self.path, VAULT, "reading the vault", e))
    }

    /// Reads the file. The stamp later shows whether the file is still the same; `None` if it was written to just now.
    pub(super) fn read(&self) -> Result<(Sealed, Option<Stamp>)> {
        // Test the hash of the checksum: a process that computes wrongly must not report a file as damaged.
        self_test::hash(HashAlgorithm::Sha256)?;
        let copy = beside(&self.path, ".bak");
        let intact = || read_bounded(&copy, MAX_FILE).is_ok_and(|text| Sealed::parse(&text).is_ok());
        let damaged = |what: &str, hint: &str| {
            Error::DamagedVault(format!("{}: {what}; the copy {}: {hint}", self.path.display(), copy.display()))
        };
        let read = || {
            let (file, found) = fs::open_found(OpenOptions::new().read(true), &self.path, Links::Refuse)?;
            let before = Attributes::of(&found);
            // Ask before the first byte is read: the time of change then reveals a later write.
            let settled = before.is_some_and(|before| before.is_settled());
            let text = read_open(&file, MAX_FILE)?;
            let after = Attributes::of(&file.metadata()?);
            Ok((Stamp::new(before, after, &text, settled), text))
        };
        let (stamp, text) = read().map_err(|e: io::Error| match e.kind() {
            ErrorKind::NotFound if intact() => damaged("it is missing", "put it in place of the missing file"),
            _ => fs::error_at(&self.path, VAULT, "reading the vault", e),
        })?;
        // If a vault was here, its file is damaged.
        let was_vault = || [".bak", ".lock", ".audit"].iter().any(|suffix| beside(&self.path, suffix).exists());
        if !Sealed::is_named(&text) && !was_vault() {
            return Err(Error::NotAVault { path: self.path.clone() });
        }
        let sealed = Sealed::parse(&text).map_err(|what| {
            damaged(
                &what,
                if intact() { "put it in place of the damaged file" } else { "it is damaged too, or missing" },
            )
        })?;
        Ok((sealed, stamp))
    }

    /// Writes the file and its copy for the first time. The lock must be held.
    pub(super) fn create(&self, text: &[u8]) -> Result<()> {
        self.replace(text).inspect_err(|_| {
            // Neither file existed before, and one alone would block the next attempt.
            let _ = std::fs::remove_file(&self.path);
            let _ = std::fs::remove_file(beside(&self.path, ".bak"));
        })
    }

    /// Replaces the copy, then the file. Each is whole, old or new, at every instant. In this order the copy is never
    /// older than the file in use. Both are written before either is replaced, so a full disk changes nothing. The lock
    /// must be held.
    pub(super) fn replace(&self, text: &[u8]) -> Result<()> {
        if text.len() as u64 > MAX_FILE {
            return Err(Error::Vault(format!("its file would have more than {MAX_FILE} bytes").into()));
        }
        let copy = beside(&self.path, ".bak");
        let replaced = (|| {
            let copy = NewFile::write(&copy, text)?;
            let file = NewFile::write(&self.path, text)?;
            copy.put_in_place()?;
            file.put_in_place()
        })();
        replaced.map_err(|e| self.failed("writing", e))
    }

    fn failed(&self, what: &str, e: io::Error) -> Error {
        Error::io(format!("{what} the vault {}", self.path.display()), e)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::{FileVault, KdfCost, Unlock};

    #[test]
    fn a_new_vault_spares_the_copy_of_a_lost_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.vault");
        let cost = KdfCost { memory_kib: 64, passes: 1, lanes: 1 };
        let create = || FileVault::create_with_cost(&path, Unlock::Passphrase(b"correct horse"), cost);
        drop(create().unwrap());
        let exists = |result| matches!(result, Err(Error::AlreadyExists { .. }));
        assert!(exists(create()));
        std::fs::remove_file(&path).unwrap();
        assert!(exists(create()));
        std::fs::rename(beside(&path, ".bak"), &path).unwrap();
        FileVault::open(&path, Unlock::Passphrase(b"correct horse")).unwrap();
    }
}
