//! Re-encryptions on devices whose reads, writes, syncs and questions for the size fail: each fails in turn. A step that
//! failed is repeated, or the volume is opened again; either way nothing is lost.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use crate::common::device::{Call, TestDevice};
use crate::common::header;
use crate::common::reencryption::{Case, Disks, Keys, content, finish, noise};
use crate::common::volumes::DATA;
use crate::reencrypt_crash::{crashes, survives as survives_crash, take_log};
use atrest::volume::Resilience;
use atrest::{BlockDevice, Error, OpenOptions, Result, Volume};

const SIZE: usize = 32 << 10;
const ZONE: u64 = 16 << 10;

const CASES: [Case; 4] = [
    Case { old: 512, new: 512, resilience: Resilience::Checksum, detached: false },
    Case { old: 4096, new: 512, resilience: Resilience::Journal, detached: true },
    Case { old: 1024, new: 4096, resilience: Resilience::Checksum, detached: true },
    Case { old: 512, new: 2048, resilience: Resilience::Journal, detached: false },
];

/// The calls, whether a failed sync loses what it was to keep, and which of the calls are tried: each one of so many, others
/// in each case. `ATREST_FAULTS` has all tried.
pub const FAULTS: [(Call, bool, usize); 5] = [
    (Call::Read, false, 29),
    (Call::Write, false, 4),
    (Call::Sync, false, 4),
    (Call::Sync, true, 5),
    (Call::Size, false, 5),
];

pub fn stride(of: usize) -> usize {
    if std::env::var_os("ATREST_FAULTS").is_some() { 1 } else { of }
}

type Opened = Volume<Arc<TestDevice>>;

pub fn is_the_fault(error: &Error) -> bool {
    match error {
        Error::Io { source, .. } => source.to_string().contains("was to fail"),
        // Of a keyslot that can't be read, which another might replace.
        Error::UnsupportedHeader(text) => text.contains("was to fail"),
        _ => false,
    }
}

/// All data is there, but for what a failed step has closed.
fn holds(volume: &Opened, plain: &[u8], what: &str) {
    let mut open = 0;
    for (i, wanted) in plain.chunks(4096).enumerate() {
        let mut bytes = vec![0; 4096];
        match volume.read_at(4096 * i as u64, &mut bytes) {
            Ok(()) => {
                assert!(bytes == wanted, "{what}: other data at {}", 4096 * i);
                open += 4096;
            }
            Err(Error::Busy { .. }) => {}
            Err(error) => panic!("{what}: {error:?}"),
        }
    }
    assert!(open >= SIZE - ZONE as usize, "{what}: only {open} bytes are open");
}

/// Re-encrypts on a device that fails once. Afterwards what failed is repeated, or done on a volume that was opened again.
/// Returns whether anything failed.
fn survives(
    case: Case,
    keys: &Keys,
    start: &Disks,
    plain: &[u8],
    fault: (bool, Call, usize, bool),
    again: bool,
) -> bool {
    let (on_data, call, n, lose) = fault;
    let what = format!("{case:?}, {call:?} {n} of {}", if on_data { "the data" } else { "the header" });
    let disks = start.copy();
    disks.data.set_atom(case.atom());
    let mut volume = disks.open(keys.credential(0)).unwrap();
    let device = if on_data { disks.data.clone() } else { disks.header.clone() };
    let begin = |volume: &Opened| volume.begin_reencryption(&[keys.protector(1)], &case.options());
    device.fail(call, n, lose);
    let mut failed = false;
    let mut step = |volume: &mut Opened, act: &dyn Fn(&Opened) -> Result<bool>| match act(volume) {
        Ok(finished) => finished,
        Err(error) => {
            assert!(!failed && is_the_fault(&error), "{what}: {error:?}");
            failed = true;
            holds(volume, plain, &what);
            if again {
                let reopened = [1, 0].map(|which| disks.open(keys.credential(which)));
                *volume =
                    reopened.into_iter().find_map(Result::ok).unwrap_or_else(|| panic!("{what}: it doesn't open"));
                holds(volume, plain, &what);
            }
            act(volume).unwrap_or_else(|e| panic!("{what}: the second time: {e:?}"))
        }
    };
    step(&mut volume, &|volume| match volume.reencryption() {
        Some(_) => Ok(false),
        None => begin(volume).map(|()| false),
    });
    let mut steps = 0;
    while !step(&mut volume, &|volume| Ok(volume.reencrypt_step(ZONE)?.is_finished())) {
        steps += 1;
        assert!(steps < 10, "{what}");
    }
    if device.heal() {
        return false;
    }
    assert!(failed, "{what}: a fault was swallowed");
    assert!(volume.reencryption().is_none(), "{what}");
    assert_eq!(volume.sector_size().bytes(), case.new, "{what}");
    assert!(content(&volume) == plain, "{what}: other data at the end");
    // It is a volume as any other: it is written to, and re-encrypted again.
    volume.write_at(0, &plain[..4096]).unwrap();
    drop(volume);
    assert!(header::is_whole(&disks.header.bytes()), "{what}");
    let volume = disks.open(keys.credential(1)).unwrap_or_else(|e| panic!("{what}: at the end: {e:?}"));
    assert!(content(&volume) == plain, "{what}: other data when it is opened again");
    assert!(disks.open(keys.credential(0)).is_err());
    true
}

