//! Descriptions of a header for people and programs.

use core::fmt;

use crate::ondisk::luks::{LuksVersion, Priority};

/// The format of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeaderFormat {
    /// LUKS, of this version.
    Luks(LuksVersion),
    /// No header: the user says where the data is and how it is encrypted
    /// ([`Volume::hazmat_open_plain`](crate::Volume::hazmat_open_plain)).
    Plain,
    /// BitLocker, of Windows.
    #[cfg(feature = "bitlocker")]
    BitLocker,
}

impl fmt::Display for HeaderFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeaderFormat::Luks(version) => version.fmt(f),
            HeaderFormat::Plain => f.write_str("plain data"),
            #[cfg(feature = "bitlocker")]
            HeaderFormat::BitLocker => f.write_str("BitLocker"),
        }
    }
}

impl PartialEq<LuksVersion> for HeaderFormat {
    fn eq(&self, version: &LuksVersion) -> bool {
        *self == HeaderFormat::Luks(*version)
    }
}

/// One way into a volume, by its number in the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProtectorId {
    /// A keyslot, for a passphrase or key file.
    Keyslot(u32),
    /// A token: of type `atrest`, for a vault, or of another type, for another program.
    Token(u32),
}

impl fmt::Display for ProtectorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProtectorId::Keyslot(id) => write!(f, "keyslot {id}"),
            ProtectorId::Token(id) => write!(f, "token {id}"),
        }
    }
}

/// A keyslot, as the header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyslotInfo {
    /// Its number.
    pub id: u32,
    /// `luks2` for a passphrase's, `reencrypt`, or another type in the header; `luks1` in LUKS1; in BitLocker the kind of
    /// protector, such as `password` or `TPM and PIN`.
    pub kind: String,
    /// The length of the key in it, in bits.
    pub key_bits: u32,
    /// When it is tried.
    pub priority: Priority,
    /// The key derivation: `pbkdf2`, `argon2i`, `argon2id`, or empty.
    pub kdf: String,
    /// The hash of PBKDF2, or empty.
    pub hash: String,
    /// Iterations of PBKDF2, or passes of Argon2.
    pub iterations: u32,
    /// Memory of Argon2 in KiB.
    pub memory_kib: u32,
    /// Lanes of Argon2.
    pub lanes: u32,
    /// The cipher of its area, in dm-crypt's notation.
    pub cipher: String,
    /// The length of the key of its area, in bits.
    pub area_key_bits: u32,
    /// The salt of the key derivation.
    pub salt: Vec<u8>,
    /// The hash of the anti-forensic splitter.
    pub af_hash: String,
    /// The stripes of the anti-forensic splitter.
    pub af_stripes: u32,
    /// The first byte of its area on the header's device.
    pub area_offset: u64,
    /// The size of its area in bytes.
    pub area_size: u64,
    /// The digests that verify its key.
    pub digests: Vec<u32>,
    /// Whether its key is the data's key, by one of its digests.
    pub holds_data_key: bool,
}

/// A token, as the header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenInfo {
    /// Its number.
    pub id: u32,
    /// Its type: `atrest` for tokens of this crate.
    pub kind: String,
    /// The keyslots that it unlocks.
    pub keyslots: Vec<u32>,
    /// For a sound token of type `atrest`: the URL of the key that wraps the DEK.
    pub key_url: Option<String>,
    /// The whole token as JSON, as in the header. Bytes that aren't UTF-8 show as U+FFFD.
    pub json: String,
    /// The whole token, byte for byte. [`Header::import_token`](crate::volume::Header::import_token) takes these bytes.
    pub json_bytes: Vec<u8>,
}

/// A segment of data, as the header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentInfo {
    /// Its number.
    pub id: u32,
    /// Its type: `crypt`, `linear`, or another.
    pub kind: String,
    /// Its first byte on the data's device.
    pub offset: u64,
    /// Its size in bytes; `None`: to the end of the device.
    pub size: Option<u64>,
    /// The cipher in dm-crypt's notation, or empty.
    pub cipher: String,
    /// The sector size in bytes, or 0.
    pub sector_size: u32,
    /// The number of its first sector, in units of 512 bytes.
    pub iv_tweak: u64,
    /// Its flags.
    pub flags: Vec<String>,
}

/// A digest that verifies a key, as the header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DigestInfo {
    /// Its number; 0 in LUKS1, which has one.
    pub id: u32,
    /// Its type: `pbkdf2`, or empty for an unknown one.
    pub kind: String,
    /// The hash of PBKDF2.
    pub hash: String,
    /// Iterations of PBKDF2.
    pub iterations: u32,
    /// The salt.
    pub salt: Vec<u8>,
    /// The digest itself.
    pub digest: Vec<u8>,
    /// The length in bits of the key that it verifies, if LUKS1's header, a keyslot or a token shows it; otherwise 0.
    pub key_bits: u32,
    /// The keyslots that hold its key.
    pub keyslots: Vec<u32>,
    /// The segments encrypted with its key. If there are none, it is not the data's key.
    pub segments: Vec<u32>,
}
