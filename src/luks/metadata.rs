//! The JSON area (section 3).
//!
//! A header is read into types, which are checked; the JSON it came from is kept beside them, so that what this crate
//! does not know survives when a header is rewritten.

use base64ct::{Base64, Encoding};
use serde_json::{Map, Value, json};

use super::{BINARY_HEADER, Digest, TOKEN_TYPE, Token, VolumeKeyDigest};
use crate::{Error, Result};

/// The most digests, segments, keyslots or tokens that a header may hold: the reference implementation's limit.
const MAX_OBJECTS: usize = 32;

/// The most bytes of a salt or a digest.
const MAX_BINARY: usize = 1024;

/// A validated JSON area.
#[derive(Debug, Clone, PartialEq)]
pub struct Metadata {
    root: Map<String, Value>,
    segments: Vec<Segment>,
    digests: Vec<Digest>,
    requirements: Vec<String>,
}

/// A segment object (section 3.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its number.
    pub id: u32,
    /// Its first byte, from the start of the device.
    pub offset: u64,
    /// Its size.
    pub size: SegmentSize,
    /// Its flags.
    pub flags: Vec<String>,
    /// What it holds.
    pub kind: SegmentKind,
}

/// How large a segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentSize {
    /// As large as the device leaves room for.
    Dynamic,
    /// This many bytes.
    Bytes(u64),
}

/// What a segment holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SegmentKind {
    /// Encrypted data.
    Crypt(CryptSegment),
    /// Something else; its `type`.
    Other(String),
}

/// An encrypted segment (section 3.3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CryptSegment {
    /// The sector number of the segment's first sector, in units of 512 bytes.
    pub iv_tweak: u64,
    /// The cipher in dm-crypt's notation.
    pub encryption: String,
    /// The sector size in bytes.
    pub sector_size: u32,
    /// Whether sectors carry integrity tags.
    pub integrity: bool,
}

/// What the metadata of a new volume is made of.
#[derive(Debug, Clone)]
pub struct NewMetadata {
    /// The size of one copy of the header in bytes.
    pub header_size: u64,
    /// Where the data begins, in bytes; keyslots have the room between the header and it.
    pub data_offset: u64,
    /// The sector size in bytes.
    pub sector_size: u32,
    /// The digest of the DEK.
    pub digest: VolumeKeyDigest,
}

impl Metadata {
    /// The metadata of a new volume: one segment that begins at `data_offset`, its digest, and no way in yet.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] when the parts do not fit together.
    pub fn new(new: &NewMetadata) -> Result<Self> {
        let keyslots_size = new.data_offset.saturating_sub(2 * new.header_size);
        let root = json!({
            "keyslots": {},
            "tokens": {},
            "segments": {
                "0": {
                    "type": "crypt",
                    "offset": new.data_offset.to_string(),
                    "size": "dynamic",
                    "iv_tweak": "0",
                    "encryption": "aes-xts-plain64",
                    "sector_size": new.sector_size,
                }
            },
            "digests": {
                "0": {
                    "type": "pbkdf2",
                    "keyslots": [],
                    "segments": ["0"],
                    "hash": new.digest.hash,
                    "iterations": new.digest.iterations,
                    "salt": Base64::encode_string(&new.digest.salt),
                    "digest": Base64::encode_string(&new.digest.digest),
                }
            },
            "config": {
                "json_size": (new.header_size - BINARY_HEADER as u64).to_string(),
                "keyslots_size": keyslots_size.to_string(),
            },
        });
        let Value::Object(root) = root else { unreachable!("the macro was given an object") };
        Self::from_root(root, new.header_size).map_err(Error::InvalidOption)
    }

    /// Reads the JSON area of a copy of the header of `header_size` bytes.
    ///
    /// # Errors
    /// What is wrong, as text.
    pub fn parse(area: &[u8], header_size: u64) -> Result<Self, String> {
        let end = area.iter().position(|&byte| byte == 0).ok_or("its JSON does not end with a zero byte")?;
        if area[end..].iter().any(|&byte| byte != 0) {
            return Err("there are bytes behind the end of its JSON".into());
        }
        let root: Map<String, Value> =
            serde_json::from_slice(&area[..end]).map_err(|e| format!("its JSON is not sound: {e}"))?;
        Self::from_root(root, header_size)
    }

    /// The JSON area of `header_size` less 4096 bytes, padded with zeros.
    ///
    /// # Errors
    /// [`Error::InvalidHeader`] when the JSON is too long for it.
    pub fn encode(&self, header_size: u64) -> Result<Vec<u8>> {
        let size = header_size as usize - BINARY_HEADER;
        let mut area = serde_json::to_vec(&self.root).expect("a JSON value can be written");
        // One zero byte must end it.
        if area.len() >= size {
            let len = area.len();
            return Err(Error::InvalidHeader(format!(
                "its JSON would take {len} bytes, but has room for {}",
                size - 1
            )));
        }
        area.resize(size, 0);
        Ok(area)
    }

