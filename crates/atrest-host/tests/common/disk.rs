//! A disk for tests of the ways to serve one.

#![allow(dead_code)] // each program uses its part

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use atrest::{Error, Result};
use atrest_host::{Disk, DiskQueue};
use rustix::event::{EventfdFlags, eventfd};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

pub const SIZE: usize = 1 << 20;

/// A disk in memory that counts, waits and fails as it is told.
pub struct TestDisk {
    pub bytes: Mutex<Vec<u8>>,
    pub sector_size: u32,
    pub read_only: bool,
    /// Whether it takes the guest's memory as it lies.
    pub shared: bool,
    /// Whether it has a queue, with requests under way that are done in another order.
    pub deep: bool,
    pub writes: AtomicUsize,
    pub flushes: AtomicUsize,
    pub discards: Mutex<Vec<(u64, u64)>>,
    pub fails: AtomicBool,
    /// While it is locked, writes and flushes wait.
    pub gate: Mutex<()>,
}

impl TestDisk {
    pub fn new() -> Self {
        TestDisk {
            bytes: Mutex::new((0..SIZE).map(|i| (i / 512 + i) as u8).collect()),
            sector_size: 512,
            read_only: false,
            shared: true,
            deep: false,
            writes: AtomicUsize::new(0),
            flushes: AtomicUsize::new(0),
            discards: Mutex::default(),
            fails: AtomicBool::new(false),
            gate: Mutex::new(()),
        }
    }

    fn check(&self) -> Result<()> {
        let source = std::io::ErrorKind::Other.into();
        if self.fails.load(Ordering::SeqCst) { Err(Error::Io { what: "this".into(), source }) } else { Ok(()) }
    }

    pub fn content(&self, at: usize, len: usize) -> Vec<u8> {
        self.bytes.lock().unwrap()[at..at + len].to_vec()
    }
}

impl Disk for TestDisk {
    fn size(&self) -> u64 {
        self.bytes.lock().unwrap().len() as u64
    }

    fn sector_size(&self) -> u32 {
        self.sector_size
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn discards(&self) -> bool {
        true
    }

    fn read_at(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        self.check()?;
        sectors.copy_from_slice(&self.content(offset as usize, sectors.len()));
        Ok(())
    }

    fn write_at(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        drop(self.gate.lock().unwrap());
        self.check()?;
        self.writes.fetch_add(1, Ordering::SeqCst);
        self.bytes.lock().unwrap()[offset as usize..][..sectors.len()].copy_from_slice(sectors);
        // As one that encrypts them where they lie.
        sectors.fill(0xcc);
        Ok(())
    }

    fn takes_shared_memory(&self) -> bool {
        self.shared
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> Result<()> {
        self.write_at(offset, &mut vec![0; len as usize])
    }

    fn discard(&self, offset: u64, len: u64) -> Result<()> {
        self.discards.lock().unwrap().push((offset, len));
        self.check()
    }

    fn flush(&self) -> Result<()> {
        drop(self.gate.lock().unwrap());
        self.flushes.fetch_add(1, Ordering::SeqCst);
        self.check()
    }

    fn queue(&self) -> Option<Box<dyn DiskQueue + '_>> {
        let ready = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
        let queue = TestQueue { disk: self, under_way: Vec::new(), ready, number: 1 };
        self.deep.then(|| Box::new(queue) as Box<dyn DiskQueue>)
    }
}

/// A queue that does requests when it is waited for, in an order that nobody expects. Every seventh it refuses.
struct TestQueue<'d> {
    disk: &'d TestDisk,
    under_way: Vec<(u64, u64, Vec<u8>, bool)>,
    /// Readable while anything is under way.
    ready: OwnedFd,
    number: usize,
}

const DEPTH: usize = 20;

impl TestQueue<'_> {
    fn begin(&mut self, tag: u64, offset: u64, bytes: Vec<u8>, writes: bool) -> Result<()> {
        assert!(!self.is_full() && bytes.len() <= self.most() && bytes.len().is_multiple_of(512));
        self.number += 1;
        if self.number.is_multiple_of(7) {
            return Err(Error::Busy { what: "this".into() });
        }
        self.under_way.push((tag, offset, bytes, writes));
        rustix::io::write(&self.ready, &1u64.to_ne_bytes()).unwrap();
        Ok(())
    }
}

impl DiskQueue for TestQueue<'_> {
    fn most(&self) -> usize {
        4096
    }

    fn is_full(&self) -> bool {
        self.under_way.len() == DEPTH
    }

    fn read(&mut self, offset: u64, len: usize, tag: u64) -> Result<()> {
        self.begin(tag, offset, vec![0; len], false)
    }

    fn write(&mut self, offset: u64, len: usize, tag: u64, fill: &mut dyn FnMut(&mut [u8])) -> Result<()> {
        let mut bytes = vec![0; len];
        fill(&mut bytes);
        self.begin(tag, offset, bytes, true)
    }

    fn wait(&mut self, least: usize, each: &mut dyn FnMut(u64, Result<&[u8]>)) -> Result<usize> {
        self.number += 1;
        let count = least.max(self.number % 3).min(self.under_way.len());
        for _ in 0..count {
            self.number += 1;
            let (tag, offset, mut bytes, writes) = self.under_way.swap_remove(self.number % self.under_way.len());
            let done = if writes {
                Disk::write_at(self.disk, offset, &mut bytes)
            } else {
                Disk::read_at(self.disk, offset, &mut bytes)
            };
            each(tag, done.map(|()| if writes { &[][..] } else { &bytes }));
        }
        if self.under_way.is_empty() {
            let _ = rustix::io::read(&self.ready, &mut [0; 8]);
        }
        Ok(count)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.ready.as_fd())
    }
}

pub fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i as u8).wrapping_mul(31) ^ (i >> 8) as u8 ^ seed).collect()
}
