//! `vault`: vault files.

use std::fs;
use std::path::{Path, PathBuf};

use atrest::vault::{FileVault, VaultOptions, VaultProperties};
use clap::{Args, Subcommand};
use schemars::JsonSchema;
use serde::Serialize;

use crate::credentials::KdfArgs;
use crate::failure::{About, Result};
use crate::output::{Answer, Output, Text, note, quoted, shown};
use crate::secrets::{self, Source};
use crate::vaults::{FileArgs, UnlockVault, VaultKey, key};

#[derive(Subcommand)]
pub enum Command {
    /// Makes a vault file
    Init(Init),
    /// Lists the vault files of a folder
    Ls(List),
    /// Shows a vault
    Info(FileArgs),
    /// Checks a vault, its copy and its whole audit log
    Verify(FileArgs),
    /// Copies a vault and its audit log
    Backup(Backup),
    /// Gives a vault another passphrase or root key file
    ChangeUnlock(ChangeUnlock),
}

#[derive(Args)]
pub struct Init {
    #[command(flatten)]
    vault: FileArgs,
    /// A first key, made at once
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
    /// The vault's own name, the first part of its keys' URLs [default: a random urn:uuid:]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Its region
    #[arg(long, value_name = "TEXT")]
    region: Option<String>,
    /// Its tenant
    #[arg(long, value_name = "TEXT")]
    tenant: Option<String>,
    /// For how many days a deleted key can be recovered, 7 to 90
    #[arg(long, value_name = "DAYS", default_value_t = 90)]
    retention_days: u32,
    /// Nobody can purge a key during that time; this can't be turned off
    #[arg(long)]
    purge_protection: bool,
    /// An expired version refuses to unwrap
    #[arg(long)]
    refuse_expired: bool,
    #[command(flatten)]
    kdf: KdfArgs,
}

#[derive(Args)]
pub struct List {
    /// The folder
    #[arg(default_value = ".")]
    folder: PathBuf,
}

#[derive(Args)]
pub struct Backup {
    #[command(flatten)]
    vault: FileArgs,
    /// The new vault file; its audit log is TO.audit
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

#[derive(Args)]
pub struct ChangeUnlock {
    #[command(flatten)]
    vault: FileArgs,
    /// The new root key file; it is made if it isn't there
    #[arg(long, value_name = "FILE")]
    new_vault_key_file: Option<PathBuf>,
    /// Where the new passphrase comes from: file:PATH, fd:NUMBER, command:COMMAND or prompt
    #[arg(long, value_name = "SOURCE", value_parser = secrets::parse)]
    new_vault_passphrase_from: Option<Source>,
    #[command(flatten)]
    kdf: KdfArgs,
}

/// `vault init`: for a program as `vault info`.
struct Made {
    vault: Vault,
    first_key: Option<String>,
}

impl Serialize for Made {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.vault.serialize(to)
    }
}

impl Answer for Made {
    fn text(&self, out: &mut Text) {
        let key = self.first_key.as_ref().map(|key| format!(", with the key {}", shown(key))).unwrap_or_default();
        out.line(format_args!("made {}{key}", shown(&self.vault.path)));
    }
}

/// `vault init`, `vault info`, and each vault of `vault ls`.
#[derive(Serialize, JsonSchema)]
pub struct Vault {
    /// The vault file.
    path: String,
    /// The vault's own name.
    id: String,
    region: Option<String>,
    tenant: Option<String>,
    /// For how many days a deleted key can be recovered.
    retention_days: u32,
    /// Whether nobody can purge a key during that time.
    purge_protection: bool,
    /// Whether an expired version refuses to unwrap.
    refuse_expired: bool,
    /// The number of keys; null where the vault was not opened.
    keys: Option<u64>,
    /// The number of deleted keys that can be recovered; null where the vault was not opened.
    deleted_keys: Option<u64>,
    /// The number of identities with grants; null where the vault was not opened.
    grants: Option<u64>,
    /// The head of the audit log, to be kept elsewhere; null where the vault was not opened.
    audit_head: Option<String>,
}

