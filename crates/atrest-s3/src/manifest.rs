//! The manifest of a disk: a root, which names pages, which name chunks.
//!
//! Root: `ATRESTS3`, version (u32), chunk size (u32), size (u64), generation (u64), session (u64), number of pages (u32), chunks of a
//! page (u32), an entry for each page, SHA-256 of all that. Page: `ATRESTPG`, version (u32), chunks of a page (u32), its number
//! (u64), an entry for each chunk, SHA-256. Entry: generation (u64), session (u64); both are 0 where nothing was written.
//! Numbers are little-endian.

use std::io;

use atrest_http::sha256;

use crate::failure::unexpected;

/// How many chunks a page names: it is 64 KiB then.
pub(crate) const PER_PAGE: u64 = 4096;
/// The most pages: a root of 1 MiB, and a disk of 256 TiB in chunks of 1 MiB.
pub(crate) const MOST_PAGES: u64 = 65536;
/// The longest root or page.
pub(crate) const LONGEST: usize = ROOT + MOST_PAGES as usize * ENTRY + SUM;

const VERSION: u32 = 1;
const ROOT: usize = 48;
const PAGE: usize = 24;
const ENTRY: usize = 16;
const SUM: usize = 32;

/// Names one of a chunk's or page's objects: the one of this generation, written in this session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Entry {
    pub generation: u64,
    pub session: u64,
}

impl Entry {
    /// Nothing was written: zeros.
    pub const NONE: Entry = Entry { generation: 0, session: 0 };

    /// The object of a chunk, below the disk's folder.
    pub fn chunk(self, number: u64) -> String {
        format!("c{number:012x}-{:016x}-{:016x}", self.generation, self.session)
    }

    /// The object of a page, below the disk's folder.
    pub fn page(self, number: u64) -> String {
        format!("p{number:012x}-{:016x}-{:016x}", self.generation, self.session)
    }

    fn encode(self, bytes: &mut Vec<u8>) {
        bytes.extend(self.generation.to_le_bytes());
        bytes.extend(self.session.to_le_bytes());
    }
}

/// An object below a disk's folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Named {
    Chunk(u64, Entry),
    Page(u64, Entry),
}

/// Parses a name that [`Entry::chunk`] or [`Entry::page`] makes.
pub(crate) fn named(object: &str) -> Option<Named> {
    let number = |range: std::ops::Range<usize>| {
        let digits = object.get(range)?;
        let hex = digits.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit));
        hex.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
    };
    let dashes = object.as_bytes().get(13) == Some(&b'-') && object.as_bytes().get(30) == Some(&b'-');
    if object.len() != 47 || !dashes {
        return None;
    }
    let entry = Entry { generation: number(14..30)?, session: number(31..47)? };
    match object.as_bytes()[0] {
        b'c' => Some(Named::Chunk(number(1..13)?, entry)),
        b'p' => Some(Named::Page(number(1..13)?, entry)),
        _ => None,
    }
}

/// The root of a disk's manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Root {
    pub chunk_size: u32,
    pub size: u64,
    pub generation: u64,
    pub session: u64,
    pub pages: Vec<Entry>,
}

impl Root {
    /// How many chunks a disk has.
    pub fn chunks(size: u64, chunk_size: u32) -> u64 {
        size.div_ceil(chunk_size.into())
    }

    /// # Errors
    /// For a hash that failed its self-test.
    pub fn encode(&self) -> io::Result<Vec<u8>> {
        let mut bytes = b"ATRESTS3".to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(self.chunk_size.to_le_bytes());
        for number in [self.size, self.generation, self.session] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend((self.pages.len() as u32).to_le_bytes());
        bytes.extend((PER_PAGE as u32).to_le_bytes());
        self.pages.iter().for_each(|entry| entry.encode(&mut bytes));
        bytes.extend(sha256(&bytes)?);
        Ok(bytes)
    }

    /// # Errors
    /// For anything but the output of [`encode`](Self::encode).
    pub fn decode(bytes: &[u8]) -> io::Result<Self> {
        let mut fields = Fields::new(bytes, b"ATRESTS3", "the root of the disk's manifest")?;
        let chunk_size = fields.u32();
        let (size, generation, session) = (fields.u64(), fields.u64(), fields.u64());
        let (pages, per_page) = (u64::from(fields.u32()), u64::from(fields.u32()));
        let sound = chunk_size.is_power_of_two() && (64 << 10..=64 << 20).contains(&chunk_size) && size % 512 == 0;
        let sound = sound && per_page == PER_PAGE && pages <= MOST_PAGES;
        if !sound || pages != Root::chunks(size, chunk_size).div_ceil(PER_PAGE) || generation >= u64::MAX / 2 {
            return Err(unexpected("the root of the disk's manifest has fields that can't be"));
        }
        Ok(Root { chunk_size, size, generation, session, pages: fields.entries(pages)? })
    }
}

