//! A device that is cheap to make: what it holds at first is shared, and what is written is kept beside it.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Mutex;

use atrest::BlockDevice;

const PAGE: usize = 4096;

pub struct Disk<'a> {
    first: &'a [u8],
    size: u64,
    state: Mutex<State>,
}

#[derive(Clone, Default, PartialEq)]
struct State {
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
    writes: usize,
}

/// What a device held at one instant.
#[derive(Clone, PartialEq)]
pub struct Held(State);

impl<'a> Disk<'a> {
    /// A device of `size` bytes, which begin with `first`; the others are zero.
    pub fn new(first: &'a [u8], size: u64) -> Self {
        Disk { first, size, state: Mutex::default() }
    }

    /// Puts bytes there, cut off at the end of the device, as if they had been there always.
    pub fn put(&self, offset: u64, bytes: &[u8]) {
        let mut state = self.state.lock().unwrap();
        self.write(&mut state, offset, bytes);
    }

    pub fn held(&self) -> Held {
        Held(self.state.lock().unwrap().clone())
    }

    /// Whether the bytes there aren't what they were.
    pub fn differs(&self, before: &Held, range: &Range<u64>) -> bool {
        let size = PAGE as u64;
        let state = self.state.lock().unwrap();
        state.pages.range(range.start / size..range.end.div_ceil(size)).any(|(number, page)| {
            let start = number * size;
            let within = range.start.saturating_sub(start) as usize..(range.end - start).min(size) as usize;
            match before.0.pages.get(number) {
                Some(old) => old[within.clone()] != page[within],
                None => self.page(*number)[within.clone()] != page[within],
            }
        })
    }

    /// How many writes there were.
    pub fn writes(&self) -> usize {
        self.state.lock().unwrap().writes
    }

    /// Reads what was there at first.
    fn read_first(&self, offset: u64, bytes: &mut [u8]) {
        let there = usize::try_from(offset).ok().and_then(|start| self.first.get(start..)).unwrap_or_default();
        let (now, beyond) = bytes.split_at_mut(there.len().min(bytes.len()));
        now.copy_from_slice(&there[..now.len()]);
        beyond.fill(0);
    }

    fn page(&self, number: u64) -> Box<[u8; PAGE]> {
        let mut page = Box::new([0; PAGE]);
        self.read_first(number.saturating_mul(PAGE as u64), &mut page[..]);
        page
    }

    fn write(&self, state: &mut State, offset: u64, bytes: &[u8]) {
        let mut at = offset;
        let mut rest = &bytes[..bytes.len().min(self.size.saturating_sub(offset) as usize)];
        while !rest.is_empty() {
            let within = (at % PAGE as u64) as usize;
            let (now, later) = rest.split_at(rest.len().min(PAGE - within));
            let page = state.pages.entry(at / PAGE as u64).or_insert_with(|| self.page(at / PAGE as u64));
            page[within..within + now.len()].copy_from_slice(now);
            (at, rest) = (at + now.len() as u64, later);
        }
    }

    fn check(&self, offset: u64, len: usize) -> io::Result<()> {
        let fits = offset.checked_add(len as u64).is_some_and(|end| end <= self.size);
        if fits { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

impl BlockDevice for Disk<'_> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.check(offset, bytes.len())?;
        self.read_first(offset, bytes);
        if bytes.is_empty() {
            return Ok(());
        }
        let (page, end) = (PAGE as u64, offset + bytes.len() as u64);
        for (number, written) in self.state.lock().unwrap().pages.range(offset / page..end.div_ceil(page)) {
            let (from, to) = ((number * page).max(offset), ((number + 1) * page).min(end));
            let within = (from % page) as usize;
            bytes[(from - offset) as usize..(to - offset) as usize]
                .copy_from_slice(&written[within..within + (to - from) as usize]);
        }
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check(offset, bytes.len())?;
        let mut state = self.state.lock().unwrap();
        state.writes += 1;
        self.write(&mut state, offset, bytes);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
