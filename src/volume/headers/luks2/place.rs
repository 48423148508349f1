//! What stands where a damaged copy of the header belongs, and whether it may be written over.

use core::fmt;

use crate::ondisk::luks::{BINARY_HEADER, BinaryHeader, Position};
use crate::volume::BlockDevice;
use crate::volume::signature::Signature;
use crate::{Error, Result, zeros};

const SECTOR: usize = 512;

/// What a repair would destroy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Foreign {
    position: Position,
    offset: u64,
    known: Option<Signature>,
}

impl Foreign {
    /// Looks at the place of the copy at `position`, which isn't sound. `intact` is the other.
    pub(super) fn look(device: &dyn BlockDevice, position: Position, intact: &BinaryHeader) -> Result<Option<Self>> {
        let failed = |e| Error::io(format!("looking at what is in the place of the {position} of the header"), e);
        let size = intact.header_size;
        // Where the first copy is gone, a signature anywhere says that the device became something else.
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
            None => write!(f, "what is at byte {offset}, which is neither blank nor remains of a header")?,
        }
        f.write_str(
            ": open the volume read-only; or if that may be destroyed, repair the header with `hazmat_repair` (which \
             OpenOptions have too)",
        )
    }
}

/// Zeros, or ones, which is how flash reads that was erased.
fn is_blank(bytes: &[u8]) -> bool {
    zeros::is_zero(bytes) || bytes.iter().all(|&byte| byte == 0xFF)
}

/// Whether bytes are what is left of this header's copy: torn, flipped, or in part zeroed.
fn is_remnant(bytes: &[u8], position: Position, intact: &BinaryHeader) -> bool {
    if BinaryHeader::has_magic(bytes, position) {
        return true;
    }
    // Without its magic every part has to be explained: `wipefs` takes the magic only, others zero sectors at the start.
    let (binary, json) = bytes.split_at(bytes.len().min(BINARY_HEADER));
    let (first, padding) = binary.split_at(binary.len().min(SECTOR));
    let is_first = is_blank(first) || first.get(168..208).is_some_and(|uuid| is_text_field(uuid, &intact.uuid));
    is_first && is_blank(padding) && json.chunks(SECTOR).all(is_json)
}

/// Whether a field of a binary header holds a text, which zeros end.
fn is_text_field(field: &[u8], text: &str) -> bool {
    let (start, rest) = field.split_at(text.len().min(field.len()));
    start == text.as_bytes() && zeros::is_zero(rest)
}

/// Whether a sector may be one of a JSON area: text, up to its end in zeros.
fn is_json(sector: &[u8]) -> bool {
    let end = sector.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let is_text = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~') || *byte >= 0x80;
    sector[..end].iter().all(is_text)
}
