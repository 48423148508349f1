//! A device that logs operations, fails on demand, and computes the images that a crash could leave.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread::sleep;
use std::time::{Duration, Instant};

use atrest::{BlockDevice, Error, Result};

/// Opens a file that was closed a moment ago. If another test is starting a process, that process also holds the file's
/// lock until its exec.
pub fn reopen<T>(open: impl Fn() -> Result<T>) -> Result<T> {
    let began = Instant::now();
    loop {
        match open() {
            Err(Error::Busy { .. }) if began.elapsed() < Duration::from_secs(60) => sleep(Duration::from_millis(1)),
            other => return other,
        }
    }
}

/// An operation of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Read,
    Write,
    Sync,
    /// Asking its size, which isn't logged.
    Size,
}

#[derive(Clone, Debug)]
pub enum Op {
    Read { offset: u64, len: usize },
    Write { offset: u64, bytes: Vec<u8> },
    Sync,
}

/// Orders the operations of all devices.
static CLOCK: AtomicUsize = AtomicUsize::new(0);

/// A time after all operations that have ended, and before all that have not begun.
pub fn now() -> usize {
    CLOCK.fetch_add(1, SeqCst)
}

/// A device in memory, under test.
pub struct TestDevice(Mutex<State>);

struct State {
    bytes: Vec<u8>,
    /// The bytes that are surely on stable storage. Kept only while a fault is armed.
    synced: Vec<u8>,
    /// The operations with their times.
    log: Vec<(usize, Op)>,
    /// The call to fail, how many of its kind succeed before, and whether a failed sync loses the unsynced writes.
    fault: Option<(Call, usize, bool)>,
    /// What a write that fails half-way writes whole or not at all.
    atom: usize,
}

impl TestDevice {
    pub fn new(bytes: Vec<u8>) -> Self {
        TestDevice(Mutex::new(State { bytes, synced: Vec::new(), log: Vec::new(), fault: None, atom: 1 }))
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().bytes.clone()
    }

    pub fn edit(&self, edit: impl FnOnce(&mut [u8])) {
        edit(&mut self.0.lock().unwrap().bytes);
    }

    /// The operations since the last call.
    pub fn take_log(&self) -> Vec<Op> {
        self.take_timed_log().into_iter().map(|(_, op)| op).collect()
    }

    /// As [`take_log`](Self::take_log), with the times of the operations.
    pub fn take_timed_log(&self) -> Vec<(usize, Op)> {
        std::mem::take(&mut self.0.lock().unwrap().log)
    }

    pub fn log_len(&self) -> usize {
        self.0.lock().unwrap().log.len()
    }

    /// Makes one call fail after `before` calls of its kind: a write fails half-way.
    pub fn fail(&self, call: Call, before: usize, lose: bool) {
        let mut state = self.0.lock().unwrap();
        state.fault = Some((call, before, lose));
        state.synced = state.bytes.clone();
    }

    /// Has a write that fails write whole parts of so many bytes.
    pub fn set_atom(&self, atom: usize) {
        self.0.lock().unwrap().atom = atom;
    }

    /// Disarms the fault, and returns whether it was still armed.
    pub fn heal(&self) -> bool {
        self.0.lock().unwrap().fault.take().is_some()
    }
}

impl State {
    fn fails(&mut self, call: Call) -> bool {
        match &mut self.fault {
            Some((kind, 0, _)) if *kind == call => true,
            Some((kind, before, _)) if *kind == call => {
                *before -= 1;
                false
            }
            _ => false,
        }
    }
}

