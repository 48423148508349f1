//! Examines the place of a damaged header copy: may it be overwritten?

use core::fmt;

use crate::ondisk::luks::{BINARY_HEADER, BinaryHeader, Position};
use crate::volume::BlockDevice;
use crate::volume::signature::Signature;
use crate::{Error, Result, zeros};

const SECTOR: usize = 512;

/// Data that a repair would destroy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Foreign {
    position: Position,
    offset: u64,
    known: Option<Signature>,
}

impl Foreign {
    /// Examines the place of the copy at `position`, which isn't sound. `intact` is the other copy.
    pub(super) fn look(device: &dyn BlockDevice, position: Position, intact: &BinaryHeader) -> Result<Option<Self>> {
        let failed = |e| Error::io(format!("looking at what is in the place of the {position} of the header"), e);
        let size = intact.header_size;
        // If the first copy is gone, a signature anywhere shows that the device now has another use.
        let (offset, within) =
            if position == Position::Primary { (0, 0..u64::MAX) } else { (size, size..size.saturating_mul(2)) };
        if let Some(known) = Signature::find(device, within).map_err(failed)? {
            return Ok(Some(Foreign { position, offset, known: Some(known) }));
        }
        let end = device.size().map_err(failed)?.min(offset.saturating_add(size));
        let mut bytes = vec![0; end.saturating_sub(offset) as usize];
        device.read_at(offset, &mut bytes).map_err(failed)?;
        let free = is_blank(&bytes) || is_remnant(&bytes, position, intact);
        Ok(if free { None } else { Some(Foreign { position, offset, known: None }) })
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Foreign { position, offset, known } = self;
        write!(f, "the {position} of the header is gone, and repairing it would destroy ")?;
        match known {
            Some(signature) => write!(f, "{signature}")?,
            None => write!(f, "the data at byte {offset}, which is neither blank nor the remains of a header")?,
        }
        f.write_str(
            ": open the volume read-only; or if that may be destroyed, repair the header with `hazmat_repair` (which \
             OpenOptions have too)",
        )
    }
}

/// Zeros, or ones: erased flash reads as ones.
fn is_blank(bytes: &[u8]) -> bool {
    zeros::is_zero(bytes) || bytes.iter().all(|&byte| byte == 0xFF)
}

/// Whether bytes are the remains of this header's copy: torn, flipped or partly zeroed.
fn is_remnant(bytes: &[u8], position: Position, intact: &BinaryHeader) -> bool {
    if BinaryHeader::has_magic(bytes, position) {
        return true;
    }
    // Without the magic, check every part: `wipefs` erases only the magic, other programs zero sectors at the start.
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
