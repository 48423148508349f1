//! Crashes of re-encryptions: every state that the devices can be in after one, in the beginning, in each step, in the end
//! and in the recovery, while data is written.
//!
//! What was written since the last sync may be on the disk or not, in any order and in parts of 512 bytes; where a zone is
//! recovered by checksums, in whole blocks of the larger sector size, as the options demand. `ATREST_CRASHES` sets how many
//! images of each case are tried.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use crate::common::device::{Op, TestDevice, now, subsets};
use crate::common::header;
use crate::common::reencryption::{Case, Disks, Keys, content, finish, noise};
use crate::common::volumes::{DATA, shared};
use atrest::{BlockDevice, Error, OpenOptions, Volume};

const SIZE: usize = 48 << 10;
const ZONE: u64 = 16 << 10;
/// The number of sectors of a write that are tried one by one.
const PLACES: usize = 4;

/// What a volume may hold after a crash: what each sector was at the last sync, or any of what was written to it since.
struct Model {
    before: Vec<u8>,
    /// The time, the offset, and what was written.
    writes: Vec<(usize, usize, Vec<u8>)>,
}

impl Model {
    /// Whether a crash at `crash` may leave `found`, when the data's last sync was at `synced`.
    fn may_be(&self, found: &[u8], crash: usize, synced: usize) -> bool {
        let mut may: Vec<Vec<&[u8]>> = self.before.chunks(512).map(|part| vec![part]).collect();
        for (time, offset, bytes) in self.writes.iter().filter(|(time, ..)| *time < crash) {
            for (part, bytes) in may[offset / 512..].iter_mut().zip(bytes.chunks(512)) {
                if *time < synced {
                    part.clear();
                }
                part.push(bytes);
            }
        }
        found.chunks(512).zip(may).all(|(found, may)| may.contains(&found))
    }
}

/// An operation of the header's device, `false`, or of the data's.
pub struct Logged {
    time: usize,
    is_data: bool,
    op: Op,
}

pub fn take_log(disks: &Disks) -> Vec<Logged> {
    let logged = |is_data| move |(time, op)| Logged { time, is_data, op };
    let mut log: Vec<Logged> = disks.header.take_timed_log().into_iter().map(logged(!disks.is_detached())).collect();
    if disks.is_detached() {
        log.extend(disks.data.take_timed_log().into_iter().map(logged(true)));
    }
    log.sort_by_key(|logged| logged.time);
    log
}

/// An image after a crash.
pub struct Crash {
    pub what: String,
    pub disks: Disks,
    time: usize,
    /// The time of the data's last sync.
    synced: usize,
}

/// A part that was written and not synced.
struct Part {
    is_data: bool,
    offset: usize,
    bytes: Vec<u8>,
}

/// About `most` of the images that crashes could leave, one half in writes of data, the other in those of the header. Also
/// the number of all.
pub fn crashes(before: &Disks, log: &[Logged], atom: usize, seed: u64, most: usize) -> (Vec<Crash>, usize) {
    let is_of_data = |op: &Op| matches!(op, Op::Write { offset, .. } if *offset >= DATA as u64);
    let mut counts = [0usize; 2];
    each_crash(before, log, atom, |op, _, _, _| counts[usize::from(is_of_data(op))] += 1);
    let steps = counts.map(|count| (2 * count).div_ceil(most).max(1));
    let (mut chosen, mut at) = (Vec::new(), steps.map(|step| seed as usize % step));
    each_crash(before, log, atom, |op, what, times, image| {
        let which = usize::from(is_of_data(op));
        if at[which] == 0 {
            at[which] = steps[which];
            chosen.push(Crash { what: what.into(), disks: image(), time: times[0], synced: times[1] });
        }
        at[which] -= 1;
    });
    (chosen, counts.iter().sum())
}

