//! Where the passphrase or startup key of a disk of Azure Disk Encryption is, from the arguments.

use atrest_ade::{AdeToken, Kek, KeyEncryptionKeys, SecretStore, SecretUrl, Source, Vaults};
use atrest_kms::{AzureIdentity, AzureKeyVault, AzureOptions, AzureSecrets};
use clap::{ArgGroup, Args};

use crate::failure::{Failure, Result};
use crate::vaults::UnlockVault;

/// Where the passphrase or startup key of a disk of Azure Disk Encryption is.
#[derive(Debug, Args)]
#[command(next_help_heading = "Where Azure Disk Encryption keeps its passphrase or startup key")]
#[command(group(ArgGroup::new("kept_at").args(["secret", "token"])))]
pub struct AdeArgs {
    /// The secret that holds its passphrase (Linux) or its startup key (Windows): https://NAME.vault.azure.net/secrets/SECRET/VERSION
    #[arg(long, value_name = "URL", conflicts_with = "token")]
    secret: Option<String>,
    /// Its passphrase is in its token (Linux)
    #[arg(long)]
    token: bool,
    /// The key that wraps it, if the secret's tags don't say
    #[arg(long, value_name = "URL", requires = "kept_at")]
    kek: Option<String>,
    /// How that key wraps
    #[arg(long, value_name = "NAME", default_value = "RSA-OAEP", requires = "kek")]
    algorithm: String,
    /// The key vault of that key, if it isn't the secret's: https://NAME.vault.azure.net
    #[arg(long, value_name = "URL", requires = "kept_at")]
    kek_vault: Option<String>,
    /// A vault file that has the secret and the key instead, made with the key vault's URL as its id
    #[arg(long, value_name = "FILE", requires = "kept_at")]
    copied_to: Option<String>,
    /// The root key file of that vault file
    #[arg(long, value_name = "FILE", requires = "copied_to")]
    copied_to_key_file: Option<std::path::PathBuf>,
    /// Logs in at Azure by a managed identity, and not by the environment
    #[arg(long, requires = "kept_at")]
    managed: bool,
}

/// Fields of a disk's first token, besides the key that wraps its passphrase.
#[derive(Debug, Args)]
#[command(next_help_heading = "Fields of a new token")]
pub struct NewTokenArgs {
    /// The resource id of the key vault
    #[arg(long, value_name = "ID", requires = "token")]
    vault_resource: Option<String>,
    /// The service that attests the machine to the vault
    #[arg(long, value_name = "URL", requires = "token")]
    attestation_url: Option<String>,
}

impl AdeArgs {
    /// A first token, as yet without its passphrase.
    pub fn new_token(&self, more: &NewTokenArgs) -> Result<AdeToken> {
        let url = self.kek.as_deref();
        let url = url.ok_or_else(|| Failure::usage("name the key that wraps the passphrase in the token by --kek"))?;
        let kek = Kek::new(url, "RSA-OAEP-256")?;
        let vault = self.kek_vault.clone().unwrap_or_else(|| kek.id.vault().to_owned());
        let mut token = AdeToken::default();
        (token.kek_url, token.vault_url) = (Some(url.to_owned()), Some(vault));
        (token.vault_resource, token.kek_vault_resource) = (more.vault_resource.clone(), more.vault_resource.clone());
        token.attestation_url.clone_from(&more.attestation_url);
        Ok(token)
    }

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
