//! Large requests of one queue, which several threads do.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::thread::ThreadId;
use std::time::Duration;

use atrest::{Error, Result};
use atrest_host::{Disk, Serve as _, Served, VhostUser};
use tempfile::TempDir;

use super::disk::{SIZE, TestDisk, pattern};
use super::load::{Shape, run};
use super::machine::*;
use super::{FLUSH, IN, OUT};

/// The bytes of each request, and how many there are.
const LEN: usize = 256 << 10;
const COUNT: u16 = 4;

/// A test disk whose requests tell when they begin, and end when they may.
struct Watched {
    disk: TestDisk,
    /// The thread of each request, with the request's offset.
    threads: Mutex<Vec<(ThreadId, u64)>>,
    /// Requests that began, those that may end, and those that did.
    begun: AtomicUsize,
    may_end: Mutex<usize>,
    changed: Condvar,
    ended: AtomicUsize,
    /// How many had ended when it was flushed.
    ended_at_flush: Mutex<Vec<usize>>,
    /// The offset of a request that fails, and whether it does so by a panic.
    bad: Mutex<Option<(u64, bool)>>,
}

impl Watched {
    fn new(may_end: usize) -> Arc<Self> {
        Arc::new(Watched {
            disk: TestDisk::new(),
            threads: Mutex::default(),
            begun: AtomicUsize::new(0),
            may_end: Mutex::new(may_end),
            changed: Condvar::new(),
            ended: AtomicUsize::new(0),
            ended_at_flush: Mutex::default(),
            bad: Mutex::default(),
        })
    }

    fn open(&self) {
        *self.may_end.lock().unwrap() = usize::MAX;
        self.changed.notify_all();
    }

    fn pass(&self, offset: u64) -> Result<()> {
        self.threads.lock().unwrap().push((std::thread::current().id(), offset));
        self.begun.fetch_add(1, Ordering::SeqCst);
        let mut may_end = self.changed.wait_while(self.may_end.lock().unwrap(), |left| *left == 0).unwrap();
        *may_end -= 1;
        drop(may_end);
        let bad = *self.bad.lock().unwrap();
        match bad {
            Some((at, true)) if at == offset => panic!("a disk that panics, as this test wants"),
            Some((at, _)) if at == offset => {
                Err(Error::Io { what: "this".into(), source: std::io::ErrorKind::Other.into() })
            }
            _ => Ok(()),
        }
    }

    /// How many threads did something.
    fn threads(&self) -> usize {
        self.threads.lock().unwrap().iter().map(|(thread, _)| thread).collect::<HashSet<_>>().len()
    }

