//! Reads and writes of other threads while a volume is re-encrypted, against a model of what each has written.

use std::io::{self, IoSlice, IoSliceMut};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use crate::common::SetOnDrop;
use crate::common::device::{Call, TestDevice};
use crate::common::reencryption::{Case, Disks, Keys, content, finish, noise};
use crate::common::volumes::{DATA, shared};
use atrest::volume::Resilience;
use atrest::{BlockDevice, Error, MemoryDevice, OpenOptions, Volume};

const SIZE: usize = 1 << 20;
const WRITERS: usize = 3;
/// A stripe belongs to one writer. Zones end within them.
const STRIPE: usize = 20 << 10;
const PLAIN: Case = Case { old: 512, new: 512, resilience: Resilience::Checksum, detached: false };

/// Reads and writes in the stripes of one writer, in all ways, until told to stop. `model` is the whole volume, of which only
/// these stripes are right.
fn work(volume: &Volume<Arc<TestDevice>>, unit: usize, writer: usize, model: &mut [u8], stop: &AtomicBool) -> usize {
    let mut rounds = 0;
    while !stop.load(SeqCst) {
        let dice = noise(16, (rounds * WRITERS + writer) as u64);
        let dice: Vec<usize> = dice.chunks(2).map(|two| usize::from(two[0]) + 256 * usize::from(two[1])).collect();
        let stripes = SIZE / STRIPE;
        let stripe = dice[0] % (stripes / WRITERS) * WRITERS + writer;
        let sectors = STRIPE / unit;
        let len = 1 + dice[1] % 3.min(sectors);
        let first = dice[2] % (sectors + 1 - len);
        let (offset, len) = (stripe * STRIPE + first * unit, len * unit);
        let mine = &mut model[offset..offset + len];
        let bytes = noise(len, (rounds * 7 + writer) as u64);
        let (at, cut) = (offset as u64, dice[3] % (len / unit + 1) * unit);
        match dice[4] % 6 {
            0 => volume.write_at(at, &bytes).unwrap(),
            1 => volume.write_in_place(at, &mut bytes.clone()).unwrap(),
            2 => {
                let parts = [IoSlice::new(&bytes[..cut]), IoSlice::new(&bytes[cut..])];
                volume.write_vectored_at(at, &parts).unwrap();
            }
            3 => {
                let mut read = vec![0; len];
                volume.read_at(at, &mut read).unwrap();
                assert!(read == mine, "{len} bytes at {offset}");
            }
            4 => {
                let mut read = vec![0; len];
                let (a, b) = read.split_at_mut(cut);
                volume.read_vectored_at(at, &mut [IoSliceMut::new(a), IoSliceMut::new(b)]).unwrap();
                assert!(read == mine, "{len} bytes at {offset}, in two pieces");
            }
            _ => {
                assert!(matches!(volume.begin_write(at, &mut bytes.clone()), Err(Error::Busy { .. })));
                assert!(matches!(volume.begin_read(at, len), Err(Error::Busy { .. })));
                if rounds % 16 == 0 {
                    volume.sync().unwrap();
                }
            }
        }
        if dice[4] % 6 < 3 {
            mine.copy_from_slice(&bytes);
        }
        rounds += 1;
    }
    rounds
}

