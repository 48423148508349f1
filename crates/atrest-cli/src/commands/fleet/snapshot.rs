//! `fleet snapshot`.

use atrest::managed::{DiskService, NewSnapshot, ResourceKind, ResourceName};
use clap::{Args, Subcommand};

use super::answers::{Thing, things};
use crate::confirm::confirm;
use crate::failure::Result;
use crate::output::Output;
use crate::progress::{Progress, Show};

#[derive(Subcommand)]
pub enum Command {
    /// Makes a snapshot of a disk
    Create(Create),
    /// Lists the snapshots
    Ls,
    /// Removes a snapshot; later ones keep what they need of it
    Rm(Named),
}

#[derive(Args)]
pub struct Create {
    /// The name of the snapshot
    name: String,
    /// The disk
    #[arg(long, value_name = "NAME")]
    disk: String,
    /// Keeps only the changes since the one before
    #[arg(long)]
    incremental: bool,
    /// The encryption set, if it isn't the disk's
    #[arg(long, value_name = "NAME")]
    set: Option<String>,
}

#[derive(Args)]
pub struct Named {
    /// The name of the snapshot
    name: String,
}

impl Command {
    pub fn run(self, service: &DiskService, output: Output, show: Show, yes: bool) -> Result<()> {
        match self {
            Command::Create(Create { name, disk, incremental, set }) => {
                let new = NewSnapshot::new(name, &disk).incremental(incremental).encryption_set(set.as_deref());
                let progress = Progress::new(show, "copying", service.resource(&ResourceName::disk(&disk))?.size);
                let snapshot = service.create_snapshot(&new, &|done| progress.set(done.done))?;
                drop(progress);
                output.answer(&Thing::of(snapshot))
            }
            Command::Ls => list(service, output),
            Command::Rm(Named { name }) => {
                let name = ResourceName::snapshot(name);
                service.resource(&name)?;
                confirm(yes, &format!("The {name} will be removed with its data."))?;
                service.delete(&name)?;
                list(service, output)
            }
        }
    }
}

fn list(service: &DiskService, output: Output) -> Result<()> {
    let names = service.names(ResourceKind::Snapshot)?;
    things(service, names.into_iter().map(ResourceName::snapshot).collect(), output)
}
