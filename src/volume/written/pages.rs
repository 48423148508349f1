//! The pages of the map on the disk. Each is stored twice.
//!
//! A change is written to one copy, synced, and only then written to the other. So one copy always has the state of the last sync,
//! and after a change both copies have it as soon as the device has written them. Then a damaged copy loses nothing. The two copies
//! differ by one generation at most.

use crate::ondisk::luks::{PAGE, PAGE_WORDS, Page, PageKeys, WrittenMap};
use crate::volume::BlockDevice;
use crate::{Dek, Error, Result, TooSmall};

/// How many pages are read at once.
const BATCH: usize = 256;

pub(super) struct Pages {
    map: WrittenMap,
    keys: PageKeys,
    /// The pages that are on the disk for certain.
    pages: Vec<Recorded>,
}

struct Recorded {
    page: Page,
    /// The copy that is written first, since it may be older, or damaged.
    first: usize,
}

impl Pages {
    /// Writes the pages of a map without any chunk. They are on the disk when this returns.
    pub(super) fn create(map: WrittenMap, dek: &Dek, device: &dyn BlockDevice) -> Result<Self> {
        let keys = map.keys(dek);
        let blank = Page { generation: 1, words: vec![0; PAGE_WORDS].into() };
        for copy in 0..2 {
            for number in 0..map.pages as usize {
                write(&map, &keys, device, number, copy, &blank)?;
            }
        }
        device.sync().map_err(failed)?;
        let pages = (0..map.pages).map(|_| Recorded { page: blank.clone(), first: 0 }).collect();
        Ok(Pages { map, keys, pages })
    }

    /// Reads the pages. Also returns the numbers of those with a damaged or older copy, which must be written again.
    pub(super) fn load(map: WrittenMap, dek: &Dek, device: &dyn BlockDevice) -> Result<(Self, Vec<usize>)> {
        let keys = map.keys(dek);
        let end = map.offset + map.len();
        let size = device.size().map_err(|e| Error::io("asking the device for its size", e))?;
        if size < end {
            return Err(Error::DeviceTooSmall { what: TooSmall::Header, needed: end, size });
        }
        let (mut pages, mut stale) = (Vec::new(), Vec::new());
        let mut copies = [vec![0; BATCH * PAGE], vec![0; BATCH * PAGE]];
        for start in (0..map.pages as usize).step_by(BATCH) {
            let count = BATCH.min(map.pages as usize - start);
            for (n, copy) in copies.iter_mut().enumerate() {
                let read = device.read_at(map.place(start, n), &mut copy[..count * PAGE]);
                read.map_err(|e| Error::io("reading the map of written chunks", e))?;
            }
            let [first, second] = &mut copies;
            let both = first.chunks_exact_mut(PAGE).zip(second.chunks_exact_mut(PAGE));
            for (number, (first, second)) in (start..start + count).zip(both) {
                let (page, older) = newer(number, keys.open(number, first)?, keys.open(number, second)?)?;
                stale.extend(older.map(|_| number));
                pages.push(Recorded { page, first: older.unwrap_or(0) });
            }
        }
        Ok((Pages { map, keys, pages }, stale))
    }

    pub(super) fn words(&self) -> impl Iterator<Item = Box<[u64]>> {
        self.pages.iter().map(|recorded| recorded.page.words.clone())
    }

    /// Whether the disk says that a chunk was written.
    pub(super) fn has(&self, chunk: u64) -> bool {
        let (page, word) = ((chunk / 64) as usize / PAGE_WORDS, (chunk / 64) as usize % PAGE_WORDS);
        self.pages[page].page.words[word] >> (chunk % 64) & 1 == 1
    }

    /// Writes pages. When this returns, each is on the disk once, and its second copy is written but not synced.
    pub(super) fn record(&mut self, device: &dyn BlockDevice, changed: Vec<(usize, Box<[u64]>)>) -> Result<()> {
        let next = |(number, words): (usize, Box<[u64]>)| {
            let recorded = &self.pages[number];
            (number, recorded.first, Page { generation: recorded.page.generation + 1, words })
        };
        let changed: Vec<_> = changed.into_iter().map(next).collect();
        for (number, first, page) in &changed {
            write(&self.map, &self.keys, device, *number, *first, page)?;
        }
        device.sync().map_err(failed)?;
        let mut written = Ok(());
        for (number, first, page) in changed {
            let second = write(&self.map, &self.keys, device, number, 1 - first, &page);
            // The next write must not go over the copy that is on the disk for certain.
            let first = if second.is_ok() { first } else { 1 - first };
            self.pages[number] = Recorded { page, first };
            written = written.and(second);
        }
        written
    }
}

/// The newer of two copies, and the number of the copy that must be written again, if one must.
fn newer(number: usize, first: Option<Page>, second: Option<Page>) -> Result<(Page, Option<usize>)> {
    let damaged = |what: &str| Err(Error::DamagedMap(format!("{what} of its page {number}")));
    match (first, second) {
        (Some(first), Some(second)) if first == second => Ok((first, None)),
        (Some(first), Some(second)) if first.generation == second.generation + 1 => Ok((first, Some(1))),
        (Some(first), Some(second)) if second.generation == first.generation + 1 => Ok((second, Some(0))),
        (Some(_), Some(_)) => damaged("an older state was put in the place of a copy"),
        (Some(first), None) => Ok((first, Some(1))),
        (None, Some(second)) => Ok((second, Some(0))),
        (None, None) => damaged("both copies are damaged"),
    }
}

fn write(
    map: &WrittenMap,
    keys: &PageKeys,
    device: &dyn BlockDevice,
    number: usize,
    copy: usize,
    page: &Page,
) -> Result<()> {
    device.write_at(map.place(number, copy), &keys.seal(number, page)?).map_err(failed)
}

fn failed(e: std::io::Error) -> Error {
    Error::io("writing the map of written chunks", e)
}
