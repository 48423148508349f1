//! `decrypt SRC DST`.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use atrest::{BlockDevice, FileDevice, OpenOptions};
use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;
use zeroize::Zeroizing;

use super::encrypt::{create_whole, rate};
use crate::copy::{for_parts, is_zero, with_flushes};
use crate::devices::{self, Access};
use crate::failure::{About, Failure, Result};
use crate::output::{Answer, Output, Text, size};
use crate::partial::Partial;
use crate::progress::{Progress, Show};
use crate::volumes::{AnyVolume, PlainArgs, VolumeArgs};

#[derive(Args)]
pub struct Decrypt {
    #[command(flatten)]
    volume: VolumeArgs,
    /// The decrypted image, which is made; - is standard output
    #[arg(value_name = "DST")]
    destination: String,
    /// Leaves holes where the data is zero
    #[arg(long)]
    sparse: bool,
    /// Shows all that the device holds, although its map of written chunks is damaged
    #[arg(long)]
    ignore_written_map: bool,
    /// Takes a device that is smaller than its volume was: the data beyond its end is lost
    #[arg(long)]
    allow_truncated: bool,
    #[command(flatten)]
    plain: PlainArgs,
}

/// `decrypt SRC DST`.
#[derive(Serialize, JsonSchema)]
pub struct Decrypted {
    source: String,
    destination: String,
    bytes: u64,
    seconds: f64,
}

impl Answer for Decrypted {
    fn text(&self, out: &mut Text) {
        let speed = rate(self.bytes, Duration::from_secs_f64(self.seconds));
        out.line(format_args!("decrypted {} in {:.1} s, {speed}", size(self.bytes), self.seconds));
    }
}

impl Decrypt {
    pub fn run(self, output: Output, show: Show, yes: bool) -> Result<()> {
        if self.destination == "-" && io::stdout().is_terminal() {
            return Err(Failure::refused(
                "standard output is a terminal, and a disk is no text; name a file, or a pipe",
            ));
        }
        // Before anybody is asked for a passphrase.
        let partial = match self.destination.as_str() {
            "-" => None,
            place => Some(Partial::at(Path::new(place), yes, devices::content_of_file)?),
        };
        let (map, truncated) = (self.ignore_written_map, self.allow_truncated);
        let more = |options: OpenOptions| options.hazmat_ignore_written_map(map).hazmat_allow_truncated(truncated);
        let volume = self.volume.open_or_plain(&self.plain, Access::Read, false, more)?;
        let source = self.volume.device;
        let progress = Progress::new(show, "decrypting", volume.size());
        let Some(mut partial) = partial else { return to_stdout(&volume, &progress, &source) };
        let is_whole = !self.sparse && volume.written_chunk_size().is_none();
        let make = |path: &Path| {
            if is_whole { create_whole(path, volume.size()) } else { Ok(FileDevice::create(path, volume.size())?) }
        };
        let file = Arc::new(partial.make(make)?);
        with_flushes(&progress, || file.sync(), || decrypt_to(&volume, &*file, self.sparse, &progress))
            .about(&source)?;
        file.sync().about(&self.destination)?;
        let seconds = progress.elapsed().as_secs_f64();
        drop(progress);
        partial.finish()?;
        output.answer(&Decrypted { source, destination: self.destination, bytes: volume.size(), seconds })
    }
}

fn decrypt_to(volume: &AnyVolume, file: &dyn BlockDevice, sparse: bool, progress: &Progress) -> Result<()> {
    let mut runs = Vec::new();
    for extent in volume.extents(0, volume.size())? {
        // The new file reads as zeros there already.
        if extent.is_written {
            runs.push((extent.range.start, extent.range.end));
        } else {
            progress.add(extent.range.end - extent.range.start);
        }
    }
    for_parts(&runs, progress, |offset, room, len| {
        let room = room.take(len);
        volume.read_at(offset, room)?;
        if sparse && is_zero(room) {
            return Ok(());
        }
        file.write_at(offset, room).about("writing the image")
    })
}

/// In order, since a pipe has no other.
fn to_stdout(volume: &AnyVolume, progress: &Progress, source: &str) -> Result<()> {
    let mut room = Zeroizing::new(vec![0; 1 << 20]);
    let mut out = io::stdout().lock();
    let mut offset = 0;
    while offset < volume.size() {
        let len = (volume.size() - offset).min(room.len() as u64) as usize;
        volume.read_at(offset, &mut room[..len]).about(source)?;
        out.write_all(&room[..len]).about("standard output")?;
        progress.add(len as u64);
        offset += len as u64;
    }
    out.flush().about("standard output")
}