fn each_crash(
    before: &Disks,
    log: &[Logged],
    atom: usize,
    mut check: impl FnMut(&Op, &str, [usize; 2], &dyn Fn() -> Disks),
) {
    let (mut data, mut header) = (before.data.bytes(), before.header.bytes());
    let detached = before.is_detached();
    let put = |data: &mut [u8], header: &mut [u8], part: &Part| {
        let device = if part.is_data { data } else { header };
        device[part.offset..part.offset + part.bytes.len()].copy_from_slice(&part.bytes);
    };
    let mut pending: Vec<Part> = Vec::new();
    let mut synced = 0;
    for (i, Logged { time, is_data, op }) in log.iter().enumerate() {
        match op {
            Op::Read { .. } => continue,
            Op::Sync => {
                if *is_data {
                    synced = *time;
                }
                let (done, left): (Vec<Part>, Vec<Part>) = pending.into_iter().partition(|p| p.is_data == *is_data);
                done.iter().for_each(|part| put(&mut data, &mut header, part));
                pending = left;
                continue;
            }
            Op::Write { offset, bytes } => {
                let atom = if *is_data && *offset >= DATA as u64 { atom } else { 512 };
                let parts = (*offset as usize..).step_by(atom).zip(bytes.chunks(atom));
                pending.extend(parts.map(|(offset, bytes)| Part { is_data: *is_data, offset, bytes: bytes.to_vec() }));
            }
        }
        for (variant, kept) in subsets(pending.len(), PLACES, i as u64) {
            check(op, &format!("in the write {i}: {variant}"), [*time, synced], &|| {
                let (mut data, mut header) = (data.clone(), header.clone());
                let kept = pending.iter().zip(&kept).filter(|(_, kept)| **kept);
                kept.for_each(|(part, _)| put(&mut data, &mut header, part));
                let data = shared(data);
                Disks { header: if detached { shared(header) } else { data.clone() }, data }
            });
        }
    }
}

/// Opens what a crash left by the one credential that is right, finishes, and returns which one it was, what the volume held,
/// and how the opening recovered it.
pub fn survives(case: Case, keys: &Keys, what: &str, disks: &Disks) -> (usize, Vec<u8>, Vec<Logged>) {
    let opened = [0, 1].map(|which| disks.open(keys.credential(which)));
    let (which, volume) = match opened {
        [Ok(volume), Err(Error::NotThisVault { .. } | Error::WrongPassphrase)] => (0, volume),
        [Err(Error::NotThisVault { .. } | Error::WrongPassphrase), Ok(volume)] => (1, volume),
        other => panic!("{case:?} {what}: {other:?}"),
    };
    let recovery = take_log(disks);
    let found = content(&volume);
    if which == 0 {
        assert!(volume.reencryption().is_none(), "{case:?} {what}");
        volume.begin_reencryption(&[keys.protector(1)], &case.options()).unwrap();
    }
    finish(&volume, 1 << 20);
    assert!(content(&volume) == found, "{case:?} {what}");
    assert_eq!(volume.sector_size().bytes(), case.new);
    drop(volume);
    assert!(header::is_whole(&disks.header.bytes()));
    assert!(content(&disks.open(keys.credential(1)).unwrap()) == found, "{case:?} {what}");
    assert!(disks.open(keys.credential(0)).is_err(), "{case:?} {what}");
    (which, found, recovery)
}

/// A device at each third write and sync of which somebody else does something.
struct Interrupted {
    device: Arc<TestDevice>,
    other: Mutex<Option<Box<dyn FnMut() + Send>>>,
    calls: AtomicUsize,
}

impl Interrupted {
    fn interrupt(&self) {
        if self.calls.fetch_add(1, SeqCst).is_multiple_of(3) {
            self.act();
        }
    }

    /// Has the other one act, whom nobody interrupts.
    fn act(&self) {
        let Some(mut other) = self.other.lock().unwrap().take() else { return };
        other();
        *self.other.lock().unwrap() = Some(other);
    }
}

