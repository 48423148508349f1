//! Credentials for volumes, and protectors for new ones, from the arguments.

use std::path::PathBuf;
use std::sync::Arc;

use atrest::key::{HashAlgorithm, Kdf, KdfKind};
use atrest::volume::KeyslotOptions;
use atrest::{Credential, Dek, KeyVault, Secret, hazmat};
#[cfg(feature = "kms")]
use atrest_ade::DiskCredential;
use clap::{Args, ValueEnum};

#[cfg(feature = "kms")]
use crate::ade::AdeArgs;
#[cfg(feature = "bitlocker")]
use crate::bitlocker::NewBitLockerArgs;
use crate::failure::{Failure, Result};
use crate::guard::{Guard, Guards};
use crate::secrets::{self, Source};
use crate::vaults::{UnlockVault, VaultArgs, only_key, open_as};

/// The credential for a volume. Without one, the terminal is asked for the passphrase.
#[derive(Debug, Args)]
#[command(next_help_heading = "What opens the volume")]
pub struct CredentialArgs {
    #[command(flatten)]
    pub vault: VaultArgs,
    /// A key file: every byte of it is the passphrase
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Where the passphrase comes from: file:PATH, fd:NUMBER, command:COMMAND or prompt
    #[arg(long, value_name = "SOURCE", value_parser = secrets::parse)]
    passphrase_from: Option<Source>,
    /// A file with the data key itself
    #[arg(long, value_name = "FILE")]
    dek_file: Option<PathBuf>,
    #[cfg(feature = "bitlocker")]
    #[command(flatten)]
    bitlocker: BitLockerArgs,
    #[cfg(feature = "kms")]
    #[command(flatten)]
    ade: AdeArgs,
}

/// Credentials that only BitLocker has.
#[cfg(feature = "bitlocker")]
#[derive(Debug, Args)]
pub struct BitLockerArgs {
    /// BitLocker: where the recovery password comes from, as --passphrase-from
    #[arg(long, value_name = "SOURCE", value_parser = secrets::parse)]
    recovery_password_from: Option<Source>,
    /// BitLocker: a startup key (.BEK)
    #[arg(long, value_name = "FILE")]
    startup_key: Option<PathBuf>,
    /// BitLocker: the clear key on the volume, while its protection is suspended
    #[arg(long)]
    clear_key: bool,
}

#[cfg(feature = "bitlocker")]
impl BitLockerArgs {
    fn is_given(&self) -> bool {
        self.recovery_password_from.is_some() || self.startup_key.is_some() || self.clear_key
    }
}

/// An owned credential for a volume.
pub enum Opener {
    Vault(Arc<dyn KeyVault>),
    Passphrase(Secret),
    KeyFile(PathBuf),
    Dek(Dek),
    #[cfg(feature = "bitlocker")]
    RecoveryPassword(Secret),
    #[cfg(feature = "bitlocker")]
    StartupKey(PathBuf),
    #[cfg(feature = "bitlocker")]
    ClearKey,
    /// The passphrase or startup key that Azure Disk Encryption keeps for the disk.
    #[cfg(feature = "kms")]
    Azure(DiskCredential),
}

impl Opener {
    pub fn credential(&self) -> Result<Credential<'_>> {
        Ok(match self {
            Opener::Vault(vault) => Credential::Vault(&**vault),
            Opener::Passphrase(secret) => Credential::Passphrase(secret.expose()),
            Opener::KeyFile(path) => Credential::KeyFile(path),
            Opener::Dek(dek) => Credential::Dek(dek),
            #[cfg(feature = "bitlocker")]
            Opener::RecoveryPassword(secret) => {
                let bad =
                    |_| Failure::usage("a recovery password is eight groups of six digits, with dashes between them");
                Credential::RecoveryPassword(std::str::from_utf8(secret.expose()).map_err(bad)?)
            }
            #[cfg(feature = "bitlocker")]
            Opener::StartupKey(path) => Credential::StartupKey(path),
            #[cfg(feature = "bitlocker")]
            Opener::ClearKey => Credential::ClearKey,
            #[cfg(feature = "kms")]
            Opener::Azure(found) => found.credential(),
        })
    }
}

