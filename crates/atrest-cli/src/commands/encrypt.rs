//! `encrypt SRC DST`, and `verify DEV --against SRC`.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use atrest::volume::Header;
use atrest::{BlockDevice, FileDevice, OpenOptions, Volume};
use clap::Args;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use schemars::JsonSchema;
use serde::Serialize;

use super::format::{FormatArgs, Formatted, HeaderFile, add_others, fit, make, map_unit};
use super::in_place::{InPlace, encrypt_in_place};
use crate::confirm::confirm;
use crate::copy::{first_difference, for_parts, with_flushes};
use crate::credentials::ProtectArgs;
use crate::devices::{self, Access, Device};
use crate::failure::{About, Code, Failure, Result};
use crate::image::Image;
use crate::output::{Answer, Output, Text, shown, size};
use crate::partial::Partial;
use crate::progress::{Progress, Show};
use crate::stop;
use crate::volumes::{AnyVolume, PlainArgs, VolumeArgs};

#[derive(Args)]
pub struct Encrypt {
    /// The image: the raw bytes of a disk, in a file, a block device or an NBD export
    #[arg(required_unless_present = "in_place", value_name = "SRC")]
    source: Option<String>,
    /// The encrypted image, which is made, or a block device
    #[arg(required_unless_present = "in_place", value_name = "DST")]
    destination: Option<String>,
    /// Reads it again afterwards, opened anew, and compares every byte
    #[arg(long)]
    verify: bool,
    /// Skips the holes of SRC, and keeps a map of written chunks: they read as zeros. cryptsetup doesn't open such a volume
    #[arg(long)]
    sparse: bool,
    /// The format of SRC, as qemu names it: qcow2, vmdk, vpc and others are read through qemu-nbd
    #[arg(long, value_name = "FORMAT")]
    src_format: Option<String>,
    #[command(flatten)]
    in_place: InPlace,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    protect: ProtectArgs,
}

/// `encrypt SRC DST`.
#[derive(Serialize, JsonSchema)]
pub struct Encrypted {
    source: String,
    destination: String,
    /// The bytes of SRC.
    bytes: u64,
    /// The bytes that were read and written: fewer, with --sparse.
    copied: u64,
    seconds: f64,
    /// Whether it was read again and compared.
    verified: bool,
    volume: Formatted,
}

impl Answer for Encrypted {
    fn text(&self, out: &mut Text) {
        let speed = rate(self.bytes, Duration::from_secs_f64(self.seconds));
        out.line(format_args!("encrypted {} in {:.1} s, {speed}", size(self.bytes), self.seconds));
        if self.verified {
            out.line("read again and compared: every byte is right");
        }
        self.volume.short(out);
    }
}

pub fn rate(bytes: u64, took: Duration) -> String {
    format!("{:.0} MiB/s", bytes as f64 / f64::from(1 << 20) / took.as_secs_f64().max(1e-9))
}

