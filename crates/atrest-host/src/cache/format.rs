//! The form of a cache's file: see `docs/formats/host-cache.md`.
//!
//! | bytes | |
//! |---|---|
//! | 0 | the header |
//! | 4096, 8192 | two marks, written in turn |
//! | 12288 | the journal: sectors of 512 bytes, a ring |
//! | after it, at a multiple of 4096 | the slots: blocks of 4096 bytes |

use atrest::Result;

use super::keys::{Keys, MAC, Place, TAG};

/// The size of a block.
pub(super) const BLOCK: usize = 4096;

/// The unit that a device writes atomically, in bytes.
pub(super) const SECTOR: usize = 512;

const MAGIC: &[u8; 8] = b"atrestHC";
const MARK: &[u8; 8] = b"atrestHM";
const RECORD: &[u8; 8] = b"atrestHJ";
const VERSION: u16 = 1;

/// The number of blocks that a sector of the journal records.
pub(super) const ENTRIES: usize = (SECTOR - MAC - 24) / ENTRY;
const ENTRY: usize = 40;

/// The layout of a cache's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// How many blocks it holds.
    pub(super) slots: u32,
    /// The number of sectors of the journal; 0 for a cache that never holds data the disk lacks.
    pub(super) journal: u32,
}

impl Layout {
    const JOURNAL: u64 = 3 * BLOCK as u64;

    /// The layout of a file of at most `size` bytes, if there is room for anything.
    pub(super) fn within(size: u64, journal: u32) -> Option<Self> {
        let before = Layout { slots: 0, journal }.slot(0);
        let slots = size.checked_sub(before)? / BLOCK as u64;
        let slots = u32::try_from(slots).unwrap_or(u32::MAX - 1).min(u32::MAX - 1);
        (slots > 0).then_some(Layout { slots, journal })
    }

    pub(super) fn mark(number: u64) -> u64 {
        BLOCK as u64 * (1 + number % 2)
    }

    pub(super) fn record(&self, number: u64) -> u64 {
        Self::JOURNAL + number % u64::from(self.journal) * SECTOR as u64
    }

    pub(super) fn slot(&self, slot: u32) -> u64 {
        (Self::JOURNAL + u64::from(self.journal) * SECTOR as u64).next_multiple_of(BLOCK as u64)
            + u64::from(slot) * BLOCK as u64
    }

    pub(super) fn size(&self) -> u64 {
        self.slot(self.slots)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) layout: Layout,
    pub(super) id: [u8; 16],
    pub(super) salt: [u8; 32],
}

/// The contents of a header's place.
pub(super) enum Found {
    /// The header of a cache that was detached.
    Wiped,
    Other,
    /// A header, as far as it can be checked without the key.
    Header(Box<Unproven>),
}

/// A header whose MAC hasn't been checked yet.
pub(super) struct Unproven {
    pub(super) header: Header,
    bytes: [u8; SECTOR],
}

impl Header {
    pub(super) fn new(layout: Layout) -> Result<Self, getrandom::Error> {
        let mut header = Header { layout, id: [0; 16], salt: [0; 32] };
        getrandom::fill(&mut header.id)?;
        getrandom::fill(&mut header.salt)?;
        Ok(header)
    }

    /// The id in hexadecimal.
    pub(super) fn name(&self) -> String {
        self.id.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn to_bytes(&self, keys: &Keys) -> Result<[u8; SECTOR]> {
        let mut bytes = [0; SECTOR];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_be_bytes());
        bytes[12..16].copy_from_slice(&(BLOCK as u32).to_be_bytes());
        bytes[16..20].copy_from_slice(&self.layout.slots.to_be_bytes());
        bytes[20..24].copy_from_slice(&self.layout.journal.to_be_bytes());
        bytes[24..40].copy_from_slice(&self.id);
        bytes[40..72].copy_from_slice(&self.salt);
        close(keys, MAGIC, &mut bytes)?;
        Ok(bytes)
    }

