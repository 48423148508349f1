//! `format`, and the options of every new volume.

use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(feature = "bitlocker")]
use atrest::volume::BitLockerOptions;
use atrest::volume::{Header, HeaderFormat, KeyslotOptions, LuksVersion};
use atrest::{DekAlgorithm, Error, FileDevice, FormatOptions, Protector, Volume};
use clap::{Args, ValueEnum};
use schemars::JsonSchema;
use serde::Serialize;

#[cfg(feature = "bitlocker")]
use crate::bitlocker::NewBitLockerArgs;
use crate::confirm::confirm;
use crate::credentials::ProtectArgs;
use crate::devices::{self, Access, Device};
use crate::failure::{About, Failure, Result, no_room};
use crate::guard::Guards;
use crate::output::{Answer, Output, Text, shown, size};
use crate::partial::Partial;
use crate::units::parse_size;
use crate::volumes::{AnyVolume, fingerprint, sector_size};

/// The room for a detached header, as the library needs it.
const HEADER: u64 = 16 << 20;
/// The chunks of a map of written chunks.
const CHUNK: u32 = 64 << 10;
/// The bytes that a BitLocker volume keeps for itself at the end of its device, as the library documents it; and its
/// least size.
const BITLOCKER: u64 = 268 << 10;
const LEAST_BITLOCKER: u64 = (1 << 20) + 4096;

/// Options for a new volume.
#[derive(Debug, Args)]
#[command(next_help_heading = "Properties of the volume")]
pub struct FormatArgs {
    /// The sector size: 512, 1024, 2048 or 4096 bytes
    #[arg(long, value_name = "BYTES", default_value_t = 512)]
    pub sector_size: u32,
    /// The cipher
    #[arg(long, value_enum, default_value_t = CipherName::Aes256Xts)]
    pub cipher: CipherName,
    /// Its label
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// LUKS1, for machines that don't know LUKS2
    #[arg(long)]
    luks1: bool,
    /// BitLocker, for Windows: by a password, a startup key or a recovery password
    #[cfg(feature = "bitlocker")]
    #[arg(long, conflicts_with_all = ["luks1", "data_offset", "header", "context", "sparse", "pbkdf", "iter_time",
        "pbkdf_force_iterations", "pbkdf_memory"])]
    bitlocker: bool,
    #[cfg(feature = "bitlocker")]
    #[command(flatten, next_help_heading = "What protects it")]
    new: NewBitLockerArgs,
    /// Where the data begins, 1M to 128M [default: 16M]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub data_offset: Option<u64>,
    /// Puts the header into this file, apart from the data
    #[arg(long, value_name = "FILE")]
    pub header: Option<PathBuf>,
    /// Binds the volume to a text, such as a disk's id: with --context it opens only where that is expected
    #[arg(long, value_name = "TEXT")]
    context: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum CipherName {
    #[value(name = "aes-256-xts")]
    Aes256Xts,
    #[value(name = "aes-128-xts")]
    Aes128Xts,
    #[value(name = "aes-256-hctr2")]
    Aes256Hctr2,
}

impl CipherName {
    pub fn algorithm(self) -> DekAlgorithm {
        match self {
            CipherName::Aes256Xts => DekAlgorithm::Aes256Xts,
            CipherName::Aes128Xts => DekAlgorithm::Aes128Xts,
            CipherName::Aes256Hctr2 => DekAlgorithm::Aes256Hctr2,
        }
    }
}

impl FormatArgs {
    pub fn options(&self, protect: &ProtectArgs) -> Result<FormatOptions> {
        let mut options = FormatOptions::new()
            .sector_size(sector_size(self.sector_size)?)
            .dek_algorithm(self.cipher.algorithm())
            .keyslot(protect.kdf.keyslot()?);
        if let Some(label) = &self.label {
            options = options.label(label);
        }
        if self.luks1 {
            options = options.version(LuksVersion::Luks1);
        }
        if let Some(offset) = self.data_offset {
            options = options.data_offset(offset);
        }
        if let Some(context) = &self.context {
            options = options.context(context.as_bytes());
        }
        Ok(options)
    }

