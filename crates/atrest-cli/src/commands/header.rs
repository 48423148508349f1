//! `header`: copies of a volume's header, and its end.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use atrest::Error;
use atrest::volume::Header;
use clap::{Args, Subcommand};
use schemars::JsonSchema;
use serde::Serialize;

use crate::confirm::confirm;
use crate::devices::{self, Access};
use crate::failure::{About, Code, Failure, Result};
use crate::output::{Answer, Output, Text, note, shown, size};
use crate::partial::Partial;

/// More than any header has.
const LARGEST: u64 = 256 << 20;

#[derive(Subcommand)]
pub enum Command {
    /// Copies the header into a file; cryptsetup reads it, too
    Backup(Backup),
    /// Writes a copy back
    Restore(Restore),
    /// Destroys every way into a volume, and with them the data
    Erase(Erase),
}

#[derive(Args)]
pub struct Backup {
    /// The device, or the file of a detached header
    device: String,
    /// The file for the copy, which is made
    file: PathBuf,
}

#[derive(Args)]
pub struct Restore {
    /// The device, or the file of a detached header
    device: String,
    /// The file with the copy
    file: PathBuf,
    /// Writes it over any content: a damaged header, another volume's, data
    #[arg(long)]
    force: bool,
}

#[derive(Args)]
pub struct Erase {
    /// The device, or the file of a detached header
    device: String,
}

/// All `header` commands.
#[derive(Serialize, JsonSchema)]
pub struct Handled {
    device: String,
    /// The UUID of the header.
    uuid: String,
    /// The bytes of the copy; null for `header erase`.
    bytes: Option<u64>,
    /// `backed up`, `restored` or `erased`.
    done: &'static str,
}

impl Answer for Handled {
    fn text(&self, out: &mut Text) {
        let bytes = self.bytes.map(|bytes| format!(", {}", size(bytes))).unwrap_or_default();
        out.line(format_args!("{}: header {}, UUID {}{bytes}", shown(&self.device), self.done, shown(&self.uuid)));
    }
}

impl Command {
    pub fn run(self, output: Output, yes: bool) -> Result<()> {
        match self {
            Command::Backup(command) => command.run(output, yes),
            Command::Restore(command) => command.run(output, yes),
            Command::Erase(command) => command.run(output, yes),
        }
    }
}

impl Backup {
    fn run(self, output: Output, yes: bool) -> Result<()> {
        let device = devices::open(&self.device, Access::Read)?;
        let header = Header::load(&device).about(&self.device)?;
        let backup = header.backup().about(&self.device)?;
        let mut partial = Partial::at(&self.file, yes, devices::content_of_file)?;
        let mut file = partial.make(create).about(self.file.display())?;
        file.write_all(&backup).and_then(|()| file.sync_all()).about(self.file.display())?;
        partial.finish()?;
        note("it opens the volume by the passphrases and keys of now: protect it like the disk");
        let (uuid, bytes) = (header.uuid().into(), Some(backup.len() as u64));
        output.answer(&Handled { device: self.device.clone(), uuid, bytes, done: "backed up" })
    }
}

fn create(path: &Path) -> std::io::Result<File> {
    File::options().write(true).create_new(true).mode(0o600).open(path)
}

impl Restore {
    fn run(self, output: Output, yes: bool) -> Result<()> {
        let mut backup = Vec::new();
        let found = fs::metadata(&self.file).about(self.file.display())?;
        if !found.is_file() || found.len() > LARGEST {
            return Err(Failure::usage("it is no copy of a header").about(self.file.display()));
        }
        File::open(&self.file)
            .and_then(|file| file.take(LARGEST).read_to_end(&mut backup))
            .about(self.file.display())?;
        let copy = atrest::MemoryDevice::from_bytes(backup.clone());
        let copy = Header::load(&copy).map_err(cut_off).about(self.file.display())?;
        // It is whole.
        drop(copy.backup().map_err(cut_off).about(self.file.display())?);
        let uuid = copy.uuid().to_owned();
        let device = devices::open(&self.device, Access::Write)?;
        let lost = if self.force {
            format!(
                "The first {} of {} are overwritten: {}.",
                size(backup.len() as u64),
                self.device,
                devices::content(&device)
            )
        } else {
            let name = &self.device;
            format!(
                "The header of {name} is replaced: passphrases and keys that were added since the copy don't open it any more."
            )
        };
        confirm(yes, &lost)?;
        let restore = if self.force { Header::hazmat_restore } else { Header::restore };
        restore(&device, &backup).map_err(too_small).about(&self.device)?;
        output.answer(&Handled { device: self.device, uuid, bytes: Some(backup.len() as u64), done: "restored" })
    }
}

/// Why a file is no copy of a header.
fn cut_off(error: Error) -> Failure {
    match error {
        Error::DeviceTooSmall { needed, size, .. } => {
            let text = format!("the copy has {size} bytes of {needed}: it was cut off; take another copy");
            Failure::new(Code::Damaged, text)
        }
        error => error.into(),
    }
}

/// Why a copy can't be written there.
fn too_small(error: Error) -> Failure {
    match error {
        Error::DeviceTooSmall { needed, size, .. } => Failure::refused(format!(
            "it has {size} bytes, and the copy of the header needs {needed}: name the device that the copy is of, or the file of its \
             detached header. Nothing was written"
        )),
        error => error.into(),
    }
}

impl Erase {
    fn run(self, output: Output, yes: bool) -> Result<()> {
        let device = devices::open(&self.device, Access::Write)?;
        let mut header = Header::load(&device).about(&self.device)?;
        confirm(
            yes,
            &format!(
                "All data of {} is lost, except to anyone with a copy of the header or the data key itself: {}.",
                self.device,
                devices::content(&device)
            ),
        )?;
        header.erase().about(&self.device)?;
        output.answer(&Handled { device: self.device.clone(), uuid: header.uuid().into(), bytes: None, done: "erased" })
    }
}
