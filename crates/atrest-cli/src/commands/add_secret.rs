//! `add-secret`: the first passphrase or startup key of Azure Disk Encryption for a volume that has none.

use atrest_ade::{SecretUrl, Source, Tags, add_secret, add_token};
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use crate::ade::NewTokenArgs;
use crate::credentials::KdfArgs;
use crate::devices::Access;
use crate::failure::{About, Failure, Result};
use crate::output::{Answer, Output, Text, shown};
use crate::stop::Gently;
use crate::volumes::VolumeArgs;

#[derive(Args)]
pub struct AddSecret {
    #[command(flatten)]
    volume: VolumeArgs,
    /// The name of the machine, for the secret's tag
    #[arg(long, value_name = "NAME", requires = "secret")]
    machine: Option<String>,
    /// Linux: the name of the passphrase's file, for the secret's tag: LinuxPassPhraseFileName, or that and _CONTROLLER_LUN for a data
    /// disk
    #[arg(long, value_name = "NAME", requires = "secret")]
    file_name: Option<String>,
    /// Windows: the drive letter, for the secret's tag
    #[arg(long, value_name = "LETTER", requires = "secret")]
    volume_letter: Option<String>,
    /// Windows: the label of the volume, for the secret's tag
    #[arg(long, value_name = "TEXT", requires = "secret")]
    volume_label: Option<String>,
    #[command(flatten)]
    token: NewTokenArgs,
    #[command(flatten)]
    kdf: KdfArgs,
}

/// `add-secret`.
#[derive(Serialize, JsonSchema)]
pub struct AddedSecret {
    device: String,
    /// The URL of the version of the secret that opens the disk; null with --token, whose passphrase is on the disk.
    secret: Option<String>,
}

impl Answer for AddedSecret {
    fn text(&self, out: &mut Text) {
        let device = shown(&self.device);
        match &self.secret {
            Some(url) => {
                out.line(format_args!("{device} opens by {}", shown(url)));
                out.line("name it in the settings of the virtual machine; what opened the disk before opens it still");
            }
            None => out.line(format_args!(
                "{device} opens by the passphrase in its token; what opened the disk before opens it still"
            )),
        }
    }
}

impl AddSecret {
    pub fn run(self, output: Output) -> Result<()> {
        let keyslot = self.kdf.keyslot()?;
        let (volume, ade) = self.volume.open_beside_ade(Access::Write)?;
        // Any step may be the last one before a kill; a person is rather left with all of them.
        let _gently = Gently::new();
        let secret = ade.ask(|source, vaults| {
            let added = match source {
                Source::Secret { url, kek } => {
                    let mut tags = Tags::default();
                    tags.kek.clone_from(kek);
                    tags.file_name.clone_from(&self.file_name);
                    tags.machine_name.clone_from(&self.machine);
                    tags.volume_letter.clone_from(&self.volume_letter);
                    tags.volume_label.clone_from(&self.volume_label);
                    add_secret(&volume, url, &tags, vaults, &keyslot).map(Some)
                }
                Source::Token => add_token(&volume, &ade.new_token(&self.token)?, vaults, &keyslot).map(|()| None),
                _ => return Err(Failure::usage("this kind of place for a passphrase isn't known")),
            };
            added.about(&self.volume.device)
        })?;
        output.answer(&AddedSecret {
            device: self.volume.device.clone(),
            secret: secret.as_ref().map(SecretUrl::to_string),
        })
    }
}
