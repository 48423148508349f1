//! `rotate`: volumes move to the newest version of a vault's key.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use atrest::key::KeyId;
use atrest::{Credential, FileDevice, KeyVault, MemoryDevice, OpenOptions, Volume};
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use crate::devices::{self, Access, Device};
use crate::failure::{Code, Failure, Result};
use crate::find::{self, Found, What};
use crate::output::{Answer, Output, Text, shown};
use crate::stop::{self, Gently};
use crate::vaults::VaultArgs;

#[derive(Args)]
pub struct Rotate {
    /// The volumes: files or block devices; with --all, folders, too
    #[arg(required_unless_present = "all")]
    devices: Vec<PathBuf>,
    #[command(flatten)]
    vault: VaultArgs,
    /// Finds every volume that is under a key of the vault: in these folders, or without any, on all block devices of this machine
    #[arg(long)]
    all: bool,
    /// Opens the volumes, says what would move, and changes nothing
    #[arg(long)]
    dry_run: bool,
    /// The file of a detached header
    #[arg(long, value_name = "FILE", conflicts_with = "all")]
    header: Option<String>,
}

/// `rotate`.
#[derive(Serialize, JsonSchema)]
pub struct Rotated {
    volumes: Vec<Moved>,
    /// With --all: paths that stay as they are, though they name a key of the vault or have an unreadable header.
    passed_over: Vec<PassedOver>,
}

#[derive(Serialize, JsonSchema)]
struct Moved {
    device: String,
    /// The URL of the version that wraps its data key now; null if that is not known.
    key: Option<String>,
    /// The URL of the version that the vault wraps by; null if it doesn't say.
    newest: Option<String>,
    /// Whether it was wrapped anew. It isn't where the newest version wraps it already.
    moved: bool,
    /// Why it failed; null if it didn't.
    error: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct PassedOver {
    device: String,
    why: String,
}

impl Answer for Rotated {
    fn text(&self, out: &mut Text) {
        for Moved { device, key, newest, moved, error } in &self.volumes {
            let (device, key) = (shown(device), key.as_deref().map(shown).unwrap_or_default());
            match (error, newest.as_deref().map(shown)) {
                (Some(error), _) => out.line(format_args!("{device}: FAILED: {}", shown(error))),
                (None, _) if *moved => out.line(format_args!("{device}: moved, under {key}")),
                (None, Some(newest)) if newest != key => {
                    out.line(format_args!("{device}: under {key}, would move to {newest}"));
                }
                (None, Some(_)) => out.line(format_args!("{device}: under {key} already")),
                (None, None) => out.line(format_args!("{device}: under {key}")),
            }
        }
        for PassedOver { device, why } in &self.passed_over {
            out.line(format_args!("{}: passed over: {}", shown(device), shown(why)));
        }
    }
}

impl Rotate {
    pub fn run(self, output: Output) -> Result<()> {
        let vault = self.vault.open()?;
        let mut newest = Newest { vault: &*vault, known: HashMap::new() };
        let search =
            if self.all { find::under(vault.id(), &self.devices)? } else { find::Search::named(&self.devices) };
        let mut answer = Rotated { volumes: Vec::new(), passed_over: Vec::new() };
        let mut first = None;
        for (path, failure) in search.failed {
            first.get_or_insert(failure.code);
            answer.volumes.push(Moved::failed(&path, failure.text));
        }
        for (path, why) in search.passed_over {
            answer.passed_over.push(PassedOver { device: path.display().to_string(), why });
        }
        // After a signal the current volume is finished, and the results are printed.
        let gently = Gently::new();
        for found in search.volumes {
            if stop::asked() {
                answer.volumes.push(Moved::failed(&found.path, "it was not reached".into()));
                continue;
            }
            match self.rotate(&found, &vault, &mut newest) {
                Ok(Done::Moved(moved)) => answer.volumes.push(moved),
                Ok(Done::PassedOver(why)) => {
                    answer.passed_over.push(PassedOver { device: found.path.display().to_string(), why });
                }
                Err(failure) => {
                    first.get_or_insert(failure.code);
                    answer.volumes.push(Moved::failed(&found.path, failure.text));
                }
            }
        }
        drop(gently);
        let total = answer.volumes.len();
        let failed = answer.volumes.iter().filter(|moved| moved.error.is_some()).count();
        output.answer(&answer)?;
        stop::check(
            "stopped between two volumes; the same command goes on, and until then the old version has to stay enabled",
        )?;
        match first {
            _ if total == 0 => Err(Failure::new(Code::NotFound, "there is no volume under a key of this vault")),
            None => Ok(()),
            Some(code) => {
                let text =
                    format!("{failed} of {total} volumes failed, and may be under an old version: keep it enabled");
                Err(Failure::new(code, text))
            }
        }
    }

