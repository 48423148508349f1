//! `fleet`: encryption sets, managed disks, snapshots, images, and the report on the protection of each.

mod adopt;
mod answers;
mod disk;
mod hosts;
mod image;
mod rekey;
mod set;
mod snapshot;
mod store;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use atrest::managed::{
    DiskService, FleetView, HostOptions, KnownVaults, ProtectionStatus, ResourceReport, ServiceOptions,
};
use atrest_stores::FleetStore;
use atrest_vaults::open_file;
use clap::{Args, Subcommand};
use schemars::JsonSchema;
use serde::Serialize;

use crate::failure::{About, Code, Failure, Result};
use crate::output::{Answer, Output, Text, shown};
use crate::progress::Show;
use crate::vaults::{UnlockVault, only_key};

pub use answers::{Checked, Copies, Rotated, Thing, Things};
pub use hosts::{Attachments, Hosts};
pub use image::Images;
pub use rekey::Rekeyed;
pub use set::{Set, Sets};
pub use store::Copied;

#[derive(Args)]
pub struct Fleet {
    #[command(flatten)]
    at: Place,
    #[command(subcommand)]
    command: Command,
}

/// Where the fleet is, and the vault of its platform.
#[derive(Args)]
struct Place {
    /// The store of the fleet: a file, which is made if it isn't there, or a URL, such as postgres://HOST/DATABASE
    #[arg(long, value_name = "STORE", env = "ATREST_FLEET_STORE", default_value = "fleet.redb", global = true)]
    store: String,
    /// The name of this host among those that share a store; that of the machine if it isn't given
    #[arg(long, value_name = "NAME", env = "ATREST_FLEET_HOST", global = true)]
    host: Option<String>,
    /// How long this host may use disks after a store that hosts share last answered
    #[arg(long, value_name = "SECONDS", env = "ATREST_FLEET_LEASE", default_value_t = 60, global = true)]
    lease: u64,
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
}

#[derive(Subcommand)]
enum Command {
    /// Encryption sets: a key, an identity and the disks that share them
    #[command(subcommand)]
    Set(set::Command),
    /// Managed disks
    #[command(subcommand)]
    Disk(Box<disk::Command>),
    /// Snapshots of disks
    #[command(subcommand)]
    Snapshot(snapshot::Command),
    /// Images: copies of disks in one region or in several
    #[command(subcommand)]
    Image(image::Command),
    /// Reports what protects each disk and snapshot, and whether it is as configured
    Report,
    /// Moves everything under the platform's key to its newest version
    RotatePlatform,
    /// Lists the hosts that share the store, with the states of their leases
    Hosts(hosts::ListHosts),
    /// Lists the devices that hosts have open, and which host has each
    Attachments(hosts::ListAttachments),
    /// The store itself, without a vault: copies, moves and checks it
    #[command(subcommand)]
    Store(store::Command),
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
        let at = self.at;
        let command = self.command;
        let is_first = command.may_be_the_first();
        let open = || at.open(is_first);
        match command {
            Command::Hosts(command) => command.run(&view(&at.store)?, output),
            Command::Attachments(command) => command.run(&view(&at.store)?, output),
            Command::Store(command) => command.run(&at.store, output, yes),
            Command::Set(command) => command.run(&open()?, output, yes),
            Command::Disk(command) => command.run(&open()?, &at.disks, output, show, yes),
            Command::Snapshot(command) => command.run(&open()?, output, show, yes),
            Command::Image(command) => command.run(&open()?, output, show, yes),
            Command::Report => report(&open()?, output),
            Command::RotatePlatform => {
                let rotation = open()?.rotate_platform(&|_| {})?;
                output.answer(&Rotated { key: rotation.key.to_string(), moved: rotation.rewrapped as u64 })
            }
            Command::Backup(Backup { to }) => {
                open()?.backup(&to).about(to.display())?;
                output.answer(&Checked { sound: true, faults: Vec::new() })
            }
            Command::Check => store::checked(open()?.check()?, output),
        }
    }
}

impl Command {
    /// Whether the command may come before there is a store. For all others, a store that isn't there is a wrong path.
    fn may_be_the_first(&self) -> bool {
        match self {
            Command::Set(command) => matches!(command, set::Command::Create(_)),
            Command::Disk(command) => matches!(**command, disk::Command::Create(_) | disk::Command::Adopt(_)),
            _ => false,
        }
    }
}

impl Place {
    fn open(&self, may_make: bool) -> Result<DiskService> {
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
            // A vault of another kind.
            Err(e) if e.code == Code::Usage => self.unlock.open(name)?,
            Err(e) => return Err(e),
        };
        for url in &self.customer_vault {
            vaults.add_file(open_file(url, &atrest_vaults::VaultOptions::new())?)?;
        }
        let disks = atrest_stores::backend(&self.disks)?;
        let options = ServiceOptions::new(disks, Arc::new(vaults), platform, key);
        let store = store::named(&self.store)?;
        if let FleetStore::File(path) = &store
            && !may_make
            && !path.exists()
        {
            let text = "there is no store here; check --store. `atrest fleet set create` and `disk create` make one";
            return Err(Failure::new(Code::NotFound, text).about(path.display()));
        }
        let service = store.open_service(&self.host()?, options);
        match store {
            FleetStore::File(path) => service.about(path.display()),
            FleetStore::Shared(_) => Ok(service?),
        }
    }

    /// This host among those that share a store.
    fn host(&self) -> Result<HostOptions> {
        let name = match &self.host {
            Some(name) => name.clone(),
            None => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        };
        Ok(HostOptions::new(name).lease(Duration::from_secs(self.lease)))
    }
}

/// A look at a store that hosts share.
fn view(store: &str) -> Result<FleetView> {
    match store::named(store)? {
        FleetStore::Shared(store) => Ok(FleetView::new(store)),
        FleetStore::File(path) => {
            let text = "it is a file, which one process has open at a time; only a store that hosts share has hosts";
            Err(Failure::usage(text).about(path.display()))
        }
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
    /// `finished`, or the difference from the configuration.
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
