//! `encrypt --in-place`, `reencrypt` and `resize`: changes of a volume where it lies.

use std::fs;
use std::path::Path;

use atrest::volume::{ReencryptOptions, Resilience};
use atrest::{BlockDevice, Error, OpenOptions, Protector, Volume};
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use super::format::{CipherName, FormatArgs, Formatted, HeaderFile};
use crate::confirm::confirm;
use crate::credentials::{NewProtectArgs, Opener, ProtectArgs};
use crate::devices::{self, Access, Device};
use crate::failure::{About, Failure, Result, no_room};
use crate::guard::{Guard, Guards};
use crate::output::{Answer, Output, Text, quoted, shown, size};
use crate::progress::{Progress, Show};
use crate::stop::{self, Gently};
use crate::units::parse_size;
use crate::volumes::{AnyVolume, VolumeArgs, sector_size};

/// The most bytes of one step, between two looks at signals.
const STEP: u64 = 64 << 20;

/// Options of an encryption in place.
#[derive(Debug, Args)]
#[command(next_help_heading = "Encryption in place")]
pub struct InPlace {
    /// Encrypts the data of this device where it lies
    #[arg(long = "in-place", id = "in_place", value_name = "DEV", conflicts_with_all = ["source", "destination", "verify", "sparse"])]
    device: Option<String>,
    /// Goes on with an encryption that was stopped
    #[arg(long, requires = "in_place")]
    resume: bool,
    /// So many bytes at the end of the device hold nothing, twice the data offset: shrink the file system first
    #[arg(long, value_name = "SIZE", value_parser = parse_size, requires = "in_place")]
    free_at_end: Option<u64>,
    /// Enlarges an image file by that much instead
    #[arg(long, requires = "in_place", conflicts_with_all = ["free_at_end", "resume"])]
    grow: bool,
}

impl InPlace {
    pub fn is_given(&self) -> bool {
        self.device.is_some()
    }
}

/// `encrypt --in-place` and `reencrypt`.
#[derive(Serialize, JsonSchema)]
pub struct Reencrypted {
    /// The bytes of the data.
    bytes: u64,
    seconds: f64,
    volume: Formatted,
}

impl Answer for Reencrypted {
    fn text(&self, out: &mut Text) {
        out.line(format_args!("{} are encrypted under the new key, after {:.1} s", size(self.bytes), self.seconds));
        self.volume.text(out);
    }
}

pub fn encrypt_in_place(
    args: &InPlace,
    format: &FormatArgs,
    protect: &ProtectArgs,
    output: Output,
    show: Show,
    yes: bool,
) -> Result<()> {
    let Some(name) = &args.device else { return Err(Failure::usage("name the device")) };
    if format.is_bitlocker() {
        return Err(Failure::usage("a BitLocker volume is made anew, by `atrest encrypt --bitlocker SRC DST`"));
    }
    let resumed = |text: &str| {
        format!("{text}; go on by `atrest encrypt --in-place {} --resume`, with the same options", quoted(name))
    };
    let device = devices::open(name, Access::Write)?;
    if args.resume {
        let mut open = OpenOptions::new().hazmat_allow_unencrypted(true);
        if let Some(header) = &format.header {
            open = open.header(devices::open(&header.display().to_string(), Access::Write)?);
        }
        let guard = protect.guard_of_old()?;
        let volume = Volume::open(device, guard.credential(), &open).about(name)?;
        let _gently = Gently::new();
        if volume.reencryption().is_none() {
            return Err(Failure::refused("nothing is under way there; without --resume it begins").about(name));
        }
        return go_on(&volume, name, "encrypting", &resumed, output, show);
    }
    let free = free_at_end(args, format, &device)?;
    if args.grow {
        confirm(
            yes,
            &format!("{name} will be enlarged by {} and encrypted where it lies. Have a backup.", size(free)),
        )?;
        let len = devices::size_of(&*device)?.checked_add(free).ok_or_else(|| Failure::usage("it is too large"))?;
        device.set_size(len).about(name)?;
    } else {
        let end = if free > 0 { format!(" and what its last {} hold is lost", size(free)) } else { String::new() };
        confirm(
            yes,
            &format!("{name} will be encrypted where it lies{end}: {}. Have a backup.", devices::content(&device)),
        )?;
    }
    let guard = protect.guard()?;
    let header = HeaderFile::open(format.header.as_deref(), None, yes)?;
    let options = header.add_to(format.options(protect)?);
    // A signal that comes from here on is looked at between steps.
    let _gently = Gently::new();
    let begun = Volume::begin_encryption(device, guard.protector(), &options, free);
    let volume = begun.map_err(|e| match e {
        Error::Busy { .. } => Failure::from(e).hint(&resumed("it was begun already")),
        e => no_room(e),
    });
    let volume = volume.about(name)?;
    // From here on the header is needed to go on.
    header.finish()?;
    go_on(&volume, name, "encrypting", &resumed, output, show)
}

