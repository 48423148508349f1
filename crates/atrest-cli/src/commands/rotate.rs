//! `rotate`: volumes move to the newest version of a vault's key.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use atrest::volume::Header;
use atrest::{Credential, FileDevice, KeyVault, OpenOptions, Volume};
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use crate::devices::{self, Access, Device};
use crate::failure::{Code, Failure, Result};
use crate::output::{Answer, Output, Text, note, shown};
use crate::stop;
use crate::vaults::VaultArgs;

#[derive(Args)]
pub struct Rotate {
    /// The volumes: files or block devices; with --all, folders, too
    #[arg(required = true)]
    devices: Vec<PathBuf>,
    #[command(flatten)]
    vault: VaultArgs,
    /// Looks through folders for every volume that is under a key of the vault
    #[arg(long)]
    all: bool,
    /// The file of a detached header
    #[arg(long, value_name = "FILE", conflicts_with = "all")]
    header: Option<String>,
}

/// `rotate`.
#[derive(Serialize, JsonSchema)]
pub struct Rotated {
    volumes: Vec<Moved>,
}

#[derive(Serialize, JsonSchema)]
struct Moved {
    device: String,
    /// The URL of the version that wraps its data key now; null if that failed.
    key: Option<String>,
    /// Why it failed; null if it didn't.
    error: Option<String>,
}

impl Answer for Rotated {
    fn text(&self, out: &mut Text) {
        for moved in &self.volumes {
            let state = match (&moved.key, &moved.error) {
                (Some(key), _) => format!("under {}", shown(key)),
                (None, error) => format!("FAILED: {}", shown(error.as_deref().unwrap_or(""))),
            };
            out.line(format_args!("{}: {state}", shown(&moved.device)));
        }
    }
}

impl Rotate {
    pub fn run(self, output: Output) -> Result<()> {
        let vault = self.vault.open()?;
        let devices = if self.all { find(&self.devices, vault.id())? } else { self.devices.clone() };
        let (mut volumes, mut first) = (Vec::new(), None);
        for path in devices {
            stop::check("interrupted; the volumes that were not reached are under the old version")?;
            let device = path.display().to_string();
            match self.rotate(&path, &vault) {
                Ok(key) => volumes.push(Moved { device, key: Some(key), error: None }),
                Err(e) => {
                    volumes.push(Moved { device, key: None, error: Some(e.text) });
                    first.get_or_insert(e.code);
                }
            }
        }
        let total = volumes.len();
        let failed = volumes.iter().filter(|moved| moved.error.is_some()).count();
        output.answer(&Rotated { volumes })?;
        match first {
            None => Ok(()),
            Some(code) => {
                let text = format!("{failed} of {total} volumes are still under an old version: keep it enabled");
                Err(Failure::new(code, text))
            }
        }
    }

    fn rotate(&self, path: &Path, vault: &Arc<dyn KeyVault>) -> Result<String> {
        let device: Device = Arc::new(FileDevice::open(path)?);
        let mut options = OpenOptions::new();
        if let Some(header) = &self.header {
            options = options.header(devices::open(header, Access::Write)?);
        }
        let volume = Volume::open(device, Credential::Vault(&**vault), &options)?;
        Ok(volume.rotate_kek(&**vault)?.to_string())
    }
}

/// The volumes in folders that are under a key of the vault, in order.
fn find(roots: &[PathBuf], vault: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut next: Vec<PathBuf> = roots.to_vec();
    while let Some(path) = next.pop() {
        let about = |e: std::io::Error| Failure::from(e).about(path.display());
        let kind = fs::metadata(&path).map_err(about)?;
        if kind.is_dir() {
            for entry in fs::read_dir(&path).map_err(about)? {
                let entry = entry.map_err(about)?;
                // A link could lead round in a circle.
                if !entry.file_type().map_err(about)?.is_symlink() {
                    next.push(entry.path());
                }
            }
        } else if if kind.is_file() { is_under(&path, vault)? } else { roots.contains(&path) } {
            found.push(path);
        }
    }
    if found.is_empty() {
        return Err(Failure::new(Code::NotFound, "there is no volume under a key of this vault"));
    }
    found.sort();
    Ok(found)
}

fn is_under(path: &Path, vault: &str) -> Result<bool> {
    let device = match FileDevice::open_read_only(path) {
        Ok(device) => device,
        // Not to be passed over: it may be under the old version, and in use.
        Err(e @ atrest::Error::Busy { .. }) => return Err(Failure::from(e)),
        Err(e) => return Err(e.into()),
    };
    let Ok(header) = Header::load(&device) else { return Ok(false) };
    let names_it = |url: &str| url.strip_prefix(vault).is_some_and(|rest| rest.starts_with("/keys/"));
    if !header.tokens().iter().filter_map(|token| token.key_url.as_deref()).any(names_it) {
        return Ok(false);
    }
    let len = devices::size_of(&device)?;
    let is_copy = header.segments().iter().all(|segment| segment.offset >= len);
    if is_copy {
        note(format_args!("{} is a copy of a header: it stays under the old version; make it anew", path.display()));
    }
    Ok(!is_copy)
}
