//! Making a volume.

use super::header::StoredHeader;
use super::{BlockDevice, Layout, Volume};
use crate::arch::wipe_deep_stack;
use crate::key::{DekAlgorithm, EncryptionType, KeyVault, WrappedDek, check_context};
use crate::luks::{BinaryHeader, HEADER_SIZES, Metadata, NewMetadata, SALT_LEN, Token, VolumeKeyDigest};
use crate::{Dek, Error, Result, SectorSize, SectorUnit, random};
use std::sync::Mutex;

/// What a new volume is like. `FormatOptions::new()` is right for most.
#[derive(Debug, Clone)]
pub struct FormatOptions {
    sector_size: SectorSize,
    algorithm: DekAlgorithm,
    data_offset: u64,
    uuid: Option<[u8; 16]>,
    label: String,
    subsystem: String,
    context: Vec<u8>,
    encryption_type: EncryptionType,
    overwrite: bool,
}

/// Alignment of the data, and the least room that the header takes.
const MIB: u64 = 1 << 20;
const HEADER_SIZE: u64 = HEADER_SIZES[0];
const MAX_LABEL: usize = 47;

impl Default for FormatOptions {
    fn default() -> Self {
        FormatOptions {
            sector_size: SectorSize::B512,
            algorithm: DekAlgorithm::Aes256Xts,
            data_offset: 16 * MIB,
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
    /// Sectors of 512 bytes, AES-256-XTS, data at 16 MiB as `cryptsetup` has it, a random UUID, a customer's key.
    pub fn new() -> Self {
        Self::default()
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
    /// keyslots, 16 MiB for all 32.
    pub fn data_offset(mut self, data_offset: u64) -> Self {
        self.data_offset = data_offset;
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

    fn check(&self) -> Result<()> {
        let bad = |text: &str| Err(Error::InvalidOption(text.into()));
        if !matches!(self.sector_size.bytes(), 512 | 1024 | 2048 | 4096) {
            return Err(Error::SectorSize { size: u64::from(self.sector_size.bytes()) });
        }
        if !self.data_offset.is_multiple_of(MIB) || !(MIB..=128 * MIB).contains(&self.data_offset) {
            return bad("the data offset must be a multiple of 1 MiB from 1 to 128 MiB");
        }
        if [&self.label, &self.subsystem].iter().any(|text| text.len() > MAX_LABEL || text.contains('\0')) {
            return bad("a label or subsystem has at most 47 bytes, none of them zero");
        }
        check_context(&self.context)
    }
}

impl<D: BlockDevice> Volume<D> {
    /// Makes a volume on `device`, with a new DEK that `vault` wraps under the latest version of its key `key`.
    ///
    /// The header is written; the data area is left as it is, and reads as noise until it is written.
    ///
    /// # Errors
    /// [`Error::DeviceNotBlank`] unless [`overwrite`](FormatOptions::overwrite) is set; [`Error::DeviceTooSmall`];
    /// [`Error::InvalidOption`] and [`Error::SectorSize`] for options out of bounds; what the vault answers;
    /// [`Error::Io`]. Nothing is written before the vault has wrapped the DEK and unwrapped it again.
    pub fn format(device: D, vault: &dyn KeyVault, key: &str, options: &FormatOptions) -> Result<Self> {
        let volume = Self::format_unwiped(device, vault, key, options);
        wipe_deep_stack();
        volume
    }

    /// Not inlined, so that what it leaves on the stack is below its caller, who wipes it.
    #[inline(never)]
    fn format_unwiped(device: D, vault: &dyn KeyVault, key: &str, options: &FormatOptions) -> Result<Self> {
        options.check()?;
        let device_size = device.size().map_err(|e| Error::io("asking the device for its size", e))?;
        let sector_size = u64::from(options.sector_size.bytes());
        if device_size < options.data_offset + sector_size {
            return Err(Error::DeviceTooSmall { needed: options.data_offset + sector_size, size: device_size });
        }
        let size = (device_size - options.data_offset) / sector_size * sector_size;
        let layout = Layout { data_offset: options.data_offset, size, iv_tweak: 0, sector_size: options.sector_size };
        let layout = layout.check()?;
        let used = first_used(&device, options.data_offset)?;
        if let Some(offset) = used.filter(|_| !options.overwrite) {
            return Err(Error::DeviceNotBlank { offset });
        }

        let dek = Dek::generate(options.algorithm)?;
        let wrapped = WrappedDek::wrap(vault, key, &dek)?;
        let uuid = uuid::Builder::from_random_bytes(random::array()?).into_uuid();
        let uuid = options.uuid.map_or(uuid, uuid::Uuid::from_bytes).to_string();
        let digest = VolumeKeyDigest::new(dek.secret(), random::array()?);
        let sector_size = options.sector_size.bytes();
        let mut metadata = Metadata::new(&NewMetadata::new(HEADER_SIZE, options.data_offset, sector_size, digest))?;
        let mut token = Token::new(options.encryption_type, &dek, wrapped, options.context.clone(), size);
        token.seal(&dek, &uuid, &metadata);
        metadata.set_token(0, &token);
        let binary = BinaryHeader {
            header_size: HEADER_SIZE,
            seqid: 0,
            label: options.label.clone(),
            salt: [0; SALT_LEN],
            uuid,
            subsystem: options.subsystem.clone(),
        };
        let mut header = StoredHeader::new(binary, metadata)?;
        if used.is_some() {
            wipe(&device, options.data_offset)?;
        }
        header.store(&device)?;
        let cipher = dek.boxed_sector_cipher(options.sector_size, SectorUnit::Bytes512)?;
        Ok(Volume { device, cipher, dek, layout, read_only: false, header: Mutex::new(header) })
    }
}

const PIECE: usize = 1 << 20;

/// The offset of the first byte below `end` that isn't zero.
fn first_used(device: &impl BlockDevice, end: u64) -> Result<Option<u64>> {
    let mut piece = vec![0; PIECE];
    for offset in (0..end).step_by(PIECE) {
        device.read_at(offset, &mut piece).map_err(|e| Error::io("looking whether the device is blank", e))?;
        if let Some(at) = piece.iter().position(|&byte| byte != 0) {
            return Ok(Some(offset + at as u64));
        }
    }
    Ok(None)
}

/// Overwrites the room of the header with zeros, old keyslots included.
fn wipe(device: &impl BlockDevice, end: u64) -> Result<()> {
    let zeros = vec![0; PIECE];
    let failed = |e| Error::io("wiping what the device held", e);
    for offset in (0..end).step_by(PIECE) {
        device.write_at(offset, &zeros).map_err(failed)?;
    }
    device.sync().map_err(failed)
}
