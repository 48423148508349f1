//! Crashes of a volume with a map of written chunks: after each write, with torn and reordered unsynced ones, every sector
//! holds what was synced, or what was written since; what was never written holds zeros.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use atrest::{BlockDevice, OpenOptions, Volume};

use crate::common::device::{Op, TestDevice, crash_images, crash_images_at};
use crate::common::vaults::MemoryVault;
use crate::common::volumes::shared;
use crate::written::{CHUNK, content, formatted, open};

const CHUNKS: usize = 6;
const SECTORS: usize = CHUNKS * CHUNK / 512;

/// A device on which a discard leaves noise, and is in the log.
#[derive(Clone)]
struct Noisy(Arc<TestDevice>);

impl BlockDevice for Noisy {
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, bytes)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.0.write_at(offset, &(0..len).map(|i| i as u8 | 0x40).collect::<Vec<_>>())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

fn reopened(device: Arc<TestDevice>, vault: &MemoryVault) -> Volume<Noisy> {
    open(Noisy(device), vault, OpenOptions::new().discard(true)).unwrap()
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The first sector, and how many.
    Write(usize, usize),
    Zero(usize, usize),
    Discard(usize, usize),
    Sync,
}

const STEPS: [Step; 20] = [
    Step::Write(1, 2),
    Step::Sync,
    // The same chunk and new ones, of which one is written as a whole.
    Step::Write(6, 14),
    Step::Write(0, 1),
    Step::Sync,
    Step::Write(43, 1),
    Step::Zero(8, 8),
    Step::Write(9, 1),
    Step::Sync,
    Step::Discard(0, 16),
    Step::Sync,
    Step::Write(3, 1),
    Step::Discard(0, 16),
    Step::Write(5, 2),
    Step::Sync,
    Step::Zero(5, 36),
    Step::Write(30, 1),
    Step::Sync,
    Step::Sync,
    Step::Write(47, 1),
];

/// What each sector may hold: what was synced, and what was written since.
#[derive(Clone)]
struct Model(Vec<Vec<u8>>);

impl Model {
    fn put(&mut self, sectors: core::ops::Range<usize>, byte: u8) {
        self.0[sectors].iter_mut().for_each(|may| may.push(byte));
    }

    fn settle(&mut self) {
        self.0.iter_mut().for_each(|may| *may = vec![*may.last().unwrap()]);
    }

    fn check<D: BlockDevice>(&self, what: &str, volume: &Volume<D>) -> Vec<u8> {
        let held = content(volume);
        for (n, (sector, may)) in held.chunks(512).zip(&self.0).enumerate() {
            let is_one = sector.iter().all(|byte| *byte == sector[0]);
            assert!(
                is_one && may.contains(&sector[0]),
                "{what}: sector {n} holds {:?}, not one of {may:?}",
                &sector[..4]
            );
        }
        held.chunks(512).map(|sector| sector[0]).collect()
    }
}

fn act<D: BlockDevice>(volume: &Volume<D>, model: &mut Model, step: Step, byte: u8) {
    let bytes = |sectors: usize| sectors as u64 * 512;
    match step {
        Step::Write(at, len) => {
            model.put(at..at + len, byte);
            volume.write_at(bytes(at), &vec![byte; len * 512]).unwrap();
        }
        Step::Zero(at, len) => {
            model.put(at..at + len, 0);
            volume.write_zeroes(bytes(at), bytes(len)).unwrap();
        }
        Step::Discard(at, len) => {
            model.put(at..at + len, 0);
            volume.discard(bytes(at), bytes(len)).unwrap();
        }
        Step::Sync => volume.sync().unwrap(),
    }
}

#[test]
fn a_crash_leaves_data_or_zeros_and_what_was_synced() {
    let thorough = std::env::var_os("ATREST_CRASHES").is_some();
    let (places, every) = if thorough { (48, 2) } else { (1, 16) };
    let (vault, volume) = formatted(CHUNKS * CHUNK);
    let device = volume.into_device();
    let volume = reopened(device.clone(), &vault);
    device.take_log();
    let before = device.bytes();
    let mut model = Model(vec![vec![0]; SECTORS]);
    // The models that hold from each place in the log on.
    let mut models = vec![(0, model.clone())];
    for (n, step) in STEPS.into_iter().enumerate() {
        act(&volume, &mut model, step, n as u8 + 1);
        // While a step goes on, what it does may be there.
        let from = models.last().unwrap().0;
        models.push((from, model.clone()));
        if let Step::Sync = step {
            model.settle();
        }
        models.push((device.log_len(), model.clone()));
    }
    let log = device.take_log();
    let mut seen = BTreeSet::new();
    let (mut repairs, mut n) = (Vec::new(), 0);
    let count = crash_images_at(&before, &log, places, |at, what, image| {
        // The last one that begins before this operation: after it, a part of a discard of the same step may follow.
        let model = &models.iter().rev().find(|(from, _)| *from <= at).unwrap().1;
        let device = shared(image.clone());
        let volume = reopened(device.clone(), &vault);
        seen.insert(model.check(what, &volume));
        let repair = device.take_log();
        n += 1;
        if n % every != 0 {
            return;
        }
        if repair.iter().any(|op| matches!(op, Op::Write { .. })) {
            repairs.push((image, repair, model.clone()));
        }
        // What is written next is beside zeros or data, too, and stays.
        let mut model = model.clone();
        for (at, byte) in [(7, 100), (45, 101)] {
            act(&volume, &mut model, Step::Write(at, 1), byte);
        }
        volume.sync().unwrap();
        let again = reopened(shared(device.bytes()), &vault);
        model.0[7] = vec![100];
        model.0[45] = vec![101];
        model.check(what, &again);
    });
    println!("{count} crashes, {} contents, {} repairs", seen.len(), repairs.len());
    assert!(count > 300 && seen.len() > 20 && repairs.len() > 10, "{count} {} {}", seen.len(), repairs.len());

    let mut count = 0;
    for (image, repair, model) in repairs.into_iter().step_by(every / 4 + 1) {
        count += crash_images(&image, &repair, places, |what, image| {
            model.check(what, &reopened(shared(image), &vault));
        });
    }
    println!("{count} crashes of repairs");
    assert!(count > 60, "{count}");
}

#[test]
fn a_crash_of_format_leaves_a_blank_volume_or_none() {
    let vault = MemoryVault::new("memory:one");
    let device = crate::written::noisy(2 * CHUNK);
    let before = device.bytes();
    let protector = atrest::Protector::Vault(&vault, "disks");
    Volume::format(device.clone(), protector, &crate::written::format()).unwrap();
    let log = device.take_log();
    let mut opened = 0;
    let count =
        crash_images(&before, &log, 6, |what, image| match open(TestDevice::new(image), &vault, OpenOptions::new()) {
            Ok(volume) => {
                assert_eq!(content(&volume), vec![0; 2 * CHUNK], "{what}");
                opened += 1;
            }
            Err(atrest::Error::NotLuks { .. } | atrest::Error::InvalidHeader(_)) => {}
            Err(error) => panic!("{what}: {error:?}"),
        });
    assert!(count > 50 && opened > 10, "{count} {opened}");
}
