//! Making a volume.

use core::fmt;
use std::sync::Arc;

use super::aligned::Aligned;
use super::headers::{self, BAD_DATA_OFFSET, FirstProtector, NewHeader, NewWritten, StoredHeader, rewrite};
use super::keys::{Key, Keys};
use super::live::Live;
use super::protect::secret_of;
use super::signature;
use super::written::Written;
use super::{BlockDevice, KeyslotOptions, Volume};
use crate::approval;
use crate::arch::on_wiped_stack;
use crate::cipher::CipherSpec;
use crate::key::{DekAlgorithm, EncryptionType, Protector, WrappedDek, check_context};
use crate::ondisk::luks::{HEADER_SIZES, LuksVersion, Token, WrittenMap};
use crate::{Dek, Error, Result, SectorSize, TooSmall, random, zeros};

/// Options for formatting a volume. The defaults, `FormatOptions::new()`, are right for most.
#[derive(Clone)]
pub struct FormatOptions {
    version: LuksVersion,
    sector_size: SectorSize,
    algorithm: DekAlgorithm,
    dek: Option<Dek>,
    data_offset: Option<u64>,
    metadata_size: u64,
    pub(super) header: Option<Arc<dyn BlockDevice>>,
    keyslot: KeyslotOptions,
    uuid: Option<[u8; 16]>,
    label: String,
    subsystem: String,
    context: Vec<u8>,
    encryption_type: EncryptionType,
    overwrite: bool,
    pub(super) written_map: Option<u32>,
    written_map_for: u64,
}

/// The alignment of the data, and the least room for the header.
const MIB: u64 = 1 << 20;

impl Default for FormatOptions {
    fn default() -> Self {
        FormatOptions {
            version: LuksVersion::Luks2,
            sector_size: SectorSize::B512,
            algorithm: DekAlgorithm::Aes256Xts,
            dek: None,
            data_offset: None,
            metadata_size: HEADER_SIZES[0],
            header: None,
            keyslot: KeyslotOptions::new(),
            uuid: None,
            label: String::new(),
            subsystem: String::new(),
            context: Vec::new(),
            encryption_type: EncryptionType::CustomerKey,
            overwrite: false,
            written_map: None,
            written_map_for: 0,
        }
    }
}

impl FormatOptions {
    /// LUKS2, sectors of 512 bytes, AES-256-XTS, data at 16 MiB as `cryptsetup` has it, a random UUID, a customer's key.
    pub fn new() -> Self {
        Self::default()
    }

    /// The version of LUKS. LUKS1 has sectors of 512 bytes, passphrases only, and its data at 2 MiB. Use it for
    /// machines that don't support LUKS2.
    pub fn version(mut self, version: LuksVersion) -> Self {
        self.version = version;
        self
    }

    /// The sector size: 512, 1024, 2048 or 4096 bytes. A file system made for smaller sectors won't mount.
    pub fn sector_size(mut self, sector_size: SectorSize) -> Self {
        self.sector_size = sector_size;
        self
    }

