//! `fleet`: encryption sets, managed disks, snapshots, images, and the report of what protects each.

mod adopt;
mod answers;
mod disk;
mod image;
mod rekey;
mod set;
mod snapshot;

use std::path::PathBuf;
use std::sync::Arc;

use atrest::managed::{DiskService, KnownVaults, ProtectionStatus, ResourceReport, ServiceOptions};
use atrest_vaults::open_file;
use clap::{Args, Subcommand};
use schemars::JsonSchema;
use serde::Serialize;

use crate::failure::{About, Code, Failure, Result};
use crate::output::{Answer, Output, Text, shown};
use crate::progress::Show;
use crate::vaults::{UnlockVault, only_key};

pub use answers::{Checked, Copies, Rotated, Thing, Things};
pub use image::Images;
pub use rekey::Rekeyed;
pub use set::{Set, Sets};

/// Where the fleet is, and the vault of its platform.
#[derive(Args)]
pub struct Fleet {
    /// The store of the fleet, a file, which is made if it isn't there
    #[arg(long, value_name = "FILE", env = "ATREST_FLEET_STORE", default_value = "fleet.redb", global = true)]
    store: PathBuf,
    /// The place of the disks, as a URL: file:FOLDER, nbd://HOST/{id}, or another that `atrest version` lists
    #[arg(long, value_name = "URL", env = "ATREST_FLEET_DISKS", default_value = "file:.", global = true)]
    disks: String,
    /// The platform's vault: the path of a vault file, or a URL
    #[arg(long, value_name = "VAULT", env = "ATREST_VAULT", global = true)]
    vault: Option<String>,
    #[command(flatten)]
    unlock: UnlockVault,
    /// The platform's key in its vault; not needed if a vault file has one key only
    #[arg(long, value_name = "NAME", env = "ATREST_FLEET_KEY", global = true)]
    platform_key: Option<String>,
    /// A customer's vault file, as file:PATH?key-file=PATH; may be given several times. The platform's is one, too
    #[arg(long, value_name = "URL", global = true)]
    customer_vault: Vec<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Encryption sets: a key, an identity and the disks that share them
    #[command(subcommand)]
    Set(set::Command),
    /// Managed disks
    #[command(subcommand)]
    Disk(disk::Command),
    /// Snapshots of disks
    #[command(subcommand)]
    Snapshot(snapshot::Command),
    /// Images: copies of disks in one region or in several
    #[command(subcommand)]
    Image(image::Command),
    /// Reports what protects each disk and snapshot, and whether it is as configured
    Report,
    /// Moves all that is under the platform's key to its newest version
    RotatePlatform,
    /// Copies the store; the disks and vaults are not in the copy
    Backup(Backup),
    /// Checks the store
    Check,
}

#[derive(Args)]
struct Backup {
    /// The file for the copy
    #[arg(value_name = "FILE")]
    to: PathBuf,
}

impl Fleet {
    pub fn run(self, output: Output, show: Show, yes: bool) -> Result<()> {
        let service = self.open()?;
        match self.command {
            Command::Set(command) => command.run(&service, output, yes),
            Command::Disk(command) => command.run(&service, output, show, yes),
            Command::Snapshot(command) => command.run(&service, output, show, yes),
            Command::Image(command) => command.run(&service, output, show, yes),
            Command::Report => report(&service, output),
            Command::RotatePlatform => {
                let rotation = service.rotate_platform(&|_| {})?;
                output.answer(&Rotated { key: rotation.key.to_string(), moved: rotation.rewrapped as u64 })
            }
            Command::Backup(Backup { to }) => {
                service.backup(&to).about(to.display())?;
                output.answer(&Checked { sound: true, faults: Vec::new() })
            }
            Command::Check => {
                let check = service.check()?;
                let is_sound = check.is_sound();
                output.answer(&Checked { sound: is_sound, faults: check.defects })?;
                if is_sound {
                    Ok(())
                } else {
                    Err(Failure::new(Code::Damaged, "the store is damaged; see docs/store.md"))
                }
            }
        }
    }

    fn open(&self) -> Result<DiskService> {
        let name = self.vault.as_deref();
        let name = name.ok_or_else(|| Failure::usage("name the platform's vault by --vault, or by ATREST_VAULT"))?;
        let key = match &self.platform_key {
            Some(key) => key.clone(),
            None => only_key(&self.unlock, name)?,
        };
        let vaults = KnownVaults::new();
        let platform: Arc<dyn atrest::KeyVault> = match self.unlock.open_file(name) {
            Ok(vault) => {
                vaults.add_file(vault.clone())?;
                Arc::new(vault)
            }
            // Of another kind.
            Err(e) if e.code == Code::Usage => self.unlock.open(name)?,
            Err(e) => return Err(e),
        };
        for url in &self.customer_vault {
            vaults.add_file(open_file(url, &atrest_vaults::VaultOptions::new())?)?;
        }
        let disks = atrest_stores::backend(&self.disks)?;
        let options = ServiceOptions::new(disks, Arc::new(vaults), platform, key);
        DiskService::open(&self.store, options).about(self.store.display())
    }
}

/// `fleet report`.
#[derive(Serialize, JsonSchema)]
pub struct Report {
    /// Whether all are as configured.
    finished: bool,
    resources: Vec<Reported>,
}

#[derive(Serialize, JsonSchema)]
struct Reported {
    resource: Thing,
    /// `finished`, or what is not as configured.
    status: serde_json::Value,
    /// Why its header can't be read.
    fault: Option<String>,
    /// The URLs of the keys that its header names.
    keys: Vec<String>,
    /// Whether its data key has encrypted as much as it should.
    key_due: bool,
}

impl Answer for Report {
    fn text(&self, out: &mut Text) {
        let row = |of: &Reported| {
            let key = of.keys.join(" ");
            let status = of.status.as_str().unwrap_or("unknown").replace('_', " ");
            let due = if of.key_due { ", key due" } else { "" };
            [of.resource.kind.into(), shown(&of.resource.name), format!("{status}{due}"), shown(&key)]
        };
        out.table(["KIND", "NAME", "STATUS", "UNDER"], self.resources.iter().map(row));
    }
}

fn report(service: &DiskService, output: Output) -> Result<()> {
    let reports: Vec<ResourceReport> = service.reports()?;
    let finished = reports.iter().all(|report| report.status == ProtectionStatus::Finished);
    let of = |report: ResourceReport| {
        Ok(Reported {
            status: serde_json::to_value(report.status).map_err(std::io::Error::from)?,
            fault: report.fault,
            keys: report.keys.into_iter().chain(report.lower_keys).collect(),
            key_due: report.key_due,
            resource: Thing::of(report.resource),
        })
    };
    output.answer(&Report { finished, resources: reports.into_iter().map(of).collect::<Result<_>>()? })?;
    if finished { Ok(()) } else { Err(Failure::new(Code::No, "not all is as configured")) }
}
