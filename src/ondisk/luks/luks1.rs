//! The header of LUKS1 (specification 1.2.3, whose sections are cited here). It has no checksum and no second copy.

mod convert;

use super::{Material, STRIPES, VolumeKeyDigest};
use crate::cipher::CipherSpec;
use crate::key::{HashAlgorithm, Kdf};
use crate::{Error, Result, Secret, random};

const MAGIC: [u8; 6] = *b"LUKS\xba\xbe";
const VERSION: u16 = 1;
const ENABLED: u32 = 0x00AC_71F3;
const DISABLED: u32 = 0x0000_DEAD;
const KEYSLOTS: usize = 8;
const SECTOR: usize = 512;

/// Keyslots begin at multiples of 4096 bytes (section 5), here in sectors.
const KEYSLOT_ALIGNMENT: u32 = 8;

/// The data of a new volume begins at a multiple of 1 MiB, here in sectors.
const PAYLOAD_ALIGNMENT: u32 = 2048;

// The fields: offset and length in bytes (figure 1).
const CIPHER_NAME: (usize, usize) = (8, 32);
const CIPHER_MODE: (usize, usize) = (40, 32);
const HASH_SPEC: (usize, usize) = (72, 32);
const PAYLOAD_OFFSET: usize = 104;
const KEY_BYTES: usize = 108;
const MK_DIGEST: usize = 112;
const MK_DIGEST_SALT: usize = 132;
const MK_DIGEST_ITER: usize = 164;
const UUID: (usize, usize) = (168, 40);
const KEYSLOT: usize = 208;
const KEYSLOT_LEN: usize = 48;

// The fields of a keyslot (figure 2).
const ACTIVE: usize = 0;
const ITERATIONS: usize = 4;
const SALT: usize = 8;
const MATERIAL_OFFSET: usize = 40;
const STRIPES_AT: usize = 44;

/// A validated header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Luks1Header {
    /// The cipher of the data and of the keyslots.
    pub cipher: CipherSpec,
    /// The hash of PBKDF2 and of the anti-forensic splitter.
    pub hash: HashAlgorithm,
    /// The first sector of the data, in sectors of 512 bytes; 0 if the data is on another device.
    pub payload_offset: u32,
    /// The length in bytes of the volume key, and of the keys of keyslot areas.
    pub key_len: u32,
    /// The digest that verifies the volume key.
    pub digest: [u8; 20],
    /// Its salt.
    pub digest_salt: [u8; 32],
    /// Its iterations of PBKDF2.
    pub digest_iterations: u32,
    /// The UUID of the device, as text.
    pub uuid: String,
    /// The keyslots, active or not.
    pub keyslots: [Luks1Keyslot; KEYSLOTS],
    /// The cipher, mode and hash fields as they were read. There is more than one way to write a name.
    names: Names,
}

/// The fields `cipher-name`, `cipher-mode` and `hash-spec`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Names {
    cipher: [u8; CIPHER_NAME.1],
    mode: [u8; CIPHER_MODE.1],
    hash: [u8; HASH_SPEC.1],
}

impl Names {
    fn new(cipher: CipherSpec, hash: HashAlgorithm) -> Self {
        let (name, mode) = cipher.name().split_once('-').expect("a cipher's name has a mode");
        let field = |name: &str| {
            let mut field = [0; 32];
            field[..name.len()].copy_from_slice(name.as_bytes());
            field
        };
        Names { cipher: field(name), mode: field(mode), hash: field(hash.name()) }
    }
}

/// A keyslot of LUKS1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Luks1Keyslot {
    /// Whether it holds the volume key.
    pub active: bool,
    /// Iterations of PBKDF2. Arbitrary in an inactive keyslot.
    pub iterations: u32,
    /// The salt of PBKDF2.
    pub salt: [u8; 32],
    /// The first sector of its area, in sectors of 512 bytes.
    pub material_offset: u32,
    /// Stripes of the anti-forensic splitter: 4000.
    pub stripes: u32,
}

