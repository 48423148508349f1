//! What protects a volume, held while it is made or changed.

use std::path::PathBuf;
use std::sync::Arc;

use atrest::{Credential, KeyVault, Protector, Secret};

/// What protects a volume, held.
pub enum Guard {
    Vault(Arc<dyn KeyVault>, String),
    Passphrase(Secret),
    KeyFile(PathBuf),
    #[cfg(feature = "bitlocker")]
    RecoveryPassword(zeroize::Zeroizing<String>),
    #[cfg(feature = "bitlocker")]
    StartupKey(PathBuf),
}

impl Guard {
    pub fn protector(&self) -> Protector<'_> {
        match self {
            Guard::Vault(vault, key) => Protector::Vault(&**vault, key),
            Guard::Passphrase(secret) => Protector::Passphrase(secret.expose()),
            Guard::KeyFile(path) => Protector::KeyFile(path),
            #[cfg(feature = "bitlocker")]
            Guard::RecoveryPassword(text) => Protector::RecoveryPassword(text),
            #[cfg(feature = "bitlocker")]
            Guard::StartupKey(path) => Protector::StartupKey(path),
        }
    }

    /// The other half: what opens a volume that this protects.
    pub fn credential(&self) -> Credential<'_> {
        match self {
            Guard::Vault(vault, _) => Credential::Vault(&**vault),
            Guard::Passphrase(secret) => Credential::Passphrase(secret.expose()),
            Guard::KeyFile(path) => Credential::KeyFile(path),
            #[cfg(feature = "bitlocker")]
            Guard::RecoveryPassword(text) => Credential::RecoveryPassword(text),
            #[cfg(feature = "bitlocker")]
            Guard::StartupKey(path) => Credential::StartupKey(path),
        }
    }
}

/// All that protects a new volume, the first way in first.
#[derive(Default)]
pub struct Guards {
    all: Vec<Guard>,
    /// The files that were made for it.
    files: Vec<PathBuf>,
}

impl Guards {
    pub fn one(guard: Guard) -> Self {
        Guards { all: vec![guard], files: Vec::new() }
    }

    #[cfg(feature = "bitlocker")]
    pub fn add(&mut self, guard: Guard) {
        self.all.push(guard);
    }

    /// A way in whose file was made just now.
    #[cfg(feature = "bitlocker")]
    pub fn add_made(&mut self, path: &std::path::Path, guard: Guard) {
        self.files.push(path.to_owned());
        self.all.push(guard);
    }

    #[cfg(feature = "bitlocker")]
    pub fn pop(&mut self) -> Option<Guard> {
        self.all.pop()
    }

    /// There is always one.
    pub fn first(&self) -> &Guard {
        &self.all[0]
    }

    pub fn others(&self) -> &[Guard] {
        &self.all[1..]
    }

    /// Removes the files that were made, while there is no volume.
    pub fn forget(&self) {
        for path in &self.files {
            let _ = std::fs::remove_file(path);
        }
    }
}
