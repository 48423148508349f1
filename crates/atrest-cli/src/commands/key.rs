//! `key`: the keys of a vault file.

use std::path::PathBuf;

use atrest::key::{KeyId, KeyKind};
use atrest::vault::{FileVault, KeyInfo, KeyOrigin, VersionChange, VersionInfo};
use clap::{Args, Subcommand};
use schemars::JsonSchema;
use serde::Serialize;

use super::vault::InVault;
use crate::confirm::confirm;
use crate::failure::{Code, Failure, Result};
use crate::output::{Answer, Output, Text, note, quoted, shown, time};
use crate::secrets;

#[derive(Subcommand)]
pub enum Command {
    /// Makes a key
    Create(Create),
    /// Brings a key of your own, or a new version of one
    Import(Import),
    /// Makes a new version, which wraps from now on; `atrest rotate` moves volumes to it
    Rotate(Named),
    /// Lists the keys
    Ls(List),
    /// Shows a key with its versions
    Show(Named),
    /// Lets a version be used again
    Enable(Version),
    /// Forbids the use of a version
    Disable(Version),
    /// Sets the time when a version expires
    Expire(Expire),
    /// Deletes a key; it can be recovered
    Delete(Named),
    /// Brings a deleted key back
    Recover(Named),
    /// Destroys a deleted key: all that only it can unwrap is lost
    Purge(Named),
}

#[derive(Args)]
pub struct Create {
    #[command(flatten)]
    vault: InVault,
    /// The name of the key
    name: String,
    /// The kind: aes-256, or rsa-2048, rsa-3072, rsa-4096 in a build with RSA
    #[arg(long, value_name = "KIND", default_value = "aes-256")]
    kind: String,
}

#[derive(Args)]
pub struct Import {
    #[command(flatten)]
    vault: InVault,
    /// The name of the key
    name: String,
    /// The file with the key: 32 bytes, or PKCS#8 in DER with --rsa
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// As a new version of the key, which is there
    #[arg(long)]
    new_version: bool,
    /// The file holds an RSA key
    #[arg(long)]
    rsa: bool,
}

#[derive(Args)]
pub struct Named {
    #[command(flatten)]
    vault: InVault,
    /// The name of the key
    name: String,
}

#[derive(Args)]
pub struct List {
    #[command(flatten)]
    vault: InVault,
    /// The deleted keys, which can be recovered
    #[arg(long)]
    deleted: bool,
}

#[derive(Args)]
pub struct Version {
    #[command(flatten)]
    vault: InVault,
    /// The name of the key
    name: String,
    /// The version [default: the latest]
    #[arg(id = "which", value_name = "VERSION")]
    version: Option<String>,
}

#[derive(Args)]
pub struct Expire {
    #[command(flatten)]
    of: Version,
    /// The time, such as 2030-01-31T00:00:00Z, a time from now such as 90d or 12h, or never
    #[arg(long, value_name = "TIME")]
    at: String,
}

/// A key with its versions: `key show`, and the commands that change one.
#[derive(Serialize, JsonSchema)]
pub struct Key {
    name: String,
    /// The versions, the oldest first.
    versions: Vec<KeyVersion>,
}

#[derive(Serialize, JsonSchema)]
struct KeyVersion {
    /// The URL of the version: vault, key and version.
    id: String,
    version: String,
    /// Such as `AES-256`.
    kind: &'static str,
    /// `generated` or `imported`.
    origin: &'static str,
    /// Seconds since 1970-01-01 UTC.
    created: u64,
    enabled: bool,
    /// Seconds since 1970-01-01 UTC; null for any.
    not_before: Option<u64>,
    /// Seconds since 1970-01-01 UTC; null for never.
    expires: Option<u64>,
}

impl KeyVersion {
    fn of(version: &VersionInfo) -> Self {
        let origin = match version.origin {
            KeyOrigin::Imported => "imported",
            _ => "generated",
        };
        KeyVersion {
            id: version.id.to_string(),
            version: version.id.version().into(),
            kind: version.kind.name(),
            origin,
            created: version.created,
            enabled: version.enabled,
            not_before: version.not_before,
            expires: version.expires,
        }
    }

