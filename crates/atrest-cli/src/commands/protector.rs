//! `protector`: the ways into a volume.

use atrest::volume::{Header, HeaderFormat, ProtectorId};
use clap::{Args, Subcommand};
use schemars::JsonSchema;
use serde::Serialize;

use super::info::{Keyslot, Token, header_device, keyslots, tokens};
use crate::confirm::confirm;
use crate::credentials::NewProtectArgs;
use crate::devices::Access;
use crate::failure::{About, Code, Failure, Result};
#[cfg(feature = "bitlocker")]
use crate::output::note;
use crate::output::{Answer, Output, Text};
use crate::volumes::{AnyVolume, VolumeArgs};

#[derive(Subcommand)]
pub enum Command {
    /// Adds a way into a volume
    Add(Add),
    /// Makes a keyslot that the vaults' tokens name, so that cryptsetup and systemd open the volume by a vault
    Bind(Bind),
    /// Lists the ways into a volume
    Ls(List),
    /// Replaces the passphrase or key file of a keyslot
    Change(Change),
    /// Removes a way into a volume
    Rm(Remove),
    /// Suspends the protection of a BitLocker volume: writes a key to it in the clear
    #[cfg(feature = "bitlocker")]
    Suspend(List),
    /// Resumes the protection of a BitLocker volume: removes the keys in the clear
    #[cfg(feature = "bitlocker")]
    Resume(List),
}

#[derive(Args)]
pub struct Add {
    #[command(flatten)]
    volume: VolumeArgs,
    #[command(flatten)]
    new: NewProtectArgs,
}

#[derive(Args)]
pub struct Bind {
    #[command(flatten)]
    volume: VolumeArgs,
}

#[derive(Args)]
pub struct List {
    #[command(flatten)]
    volume: VolumeArgs,
}

#[derive(Args)]
pub struct Change {
    #[command(flatten)]
    volume: VolumeArgs,
    /// The keyslot, as `atrest protector ls` names it
    #[arg(value_name = "keyslot:NUMBER", value_parser = parse)]
    protector: ProtectorId,
    #[command(flatten)]
    new: NewProtectArgs,
}

#[derive(Args)]
pub struct Remove {
    #[command(flatten)]
    volume: VolumeArgs,
    /// The way in, as `atrest protector ls` names it
    #[arg(value_name = "keyslot:NUMBER or token:NUMBER", value_parser = parse)]
    protector: ProtectorId,
}

fn parse(text: &str) -> Result<ProtectorId, String> {
    let id = text.split_once(':').and_then(|(kind, number)| {
        let number = number.parse().ok()?;
        match kind {
            "keyslot" => Some(ProtectorId::Keyslot(number)),
            "token" => Some(ProtectorId::Token(number)),
            _ => None,
        }
    });
    id.ok_or_else(|| "a way in is keyslot:NUMBER or token:NUMBER, as `atrest protector ls` shows it".into())
}

/// All `protector` commands: the ways into the volume afterwards.
#[derive(Serialize, JsonSchema)]
pub struct Protectors {
    device: String,
    keyslots: Vec<Keyslot>,
    tokens: Vec<Token>,
    /// The way in that was added, such as `keyslot:1`; null if none was.
    added: Option<String>,
}

impl Answer for Protectors {
    fn text(&self, out: &mut Text) {
        let rows = self.tokens.iter().map(Token::row).chain(self.keyslots.iter().map(Keyslot::row));
        out.table(["WAY IN", "WHAT OPENS IT", ""], rows);
    }
}

fn named(id: ProtectorId) -> String {
    match id {
        ProtectorId::Keyslot(id) => format!("keyslot:{id}"),
        ProtectorId::Token(id) => format!("token:{id}"),
        other => other.to_string(),
    }
}

fn list(header: &Header<'_>, device: &str, added: Option<ProtectorId>, output: Output) -> Result<()> {
    output.answer(&Protectors {
        device: device.into(),
        keyslots: keyslots(header),
        tokens: tokens(header),
        added: added.map(named),
    })
}

fn after(volume: &AnyVolume, device: &str, added: Option<ProtectorId>, output: Output) -> Result<()> {
    list(&volume.header(), device, added, output)
}