impl Vault {
    fn locked(path: &Path, properties: VaultProperties) -> Self {
        let VaultProperties { id, region, tenant, retention_days, purge_protection, refuse_expired, .. } = properties;
        let path = path.display().to_string();
        let (keys, deleted_keys, grants, audit_head) = (None, None, None, None);
        Vault {
            path,
            id,
            region,
            tenant,
            retention_days,
            purge_protection,
            refuse_expired,
            keys,
            deleted_keys,
            grants,
            audit_head,
        }
    }

    fn of(vault: &FileVault) -> Result<Self> {
        Ok(Vault {
            keys: Some(vault.keys()?.len() as u64),
            deleted_keys: Some(vault.deleted_keys()?.len() as u64),
            grants: Some(vault.grants()?.len() as u64),
            audit_head: Some(vault.audit_head()?.to_string()),
            ..Self::locked(vault.path(), vault.properties()?)
        })
    }
}

impl Answer for Vault {
    fn text(&self, out: &mut Text) {
        out.pair("vault", shown(&self.path));
        out.pair("id", shown(&self.id));
        for (name, value) in [("region", &self.region), ("tenant", &self.tenant)] {
            if let Some(value) = value {
                out.pair(name, shown(value));
            }
        }
        let protection = if self.purge_protection { ", which nobody can shorten" } else { "" };
        out.pair("deleted keys", format_args!("kept for {} days{protection}", self.retention_days));
        if self.refuse_expired {
            out.pair("expired keys", "refuse to unwrap");
        }
        if let (Some(keys), Some(deleted), Some(grants)) = (self.keys, self.deleted_keys, self.grants) {
            out.pair("keys", format_args!("{keys}, and {deleted} deleted"));
            out.pair("grants", grants);
        }
        if let Some(head) = &self.audit_head {
            out.pair("audit head", head);
        }
    }
}

/// `vault ls`.
#[derive(Serialize, JsonSchema)]
pub struct Vaults {
    vaults: Vec<Vault>,
}

impl Answer for Vaults {
    fn text(&self, out: &mut Text) {
        let row = |vault: &Vault| [shown(&vault.path), shown(&vault.id)];
        out.table(["VAULT", "ID"], self.vaults.iter().map(row));
    }
}

/// `vault verify`.
#[derive(Serialize, JsonSchema)]
pub struct Verified {
    path: String,
    /// The number of keys.
    keys: u64,
    /// The number of entries of the audit log. Each one continues from the one before.
    audit_entries: u64,
    /// The bytes of torn lines at the end of the log, left by killed processes.
    torn_bytes: u64,
    /// Whether the copy NAME.bak is sound, too.
    copy_is_sound: bool,
}

impl Answer for Verified {
    fn text(&self, out: &mut Text) {
        out.line(format_args!("{}: sound, with {} keys", shown(&self.path), self.keys));
        out.line(format_args!("the audit log is whole, with {} entries", self.audit_entries));
        if self.torn_bytes > 0 {
            out.line(format_args!("{} bytes at its end were left by a process that was killed", self.torn_bytes));
        }
        let copy = if self.copy_is_sound { "sound" } else { "missing or damaged; the next change writes it anew" };
        out.line(format_args!("the copy {}.bak is {copy}", shown(&self.path)));
    }
}

/// A file that was made: `vault backup`, `vault change-unlock`.
#[derive(Serialize, JsonSchema)]
pub struct Done {
    /// The file.
    path: String,
    /// A description of the change.
    done: &'static str,
}

impl Answer for Done {
    fn text(&self, out: &mut Text) {
        out.line(format_args!("{}: {}", shown(&self.path), self.done));
    }
}

impl Command {
    pub fn run(self, output: Output) -> Result<()> {
        match self {
            Command::Init(command) => command.run(output),
            Command::Ls(command) => command.run(output),
            Command::Info(args) => output.answer(&Vault::of(&args.open()?)?),
            Command::Verify(args) => verify(&args, output),
            Command::Backup(command) => {
                command.vault.open()?.backup(&command.to)?;
                note("keep the root key file or passphrase elsewhere: without it, the copy opens nothing");
                output.answer(&Done { path: command.to.display().to_string(), done: "copied, with its audit log" })
            }
            Command::ChangeUnlock(command) => command.run(output),
        }
    }
}