/// The reason why a block is not a usable header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Luks1Defect {
    /// The header isn't sound.
    Invalid(String),
    /// The header is sound but asks for a feature that this version doesn't have.
    Unsupported(String),
}

use Luks1Defect::{Invalid, Unsupported};

impl Luks1Header {
    /// The length of the header in bytes.
    pub const LEN: usize = KEYSLOT + KEYSLOTS * KEYSLOT_LEN;

    /// Reads a header from the first [`LEN`](Self::LEN) bytes of `block`, and checks every field.
    ///
    /// # Errors
    /// The defect, with the name of the field.
    pub fn parse(block: &[u8]) -> Result<Self, Luks1Defect> {
        let invalid = |text: String| Err(Invalid(text));
        let Some(block) = block.first_chunk::<{ Self::LEN }>() else {
            return invalid(format!("{} bytes are too few, a header has {}", block.len(), Self::LEN));
        };
        if block[..6] != MAGIC {
            return invalid("there is no LUKS magic".into());
        }
        let version = u16::from_be_bytes(array(block, 6));
        if version != VERSION {
            return invalid(format!("its version is {version}, not {VERSION}"));
        }
        let (name, mode) = (text(block, CIPHER_NAME, "cipher-name")?, text(block, CIPHER_MODE, "cipher-mode")?);
        let hash = text(block, HASH_SPEC, "hash-spec")?;
        let joined = format!("{name}-{mode}");
        let Some(cipher) = CipherSpec::from_name(&joined) else {
            let why = CipherSpec::why_unknown(&joined);
            return Err(Unsupported(format!("its cipher (cipher-name and cipher-mode) is {joined:?}, {why}")));
        };
        let Some(hash) = HashAlgorithm::from_name(hash) else {
            return Err(Unsupported(format!("its hash-spec is {hash:?}, {}", HashAlgorithm::why_unknown(hash))));
        };
        let key_len = be32(block, KEY_BYTES);
        if !cipher.takes_key(key_len as usize) {
            if cipher.lacks_key(key_len as usize) {
                let why = cipher.why_no_key(key_len as usize);
                return Err(Unsupported(format!("its cipher is {joined} with {key_len} bytes of key, {why}")));
            }
            return invalid(format!("its key-bytes, {key_len}, is no length of a key of {joined}"));
        }
        let digest_iterations = be32(block, MK_DIGEST_ITER);
        if digest_iterations == 0 {
            return invalid("its mk-digest-iter is 0".into());
        }
        let mut keyslots = [Luks1Keyslot::unused(0); KEYSLOTS];
        for (i, (keyslot, bytes)) in keyslots.iter_mut().zip(block[KEYSLOT..].chunks_exact(KEYSLOT_LEN)).enumerate() {
            *keyslot = Luks1Keyslot::parse(bytes).map_err(|text| Invalid(format!("its key-slot-{}: {text}", i + 1)))?;
        }
        let header = Luks1Header {
            cipher,
            hash,
            payload_offset: be32(block, PAYLOAD_OFFSET),
            key_len,
            digest: array(block, MK_DIGEST),
            digest_salt: array(block, MK_DIGEST_SALT),
            digest_iterations,
            uuid: text(block, UUID, "uuid")?.into(),
            keyslots,
            names: Names {
                cipher: array(block, CIPHER_NAME.0),
                mode: array(block, CIPHER_MODE.0),
                hash: array(block, HASH_SPEC.0),
            },
        };
        header.check_areas().map_err(Invalid)?;
        Ok(header)
    }