    fn state(&self) -> String {
        let mut state = if self.enabled { "enabled" } else { "disabled" }.to_owned();
        if let Some(at) = self.not_before {
            state += &format!(", from {}", time(at));
        }
        if let Some(at) = self.expires {
            state += &format!(", until {}", time(at));
        }
        state
    }
}

impl Key {
    fn of(key: &KeyInfo) -> Self {
        Key { name: key.name.clone(), versions: key.versions.iter().map(KeyVersion::of).collect() }
    }

    fn rows(&self) -> impl Iterator<Item = [String; 5]> + '_ {
        self.versions.iter().map(|version| {
            let created = time(version.created);
            [shown(&self.name), version.version.clone(), version.kind.into(), created, version.state()]
        })
    }
}

const HEADS: [&str; 5] = ["KEY", "VERSION", "KIND", "CREATED", "STATE"];

impl Answer for Key {
    fn text(&self, out: &mut Text) {
        out.table(HEADS, self.rows());
    }
}

/// `key ls`.
#[derive(Serialize, JsonSchema)]
pub struct Keys {
    keys: Vec<Key>,
}

impl Answer for Keys {
    fn text(&self, out: &mut Text) {
        out.table(HEADS, self.keys.iter().flat_map(Key::rows));
    }
}

/// `key ls --deleted`, `key delete`, `key recover`, `key purge`: the deleted keys.
#[derive(Serialize, JsonSchema)]
pub struct Deleted {
    deleted_keys: Vec<DeletedKey>,
}

#[derive(Serialize, JsonSchema)]
struct DeletedKey {
    name: String,
    /// Seconds since 1970-01-01 UTC.
    deleted: u64,
    /// Seconds since 1970-01-01 UTC: until then purge protection keeps it.
    retained_until: u64,
}

impl Answer for Deleted {
    fn text(&self, out: &mut Text) {
        let row = |key: &DeletedKey| [shown(&key.name), time(key.deleted), time(key.retained_until)];
        out.table(["DELETED KEY", "SINCE", "KEPT UNTIL"], self.deleted_keys.iter().map(row));
    }
}

impl Command {
    pub fn run(self, output: Output, yes: bool) -> Result<()> {
        match self {
            Command::Create(command) => command.run(output),
            Command::Import(command) => command.run(output),
            Command::Rotate(Named { vault, name }) => {
                let vault = vault.open()?;
                vault.rotate_key(&name)?;
                note("the new version wraps from now on; `atrest rotate` moves volumes to it");
                show(&vault, &name, output)
            }
            Command::Ls(List { vault, deleted }) => {
                let vault = vault.open()?;
                if deleted {
                    return list_deleted(&vault, output);
                }
                output.answer(&Keys { keys: vault.keys()?.iter().map(Key::of).collect() })
            }
            Command::Show(Named { vault, name }) => show(&vault.open()?, &name, output),
            Command::Enable(version) => version.change(output, VersionChange::new().enabled(true)),
            Command::Disable(version) => version.change(output, VersionChange::new().enabled(false)),
            Command::Expire(command) => {
                let at = parse_time(&command.at)?;
                command.of.change(output, VersionChange::new().expires(at))
            }
            Command::Delete(Named { vault, name }) => {
                let vault = vault.open()?;
                find(&vault, &name)?;
                let days = vault.properties()?.retention_days;
                confirm(
                    yes,
                    &format!(
                        "The key {name:?} will be deleted: what is under it doesn't open any more. `atrest key recover` \
                         brings it back, for {days} days at least."
                    ),
                )?;
                vault.delete_key(&name)?;
                list_deleted(&vault, output)
            }
            Command::Recover(Named { vault, name }) => {
                let vault = vault.open()?;
                vault.recover_key(&name)?;
                show(&vault, &name, output)
            }
            Command::Purge(Named { vault, name }) => {
                let vault = vault.open()?;
                if !vault.deleted_keys()?.iter().any(|key| key.name == name) {
                    let text = format!("the vault has no deleted key {name:?}; `atrest key delete` comes first");
                    return Err(Failure::new(Code::NotFound, text));
                }
                confirm(
                    yes,
                    &format!(
                        "The key {name:?} will be destroyed with all its versions. Every volume that only it can unwrap is lost \
                         for good."
                    ),
                )?;
                vault.hazmat_purge_key(&name)?;
                list_deleted(&vault, output)
            }
        }
    }
}

