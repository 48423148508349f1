//! A device that is cheap to make: what it holds at first is shared, and what is written is kept beside it.

use std::collections::BTreeMap;
use std::io;
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

    /// How many writes there were.
    pub fn writes(&self) -> usize {
        self.state.lock().unwrap().writes
    }

    fn page(&self, number: u64) -> Box<[u8; PAGE]> {
        let mut page = Box::new([0; PAGE]);
        let start = usize::try_from(number).ok().and_then(|n| n.checked_mul(PAGE)).unwrap_or(usize::MAX);
        if let Some(bytes) = self.first.get(start..) {
            let len = bytes.len().min(PAGE);
            page[..len].copy_from_slice(&bytes[..len]);
        }
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
        let state = self.state.lock().unwrap();
        let mut at = offset;
        let mut rest = bytes;
        while !rest.is_empty() {
            let within = (at % PAGE as u64) as usize;
            let (now, later) = rest.split_at_mut((PAGE - within).min(rest.len()));
            let end = within + now.len();
            match state.pages.get(&(at / PAGE as u64)) {
                Some(page) => now.copy_from_slice(&page[within..end]),
                None => now.copy_from_slice(&self.page(at / PAGE as u64)[within..end]),
            }
            at += now.len() as u64;
            rest = later;
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
