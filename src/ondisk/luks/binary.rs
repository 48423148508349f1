//! The binary header (section 2.1) and the checksum over it and the JSON area.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use crate::zeros;

/// The size of the binary header in bytes (section 2.1); the JSON area follows it.
pub const BINARY_HEADER: usize = 4096;

/// The allowed sizes in bytes of one copy of the header with its JSON area (table 1). The second copy starts at this
/// offset.
pub const HEADER_SIZES: [u64; 9] =
    [0x4000, 0x8000, 0x1_0000, 0x2_0000, 0x4_0000, 0x8_0000, 0x10_0000, 0x20_0000, 0x40_0000];

/// The length in bytes of a label with its final zero byte.
const LABEL_LEN: usize = 48;

/// The length of the salt in bytes.
pub const SALT_LEN: usize = 64;

const MAGIC_PRIMARY: [u8; 6] = *b"LUKS\xba\xbe";
const MAGIC_SECONDARY: [u8; 6] = *b"SKUL\xba\xbe";
const VERSION: u16 = 2;
const CHECKSUM_ALGORITHM: &str = "sha256";

// The fields: offset and length in bytes (figure 2).
const MAGIC: (usize, usize) = (0, 6);
const VERSION_AT: (usize, usize) = (6, 2);
const HDR_SIZE: (usize, usize) = (8, 8);
const SEQID: (usize, usize) = (16, 8);
const LABEL: (usize, usize) = (24, LABEL_LEN);
const CSUM_ALG: (usize, usize) = (72, 32);
const SALT: (usize, usize) = (104, SALT_LEN);
const UUID: (usize, usize) = (168, 40);
const SUBSYSTEM: (usize, usize) = (208, LABEL_LEN);
const HDR_OFFSET: (usize, usize) = (256, 8);
const CSUM: (usize, usize) = (448, 64);
const DIGEST: usize = 32;

/// A copy of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Position {
    /// The first, at the beginning of the device.
    Primary,
    /// The second, directly after the first.
    Secondary,
}

/// The fields of the binary header, without padding and checksum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinaryHeader {
    /// The size of this copy with its JSON area, in bytes: one of [`HEADER_SIZES`].
    pub header_size: u64,
    /// Grows with each update; the copy with the larger number is newer.
    pub seqid: u64,
    /// A label, up to 47 bytes.
    pub label: Label,
    /// Random bytes that differ from copy to copy.
    pub salt: [u8; SALT_LEN],
    /// The UUID of the device, as text.
    pub uuid: String,
    /// A second label, up to 47 bytes.
    pub subsystem: Label,
}

/// A label as stored in its header field. Nothing interprets it, so any bytes in any encoding are valid. All bytes of
/// the field are kept when the header is rewritten.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Label([u8; LABEL_LEN]);

impl Label {
    /// A label of these bytes, cut to 47.
    pub fn new(label: &[u8]) -> Self {
        let mut field = [0; LABEL_LEN];
        let len = label.len().min(LABEL_LEN - 1);
        field[..len].copy_from_slice(&label[..len]);
        Label(field)
    }

    fn read(bytes: &[u8]) -> Self {
        let mut field = [0; LABEL_LEN];
        field.copy_from_slice(bytes);
        Label(field)
    }

    /// The bytes up to the first zero byte, at most 47.
    pub fn bytes(&self) -> &[u8] {
        let most = &self.0[..LABEL_LEN - 1];
        most.split(|&byte| byte == 0).next().unwrap_or_default()
    }

    /// The text. Bytes that aren't UTF-8 show as U+FFFD.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.bytes())
    }
}

impl core::fmt::Debug for Label {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?}", self.text())
    }
}

impl BinaryHeader {
    /// Whether a block begins like a LUKS header of any version at `position`.
    pub fn has_magic(block: &[u8], position: Position) -> bool {
        block.get(..MAGIC.1) == Some(&position.magic()[..])
    }

    /// The version that a block with the magic claims.
    pub fn version(block: &[u8; BINARY_HEADER]) -> u16 {
        let bytes = field(block, VERSION_AT);
        u16::from_be_bytes([bytes[0], bytes[1]])
    }

    /// Reads a binary header found `offset` bytes from the start of the device. It doesn't check the checksum: see
    /// [`verify`](Self::verify).
    ///
    /// # Errors
    /// A text that names the defect.
    pub fn parse(block: &[u8; BINARY_HEADER], position: Position, offset: u64) -> Result<Self, String> {
        if !Self::has_magic(block, position) {
            return Err("there is no LUKS magic".into());
        }
        let version = Self::version(block);
        if version != VERSION {
            return Err(format!("its version is {version}, not {VERSION}"));
        }
        let header_size = be64(block, HDR_SIZE);
        if !HEADER_SIZES.contains(&header_size) {
            return Err(format!("its size, {header_size} bytes, is none of those that the format has"));
        }
        let hdr_offset = be64(block, HDR_OFFSET);
        if hdr_offset != offset {
            return Err(format!("it says that it is at offset {hdr_offset}, but it is at {offset}"));
        }
        let algorithm = text(block, CSUM_ALG, "checksum algorithm")?;
        if algorithm != CHECKSUM_ALGORITHM {
            return Err(format!("its checksum algorithm is {algorithm:?}, not {CHECKSUM_ALGORITHM:?}"));
        }
        let mut salt = [0; SALT_LEN];
        salt.copy_from_slice(field(block, SALT));
        Ok(BinaryHeader {
            header_size,
            seqid: be64(block, SEQID),
            label: Label::read(field(block, LABEL)),
            salt,
            uuid: text(block, UUID, "uuid")?,
            subsystem: Label::read(field(block, SUBSYSTEM)),
        })
    }

