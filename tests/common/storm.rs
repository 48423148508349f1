//! A storm of writes to a device whose server is killed, cut off or slow, with a model of what each block may hold.
//!
//! What is known of a block: an acknowledged write is what it reads as from then on; a write that failed may have happened, and
//! may still; and what was acknowledged before a sync began is there after any fault once that sync was acknowledged.

#![allow(dead_code)] // each test file uses its part

use std::collections::VecDeque;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use atrest::BlockDevice;

/// What each block is made of. A stamp lies in each sector, so that a torn block is seen.
pub const BLOCK: usize = 4096;
const SECTOR: usize = 512;

/// The content of a block that was written as number `stamp`; zeros for 0, as a new device has.
pub fn content(block: u64, stamp: u64) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK];
    if stamp > 0 {
        for (index, sector) in bytes.chunks_exact_mut(SECTOR).enumerate() {
            sector.fill((block ^ stamp ^ index as u64) as u8 | 1);
            sector[..8].copy_from_slice(&stamp.to_le_bytes());
            sector[8..16].copy_from_slice(&block.to_le_bytes());
        }
    }
    bytes
}

/// The stamp of each sector of a block, if it is one of the sectors that [`content`] makes.
fn stamps(block: u64, bytes: &[u8]) -> Result<Vec<u64>, String> {
    let sectors = bytes.chunks_exact(SECTOR).enumerate();
    let stamp = |(index, sector): (usize, &[u8])| {
        let stamp = u64::from_le_bytes(sector[..8].try_into().unwrap());
        let expected = &content(block, stamp)[index * SECTOR..(index + 1) * SECTOR];
        if sector == expected { Ok(stamp) } else { Err(format!("block {block} has bytes that nobody wrote")) }
    };
    sectors.map(stamp).collect()
}

/// A write to a block.
#[derive(Clone, Copy, Debug)]
struct Written {
    stamp: u64,
    acknowledged: bool,
}

/// What a block may hold: the oldest is what was durable last.
#[derive(Debug)]
struct Block {
    may_be: VecDeque<Written>,
}

impl Block {
    /// The place of the last acknowledged write; what is before was overwritten, unless a crash takes it back.
    fn acknowledged(&self) -> usize {
        self.may_be.iter().rposition(|written| written.acknowledged).unwrap_or(0)
    }
}

/// The model: one for each device.
pub struct Model {
    blocks: Vec<Mutex<Block>>,
    last: AtomicUsize,
    pub acknowledged: AtomicUsize,
    pub failed: AtomicUsize,
    pub synced: AtomicUsize,
}

impl Model {
    /// A device of so many blocks of zeros.
    pub fn new(blocks: u64) -> Self {
        let block = || Mutex::new(Block { may_be: VecDeque::from([Written { stamp: 0, acknowledged: true }]) });
        Model {
            blocks: (0..blocks).map(|_| block()).collect(),
            last: AtomicUsize::new(0),
            acknowledged: AtomicUsize::new(0),
            failed: AtomicUsize::new(0),
            synced: AtomicUsize::new(0),
        }
    }

    /// Writes a block. Nobody else may write it meanwhile.
    pub fn write(&self, device: &dyn BlockDevice, block: u64) -> io::Result<()> {
        let stamp = self.last.fetch_add(1, SeqCst) as u64 + 1;
        let result = device.write_at(block * BLOCK as u64, &content(block, stamp));
        let count = if result.is_ok() { &self.acknowledged } else { &self.failed };
        count.fetch_add(1, SeqCst);
        let mut held = self.blocks[block as usize].lock().unwrap();
        held.may_be.push_back(Written { stamp, acknowledged: result.is_ok() });
        result
    }

