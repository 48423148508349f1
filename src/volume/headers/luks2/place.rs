//! Examines the place of a damaged header copy: may it be overwritten?

use core::fmt;
use std::io;

use crate::ondisk::luks::{BINARY_HEADER, BinaryHeader, Metadata, Position};
use crate::volume::BlockDevice;
use crate::volume::signature::Signature;
use crate::{Error, Result, zeros};

const SECTOR: usize = 512;

/// Data that a repair would destroy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Foreign {
    position: Position,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Known(Signature),
    /// A header that another program, or a newer version, has written whole, and why it can't be read here.
    Header(String),
    /// Unknown data at this byte.
    Unknown(u64),
}

/// The longest copy of a header that is checked: four times the longest that the format has.
const LONGEST: u64 = 16 << 20;

impl Foreign {
    /// Examines the place of the copy at `position`, which isn't sound. `intact` is the other copy.
    pub(super) fn look(device: &dyn BlockDevice, position: Position, intact: &BinaryHeader) -> Result<Option<Self>> {
        let failed = |e| Error::io(format!("looking at what is in the place of the {position} of the header"), e);
        let size = intact.header_size;
        // If the first copy is gone, a signature anywhere shows that the device now has another use.
        let (offset, within) =
            if position == Position::Primary { (0, 0..u64::MAX) } else { (size, size..size.saturating_mul(2)) };
        if let Some(known) = Signature::find(device, within).map_err(failed)? {
            return Ok(Some(Foreign { position, what: What::Known(known) }));
        }
        let end = device.size().map_err(failed)?.min(offset.saturating_add(size));
        let mut bytes = vec![0; end.saturating_sub(offset) as usize];
        device.read_at(offset, &mut bytes).map_err(failed)?;
        if BinaryHeader::has_magic(&bytes, position) {
            let whole = why_not_a_remnant(device, &bytes, position, offset, intact).map_err(failed)?;
            return Ok(whole.map(|why| Foreign { position, what: What::Header(why) }));
        }
        let free = is_blank(&bytes) || is_remnant(&bytes, intact);
        Ok(if free { None } else { Some(Foreign { position, what: What::Unknown(offset) }) })
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let position = self.position;
        match &self.what {
            What::Known(signature) => {
                write!(f, "the {position} of the header is gone, and repairing it would destroy {signature}: ")?;
            }
            What::Unknown(offset) => write!(
                f,
                "the {position} of the header is gone, and repairing it would destroy the data at byte {offset}, which is \
                 neither blank nor the remains of a header: "
            )?,
            What::Header(why) => write!(
                f,
                "the {position} of the header isn't damaged, but can't be read here ({why}), and repairing it from the other \
                 copy, which may be older, would destroy it: use a version that reads it; or "
            )?,
        }
        f.write_str(
            "open the volume read-only; or if that may be destroyed, repair the header with `hazmat_repair` (which \
             OpenOptions have too)",
        )
    }
}

/// Why a copy with the magic may hold what the other copy doesn't: it is whole, and can't be read here. `None` if it is torn or
/// flipped, or is this volume's and no newer than the intact copy.
///
/// The reference implementation (2.6.1) writes the other copy over one whose JSON it refuses, even in `luksDump`, whatever the
/// sequence numbers and UUIDs are. Here that would undo a change by a newer version without a word. A primary copy of another
/// version it refuses, and then writes nothing.
fn why_not_a_remnant(
    device: &dyn BlockDevice,
    bytes: &[u8],
    position: Position,
    offset: u64,
    intact: &BinaryHeader,
) -> io::Result<Option<String>> {
    let Some(block) = bytes.first_chunk::<BINARY_HEADER>().copied() else { return Ok(None) };
    let (version, size) = (BinaryHeader::version(&block), BinaryHeader::claimed_size(&block));
    let parsed = BinaryHeader::parse(&block, position, offset);
    let is_on_device = offset.checked_add(size).is_some_and(|end| device.size().is_ok_and(|len| end <= len));
    if (BINARY_HEADER as u64..=LONGEST).contains(&size) && is_on_device {
        let mut copy = vec![0; size as usize];
        device.read_at(offset, &mut copy)?;
        if BinaryHeader::verify(&copy).is_ok() {
            let why = match &parsed {
                _ if version != 2 => format!("its version is {version}"),
                Err(why) => why.clone(),
                Ok(found) if found.uuid == intact.uuid && found.seqid <= intact.seqid => return Ok(None),
                Ok(found) => match Metadata::parse(&copy[BINARY_HEADER..], found.header_size) {
                    Err(why) => why,
                    Ok(_) => "it is at another offset than its size says".into(),
                },
            };
            return Ok(Some(why));
        }
    }
    // No checksum says whether it is whole. The fields of a torn copy are as they were written, and so is a flipped copy once they
    // are put back.
    let checksum = BinaryHeader::claimed_checksum(&block);
    let why = match (version, checksum) {
        (3..=255, _) => format!("its version is {version}"),
        // A first sector that was torn over other bytes doesn't say whose it is and where.
        (2, Some(name)) if name != "sha256" && BinaryHeader::is_placed(&block, offset) => {
            format!("its checksum algorithm is {name:?}")
        }
        _ => return Ok(None),
    };
    Ok((!BinaryHeader::verifies_with(bytes, intact.header_size, offset)).then_some(why))
}

/// Zeros, or ones: erased flash reads as ones.
fn is_blank(bytes: &[u8]) -> bool {
    zeros::is_zero(bytes) || bytes.iter().all(|&byte| byte == 0xFF)
}

/// Whether bytes without the magic are the remains of this header's copy: flipped or partly zeroed.
fn is_remnant(bytes: &[u8], intact: &BinaryHeader) -> bool {
    // Check every part: `wipefs` erases only the magic, other programs zero sectors at the start.
    let (binary, json) = bytes.split_at(bytes.len().min(BINARY_HEADER));
    let (first, padding) = binary.split_at(binary.len().min(SECTOR));
    let is_first = is_blank(first) || first.get(168..208).is_some_and(|uuid| is_text_field(uuid, &intact.uuid));
    is_first && is_blank(padding) && json.chunks(SECTOR).all(is_json)
}

/// Whether a field of a binary header holds this text, followed by zeros.
fn is_text_field(field: &[u8], text: &str) -> bool {
    let (start, rest) = field.split_at(text.len().min(field.len()));
    start == text.as_bytes() && zeros::is_zero(rest)
}

/// Whether a sector may be from a JSON area: text, possibly followed by zeros.
fn is_json(sector: &[u8]) -> bool {
    let end = sector.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let is_text = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~') || *byte >= 0x80;
    sector[..end].iter().all(is_text)
}
