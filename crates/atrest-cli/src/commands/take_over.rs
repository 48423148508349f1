//! `take-over`: a disk of Azure Disk Encryption comes under a vault's key.

use atrest::OpenOptions;
use atrest::volume::ProtectorId;
use atrest_ade::{Disk, Source, TakeOverOptions, Vaults, open, take_over};
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use crate::ade::AdeArgs;
use crate::credentials::ProtectArgs;
use crate::devices::{self, Access};
use crate::failure::{About, Failure, Result, no_room_apart};
use crate::guard::Guard;
use crate::output::{Answer, Output, Text, shown};

#[derive(Args)]
pub struct TakeOver {
    /// The disk
    device: String,
    /// The file of its detached header
    #[arg(long, value_name = "FILE")]
    header: Option<String>,
    #[command(flatten)]
    ade: AdeArgs,
    /// Converts a header of LUKS1 first
    #[arg(long)]
    convert: bool,
    /// Encrypts the data again, under a new key
    #[arg(long)]
    reencrypt: bool,
    /// Only opens the disk, and changes nothing
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    protect: ProtectArgs,
}

/// `take-over`.
#[derive(Serialize, JsonSchema)]
pub struct TakenOver {
    device: String,
    /// The bytes of its data.
    bytes: u64,
    /// Whether a vault's key opens it now; false with --check.
    taken: bool,
    /// The ways in that were removed, such as `keyslot 0`.
    removed: Vec<String>,
    /// The ways in that are left, and are not of Azure Disk Encryption.
    left: Vec<String>,
}

impl Answer for TakenOver {
    fn text(&self, out: &mut Text) {
        if !self.taken {
            return out.line(format_args!("the secret or token opens {}; nothing was changed", shown(&self.device)));
        }
        out.line(format_args!("the vault opens {}", shown(&self.device)));
        self.removed.iter().for_each(|id| out.line(format_args!("removed {id}")));
        for id in &self.left {
            out.line(format_args!("left {id}, which isn't of Azure Disk Encryption: its passphrase opens the disk"));
        }
    }
}

impl TakeOver {
    pub fn run(self, output: Output) -> Result<()> {
        if !self.ade.is_given() {
            return Err(Failure::usage("say where the passphrase or startup key is: --secret URL or --token"));
        }
        self.ade.ask(|source, vaults| self.take(source, vaults, output))
    }

    fn take(&self, source: &Source, vaults: Vaults<'_>, output: Output) -> Result<()> {
        let access = if self.check { Access::Read } else { Access::Write };
        let mut disk = Disk::new(devices::open(&self.device, access)?);
        if let Some(header) = &self.header {
            disk = disk.header(devices::open(header, access)?);
        }
        let mut answer =
            TakenOver { device: self.device.clone(), bytes: 0, taken: false, removed: Vec::new(), left: Vec::new() };
        if self.check {
            let volume = open(&disk, source, vaults, &OpenOptions::new().read_only(true)).about(&self.device)?;
            answer.bytes = volume.size();
            return output.answer(&answer);
        }
        let Guard::Vault(vault, key) = self.protect.guard()? else {
            return Err(Failure::usage("name the vault that opens the disk from now on by --vault"));
        };
        if self.convert {
            let converted = disk.convert_to_luks2();
            match &self.header {
                Some(header) => converted.map_err(|e| no_room_apart(e, header)).about(header)?,
                None => converted.about(&self.device)?,
            }
        }
        let options = TakeOverOptions::new().reencrypt(self.reencrypt);
        let taken = take_over(&disk, source, vaults, &*vault, &key, &options).about(&self.device)?;
        let names = |ids: &[ProtectorId]| ids.iter().map(ToString::to_string).collect();
        (answer.bytes, answer.taken) = (taken.volume.size(), true);
        (answer.removed, answer.left) = (names(&taken.removed), names(&taken.left));
        output.answer(&answer)
    }
}
