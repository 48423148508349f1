//! Keyslots: a volume key protected by a passphrase, or the work area of a re-encryption (section 3.2).

use base64ct::{Base64, Encoding};
use serde_json::{Value, json};

use super::json::{MAX_BINARY, binary, integer, member, objects, root, string, uint64};
use super::text::{Object, Raw};
use crate::ondisk::luks::STRIPES;

/// The `type` of a keyslot whose area is being overwritten. It is bound to nothing, so nobody tries to open it. It
/// keeps the area from being reused before its key material is gone. Other programs can remove it.
pub const WIPING_TYPE: &str = "atrest-wiping";

/// The longest key that a keyslot stores or is encrypted with, in bytes. The reference implementation's limit.
const MAX_KEY_SIZE: u32 = 512;

/// The shortest salt in bytes that Argon2 takes (RFC 9106, section 3.1).
const MIN_SALT: usize = 8;

const SECTOR: u64 = 512;

/// A keyslot object (section 3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyslot {
    /// Its number.
    pub id: u32,
    /// The length of the key that it stores, in bytes.
    pub key_size: u32,
    /// When it is tried.
    pub priority: Priority,
    /// The place of its bytes.
    pub area: Area,
    /// Its kind.
    pub kind: KeyslotKind,
}

/// The order in which keyslots are tried. LUKS2 has these three and no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Priority {
    /// Only if the caller asks for its number.
    Ignore,
    /// After the preferred ones.
    #[default]
    Normal,
    /// First.
    Prefer,
}

/// A part of the keyslots area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    /// Its first byte, from the start of the header's device.
    pub offset: u64,
    /// Its size in bytes.
    pub size: u64,
}

/// The kind of a keyslot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyslotKind {
    /// For a passphrase: type `luks2`, an area of type `raw`, a splitter of type `luks1`.
    Passphrase(PassphraseKeyslot),
    /// An area of a re-encryption (section 3.2.2).
    Reencrypt {
        /// `reencrypt`, `encrypt` or `decrypt`.
        mode: String,
        /// `forward` or `backward`.
        direction: String,
    },
    /// Its area is being overwritten: type [`WIPING_TYPE`].
    Wiping,
    /// Another `type`, which is not known.
    Other(String),
}

/// A volume key protected by a passphrase (section 3.2.1). Hashes and ciphers have the names in the header, known or
/// not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassphraseKeyslot {
    /// The KDF for the passphrase.
    pub kdf: KeyslotKdf,
    /// The KDF's salt: 8 to 1024 bytes.
    pub salt: Vec<u8>,
    /// The hash of the anti-forensic splitter.
    pub af_hash: String,
    /// The stripes of the anti-forensic splitter: 4000.
    pub stripes: u32,
    /// The cipher of the area, in dm-crypt's notation.
    pub encryption: String,
    /// The length in bytes of the area's key, which the KDF derives.
    pub area_key_size: u32,
}

/// A KDF and its costs (section 3.2.5). No cost is zero; upper limits are not checked here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyslotKdf {
    /// PBKDF2 with HMAC.
    Pbkdf2 {
        /// The hash's name.
        hash: String,
        /// Iterations.
        iterations: u32,
    },
    /// Argon2i, version 0x13.
    Argon2i {
        /// Passes.
        time: u32,
        /// Memory in KiB.
        memory: u32,
        /// Lanes.
        cpus: u32,
    },
    /// Argon2id, version 0x13.
    Argon2id {
        /// Passes.
        time: u32,
        /// Memory in KiB.
        memory: u32,
        /// Lanes.
        cpus: u32,
    },
    /// Another `type`, which is not known. Only another program can open the keyslot.
    Other(String),
}

impl Keyslot {
    /// The number of bytes of an area for a key of `key_size` bytes: all stripes, in whole sectors.
    pub fn area_size(key_size: u32) -> u64 {
        (u64::from(key_size) * u64::from(STRIPES)).next_multiple_of(SECTOR)
    }

    fn from_json(id: u32, keyslot: &Object<'_>) -> Result<Self, String> {
        let kind = string(keyslot, "type")?;
        let key_size = integer(keyslot, "key_size")?;
        let priority = Priority::from_json(keyslot)?;
        let place = &member(keyslot, "area")?;
        let area = Area { offset: uint64(place, "offset")?, size: uint64(place, "size")? };
        let kind = match &*kind {
            "luks2" => {
                if !(1..=MAX_KEY_SIZE).contains(&key_size) {
                    return Err(format!("its key_size, {key_size}, is not from 1 to {MAX_KEY_SIZE}"));
                }
                if area.size < Self::area_size(key_size) {
                    return Err(format!("its area, {} bytes, is too small for {key_size} bytes of key", area.size));
                }
                KeyslotKind::Passphrase(PassphraseKeyslot::from_json(keyslot, place)?)
            }
            "reencrypt" => reencrypt(keyslot, place, key_size)?,
            WIPING_TYPE => KeyslotKind::Wiping,
            other => KeyslotKind::Other(other.into()),
        };
        Ok(Keyslot { id, key_size, priority, area, kind })
    }

