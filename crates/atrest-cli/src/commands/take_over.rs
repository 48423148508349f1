//! `take-over`: a disk of Azure Disk Encryption comes under a vault's key.

use atrest::OpenOptions;
use atrest::volume::ProtectorId;
use atrest_ade::{
    Disk, Kek, KeyEncryptionKeys, SecretStore, SecretUrl, Source, TakeOverOptions, Vaults, open, take_over,
};
use atrest_kms::{AzureIdentity, AzureKeyVault, AzureOptions, AzureSecrets};
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use crate::credentials::ProtectArgs;
use crate::devices::{self, Access};
use crate::failure::{About, Failure, Result};
use crate::guard::Guard;
use crate::output::{Answer, Output, Text, shown};
use crate::vaults::UnlockVault;

#[derive(Args)]
pub struct TakeOver {
    /// The disk
    device: String,
    /// The file of its detached header
    #[arg(long, value_name = "FILE")]
    header: Option<String>,
    #[command(flatten)]
    ade: AdeArgs,
    /// Converts a header of LUKS1 first
    #[arg(long)]
    convert: bool,
    /// Encrypts the data again, under a new key
    #[arg(long)]
    reencrypt: bool,
    /// Only opens the disk, and changes nothing
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    protect: ProtectArgs,
}

/// Where the passphrase of a disk of Azure Disk Encryption is.
#[derive(Args)]
#[command(next_help_heading = "Where Azure Disk Encryption keeps its passphrase")]
pub struct AdeArgs {
    /// The secret that holds its passphrase: https://NAME.vault.azure.net/secrets/SECRET/VERSION
    #[arg(long, value_name = "URL", conflicts_with = "token")]
    secret: Option<String>,
    /// Its passphrase is in its token
    #[arg(long)]
    token: bool,
    /// The key that wraps the passphrase, if the secret's tags don't say
    #[arg(long, value_name = "URL")]
    kek: Option<String>,
    /// How that key wraps
    #[arg(long, value_name = "NAME", default_value = "RSA-OAEP", requires = "kek")]
    algorithm: String,
    /// The key vault of that key, if it isn't the secret's: https://NAME.vault.azure.net
    #[arg(long, value_name = "URL")]
    kek_vault: Option<String>,
    /// A vault file that has the secret and the key instead, made with the key vault's URL as its id
    #[arg(long, value_name = "FILE")]
    copied_to: Option<String>,
    /// The root key file of that vault file
    #[arg(long, value_name = "FILE", requires = "copied_to")]
    copied_to_key_file: Option<std::path::PathBuf>,
    /// Logs in at Azure by a managed identity, and not by the environment
    #[arg(long)]
    managed: bool,
}

/// `take-over`.
#[derive(Serialize, JsonSchema)]
pub struct TakenOver {
    device: String,
    /// The bytes of its data.
    bytes: u64,
    /// Whether a vault's key opens it now; false with --check.
    taken: bool,
    /// The ways in that were removed, such as `keyslot 0`.
    removed: Vec<String>,
    /// The ways in that are left, and are not of Azure Disk Encryption.
    left: Vec<String>,
}

impl Answer for TakenOver {
    fn text(&self, out: &mut Text) {
        if !self.taken {
            return out.line(format_args!("the passphrase opens {}; nothing was changed", shown(&self.device)));
        }
        out.line(format_args!("the vault opens {}", shown(&self.device)));
        self.removed.iter().for_each(|id| out.line(format_args!("removed {id}")));
        for id in &self.left {
            out.line(format_args!("left {id}, which isn't of Azure Disk Encryption: its passphrase opens the disk"));
        }
    }
}

impl TakeOver {
    pub fn run(self, output: Output) -> Result<()> {
        if !self.ade.is_given() {
            return Err(Failure::usage("say where the passphrase is: --secret URL or --token"));
        }
        self.ade.ask(|source, vaults| self.take(source, vaults, output))
    }

    fn take(&self, source: &Source, vaults: Vaults<'_>, output: Output) -> Result<()> {
        let access = if self.check { Access::Read } else { Access::Write };
        let mut disk = Disk::new(devices::open(&self.device, access)?);
        if let Some(header) = &self.header {
            disk = disk.header(devices::open(header, access)?);
        }
        let mut answer =
            TakenOver { device: self.device.clone(), bytes: 0, taken: false, removed: Vec::new(), left: Vec::new() };
        if self.check {
            let volume = open(&disk, source, vaults, &OpenOptions::new().read_only(true)).about(&self.device)?;
            answer.bytes = volume.size();
            return output.answer(&answer);
        }
        let Guard::Vault(vault, key) = self.protect.guard()? else {
            return Err(Failure::usage("name the vault that opens the disk from now on by --vault"));
        };
        if self.convert {
            disk.convert_to_luks2().about(&self.device)?;
        }
        let options = TakeOverOptions::new().reencrypt(self.reencrypt);
        let taken = take_over(&disk, source, vaults, &*vault, &key, &options).about(&self.device)?;
        let names = |ids: &[ProtectorId]| ids.iter().map(ToString::to_string).collect();
        (answer.bytes, answer.taken) = (taken.volume.size(), true);
        (answer.removed, answer.left) = (names(&taken.removed), names(&taken.left));
        output.answer(&answer)
    }
}

impl AdeArgs {
    pub fn is_given(&self) -> bool {
        self.secret.is_some() || self.token
    }

    /// Runs `act` with the place of the passphrase, and the vaults that may be asked.
    pub fn ask<T>(&self, act: impl FnOnce(&Source, Vaults<'_>) -> Result<T>) -> Result<T> {
        let source = match &self.secret {
            Some(url) => {
                let kek = self.kek.as_deref().map(|url| Kek::new(url, &self.algorithm)).transpose()?;
                Source::Secret { url: url.parse()?, kek }
            }
            None => Source::Token,
        };
        match &self.copied_to {
            Some(path) => {
                let vault = UnlockVault::new(self.copied_to_key_file.clone(), None).open_file(path)?;
                act(&source, Vaults { secrets: &[&vault], keks: &[&vault] })
            }
            None => {
                let (secrets, keks) = self.azure()?;
                let secrets: Vec<&dyn SecretStore> = secrets.iter().map(|store| store as _).collect();
                let keks: Vec<&dyn KeyEncryptionKeys> = keks.iter().map(|vault| vault as _).collect();
                act(&source, Vaults { secrets: &secrets, keks: &keks })
            }
        }
    }

    /// The key vaults of the secret and of the key that wraps it.
    fn azure(&self) -> Result<(Option<AzureSecrets>, Option<AzureKeyVault>)> {
        let identity = if self.managed { AzureIdentity::managed(None) } else { AzureIdentity::from_environment()? };
        let options = |vault: &str| AzureOptions::new(vault, identity.clone());
        let url: Option<SecretUrl> = self.secret.as_deref().map(str::parse).transpose()?;
        let secrets = url.as_ref().map(|url| AzureSecrets::new(&options(url.vault()))).transpose()?;
        let keks = self.kek_vault.as_deref().or(url.as_ref().map(SecretUrl::vault));
        let keks = keks.map(|vault| AzureKeyVault::new(&options(vault))).transpose()?;
        if keks.is_none() {
            return Err(Failure::usage("name the key vault of the key that wraps the passphrase by --kek-vault"));
        }
        Ok((secrets, keks))
    }
}