    /// Waits until that many have begun.
    fn wait_for(&self, begun: usize) {
        let since = std::time::Instant::now();
        while self.begun.load(Ordering::SeqCst) < begun {
            assert!(since.elapsed() < Duration::from_secs(20), "{} began", self.begun.load(Ordering::SeqCst));
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Disk for Watched {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn sector_size(&self) -> u32 {
        self.disk.sector_size()
    }

    fn read_at(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        self.pass(offset)?;
        self.disk.read_at(offset, sectors)?;
        self.ended.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn write_at(&self, offset: u64, sectors: &mut [u8]) -> Result<()> {
        self.pass(offset)?;
        self.disk.write_at(offset, sectors)?;
        self.ended.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn takes_shared_memory(&self) -> bool {
        true
    }

    fn write_zeroes(&self, offset: u64, len: u64) -> Result<()> {
        self.disk.write_zeroes(offset, len)
    }

    fn flush(&self) -> Result<()> {
        self.ended_at_flush.lock().unwrap().push(self.ended.load(Ordering::SeqCst));
        self.disk.flush()
    }
}

fn serve(disk: Arc<dyn Disk>, helpers: usize) -> (Machine, Served, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("disk.sock");
    let served = VhostUser::new(&socket).queues(2).helpers(helpers).serve(disk, "a-disk").unwrap();
    (Machine::boot(&socket), served, folder)
}

const fn header(slot: u16) -> u64 {
    HEADER + 64 * slot as u64
}

const fn status(slot: u16) -> u64 {
    header(slot) + 32
}

const fn data(slot: u16) -> u64 {
    DATA + slot as u64 * LEN as u64
}

/// Puts a request for the `slot`-th quarter of the disk, whose first descriptor it returns.
fn put(guest: &Machine, kind: u32, slot: u16) -> u16 {
    let first = 3 * slot;
    let of = if kind == IN { WRITE } else { 0 };
    guest.put_header_at(header(slot), kind, u64::from(slot) * (LEN / 512) as u64);
    let descriptors = [
        (header(slot), 16, NEXT, first + 1),
        (data(slot), LEN as u32, NEXT | of, first + 2),
        (status(slot), 1, WRITE, 0),
    ];
    guest.put(TABLE + 16 * u64::from(first), &descriptors);
    guest.write(status(slot), &[NONE]);
    first
}

/// Puts a flush behind them.
fn put_flush(guest: &Machine) -> u16 {
    let first = 3 * COUNT;
    guest.put_header_at(header(COUNT), FLUSH, 0);
    guest.put(TABLE + 16 * u64::from(first), &[(header(COUNT), 16, NEXT, first + 1), (status(COUNT), 1, WRITE, 0)]);
    guest.write(status(COUNT), &[NONE]);
    first
}

fn statuses(guest: &Machine) -> Vec<u8> {
    (0..COUNT).map(|slot| guest.read(status(slot), 1)[0]).collect()
}

#[test]
fn several_are_done_at_once_and_are_right() {
    let disk = Watched::new(0);
    let (mut guest, _served, _folder) = serve(disk.clone(), 3);
    let heads: Vec<u16> = (0..COUNT).map(|slot| put(&guest, IN, slot)).collect();
    guest.offer(&heads);
    // None of them ends before all have begun.
    disk.wait_for(usize::from(COUNT));
    assert_eq!(statuses(&guest), [NONE; COUNT as usize]);
    assert_eq!(guest.used(), 0);
    disk.open();
    guest.wait();
    assert_eq!(statuses(&guest), [OK; COUNT as usize]);
    let mut back = guest.given_back(0);
    back.sort_unstable();
    assert_eq!(back, heads);
    assert!(guest.read(DATA, LEN * COUNT as usize) == disk.disk.content(0, LEN * COUNT as usize));
    assert_eq!(disk.threads(), usize::from(COUNT));
    assert!(guest.calls() > 0);
    // And written.
    let bytes = pattern(LEN * COUNT as usize, 5);
    guest.write(DATA, &bytes);
    let heads: Vec<u16> = (0..COUNT).map(|slot| put(&guest, OUT, slot)).collect();
    guest.offer(&heads);
    guest.wait();
    assert_eq!(statuses(&guest), [OK; COUNT as usize]);
    assert!(disk.disk.content(0, bytes.len()) == bytes);
}

#[test]
fn lone_ones_and_those_without_helpers_are_done_by_the_thread_of_the_queue() {
    for (helpers, together) in [(3, 1), (0, COUNT)] {
        let disk = Watched::new(usize::MAX);
        let (mut guest, _served, _folder) = serve(disk.clone(), helpers);
        let heads: Vec<u16> = (0..COUNT).map(|slot| put(&guest, IN, slot)).collect();
        for heads in heads.chunks(together.into()) {
            guest.offer(heads);
            guest.wait();
        }
        assert_eq!(statuses(&guest), [OK; COUNT as usize]);
        assert_eq!(disk.threads(), 1, "{helpers} helpers");
    }
}

/// A flush covers all requests that the guest got back before it.
#[test]
fn a_flush_follows_all_writes_that_were_answered() {
    let disk = Watched::new(usize::MAX);
    let (mut guest, _served, _folder) = serve(disk.clone(), 3);
    for round in 1..=50 {
        let heads: Vec<u16> = (0..COUNT).map(|slot| put(&guest, OUT, slot)).collect();
        let seen = guest.used();
        guest.offer(&heads);
        // As soon as some are back, whatever the others do.
        let back = guest.given_back(seen).len();
        let flush = put_flush(&guest);
        guest.offer(&[flush]);
        guest.wait();
        let ended = disk.ended_at_flush.lock().unwrap()[round - 1];
        assert!(ended >= (round - 1) * COUNT as usize + back, "{ended} ended in round {round}, {back} were answered");
        assert_eq!(guest.read(status(COUNT), 1), [OK]);
    }
}

#[test]
fn large_ones_do_not_wait_for_a_flush_behind_them() {
    for large in 1..COUNT {
        let disk = Arc::new(TestDisk::new());
        let (mut guest, _served, _folder) = serve(disk.clone(), 3);
        let gate = disk.gate.lock().unwrap();
        let mut heads: Vec<u16> = (0..large).map(|slot| put(&guest, IN, slot)).collect();
        heads.push(put_flush(&guest));
        guest.offer(&heads);
        let begun = std::time::Instant::now();
        while guest.used() < large {
            assert!(begun.elapsed() < Duration::from_secs(20), "{} of {large} were given back", guest.used());
            std::thread::yield_now();
        }
        assert_eq!(guest.read(status(COUNT), 1), [NONE]);
        drop(gate);
        guest.wait();
        assert_eq!(guest.read(status(COUNT), 1), [OK]);
    }
}

/// The first of the large ones is for the queue's own thread, unless that has something else to do.
#[test]
fn a_large_one_and_small_ones_are_done_at_once() {
    let disk = Watched::new(0);
    let (mut guest, _served, _folder) = serve(disk.clone(), 3);
    let (large, small) = (put(&guest, IN, 0), put(&guest, IN, 1));
    guest.put(TABLE + 16 * u64::from(small + 1), &[(data(1), 512, NEXT | WRITE, small + 2)]);
    guest.offer(&[large, small]);
    disk.wait_for(2);
    assert_eq!(disk.threads(), 2);
    disk.open();
    guest.wait();
    assert_eq!((guest.read(status(0), 1), guest.read(status(1), 1)), (vec![OK], vec![OK]));
}

#[test]
fn one_that_fails_or_panics_fails_alone() {
    for panics in [false, true] {
        let disk = Watched::new(1);
        let (mut guest, _served, _folder) = serve(disk.clone(), 3);
        // A lone one tells which thread is the queue's own. A panic there would end the queue, so it is a helper that has the bad one.
        assert_eq!(guest.request(IN, 0, LEN as u32, true), OK);
        let own = disk.threads.lock().unwrap().pop().unwrap().0;
        let heads: Vec<u16> = (0..COUNT).map(|slot| put(&guest, IN, slot)).collect();
        guest.offer(&heads);
        disk.wait_for(1 + usize::from(COUNT));
        let bad = disk.threads.lock().unwrap().iter().find(|(thread, _)| *thread != own).unwrap().1;
        *disk.bad.lock().unwrap() = Some((bad, panics));
        disk.open();
        guest.wait();
        let mut expected = [OK; COUNT as usize];
        expected[bad as usize / LEN] = IO_ERROR;
        assert_eq!(statuses(&guest), expected, "panics: {panics}");
        *disk.bad.lock().unwrap() = None;
        assert_eq!(guest.request(IN, 0, LEN as u32, true), OK);
    }
}

#[test]
fn stopping_waits_for_all_that_were_taken() {
    let disk = Watched::new(0);
    let (mut guest, served, _folder) = serve(disk.clone(), 1);
    let heads: Vec<u16> = (0..COUNT).map(|slot| put(&guest, IN, slot)).collect();
    guest.offer(&heads);
    // Two are being done, the others wait.
    disk.wait_for(2);
    let stopped = Arc::new((AtomicBool::new(false), Barrier::new(2)));
    let told = stopped.clone();
    let thread = std::thread::spawn(move || {
        told.1.wait();
        served.stop();
        told.0.store(true, Ordering::SeqCst);
    });
    stopped.1.wait();
    std::thread::sleep(Duration::from_millis(50));
    assert!(!stopped.0.load(Ordering::SeqCst), "it stopped while requests were under way");
    disk.open();
    thread.join().unwrap();
    // The returned requests are right; the guest's memory isn't used any more.
    assert_eq!(statuses(&guest), [OK; COUNT as usize]);
    assert_eq!((guest.used(), disk.ended.load(Ordering::SeqCst)), (COUNT, usize::from(COUNT)));
    assert_eq!(Arc::strong_count(&disk), 1, "a thread has outlived its server");
}

#[test]
fn a_load_of_all_sizes_is_as_the_model_says() {
    // Some are large, and some are not.
    let shape = Shape { sector: 512, depth: 8, most: 384 << 10 };
    for (helpers, seed) in [(1, 1), (3, 2), (64, 3)] {
        let disk = Arc::new(TestDisk::new());
        let mut model = disk.content(0, SIZE);
        let (mut guest, _served, _folder) = serve(disk.clone(), helpers);
        assert_eq!(run(&mut guest, &mut model, shape, 300, seed), 0);
        assert!(disk.content(0, SIZE) == model);
    }
}