#[test]
fn a_fault_of_any_call_loses_nothing() {
    let mut count = 0;
    for (i, case) in CASES.into_iter().enumerate() {
        let keys = if i % 2 == 0 { Keys::vaults() } else { Keys::Passphrases };
        let start = case.disks(SIZE);
        let volume = start.format(keys.protector(0), case.format_options());
        let plain = noise(SIZE, i as u64);
        volume.write_at(0, &plain).unwrap();
        drop(volume);
        for on_data in [true, false].into_iter().filter(|on_data| *on_data || case.detached) {
            for (call, lose, of) in FAULTS {
                let stride = stride(of);
                let mut n = i % stride;
                while survives(case, &keys, &start, &plain, (on_data, call, n, lose), (n + i) % 2 == 1) {
                    n += stride;
                    count += 1;
                }
                let least = if call == Call::Size { 0 } else { 2 };
                assert!(n >= least, "{case:?}: {n} of {call:?}");
            }
        }
    }
    println!("{count} faults survived");
    assert!(count > 100, "{count}");
}

#[test]
fn a_beginning_that_failed_is_repeated_and_that_crashes() {
    // The areas of its keyslots are where those of the first attempt are, which the device may name already.
    let (keys, mut count) = (Keys::Passphrases, 0);
    for case in CASES.into_iter().filter(|case| case.old == 512) {
        let start = case.disks(SIZE);
        let volume = start.format(keys.protector(0), case.format_options());
        volume.write_at(0, &noise(SIZE, 7)).unwrap();
        drop(volume);
        for (call, lose, of) in FAULTS {
            for n in (0..).step_by(stride(of.min(7))) {
                let disks = start.copy();
                let volume = disks.open(keys.credential(0)).unwrap();
                disks.header.fail(call, n, lose);
                let begun = volume.begin_reencryption(&[keys.protector(1)], &case.options());
                if disks.header.heal() {
                    break;
                }
                assert!(is_the_fault(&begun.unwrap_err()));
                // Of a beginning that failed, only what reached the header matters.
                if header::seqid(&disks.header.bytes(), 0) == header::seqid(&start.header.bytes(), 0) {
                    continue;
                }
                let before = disks.copy();
                take_log(&disks);
                volume.begin_reencryption(&[keys.protector(1)], &case.options()).unwrap();
                for crash in crashes(&before, &take_log(&disks), 512, n as u64, 4).0 {
                    let what = format!("{call:?} {n}, then {}", crash.what);
                    let (_, found, _) = survives_crash(case, &keys, &what, &crash.disks);
                    assert!(found == noise(SIZE, 7), "{what}");
                    count += 1;
                }
            }
        }
    }
    println!("{count} crashes after faults survived");
    assert!(count > 10, "{count}");
}