    pub fn is_bitlocker(&self) -> bool {
        #[cfg(feature = "bitlocker")]
        return self.bitlocker;
        #[cfg(not(feature = "bitlocker"))]
        false
    }

    /// The protectors of the new volume.
    pub fn guards(&self, protect: &ProtectArgs) -> Result<Guards> {
        #[cfg(feature = "bitlocker")]
        if self.bitlocker {
            return protect.guards(&self.new);
        }
        protect.guard().map(Guards::one)
    }

    pub fn new_volume(&self, protect: &ProtectArgs) -> Result<NewVolume> {
        #[cfg(feature = "bitlocker")]
        if self.bitlocker {
            let options = BitLockerOptions::new()
                .sector_size(sector_size(self.sector_size)?)
                .dek_algorithm(self.cipher.algorithm())
                .description(self.label.as_deref().unwrap_or_default());
            return Ok(NewVolume::BitLocker(options));
        }
        Ok(NewVolume::Luks(Box::new(self.options(protect)?)))
    }

    /// The bytes of a device with so much room for data.
    pub fn needed(&self, data: u64) -> Option<u64> {
        if self.is_bitlocker() {
            return data.checked_add(BITLOCKER).map(|len| len.max(LEAST_BITLOCKER));
        }
        data.checked_add(self.data_start())
    }

    /// Where the data will begin.
    pub fn data_start(&self) -> u64 {
        match (self.data_offset, &self.header, self.luks1) {
            (Some(offset), ..) => offset,
            (None, Some(_), _) => 0,
            (None, None, true) => 2 << 20,
            (None, None, false) => 16 << 20,
        }
    }

    /// Whether a sector size fits the version. The library says so, too, after the passphrase was asked for.
    pub fn check(&self) -> Result<()> {
        sector_size(self.sector_size)?;
        if self.luks1 && self.sector_size != 512 {
            return Err(Failure::usage("LUKS1 has sectors of 512 bytes"));
        }
        #[cfg(feature = "bitlocker")]
        {
            if !self.bitlocker && self.new.is_given() {
                return Err(Failure::usage(
                    "only a BitLocker volume has startup keys and recovery passwords: say --bitlocker",
                ));
            }
            if self.bitlocker && !matches!(self.sector_size, 512 | 4096) {
                return Err(Failure::usage("BitLocker has sectors of 512 or 4096 bytes"));
            }
            if self.bitlocker && matches!(self.cipher, CipherName::Aes256Hctr2) {
                return Err(Failure::usage("a new BitLocker volume is encrypted by XTS"));
            }
        }
        Ok(())
    }
}

/// A volume to be made.
pub enum NewVolume {
    Luks(Box<FormatOptions>),
    #[cfg(feature = "bitlocker")]
    BitLocker(BitLockerOptions),
}

impl NewVolume {
    /// With its header in a file, or with a map of the written chunks of so much data. [`FormatArgs`] have neither for BitLocker.
    pub fn with(self, header: &HeaderFile, mapped: Option<u64>) -> Self {
        match self {
            NewVolume::Luks(options) => {
                let options = header.add_to(*options);
                NewVolume::Luks(Box::new(match mapped {
                    Some(data) => options.written_map(CHUNK).written_map_for(data),
                    None => options,
                }))
            }
            #[cfg(feature = "bitlocker")]
            other => other,
        }
    }

    fn make(&self, device: Device, protector: Protector<'_>, overwrite: bool) -> Result<AnyVolume, Error> {
        match self {
            NewVolume::Luks(options) => {
                Volume::format(device, protector, &options.as_ref().clone().overwrite(overwrite))
            }
            #[cfg(feature = "bitlocker")]
            NewVolume::BitLocker(options) => {
                Volume::format_bitlocker(device, protector, &options.clone().overwrite(overwrite))
            }
        }
    }
}