    /// The algorithm of the new DEK.
    pub fn dek_algorithm(mut self, algorithm: DekAlgorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// The first byte of the data: a multiple of 1 MiB from 1 to 128 MiB. 1 MiB leaves room for 3 passphrase keyslots,
    /// 16 MiB for all 32. With a detached header it may be 0, which is then the default.
    pub fn data_offset(mut self, data_offset: u64) -> Self {
        self.data_offset = Some(data_offset);
        self
    }

    /// The size in bytes of each of the two copies of the header's metadata: a power of two from 16 KiB, the default,
    /// to 4 MiB. All keyslots and tokens together, including other programs', have 4 KiB less. Both copies lie before
    /// the keyslots and the data, so data at 1 MiB allows at most 256 KiB.
    pub fn metadata_size(mut self, metadata_size: u64) -> Self {
        self.metadata_size = metadata_size;
        self
    }

    /// The device for a header detached from the data. The header takes 16 MiB of it, or 2 MiB for LUKS1.
    pub fn header(mut self, device: Arc<dyn BlockDevice>) -> Self {
        self.header = Some(device);
        self
    }

    /// The options of the first keyslot, if a passphrase or key file protects the volume.
    pub fn keyslot(mut self, options: KeyslotOptions) -> Self {
        self.keyslot = options;
        self
    }

    /// Uses this DEK instead of a new one. Two volumes under one DEK reveal where their contents are equal.
    pub fn hazmat_dek(mut self, dek: &Dek) -> Self {
        self.algorithm = dek.algorithm();
        self.dek = Some(dek.clone());
        self
    }

    /// The UUID, as 16 bytes.
    pub fn uuid(mut self, uuid: [u8; 16]) -> Self {
        self.uuid = Some(uuid);
        self
    }

    /// A label, up to 47 bytes without a zero byte.
    pub fn label(mut self, label: &str) -> Self {
        self.label = label.into();
        self
    }

    /// A second label, up to 47 bytes without a zero byte.
    pub fn subsystem(mut self, subsystem: &str) -> Self {
        self.subsystem = subsystem.into();
        self
    }

    /// The context that the volume is bound to, such as a disk's id: up to [`MAX_CONTEXT`](crate::key::MAX_CONTEXT)
    /// bytes, stored in the clear. Opening the volume with another expected context fails.
    pub fn context(mut self, context: &[u8]) -> Self {
        self.context = context.to_vec();
        self
    }

    /// The owner of the keys that protect the volume.
    pub fn encryption_type(mut self, encryption_type: EncryptionType) -> Self {
        self.encryption_type = encryption_type;
        self
    }

    /// Whether to destroy the device's content. Otherwise the device is refused unless its first
    /// [`data_offset`](Self::data_offset) bytes are all zero; later bytes aren't checked.
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }

    /// Keeps a map of written chunks of `chunk_size` bytes: a power of two from 4 KiB to 1 MiB; 64 KiB suit most. Sectors that
    /// were never written then read as zeros, not as noise. Whole chunks can be [discarded](Volume::discard) and
    /// [made zeros](Volume::write_zeroes) without being written, and [`Volume::extents`] lists the parts that a copy may skip.
    ///
    /// It has costs. The first write to a chunk writes all of it, and a [sync](Volume::sync) after first writes syncs the device
    /// twice. Chunks that were first written and **not synced read as zeros** when the volume is opened again, even if only the
    /// process ended. The map takes 1 bit for each chunk, twice, before the data, which begins later by as many MiB. The size of
    /// the volume is a whole number of chunks. Only LUKS2 has it. Other programs refuse the volume, `cryptsetup` among them, and
    /// so do re-encryption and decryption in place.
    pub fn written_map(mut self, chunk_size: u32) -> Self {
        self.written_map = Some(chunk_size);
        self
    }

    /// Gives the map of written chunks room for `size` bytes of data, if the device is to grow. By default it has room for the
    /// size of the device, and the volume never grows far beyond.
    pub fn written_map_for(mut self, size: u64) -> Self {
        self.written_map_for = size;
        self
    }

    fn cipher(&self) -> Result<CipherSpec> {
        let old = || {
            Error::InvalidOption(
                "a new volume is encrypted by XTS or HCTR2; AES-CBC is for old ones only, AES-CTR for none".into(),
            )
        };
        self.algorithm.new_cipher().ok_or_else(old)
    }

    pub(super) fn check(&self) -> Result<()> {
        if !matches!(self.sector_size.bytes(), 512 | 1024 | 2048 | 4096) {
            return Err(Error::SectorSize { size: u64::from(self.sector_size.bytes()) });
        }
        self.cipher()?;
        let least = if self.header.is_some() { 0 } else { MIB };
        if self.data_offset.is_some_and(|at| !at.is_multiple_of(MIB) || !(least..=128 * MIB).contains(&at)) {
            return Err(Error::InvalidOption(BAD_DATA_OFFSET.into()));
        }
        check_context(&self.context)
    }
}