#[test]
fn an_opening_that_fails_in_its_recovery_is_repeated() {
    for (i, case) in CASES.into_iter().enumerate() {
        let keys = if i % 2 == 0 { Keys::Passphrases } else { Keys::vaults() };
        let disks = case.disks(SIZE);
        let volume = disks.format(keys.protector(0), case.format_options());
        let plain = noise(SIZE, i as u64);
        volume.write_at(0, &plain).unwrap();
        volume.begin_reencryption(&[keys.protector(1)], &case.options()).unwrap();
        // The first write of data, half of which is done.
        for n in 0.. {
            disks.data.take_log();
            disks.data.fail(Call::Write, n, false);
            let stepped = volume.reencrypt_step(ZONE);
            let of_data = disks
                .data
                .take_log()
                .iter()
                .any(|op| matches!(op, crate::common::device::Op::Write { offset, .. } if *offset >= DATA as u64));
            assert!(stepped.is_err());
            if of_data {
                break;
            }
        }
        drop(volume);
        for (call, lose, of) in FAULTS {
            for on_data in [true, false] {
                for n in (i % stride(of)..).step_by(stride(of)) {
                    let disks = disks.copy();
                    disks.data.set_atom(case.atom());
                    let device = if on_data { &disks.data } else { &disks.header };
                    device.fail(call, n, lose);
                    let opened = disks.open(keys.credential(1));
                    if device.heal() {
                        assert!(content(&opened.unwrap()) == plain);
                        break;
                    }
                    let error = opened.map(drop).unwrap_err();
                    assert!(is_the_fault(&error), "{case:?} {call:?} {n}: {error:?}");
                    let volume = disks.open(keys.credential(1)).unwrap();
                    assert!(content(&volume) == plain, "{case:?} {call:?} {n}");
                    if n % 8 == 0 {
                        finish(&volume, ZONE);
                        assert!(content(&volume) == plain, "{case:?} {call:?} {n}");
                    }
                }
            }
        }
    }
}

/// A page cache: a sync that fails drops what it was to write, and reads go on to return it. So do file systems of Linux.
struct Cached {
    cache: Mutex<Vec<u8>>,
    disk: Mutex<Vec<u8>>,
    dirty: Mutex<Vec<Range<usize>>>,
    /// How many syncs succeed before one fails.
    left: AtomicUsize,
}

impl BlockDevice for Cached {
    fn size(&self) -> io::Result<u64> {
        Ok(self.cache.lock().unwrap().len() as u64)
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        bytes.copy_from_slice(&self.cache.lock().unwrap()[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let range = offset as usize..offset as usize + bytes.len();
        self.cache.lock().unwrap()[range.clone()].copy_from_slice(bytes);
        self.dirty.lock().unwrap().push(range);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let dirty = std::mem::take(&mut *self.dirty.lock().unwrap());
        if self.left.fetch_sub(1, SeqCst) == 1 {
            return Err(io::Error::other("a sync that was to fail"));
        }
        let (cache, mut disk) = (self.cache.lock().unwrap(), self.disk.lock().unwrap());
        dirty.into_iter().for_each(|range| disk[range.clone()].copy_from_slice(&cache[range]));
        Ok(())
    }
}

#[test]
fn what_a_failed_sync_has_dropped_from_the_cache_is_written_again() {
    let mut count = 0;
    for case in CASES.into_iter().filter(|case| !case.detached) {
        let keys = Keys::vaults();
        let start = case.disks(SIZE);
        let plain = noise(SIZE, 11);
        start.format(keys.protector(0), case.format_options()).write_at(0, &plain).unwrap();
        for n in 1.. {
            let (cache, disk) = (Mutex::new(start.data.bytes()), Mutex::new(start.data.bytes()));
            let device = Arc::new(Cached { cache, disk, dirty: Mutex::default(), left: AtomicUsize::new(usize::MAX) });
            let volume = Volume::open(device.clone(), keys.credential(0), &OpenOptions::new()).unwrap();
            device.left.store(n, SeqCst);
            let begin = || volume.begin_reencryption(&[keys.protector(1)], &case.options());
            begin().or_else(|_| begin()).unwrap();
            while !volume.reencrypt_step(ZONE).or_else(|_| volume.reencrypt_step(ZONE)).unwrap().is_finished() {}
            drop(volume);
            let survived = device.disk.lock().unwrap().clone();
            let volume = Volume::open(Arc::new(TestDevice::new(survived)), keys.credential(1), &OpenOptions::new());
            assert!(content(&volume.unwrap()) == plain, "{case:?}, sync {n}");
            if device.left.load(SeqCst) < usize::MAX / 2 {
                break;
            }
            count += 1;
        }
    }
    println!("{count} dropped syncs survived");
    assert!(count > 80, "{count}");
}