/// Makes room for the map of written chunks, which lies before the data: enlarges the file until the data fits.
pub fn fit(volume: &AnyVolume, data: u64) -> Result<()> {
    let Some(missing) = data.checked_sub(volume.size()).filter(|missing| *missing > 0) else { return Ok(()) };
    let device = volume.device();
    let len = devices::size_of(device)?.checked_add(missing).ok_or_else(|| Failure::usage("the size is too large"))?;
    let too_small =
        |_| Failure::refused(format!("the device has no room for the map of written chunks: {len} bytes are needed"));
    device.set_size(len).map_err(too_small)?;
    volume.resize(None)?;
    Ok(())
}

/// The rounding of the data of a volume that keeps holes.
pub fn map_unit() -> u64 {
    CHUNK.into()
}

/// The file of a detached header.
pub struct HeaderFile {
    partial: Option<Partial>,
    pub device: Option<Device>,
}

impl HeaderFile {
    /// Makes the file, or opens one that is there. `mapped`: the data whose map of written chunks it needs room for.
    pub fn open(path: Option<&Path>, mapped: Option<u64>, yes: bool) -> Result<Self> {
        let Some(path) = path else { return Ok(HeaderFile { partial: None, device: None }) };
        if path.exists() {
            let device: Device = Arc::new(FileDevice::open(path)?);
            let content = devices::content(&device);
            confirm(yes, &format!("{} will hold the header; what is in it is lost: {content}.", path.display()))?;
            return Ok(HeaderFile { partial: None, device: Some(device) });
        }
        let mut partial = Partial::at(path, yes, devices::content_of_file)?;
        // Twice a bit for each chunk, and as much for the rest of the map.
        let map =
            mapped.map_or(0, |data| (4 * data.div_ceil(u64::from(CHUNK) * 8)).next_multiple_of(1 << 20) + (2 << 20));
        let device = partial.make(|path| FileDevice::create(path, HEADER + map))?;
        Ok(HeaderFile { partial: Some(partial), device: Some(Arc::new(device)) })
    }

    pub fn add_to(&self, options: FormatOptions) -> FormatOptions {
        match &self.device {
            Some(device) => options.header(device.clone()),
            None => options,
        }
    }

    /// Puts a new file into its place.
    pub fn finish(self) -> Result<()> {
        self.partial.map_or(Ok(()), Partial::finish)
    }
}

/// Formats a device, and asks before something on it is lost.
pub fn format(device: &Device, name: &str, guards: &Guards, new: &NewVolume, yes: bool) -> Result<AnyVolume> {
    let volume = make(device, name, guards, new, yes)?;
    add_others(&volume, guards, name)?;
    Ok(volume)
}

/// Formats a device, with the first way in.
pub fn make(device: &Device, name: &str, guards: &Guards, new: &NewVolume, yes: bool) -> Result<AnyVolume> {
    let first = guards.first().protector();
    let uuid = || Header::load(device).map(|header| header.uuid().to_owned()).ok();
    let before = uuid();
    let make = |overwrite| {
        // It may have been made also where that failed.
        let is_made = |_: &Error| uuid().is_some_and(|uuid| Some(uuid) != before);
        guards.protecting(|| new.make(device.clone(), first, overwrite), is_made)
    };
    let volume = match make(false) {
        Err(Error::DeviceNotBlank { .. }) => {
            let lost = format!("{name} will be formatted; what it holds is lost: {}.", devices::content(device));
            confirm(yes, &lost)?;
            make(true)
        }
        formatted => formatted,
    };
    volume.map_err(no_room).about(name)
}

/// Adds the other ways in.
pub fn add_others(volume: &AnyVolume, guards: &Guards, name: &str) -> Result<()> {
    for guard in guards.others() {
        volume.add_protector(guard.protector(), &KeyslotOptions::new()).about(name)?;
    }
    Ok(())
}

#[derive(Args)]
pub struct Format {
    /// The device, or the image file; with --size, a new file
    device: String,
    /// Makes a new image file with so much room for data
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    size: Option<u64>,
    /// Keeps a map of written chunks: unwritten data reads as zeros. cryptsetup doesn't open such a volume
    #[arg(long)]
    sparse: bool,
    #[command(flatten)]
    format: FormatArgs,
    #[command(flatten)]
    protect: ProtectArgs,
}