/// Has threads read and write while `act` is done.
fn meanwhile(volume: &Volume<Arc<TestDevice>>, unit: usize, model: &mut [u8], act: impl FnOnce()) -> usize {
    let stop = AtomicBool::new(false);
    let models: Vec<(Vec<u8>, usize)> = thread::scope(|scope| {
        let stop = &stop;
        let _stops = SetOnDrop(stop);
        let one = |writer| {
            let mut model = model.to_vec();
            scope.spawn(move || {
                let rounds = work(volume, unit, writer, &mut model, stop);
                (model, rounds)
            })
        };
        let threads: Vec<_> = (0..WRITERS).map(one).collect();
        // Reads of everything, over all that is closed and open.
        let reader = scope.spawn(|| {
            let mut bytes = vec![0; SIZE];
            while !stop.load(SeqCst) {
                volume.read_at(0, &mut bytes).unwrap();
            }
        });
        act();
        stop.store(true, SeqCst);
        reader.join().unwrap();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (at, stripe) in model.chunks_mut(STRIPE).enumerate() {
        let from = at * STRIPE;
        stripe.copy_from_slice(&models[at % WRITERS].0[from..from + stripe.len()]);
    }
    models.iter().map(|(_, rounds)| rounds).sum()
}

#[test]
fn threads_read_and_write_while_all_is_moved() {
    let mut rounds = 0;
    for (i, (old, new)) in [(512, 512), (512, 4096), (4096, 1024), (2048, 2048)].into_iter().enumerate() {
        let resilience = if i % 2 == 0 { Resilience::Checksum } else { Resilience::Journal };
        let case = Case { old, new, resilience, detached: i % 2 == 1 };
        let (keys, disks) = (Keys::vaults(), case.disks(SIZE));
        let mut volume = disks.format(keys.protector(0), case.format_options());
        let mut model = noise(SIZE, i as u64);
        volume.write_at(0, &model).unwrap();
        volume.begin_reencryption(&[keys.protector(1)], &case.options()).unwrap();
        // Half of it; the other half after it was opened again.
        for part in [SIZE as u64 / 2, SIZE as u64 - 1] {
            rounds += meanwhile(&volume, case.unit(), &mut model, || {
                while volume.reencryption().is_some_and(|progress| progress.done < part.min(SIZE as u64 - (64 << 10))) {
                    volume.reencrypt_step(50_000).unwrap();
                }
            });
            assert!(content(&volume) == model, "{case:?}");
            drop(volume);
            disks.data.take_log();
            volume = disks.open(keys.credential(1)).unwrap();
            assert!(content(&volume) == model, "{case:?}");
        }
        finish(&volume, 50_000);
        drop(volume);
        assert!(content(&disks.open(keys.credential(1)).unwrap()) == model, "{case:?}");
    }
    println!("{rounds} reads and writes meanwhile");
    assert!(rounds > 100, "{rounds}");
}

/// Blocks the writes of a range of the device until they may go on.
struct Gate {
    device: MemoryDevice,
    range: Mutex<Option<std::ops::Range<u64>>>,
    opened: Condvar,
    waiting: AtomicUsize,
    /// What its writes do when the gate opens.
    then: Mutex<Option<&'static str>>,
}

impl Gate {
    fn open(&self) {
        *self.range.lock().unwrap() = None;
        self.opened.notify_all();
    }
}

impl BlockDevice for Gate {
    fn size(&self) -> io::Result<u64> {
        self.device.size()
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.device.read_at(offset, bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut range = self.range.lock().unwrap();
        if range.as_ref().is_some_and(|range| range.contains(&offset)) {
            self.waiting.fetch_add(1, SeqCst);
            while range.is_some() {
                range = self.opened.wait(range).unwrap();
            }
            drop(range);
            match *self.then.lock().unwrap() {
                Some("fails") => return Err(io::Error::other("a write that was to fail")),
                Some(text) => std::panic::panic_any(text),
                None => {}
            }
        }
        self.device.write_at(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.device.sync()
    }
}

/// A volume whose second zone of 16 KiB is being rewritten, which `act` may end by opening the gate. Also returns how the
/// step ended.
fn in_a_zone(
    then: Option<&'static str>,
    act: impl FnOnce(&Arc<Gate>, &Volume<Arc<Gate>>),
) -> (Volume<Arc<Gate>>, Vec<u8>, thread::Result<atrest::Result<bool>>) {
    let (keys, plain) = (Keys::vaults(), noise(SIZE, 9));
    let disks = PLAIN.disks(SIZE);
    let volume = disks.format(keys.protector(0), PLAIN.format_options());
    volume.write_at(0, &plain).unwrap();
    drop(volume);
    let gate = Arc::new(Gate {
        device: MemoryDevice::from_bytes(disks.data.bytes()),
        range: Mutex::default(),
        opened: Condvar::new(),
        waiting: AtomicUsize::new(0),
        then: Mutex::new(then),
    });
    let volume = Volume::open(gate.clone(), keys.credential(0), &OpenOptions::new()).unwrap();
    volume.begin_reencryption(&[keys.protector(1)], &PLAIN.options()).unwrap();
    volume.reencrypt_step(16 << 10).unwrap();
    *gate.range.lock().unwrap() = Some(DATA as u64..(DATA + SIZE) as u64);
    let ended = thread::scope(|scope| {
        let step = scope.spawn(|| volume.reencrypt_step(16 << 10).map(|progress| progress.is_finished()));
        let begun = Instant::now();
        while gate.waiting.load(SeqCst) == 0 && begun.elapsed() < Duration::from_secs(60) {
            sleep(Duration::from_millis(1));
        }
        // Only the zone is behind the gate from now on.
        *gate.range.lock().unwrap() = Some(DATA as u64 + (16 << 10)..DATA as u64 + (32 << 10));
        act(&gate, &volume);
        step.join()
    });
    (volume, plain, ended)
}

#[test]
fn only_who_wants_the_zone_waits() {
    let (volume, mut plain, ended) = in_a_zone(None, |gate, volume| {
        let zone = 16 << 10..32 << 10;
        let mut sector = [0; 512];
        for at in (0..SIZE as u64).step_by(512).filter(|at| !zone.contains(at)) {
            volume.read_at(at, &mut sector).unwrap();
            volume.write_at(at, &[(at >> 9) as u8; 512]).unwrap();
        }
        let progress = volume.reencryption().unwrap();
        assert_eq!((progress.done, progress.total), (16 << 10, SIZE as u64));
        assert!(volume.fingerprint().is_ok() && volume.size() == SIZE as u64);
        let done = AtomicUsize::new(0);
        thread::scope(|scope| {
            // The first and the last sector of the zone, and the end of the part before it with its beginning.
            for (at, len) in [(16 << 10, 512), (32 << 10, 0), (31 << 10, 1024), (15 << 10, 2048)] {
                let (done, volume) = (&done, &volume);
                scope.spawn(move || {
                    volume.read_at(at, &mut vec![0; len]).unwrap();
                    done.fetch_add(1, SeqCst);
                });
            }
            scope.spawn(|| {
                volume.write_at(20 << 10, &[0xEE; 512]).unwrap();
                done.fetch_add(1, SeqCst);
            });
            let begun = Instant::now();
            while done.load(SeqCst) == 0 && begun.elapsed() < Duration::from_secs(60) {
                sleep(Duration::from_millis(1));
            }
            sleep(Duration::from_millis(100));
            assert_eq!(done.load(SeqCst), 1, "only the empty read ends");
            gate.open();
        });
        assert_eq!(done.load(SeqCst), 5);
    });
    assert!(!ended.unwrap().unwrap());
    for at in (0..SIZE).step_by(512).filter(|at| !(16 << 10..32 << 10).contains(at)) {
        plain[at..at + 512].fill((at >> 9) as u8);
    }
    plain[20 << 10..][..512].fill(0xEE);
    assert!(content(&volume) == plain);
    finish(&volume, 1 << 20);
    assert!(content(&volume) == plain);
}

#[test]
fn who_waits_for_a_zone_that_fails_hears_of_it() {
    // A device that panics is as bad as one that fails: nobody waits for ever.
    for then in ["fails", "panics"] {
        let (volume, plain, ended) = in_a_zone(Some(then), |gate, volume| {
            thread::scope(|scope| {
                let reads = [16 << 10, 31 << 10].map(|at| scope.spawn(move || volume.read_at(at, &mut [0; 1024])));
                let write = scope.spawn(|| volume.write_at(20 << 10, &[0xEE; 512]));
                sleep(Duration::from_millis(50));
                gate.open();
                for ended in reads.into_iter().chain([write]) {
                    let ended = ended.join().unwrap();
                    assert!(matches!(ended, Err(Error::Busy { .. })), "{then}: {ended:?}");
                }
            });
        });
        assert!(!matches!(ended, Ok(Ok(_))), "{then}: {ended:?}");
        let mut sector = [0; 512];
        assert!(matches!(volume.read_at(16 << 10, &mut sector), Err(Error::Busy { .. })));
        volume.read_at(0, &mut sector).unwrap();
        assert_eq!(sector, plain[..512]);
        volume.write_at(0, &sector).unwrap();
        // The next step rewrites it, and opens it.
        volume.reencrypt_step(1).unwrap();
        assert!(content(&volume) == plain, "{then}");
        finish(&volume, 1 << 20);
        assert!(content(&volume) == plain, "{then}");
    }
}

#[test]
fn two_threads_that_step_share_the_work() {
    let (keys, disks, plain) = (Keys::vaults(), PLAIN.disks(SIZE), noise(SIZE, 1));
    let volume = disks.format(keys.protector(0), PLAIN.format_options());
    volume.write_at(0, &plain).unwrap();
    thread::scope(|scope| {
        // One of them begins; who comes too late is told so.
        let begin = || volume.begin_reencryption(&[keys.protector(1)], &PLAIN.options());
        let begun = [scope.spawn(begin), scope.spawn(begin)].map(|thread| thread.join().unwrap());
        assert_eq!(begun.iter().filter(|begun| begun.is_ok()).count(), 1);
        assert!(begun.iter().any(|begun| matches!(begun, Err(Error::Busy { .. }))), "{begun:?}");
    });
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| while !volume.reencrypt_step(64 << 10).unwrap().is_finished() {});
        }
        scope.spawn(|| {
            while volume.reencryption().is_some() {
                volume.record_size().unwrap();
                volume.header();
            }
        });
    });
    assert!(content(&volume) == plain);
    let again: Disks = disks.copy();
    assert!(content(&again.open(keys.credential(1)).unwrap()) == plain);
}

