//! What a header has, for a person or a program to look at.

use core::fmt;

use crate::ondisk::luks::Priority;

/// One way into a volume, by its number in the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProtectorId {
    /// A keyslot, which a passphrase or key file opens.
    Keyslot(u32),
    /// A token of type `atrest`, which a vault opens; or one of another type, which another program understands.
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
    /// `luks2` for a passphrase's, `reencrypt`, or what else the header has; `luks1` in LUKS1.
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
    /// How its area is encrypted, in dm-crypt's notation.
    pub cipher: String,
    /// The length of the key of its area, in bits.
    pub area_key_bits: u32,
    /// The salt of the key derivation.
    pub salt: Vec<u8>,
    /// The hash of the anti-forensic splitter.
    pub af_hash: String,
    /// The stripes of the anti-forensic splitter.
    pub af_stripes: u32,
    /// Where its area begins on the device of the header, in bytes.
    pub area_offset: u64,
    /// The size of its area in bytes.
    pub area_size: u64,
    /// Digests that prove its key.
    pub digests: Vec<u32>,
    /// Whether its key is that of the data, by a digest of it.
    pub holds_data_key: bool,
}

/// A token, as the header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenInfo {
    /// Its number.
    pub id: u32,
    /// Its type: `atrest` for ours.
    pub kind: String,
    /// The keyslots that it is for.
    pub keyslots: Vec<u32>,
    /// For a sound token of ours: the URL of the key that wraps the DEK.
    pub key_url: Option<String>,
    /// All of it, as JSON as it stands in the header. What of it isn't UTF-8 shows as U+FFFD.
    pub json: String,
    /// All of it, byte for byte: what [`Header::import_token`](crate::volume::Header::import_token) takes.
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
    /// Where it begins on the device of the data, in bytes.
    pub offset: u64,
    /// Its size in bytes, or `None` for all that follows.
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

/// What proves a key, as the header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DigestInfo {
    /// Its number; 0 in LUKS1, which has one.
    pub id: u32,
    /// Its type: `pbkdf2`, or empty for one that is not known.
    pub kind: String,
    /// The hash of PBKDF2.
    pub hash: String,
    /// Iterations of PBKDF2.
    pub iterations: u32,
    /// The salt.
    pub salt: Vec<u8>,
    /// The digest itself.
    pub digest: Vec<u8>,
    /// The length of the key that it proves, in bits, as far as LUKS1's header, a keyslot or a token says it; else 0.
    pub key_bits: u32,
    /// The keyslots that hold its key.
    pub keyslots: Vec<u32>,
    /// The segments that are encrypted with its key. Without one, it is another key than the data's.
    pub segments: Vec<u32>,
}