    /// Compares the checksum in `copy`, a binary header and its JSON area, with the bytes.
    ///
    /// # Errors
    /// A text that names the defect.
    pub fn verify(copy: &[u8]) -> Result<(), String> {
        let found = copy.get(CSUM.0..CSUM.0 + CSUM.1).ok_or("it was cut off")?;
        let (digest, rest) = found.split_at(DIGEST);
        if digest != checksum(copy) || !zeros::is_zero(rest) {
            return Err("its checksum does not match".into());
        }
        Ok(())
    }

    /// The length in bytes that a block with the magic claims for its copy, in any version of the format.
    pub fn claimed_size(block: &[u8; BINARY_HEADER]) -> u64 {
        be64(block, HDR_SIZE)
    }

    /// Whether a block with the magic has a UUID, and the size and the offset of a copy at `offset`.
    pub fn is_placed(block: &[u8; BINARY_HEADER], offset: u64) -> bool {
        let has_uuid = !zeros::is_zero(field(block, UUID));
        has_uuid && HEADER_SIZES.contains(&be64(block, HDR_SIZE)) && be64(block, HDR_OFFSET) == offset
    }

    /// The name of the checksum that a block with the magic claims, if it may be a name.
    pub fn claimed_checksum(block: &[u8; BINARY_HEADER]) -> Option<&str> {
        let bytes = field(block, CSUM_ALG);
        let end = bytes.iter().position(|&byte| byte == 0)?;
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_:/".contains(byte);
        let (name, rest) = bytes.split_at(end);
        (end > 0 && name.iter().all(is_name) && zeros::is_zero(rest)).then(|| str::from_utf8(name).ok()).flatten()
    }

    /// Whether a copy verifies once its version, size, checksum and offset are put back to what every copy of this format has.
    pub fn verifies_with(copy: &[u8], header_size: u64, offset: u64) -> bool {
        let mut copy = copy.to_vec();
        if copy.len() < BINARY_HEADER {
            return false;
        }
        copy[CSUM_ALG.0..CSUM_ALG.0 + CSUM_ALG.1].fill(0);
        let fields: [(usize, &[u8]); 4] = [
            (VERSION_AT.0, &VERSION.to_be_bytes()),
            (HDR_SIZE.0, &header_size.to_be_bytes()),
            (HDR_OFFSET.0, &offset.to_be_bytes()),
            (CSUM_ALG.0, CHECKSUM_ALGORITHM.as_bytes()),
        ];
        for (at, bytes) in fields {
            copy[at..at + bytes.len()].copy_from_slice(bytes);
        }
        Self::verify(&copy).is_ok()
    }

    /// The block of 4096 bytes. Its checksum is still zero, so no reader accepts it.
    pub fn encode(&self, position: Position) -> [u8; BINARY_HEADER] {
        let offset = if position == Position::Primary { 0 } else { self.header_size };
        let mut block = [0; BINARY_HEADER];
        let mut put = |(at, len): (usize, usize), bytes: &[u8]| {
            // Strings end with a zero byte, so their last byte stays free.
            let len = bytes.len().min(len);
            block[at..at + len].copy_from_slice(&bytes[..len]);
        };
        put(MAGIC, &position.magic());
        put(VERSION_AT, &VERSION.to_be_bytes());
        put(HDR_SIZE, &self.header_size.to_be_bytes());
        put(SEQID, &self.seqid.to_be_bytes());
        put(LABEL, &self.label.0);
        put(CSUM_ALG, CHECKSUM_ALGORITHM.as_bytes());
        put(SALT, &self.salt);
        put((UUID.0, UUID.1 - 1), self.uuid.as_bytes());
        put(SUBSYSTEM, &self.subsystem.0);
        put(HDR_OFFSET, &offset.to_be_bytes());
        block
    }

    /// Stores the checksum of `copy`, a binary header and its JSON area, in it.
    pub fn seal(copy: &mut [u8]) {
        let digest = checksum(copy);
        copy[CSUM.0..CSUM.0 + CSUM.1].fill(0);
        copy[CSUM.0..CSUM.0 + DIGEST].copy_from_slice(&digest);
    }
}

impl Position {
    fn magic(self) -> [u8; 6] {
        match self {
            Position::Primary => MAGIC_PRIMARY,
            Position::Secondary => MAGIC_SECONDARY,
        }
    }
}

impl core::fmt::Display for Position {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(if *self == Position::Primary { "primary copy" } else { "secondary copy" })
    }
}

/// SHA-256 of a copy with its checksum field taken as zero.
fn checksum(copy: &[u8]) -> [u8; DIGEST] {
    let (head, rest) = copy.split_at(CSUM.0);
    Sha256::new().chain_update(head).chain_update([0; CSUM.1]).chain_update(&rest[CSUM.1..]).finalize().into()
}

fn field(block: &[u8; BINARY_HEADER], (at, len): (usize, usize)) -> &[u8] {
    &block[at..at + len]
}

fn be64(block: &[u8; BINARY_HEADER], place: (usize, usize)) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(field(block, place));
    u64::from_be_bytes(bytes)
}

fn text(block: &[u8; BINARY_HEADER], place: (usize, usize), name: &str) -> Result<String, String> {
    let bytes = field(block, place);
    let end = bytes.iter().position(|&byte| byte == 0).ok_or_else(|| format!("its {name} does not end"))?;
    String::from_utf8(bytes[..end].to_vec()).map_err(|_| format!("its {name} is not text"))
}
