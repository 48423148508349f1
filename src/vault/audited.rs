//! The log of a vault: read, counted and archived.

use std::path::{Path, PathBuf};

use super::audit::{self, AuditHead, AuditLog, AuditRecord, Use};
use super::{FileVault, LONGEST_DEK};
#[cfg(doc)]
use crate::Error;
use crate::log::tell;
use crate::{KeyUsage, Result, fs};

impl FileVault {
    /// The log of every use of a key and every change of the vault, starting with the first. Each entry is verified: a
    /// changed, removed or moved line is an error. So is a missing end, up to the last change of the vault, the last
    /// entry of this handle, or a head that is [included](AuditLog::including). Only such a head reveals that an older
    /// log was put back together with an older vault file. An owner of the root key can write any log.
    ///
    /// # Errors
    /// [`Error::DamagedVault`]; [`Error::Io`].
    pub fn audit(&self) -> Result<AuditLog> {
        self.reload()?;
        self.store.audit.read(|| self.audit_record())
    }

    /// The current head of the audit log, to be kept elsewhere. It holds no secret.
    ///
    /// # Errors
    /// [`Error::DamagedVault`]; [`Error::Io`].
    pub fn audit_head(&self) -> Result<AuditHead> {
        self.reload()?;
        self.store.audit.head(|| self.audit_record())
    }

    /// The most that any one of its keys can have encrypted by wrapping. It counts each numbered use in the log as a
    /// wrap of a 64-byte DEK under that key. Wraps beyond [`KeyUsage::MAX`] fail with [`Error::KeyExhausted`]; a new
    /// vault starts at zero.
    ///
    /// # Errors
    /// As [`audit_head`](Self::audit_head).
    pub fn usage(&self) -> Result<KeyUsage> {
        Ok(KeyUsage::of_wraps(self.audit_head()?.seq(), LONGEST_DEK))
    }

    /// Moves the audit log, intact or damaged, into a file that must not exist yet, and begins a new log that continues
    /// from it. The last entry of the old log records this.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`]; [`Error::Io`]; the errors of writing the vault's file. On failure the log is unchanged
    /// and the new file doesn't exist.
    pub fn archive_audit(&self, to: impl AsRef<Path>) -> Result<()> {
        self.archive_from(0, |_| to.as_ref().to_owned()).map(drop)
    }

    /// Archives the log if it has at least `least` bytes, and returns whether it did. `name` gets the head of the log.
    fn archive_from(&self, least: u64, name: impl FnOnce(AuditHead) -> PathBuf) -> Result<bool> {
        let store = &self.store;
        let _lock = store.file.lock()?;
        let mut body = self.read_verified()?;
        let mut log = store.audit.begin(|| Ok(body.audit))?;
        // Another process may have archived it meanwhile.
        if log.len() < least {
            return Ok(false);
        }
        let to = name(log.head());
        let copy = fs::create_new(&to).map_err(|e| fs::error_at(&to, "audit log", "making", e))?;
        let archived = (|| {
            let used = Use { operation: audit::ARCHIVE, ..Use::default() };
            log.append(&used, audit::outcome(&Ok(())), self.now(), true)?;
            let put_aside = log.copy_to(&copy, &to).and_then(|record| {
                body.audit = record;
                body.count_change()?;
                self.replace(body)
            });
            put_aside.inspect_err(|_| log.has_failed(&used, self.now()))?;
            log.clear();
            Ok(true)
        })();
        // A partial copy would block the next attempt.
        archived.inspect_err(|_| drop(std::fs::remove_file(&to)))
    }

    /// Archives the log if it has grown beyond this handle's limit. A failure is only logged as a warning, because the use has been
    /// recorded and is to be answered.
    pub(super) fn rotate_audit(&self) {
        let Some(limit) = self.rotate_audit_at else { return };
        let (store, len) = (&self.store, self.store.audit.len());
        // If the lock is taken, another thread is archiving it.
        let Some(mut due) = store.rotation_due.try_lock().ok().filter(|due| len >= limit.max(**due)) else { return };
        let name = |head: AuditHead| fs::beside(self.path(), &format!(".audit.{:020}", head.seq()));
        match self.archive_from(limit, name) {
            Ok(_) => *due = 0,
            Err(e) => {
                // Don't try again at each use.
                *due = len + limit / 8;
                tell!(warn, "the audit log of the vault {} was not archived: {e:#}", self.path().display());
            }
        }
    }

    pub(super) fn audit_record(&self) -> Result<AuditRecord> {
        self.reload()?;
        Ok(self.body().audit)
    }
}
