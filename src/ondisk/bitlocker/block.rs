//! A copy of the metadata.

use sha2::{Digest, Sha256};

use super::Defect;
use super::bytes::{array, crc32, text, u16_at, u32_at, u64_at};
use super::entry::{self, Key, entries};
use super::guid::Guid;
use super::protector::Protector;
use super::sealed::Sealed;

/// The size in bytes of the place of a copy, which fills a part of it.
pub(crate) const AREA: usize = 64 << 10;

pub(super) const MAGIC: &[u8; 8] = b"-FVE-FS-";
/// The first bytes of a copy that is not yet, or no longer, whole.
pub(crate) const VOID: [u8; 12] = *b"-FVE-FS-\0\0\x02\0";
/// The sizes in bytes of its first part, before the data set, and of the data set's own header.
pub(super) const HEADER: usize = 64;
pub(super) const SET_HEADER: usize = 48;

/// A copy of the metadata.
#[derive(Clone)]
pub(crate) struct Block {
    /// 1 for Windows Vista, 2 for all later ones.
    pub(crate) version: u16,
    pub(crate) state: State,
    /// The number of bytes from the start of the volume that are encrypted; for an encrypted volume, its size. 0 if unknown.
    pub(crate) encrypted: u64,
    /// The sectors at the start of the volume that are kept elsewhere.
    pub(crate) header_sectors: u32,
    /// The places of all copies.
    pub(crate) copies: [u64; 3],
    /// The byte where the first sectors are kept. In Windows Vista: the cluster of the file system that the boot sector hides.
    pub(crate) header_offset: u64,
    pub(crate) volume: Guid,
    pub(crate) method: Option<Method>,
    pub(crate) description: String,
    pub(crate) protectors: Vec<Protector>,
    /// The volume's key, under the master key.
    pub(crate) key: Option<Sealed>,
    pub(crate) integrity: Integrity,
    /// The SHA-256 of the bytes that the integrity covers.
    pub(crate) digest: [u8; 32],
    /// The number of bytes that it takes of its place, with its checksum and its integrity.
    len: usize,
}

/// How far the volume is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Not at all.
    Decrypted,
    /// Up to a boundary.
    Partly,
    /// Wholly.
    Encrypted,
}

/// The cipher of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Cbc128Elephant,
    Cbc256Elephant,
    Cbc128,
    Cbc256,
    Xts128,
    Xts256,
}

impl Method {
    const ALL: [Method; 6] = [
        Method::Cbc128Elephant,
        Method::Cbc256Elephant,
        Method::Cbc128,
        Method::Cbc256,
        Method::Xts128,
        Method::Xts256,
    ];

    pub(crate) fn of(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.number() == number)
    }

    pub(super) fn number(self) -> u16 {
        match self {
            Method::Cbc128Elephant => 0x8000,
            Method::Cbc256Elephant => 0x8001,
            Method::Cbc128 => 0x8002,
            Method::Cbc256 => 0x8003,
            Method::Xts128 => 0x8004,
            Method::Xts256 => 0x8005,
        }
    }
}

/// The number of the encrypted state, which is final.
pub(super) const ENCRYPTED: u16 = 4;

/// The proof that nobody without the master key has changed the metadata.
#[derive(Clone)]
pub(crate) enum Integrity {
    /// Its hash, sealed under the master key.
    Sealed(Sealed),
    /// Its hash alone, of a volume that has no key.
    Unsealed,
    /// No proof, in Windows Vista.
    Missing,
}

impl Block {
    /// The version, and the bytes that the checksum is over, of a copy whose checksum is right.
    fn whole(area: &[u8]) -> Result<(u16, &[u8]), Defect> {
        let cut = || Defect::Invalid("it is cut off".into());
        if !area.starts_with(MAGIC) {
            return Err(Defect::Invalid("it doesn't begin with \"-FVE-FS-\"".into()));
        }
        let field = |at| u16_at(area, at).ok_or_else(cut);
        let (size, version) = (usize::from(field(8)?), field(10)?);
        let size = match version {
            1 => size,
            2 => size << 4, // it counts 16 bytes
            version => return Err(Defect::Unsupported(format!("its version is {version}, not 1 or 2"))),
        };
        let bytes = area.get(..size).filter(|_| size >= HEADER + SET_HEADER);
        let bytes = bytes.ok_or_else(|| Defect::Invalid(format!("it says that it has {size} bytes")))?;
        let expected = u32_at(area, size + 4).ok_or_else(cut)?;
        if crc32(bytes) != expected {
            return Err(Defect::Invalid("its checksum is wrong".into()));
        }
        Ok((version, bytes))
    }

