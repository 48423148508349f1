//! `fleet disk adopt`.

use std::path::PathBuf;

use atrest::managed::{AdoptOptions, DiskService, NewDisk};
use atrest::{Credential, Secret};
use clap::Args;

use super::answers::Thing;
#[cfg(feature = "kms")]
use crate::commands::take_over::AdeArgs;
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::secrets::{self, Source};

#[derive(Args)]
pub struct Adopt {
    /// The name of the disk
    name: String,
    /// The file with the volume, on the file system of the place of the disks; it is moved there
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
    /// What opens it now: a key file, of which every byte is the passphrase
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// What opens it now: where its passphrase comes from, file:PATH, fd:NUMBER, command:COMMAND or prompt
    #[arg(long, value_name = "SOURCE", value_parser = secrets::parse, conflicts_with = "key_file")]
    passphrase_from: Option<Source>,
    #[cfg(feature = "kms")]
    #[command(flatten)]
    ade: AdeArgs,
}

/// How many bytes a step of the re-encryption moves.
const STEP: u64 = 64 << 20;

impl Adopt {
    pub fn run(self, service: &DiskService, output: Output) -> Result<()> {
        let new = NewDisk::new(&self.name, 0).region(&self.region).subscription(&self.subscription);
        let new = new.encryption_set(self.set.as_deref());
        let mut options = AdoptOptions::new().guest_encrypted(self.guest_encrypted).reencrypt(self.reencrypt);
        let found = self.of_azure()?;
        if found.is_some() {
            options = options.guest_encrypted(true);
        }
        let secret = match (&self.key_file, &self.passphrase_from, found) {
            (Some(_), None, None) => None,
            (None, source, None) => Some(match source {
                Some(source) => source.read("passphrase of the volume", false)?,
                None => secrets::prompt("passphrase of the volume", false)?,
            }),
            (None, None, found) => found,
            _ => return Err(Failure::usage("give one way to open the volume, not several")),
        };
        let credential = match (&secret, &self.key_file) {
            (None, Some(path)) => Credential::KeyFile(path),
            (secret, _) => Credential::Passphrase(secret.as_ref().map_or(&[], Secret::expose)),
        };
        let mut disk = service.adopt_disk(&new, &self.image, credential, &options)?;
        if disk.reencryption.is_some() {
            while !service.reencrypt_step(&self.name, STEP)?.is_finished() {}
            disk = service.resource(&disk.full_name())?;
        }
        output.answer(&Thing::of(disk))
    }

    /// The passphrase of a disk of Azure Disk Encryption, if it is said where that is.
    #[cfg(feature = "kms")]
    fn of_azure(&self) -> Result<Option<Secret>> {
        use crate::devices::{Access, open};
        use crate::failure::About;
        use atrest_ade::{Disk, passphrase};
        if !self.ade.is_given() {
            return Ok(None);
        }
        self.ade.ask(|source, vaults| {
            let disk = Disk::new(open(&self.image, Access::Read)?);
            passphrase(&disk, source, vaults).map(Some).about(&self.image)
        })
    }

    #[cfg(not(feature = "kms"))]
    fn of_azure(&self) -> Result<Option<Secret>> {
        Ok(None)
    }
}
