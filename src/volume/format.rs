//! Making a volume.

use core::fmt;
use std::sync::{Arc, Mutex};

use super::aligned::Aligned;
use super::headers::{self, BAD_DATA_OFFSET, FirstProtector, NewHeader, StoredHeader, rewrite};
use super::signature;
use super::{BlockDevice, KeyslotOptions, Volume};
use crate::approval::{self, Approval};
use crate::arch::on_wiped_stack;
use crate::cipher::CipherSpec;
use crate::key::{DekAlgorithm, EncryptionType, Passphrase, Protector, WrappedDek, check_context};
use crate::ondisk::luks::{HEADER_SIZES, LuksVersion, Token};
use crate::{Dek, Error, Result, SectorSize, random};

/// Options for formatting a volume. The defaults, `FormatOptions::new()`, are right for most.
#[derive(Clone)]
pub struct FormatOptions {
    version: LuksVersion,
    sector_size: SectorSize,
    algorithm: DekAlgorithm,
    dek: Option<Dek>,
    data_offset: Option<u64>,
    metadata_size: u64,
    header: Option<Arc<dyn BlockDevice>>,
    keyslot: KeyslotOptions,
    uuid: Option<[u8; 16]>,
    label: String,
    subsystem: String,
    context: Vec<u8>,
    encryption_type: EncryptionType,
    overwrite: bool,
}

/// Alignment of the data, and the least room that the header takes.
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
        }
    }
}

impl FormatOptions {
    /// LUKS2, sectors of 512 bytes, AES-256-XTS, data at 16 MiB as `cryptsetup` has it, a random UUID, a customer's key.
    pub fn new() -> Self {
        Self::default()
    }

    /// The version of LUKS. LUKS1, for machines that know nothing else, has sectors of 512 bytes, passphrases only, and
    /// its data at 2 MiB.
    pub fn version(mut self, version: LuksVersion) -> Self {
        self.version = version;
        self
    }

    /// The sector size: 512, 1024, 2048 or 4096 bytes. A file system made for smaller sectors than this won't mount.
    pub fn sector_size(mut self, sector_size: SectorSize) -> Self {
        self.sector_size = sector_size;
        self
    }

    /// What the DEK is for.
    pub fn dek_algorithm(mut self, algorithm: DekAlgorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// Where the data begins, in bytes: a multiple of 1 MiB from 1 to 128 MiB. 1 MiB leaves room for 3 passphrase
    /// keyslots, 16 MiB for all 32. With a detached header it may be 0, which is its default then.
    pub fn data_offset(mut self, data_offset: u64) -> Self {
        self.data_offset = Some(data_offset);
        self
    }

    /// The size of each of the two copies of the header's metadata, in bytes: a power of two from 16 KiB, which is its
    /// default, to 4 MiB. 4 KiB less is the room for all keyslots and tokens together, other programs' included. Both copies
    /// lie in front of the keyslots and the data, so that 1 MiB before the data takes up to 256 KiB of it.
    pub fn metadata_size(mut self, metadata_size: u64) -> Self {
        self.metadata_size = metadata_size;
        self
    }

    /// The device that gets the header, where it shall be detached from the data: 16 MiB of it, or 2 MiB for LUKS1.
    pub fn header(mut self, device: Arc<dyn BlockDevice>) -> Self {
        self.header = Some(device);
        self
    }

    /// What the keyslot is like where a passphrase or key file protects the volume.
    pub fn keyslot(mut self, options: KeyslotOptions) -> Self {
        self.keyslot = options;
        self
    }

    /// A DEK in place of a new one. Two volumes under one DEK show where they hold the same.
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

    /// What the volume is bound to, such as a disk's id: up to [`MAX_CONTEXT`](crate::key::MAX_CONTEXT) bytes, stored in
    /// the clear. Who opens with another context expected is refused.
    pub fn context(mut self, context: &[u8]) -> Self {
        self.context = context.to_vec();
        self
    }

    /// Whose keys protect the volume.
    pub fn encryption_type(mut self, encryption_type: EncryptionType) -> Self {
        self.encryption_type = encryption_type;
        self
    }

    /// Whether to destroy what the device holds. Otherwise a device is refused if its first
    /// [`data_offset`](Self::data_offset) bytes aren't all zero; what lies behind them isn't looked at.
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
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

    fn check(&self) -> Result<()> {
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
            .finish_non_exhaustive()
    }
}

impl<D: BlockDevice> Volume<D> {
    /// Makes a volume on `device`, with a new DEK, and `protector` as the way into it.
    ///
    /// The header is written; the data area is left as it is, and reads as noise until it is written.
    ///
    /// # Errors
    /// [`Error::DeviceNotBlank`] unless [`overwrite`](FormatOptions::overwrite) is set; [`Error::DeviceTooSmall`];
    /// [`Error::InvalidOption`] and [`Error::SectorSize`] for options out of bounds; [`Error::NoRoom`] where a keyslot
    /// doesn't fit in front of the data; what the vault answers; [`Error::NotApproved`]; [`Error::Io`]. Nothing is written before the vault has
    /// wrapped the DEK and unwrapped it again.
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
        let dek = match &options.dek {
            Some(dek) => dek.clone(),
            None => Dek::generate(options.algorithm)?,
        };
        let uuid = uuid::Builder::from_random_bytes(random::array()?).into_uuid();
        let uuid = options.uuid.map_or(uuid, uuid::Uuid::from_bytes).to_string();
        let mut header = headers::create(options.version, &options.new_header(&dek, uuid)?)?;
        let device_size = device.size().map_err(|e| Error::io("asking the device for its size", e))?;
        let data = header.data_area(header_device.is_some())?;
        let layout = data.layout(device_size, &dek)?;
        // What has to be blank: all that the header may come to use, and what is before the data.
        let data_offset = layout.extents[0].device_offset;
        let room = if header_device.is_some() { header.len() } else { data_offset };
        let size = on.size().map_err(|e| Error::io("asking the device for its size", e))?;
        if size < header.len() {
            return Err(Error::DeviceTooSmall { needed: header.len(), size });
        }
        let used = first_used(on, room)?;
        if let Some(offset) = used.filter(|_| !options.overwrite) {
            let found = signature::describe(on).map_err(|e| Error::io("looking at what the device holds", e))?;
            return Err(Error::DeviceNotBlank { offset, found });
        }