fn free_at_end(args: &InPlace, format: &FormatArgs, device: &Device) -> Result<u64> {
    let twice = format.data_start().saturating_mul(2);
    match (args.free_at_end, args.grow, &format.header) {
        (None, false, Some(_)) => Ok(0),
        (Some(free), false, None) => Ok(free),
        (None, true, None) if devices::size_of(&**device)? > 0 => Ok(twice),
        (_, _, Some(_)) => Err(Failure::usage("with a detached header the data stays where it is: leave the rest out")),
        _ => Err(Failure::usage(format!(
            "the header needs room: say --header FILE to keep it apart, --grow to enlarge an image file by {}, or \
             --free-at-end {twice} if the end of the device holds nothing",
            size(twice)
        ))),
    }
}

/// Does the steps that are left.
fn go_on(
    volume: &AnyVolume,
    name: &str,
    phase: &'static str,
    resumed: &dyn Fn(&str) -> String,
    output: Output,
    show: Show,
) -> Result<()> {
    let progress = Progress::new(show, phase, volume.size());
    loop {
        let done = volume.reencrypt_step(STEP).about(name)?;
        progress.set(done.done);
        if done.is_finished() {
            break;
        }
        if stop::asked() {
            drop(progress);
            let text = format!("stopped, with {} of {} done", size(done.done), size(done.total));
            return Err(Failure::interrupted(resumed(&text)));
        }
    }
    let seconds = progress.elapsed().as_secs_f64();
    drop(progress);
    volume.sync()?;
    output.answer(&Reencrypted { bytes: volume.size(), seconds, volume: Formatted::of(name, volume)? })
}

#[derive(Args)]
pub struct Reencrypt {
    #[command(flatten)]
    volume: VolumeArgs,
    /// Goes on with a re-encryption that was stopped; the volume opens by the new way
    #[arg(long)]
    resume: bool,
    /// The new cipher
    #[arg(long, value_enum)]
    cipher: Option<CipherName>,
    /// The new sector size
    #[arg(long, value_name = "BYTES")]
    sector_size: Option<u32>,
    /// Keeps a copy of each zone for a crash, for devices that may tear a sector
    #[arg(long)]
    journal: bool,
    #[command(flatten)]
    new: NewProtectArgs,
}