    /// Whether a copy is of a version that is known, with a right checksum: somebody has written all of it.
    pub(crate) fn is_whole(area: &[u8]) -> bool {
        Self::whole(area).is_ok()
    }

    /// Reads a copy. `area` is its whole place on the device.
    pub(crate) fn parse(area: &[u8]) -> Result<Self, Defect> {
        let cut = || Defect::Invalid("it is cut off".into());
        let (version, bytes) = Self::whole(area)?;
        let size = bytes.len();
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        let integrity = if version == 1 { Integrity::Missing } else { integrity(&area[size + 8..], &digest)? };
        let numbers = |at| u64_at(bytes, at).ok_or_else(cut);
        let mut block = Block {
            version,
            state: state(u16_at(bytes, 12).ok_or_else(cut)?)?,
            encrypted: numbers(16)?,
            header_sectors: u32_at(bytes, 28).ok_or_else(cut)?,
            copies: [numbers(32)?, numbers(40)?, numbers(48)?],
            header_offset: numbers(56)?,
            volume: Guid(array(bytes, HEADER + 16).ok_or_else(cut)?),
            method: None,
            description: String::new(),
            protectors: Vec::new(),
            key: None,
            integrity,
            digest,
            len: 0,
        };
        block.parse_set(&bytes[HEADER..])?;
        let proof = if version == 1 { 0 } else { u16_at(area, size + 8).map_or(0, usize::from) };
        block.len = size + 8 + proof;
        Ok(block)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn parse_set(&mut self, set: &[u8]) -> Result<(), Defect> {
        let field = |at| u32_at(set, at).map_or(0, |field| field as usize);
        let (size, version, start, end) = (field(0), field(4), field(8), field(12));
        if version != 1 {
            return Err(Defect::Unsupported(format!("its data set's version is {version}, not 1")));
        }
        let ordered = start == SET_HEADER && start <= end && end <= size && size <= set.len();
        if !ordered {
            return Err(Defect::Invalid(format!(
                "its data set of {size} bytes has entries from byte {start} to {end}, where {} bytes are",
                set.len()
            )));
        }
        let number = u16_at(set, 36).unwrap_or_default();
        self.method = Method::of(number);
        if self.method.is_none() && self.state != State::Decrypted {
            return Err(Defect::Unsupported(format!("its data is encrypted by the unknown method {number:#06x}")));
        }
        for found in entries(&set[start..end]) {
            let found = found?;
            match (found.role, found.kind) {
                (entry::PROTECTOR, entry::MASTER_KEY) => self.protectors.push(Protector::parse(found.data)?),
                (entry::VOLUME_KEY, entry::SEALED) if self.key.is_none() => {
                    self.key = Some(Sealed::parse(found.data)?);
                }
                (entry::DESCRIPTION, entry::TEXT) => self.description = text(found.data),
                (entry::VOLUME_HEADER, entry::VOLUME_HEADER) => self.check_header(found.data)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Checks the place of the first sectors, which Windows 7 and later record twice.
    fn check_header(&self, data: &[u8]) -> Result<(), Defect> {
        if u64_at(data, 0) == Some(self.header_offset) {
            return Ok(());
        }
        Err(Defect::Invalid("it names two places of the volume's first sectors".into()))
    }
}

fn state(number: u16) -> Result<State, Defect> {
    match number {
        1 => Ok(State::Decrypted),
        // Paused, and under way when it was shut down.
        3 | 5 => Ok(State::Partly),
        ENCRYPTED => Ok(State::Encrypted),
        2 => Err(Defect::Unsupported(
            "Windows was stopped while it encrypted or decrypted a part of it, and keeps that part in a log; let Windows \
             start with the volume, which finishes it"
                .into(),
        )),
        number => Err(Defect::Unsupported(format!("its state is {number}, which isn't known"))),
    }
}

fn integrity(after: &[u8], digest: &[u8; 32]) -> Result<Integrity, Defect> {
    let missing = || Defect::Invalid("the hash that shows whether it was altered is missing".into());
    // The bytes after the entry are left over from before.
    let size = u16_at(after, 0).map_or(0, usize::from);
    let entry = entries(after.get(..size).ok_or_else(missing)?).next().ok_or_else(missing)??;
    match entry.kind {
        entry::SEALED => Ok(Integrity::Sealed(Sealed::parse(entry.data)?)),
        entry::KEY => {
            let is_same = Key::parse(entry.data)?.bytes.expose() == digest;
            if is_same { Ok(Integrity::Unsealed) } else { Err(Defect::Invalid("its hash is wrong".into())) }
        }
        _ => Err(missing()),
    }
}
