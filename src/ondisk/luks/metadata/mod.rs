//! The JSON area (section 3).
//!
//! A header is read into types, which are checked. Changes are made in the original text, which is kept too. So members
//! that this crate doesn't know survive byte for byte when a header is rewritten.

mod config;
mod edit;
pub(super) mod json;
mod keyslot;
mod plan;
mod quotes;
mod reencryption;
mod segment;
pub(super) mod text;

use core::ffi::CStr;

use base64ct::{Base64, Encoding};
use serde_json::json;

use super::{BINARY_HEADER, Digest, HEADER_SIZES, VolumeKeyDigest};
use crate::{Error, Result, zeros};
use config::{Config, MAX_KEYSLOTS_SIZE};
use json::{distinct_references, numbered, objects, root, string};
use text::Object;

pub use keyslot::{Area, Keyslot, KeyslotKdf, KeyslotKind, PassphraseKeyslot, Priority, WIPING_TYPE};
pub use plan::{Direction, Mode, Plan, Proven, Resilience};
pub use reencryption::Reencryption;
pub use segment::{CryptSegment, Segment, SegmentKind, SegmentSize};

/// The default size of a detached header with its keyslots, the same as in the reference implementation.
const ROOM: u64 = 16 << 20;

/// A validated JSON area.
#[derive(Debug, Clone, PartialEq)]
pub struct Metadata {
    /// The JSON, already checked.
    text: Vec<u8>,
    header_size: u64,
    config: Config,
    keyslots: Vec<Keyslot>,
    segments: Vec<Segment>,
    digests: Vec<Digest>,
}

/// The parts of a new volume's metadata.
#[derive(Debug, Clone)]
pub struct NewMetadata {
    /// The size of one copy of the header in bytes.
    pub header_size: u64,
    /// The first byte of the data. Keyslots lie between the header and it.
    pub data_offset: u64,
    /// The sector size in bytes.
    pub sector_size: u32,
    /// The digest of the DEK.
    pub digest: VolumeKeyDigest,
    /// The size of the keyslots area in bytes, a multiple of 4096. `None` takes all available room, up to 128 MiB; in a
    /// detached header, up to 16 MiB including the header.
    pub keyslots_size: Option<u64>,
    /// Whether the header is on its own device. Then `data_offset` may be 0.
    pub detached: bool,
    /// The cipher in dm-crypt's notation.
    pub encryption: String,
    /// The size of the segment.
    pub segment_size: SegmentSize,
}

impl NewMetadata {
    /// A header before its data, AES-XTS to the end of the device, and as much room for keyslots as there is.
    pub fn new(header_size: u64, data_offset: u64, sector_size: u32, digest: VolumeKeyDigest) -> Self {
        NewMetadata {
            header_size,
            data_offset,
            sector_size,
            digest,
            keyslots_size: None,
            detached: false,
            encryption: "aes-xts-plain64".into(),
            segment_size: SegmentSize::Dynamic,
        }
    }

    /// The size of the keyslots area, if it fits.
    fn keyslots_size(&self) -> Result<u64> {
        let bad = |text: String| Err(Error::InvalidOption(text));
        if !self.data_offset.is_multiple_of(512) {
            return bad(format!("the data offset, {}, is no multiple of 512", self.data_offset));
        }
        let header = self.header_size.saturating_mul(2);
        // Zero is the only offset within the header that the reference implementation accepts, and only if the header
        // is detached.
        let end = if self.detached && self.data_offset == 0 { u64::MAX } else { self.data_offset };
        let room = if self.detached { end.min(ROOM) } else { end.min(header.saturating_add(MAX_KEYSLOTS_SIZE)) };
        let room = room.saturating_sub(header) / 4096 * 4096;
        let size = self.keyslots_size.unwrap_or(room);
        if header.checked_add(size).is_none_or(|taken| taken > end) {
            return bad(format!("the data offset, {end}, is within the header and {size} bytes of keyslots"));
        }
        Ok(size)
    }
}

