//! `secret`: the secrets of a vault file, such as passphrases of disks that machines encrypted for themselves.

use std::collections::BTreeMap;

use atrest::vault::{FileVault, SecretInfo, VersionChange};
use atrest::{Error, KeyRefusal};
use clap::{Args, Subcommand};
use schemars::JsonSchema;
use serde::Serialize;

use super::vault::InVault;
use crate::confirm::confirm;
use crate::failure::{Code, Failure, Result};
use crate::output::{Answer, Output, Text, shown, time};
use crate::secrets::{self, Source};

#[derive(Subcommand)]
pub enum Command {
    /// Makes a secret, or a new version of one
    Set(Set),
    /// Prints a secret's value, every byte of it and nothing else
    Get(Version),
    /// Lists the secrets, without their values
    Ls(List),
    /// Lets a version be read again
    Enable(Version),
    /// Forbids reading a version
    Disable(Version),
    /// Deletes a secret; it can be recovered
    Delete(Named),
    /// Brings a deleted secret back
    Recover(Named),
    /// Destroys a deleted secret: all that only it opens is lost
    Purge(Named),
}

#[derive(Args)]
pub struct Set {
    #[command(flatten)]
    vault: InVault,
    /// The name of the secret
    name: String,
    /// Somebody's mistake, which no error may repeat
    #[arg(hide = true)]
    typed: Option<std::ffi::OsString>,
    /// Where the value comes from: file:PATH, fd:NUMBER, command:COMMAND or prompt
    #[arg(long, value_name = "SOURCE", value_parser = secrets::parse, default_value = "prompt")]
    from: Source,
    /// A tag of the version, kept in the clear; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_tag)]
    tag: Vec<(String, String)>,
}

#[derive(Args)]
pub struct Named {
    #[command(flatten)]
    vault: InVault,
    /// The name of the secret
    name: String,
}

#[derive(Args)]
pub struct Version {
    #[command(flatten)]
    vault: InVault,
    /// The name of the secret
    name: String,
    /// The version [default: the latest]
    #[arg(id = "which", value_name = "VERSION")]
    version: Option<String>,
}

#[derive(Args)]
pub struct List {
    #[command(flatten)]
    vault: InVault,
    /// The deleted secrets, which can be recovered
    #[arg(long)]
    deleted: bool,
}

fn parse_tag(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a tag is NAME=VALUE")?;
    Ok((name.into(), value.into()))
}

/// All `secret` commands but `get` and those of deleted ones: the secrets afterwards.
#[derive(Serialize, JsonSchema)]
pub struct Secrets {
    secrets: Vec<Secret>,
}

#[derive(Serialize, JsonSchema)]
struct Secret {
    name: String,
    /// The versions, the oldest first.
    versions: Vec<SecretVersion>,
}

#[derive(Serialize, JsonSchema)]
struct SecretVersion {
    version: String,
    /// Seconds since 1970-01-01 UTC.
    created: u64,
    enabled: bool,
    tags: BTreeMap<String, String>,
}

impl Secret {
    fn of(secret: SecretInfo) -> Self {
        let versions = secret.versions.into_iter().map(|version| SecretVersion {
            version: version.version,
            created: version.created,
            enabled: version.enabled,
            tags: version.tags,
        });
        Secret { name: secret.name, versions: versions.collect() }
    }

    fn rows(&self) -> impl Iterator<Item = [String; 5]> + '_ {
        self.versions.iter().map(|version| {
            let tags: Vec<String> =
                version.tags.iter().map(|(name, value)| format!("{}={}", shown(name), shown(value))).collect();
            let state = if version.enabled { "enabled" } else { "disabled" };
            [shown(&self.name), version.version.clone(), time(version.created), state.into(), tags.join(" ")]
        })
    }
}

impl Answer for Secrets {
    fn text(&self, out: &mut Text) {
        out.table(["SECRET", "VERSION", "CREATED", "STATE", "TAGS"], self.secrets.iter().flat_map(Secret::rows));
    }
}

/// `secret ls --deleted`, `secret delete`, `secret purge`: the deleted secrets.
#[derive(Serialize, JsonSchema)]
pub struct Deleted {
    deleted_secrets: Vec<DeletedSecret>,
}

#[derive(Serialize, JsonSchema)]
struct DeletedSecret {
    name: String,
    /// Seconds since 1970-01-01 UTC.
    deleted: u64,
    /// Seconds since 1970-01-01 UTC: until then purge protection keeps it.
    retained_until: u64,
}