impl BlockDevice for TestDevice {
    fn size(&self) -> io::Result<u64> {
        let mut state = self.0.lock().unwrap();
        if state.fails(Call::Size) {
            state.fault = None;
            return Err(io::Error::other("a question for the size that was to fail"));
        }
        Ok(state.bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.log.push((now(), Op::Read { offset, len: bytes.len() }));
        if state.fails(Call::Read) {
            state.fault = None;
            return Err(io::Error::other("a read that was to fail"));
        }
        let range = offset as usize..offset as usize + bytes.len();
        bytes.copy_from_slice(state.bytes.get(range).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        let fails = state.fails(Call::Write);
        let bytes = if fails { &bytes[..bytes.len() / 2 / state.atom * state.atom] } else { bytes };
        state.log.push((now(), Op::Write { offset, bytes: bytes.to_vec() }));
        let range = offset as usize..offset as usize + bytes.len();
        state.bytes.get_mut(range).ok_or(io::ErrorKind::WriteZero)?.copy_from_slice(bytes);
        if fails {
            state.fault = None;
            return Err(io::Error::other("a write that was to fail"));
        }
        Ok(())
    }

    /// What was discarded is worth nothing afterwards.
    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        let range = offset as usize..(offset + len) as usize;
        self.0.lock().unwrap().bytes.get_mut(range).ok_or(io::ErrorKind::WriteZero)?.fill(0xDD);
        Ok(())
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        if state.fails(Call::Size) {
            state.fault = None;
            return Err(io::Error::other("a new size that was to fail"));
        }
        state.bytes.resize(size as usize, 0);
        state.synced.resize(size as usize, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.log.push((now(), Op::Sync));
        if state.fails(Call::Sync) {
            if state.fault.take().is_some_and(|(.., lose)| lose) {
                state.bytes = state.synced.clone();
            }
            return Err(io::Error::other("a sync that was to fail"));
        }
        if state.fault.is_some() {
            state.synced = state.bytes.clone();
        }
        Ok(())
    }
}

const SECTOR: usize = 512;

/// Calls `check` with every image that a crash during `log` could leave of a device with the content `before`. After
/// each write, any sector written since the last sync may be there or not (all writes torn at one place, all but one
/// sector, only one sector, and some random subsets). `places` limits how many single sectors of a write are tried.
/// Returns the number of images.
pub fn crash_images(before: &[u8], log: &[Op], places: usize, mut check: impl FnMut(&str, Vec<u8>)) -> usize {
    crash_images_at(before, log, places, |_, what, image| check(what, image))
}

/// As [`crash_images`]. `check` also gets the index of the operation in the log that crashed, or of the last sync.
pub fn crash_images_at(before: &[u8], log: &[Op], places: usize, mut check: impl FnMut(usize, &str, Vec<u8>)) -> usize {
    let (mut count, at) = (0, core::cell::Cell::new(0));
    let mut emit = |what: String, image: Vec<u8>| {
        count += 1;
        check(at.get(), &what, image);
    };
    let mut stable = before.to_vec();
    let mut pending: Vec<(usize, Vec<u8>)> = Vec::new();
    emit("before all".into(), stable.clone());
    for (i, op) in log.iter().enumerate() {
        at.set(i);
        match op {
            Op::Read { .. } => continue,
            Op::Sync => {
                put(&mut stable, &pending);
                pending.clear();
                emit(format!("after the sync {i}"), stable.clone());
                continue;
            }
            Op::Write { offset, bytes } => {
                let sectors = bytes.chunks(SECTOR).enumerate();
                pending.extend(sectors.map(|(k, bytes)| (*offset as usize + k * SECTOR, bytes.to_vec())));
            }
        }
        for (variant, kept) in subsets(pending.len(), places, i as u64) {
            let mut image = stable.clone();
            for (sector, _) in pending.iter().zip(&kept).filter(|(_, kept)| **kept) {
                put(&mut image, std::slice::from_ref(sector));
            }
            emit(format!("in the write {i}: {variant}"), image);
        }
    }
    count
}

fn put(image: &mut [u8], sectors: &[(usize, Vec<u8>)]) {
    for (offset, bytes) in sectors {
        image[*offset..offset + bytes.len()].copy_from_slice(bytes);
    }
}

/// The sectors of `n` that reached the disk, in many ways.
pub fn subsets(n: usize, places: usize, seed: u64) -> Vec<(String, Vec<bool>)> {
    let step = n.div_ceil(places).max(1);
    let places: Vec<usize> = (0..n).step_by(step).collect();
    let mut subsets = vec![("all lost".into(), vec![false; n]), ("all kept".into(), vec![true; n])];
    for &at in &places {
        subsets.push((format!("torn at {at}"), (0..n).map(|k| k < at).collect()));
        subsets.push((format!("only from {at}"), (0..n).map(|k| k >= at).collect()));
        subsets.push((format!("only {at}"), (0..n).map(|k| k == at).collect()));
        subsets.push((format!("all but {at}"), (0..n).map(|k| k != at).collect()));
    }
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for r in 0..if n > 1 { 8 } else { 0 } {
        let coin = |_| {
            // xorshift64: any noise will do if it is the same each time.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state & 1 == 1
        };
        subsets.push((format!("random {r}"), (0..n).map(coin).collect()));
    }
    subsets
}