    /// The object. It keeps unknown members of `old`, the object that it replaces, if both are of the same kind.
    ///
    /// # Errors
    /// For any kind but a passphrase's: their objects have members that are not known here.
    pub(super) fn to_json(&self, old: Option<Raw<'_>>) -> Result<Vec<u8>, String> {
        let KeyslotKind::Passphrase(slot) = &self.kind else {
            return Err(format!("keyslot {}: only a passphrase's keyslot can be written", self.id));
        };
        if let KeyslotKdf::Other(kind) = &slot.kdf {
            return Err(format!("keyslot {}: its kdf, {kind:?}, is not known", self.id));
        }
        let mut new = json!({
            "type": "luks2",
            "key_size": self.key_size,
            "af": {"type": "luks1", "stripes": slot.stripes, "hash": slot.af_hash},
            "area": {
                "type": "raw",
                "offset": self.area.offset.to_string(),
                "size": self.area.size.to_string(),
                "encryption": slot.encryption,
                "key_size": slot.area_key_size,
            },
            "kdf": slot.kdf.to_json(&slot.salt),
        });
        if self.priority != Priority::Normal {
            new["priority"] = (self.priority as u32).into();
        }
        let object = merged(old, &new)?;
        // Absence means normal.
        match Raw::new(&object).object() {
            Some(object) if self.priority == Priority::Normal => object.without("priority"),
            _ => Ok(object),
        }
    }
}

/// `new`, with the members of `old` that it lacks, if both have the same `type`.
fn merged(old: Option<Raw<'_>>, new: &Value) -> Result<Vec<u8>, String> {
    let plain = || Ok(serde_json::to_vec(new).expect("a JSON value can be written"));
    let (Some(before), Value::Object(after)) = (old.and_then(Raw::object), new) else { return plain() };
    let kind = before.get("type")?.map(Raw::string).transpose()?.flatten();
    if kind.as_deref() != after.get("type").and_then(Value::as_str) {
        return plain();
    }
    let mut text = old.map_or_else(Vec::new, |old| old.bytes().to_vec());
    for (name, value) in after {
        let value = merged(before.get(name)?, value)?;
        text = root(&text).with(name, &value)?;
    }
    Ok(text)
}

impl Priority {
    fn from_json(keyslot: &Object<'_>) -> Result<Self, String> {
        if !keyslot.contains("priority") {
            return Ok(Priority::Normal);
        }
        match integer(keyslot, "priority")? {
            0 => Ok(Priority::Ignore),
            1 => Ok(Priority::Normal),
            2 => Ok(Priority::Prefer),
            other => Err(format!("its priority, {other}, is none of 0, 1 and 2")),
        }
    }
}

impl PassphraseKeyslot {
    fn from_json(keyslot: &Object<'_>, area: &Object<'_>) -> Result<Self, String> {
        let (af, kdf) = (&member(keyslot, "af")?, &member(keyslot, "kdf")?);
        let of = |name: &'static str| move |what| format!("its {name}: {what}");
        expect_type(area, "raw").map_err(of("area"))?;
        expect_type(af, "luks1").map_err(of("af"))?;
        let stripes = integer(af, "stripes").map_err(of("af"))?;
        if stripes != STRIPES {
            return Err(format!("its af has {stripes} stripes, not {STRIPES}"));
        }
        let area_key_size = integer(area, "key_size").map_err(of("area"))?;
        if !(1..=MAX_KEY_SIZE).contains(&area_key_size) {
            return Err(format!("its area: its key_size, {area_key_size}, is not from 1 to {MAX_KEY_SIZE}"));
        }
        let stretch = KeyslotKdf::from_json(kdf).map_err(of("kdf"))?;
        let salt = match &stretch {
            KeyslotKdf::Other(_) => Vec::new(),
            _ => binary(kdf, "salt", MAX_BINARY).map_err(of("kdf"))?,
        };
        if salt.len() < MIN_SALT && !matches!(stretch, KeyslotKdf::Other(_)) {
            return Err(format!("its kdf: its salt has {} bytes, less than {MIN_SALT}", salt.len()));
        }
        Ok(PassphraseKeyslot {
            kdf: stretch,
            salt,
            af_hash: name(af, "hash").map_err(of("af"))?,
            stripes,
            encryption: name(area, "encryption").map_err(of("area"))?,
            area_key_size,
        })
    }
}