    fn rotate(&self, found: &Found, vault: &Arc<dyn KeyVault>, newest: &mut Newest<'_>) -> Result<Done> {
        let open = |path: &Path| -> Result<Device> {
            Ok(Arc::new(if self.dry_run { FileDevice::open_read_only(path)? } else { FileDevice::open(path)? }))
        };
        if found.path.is_dir() {
            return Err(Failure::usage("it is a folder: --all looks through it"));
        }
        let credential = || Credential::Vault(&**vault);
        let mut options = OpenOptions::new().read_only(self.dry_run);
        let access = if self.dry_run { Access::Read } else { Access::Write };
        if let Some(header) = &self.header {
            options = options.header(devices::open(header, access)?);
        }
        if let (What::MaybeFleet, Some(id)) = (found.what, find::fleet_id(&found.path)) {
            let bound = OpenOptions::new().read_only(true).context(id.as_bytes());
            if Volume::open(Arc::new(FileDevice::open_read_only(&found.path)?), credential(), &bound).is_ok() {
                let why = "it is a disk of `atrest fleet`, whose records have to agree: `atrest fleet set rotate` moves it, or \
                           `atrest fleet rotate-platform`";
                return Ok(Done::PassedOver(why.into()));
            }
        }
        let volume = if let What::Header(size) = found.what {
            // No data is read or written, so that it need not be there. The token records the larger of two sizes.
            let data: Device = Arc::new(MemoryDevice::new(size.min(4 << 20) as usize));
            let options = options.header(open(&found.path)?).hazmat_allow_truncated(true);
            let hint = "name its data by `atrest rotate DATA --header FILE`";
            Volume::open(data, credential(), &options).map_err(|e| Failure::from(e).hint(hint))?
        } else {
            Volume::open(open(&found.path)?, credential(), &options)?
        };
        let keys: Vec<KeyId> = volume.keks().into_iter().filter(|key| key.vault() == vault.id()).collect();
        let of_keys: Vec<Option<KeyId>> = keys.iter().map(|key| newest.of(key)).collect();
        let is_newest = keys.iter().zip(&of_keys).all(|(key, newest)| newest.as_ref() == Some(key));
        let mut key = keys.first().cloned();
        let moves = !self.dry_run && !is_newest;
        if moves {
            key = Some(volume.rotate_kek(&**vault)?);
        }
        Ok(Done::Moved(Moved {
            device: found.path.display().to_string(),
            key: key.map(|key| key.to_string()),
            newest: of_keys.first().and_then(|newest| newest.as_ref().map(ToString::to_string)),
            moved: moves,
            error: None,
        }))
    }
}

enum Done {
    Moved(Moved),
    PassedOver(String),
}

impl Moved {
    fn failed(path: &Path, error: String) -> Self {
        Moved { device: path.display().to_string(), key: None, newest: None, moved: false, error: Some(error) }
    }
}

/// The version by which the vault wraps, for each key. The vault is asked once for each.
struct Newest<'v> {
    vault: &'v dyn KeyVault,
    known: HashMap<String, Option<KeyId>>,
}

impl Newest<'_> {
    /// `None` where the vault doesn't say, or may not tell: then it wraps once more, which does no harm.
    fn of(&mut self, key: &KeyId) -> Option<KeyId> {
        let ask = || Some(self.vault.describe(key.key(), None).ok()??.id);
        self.known.entry(key.key().to_owned()).or_insert_with(ask).clone()
    }
}