impl CredentialArgs {
    /// Reads the credential that was given.
    pub fn opener(&self, subject: &str) -> Result<Opener> {
        #[cfg(feature = "bitlocker")]
        {
            let BitLockerArgs { recovery_password_from, startup_key, clear_key } = &self.bitlocker;
            match (recovery_password_from, startup_key, clear_key) {
                (None, None, false) => {}
                (Some(source), None, false) => {
                    return source.read("recovery password", false).map(Opener::RecoveryPassword);
                }
                (None, Some(path), false) => return Ok(Opener::StartupKey(path.clone())),
                (None, None, true) => return Ok(Opener::ClearKey),
                _ => return Err(one_only()),
            }
        }
        match (&self.key_file, &self.passphrase_from, &self.dek_file) {
            (Some(path), None, None) => Ok(Opener::KeyFile(path.clone())),
            (None, Some(source), None) => source.read(&passphrase_of(subject), false).map(Opener::Passphrase),
            (None, None, Some(path)) => Ok(Opener::Dek(hazmat::dek_from_bytes(secrets::read_file(path)?.expose())?)),
            (None, None, None) if self.vault.is_given() => self.vault.open().map(Opener::Vault),
            (None, None, None) => secrets::prompt(&passphrase_of(subject), false).map(Opener::Passphrase),
            _ => Err(one_only()),
        }
    }

    /// Where the passphrase or startup key of a disk of Azure Disk Encryption is, if that was given.
    #[cfg(feature = "kms")]
    pub fn ade(&self) -> Result<Option<&AdeArgs>> {
        if !self.ade.is_given() {
            return Ok(None);
        }
        if self.is_secret_given() || self.dek_file.is_some() {
            return Err(one_only());
        }
        Ok(Some(&self.ade))
    }

    /// Where the passphrase or startup key of a disk of Azure Disk Encryption will be. It doesn't open the volume yet.
    #[cfg(feature = "kms")]
    pub fn ade_to_be(&self) -> &AdeArgs {
        &self.ade
    }

    /// Whether a secret other than a data key was named.
    fn is_secret_given(&self) -> bool {
        #[cfg(feature = "bitlocker")]
        if self.bitlocker.is_given() {
            return true;
        }
        self.key_file.is_some() || self.passphrase_from.is_some()
    }

    /// Refuses credentials that can't open data without a header.
    pub fn check_plain(&self) -> Result<()> {
        #[cfg(feature = "kms")]
        if self.ade.is_given() {
            return Err(Failure::usage(
                "Azure Disk Encryption has a header: leave out --plain, or --secret and --token",
            ));
        }
        if self.dek_file.is_some() && self.is_secret_given() {
            return Err(one_only());
        }
        Ok(())
    }

    /// Whether the terminal is asked, so that it can be asked again.
    pub fn asks(&self) -> bool {
        #[cfg(feature = "kms")]
        if self.ade.is_given() {
            return false;
        }
        self.asks_besides()
    }

    /// As [`asks`](Self::asks), but ignores the options of Azure Disk Encryption.
    pub fn asks_besides(&self) -> bool {
        #[cfg(feature = "bitlocker")]
        {
            let BitLockerArgs { recovery_password_from, startup_key, clear_key } = &self.bitlocker;
            match recovery_password_from {
                Some(source) => return matches!(source, Source::Prompt),
                None if startup_key.is_some() || *clear_key => return false,
                None => {}
            }
        }
        let given = matches!(&self.passphrase_from, Some(source) if !matches!(source, Source::Prompt));
        !given && self.key_file.is_none() && self.dek_file.is_none() && !self.vault.is_given()
    }

    /// The file of a data key, for data without a header.
    pub fn dek_file(&self) -> Option<&PathBuf> {
        self.dek_file.as_ref()
    }
}

fn one_only() -> Failure {
    Failure::usage("give one way to open the volume, not several")
}

fn passphrase_of(subject: &str) -> String {
    format!("passphrase of {subject}")
}

/// The protector of a new volume. Without one, the terminal is asked for a new passphrase.
#[derive(Debug, Args)]
#[command(next_help_heading = "What protects it")]
pub struct ProtectArgs {
    /// The vault whose key protects it: the path of a vault file, or a URL
    #[arg(long, value_name = "VAULT", env = "ATREST_VAULT")]
    vault: Option<String>,
    #[command(flatten)]
    unlock: UnlockVault,
    /// Uses the keys as this identity, within what it was granted
    #[arg(long = "as", value_name = "IDENTITY")]
    identity: Option<String>,
    /// The name of the key in the vault; not needed if a vault file has one key only
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    /// A key file: every byte of it is the passphrase
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Where the passphrase comes from: file:PATH, fd:NUMBER, command:COMMAND or prompt
    #[arg(long, value_name = "SOURCE", value_parser = secrets::parse)]
    passphrase_from: Option<Source>,
    #[command(flatten)]
    pub kdf: KdfArgs,
}