    /// The bytes that replace a header when its salt is forgotten.
    pub(super) fn wiped() -> [u8; BLOCK] {
        let mut bytes = [0; BLOCK];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_be_bytes());
        bytes
    }

    /// Looks at the first sector of a file.
    pub(super) fn find(bytes: &[u8; SECTOR]) -> Found {
        if *bytes == Self::wiped()[..SECTOR] {
            return Found::Wiped;
        }
        if bytes[..8] != *MAGIC || bytes[8..10] != VERSION.to_be_bytes() || u32_at(bytes, 12) != BLOCK as u32 {
            return Found::Other;
        }
        let layout = Layout { slots: u32_at(bytes, 16), journal: u32_at(bytes, 20) };
        let mut header = Header { layout, id: [0; 16], salt: [0; 32] };
        header.id.copy_from_slice(&bytes[24..40]);
        header.salt.copy_from_slice(&bytes[40..72]);
        Found::Header(Box::new(Unproven { header, bytes: *bytes }))
    }
}

impl Unproven {
    /// The header, if it was made with these keys.
    pub(super) fn prove(self, keys: &Keys) -> Result<Option<Header>> {
        Ok(is_closed(keys, MAGIC, &self.bytes)?.then_some(self.header))
    }
}

/// How far the journal counts. The newer of the two in the file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) number: u64,
    /// The first record that the disk may lack.
    pub(super) tail: u64,
    /// All records before it are on stable storage, with their blocks.
    pub(super) durable: u64,
}

impl Mark {
    /// The mark of a new cache.
    pub(super) const FIRST: Mark = Mark { number: 0, tail: 1, durable: 1 };

    pub(super) fn to_bytes(self, keys: &Keys) -> Result<[u8; SECTOR]> {
        let mut bytes = [0; SECTOR];
        bytes[..8].copy_from_slice(&self.number.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.tail.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.durable.to_be_bytes());
        close(keys, MARK, &mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn from_bytes(keys: &Keys, bytes: &[u8; SECTOR]) -> Result<Option<Self>> {
        let mark = || Mark { number: u64_at(bytes, 0), tail: u64_at(bytes, 8), durable: u64_at(bytes, 16) };
        Ok(is_closed(keys, MARK, bytes)?.then(mark))
    }
}

/// A block in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) place: Place,
    pub(super) tag: [u8; TAG],
}

/// The bytes of a record of the journal.
pub(super) fn record(keys: &Keys, number: u64, written: &[Written]) -> Result<[u8; SECTOR]> {
    debug_assert!(written.len() <= ENTRIES);
    let mut bytes = [0; SECTOR];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes[8..10].copy_from_slice(&(written.len() as u16).to_be_bytes());
    for (entry, Written { place, tag }) in bytes[24..].chunks_exact_mut(ENTRY).zip(written) {
        entry[..8].copy_from_slice(&place.block.to_be_bytes());
        entry[8..16].copy_from_slice(&place.generation.to_be_bytes());
        entry[16..20].copy_from_slice(&place.slot.to_be_bytes());
        entry[24..].copy_from_slice(tag);
    }
    close(keys, RECORD, &mut bytes)?;
    Ok(bytes)
}

/// The blocks of the record with this number, if it is that record.
pub(super) fn read_record(keys: &Keys, number: u64, bytes: &[u8; SECTOR]) -> Result<Option<Vec<Written>>> {
    let count = usize::from(u16::from_be_bytes([bytes[8], bytes[9]]));
    if u64_at(bytes, 0) != number || count > ENTRIES || !is_closed(keys, RECORD, bytes)? {
        return Ok(None);
    }
    let written = bytes[24..].chunks_exact(ENTRY).take(count).map(|entry| Written {
        place: Place { block: u64_at(entry, 0), generation: u64_at(entry, 8), slot: u32_at(entry, 16) },
        tag: *entry[24..].first_chunk().expect("an entry ends with a tag"),
    });
    Ok(Some(written.collect()))
}

fn close(keys: &Keys, kind: &[u8; 8], bytes: &mut [u8; SECTOR]) -> Result<()> {
    let mac = keys.mac(kind, &bytes[..SECTOR - MAC])?;
    bytes[SECTOR - MAC..].copy_from_slice(&mac);
    Ok(())
}

fn is_closed(keys: &Keys, kind: &[u8; 8], bytes: &[u8; SECTOR]) -> Result<bool> {
    keys.is_mac(kind, &bytes[..SECTOR - MAC], &bytes[SECTOR - MAC..])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