impl Metadata {
    /// The metadata of a new volume: one segment that begins at `data_offset`, its digest, and no keyslot or token yet.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] if the parts do not fit together.
    pub fn new(new: &NewMetadata) -> Result<Self> {
        let keyslots_size = new.keyslots_size()?;
        let size = match new.segment_size {
            SegmentSize::Dynamic => "dynamic".into(),
            SegmentSize::Bytes(size) => size.to_string(),
        };
        let root = json!({
            "keyslots": {},
            "tokens": {},
            "segments": {
                "0": {
                    "type": "crypt",
                    "offset": new.data_offset.to_string(),
                    "size": size,
                    "iv_tweak": "0",
                    "encryption": new.encryption,
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
                "json_size": new.header_size.saturating_sub(BINARY_HEADER as u64).to_string(),
                "keyslots_size": keyslots_size.to_string(),
            },
        });
        let text = serde_json::to_vec(&root).expect("a JSON value can be written");
        Self::from_text(text, new.header_size).map_err(Error::InvalidOption)
    }

    /// Reads the JSON area of a copy of the header of `header_size` bytes.
    ///
    /// # Errors
    /// A text that names the defect.
    pub fn parse(area: &[u8], header_size: u64) -> Result<Self, String> {
        Self::from_text(text_in(area)?.to_vec(), header_size)
    }

    /// Reads the JSON alone. The size of its header comes from the JSON itself.
    ///
    /// # Errors
    /// A text that names the defect.
    pub(crate) fn of_json(json: &[u8]) -> Result<Self, String> {
        let size = *HEADER_SIZES.last().expect("there are some");
        if json.len() as u64 > size {
            return Err(format!("its JSON has {} bytes, more than a header of {size} bytes has room for", json.len()));
        }
        let room = json::uint64(&json::member(&json::parse(json)?, "config")?, "json_size")?;
        let header_size = room.saturating_add(BINARY_HEADER as u64);
        if !HEADER_SIZES.contains(&header_size) {
            return Err(format!("its json_size, {room}, is that of no header"));
        }
        Self::from_text(json.to_vec(), header_size)
    }

    /// The size in bytes of one copy of its header.
    pub(crate) fn header_size(&self) -> u64 {
        self.header_size
    }

    /// The JSON area of `header_size` less 4096 bytes, padded with zeros.
    ///
    /// # Errors
    /// [`Error::NoRoom`] if the JSON is too long for it.
    pub fn encode(&self, header_size: u64) -> Result<Vec<u8>> {
        let size = check_room(self.text.len(), header_size)?;
        let mut area = Vec::with_capacity(size);
        area.extend(&self.text);
        area.resize(size, 0);
        Ok(area)
    }

    /// The JSON.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether an area of a header of this size holds exactly this metadata, so that it need not be parsed again.
    pub(crate) fn is_in(&self, area: &[u8], header_size: u64) -> bool {
        let rest = area.strip_prefix(&*self.text).filter(|_| self.header_size == header_size);
        rest.is_some_and(zeros::is_zero)
    }

    /// The keyslots, ordered by number.
    pub fn keyslots(&self) -> &[Keyslot] {
        &self.keyslots
    }

    /// The segments, ordered by number.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The digests, ordered by number.
    pub fn digests(&self) -> &[Digest] {
        &self.digests
    }

    /// The mandatory requirements: features that a reader must know (section 3.5).
    pub fn requirements(&self) -> &[String] {
        &self.config.requirements
    }

    /// The size in bytes of the keyslots area, which is directly after both copies of the header.
    pub fn keyslots_size(&self) -> u64 {
        self.config.keyslots.size
    }

    /// The flags, such as `allow-discards` (section 3.5). Unknown flags have no effect.
    pub fn flags(&self) -> Vec<String> {
        self.config.flags.clone()
    }

    /// The tokens of all types, ordered by number, with the members that every token has.
    pub fn token_objects(&self) -> Vec<TokenInfo> {
        tokens(&root(&self.text), &self.keyslots).expect("they were checked when the header was read")
    }

    fn from_text(text: Vec<u8>, header_size: u64) -> Result<Self, String> {
        let Parts { config, keyslots, segments, digests, .. } = Parts::of(&text, header_size)?;
        Ok(Metadata { text, header_size, config, keyslots, segments, digests })
    }
}

/// The parts of a JSON text, all checked.
pub(super) struct Parts<'a> {
    config: Config,
    keyslots: Vec<Keyslot>,
    segments: Vec<Segment>,
    digests: Vec<Digest>,
    #[cfg_attr(not(feature = "managed"), expect(dead_code))]
    pub(super) tokens: Vec<json::Numbered<'a>>,
}