    /// The segments, ordered by number.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The digests, ordered by number.
    pub fn digests(&self) -> &[Digest] {
        &self.digests
    }

    /// Mandatory requirements: features that a reader must know (section 3.5).
    pub fn requirements(&self) -> &[String] {
        &self.requirements
    }

    /// The tokens of type `atrest`, ordered by number.
    ///
    /// # Errors
    /// [`Error::InvalidHeader`] when one of them is not sound.
    pub fn tokens(&self) -> Result<Vec<(u32, Token)>> {
        let objects = objects(&self.root, "tokens").map_err(Error::InvalidHeader)?;
        let ours =
            objects.into_iter().filter(|(_, token)| token.get("type").and_then(Value::as_str) == Some(TOKEN_TYPE));
        ours.map(|(id, token)| Token::from_json(token).map(|token| (id, token)))
            .map(|token| token.map_err(|what| Error::InvalidHeader(format!("its atrest token: {what}"))))
            .collect()
    }

    /// Puts a token in, in place of the one of that number if there is one.
    pub(crate) fn set_token(&mut self, id: u32, token: &Token) {
        if let Some(Value::Object(tokens)) = self.root.get_mut("tokens") {
            tokens.insert(id.to_string(), token.to_json());
        }
    }

    fn from_root(root: Map<String, Value>, header_size: u64) -> Result<Self, String> {
        check_config(&root, header_size)?;
        let keyslots = check_keyslots(&root, header_size)?;
        let segments = segments(&root)?;
        let digests = digests(&root, &keyslots, &segments)?;
        for (id, token) in objects(&root, "tokens")? {
            let what = |what| format!("token {id}: {what}");
            string(token, "type").map_err(what)?;
            references(token, "keyslots", &keyslots).map_err(what)?;
        }
        let requirements = requirements(&root)?;
        Ok(Metadata { root, segments, digests, requirements })
    }
}

fn check_config(root: &Map<String, Value>, header_size: u64) -> Result<(), String> {
    let config = root.get("config").and_then(Value::as_object).ok_or("it has no config object")?;
    let json_size = uint64(config, "json_size")?;
    if json_size != header_size - BINARY_HEADER as u64 {
        return Err(format!("its json_size, {json_size}, does not match its binary header"));
    }
    let keyslots_size = uint64(config, "keyslots_size")?;
    if !keyslots_size.is_multiple_of(4096) || keyslots_size > 128 << 20 {
        return Err(format!("its keyslots_size, {keyslots_size}, is not a multiple of 4096 up to 128 MiB"));
    }
    Ok(())
}

/// Checks the keyslots' areas and returns the keyslots' numbers.
fn check_keyslots(root: &Map<String, Value>, header_size: u64) -> Result<Vec<u32>, String> {
    let config = root.get("config").and_then(Value::as_object).ok_or("it has no config object")?;
    let (first, end) = (2 * header_size, 2 * header_size + uint64(config, "keyslots_size")?);
    let mut areas: Vec<(u64, u64)> = Vec::new();
    let mut ids = Vec::new();
    for (id, keyslot) in objects(root, "keyslots")? {
        let what = |what| format!("keyslot {id}: {what}");
        string(keyslot, "type").map_err(what)?;
        integer(keyslot, "key_size").map_err(what)?;
        let area = keyslot.get("area").and_then(Value::as_object).ok_or_else(|| what("it has no area".into()))?;
        let (offset, size) = (uint64(area, "offset").map_err(what)?, uint64(area, "size").map_err(what)?);
        if offset < first || offset.checked_add(size).is_none_or(|to| to > end) {
            return Err(what(format!("its area ({size} bytes at {offset}) is not within the keyslots area")));
        }
        if areas.iter().any(|&(o, s)| offset < o + s && o < offset + size) {
            return Err(what("its area overlaps another".into()));
        }
        areas.push((offset, size));
        ids.push(id);
    }
    Ok(ids)
}

fn segments(root: &Map<String, Value>) -> Result<Vec<Segment>, String> {
    let mut segments = Vec::new();
    for (id, segment) in objects(root, "segments")? {
        let what = |what| format!("segment {id}: {what}");
        let kind = match string(segment, "type").map_err(what)? {
            "crypt" => SegmentKind::Crypt(CryptSegment {
                iv_tweak: uint64(segment, "iv_tweak").map_err(what)?,
                encryption: string(segment, "encryption").map_err(what)?.into(),
                sector_size: integer(segment, "sector_size").map_err(what)?,
                integrity: segment.contains_key("integrity"),
            }),
            other => SegmentKind::Other(other.into()),
        };
        let size = match string(segment, "size").map_err(what)? {
            "dynamic" => SegmentSize::Dynamic,
            _ => SegmentSize::Bytes(uint64(segment, "size").map_err(what)?),
        };
        let offset = uint64(segment, "offset").map_err(what)?;
        let flags = if segment.contains_key("flags") { strings(segment, "flags").map_err(what)? } else { Vec::new() };
        segments.push(Segment { id, offset, size, flags, kind });
    }
    Ok(segments)
}