        let prepared = options.prepare(protector, &dek, &*header, layout.size)?;
        if used.is_some() {
            wipe(on, room)?;
        }
        if let Err(e) = header.store_new(on, &dek, prepared) {
            // Blank again, as far as that goes: a full disk takes a new volume once it has room.
            let _ = wipe(on, room);
            return Err(e);
        }
        let header = Mutex::new(header);
        Ok(Volume {
            device,
            header_device,
            dek,
            data,
            layout,
            read_only: false,
            made_by: Approval::Approved,
            used_blocks: 0,
            header,
        })
    }
}

impl FormatOptions {
    fn new_header<'a>(&'a self, dek: &'a Dek, uuid: String) -> Result<NewHeader<'a>> {
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
        })
    }

    /// Does what a protector needs before anything is written.
    fn prepare<'a>(
        &self,
        protector: Protector<'a>,
        dek: &Dek,
        header: &dyn StoredHeader,
        data_size: u64,
    ) -> Result<FirstProtector<'a>> {
        let passphrase = match protector {
            Protector::Vault(vault, key) => {
                let none = || format!("{} has no tokens for a vault; take LUKS2 or a passphrase", header.version());
                header.check_takes_tokens().map_err(|_| Error::InvalidOption(none()))?;
                let wrapped = WrappedDek::wrap(vault, key, dek)?;
                let token = Token::new(self.encryption_type, dek, wrapped, self.context.clone(), data_size);
                return Ok(FirstProtector::Token(token));
            }
            Protector::Passphrase(passphrase) => Passphrase::given(passphrase)?.protecting()?,
            Protector::KeyFile(path) => Passphrase::read(path)?.protecting()?,
        };
        if !self.context.is_empty() {
            return Err(Error::InvalidOption("a context needs a vault's token to be kept in".into()));
        }
        let kdf = self.keyslot.resolve(header.required_hash())?;
        Ok(FirstProtector::Keyslot(self.keyslot.keyslot(kdf, passphrase)))
    }
}

const PIECE: usize = 1 << 20;

/// The offset of the first byte below `end` that isn't zero; what is behind the device's end is.
fn first_used(device: &dyn BlockDevice, end: u64) -> Result<Option<u64>> {
    let failed = |e| Error::io("looking whether the device is blank", e);
    let end = end.min(device.size().map_err(failed)?);
    let mut piece = vec![0; PIECE];
    for offset in (0..end).step_by(PIECE) {
        let piece = &mut piece[..(end - offset).min(PIECE as u64) as usize];
        device.read_at(offset, piece).map_err(failed)?;
        if let Some(at) = piece.iter().position(|&byte| byte != 0) {
            return Ok(Some(offset + at as u64));
        }
    }
    Ok(None)
}

/// Overwrites the room of the header with zeros, old keyslots included. What is zero already is left, since in a file it may
/// be a hole, for which a full disk has no room.
fn wipe(device: &dyn BlockDevice, end: u64) -> Result<()> {
    let failed = |e| Error::io("wiping what the device held", e);
    let end = end.min(device.size().map_err(failed)?);
    rewrite(device, 0..end, failed, true, |block| {
        block.fill(0);
        Ok(())
    })?;
    device.sync().map_err(failed)
}
