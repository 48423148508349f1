//! Vaults, by path or URL, and their credentials.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use atrest::vault::{FileVault, Unlock};
use atrest::{Error, KeyVault, Secret};
use clap::Args;

use crate::failure::{About, Failure, Result};
use crate::secrets::{self, Source};

/// A vault and its credential.
#[derive(Debug, Args)]
pub struct VaultArgs {
    /// The vault: the path of a vault file, or a URL such as awskms://REGION
    #[arg(long, value_name = "VAULT", env = "ATREST_VAULT")]
    vault: Option<String>,
    #[command(flatten)]
    unlock: UnlockVault,
    /// Uses the keys as this identity, within what it was granted
    #[arg(long = "as", value_name = "IDENTITY")]
    identity: Option<String>,
}

/// A vault file, for commands about nothing else.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// The vault file
    #[arg(env = "ATREST_VAULT")]
    pub vault: String,
    #[command(flatten)]
    pub unlock: UnlockVault,
}

/// The credential for a vault file.
#[derive(Debug, Args)]
pub struct UnlockVault {
    /// The root key file of the vault
    #[arg(long, value_name = "FILE", env = "ATREST_VAULT_KEY_FILE")]
    vault_key_file: Option<PathBuf>,
    /// Where the vault's passphrase, PIN or token comes from: file:PATH, fd:NUMBER, command:COMMAND or prompt
    #[arg(long, value_name = "SOURCE", value_parser = secrets::parse)]
    vault_passphrase_from: Option<Source>,
}

/// An owned credential for a vault file.
pub enum VaultKey {
    File(PathBuf),
    Passphrase(Secret),
}

impl VaultKey {
    pub fn unlock(&self) -> Unlock<'_> {
        match self {
            VaultKey::File(path) => Unlock::KeyFile(path),
            VaultKey::Passphrase(secret) => Unlock::Passphrase(secret.expose()),
        }
    }
}

impl UnlockVault {
    pub fn new(vault_key_file: Option<PathBuf>, vault_passphrase_from: Option<Source>) -> Self {
        UnlockVault { vault_key_file, vault_passphrase_from }
    }

    /// The credential for the vault file; the terminal is asked if no option names one. `new`: for a new vault.
    pub fn key(&self, new: bool) -> Result<VaultKey> {
        key(self.vault_key_file.as_deref(), self.vault_passphrase_from.as_ref(), "passphrase of the vault", new)
    }

    /// Opens a vault file.
    pub fn open_file(&self, vault: &str) -> Result<FileVault> {
        if is_url(vault) && !vault.starts_with("file:") {
            return Err(Failure::usage(format!(
                "keys of {} are managed by its own tools; this command is for vault files",
                scheme(vault)
            )));
        }
        if is_url(vault) {
            return Ok(atrest_vaults::open_file(vault, &self.options())?);
        }
        // Before anybody is asked for a passphrase.
        if !Path::new(vault).exists() {
            return Err(Error::NotFound { what: "vault file", path: vault.into() }.into());
        }
        FileVault::open(vault, self.key(false)?.unlock()).about(vault)
    }

    /// Opens any vault.
    pub fn open(&self, vault: &str) -> Result<Arc<dyn KeyVault>> {
        if is_url(vault) {
            return Ok(atrest_vaults::open_with(vault, &self.options())?);
        }
        Ok(Arc::new(self.open_file(vault)?))
    }

    fn options(&self) -> atrest_vaults::VaultOptions {
        let source = self.vault_passphrase_from.clone();
        atrest_vaults::VaultOptions::new().secrets(move |name| match (&source, name) {
            (Some(source), "ATREST_PASSPHRASE" | "PKCS11_PIN" | "TPM_AUTH" | "VAULT_TOKEN") => {
                source.read("secret of the vault", false).map(Some).map_err(|e| std::io::Error::other(e.text))
            }
            (None, "ATREST_PASSPHRASE") if crate::terminal::is_there() => {
                secrets::prompt("passphrase of the vault", false).map(Some).map_err(|e| std::io::Error::other(e.text))
            }
            _ => Ok(None),
        })
    }
}

/// Reads the credential for a vault file from the options that name it.
pub fn key(file: Option<&Path>, from: Option<&Source>, what: &str, new: bool) -> Result<VaultKey> {
    match (file, from) {
        (Some(_), Some(_)) => Err(Failure::usage("give a root key file or a passphrase, not both")),
        (Some(file), None) => Ok(VaultKey::File(file.into())),
        (None, Some(source)) => source.read(what, new).map(VaultKey::Passphrase),
        (None, None) => secrets::prompt(what, new).map(VaultKey::Passphrase),
    }
}

impl VaultArgs {
    pub fn is_given(&self) -> bool {
        self.vault.is_some()
    }

    pub fn name(&self) -> Result<&str> {
        self.vault.as_deref().ok_or_else(|| Failure::usage("name the vault by --vault, or by ATREST_VAULT"))
    }

    /// Opens the vault, with the rights of the identity if there is one.
    pub fn open(&self) -> Result<Arc<dyn KeyVault>> {
        open_as(&self.unlock, self.name()?, self.identity.as_deref())
    }
}

/// Opens a vault, with the rights of the identity if there is one.
pub fn open_as(unlock: &UnlockVault, vault: &str, identity: Option<&str>) -> Result<Arc<dyn KeyVault>> {
    match identity {
        None => unlock.open(vault),
        Some(identity) => Ok(Arc::new(unlock.open_file(vault)?.as_identity(identity))),
    }
}

/// The name of the only key of a vault file, for a command that names none.
pub fn only_key(unlock: &UnlockVault, vault: &str) -> Result<String> {
    let which = || Failure::usage("name the key of the vault by --key");
    if is_url(vault) && !vault.starts_with("file:") {
        return Err(which());
    }
    let keys = unlock.open_file(vault)?.keys()?;
    match keys.as_slice() {
        [] => Err(Failure::usage(format!("{vault} has no key yet; make one by `atrest key create`"))),
        [only] => Ok(only.name.clone()),
        _ => Err(which()),
    }
}

fn scheme(vault: &str) -> &str {
    vault.split_once(':').map_or(vault, |(scheme, _)| scheme)
}

/// Whether it is a URL, and not the path of a file.
fn is_url(vault: &str) -> bool {
    let Some((scheme, _)) = vault.split_once(':') else { return false };
    let sound = scheme.len() > 1 && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    sound && (scheme == "file" || !Path::new(vault).exists())
}