#[test]
fn a_fault_while_threads_write_loses_nothing_of_what_they_wrote() {
    let (keys, disks) = (Keys::vaults(), PLAIN.disks(SIZE));
    let volume = disks.format(keys.protector(0), PLAIN.format_options());
    let mut model = noise(SIZE, 2);
    volume.write_at(0, &model).unwrap();
    volume.begin_reencryption(&[keys.protector(1)], &PLAIN.options()).unwrap();
    let (mut steps, mut failed) = (0, 0);
    while volume.reencryption().is_some() {
        // Others don't read or write while a call of a step is to fail.
        disks.data.fail([Call::Write, Call::Sync][steps % 2], steps * 3 % 11, false);
        failed += usize::from(volume.reencrypt_step(64 << 10).is_err());
        disks.data.heal();
        let Ok(progress) = volume.reencrypt_step(1) else { panic!("a step that was repeated failed") };
        if !progress.is_finished() {
            meanwhile(&volume, 512, &mut model, || sleep(Duration::from_millis(5)));
        }
        steps += 1;
    }
    assert!(failed > 5, "{failed} of {steps}");
    assert!(content(&volume) == model);
    let other = shared(disks.data.bytes());
    let again = Disks { header: other.clone(), data: other };
    assert!(content(&again.open(keys.credential(1)).unwrap()) == model);
}