impl Reencrypt {
    pub fn run(self, output: Output, show: Show, yes: bool) -> Result<()> {
        let name = self.volume.device.clone();
        let resumed = |text: &str| {
            format!("{text}; go on by `atrest reencrypt {} --resume`, with what opens it now", quoted(&name))
        };
        if self.resume {
            let (volume, _) = self.volume.open_with(Access::Write, |open| open.hazmat_allow_unencrypted(true))?;
            let _gently = Gently::new();
            if volume.reencryption().is_none() {
                return Err(Failure::refused("nothing is under way there; without --resume it begins").about(&name));
            }
            return go_on(&volume, &name, "encrypting", &resumed, output, show);
        }
        let (volume, opener) = self.volume.open(Access::Write)?;
        confirm(yes, &format!("{name} will be encrypted anew where it lies. Have a backup of it and of its header."))?;
        let mut options = ReencryptOptions::new().keyslot(self.new.kdf.keyslot()?);
        if let Some(cipher) = self.cipher {
            options = options.dek_algorithm(cipher.algorithm());
        }
        if let Some(bytes) = self.sector_size {
            options = options.sector_size(sector_size(bytes)?);
        }
        if self.journal {
            options = options.resilience(Resilience::Journal);
        }
        let guards = if self.new.is_given() { self.new.guards()? } else { Guards::one(same(opener, &volume)?) };
        let protectors: [Protector<'_>; 1] = [guards.first().protector()];
        let _gently = Gently::new();
        let begun = guards.protecting(|| volume.begin_reencryption(&protectors, &options), |_| true);
        begun.map_err(|e| match e {
            Error::Busy { .. } => Failure::from(e).hint(&resumed("it was begun already")),
            e => Failure::from(e).about(&name),
        })?;
        go_on(&volume, &name, "encrypting", &resumed, output, show)
    }
}

/// The way into the volume, for its new key, too.
fn same(opener: Opener, volume: &AnyVolume) -> Result<Guard> {
    match opener {
        Opener::Vault(vault) => {
            let key = volume.keks().into_iter().find(|kek| kek.vault() == vault.id());
            let key = key.ok_or_else(|| Failure::usage("name the new key by --new-vault and --new-key"))?;
            Ok(Guard::Vault(vault, key.key().to_owned()))
        }
        Opener::Passphrase(secret) => Ok(Guard::Passphrase(secret)),
        Opener::KeyFile(path) => Ok(Guard::KeyFile(path)),
        _ => {
            Err(Failure::usage("say what protects the new key: --new-key-file, --new-passphrase-from, or --new-vault"))
        }
    }
}

#[derive(Args)]
pub struct Resize {
    #[command(flatten)]
    volume: VolumeArgs,
    /// The new size of the data; without one, all that the device has
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    size: Option<u64>,
}

/// `resize`.
#[derive(Serialize, JsonSchema)]
pub struct Resized {
    device: String,
    /// The size of the data in bytes.
    size: u64,
    /// The size of the device in bytes.
    device_size: u64,
}

impl Answer for Resized {
    fn text(&self, out: &mut Text) {
        out.line(format_args!(
            "{} has {} of data, on {}",
            shown(&self.device),
            size(self.size),
            size(self.device_size)
        ));
    }
}

impl Resize {
    pub fn run(self, output: Output, yes: bool) -> Result<()> {
        let name = &self.volume.device;
        let (volume, _) = self.volume.open(Access::Write)?;
        let is_file = !devices::is_nbd(name) && fs::metadata(Path::new(name)).is_ok_and(|found| found.is_file());
        let (old, start) = (volume.size(), volume.data_offset());
        let end = |size: u64| start.checked_add(size).ok_or_else(|| Failure::usage("the size is too large"));
        match self.size {
            None => drop(volume.resize(None).map_err(no_room).about(name)?),
            Some(wanted) if wanted < old => {
                confirm(
                    yes,
                    &format!(
                        "{name} will be cut to {}: the last {} are lost. Shrink the file system first.",
                        size(wanted),
                        size(old - wanted)
                    ),
                )?;
                volume.resize(Some(wanted)).map_err(no_room).about(name)?;
                if is_file {
                    // The header first, so that a killed run leaves a volume that opens.
                    volume.device().set_size(end(wanted)?).about(name)?;
                }
            }
            Some(wanted) => {
                let len = end(wanted)?;
                if is_file && devices::size_of(volume.device())? < len {
                    volume.device().set_size(len).about(name)?;
                }
                volume.resize(Some(wanted)).map_err(no_room).about(name)?;
            }
        }
        output.answer(&Resized {
            device: name.clone(),
            size: volume.size(),
            device_size: devices::size_of(volume.device())?,
        })
    }
}