impl<'a> Parts<'a> {
    pub(super) fn of(text: &'a [u8], header_size: u64) -> Result<Self, String> {
        let root = json::parse(text)?;
        let config = Config::from_root(&root, header_size)?;
        let keyslots = keyslot::keyslots(&root, config.keyslots)?;
        let segments = segment::segments(&root, config.keyslots.offset + config.keyslots.size)?;
        let digests = digests(&root, &keyslots, &segments)?;
        let tokens = objects(&root, "tokens")?;
        check_tokens(&tokens, &keyslots)?;
        Ok(Parts { config, keyslots, segments, digests, tokens })
    }
}

/// The JSON of an area, without the zeros behind it.
pub(super) fn text_in(area: &[u8]) -> Result<&[u8], String> {
    let text = CStr::from_bytes_until_nul(area).map_err(|_| "its JSON does not end with a zero byte")?.to_bytes();
    if !zeros::is_zero(&area[text.len()..]) {
        return Err("there are bytes after the end of its JSON".into());
    }
    Ok(text)
}

/// The members that every token has, of any type (section 3.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenInfo {
    /// Its number.
    pub id: u32,
    /// Its `type`.
    pub kind: String,
    /// The keyslots that it opens.
    pub keyslots: Vec<u32>,
    /// The whole object as in the header. It need not be UTF-8.
    pub json: Vec<u8>,
}

fn check_tokens(tokens: &[json::Numbered<'_>], keyslots: &[Keyslot]) -> Result<(), String> {
    let known: Vec<u32> = keyslots.iter().map(|keyslot| keyslot.id).collect();
    let check = |(id, token): &json::Numbered<'_>| {
        token_members(token, &known).map(drop).map_err(|what| format!("token {id}: {what}"))
    };
    tokens.iter().try_for_each(check)
}

/// Reads the members of any token: its type, and the keyslots that it names. It may name one twice.
fn token_members(token: &Object<'_>, known: &[u32]) -> Result<(String, Vec<u32>), String> {
    Ok((string(token, "type")?.into_owned(), distinct_references(token, "keyslots", known)?))
}

fn tokens(root: &Object<'_>, keyslots: &[Keyslot]) -> Result<Vec<TokenInfo>, String> {
    let known: Vec<u32> = keyslots.iter().map(|keyslot| keyslot.id).collect();
    let read = |(id, raw): (u32, text::Raw<'_>)| {
        let token = raw.object().ok_or_else(|| format!("tokens {id} is no object"))?;
        let (kind, keyslots) = token_members(&token, &known)?;
        Ok(TokenInfo { id, kind, keyslots, json: raw.bytes().to_vec() })
    };
    numbered(root, "tokens")?.into_iter().map(read).collect()
}

/// The size of the JSON area, if a text of `len` bytes and its final zero byte fit.
fn check_room(len: usize, header_size: u64) -> Result<usize> {
    let size = (header_size as usize).saturating_sub(BINARY_HEADER);
    if len < size {
        return Ok(size);
    }
    Err(Error::NoRoom(format!(
        "the header has no room for that: its JSON would take {len} bytes, and has room for {}; remove a token or a \
         keyslot, or make the volume with a larger `metadata_size`",
        size.saturating_sub(1)
    )))
}

fn digests(root: &Object<'_>, keyslots: &[Keyslot], segments: &[Segment]) -> Result<Vec<Digest>, String> {
    let keyslots: Vec<u32> = keyslots.iter().map(|keyslot| keyslot.id).collect();
    let ids: Vec<u32> = segments.iter().map(|segment| segment.id).collect();
    let read =
        |(id, digest)| Digest::from_json(id, &digest, &keyslots, &ids).map_err(|what| format!("digest {id}: {what}"));
    let digests: Vec<Digest> = objects(root, "digests")?.into_iter().map(read).collect::<Result<_, _>>()?;
    let proven = |segment: &Segment| digests.iter().any(|digest| digest.segments.contains(&segment.id));
    let is_data = |segment: &&Segment| matches!(segment.kind, SegmentKind::Crypt(_)) && !segment.is_backup();
    match segments.iter().filter(is_data).find(|segment| !proven(segment)) {
        Some(segment) => Err(format!("segment {}: no digest proves its key", segment.id)),
        None => Ok(digests),
    }
}