impl fmt::Debug for FormatOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FormatOptions")
            .field("version", &self.version)
            .field("sector_size", &self.sector_size)
            .field("algorithm", &self.algorithm)
            .field("data_offset", &self.data_offset)
            .field("metadata_size", &self.metadata_size)
            .field("detached", &self.header.is_some())
            .field("keyslot", &self.keyslot)
            .field("uuid", &self.uuid)
            .field("label", &self.label)
            .field("subsystem", &self.subsystem)
            .field("context", &self.context)
            .field("encryption_type", &self.encryption_type)
            .field("overwrite", &self.overwrite)
            .field("written_map", &self.written_map)
            .field("written_map_for", &self.written_map_for)
            .finish_non_exhaustive()
    }
}

impl<D: BlockDevice> Volume<D> {
    /// Makes a volume on `device`, with a new DEK and `protector` as its first way in.
    ///
    /// Only the header is written, with a map of written chunks if it has one. The data area stays as it is, and reads as noise
    /// until it is written; with a [map](FormatOptions::written_map), as zeros.
    ///
    /// # Errors
    /// [`Error::DeviceNotBlank`] unless [`overwrite`](FormatOptions::overwrite) is set; [`Error::DeviceTooSmall`];
    /// [`Error::InvalidOption`] and [`Error::SectorSize`] for options out of bounds; [`Error::NoRoom`] if a keyslot
    /// doesn't fit before the data; the vault's errors; [`Error::NotApproved`]; [`Error::Io`]. Nothing is written
    /// before the vault has wrapped the DEK and unwrapped it again.
    pub fn format(device: D, protector: Protector<'_>, options: &FormatOptions) -> Result<Self> {
        let (volume, approval) = approval::observe(|| on_wiped_stack(|| Self::made(device, protector, options)));
        Ok(Volume { made_by: approval, ..volume? })
    }

    fn made(device: D, protector: Protector<'_>, options: &FormatOptions) -> Result<Self> {
        options.check()?;
        let (device, header_device) = (Aligned::new(device), options.header.clone().map(Aligned::new));
        let on = match &header_device {
            Some(header_device) => header_device as &dyn BlockDevice,
            None => &device,
        };
        let device_size = device.size().map_err(|e| Error::io("asking the device for its size", e))?;
        let (dek, mut header) = options.new_volume(device_size)?;
        let map = header.written_map(&dek)?;
        let data = header.data_area(header_device.is_some())?;
        let mut keys = Keys::new(Key::new(dek.clone(), 0), None);
        let mut layout = data.layout(device_size, &mut keys).map_err(|e| e.too_small_for(TooSmall::NewVolume))?;
        // This range must be blank: all room that the header may use later, and everything before the data.
        let data_offset = layout.extents[0].device_offset;
        let len = header.len() + map.as_ref().map_or(0, WrittenMap::len);
        let room = if header_device.is_some() { len } else { data_offset };
        let size = on.size().map_err(|e| Error::io("asking the device for its size", e))?;
        if size < len {
            let what = if header_device.is_some() { TooSmall::NewHeader } else { TooSmall::NewVolume };
            return Err(Error::DeviceTooSmall { what, needed: len, size });
        }
        let used = first_used(on, 0, room)?;
        options.check_blank(on, used)?;
        if let Some(map) = &map {
            map.fit(&mut layout).map_err(|e| e.too_small_for(TooSmall::NewVolume))?;
        }
        let prepared = options.prepare(protector, &dek, &*header, layout.size)?;
        if used.is_some() {
            wipe(on, 0, room)?;
        }
        // The map is there before the header that names it.
        let written = map.map(|map| Written::create(&map, &dek, on)).transpose();
        let stored = written.and_then(|written| header.store_new(on, &dek, prepared).map(|()| written));
        let written = stored.inspect_err(|_| {
            // Zero the room again, so that a full disk can take a new volume once it has space.
            let _ = wipe(on, 0, room);
        })?;
        let volume = Self::new(device, header_device, Live::new(keys, data, layout), header);
        Ok(Volume { written, ..volume })
    }
}

