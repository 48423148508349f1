//! Segments: which bytes of the device hold data, and how (section 3.3).

use serde_json::{Map, Value};

use super::json::{integer, objects, string, strings, uint64};

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

impl Segment {
    /// Whether it only records what was, or will be, while the device is re-encrypted: it is no part of the data.
    pub(super) fn is_backup(&self) -> bool {
        self.flags.iter().any(|flag| flag.starts_with("backup-"))
    }

    fn from_json(id: u32, segment: &Map<String, Value>) -> Result<Self, String> {
        let kind = match string(segment, "type")? {
            "crypt" => SegmentKind::Crypt(CryptSegment {
                iv_tweak: uint64(segment, "iv_tweak")?,
                encryption: string(segment, "encryption")?.into(),
                sector_size: integer(segment, "sector_size")?,
                integrity: segment.contains_key("integrity"),
            }),
            other => SegmentKind::Other(other.into()),
        };
        let size = match string(segment, "size")? {
            "dynamic" => SegmentSize::Dynamic,
            _ => SegmentSize::Bytes(uint64(segment, "size")?),
        };
        let offset = uint64(segment, "offset")?;
        let flags = if segment.contains_key("flags") { strings(segment, "flags")? } else { Vec::new() };
        Ok(Segment { id, offset, size, flags, kind })
    }
}

/// The segments, ordered by number.
pub(super) fn segments(root: &Map<String, Value>) -> Result<Vec<Segment>, String> {
    let read = |(id, segment)| Segment::from_json(id, segment).map_err(|what| format!("segment {id}: {what}"));
    objects(root, "segments")?.into_iter().map(read).collect()
}
