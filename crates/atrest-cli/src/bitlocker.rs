//! New ways into a BitLocker volume that no other format has: startup keys and recovery passwords.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use atrest::volume::{RecoveryPassword, StartupKey};
use clap::Args;
use zeroize::Zeroizing;

use crate::failure::{About, Failure, Result};
use crate::guard::{Guard, Guards};
use crate::partial::sync_folder;
use crate::secrets::{self, Source};

/// New ways into a BitLocker volume.
#[derive(Debug, Args)]
pub struct NewBitLockerArgs {
    /// BitLocker: makes a startup key (.BEK), and writes it to this file, or into this folder by the name that Windows looks for
    #[arg(long, value_name = "FILE")]
    new_startup_key: Option<PathBuf>,
    /// BitLocker: makes a recovery password, and writes it to this file, which must not be there
    #[arg(long, value_name = "FILE")]
    new_recovery_password: Option<PathBuf>,
    /// BitLocker: where the new recovery password comes from, as --passphrase-from
    #[arg(long, value_name = "SOURCE", value_parser = secrets::parse, conflicts_with = "new_recovery_password")]
    new_recovery_password_from: Option<Source>,
}

impl NewBitLockerArgs {
    pub fn is_given(&self) -> bool {
        self.new_startup_key.is_some()
            || self.new_recovery_password.is_some()
            || self.new_recovery_password_from.is_some()
    }

    /// The one way in that was asked for. Its file is there before anything depends on it.
    pub fn guards(&self, other: bool) -> Result<Guards> {
        let is_recovery = self.new_recovery_password.is_some() || self.new_recovery_password_from.is_some();
        if other || self.new_startup_key.is_some() == is_recovery {
            return Err(Failure::usage("give one new way into the volume, not several"));
        }
        let mut guards = Guards::default();
        self.add_to(&mut guards)?;
        Ok(guards)
    }

    /// Adds all that was asked for.
    pub fn add_to(&self, guards: &mut Guards) -> Result<()> {
        if let Some(source) = &self.new_recovery_password_from {
            let secret = source.read("new recovery password", true)?;
            let text = std::str::from_utf8(secret.expose());
            let text = text.map_err(|_| Failure::usage("a recovery password is digits and dashes"))?;
            // Before there is a volume, whose second way in this may be.
            let password = RecoveryPassword::parse(text)?;
            guards.add(Guard::RecoveryPassword(Zeroizing::new(password.expose().to_owned())));
        }
        if let Some(path) = &self.new_recovery_password {
            let password = RecoveryPassword::generate()?;
            let guard = Guard::RecoveryPassword(Zeroizing::new(password.expose().to_owned()));
            guards.add_made(path.clone(), guard, || write_new(path, password.expose()))?;
        }
        if let Some(path) = &self.new_startup_key {
            let key = StartupKey::generate()?;
            let path = if path.is_dir() { path.join(key.file_name()) } else { path.clone() };
            guards.add_made(path.clone(), Guard::StartupKey(path.clone()), || {
                key.write(&path)?;
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// Writes a secret to a new file for this user alone, to the disk.
fn write_new(path: &Path, text: &str) -> Result<()> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(|e| {
        let failure = match e.kind() {
            ErrorKind::AlreadyExists => Failure::refused("it is there already, and stays as it is; name another file"),
            _ => e.into(),
        };
        failure.about(path.display())
    })?;
    let mut write = || -> io::Result<()> {
        writeln!(file, "{text}")?;
        file.sync_all()?;
        sync_folder(path)
    };
    write().inspect_err(|_| drop(fs::remove_file(path))).about(path.display())
}