fn find(vault: &FileVault, name: &str) -> Result<KeyInfo> {
    let found = vault.keys()?.into_iter().find(|key| key.name == name);
    found.ok_or_else(|| {
        Failure::new(Code::NotFound, format!("the vault has no key {name:?}; `atrest key ls` lists them"))
    })
}

fn show(vault: &FileVault, name: &str, output: Output) -> Result<()> {
    output.answer(&Key::of(&find(vault, name)?))
}

fn list_deleted(vault: &FileVault, output: Output) -> Result<()> {
    let keys = vault.deleted_keys()?.into_iter();
    let deleted_keys = keys
        .map(|key| DeletedKey { name: key.name, deleted: key.deleted, retained_until: key.retained_until })
        .collect();
    output.answer(&Deleted { deleted_keys })
}

impl Create {
    fn run(self, output: Output) -> Result<()> {
        let kind = KeyKind::from_name(&self.kind.to_ascii_uppercase())
            .ok_or_else(|| Failure::usage(format!("there is no kind of key {:?}", self.kind)))?;
        let vault = self.vault.open()?;
        vault.create_key_of(&self.name, kind)?;
        show(&vault, &self.name, output)
    }
}

impl Import {
    fn run(self, output: Output) -> Result<()> {
        let vault = self.vault.open()?;
        let key = secrets::read_file(&self.from)?;
        match (self.rsa, self.new_version) {
            (false, false) => vault.import_key(&self.name, &key)?,
            (false, true) => vault.import_version(&self.name, &key)?,
            (true, false) => vault.import_rsa_key(&self.name, key.expose())?,
            (true, true) => vault.import_rsa_version(&self.name, key.expose())?,
        };
        show(&vault, &self.name, output)
    }
}

impl Version {
    fn change(self, output: Output, change: VersionChange) -> Result<()> {
        let vault = self.vault.open()?;
        let key = find(&vault, &self.name)?;
        let id: Option<&KeyId> = match &self.version {
            None => key.versions.last().map(|version| &version.id),
            Some(wanted) => key.versions.iter().map(|version| &version.id).find(|id| id.version() == wanted),
        };
        let missing = || {
            Failure::new(
                Code::NotFound,
                format!(
                    "the key {:?} has no such version; `atrest key show {}` lists them",
                    self.name,
                    quoted(&self.name)
                ),
            )
        };
        vault.set_version(id.ok_or_else(missing)?, change)?;
        show(&vault, &self.name, output)
    }
}

/// A time, in seconds since 1970-01-01 UTC: as RFC 3339 has it, from now on, or `never`.
pub fn parse_time(text: &str) -> Result<Option<u64>> {
    if text == "never" {
        return Ok(None);
    }
    if let Some(seconds) = parse_span(text) {
        let now = jiff::Timestamp::now().as_second().max(0) as u64;
        return Ok(Some(now.saturating_add(seconds)));
    }
    let day = || format!("{text}T00:00:00Z").parse::<jiff::Timestamp>();
    let at = text.parse::<jiff::Timestamp>().or_else(|_| day());
    let at = at.ok().and_then(|at| u64::try_from(at.as_second()).ok());
    let bad = || {
        Failure::usage("a time is one such as 2030-01-31 or 2030-01-31T12:00:00Z, or a span such as 90d, 12h or 30m")
    };
    at.map(Some).ok_or_else(bad)
}

/// A span of time such as `90d`, in seconds.
pub fn parse_span(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "d" => 86400,
        "h" => 3600,
        "m" => 60,
        "s" => 1,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}
