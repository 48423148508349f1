//! Segments: the ranges of the device that hold data, and their encryption (section 3.3).

use serde_json::{Value, json};

use super::json::{integer, objects, string, strings, uint64};
use super::text::{Object, Raw};

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
    /// Its content.
    pub kind: SegmentKind,
}

/// The size of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentSize {
    /// To the end of the device.
    Dynamic,
    /// A fixed number of bytes.
    Bytes(u64),
}

/// The content of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SegmentKind {
    /// Encrypted data.
    Crypt(CryptSegment),
    /// Another `type`.
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
    /// The algorithm of the sectors' integrity tags, such as `hmac(sha256)` or `aead`; `None` if they have none.
    pub integrity: Option<String>,
}

impl Segment {
    /// Whether it only records the old or future state of a re-encryption. Then it is not part of the data.
    pub(crate) fn is_backup(&self) -> bool {
        self.flags.iter().any(|flag| flag.starts_with("backup-"))
    }

    /// The byte after its last one; `None` if that is over 2^64 - 1.
    fn end(&self) -> Option<u64> {
        match self.size {
            SegmentSize::Dynamic => Some(u64::MAX),
            SegmentSize::Bytes(size) => self.offset.checked_add(size),
        }
    }

    /// The JSON object. It lacks members for a segment with integrity tags, since these aren't known here.
    pub(super) fn to_json(&self) -> Value {
        let size = match self.size {
            SegmentSize::Dynamic => "dynamic".into(),
            SegmentSize::Bytes(size) => size.to_string(),
        };
        let mut object = match &self.kind {
            SegmentKind::Other(kind) => json!({"type": kind, "offset": self.offset.to_string(), "size": size}),
            SegmentKind::Crypt(crypt) => json!({
                "type": "crypt",
                "offset": self.offset.to_string(),
                "size": size,
                "iv_tweak": crypt.iv_tweak.to_string(),
                "encryption": crypt.encryption,
                "sector_size": crypt.sector_size,
            }),
        };
        if !self.flags.is_empty() {
            object["flags"] = json!(self.flags);
        }
        object
    }

    fn from_json(id: u32, segment: &Object<'_>) -> Result<Self, String> {
        let kind = match &*string(segment, "type")? {
            "crypt" => SegmentKind::Crypt(CryptSegment {
                iv_tweak: uint64(segment, "iv_tweak")?,
                encryption: string(segment, "encryption")?.into_owned(),
                sector_size: integer(segment, "sector_size")?,
                integrity: segment.get("integrity")?.map(integrity),
            }),
            other => SegmentKind::Other(other.into()),
        };
        let size = match &*string(segment, "size")? {
            "dynamic" => SegmentSize::Dynamic,
            _ => SegmentSize::Bytes(uint64(segment, "size")?),
        };
        let offset = uint64(segment, "offset")?;
        let flags = if segment.contains("flags") { strings(segment, "flags")? } else { Vec::new() };
        let segment = Segment { id, offset, size, flags, kind };
        segment.check()?;
        Ok(segment)
    }

    /// Checks that need only this segment.
    fn check(&self) -> Result<(), String> {
        if !self.offset.is_multiple_of(512) {
            return Err(format!("its offset, {}, is no multiple of 512", self.offset));
        }
        let (sector_size, iv_tweak) = match &self.kind {
            SegmentKind::Crypt(crypt) => (crypt.sector_size, crypt.iv_tweak),
            SegmentKind::Other(_) => (512, 0),
        };
        if ![512, 1024, 2048, 4096].contains(&sector_size) {
            return Err(format!("its sectors have {sector_size} bytes"));
        }
        let SegmentSize::Bytes(size) = self.size else { return Ok(()) };
        if size == 0 || !size.is_multiple_of(u64::from(sector_size)) {
            return Err(format!("its size, {size} bytes, is no whole number of sectors"));
        }
        if self.end().is_none() || iv_tweak.checked_add(size / 512).is_none() {
            return Err(format!(
                "its end, {size} bytes from {}, or its last sector's number is over 2^64",
                self.offset
            ));
        }
        Ok(())
    }
}

/// The type of an integrity object, or a text in its place if it has none.
fn integrity(object: Raw<'_>) -> String {
    let kind = object.object().and_then(|object| string(&object, "type").ok().map(|kind| kind.into_owned()));
    kind.unwrap_or_else(|| "of an unknown type".into())
}

/// The segments, ordered by number. The data begins after the keyslots area, which ends at `room`, or is on its own
/// device.
pub(super) fn segments(root: &Object<'_>, room: u64) -> Result<Vec<Segment>, String> {
    let objects = objects(root, "segments")?;
    // Allocate no more than needed, because an open volume keeps them.
    let mut segments = Vec::with_capacity(objects.len());
    for (id, segment) in objects {
        segments.push(Segment::from_json(id, &segment).map_err(|what| format!("segment {id}: {what}"))?);
    }
    if segments.is_empty() {
        return Err("it has no segments".into());
    }
    if let Some((at, _)) = segments.iter().enumerate().find(|(at, segment)| *at as u32 != segment.id) {
        return Err(format!("it has no segment {at}, but one of a higher number"));
    }
    if let Some(pair) = segments.windows(2).find(|pair| pair[0].is_backup() && !pair[1].is_backup()) {
        return Err(format!("segment {}: it follows one that is only a backup", pair[1].id));
    }
    let data: Vec<&Segment> = segments.iter().filter(|segment| !segment.is_backup()).collect();
    // The volume shows the segments in the order of their numbers. While a re-encryption moves data, their places may
    // be in another order, with a gap at their old place.
    let moves = segments.iter().any(|segment| !segment.flags.is_empty());
    for (i, segment) in data.iter().enumerate() {
        let what = |what| Err(format!("segment {}: {what}", segment.id));
        let end = segment.end().unwrap_or(u64::MAX);
        if data[..i].iter().any(|other| other.offset < end && segment.offset < other.end().unwrap_or(u64::MAX)) {
            return what("it overlaps another");
        }
        let Some(next) = data.get(i + 1) else { break };
        if segment.size == SegmentSize::Dynamic {
            return what("it extends to the end of the device, but is not the last");
        }
        if end != next.offset && !moves {
            return what("the next one does not begin where it ends");
        }
    }
    match data.iter().min_by_key(|segment| segment.offset) {
        Some(first) if first.offset != 0 && first.offset < room => {
            Err(format!("segment {}: it begins at byte {}, within the header or its keyslots", first.id, first.offset))
        }
        _ => Ok(segments),
    }
}