/// Another way into a volume that has one.
#[derive(Debug, Args)]
#[command(next_help_heading = "The new way into the volume")]
pub struct NewProtectArgs {
    /// The vault whose key protects it
    #[arg(long, value_name = "VAULT")]
    new_vault: Option<String>,
    /// The root key file of that vault
    #[arg(long, value_name = "FILE")]
    new_vault_key_file: Option<PathBuf>,
    /// Where that vault's passphrase comes from
    #[arg(long, value_name = "SOURCE", value_parser = secrets::parse)]
    new_vault_passphrase_from: Option<Source>,
    /// The name of the key in that vault
    #[arg(long, value_name = "NAME")]
    new_key: Option<String>,
    /// A key file: every byte of it is the passphrase
    #[arg(long, value_name = "FILE")]
    new_key_file: Option<PathBuf>,
    /// Where the passphrase comes from: file:PATH, fd:NUMBER, command:COMMAND or prompt
    #[arg(long, value_name = "SOURCE", value_parser = secrets::parse)]
    new_passphrase_from: Option<Source>,
    #[cfg(feature = "bitlocker")]
    #[command(flatten)]
    bitlocker: NewBitLockerArgs,
    #[command(flatten)]
    pub kdf: KdfArgs,
}

/// The vault's key, key file or passphrase that the arguments name.
struct Named<'a> {
    vault: Option<&'a str>,
    identity: Option<&'a str>,
    key: Option<&'a str>,
    key_file: Option<&'a PathBuf>,
    passphrase: Option<&'a Source>,
}

impl Named<'_> {
    fn guard(self, unlock: &UnlockVault, is_new: bool) -> Result<Guard> {
        let passphrase = if is_new { "new passphrase" } else { "passphrase" };
        match (self.key_file, self.passphrase, self.vault) {
            (Some(_), Some(_), _) => Err(Failure::usage("give a key file or a passphrase, not both")),
            (Some(_), ..) | (_, Some(_), _) if self.key.is_some() => {
                Err(Failure::usage("give a vault's key, a key file or a passphrase, not several"))
            }
            (Some(path), None, _) => Ok(Guard::KeyFile(path.clone())),
            (None, Some(source), _) => source.read(passphrase, is_new).map(Guard::Passphrase),
            (None, None, Some(vault)) => {
                let key = self.key.map_or_else(|| only_key(unlock, vault), |key| Ok(key.to_owned()))?;
                Ok(Guard::Vault(open_as(unlock, vault, self.identity)?, key))
            }
            (None, None, None) if self.key.is_some() => Err(Failure::usage("name the vault of the key by --vault")),
            (None, None, None) => secrets::prompt(passphrase, is_new).map(Guard::Passphrase),
        }
    }
}

impl ProtectArgs {
    /// The protector for something new.
    pub fn guard(&self) -> Result<Guard> {
        self.guard_of(true)
    }

    /// The protectors of a new BitLocker volume: all that the arguments name. Without any, the terminal is asked for a
    /// password.
    #[cfg(feature = "bitlocker")]
    pub fn guards(&self, new: &NewBitLockerArgs) -> Result<Guards> {
        let no_place = || {
            Failure::usage(
                "a BitLocker volume has no place for a vault's key: give --passphrase-from, --key-file, --new-startup-key or \
                 --new-recovery-password",
            )
        };
        // A vault may come from the environment; its key doesn't.
        if self.key.is_some() {
            return Err(no_place());
        }
        let mut guards = Guards::default();
        if self.key_file.is_some() || self.passphrase_from.is_some() {
            guards.add(self.guard()?);
        } else if !new.is_given() {
            if self.vault.is_some() {
                return Err(no_place());
            }
            guards.add(self.guard()?);
        }
        new.add_to(&mut guards)?;
        Ok(guards)
    }