impl Encrypt {
    pub fn run(self, output: Output, show: Show, yes: bool) -> Result<()> {
        self.format.check()?;
        if self.in_place.is_given() {
            return encrypt_in_place(&self.in_place, &self.format, &self.protect, output, show, yes);
        }
        let (Some(source), Some(destination)) = (&self.source, &self.destination) else {
            return Err(Failure::usage("name the image and the encrypted image"));
        };
        let image = Image::open(source, self.src_format.as_deref())?;
        let unit = if self.sparse { map_unit() } else { self.format.sector_size.into() };
        let too_large = || Failure::usage("the image is too large");
        let data = image.size.checked_next_multiple_of(unit).ok_or_else(too_large)?;
        let needed = self.format.needed(data).ok_or_else(too_large)?;

        let target = Target::at(destination, needed, yes)?;
        let guards = self.format.guards(&self.protect)?;
        let mapped = self.sparse.then_some(data);
        let header = HeaderFile::open(self.format.header.as_deref(), mapped, yes)?;
        let new = self.format.new_volume(&self.protect)?.with(&header, mapped);
        let (device, target) = target.make(needed, self.sparse)?;
        let volume = make(&device, destination, &guards, &new, true)?;
        let target = target.formatted(&device, &header);
        add_others(&volume, &guards, destination)?;
        fit(&volume, data).about(destination)?;

        let runs = if self.sparse { image.data()? } else { vec![(0, image.size)] };
        let copied: u64 = runs.iter().map(|(start, end)| end - start).sum();
        let progress = Progress::new(show, "encrypting", copied);
        with_flushes(&progress, || device.sync(), || encrypt_runs(&image, &volume, &runs, unit, &progress))
            .about(destination)?;
        if self.format.is_bitlocker() && matches!(target, Target::File(_)) {
            // The file has up to 128 KiB more than the image.
            volume.write_zeroes(data, volume.size() - data).about(destination)?;
        }
        volume.sync().about(destination)?;
        let took = progress.elapsed();
        drop(progress);
        let formatted = Formatted::of(destination, &volume)?;

        if self.verify {
            drop(volume);
            let mut open = OpenOptions::new().read_only(true);
            if let Some(header) = &header.device {
                open = open.header(header.clone());
            }
            let volume = Volume::open(device.clone(), guards.first().credential(), &open).about(destination)?;
            compare(&image, &volume, Progress::new(show, "comparing", image.size), source, destination)?;
        }
        header.finish()?;
        target.finish()?;
        output.answer(&Encrypted {
            source: source.clone(),
            destination: destination.clone(),
            bytes: image.size,
            copied,
            seconds: took.as_secs_f64(),
            verified: self.verify,
            volume: formatted,
        })
    }
}

/// Where the encrypted image goes.
enum Target {
    File(Partial),
    /// A block device, which is formatted where it is.
    Device(Device, Option<stop::OnStop>, Option<Undo>),
}

/// Takes the ways into a half-written volume away again.
struct Undo {
    device: Device,
    is_finished: bool,
}

impl Undo {
    fn erase(device: &Device) {
        if let Ok(mut header) = Header::load(device) {
            let _ = header.erase();
        }
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        if !self.is_finished {
            Self::erase(&self.device);
        }
    }
}

impl Target {
    fn at(name: &str, needed: u64, yes: bool) -> Result<Self> {
        let is_file =
            !devices::is_nbd(name) && fs::metadata(name).map_or(true, |found| !found.file_type().is_block_device());
        if is_file {
            return Ok(Target::File(Partial::at(Path::new(name), yes, devices::content_of_file)?));
        }
        let device = devices::open(name, Access::Write)?;
        let room = devices::size_of(&*device)?;
        if room < needed {
            return Err(Failure::refused(format!(
                "it has {room} bytes, and {needed} are needed, with the header: take a larger device, or a file for the header by \
                 --header, or a smaller --data-offset"
            )).about(name));
        }
        confirm(yes, &format!("{name} will be overwritten; what it holds is lost: {}.", devices::content(&*device)))?;
        Ok(Target::Device(device, None, None))
    }

    fn make(self, len: u64, sparse: bool) -> Result<(Device, Self)> {
        match self {
            Target::File(mut partial) => {
                let device = partial
                    .make(|path| if sparse { Ok(FileDevice::create(path, len)?) } else { create_whole(path, len) })?;
                Ok((Arc::new(device), Target::File(partial)))
            }
            Target::Device(device, ..) => Ok((device.clone(), Target::Device(device, None, None))),
        }
    }

    /// There is a volume by now, without its data.
    fn formatted(self, device: &Device, header: &HeaderFile) -> Self {
        let Target::Device(..) = self else { return self };
        let of_header = header.device.clone().unwrap_or_else(|| device.clone());
        let erased = of_header.clone();
        let on_stop = stop::on_stop(move || Undo::erase(&erased));
        Target::Device(device.clone(), Some(on_stop), Some(Undo { device: of_header, is_finished: false }))
    }

    fn finish(self) -> Result<()> {
        match self {
            Target::File(partial) => partial.finish(),
            Target::Device(_, on_stop, undo) => {
                drop(on_stop);
                if let Some(mut undo) = undo {
                    undo.is_finished = true;
                }
                Ok(())
            }
        }
    }
}