    /// The bytes of the header.
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut block = [0; Self::LEN];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC);
        put(6, &VERSION.to_be_bytes());
        put(CIPHER_NAME.0, &self.names.cipher);
        put(CIPHER_MODE.0, &self.names.mode);
        put(HASH_SPEC.0, &self.names.hash);
        put(PAYLOAD_OFFSET, &self.payload_offset.to_be_bytes());
        put(KEY_BYTES, &self.key_len.to_be_bytes());
        put(MK_DIGEST, &self.digest);
        put(MK_DIGEST_SALT, &self.digest_salt);
        put(MK_DIGEST_ITER, &self.digest_iterations.to_be_bytes());
        // Always keep a zero byte at the end, even after a longer UUID.
        put(UUID.0, &self.uuid.as_bytes()[..self.uuid.len().min(UUID.1 - 1)]);
        for (i, keyslot) in self.keyslots.iter().enumerate() {
            let at = KEYSLOT + i * KEYSLOT_LEN;
            put(at + ACTIVE, &if keyslot.active { ENABLED } else { DISABLED }.to_be_bytes());
            put(at + ITERATIONS, &keyslot.iterations.to_be_bytes());
            put(at + SALT, &keyslot.salt);
            put(at + MATERIAL_OFFSET, &keyslot.material_offset.to_be_bytes());
            put(at + STRIPES_AT, &keyslot.stripes.to_be_bytes());
        }
        block
    }

    /// A header for a new volume, without an active keyslot. Areas lie where cryptsetup puts them. The data begins at
    /// `payload_offset` sectors, or else at the next MiB; with a detached header, at 0 of its own device.
    ///
    /// # Errors
    /// [`Error::InvalidOption`]: SHA-1; a payload offset within the areas; no iterations, or more than the digest may
    /// have; an invalid UUID. [`Error::KeyLength`]; [`Error::Random`].
    pub(crate) fn new(
        cipher: CipherSpec,
        hash: HashAlgorithm,
        key: &Secret,
        payload_offset: Option<u32>,
        detached: bool,
        uuid: impl Into<String>,
        digest_iterations: u32,
    ) -> Result<Self> {
        if hash.is_legacy() {
            let text = format!("the hash {} is for old volumes only; use sha256 or sha512", hash.name());
            return Err(Error::InvalidOption(text));
        }
        if !cipher.takes_key(key.len()) {
            return Err(Error::KeyLength { len: key.len() });
        }
        let mut header = Luks1Header {
            cipher,
            hash,
            payload_offset: 0,
            key_len: key.len() as u32,
            digest: [0; 20],
            digest_salt: random::array()?,
            digest_iterations,
            uuid: uuid.into(),
            keyslots: [Luks1Keyslot::unused(0); KEYSLOTS],
            names: Names::new(cipher, hash),
        };
        if digest_iterations == 0 {
            return Err(Error::InvalidOption("the digest needs an iteration".into()));
        }
        let uuid_fits = header.uuid.len() < UUID.1 && header.uuid.bytes().all(|byte| byte.is_ascii_graphic());
        if !uuid_fits {
            return Err(Error::InvalidOption(format!("{:?} is no UUID", header.uuid)));
        }
        let sectors = (header.material(0).len() / SECTOR) as u32;
        let mut next = KEYSLOT_ALIGNMENT;
        for keyslot in &mut header.keyslots {
            keyslot.material_offset = next;
            next = (next + sectors).next_multiple_of(KEYSLOT_ALIGNMENT);
        }
        let default = if detached { 0 } else { next.next_multiple_of(PAYLOAD_ALIGNMENT) };
        header.payload_offset = payload_offset.unwrap_or(default);
        if header.payload_offset == 0 && !detached {
            return Err(Error::InvalidOption("the data can't begin at 0, where the header is".into()));
        }
        header.check_areas().map_err(Error::InvalidOption)?;
        let digest = header.checked_digest().map_err(|e| Error::InvalidOption(e.to_string()))?;
        header.digest = digest.of(key)?.try_into().expect("it has the length of the old one");
        Ok(header)
    }

    /// Verifies `key`.
    ///
    /// # Errors
    /// [`Error::WrongKey`]; [`Error::UnsupportedHeader`] for too many iterations.
    pub(crate) fn verify(&self, key: &Secret) -> Result<()> {
        self.checked_digest()?.verify(key)
    }

    /// The area of a keyslot. `slot` is below 8.
    pub(crate) fn material(&self, slot: usize) -> Material {
        let key_len = self.key_len as usize;
        let (cipher, af_hash, stripes) = (self.cipher, self.hash, self.keyslots[slot].stripes);
        Material { cipher, area_key_len: key_len, af_hash, stripes, key_len }
    }

    /// Derives the key of a keyslot's area from a passphrase and [the salt](Luks1Keyslot::salt).
    pub(crate) fn kdf(&self, slot: usize) -> Kdf {
        Kdf::Pbkdf2 { hash: self.hash, iterations: self.keyslots[slot].iterations }
    }

    /// The digest in the form of LUKS2, which is the same kind. Its cost is checked.
    pub(crate) fn checked_digest(&self) -> Result<VolumeKeyDigest> {
        let digest = VolumeKeyDigest {
            hash: self.hash.name().into(),
            iterations: self.digest_iterations,
            salt: self.digest_salt.to_vec(),
            digest: self.digest.to_vec(),
        };
        digest.check()?;
        Ok(digest)
    }

    /// Checks that areas lie after the header, don't overlap, and end before data on the same device.
    fn check_areas(&self) -> Result<(), String> {
        let area = |slot: usize| {
            let first = u64::from(self.keyslots[slot].material_offset);
            (first, first + (self.material(slot).len() / SECTOR) as u64)
        };
        for slot in 0..KEYSLOTS {
            let (first, end) = area(slot);
            let bad = |what: &str| Err(format!("its key-slot-{}: key-material-offset, {first}, {what}", slot + 1));
            if first < Self::LEN.div_ceil(SECTOR) as u64 {
                return bad("is within the header");
            }
            if self.payload_offset != 0 && end > u64::from(self.payload_offset) {
                return bad(&format!("puts its end after the payload-offset, {}", self.payload_offset));
            }
            if let Some(other) = (0..slot).find(|&other| area(other).0 < end && first < area(other).1) {
                return bad(&format!("makes it overlap key-slot-{}", other + 1));
            }
        }
        Ok(())
    }
}