/// `format`, and a part of `encrypt`.
#[derive(Serialize, JsonSchema)]
pub struct Formatted {
    device: String,
    /// Such as `LUKS2`.
    format: String,
    uuid: String,
    /// As dm-crypt names it.
    cipher: String,
    /// In bytes.
    sector_size: u32,
    /// The first byte of the data on the device.
    data_offset: u64,
    /// The size of the data in bytes.
    size: u64,
    /// The key of a vault that protects it; null if a passphrase or key file does.
    key: Option<String>,
    /// The fingerprint of its data key. Keep it apart from the disk, and give it to --fingerprint.
    fingerprint: String,
    /// A description of its protector, for people.
    #[serde(skip)]
    protected_by: String,
}

impl Formatted {
    pub fn of(device: &str, volume: &AnyVolume) -> Result<Self> {
        let key = volume.keks().first().map(ToString::to_string);
        let header = volume.header();
        let protected_by = match &key {
            Some(key) => shown(key),
            None if header.format() == HeaderFormat::BitLocker => {
                header.keyslots().into_iter().map(|keyslot| keyslot.kind).collect::<Vec<_>>().join(", ")
            }
            None => "a passphrase or key file".into(),
        };
        let format = header.format().to_string();
        drop(header);
        Ok(Formatted {
            device: device.into(),
            format,
            uuid: volume.uuid(),
            cipher: volume.cipher().name().into(),
            sector_size: volume.sector_size().bytes(),
            data_offset: volume.data_offset(),
            size: volume.size(),
            key,
            fingerprint: fingerprint(volume.fingerprint()?),
            protected_by,
        })
    }
}

impl Answer for Formatted {
    fn text(&self, out: &mut Text) {
        out.pair("volume", shown(&self.device));
        out.pair("format", format_args!("{}, UUID {}", self.format, self.uuid));
        out.pair("cipher", format_args!("{}, sectors of {} bytes", self.cipher, self.sector_size));
        out.pair("size", size(self.size));
        self.short(out);
    }
}

impl Formatted {
    /// Prints the lines that its owner needs.
    pub fn short(&self, out: &mut Text) {
        out.pair("protected by", &self.protected_by);
        out.pair("fingerprint", &self.fingerprint);
    }
}

impl Format {
    pub fn run(self, output: Output, yes: bool) -> Result<()> {
        self.format.check()?;
        let path = devices::local(&self.device)?;
        let mut data = None;
        let made = match self.size {
            Some(_) if path.exists() => {
                return Err(Failure::refused("it is there already; leave --size out to format it as it is")
                    .about(path.display()));
            }
            Some(len) => {
                let unit = if self.sparse { map_unit() } else { self.format.sector_size.into() };
                data = len.checked_next_multiple_of(unit);
                let len = data.and_then(|len| self.format.needed(len));
                Some(len.ok_or_else(|| Failure::usage("the size is too large"))?)
            }
            None => None,
        };
        let mut partial = made.map(|_| Partial::at(path, yes, devices::content_of_file)).transpose()?;
        let existing = if partial.is_none() { Some(devices::open(&self.device, Access::Write)?) } else { None };
        let guards = self.format.guards(&self.protect)?;
        let new = self.format.new_volume(&self.protect)?;
        let device: Device = match (&mut partial, existing, made) {
            (Some(partial), _, Some(len)) => {
                let made = partial.make(|path| FileDevice::create(path, len));
                Arc::new(made?)
            }
            (_, Some(device), _) => device,
            _ => return Err(Failure::usage("name a device, or give the size of a new file")),
        };
        let room = devices::size_of(&*device)?.saturating_sub(self.format.data_start());
        let mapped = self.sparse.then_some(room);
        let header = HeaderFile::open(self.format.header.as_deref(), mapped, yes)?;
        let volume = format(&device, &self.device, &guards, &new.with(&header, mapped), yes)?;
        if let Some(data) = data {
            fit(&volume, data)?;
        }
        volume.sync()?;
        header.finish()?;
        partial.map_or(Ok(()), Partial::finish)?;
        output.answer(&Formatted::of(&self.device, &volume)?)
    }
}