/// Makes a file that will be written as a whole. It gets its blocks at once, so that a full disk is found before the work, and is
/// written past the page cache, where its file system can do that: a copy of each byte less, and `--verify` reads the disk.
pub fn create_whole(path: &Path, len: u64) -> Result<FileDevice> {
    let made = FileDevice::create(path, len)?;
    let device = match made.direct_io() {
        // The last part of another length could not be written.
        Ok(device) if len.is_multiple_of(device.alignment().get() as u64) => device,
        _ => {
            // It was just made here.
            fs::remove_file(path)?;
            FileDevice::create(path, len)?
        }
    };
    match fallocate(device.file(), FallocateFlags::empty(), 0, len) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(device),
        Err(e) => {
            let _ = fs::remove_file(path);
            Err(io::Error::from(e)).about(path.display())
        }
    }
}

/// Copies runs of an image into a volume. The last part is padded with zeros to a multiple of `unit`.
fn encrypt_runs(image: &Image, volume: &AnyVolume, runs: &[(u64, u64)], unit: u64, progress: &Progress) -> Result<()> {
    // In whole units, which are all of them but the last of the image.
    let mut whole: Vec<(u64, u64)> = Vec::new();
    for (start, end) in runs {
        let (start, end) = (start / unit * unit, end.next_multiple_of(unit).min(image.size));
        match whole.last_mut() {
            Some(last) if last.1 >= start => last.1 = last.1.max(end),
            _ => whole.push((start, end)),
        }
    }
    for_parts(&whole, progress, |offset, room, len| {
        let room = room.take(len.next_multiple_of(unit as usize));
        room[len..].fill(0);
        image.device.read_at(offset, &mut room[..len]).about("reading the image")?;
        Ok(volume.write_in_place(offset, room)?)
    })
}

/// Compares an image with the start of a volume.
fn compare(image: &Image, volume: &AnyVolume, progress: Progress, one: &str, other: &str) -> Result<()> {
    if volume.size() < image.size {
        let text = format!("{other} has {} bytes of data, and {one} has {}", volume.size(), image.size);
        return Err(Failure::new(Code::No, text));
    }
    let sector = volume.sector_size().bytes() as usize;
    let first = AtomicU64::new(u64::MAX);
    for_parts(&[(0, image.size)], &progress, |offset, room, len| {
        if offset > first.load(Relaxed) {
            return Ok(());
        }
        let whole = len.next_multiple_of(sector);
        let (decrypted, plain) = room.take(whole + len).split_at_mut(whole);
        volume.read_at(offset, decrypted).about(other)?;
        image.device.read_at(offset, plain).about(one)?;
        if let Some(at) = first_difference(&decrypted[..len], plain) {
            first.fetch_min(offset + at as u64, Relaxed);
        }
        Ok(())
    })?;
    match first.into_inner() {
        u64::MAX => Ok(()),
        at => Err(Failure::new(Code::No, format!("{one} and {other} differ, from byte {at} on"))),
    }
}

#[derive(Args)]
pub struct Verify {
    #[command(flatten)]
    volume: VolumeArgs,
    /// The image that the volume has to hold
    #[arg(long, value_name = "SRC")]
    against: String,
    /// The format of SRC, as qemu names it
    #[arg(long, value_name = "FORMAT")]
    src_format: Option<String>,
    #[command(flatten)]
    plain: PlainArgs,
}

/// `verify`.
#[derive(Serialize, JsonSchema)]
pub struct Verified {
    device: String,
    against: String,
    /// The bytes that were compared: all of the image.
    bytes: u64,
}

impl Answer for Verified {
    fn text(&self, out: &mut Text) {
        out.line(format_args!(
            "{} holds {}: all {} bytes are right",
            shown(&self.device),
            shown(&self.against),
            self.bytes
        ));
    }
}

impl Verify {
    pub fn run(self, output: Output, show: Show) -> Result<()> {
        let image = Image::open(&self.against, self.src_format.as_deref())?;
        let volume = self.volume.open_or_plain(&self.plain, Access::Read, false, |open| open)?;
        let progress = Progress::new(show, "comparing", image.size);
        compare(&image, &volume, progress, &self.against, &self.volume.device)?;
        output.answer(&Verified { device: self.volume.device, against: self.against, bytes: image.size })
    }
}