    /// Syncs the device. What was acknowledged before is durable then.
    pub fn sync(&self, device: &dyn BlockDevice) -> io::Result<()> {
        // Those that fail later, or are acknowledged later, may be before it or after it.
        let acknowledged: Vec<_> = self
            .blocks
            .iter()
            .map(|block| {
                let block = block.lock().unwrap();
                block.may_be[block.acknowledged()].stamp
            })
            .collect();
        device.sync()?;
        self.synced.fetch_add(1, SeqCst);
        for (block, stamp) in self.blocks.iter().zip(acknowledged) {
            let may_be = &mut block.lock().unwrap().may_be;
            if let Some(at) = may_be.iter().position(|written| written.stamp == stamp) {
                // A write that failed, and that the server does only now, was begun before: it stays possible for ever.
                let unknown: Vec<_> = may_be.drain(..at).filter(|written| !written.acknowledged).collect();
                unknown.into_iter().rev().for_each(|written| may_be.push_front(written));
            }
        }
        Ok(())
    }

    /// Compares the device with what it may hold: while it was in use all the time (`after_loss` is false), each block is what
    /// was acknowledged last, or what has failed since; after a server was lost with what it had in memory, anything since
    /// the last sync.
    ///
    /// `unit` is how many bytes of a write are there together or not at all, whatever happens; a multiple of 512.
    pub fn check(&self, device: &dyn BlockDevice, after_loss: bool, unit: usize) -> Result<(), String> {
        for (number, block) in self.blocks.iter().enumerate() {
            let mut bytes = vec![0; BLOCK];
            device.read_at((number * BLOCK) as u64, &mut bytes).map_err(|e| format!("block {number}: {e}"))?;
            let block = block.lock().unwrap();
            let since = if after_loss { 0 } else { block.acknowledged() };
            let possible = |stamp: &u64| {
                let at = block.may_be.iter().position(|written| written.stamp == *stamp);
                at.is_some_and(|at| at >= since || !block.may_be[at].acknowledged)
            };
            let stamps = stamps(number as u64, &bytes)?;
            let torn = stamps.chunks(unit / SECTOR).any(|unit| unit.iter().any(|stamp| stamp != &unit[0]));
            if torn || !stamps.iter().all(possible) {
                return Err(format!("block {number} holds {stamps:?}, and may be {:?}", block.may_be));
            }
        }
        Ok(())
    }

    /// After a check, what the device holds is what it goes on from: reads what every block is, which then is what was written.
    pub fn settle(&self, device: &dyn BlockDevice) {
        for (number, block) in self.blocks.iter().enumerate() {
            let mut bytes = vec![0; BLOCK];
            device.read_at((number * BLOCK) as u64, &mut bytes).unwrap();
            let stamps = stamps(number as u64, &bytes).unwrap();
            if stamps.iter().all(|stamp| *stamp == stamps[0]) {
                block.lock().unwrap().may_be = VecDeque::from([Written { stamp: stamps[0], acknowledged: true }]);
            }
        }
    }
}

/// Writes from several threads until `until`, each to blocks of its own, with a sync now and then. Failed calls are counted
/// and are not the end. Returns how long the longest call took, which the device's deadline bounds.
pub fn storm(
    model: &Model,
    device: &dyn BlockDevice,
    threads: u64,
    seed: u64,
    until: impl Fn() -> bool + Sync,
) -> Duration {
    let blocks = model.blocks.len() as u64;
    let longest = Mutex::new(Duration::ZERO);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (longest, until) = (&longest, &until);
            scope.spawn(move || {
                let mut noise = (seed << 8 | thread << 1 | 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                while !until() {
                    noise ^= noise << 13;
                    noise ^= noise >> 7;
                    noise ^= noise << 17;
                    let began = Instant::now();
                    if noise.is_multiple_of(16) {
                        let _ = model.sync(device);
                    } else {
                        let own = noise / 16 % (blocks / threads) * threads + thread;
                        let _ = model.write(device, own);
                    }
                    let mut longest = longest.lock().unwrap();
                    *longest = began.elapsed().max(*longest);
                }
            });
        }
    });
    longest.into_inner().unwrap()
}
