//! A system without rings.

use std::fs::File;
use std::io;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

pub(crate) type Memory = (*mut u8, usize);

/// This system has no rings.
pub(crate) enum Ring {}

impl Ring {
    pub(crate) fn new(_: u32) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// # Safety
    /// It is never called.
    pub(crate) unsafe fn register(&mut self, _: &File, _: &[Memory]) {
        match *self {}
    }

    /// # Safety
    /// It is never called.
    pub(crate) unsafe fn push(&mut self, _: &File, _: Direction, _: u64, _: Memory, _: u64) {
        match *self {}
    }

    pub(crate) fn submit(&mut self, _: usize) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn done(&mut self) -> impl Iterator<Item = (u64, io::Result<usize>)> {
        match *self {}
        #[expect(unreachable_code, reason = "it says what it would return")]
        std::iter::empty()
    }
}