    /// An existing protector, as the credential that opens the volume.
    pub fn guard_of_old(&self) -> Result<Guard> {
        self.guard_of(false)
    }

    fn guard_of(&self, is_new: bool) -> Result<Guard> {
        let named = Named {
            vault: self.vault.as_deref(),
            identity: self.identity.as_deref(),
            key: self.key.as_deref(),
            key_file: self.key_file.as_ref(),
            passphrase: self.passphrase_from.as_ref(),
        };
        named.guard(&self.unlock, is_new)
    }
}

impl NewProtectArgs {
    pub fn is_given(&self) -> bool {
        #[cfg(feature = "bitlocker")]
        if self.bitlocker.is_given() {
            return true;
        }
        self.is_any_given()
    }

    /// Whether a protector that all formats have was given.
    fn is_any_given(&self) -> bool {
        self.new_vault.is_some() || self.new_key_file.is_some() || self.new_passphrase_from.is_some()
    }

    pub fn guards(&self) -> Result<Guards> {
        #[cfg(feature = "bitlocker")]
        if self.bitlocker.is_given() {
            return self.bitlocker.guards(self.is_any_given());
        }
        let unlock = UnlockVault::new(self.new_vault_key_file.clone(), self.new_vault_passphrase_from.clone());
        let named = Named {
            vault: self.new_vault.as_deref(),
            identity: None,
            key: self.new_key.as_deref(),
            key_file: self.new_key_file.as_ref(),
            passphrase: self.new_passphrase_from.as_ref(),
        };
        named.guard(&unlock, true).map(Guards::one)
    }
}

/// How a passphrase is stretched.
#[derive(Debug, Args)]
#[command(next_help_heading = "How a passphrase is stretched")]
pub struct KdfArgs {
    /// The function: argon2id, or pbkdf2 with SHA-256
    #[arg(long, value_name = "NAME", value_enum)]
    pbkdf: Option<KdfName>,
    /// The time to open it on a machine like this, in milliseconds [default: 2000]
    #[arg(long, value_name = "MS")]
    iter_time: Option<u64>,
    /// Exactly so many passes of argon2id or iterations of pbkdf2, instead of a time
    #[arg(long, value_name = "N", conflicts_with = "iter_time")]
    pbkdf_force_iterations: Option<u32>,
    /// The most memory of argon2id, in KiB; with --pbkdf-force-iterations, exactly so much
    #[arg(long, value_name = "KIB")]
    pbkdf_memory: Option<u32>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum KdfName {
    Argon2id,
    Pbkdf2,
}

impl KdfArgs {
    /// The key derivation, if any of it was given.
    pub fn kdf(&self) -> Result<Option<Kdf>> {
        let name = self.pbkdf.unwrap_or(KdfName::Argon2id);
        if let Some(iterations) = self.pbkdf_force_iterations {
            return Ok(Some(match name {
                KdfName::Argon2id => {
                    Kdf::Argon2id { memory_kib: self.pbkdf_memory.unwrap_or(1 << 20), passes: iterations, lanes: 4 }
                }
                KdfName::Pbkdf2 => Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations },
            }));
        }
        if self.pbkdf.is_none() && self.iter_time.is_none() && self.pbkdf_memory.is_none() {
            return Ok(None);
        }
        let kind = match name {
            KdfName::Argon2id => KdfKind::Argon2id,
            KdfName::Pbkdf2 => KdfKind::Pbkdf2(HashAlgorithm::Sha256),
        };
        let time = std::time::Duration::from_millis(self.iter_time.unwrap_or(2000));
        Ok(Some(Kdf::benchmark(kind, time, self.pbkdf_memory.unwrap_or(1 << 20), 4)?))
    }

    pub fn keyslot(&self) -> Result<KeyslotOptions> {
        let options = KeyslotOptions::new();
        // Without a function of the caller's, the library takes the one that the header needs.
        if self.pbkdf.is_none() && self.pbkdf_force_iterations.is_none() {
            let time = self.iter_time.map(std::time::Duration::from_millis);
            let options = time.map_or_else(|| options.clone(), |time| options.clone().time(time));
            return Ok(self.pbkdf_memory.map_or_else(|| options.clone(), |kib| options.clone().max_memory_kib(kib)));
        }
        Ok(match self.kdf()? {
            Some(kdf) => options.kdf(kdf),
            None => options,
        })
    }
}
