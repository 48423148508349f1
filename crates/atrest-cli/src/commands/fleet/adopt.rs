//! `fleet disk adopt`.

use std::path::PathBuf;

use atrest::Error;
use atrest::managed::{AdoptOptions, DiskService, NewDisk, Resource, ResourceName};
use clap::Args;

use super::answers::Thing;
#[cfg(feature = "kms")]
use crate::ade::AdeArgs;
use crate::credentials::Opener;
use crate::failure::{Failure, Result};
use crate::output::{Output, quoted};
use crate::progress::{Progress, Show};
use crate::secrets::{self, Source};
use crate::stop::{self, Gently};

#[derive(Args)]
pub struct Adopt {
    /// The name of the disk
    name: String,
    /// The volume, which becomes the disk: a file on the file system of the place of the disks, which is moved there, or an image
    /// of the pool, by its name in it
    image: String,
    /// The region
    #[arg(long, value_name = "TEXT")]
    region: String,
    /// The subscription
    #[arg(long, value_name = "TEXT")]
    subscription: String,
    /// The encryption set; without one, the platform's key protects the disk
    #[arg(long, value_name = "NAME")]
    set: Option<String>,
    /// A guest has encrypted it: into a set it comes only with --reencrypt
    #[arg(long)]
    guest_encrypted: bool,
    /// Orders a new data key, and moves the data to it
    #[arg(long)]
    reencrypt: bool,
    /// The key file that opens it now: every byte of it is the passphrase
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Where the passphrase that opens it now comes from: file:PATH, fd:NUMBER, command:COMMAND or prompt
    #[arg(long, value_name = "SOURCE", value_parser = secrets::parse, conflicts_with = "key_file")]
    passphrase_from: Option<Source>,
    #[cfg(feature = "kms")]
    #[command(flatten)]
    ade: AdeArgs,
}

/// How much is rewritten between two looks at the signals.
const STEP: u64 = 16 << 20;

impl Adopt {
    /// `disks` is the URL of the place of the disks.
    pub fn run(self, service: &DiskService, disks: &str, output: Output, show: Show) -> Result<()> {
        let new = NewDisk::new(&self.name, 0).region(&self.region).subscription(&self.subscription);
        let new = new.encryption_set(self.set.as_deref());
        let mut options = AdoptOptions::new().guest_encrypted(self.guest_encrypted).reencrypt(self.reencrypt);
        let found = self.of_azure(service, disks)?;
        if found.is_some() {
            options = options.guest_encrypted(true);
        }
        let opener = match (&self.key_file, &self.passphrase_from, found) {
            (Some(path), None, None) => Opener::KeyFile(path.clone()),
            (None, source, None) => Opener::Passphrase(match source {
                Some(source) => source.read("passphrase of the volume", false)?,
                None => secrets::prompt("passphrase of the volume", false)?,
            }),
            (None, None, Some(found)) => found,
            _ => return Err(Failure::usage("give one way to open the volume, not several")),
        };
        let credential = opener.credential()?;
        // A signal that comes from here on is looked at between steps.
        let _gently = Gently::new();
        let mut disk =
            service.adopt_disk(&new, &self.image, credential, &options).map_err(|e| self.failed(service, e))?;
        if disk.reencryption.is_some() {
            self.rekey(service, disk.size, show)?;
            disk = service.resource(&disk.full_name())?;
        }
        output.answer(&Thing::of(disk))
    }

    /// Moves the data to the new data key.
    fn rekey(&self, service: &DiskService, total: u64, show: Show) -> Result<()> {
        let goes_on = self.goes_on();
        let progress = Progress::new(show, "encrypting", total);
        loop {
            stop::check(&format!("stopped; the disk can be used, and {goes_on}"))?;
            let step = service.reencrypt_step(&self.name, STEP).map_err(|e| Failure::from(e).hint(&goes_on))?;
            progress.set(step.done);
            if step.is_finished() {
                return Ok(());
            }
        }
    }

    fn goes_on(&self) -> String {
        format!("`atrest fleet disk rekey {} --resume` goes on", quoted(&self.name))
    }

    /// Adds how to go on from the state that is there already.
    fn failed(&self, service: &DiskService, error: Error) -> Failure {
        let exists = matches!(error, Error::ResourceExists(_));
        let failure = Failure::from(error);
        let Ok(found) = service.resource(&ResourceName::disk(&self.name)) else { return failure };
        let is_under_way = found.reencryption.as_ref().is_some_and(|reencryption| reencryption.finished.is_none());
        if self.reencrypt && is_under_way {
            failure.hint(&format!("its re-encryption isn't finished, and {}", self.goes_on()))
        } else if !exists && self.is_begun(&found) {
            failure.hint("its adoption isn't finished, and the same command goes on")
        } else {
            failure
        }
    }

    /// Whether the image is becoming this disk.
    fn is_begun(&self, disk: &Resource) -> bool {
        disk.adopting.as_ref().is_some_and(|adopting| adopting.image == self.image)
    }

    /// The disk that the image is becoming, by a call that was killed.
    #[cfg(feature = "kms")]
    fn begun(&self, service: &DiskService) -> Option<Resource> {
        service.resource(&ResourceName::disk(&self.name)).ok().filter(|disk| self.is_begun(disk))
    }

    /// The credential of a disk of Azure Disk Encryption, if its place was given.
    #[cfg(feature = "kms")]
    fn of_azure(&self, service: &DiskService, disks: &str) -> Result<Option<Opener>> {
        use crate::failure::About;
        use atrest_ade::{Disk, credential};
        if !self.ade.is_given() {
            return Ok(None);
        }
        let backend = atrest_stores::backend(disks)?;
        // The place of the disks knows the kind of an image: a file, or one of a pool.
        let device = match (backend.open_image(&self.region, &self.image), self.begun(service)) {
            // A call that was killed has moved it.
            (Err(Error::NotFound { .. }), Some(disk)) => backend.open(&disk.region, &disk.id)?,
            (opened, _) => opened?,
        };
        let found = self.ade.ask(|source, vaults| credential(&Disk::new(device), source, vaults).about(&self.image));
        found.map(Opener::Azure).map(Some)
    }

    #[cfg(not(feature = "kms"))]
    fn of_azure(&self, _: &DiskService, _: &str) -> Result<Option<Opener>> {
        Ok(None)
    }
}
