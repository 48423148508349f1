//! Protectors of a volume, held while it is made or changed.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;

use atrest::{Credential, KeyVault, Protector, Secret};

use crate::failure::Result;
#[cfg(feature = "bitlocker")]
use crate::stop;
use crate::stop::OnStop;

/// An owned protector of a volume.
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

    /// The credential that opens a volume that this protects.
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

/// All protectors of a new volume, the first way in first.
#[derive(Default)]
pub struct Guards {
    all: Vec<Guard>,
    /// The files that were made for it, while nothing depends on them. They go with this.
    files: RefCell<Vec<PathBuf>>,
    /// The same, for a signal.
    on_stop: RefCell<Vec<OnStop>>,
}

impl Drop for Guards {
    fn drop(&mut self) {
        for path in self.files.take() {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Guards {
    pub fn one(guard: Guard) -> Self {
        Guards { all: vec![guard], files: RefCell::default(), on_stop: RefCell::default() }
    }

    #[cfg(feature = "bitlocker")]
    pub fn add(&mut self, guard: Guard) {
        self.all.push(guard);
    }

    /// A way in with a file, which `make` makes now.
    #[cfg(feature = "bitlocker")]
    pub fn add_made(&mut self, path: PathBuf, guard: Guard, make: impl FnOnce() -> Result<()>) -> Result<()> {
        let of_signal = path.clone();
        let (made, on_stop) = stop::making(make, move || drop(std::fs::remove_file(of_signal)));
        made?;
        self.on_stop.get_mut().extend(on_stop);
        self.files.get_mut().push(path);
        self.all.push(guard);
        Ok(())
    }

    /// There is always one.
    pub fn first(&self) -> &Guard {
        &self.all[0]
    }

    pub fn others(&self) -> &[Guard] {
        &self.all[1..]
    }

    /// Runs `make`, whose result depends on the files. They stay from here on, unless `make` fails and `is_made` denies that
    /// the result is there. No signal removes them meanwhile.
    pub fn protecting<T>(
        &self,
        make: impl FnOnce() -> Result<T, atrest::Error>,
        is_made: impl FnOnce(&atrest::Error) -> bool,
    ) -> Result<T, atrest::Error> {
        drop(self.on_stop.take());
        let made = make();
        let keep = match &made {
            Ok(_) => true,
            Err(e) => is_made(e),
        };
        if keep {
            drop(self.files.take());
        }
        made
    }
}