fn digests(root: &Map<String, Value>, keyslots: &[u32], segments: &[Segment]) -> Result<Vec<Digest>, String> {
    let known_segments: Vec<u32> = segments.iter().map(|segment| segment.id).collect();
    let mut digests = Vec::new();
    for (id, digest) in objects(root, "digests")? {
        let what = |what| format!("digest {id}: {what}");
        references(digest, "keyslots", keyslots).map_err(what)?;
        let segments = references(digest, "segments", &known_segments).map_err(what)?;
        let pbkdf2 = match string(digest, "type").map_err(what)? {
            "pbkdf2" => Some(VolumeKeyDigest {
                hash: string(digest, "hash").map_err(what)?.into(),
                iterations: integer(digest, "iterations").map_err(what)?,
                salt: binary(digest, "salt", MAX_BINARY).map_err(what)?,
                digest: binary(digest, "digest", MAX_BINARY).map_err(what)?,
            }),
            _ => None,
        };
        // A digest of nothing would prove any key.
        if pbkdf2.as_ref().is_some_and(|d| d.iterations == 0 || d.digest.len() < 20) {
            return Err(what("it has no iterations, or is shorter than 20 bytes".into()));
        }
        digests.push(Digest { id, segments, pbkdf2 });
    }
    Ok(digests)
}

/// The reference implementation writes an object with an array `mandatory`; the specification has the array itself.
fn requirements(root: &Map<String, Value>) -> Result<Vec<String>, String> {
    let Some(config) = root.get("config").and_then(Value::as_object) else { return Ok(Vec::new()) };
    match config.get("requirements") {
        None => Ok(Vec::new()),
        Some(Value::Object(object)) if object.contains_key("mandatory") => strings(object, "mandatory"),
        Some(Value::Array(_)) => strings(config, "requirements"),
        Some(other) => Err(format!("its requirements are not known: {other}")),
    }
}

/// An object and its number.
type Numbered<'a> = (u32, &'a Map<String, Value>);

/// The numbered objects of a top-level object, ordered by number.
fn objects<'a>(root: &'a Map<String, Value>, name: &str) -> Result<Vec<Numbered<'a>>, String> {
    let group = root.get(name).and_then(Value::as_object).ok_or_else(|| format!("it has no {name} object"))?;
    if group.len() > MAX_OBJECTS {
        return Err(format!("it has {} {name}, more than {MAX_OBJECTS}", group.len()));
    }
    let mut objects = Vec::new();
    for (id, object) in group {
        let number = parse_id(id).ok_or_else(|| format!("{id:?} is no number of one of its {name}"))?;
        objects.push((number, object.as_object().ok_or_else(|| format!("{name} {id} is no object"))?));
    }
    objects.sort_by_key(|(id, _)| *id);
    Ok(objects)
}

/// A number in decimal without a sign or leading zeros, so that two names can't mean one object.
fn parse_id(id: &str) -> Option<u32> {
    id.parse().ok().filter(|number: &u32| number.to_string() == id)
}

/// An array of numbers of objects, each of which must exist.
fn references(object: &Map<String, Value>, name: &str, known: &[u32]) -> Result<Vec<u32>, String> {
    let mut ids = Vec::new();
    for id in strings(object, name)? {
        let number = parse_id(&id).filter(|number| known.contains(number));
        ids.push(number.ok_or_else(|| format!("it names {id:?} of the {name}, which does not exist"))?);
    }
    Ok(ids)
}

pub(super) fn string<'a>(object: &'a Map<String, Value>, name: &str) -> Result<&'a str, String> {
    object.get(name).and_then(Value::as_str).ok_or_else(|| format!("its {name} is missing or no string"))
}

fn strings(object: &Map<String, Value>, name: &str) -> Result<Vec<String>, String> {
    let array =
        object.get(name).and_then(Value::as_array).ok_or_else(|| format!("its {name} is missing or no array"))?;
    let string = |value: &Value| value.as_str().map(String::from).ok_or_else(|| format!("its {name} holds no string"));
    array.iter().map(string).collect()
}

pub(super) fn integer(object: &Map<String, Value>, name: &str) -> Result<u32, String> {
    let number = object.get(name).and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| format!("its {name} is missing or no integer of 32 bits"))
}

/// A 64-bit integer as a decimal string (section 3).
pub(super) fn uint64(object: &Map<String, Value>, name: &str) -> Result<u64, String> {
    let text = string(object, name)?;
    let number = text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    number.ok_or_else(|| format!("its {name}, {text:?}, is no integer of 64 bits"))
}

/// Bytes in Base64, at most `max` of them.
pub(super) fn binary(object: &Map<String, Value>, name: &str, max: usize) -> Result<Vec<u8>, String> {
    let bytes = Base64::decode_vec(string(object, name)?).map_err(|_| format!("its {name} is no Base64"))?;
    if bytes.len() > max {
        return Err(format!("its {name} has {} bytes, more than {max}", bytes.len()));
    }
    Ok(bytes)
}
