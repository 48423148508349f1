//! `replace-secret`: a new passphrase or startup key for a disk that stays under Azure Disk Encryption.

use atrest_ade::{Disk, ReplaceOptions, Source, replace_secret, replace_token};
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use crate::ade::AdeArgs;
use crate::credentials::KdfArgs;
use crate::devices::{self, Access};
use crate::failure::{Failure, Result};
use crate::output::{Answer, Output, Text, shown};
use crate::stop::Gently;

#[derive(Args)]
pub struct ReplaceSecret {
    /// The disk
    device: String,
    /// The file of its detached header
    #[arg(long, value_name = "FILE")]
    header: Option<String>,
    #[command(flatten)]
    ade: AdeArgs,
    #[command(flatten)]
    kdf: KdfArgs,
}

/// `replace-secret`.
#[derive(Serialize, JsonSchema)]
pub struct ReplacedSecret {
    device: String,
    /// The URL of the version of the secret that opens the disk now; null with --token, whose passphrase is on the disk.
    secret: Option<String>,
}

impl Answer for ReplacedSecret {
    fn text(&self, out: &mut Text) {
        let device = shown(&self.device);
        match &self.secret {
            Some(url) => {
                out.line(format_args!("{device} opens by {}", shown(url)));
                out.line("name that version in the settings of the virtual machine: the one before opens it no longer");
            }
            None => out.line(format_args!("{device} opens by the new passphrase in its token")),
        }
    }
}

impl ReplaceSecret {
    pub fn run(self, output: Output) -> Result<()> {
        if !self.ade.is_given() {
            return Err(Failure::usage("say where the passphrase or startup key is: --secret URL or --token"));
        }
        let mut disk = Disk::new(devices::open(&self.device, Access::Write)?);
        if let Some(header) = &self.header {
            disk = disk.header(devices::open(header, Access::Write)?);
        }
        // Any step may be the last one before a kill; a person is rather left with all of them.
        let _gently = Gently::new();
        let secret = self.ade.ask(|source, vaults| {
            let options = ReplaceOptions::new().keyslot(self.kdf.keyslot()?);
            let replaced = match source {
                Source::Secret { url, kek } => replace_secret(&disk, url, kek.as_ref(), vaults, &options).map(Some),
                Source::Token => replace_token(&disk, vaults, &options).map(|()| None),
                _ => return Err(Failure::usage("this kind of place for a passphrase isn't known")),
            };
            let hint = "if that ended it half-way, the same command goes on: until then both versions have to be kept";
            let told = |e| Failure::from(e).about(&self.device);
            replaced.map_err(|e| if matches!(e, atrest::Error::Io { .. }) { told(e).hint(hint) } else { told(e) })
        })?;
        output.answer(&ReplacedSecret { device: self.device, secret: secret.map(|url| url.to_string()) })
    }
}
