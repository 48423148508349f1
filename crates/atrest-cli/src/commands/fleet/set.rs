//! `fleet set`.

use atrest::EncryptionType;
use atrest::key::KeyId;
use atrest::managed::{DiskService, EncryptionSet, NewSet};
use clap::{Args, Subcommand};
use schemars::JsonSchema;
use serde::Serialize;

use super::answers::Rotated;
use crate::confirm::confirm;
use crate::failure::{Failure, Result};
use crate::output::{Answer, Output, Text, note, shown};

#[derive(Subcommand)]
pub enum Command {
    /// Makes a set under a key
    Create(Create),
    /// Lists the sets
    Ls,
    /// Shows a set
    Show(Named),
    /// Moves a set and all its disks to the newest version of its key
    Rotate(Named),
    /// Lets a set that failed to rotate try again
    ClearError(Named),
    /// Removes a set without disks and snapshots
    Rm(Named),
}

#[derive(Args)]
pub struct Create {
    /// The name of the set
    name: String,
    /// The URL of the key's version, as `atrest key show --json` has it
    #[arg(long, value_name = "URL")]
    key: String,
    /// The region of the set and of its vault
    #[arg(long, value_name = "TEXT")]
    region: String,
    /// The subscription
    #[arg(long, value_name = "TEXT")]
    subscription: String,
    /// The tenant of the set and of its vault
    #[arg(long, value_name = "TEXT")]
    tenant: String,
    /// Two layers: one under the platform's key, one under this
    #[arg(long)]
    double: bool,
    /// Follows newer versions of the key
    #[arg(long)]
    auto_rotation: bool,
}

#[derive(Args)]
pub struct Named {
    /// The name of the set
    name: String,
}

/// `fleet set create`, `fleet set show`, and each of `fleet set ls`.
#[derive(Serialize, JsonSchema)]
pub struct Set {
    name: String,
    region: String,
    subscription: String,
    tenant: String,
    /// The identity that the vault's owner grants `get`, `wrapKey` and `unwrapKey`.
    identity: String,
    /// `customer-key` or `platform-and-customer-keys`.
    encryption_type: &'static str,
    /// The URL of the key that its disks are under, or move to.
    active_key: String,
    /// The keys that disks may still be under during a rotation.
    previous_keys: Vec<String>,
    auto_rotation: bool,
    /// Why its last rotation stopped; null if it didn't.
    rotation_error: Option<String>,
    /// Its disks and snapshots.
    members: Vec<String>,
}

impl Set {
    fn of(service: &DiskService, name: &str) -> Result<Self> {
        let set: EncryptionSet = service.encryption_set(name)?;
        Ok(Set {
            members: service.members(name)?.iter().map(ToString::to_string).collect(),
            name: set.name,
            region: set.region,
            subscription: set.subscription,
            tenant: set.tenant,
            identity: set.identity,
            encryption_type: set.encryption_type.name(),
            active_key: set.active_key.to_string(),
            previous_keys: set.previous_keys.iter().map(ToString::to_string).collect(),
            auto_rotation: set.auto_rotation,
            rotation_error: set.auto_key_rotation_error.map(|error| error.message),
        })
    }
}

impl Answer for Set {
    fn text(&self, out: &mut Text) {
        out.pair("set", shown(&self.name));
        out.pair("key", shown(&self.active_key));
        out.pair("identity", shown(&self.identity));
        out.pair(
            "place",
            format_args!("{}, {}, {}", shown(&self.region), shown(&self.subscription), shown(&self.tenant)),
        );
        if !self.previous_keys.is_empty() {
            out.pair("moving from", shown(&self.previous_keys.join(" ")));
        }
        if let Some(error) = &self.rotation_error {
            out.pair("rotation failed", shown(error));
        }
        out.pair("members", if self.members.is_empty() { "none".into() } else { shown(&self.members.join(", ")) });
    }
}

/// `fleet set ls`.
#[derive(Serialize, JsonSchema)]
pub struct Sets {
    sets: Vec<Set>,
}

impl Answer for Sets {
    fn text(&self, out: &mut Text) {
        let row = |set: &Set| [shown(&set.name), set.members.len().to_string(), shown(&set.active_key)];
        out.table(["SET", "MEMBERS", "KEY"], self.sets.iter().map(row));
    }
}

impl Command {
    pub fn run(self, service: &DiskService, output: Output, yes: bool) -> Result<()> {
        match self {
            Command::Create(create) => create.run(service, output),
            Command::Ls => list(service, output),
            Command::Show(Named { name }) => output.answer(&Set::of(service, &name)?),
            Command::Rotate(Named { name }) => {
                let rotation = service.rotate_set(&name, &|_| {})?;
                output.answer(&Rotated { key: rotation.key.to_string(), moved: rotation.rewrapped as u64 })
            }
            Command::ClearError(Named { name }) => {
                service.clear_rotation_error(&name)?;
                output.answer(&Set::of(service, &name)?)
            }
            Command::Rm(Named { name }) => {
                service.encryption_set(&name)?;
                confirm(yes, &format!("The set {name:?} and its identity will be removed."))?;
                service.delete_set(&name)?;
                list(service, output)
            }
        }
    }
}

fn list(service: &DiskService, output: Output) -> Result<()> {
    let names = service.encryption_sets()?;
    output.answer(&Sets { sets: names.iter().map(|name| Set::of(service, name)).collect::<Result<_>>()? })
}

impl Create {
    fn run(self, service: &DiskService, output: Output) -> Result<()> {
        let bad = |_| Failure::usage("--key is the URL of a key's version: VAULT/keys/NAME/VERSION");
        let key: KeyId = self.key.parse().map_err(bad)?;
        let kind = if self.double { EncryptionType::PlatformAndCustomerKeys } else { EncryptionType::CustomerKey };
        let new = NewSet::new(&self.name, key)
            .region(self.region)
            .subscription(self.subscription)
            .tenant(self.tenant)
            .encryption_type(kind)
            .auto_rotation(self.auto_rotation);
        let identity = service.create_set(&new)?.identity;
        note(format_args!("the vault's owner lets it use the key by `atrest grant {identity}`"));
        output.answer(&Set::of(service, &self.name)?)
    }
}