impl BlockDevice for Interrupted {
    fn size(&self) -> io::Result<u64> {
        self.device.size()
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.device.read_at(offset, bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.interrupt();
        self.device.write_at(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.interrupt();
        self.device.sync()
    }
}

/// Crashes a re-encryption with writes in between, also between the writes of each step. Returns the number of all images, and
/// of those that were tried: which the old credential opens, which the new one does, and those of crashes in a recovery.
fn crash(case: Case, keys: &Keys, seed: u64, most: usize) -> (usize, [usize; 3]) {
    let disks = case.disks(SIZE);
    let volume = disks.format(keys.protector(0), case.format_options());
    let first = noise(SIZE, seed);
    volume.write_at(0, &first).unwrap();
    volume.sync().unwrap();
    drop(volume);
    let before = disks.copy();
    let device =
        Arc::new(Interrupted { device: disks.data.clone(), other: Mutex::default(), calls: Default::default() });
    let options = OpenOptions::new();
    let options = if case.detached { options.header(disks.header.clone()) } else { options };
    let volume = Arc::new(Volume::open(device.clone(), keys.credential(0), &options).unwrap());
    take_log(&disks);
    let writes = Arc::new(Mutex::new(Vec::new()));
    let (log, weak, turns) = (writes.clone(), Arc::downgrade(&volume), Arc::new(AtomicUsize::new(seed as usize)));
    let write = move || {
        let volume = weak.upgrade().unwrap();
        let done = volume.reencryption().map_or(0, |progress| progress.done as usize);
        let n = turns.fetch_add(1, SeqCst) as u64;
        let bytes = noise((1 + n as usize % 2) * case.unit(), n + 1000);
        let dice = u64::from_le_bytes(noise(8, n).try_into().unwrap()) as usize;
        let offset = dice % ((SIZE - bytes.len()) / case.unit() + 1) * case.unit();
        // Who writes to the zone waits for it, which is waiting here.
        if offset + bytes.len() <= done || offset >= done + ZONE as usize {
            log.lock().unwrap().push((now(), offset, bytes.clone()));
            volume.write_at(offset as u64, &bytes).unwrap();
        }
    };
    *device.other.lock().unwrap() = Some(Box::new(write));
    volume.begin_reencryption(&[keys.protector(1)], &case.options()).unwrap();
    loop {
        (0..3).for_each(|_| device.act());
        if volume.reencrypt_step(ZONE).unwrap().is_finished() {
            break;
        }
        (0..2).for_each(|_| device.act());
        volume.sync().unwrap();
    }
    *device.other.lock().unwrap() = None;
    drop(volume);
    let model = Model { before: first, writes: std::mem::take(&mut *writes.lock().unwrap()) };
    assert!(model.writes.len() > 3, "{case:?}: {} writes", model.writes.len());
    let atom = case.atom();
    let (images, count) = crashes(&before, &take_log(&disks), atom, seed, most);
    let mut seen = [0; 3];
    for Crash { what, disks, time, synced } in images {
        let start = disks.copy();
        let (which, found, recovery) = survives(case, keys, &what, &disks);
        assert!(model.may_be(&found, time, synced), "{case:?} {what}: other data than was written");
        seen[which] += 1;
        let is_write = |logged: &Logged| matches!(logged.op, Op::Write { .. });
        if seed.is_multiple_of(4) && recovery.iter().any(is_write) {
            for Crash { what: again, disks, .. } in crashes(&start, &recovery, atom, seed, 4).0 {
                let (_, now, _) = survives(case, keys, &format!("{what}, then again {again}"), &disks);
                assert!(now == found, "{case:?} {what}, then again {again}");
                seen[2] += 1;
            }
        }
    }
    (count, seen)
}

#[test]
fn a_crash_of_a_reencryption_loses_nothing() {
    let most = std::env::var("ATREST_CRASHES").ok().and_then(|n| n.parse().ok()).unwrap_or(4);
    let (mut all, mut seen) = (0, [0; 3]);
    for (n, case) in Case::all().enumerate() {
        let keys = if n % 7 == 0 { Keys::Passphrases } else { Keys::vaults() };
        let (count, tried) = crash(case, &keys, n as u64, most);
        all += count;
        seen.iter_mut().zip(tried).for_each(|(seen, tried)| *seen += tried);
    }
    println!(
        "re-encryption: {} of {all} crash points survived, {} of them before its beginning, and {} of recoveries",
        seen[0] + seen[1],
        seen[0],
        seen[2]
    );
    assert!(seen[0] > 20 && seen[1] > 150 && seen[2] > 20, "{seen:?}");
}