/// The names of [`PER_PAGE`] chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    pub entries: Vec<Entry>,
}

impl Page {
    pub fn empty() -> Self {
        Page { entries: vec![Entry::NONE; PER_PAGE as usize] }
    }

    pub fn is_empty(&self) -> bool {
        self.entries.iter().all(|entry| *entry == Entry::NONE)
    }

    /// # Errors
    /// As a root's.
    pub fn encode(&self, number: u64) -> io::Result<Vec<u8>> {
        let mut bytes = b"ATRESTPG".to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((PER_PAGE as u32).to_le_bytes());
        bytes.extend(number.to_le_bytes());
        self.entries.iter().for_each(|entry| entry.encode(&mut bytes));
        bytes.extend(sha256(&bytes)?);
        Ok(bytes)
    }

    /// # Errors
    /// For anything but the output of [`encode`](Self::encode) for this number.
    pub fn decode(number: u64, bytes: &[u8]) -> io::Result<Self> {
        let mut fields = Fields::new(bytes, b"ATRESTPG", "a page of the disk's manifest")?;
        if u64::from(fields.u32()) != PER_PAGE || fields.u64() != number {
            return Err(unexpected("a page of the disk's manifest is another one"));
        }
        Ok(Page { entries: fields.entries(PER_PAGE)? })
    }
}

struct Fields<'b> {
    bytes: &'b [u8],
    what: &'static str,
}

impl<'b> Fields<'b> {
    /// Checks the sum, the magic number and the version. The rest is at least as long as a root's fields, or a page's.
    fn new(bytes: &'b [u8], magic: &[u8; 8], what: &'static str) -> io::Result<Self> {
        let head = if magic == b"ATRESTS3" { ROOT } else { PAGE };
        if bytes.len() < head + SUM || &bytes[..8] != magic {
            return Err(unexpected(format!("{what} isn't one")));
        }
        let (rest, sum) = bytes.split_at(bytes.len() - SUM);
        if sha256(rest)? != sum {
            return Err(unexpected(format!("{what} is damaged: its checksum is wrong")));
        }
        let mut fields = Fields { bytes: &rest[8..], what };
        match fields.u32() {
            VERSION => Ok(fields),
            version => Err(unexpected(format!("{what} has version {version}; a newer program wrote it"))),
        }
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.bytes.split_first_chunk().expect("the head was checked to be that long");
        self.bytes = rest;
        *field
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn entries(self, count: u64) -> io::Result<Vec<Entry>> {
        if self.bytes.len() as u64 != count * ENTRY as u64 {
            return Err(unexpected(format!("{} has another length than it says", self.what)));
        }
        let entry = |bytes: &[u8]| {
            let number = |range: std::ops::Range<usize>| u64::from_le_bytes(bytes[range].try_into().expect("8 bytes"));
            Entry { generation: number(0..8), session: number(8..16) }
        };
        Ok(self.bytes.chunks_exact(ENTRY).map(entry).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> Root {
        let entry = Entry { generation: 3, session: 9 };
        Root { chunk_size: 1 << 20, size: 5 << 30, generation: 7, session: 11, pages: vec![entry, Entry::NONE] }
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(Root::decode(&root().encode().unwrap()).unwrap(), root());
        let mut page = Page::empty();
        page.entries[4095] = Entry { generation: u64::MAX, session: 1 };
        assert_eq!(Page::decode(5, &page.encode(5).unwrap()).unwrap(), page);
        let entry = Entry { generation: 0xabc, session: u64::MAX };
        assert_eq!(named(&entry.chunk(77)), Some(Named::Chunk(77, entry)));
        assert_eq!(named(&entry.page(0)), Some(Named::Page(0, entry)));
    }

    #[test]
    fn anything_else_is_refused() {
        let bytes = root().encode().unwrap();
        for len in 0..bytes.len() {
            assert!(Root::decode(&bytes[..len]).is_err(), "{len} bytes");
        }
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 4;
            assert!(Root::decode(&bad).is_err(), "byte {at}");
        }
        let bad_fields: [fn(&mut Root); 6] = [
            |root| root.chunk_size = 3 << 19,
            |root| root.chunk_size = 1 << 15,
            |root| root.size += 1,
            |root| root.size = u64::MAX - 511,
            |root| root.pages.push(Entry::NONE),
            |root| root.generation = u64::MAX,
        ];
        for (number, change) in bad_fields.iter().enumerate() {
            let mut bad = root();
            change(&mut bad);
            assert!(Root::decode(&bad.encode().unwrap()).is_err(), "change {number}");
        }
        let page = Page::empty().encode(5).unwrap();
        assert!(Page::decode(6, &page).is_err() && Page::decode(5, &page[..100]).is_err());
        for name in ["", "root", "lock", "c", &"c".repeat(47), "é0000000000c-0000000000000000-0000000000000000x"] {
            assert_eq!(named(name), None, "{name}");
        }
    }
}