impl Luks1Keyslot {
    fn unused(material_offset: u32) -> Self {
        Luks1Keyslot { active: false, iterations: 0, salt: [0; 32], material_offset, stripes: STRIPES }
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let active = match be32(bytes, ACTIVE) {
            ENABLED => true,
            DISABLED => false,
            other => return Err(format!("active, {other:#x}, is neither enabled nor disabled")),
        };
        let (iterations, stripes) = (be32(bytes, ITERATIONS), be32(bytes, STRIPES_AT));
        if active && iterations == 0 {
            return Err("iterations is 0".into());
        }
        if stripes != STRIPES {
            return Err(format!("stripes, {stripes}, is not {STRIPES}"));
        }
        let (salt, material_offset) = (array(bytes, SALT), be32(bytes, MATERIAL_OFFSET));
        Ok(Luks1Keyslot { active, iterations, salt, material_offset, stripes })
    }
}

/// A text of printable ASCII with a final zero byte.
fn text<'b>(block: &'b [u8], (at, len): (usize, usize), name: &str) -> Result<&'b str, Luks1Defect> {
    let field = &block[at..at + len];
    let Some(end) = field.iter().position(|&byte| byte == 0) else {
        return Err(Invalid(format!("its {name} has no zero byte at its end")));
    };
    let text = str::from_utf8(&field[..end]).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_graphic()));
    text.ok_or_else(|| Invalid(format!("its {name} is no printable text")))
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(array(bytes, at))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("the field is within the block")
}

#[cfg(test)]
mod tests;