impl Command {
    pub fn run(self, output: Output, yes: bool) -> Result<()> {
        match self {
            Command::Add(Add { volume, new }) => {
                let (opened, _) = volume.open(Access::Write)?;
                let guards = new.guards()?;
                let keyslot = new.kdf.keyslot()?;
                let add = || opened.add_protector(guards.first().protector(), &keyslot);
                let added = guards.protecting(add, may_be_written).about(&volume.device)?;
                after(&opened, &volume.device, Some(added), output)
            }
            Command::Bind(Bind { volume }) => {
                let (opened, _) = volume.open(Access::Write)?;
                let bound = opened.bind_tokens().map_err(missing).about(&volume.device)?;
                after(&opened, &volume.device, Some(ProtectorId::Keyslot(bound)), output)
            }
            Command::Ls(List { volume }) => {
                let (device, name) = header_device(&volume, Access::Read)?;
                list(&Header::load(&device).about(name)?, &volume.device, None, output)
            }
            Command::Change(Change { volume, protector, new }) => {
                let ProtectorId::Keyslot(id) = protector else {
                    let text = "a vault's key is changed by `atrest rotate`, or by adding the new and removing the old";
                    return Err(Failure::usage(text));
                };
                let (opened, _) = volume.open(Access::Write)?;
                let guards = new.guards()?;
                let keyslot = new.kdf.keyslot()?;
                // It adds the new way, and then removes the old, which may fail by itself.
                let change = || opened.change_keyslot(id, guards.first().protector(), &keyslot);
                let changed = guards.protecting(change, |_| true);
                let changed = changed.map_err(missing).about(&volume.device)?;
                after(&opened, &volume.device, Some(ProtectorId::Keyslot(changed)), output)
            }
            Command::Rm(Remove { volume, protector }) => {
                let (device, name) = header_device(&volume, Access::Write)?;
                let mut header = Header::load(&device).about(name)?;
                let found = match protector {
                    ProtectorId::Keyslot(id) => header.keyslots().iter().any(|slot| slot.id == id),
                    ProtectorId::Token(id) => header.tokens().iter().any(|token| token.id == id),
                    _ => false,
                };
                if !found {
                    return Err(Failure::new(
                        Code::NotFound,
                        format!("there is no {}; `atrest protector ls` lists what there is", named(protector)),
                    )
                    .about(name));
                }
                // The metadata of BitLocker is proved by a key that opening the volume gives.
                let is_bitlocker = header.format() == HeaderFormat::BitLocker;
                confirm(
                    yes,
                    &format!(
                        "{} of {name} will be destroyed: anyone without another way in can't open the volume any more.",
                        named(protector)
                    ),
                )?;
                if is_bitlocker {
                    // Opening takes the device, which may be held once only.
                    drop(header);
                    drop(device);
                    let (opened, _) = volume.open(Access::Write)?;
                    opened.header().remove_protector(protector).map_err(missing).about(name)?;
                    return after(&opened, &volume.device, None, output);
                }
                header.remove_protector(protector).about(name)?;
                list(&header, &volume.device, None, output)
            }
            #[cfg(feature = "bitlocker")]
            Command::Suspend(List { volume }) => {
                let (opened, _) = volume.open(Access::Write)?;
                let text = format!("A key that opens {} will be written to it in the clear.", volume.device);
                confirm(yes, &text)?;
                let added = opened.hazmat_suspend_protection().about(&volume.device)?;
                after(&opened, &volume.device, Some(added), output)
            }
            #[cfg(feature = "bitlocker")]
            Command::Resume(List { volume }) => {
                let (opened, _) = volume.open(Access::Write)?;
                if !opened.resume_protection().about(&volume.device)? {
                    note(format_args!("the protection of {} was not suspended", volume.device));
                }
                after(&opened, &volume.device, None, output)
            }
        }
    }
}

/// Whether a change of the header that failed may have written to it.
fn may_be_written(error: &atrest::Error) -> bool {
    matches!(error, atrest::Error::Io { .. })
}

fn missing(error: atrest::Error) -> Failure {
    let is_missing = matches!(error, atrest::Error::NoSuchProtector(_));
    let failure = Failure::from(error);
    if is_missing { Failure { code: Code::NotFound, ..failure } } else { failure }
}