impl FileArgs {
    pub fn open(&self) -> Result<FileVault> {
        self.unlock.open_file(&self.vault)
    }
}

impl Init {
    fn run(self, output: Output) -> Result<()> {
        let path = PathBuf::from(&self.vault.vault);
        let mut options = VaultOptions::new()
            .retention_days(self.retention_days)
            .purge_protection(self.purge_protection)
            .refuse_expired(self.refuse_expired);
        if let Some(id) = &self.id {
            options = options.id(id);
        }
        if let Some(region) = &self.region {
            options = options.region(region);
        }
        if let Some(tenant) = &self.tenant {
            options = options.tenant(tenant);
        }
        if path.exists() {
            // Before anybody is asked for a passphrase.
            return Err(atrest::Error::AlreadyExists { what: "vault file", path }.into());
        }
        let unlock = new_key(self.vault.unlock.key(true)?)?;
        if let (VaultKey::Passphrase(_), Some(kdf)) = (&unlock, self.kdf.kdf()?) {
            options = options.kdf(kdf);
        }
        let vault = FileVault::create_with(&path, unlock.unlock(), &options)?;
        let first_key = self.key.as_deref().map(|key| vault.create_key(key)).transpose()?.map(|id| id.to_string());
        // The path as it was given.
        let vault = Vault { path: self.vault.vault, ..Vault::of(&vault)? };
        output.answer(&Made { vault, first_key })
    }
}

/// Makes a root key file that isn't there.
fn new_key(key: VaultKey) -> Result<VaultKey> {
    if let VaultKey::File(path) = &key
        && !path.exists()
    {
        FileVault::generate_key_file(path)?;
        let shown = quoted(&path.display().to_string());
        note(format_args!("made the root key file {shown}; keep a copy apart from the vault"));
    }
    Ok(key)
}

impl List {
    fn run(self, output: Output) -> Result<()> {
        let mut vaults = Vec::new();
        for entry in fs::read_dir(&self.folder).about(self.folder.display())? {
            let path = entry.about(self.folder.display())?.path();
            let is_beside = |ending: &str| path.extension().is_some_and(|found| found == ending);
            if path.is_file()
                && !["bak", "audit", "lock", "new"].iter().any(|ending| is_beside(ending))
                && let Ok(properties) = FileVault::peek(&path)
            {
                vaults.push(Vault::locked(&path, properties));
            }
        }
        vaults.sort_by(|one, other| one.path.cmp(&other.path));
        output.answer(&Vaults { vaults })
    }
}

fn verify(args: &FileArgs, output: Output) -> Result<()> {
    let vault = args.open()?;
    let mut log = vault.audit()?;
    let mut audit_entries = 0;
    for entry in log.by_ref() {
        entry?;
        audit_entries += 1;
    }
    let mut copy = vault.path().as_os_str().to_owned();
    copy.push(".bak");
    output.answer(&Verified {
        path: vault.path().display().to_string(),
        keys: vault.keys()?.len() as u64,
        audit_entries,
        torn_bytes: log.torn_end().unwrap_or(0),
        copy_is_sound: FileVault::peek(PathBuf::from(copy)).is_ok(),
    })
}

impl ChangeUnlock {
    fn run(self, output: Output) -> Result<()> {
        let vault = self.vault.open()?;
        let (file, from) = (self.new_vault_key_file.as_deref(), self.new_vault_passphrase_from.as_ref());
        let unlock = new_key(key(file, from, "new passphrase of the vault", true)?)?;
        let kdf = if let VaultKey::Passphrase(_) = &unlock { self.kdf.kdf()? } else { None };
        vault.change_unlock(unlock.unlock(), kdf)?;
        note("copies of the vault from before open by the old passphrase or root key file, and hold the same keys");
        output.answer(&Done { path: vault.path().display().to_string(), done: "opens by the new one from now on" })
    }
}

/// `--vault` and its credential, for commands about something else in it.
#[derive(Args)]
pub struct InVault {
    /// The vault file
    #[arg(long, value_name = "VAULT", env = "ATREST_VAULT")]
    vault: String,
    #[command(flatten)]
    unlock: UnlockVault,
}

impl InVault {
    pub fn open(&self) -> Result<FileVault> {
        self.unlock.open_file(&self.vault)
    }
}