impl FormatOptions {
    /// The DEK and the header of a new volume, which is on no device yet.
    pub(super) fn new_volume(&self, device_size: u64) -> Result<(Dek, Box<dyn StoredHeader>)> {
        let dek = match &self.dek {
            Some(dek) => dek.clone(),
            None => Dek::generate(self.algorithm)?,
        };
        let uuid = uuid::Builder::from_random_bytes(random::array()?).into_uuid();
        let uuid = self.uuid.map_or(uuid, uuid::Uuid::from_bytes).to_string();
        let header = headers::create(self.version, &self.new_header(&dek, uuid, device_size)?)?;
        Ok((dek, header))
    }

    pub(super) fn luks_version(&self) -> LuksVersion {
        self.version
    }

    pub(super) fn sector_bytes(&self) -> u32 {
        self.sector_size.bytes()
    }

    /// Refuses a device that holds something at the byte `used`, unless that may be destroyed.
    pub(super) fn check_blank(&self, device: &dyn BlockDevice, used: Option<u64>) -> Result<()> {
        let Some(offset) = used.filter(|_| !self.overwrite) else { return Ok(()) };
        let found = signature::describe(device).map_err(|e| Error::io("looking at what the device holds", e))?;
        Err(Error::DeviceNotBlank { offset, found })
    }

    fn new_header<'a>(&'a self, dek: &'a Dek, uuid: String, device_size: u64) -> Result<NewHeader<'a>> {
        Ok(NewHeader {
            key: dek.secret(),
            cipher: self.cipher()?,
            sector_size: self.sector_size,
            data_offset: self.data_offset,
            detached: self.header.is_some(),
            metadata_size: self.metadata_size,
            uuid,
            label: &self.label,
            subsystem: &self.subsystem,
            written: self.written_map.map(|chunk_size| NewWritten {
                dek,
                chunk_size,
                size: device_size.max(self.written_map_for),
            }),
        })
    }

    /// Prepares the protector before anything is written.
    pub(super) fn prepare<'a>(
        &self,
        protector: Protector<'a>,
        dek: &Dek,
        header: &dyn StoredHeader,
        data_size: u64,
    ) -> Result<FirstProtector<'a>> {
        if let Protector::Vault(vault, key) = protector {
            let none = || format!("{} has no tokens for a vault; take LUKS2 or a passphrase", header.format());
            header.check_takes_tokens().map_err(|_| Error::InvalidOption(none()))?;
            let wrapped = WrappedDek::wrap(vault, key, dek)?;
            let token = Token::new(self.encryption_type, dek, wrapped, self.context.clone(), data_size);
            return Ok(FirstProtector::Token(token));
        }
        let secret = secret_of(protector)?;
        header.check_means(secret.1)?;
        if !self.context.is_empty() {
            return Err(Error::InvalidOption("a context needs a vault's token to be kept in".into()));
        }
        let kdf = self.keyslot.resolve(header.required_hash())?;
        Ok(FirstProtector::Keyslot(self.keyslot.keyslot(kdf, secret)))
    }
}

/// How many bytes are checked at once: they stay in the CPU's cache, and the allocator has them at hand.
const PIECE: usize = 64 << 10;

/// The offset of the first byte of a range that isn't zero. Bytes after the device's end count as zero.
pub(super) fn first_used(device: &dyn BlockDevice, start: u64, end: u64) -> Result<Option<u64>> {
    let failed = |e| Error::io("looking whether the device is blank", e);
    let end = end.min(device.size().map_err(failed)?);
    let mut piece = vec![0; PIECE];
    for offset in (start..end).step_by(PIECE) {
        let piece = &mut piece[..(end - offset).min(PIECE as u64) as usize];
        device.read_at(offset, piece).map_err(failed)?;
        if let Some(at) = zeros::first_nonzero(piece) {
            return Ok(Some(offset + at as u64));
        }
    }
    Ok(None)
}

/// Overwrites the room of the header, including old keyslots, with zeros. Blocks of zeros are skipped: in a file they
/// may be holes, and a full disk has no space to fill them.
pub(super) fn wipe(device: &dyn BlockDevice, start: u64, end: u64) -> Result<()> {
    let failed = |e| Error::io("wiping what the device held", e);
    let end = end.min(device.size().map_err(failed)?);
    rewrite(device, start..end, failed, true, |block| {
        block.fill(0);
        Ok(())
    })?;
    device.sync().map_err(failed)
}