impl Answer for Deleted {
    fn text(&self, out: &mut Text) {
        let row = |secret: &DeletedSecret| [shown(&secret.name), time(secret.deleted), time(secret.retained_until)];
        out.table(["DELETED SECRET", "SINCE", "KEPT UNTIL"], self.deleted_secrets.iter().map(row));
    }
}

impl Command {
    pub fn run(self, output: Output, yes: bool) -> Result<()> {
        match self {
            Command::Set(Set { typed: Some(_), .. }) => Source::Unknown.read("", true).map(drop),
            Command::Set(Set { vault, name, typed: None, from, tag }) => {
                let vault = vault.open()?;
                let value = from.read(&format!("value of the secret {name}"), true)?;
                vault.set_secret(&name, &value, &tag.into_iter().collect())?;
                list(&vault, output)
            }
            Command::Get(Version { vault, name, version }) => {
                let secret = vault.open()?.secret(&name, version.as_deref());
                output.bytes(secret.map_err(|e| missing(e, &name, version.as_deref()))?.value.expose())
            }
            Command::Ls(List { vault, deleted: true }) => list_deleted(&vault.open()?, output),
            Command::Ls(List { vault, deleted: false }) => list(&vault.open()?, output),
            Command::Enable(version) => version.change(VersionChange::new().enabled(true), output),
            Command::Disable(version) => version.change(VersionChange::new().enabled(false), output),
            Command::Delete(Named { vault, name }) => {
                let vault = vault.open()?;
                latest(&vault, &name)?;
                let days = vault.properties()?.retention_days;
                confirm(
                    yes,
                    &format!(
                        "The secret {name:?} will be deleted: nobody reads it any more. `atrest secret recover` brings it back, \
                         for {days} days at least."
                    ),
                )?;
                vault.delete_secret(&name)?;
                list_deleted(&vault, output)
            }
            Command::Recover(Named { vault, name }) => {
                let vault = vault.open()?;
                vault.recover_secret(&name).map_err(|e| missing(e, &format!("deleted {name}"), None))?;
                list(&vault, output)
            }
            Command::Purge(Named { vault, name }) => {
                let vault = vault.open()?;
                if !vault.deleted_secrets()?.iter().any(|secret| secret.name == name) {
                    let text = format!("the vault has no deleted secret {name:?}; `atrest secret delete` comes first");
                    return Err(Failure::new(Code::NotFound, text));
                }
                confirm(
                    yes,
                    &format!(
                        "The secret {name:?} will be destroyed with all its versions. Data that only they open is lost for good."
                    ),
                )?;
                vault.hazmat_purge_secret(&name)?;
                list_deleted(&vault, output)
            }
        }
    }
}

impl Version {
    fn change(self, change: VersionChange, output: Output) -> Result<()> {
        let vault = self.vault.open()?;
        let version = self.version.map_or_else(|| latest(&vault, &self.name), Ok)?;
        let changed = vault.set_secret_version(&self.name, &version, change);
        changed.map_err(|e| missing(e, &self.name, Some(&version)))?;
        list(&vault, output)
    }
}

/// The failure for a secret that isn't there: not found. The library reports a missing key, which is one that can't be
/// used.
fn missing(error: Error, name: &str, version: Option<&str>) -> Failure {
    let Error::KeyRefused { reason: KeyRefusal::Missing, .. } = error else { return error.into() };
    let version = version.map_or_else(String::new, |version| format!(" of version {version}"));
    Failure::new(Code::NotFound, format!("the vault has no secret {name:?}{version}; `atrest secret ls` shows all"))
}

/// The latest version of a secret.
fn latest(vault: &FileVault, name: &str) -> Result<String> {
    let found = vault.secrets()?.into_iter().find(|secret| secret.name == name);
    let version = found.and_then(|secret| secret.versions.into_iter().next_back());
    let missing = || Failure::new(Code::NotFound, format!("the vault has no secret {name:?}"));
    version.map(|version| version.version).ok_or_else(missing)
}

fn list(vault: &FileVault, output: Output) -> Result<()> {
    output.answer(&Secrets { secrets: vault.secrets()?.into_iter().map(Secret::of).collect() })
}

fn list_deleted(vault: &FileVault, output: Output) -> Result<()> {
    let one = |secret: atrest::vault::DeletedKey| DeletedSecret {
        name: secret.name,
        deleted: secret.deleted,
        retained_until: secret.retained_until,
    };
    output.answer(&Deleted { deleted_secrets: vault.deleted_secrets()?.into_iter().map(one).collect() })
}