impl KeyslotKdf {
    fn from_json(kdf: &Object<'_>) -> Result<Self, String> {
        let cost = |name| match integer(kdf, name)? {
            0 => Err(format!("its {name} is 0")),
            cost => Ok(cost),
        };
        match &*string(kdf, "type")? {
            "pbkdf2" => Ok(KeyslotKdf::Pbkdf2 { hash: name(kdf, "hash")?, iterations: cost("iterations")? }),
            "argon2i" => Ok(KeyslotKdf::Argon2i { time: cost("time")?, memory: cost("memory")?, cpus: cost("cpus")? }),
            "argon2id" => {
                Ok(KeyslotKdf::Argon2id { time: cost("time")?, memory: cost("memory")?, cpus: cost("cpus")? })
            }
            other => Ok(KeyslotKdf::Other(other.into())),
        }
    }

    fn to_json(&self, salt: &[u8]) -> Value {
        let salt = Base64::encode_string(salt);
        let argon2 = |kind, time: &u32, memory: &u32, cpus: &u32| json!({"type": kind, "time": time, "memory": memory, "cpus": cpus, "salt": salt});
        match self {
            KeyslotKdf::Pbkdf2 { hash, iterations } => {
                json!({"type": "pbkdf2", "hash": hash, "iterations": iterations, "salt": salt})
            }
            KeyslotKdf::Argon2i { time, memory, cpus } => argon2("argon2i", time, memory, cpus),
            KeyslotKdf::Argon2id { time, memory, cpus } => argon2("argon2id", time, memory, cpus),
            KeyslotKdf::Other(kind) => json!({"type": kind}),
        }
    }
}

/// The name of a hash or a cipher.
fn name(object: &Object<'_>, member: &str) -> Result<String, String> {
    match &*string(object, member)? {
        "" => Err(format!("its {member} is empty")),
        name => Ok(name.into()),
    }
}

fn expect_type(object: &Object<'_>, wanted: &str) -> Result<(), String> {
    match &*string(object, "type")? {
        found if found == wanted => Ok(()),
        found => Err(format!("its type is {found:?}, not {wanted:?}")),
    }
}

/// A keyslot of a re-encryption and its area (sections 3.2.2 and 3.2.3).
fn reencrypt(keyslot: &Object<'_>, area: &Object<'_>, key_size: u32) -> Result<KeyslotKind, String> {
    if key_size != 1 {
        return Err(format!("its key_size is {key_size}, not 1 as in a re-encryption"));
    }
    let one_of = |name, known: &[&str]| match &*string(keyslot, name)? {
        value if known.contains(&value) => Ok(value.to_owned()),
        other => Err(format!("its {name}, {other:?}, is not known")),
    };
    let mode = one_of("mode", &["reencrypt", "encrypt", "decrypt"])?;
    let direction = one_of("direction", &["forward", "backward"])?;
    let (checksum, shift) = match &*string(area, "type")? {
        "none" | "journal" => (false, false),
        "checksum" => (true, false),
        "datashift" | "datashift-journal" => (false, true),
        "datashift-checksum" => (true, true),
        other => return Err(format!("its area: its type, {other:?}, is not known")),
    };
    if checksum {
        string(area, "hash").and_then(|_| integer(area, "sector_size")).map_err(|what| format!("its area: {what}"))?;
    }
    if shift {
        uint64(area, "shift_size").map_err(|what| format!("its area: {what}"))?;
    }
    Ok(KeyslotKind::Reencrypt { mode, direction })
}

/// The keyslots, ordered by number. Their areas are within `room`, the keyslots area, and do not overlap.
pub(super) fn keyslots(root: &Object<'_>, room: Area) -> Result<Vec<Keyslot>, String> {
    let end = room.offset + room.size;
    let mut keyslots: Vec<Keyslot> = Vec::new();
    for (id, keyslot) in objects(root, "keyslots")? {
        let what = |what| format!("keyslot {id}: {what}");
        let keyslot = Keyslot::from_json(id, &keyslot).map_err(what)?;
        let Area { offset, size } = keyslot.area;
        if offset < room.offset || offset.checked_add(size).is_none_or(|to| to > end) {
            return Err(what(format!("its area ({size} bytes at {offset}) is not within the keyslots area")));
        }
        if size == 0 || !offset.is_multiple_of(SECTOR) || !size.is_multiple_of(SECTOR) {
            return Err(what(format!("its area ({size} bytes at {offset}) is no whole number of sectors")));
        }
        if keyslots.iter().any(|Keyslot { area: a, .. }| offset < a.offset + a.size && a.offset < offset + size) {
            return Err(what("its area overlaps another".into()));
        }
        keyslots.push(keyslot);
    }
    Ok(keyslots)
}
