//! Conversion of LUKS1 to LUKS2 on devices that crash and fail: after each crash, every passphrase opens the volume, by
//! the one header or the other, and another attempt finishes.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::common::device::{Call, Op, TestDevice, crash_images};
use crate::common::header;
use crate::common::keyslots::cost;
use crate::common::volumes::{SIZE, holds_plain, plain, shared};
use crate::common::{cryptsetup, run_within};
use atrest::key::DekAlgorithm;
use atrest::volume::{Header, HeaderFormat, LuksVersion, ProtectorId};
use atrest::{BlockDevice, Credential, Error, FormatOptions, MemoryDevice, OpenOptions, Protector, Result, Volume};
use sha2::{Digest, Sha256};

/// The usual offset of LUKS1's data. With a key of 512 bits, LUKS2's areas end there exactly.
const DATA: usize = 2 << 20;

/// A LUKS1 volume whose keyslots have their numbers as passphrases.
struct World {
    before: Vec<u8>,
    keyslots: Vec<u32>,
    /// The start of each sector of the keyslots' areas.
    material: HashSet<Vec<u8>>,
    /// Headers and areas that were checked.
    tried: RefCell<HashSet<Vec<u8>>>,
}

/// The number of sectors of a write that are tried one by one.
const PLACES: usize = 4;

/// About `most` of the images that crashes leave, and all of settled states. Also the number of all.
fn images(before: &[u8], log: &[Op], most: usize) -> (Vec<(String, Vec<u8>)>, usize) {
    let count = crash_images(before, log, PLACES, |_, _| ());
    let (mut images, mut nth) = (Vec::new(), 0);
    crash_images(before, log, PLACES, |what, image| {
        if nth % count.div_ceil(most) == 0 || what.ends_with("all kept") {
            images.push((what.to_owned(), image));
        }
        nth += 1;
    });
    (images, count)
}

fn passphrase(keyslot: u32) -> [u8; 1] {
    [b'0' + keyslot as u8]
}

impl World {
    fn new(algorithm: DekAlgorithm, keyslots: &[u32]) -> Self {
        let options = FormatOptions::new().version(LuksVersion::Luks1).keyslot(cost()).dek_algorithm(algorithm);
        let device = shared(vec![0; DATA + SIZE]);
        let first = passphrase(keyslots[0]);
        let options = options.keyslot(cost().id(keyslots[0])).data_offset(DATA as u64);
        let volume = Volume::format(device.clone(), Protector::Passphrase(&first), &options).unwrap();
        volume.write_at(0, &plain()).unwrap();
        for keyslot in &keyslots[1..] {
            volume.add_protector(Protector::Passphrase(&passphrase(*keyslot)), &cost().id(*keyslot)).unwrap();
        }
        let before = device.bytes();
        let starts = before[4096..DATA].chunks(512).map(|sector| sector[..16].to_vec());
        let material = starts.filter(|start| start.iter().any(|byte| *byte != 0)).collect();
        World { before, keyslots: keyslots.to_vec(), material, tried: RefCell::default() }
    }

    /// Checks without a write that each passphrase opens what a crash left. Returns the version.
    fn opens(&self, what: &str, image: &[u8]) -> HeaderFormat {
        let device = Arc::new(MemoryDevice::from_bytes(image.to_vec()));
        let header = Header::load(&device).unwrap_or_else(|e| panic!("{what}: {e:?}"));
        let (version, keyslots) = (header.format(), header.keyslots());
        drop(header);
        let areas = keyslots.iter().map(|k| k.area_offset as usize..k.area_offset as usize + k.key_bits as usize * 500);
        let state = Sha256::new().chain_update(format!("{version} {keyslots:?}"));
        let state = areas.fold(state, |state, area| state.chain_update(&image[area])).finalize().to_vec();
        if self.tried.borrow_mut().insert(state) {
            for keyslot in &self.keyslots {
                let open = |options: OpenOptions| {
                    let with = passphrase(*keyslot);
                    Volume::open(device.clone(), Credential::Passphrase(&with), &options.read_only(true))
                };
                // Its own number first, since each attempt takes its time.
                let volume = open(OpenOptions::new().keyslot(*keyslot)).or_else(|_| open(OpenOptions::new()));
                let volume = volume.unwrap_or_else(|e| panic!("{what}: passphrase {keyslot}: {e:?}"));
                assert!(holds_plain(&volume), "{what}: the data is gone");
            }
        }
        version
    }

    /// Finishes the conversion of what a crash or a failure left, and checks the result.
    fn finish(&self, what: &str, device: &Arc<TestDevice>) {
        Header::load(device).unwrap().convert_to_luks2().unwrap_or_else(|e| panic!("{what}: {e:?}"));
        self.is_done(what, &device.bytes());
    }

    fn is_done(&self, what: &str, image: &[u8]) {
        assert_eq!(self.opens(what, image), LuksVersion::Luks2, "{what}");
        assert!(header::is_whole(image), "{what}: the copies differ");
        let header = Header::load(&MemoryDevice::from_bytes(image.to_vec())).unwrap().keyslots();
        assert_eq!(header.len(), self.keyslots.len(), "{what}");
        assert!(image[DATA..] == self.before[DATA..], "{what}: the data was touched");
        self.leaves_nothing(what, image);
    }

    /// Nothing of a keyslot's area is where no keyslot is.
    fn leaves_nothing(&self, what: &str, image: &[u8]) {
        let device = MemoryDevice::from_bytes(image.to_vec());
        let keyslots = Header::load(&device).unwrap().keyslots();
        let mut at = 2 * header::COPY;
        for end in keyslots.iter().map(|keyslot| keyslot.area_offset as usize).chain([DATA]) {
            let left = image[at..end].chunks(512).any(|sector| self.material.contains(&sector[..16]));
            assert!(!left, "{what}: key material is left between bytes {at} and {end}");
            let keyslot = keyslots.iter().find(|keyslot| keyslot.area_offset as usize == end);
            at = end + keyslot.map_or(0, |keyslot| keyslot.key_bits as usize * 500);
        }
    }
}

#[test]
fn a_crash_of_a_conversion_leaves_the_one_header_or_the_other() {
    crash(&World::new(DekAlgorithm::Aes256Xts, &[0]));
}

/// The one across two sectors moves by way of one below and of the last.
#[test]
fn a_crash_of_a_conversion_with_gaps_leaves_the_one_header_or_the_other() {
    crash(&World::new(DekAlgorithm::Aes256Xts, &[0, 1, 6, 7]));
    crash(&World::new(DekAlgorithm::Aes128Xts, &[0, 6]));
}

#[test]
fn a_crash_of_a_conversion_with_one_unused_keyslot_leaves_the_one_header_or_the_other() {
    crash(&World::new(DekAlgorithm::Aes128Xts, &[1, 2, 3, 4, 5, 6, 7]));
}

fn crash(world: &World) {
    let cryptsetup = cryptsetup();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let name = format!("conversion of {:?}", world.keyslots);
    let device = shared(world.before.clone());
    world.finish(&name, &device);
    let log = {
        let device = shared(world.before.clone());
        let mut header = Header::load(&device).unwrap();
        device.take_log();
        header.convert_to_luks2().unwrap();
        device.take_log()
    };
    let (images, count) = images(&world.before, &log, 60);
    let mut seen = BTreeMap::new();
    let (mut again, mut theirs) = (0, 0);
    for (nth, (what, image)) in images.iter().enumerate() {
        let what = format!("{name}, {what}");
        *seen.entry(world.opens(&what, image).to_string()).or_insert(0) += 1;
        // Opened for writing, a remnant is wiped, or a copy repaired.
        if nth % 4 == 0 {
            let device = shared(image.clone());
            let with = passphrase(world.keyslots[0]);
            let volume = Volume::open(device.clone(), Credential::Passphrase(&with), &OpenOptions::new()).unwrap();
            assert!(holds_plain(&volume) && !volume.header().needs_repair(), "{what}");
            drop(volume);
            world.opens(&what, &device.bytes());
            world.finish(&format!("{what}, opened"), &device);
        }
        let device = shared(image.clone());
        world.finish(&what, &device);
        // A second crash, in the second attempt.
        if nth % 20 == 5 {
            let second = self::images(image, &device.take_log(), 3).0;
            let step = second.len().div_ceil(8);
            for (second, image) in second.into_iter().skip(nth % step).step_by(step) {
                let what = format!("{what}, then again {second}");
                world.opens(&what, &image);
                world.finish(&what, &shared(image));
                again += 1;
            }
        }
        if let Some(cryptsetup) = cryptsetup.as_ref().filter(|_| nth % 8 == 1) {
            for keyslot in &world.keyslots {
                let key = folder.path().join("key");
                std::fs::write(&path, image).unwrap();
                std::fs::write(&key, passphrase(*keyslot)).unwrap();
                let (path, key) = (path.to_str().unwrap(), key.to_str().unwrap());
                let args = ["open", "--test-passphrase", "--key-file", key, path];
                let opened = run_within(cryptsetup, &args, Duration::from_secs(20));
                assert_eq!(opened, Some(true), "{what}: cryptsetup, passphrase {keyslot}");
                theirs += 1;
            }
        }
    }
    println!("{name}: {} of {count} crash points survived: {seen:?}, {again} second crashes", images.len());
    println!("{name}: cryptsetup opened {theirs} keyslots of crash points");
    assert!(seen.len() == 2 && seen.values().all(|&n| n > 1) && again > 5, "{name}: {seen:?}, {again}");
}

#[test]
fn a_conversion_that_failed_can_be_done_again() {
    let world = World::new(DekAlgorithm::Aes256Xts, &[0, 2, 7]);
    let open = |device: &Arc<TestDevice>| {
        let device: Arc<dyn BlockDevice> = device.clone();
        Volume::open(device, Credential::Passphrase(&passphrase(2)), &OpenOptions::new()).unwrap()
    };
    for (call, lose) in [(Call::Read, false), (Call::Write, false), (Call::Sync, false), (Call::Sync, true)] {
        // Reads and syncs are many, and most of them alike.
        for n in (0..).step_by(if call == Call::Write { 1 } else { 3 }) {
            let what = format!("{call:?} {n} {lose}");
            let device = shared(world.before.clone());
            // By turns the header of an open volume and of a locked one.
            let volume = (n % 2 == 0).then(|| open(&device));
            let mut header = volume.as_ref().map_or_else(|| Header::load(&device).unwrap(), Volume::header);
            device.fail(call, n, lose);
            let result = header.convert_to_luks2();
            if device.heal() {
                result.unwrap();
                assert!(n > 20, "{what}: no more calls");
                break;
            }
            let error = result.expect_err("a fault of the device was swallowed");
            let expected = matches!(&error, Error::Io { source, .. } if source.to_string().contains("was to fail"));
            assert!(expected, "{what}: {error:?}");
            world.opens(&what, &device.bytes());
            if n % 4 < 2 {
                header.convert_to_luks2().unwrap_or_else(|e| panic!("{what}, again: {e:?}"));
                assert_eq!(header.format(), LuksVersion::Luks2, "{what}");
                world.is_done(&what, &device.bytes());
            }
            if let Some(volume) = &volume {
                // The volume goes on by the header that it has now.
                let id = volume
                    .add_protector(Protector::Passphrase(b"more"), &cost())
                    .unwrap_or_else(|e| panic!("{what}: {e:?}"));
                assert!(holds_plain(volume), "{what}");
                volume.header().remove_protector(id).unwrap();
            }
            drop(header);
            world.finish(&what, &device);
        }
    }
}

/// A device that returns other bytes than were written must not lose the old ones.
#[test]
fn every_write_that_is_lost_without_a_word_is_noticed() {
    struct Forgetful(TestDevice, std::sync::atomic::AtomicUsize);
    impl BlockDevice for Forgetful {
        fn size(&self) -> std::io::Result<u64> {
            self.0.size()
        }
        fn read_at(&self, offset: u64, bytes: &mut [u8]) -> std::io::Result<()> {
            self.0.read_at(offset, bytes)
        }
        fn write_at(&self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
            let left = self.1.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
            if left == 0 { Ok(()) } else { self.0.write_at(offset, bytes) }
        }
        fn sync(&self) -> std::io::Result<()> {
            self.0.sync()
        }
    }
    let world = World::new(DekAlgorithm::Aes256Xts, &[0, 1, 4]);
    let (mut noticed, mut done) = (0, 0);
    for n in 0..200 {
        let device = Forgetful(TestDevice::new(world.before.clone()), n.into());
        let result = Header::load(&device).unwrap().convert_to_luks2();
        let left = device.1.load(std::sync::atomic::Ordering::Relaxed);
        let image = device.0.bytes();
        match result {
            Ok(()) => {
                // What was lost is of no use: zeros over zeros, noise over remains, a primary copy without a checksum.
                world.opens(&format!("write {n}"), &image);
                done += 1;
            }
            Err(error) => {
                assert!(matches!(&error, Error::Io { .. }), "write {n}: {error:?}");
                world.opens(&format!("write {n}"), &image);
                noticed += 1;
            }
        }
        if left < usize::MAX / 2 && left > 0 {
            // It wasn't reached: there are no more writes.
            break;
        }
    }
    println!("{noticed} lost writes were noticed, {done} were without effect");
    assert!(noticed > 15);
}

#[test]
fn a_remnant_of_a_removed_keyslot_is_dropped() {
    let world = World::new(DekAlgorithm::Aes256Xts, &[0, 3]);
    let device = shared(world.before.clone());
    // As a killed `remove_protector` leaves it.
    device.edit(|bytes| bytes[208 + 3 * 48..][..4].copy_from_slice(&0xDEADu32.to_be_bytes()));
    assert!(Header::load(&device).unwrap().needs_repair());
    Header::load(&device).unwrap().convert_to_luks2().unwrap();
    let header = Header::load(&device).unwrap();
    assert_eq!(header.keyslots().iter().map(|keyslot| keyslot.id).collect::<Vec<_>>(), [0]);
    world.leaves_nothing("removed", &device.bytes());
    let gone = Volume::open(device.clone(), Credential::Passphrase(&passphrase(3)), &OpenOptions::new());
    assert!(matches!(gone, Err(Error::WrongPassphrase)));
}

/// Two keyslots with one salt are the same only if their areas are.
#[test]
fn keyslots_with_equal_salts_are_both_kept() {
    let world = World::new(DekAlgorithm::Aes128Xts, &[1, 4]);
    let device = shared(world.before.clone());
    let keyslot = |id: usize| 208 + id * 48..208 + id * 48 + 40;
    // The area of keyslot 4 is then of no use. It is kept all the same.
    device.edit(|bytes| bytes.copy_within(keyslot(1), keyslot(4).start));
    Header::load(&device).unwrap().convert_to_luks2().unwrap();
    let ids: Vec<u32> = Header::load(&device).unwrap().keyslots().iter().map(|keyslot| keyslot.id).collect();
    assert_eq!(ids, [1, 4]);
}

/// Every number of the header in turn: converted or refused, and what is refused is unchanged.
#[test]
fn hostile_numbers_are_refused() {
    let world = World::new(DekAlgorithm::Aes128Xts, &[0, 6]);
    let fields = [104, 108, 164].into_iter().chain((0..8).flat_map(|id| [0, 4, 40, 44].map(|at| 208 + id * 48 + at)));
    let (mut converted, mut refused) = (0, 0);
    for at in fields {
        let old = u32::from_be_bytes(world.before[at..at + 4].try_into().unwrap());
        let values = [0, 1, 8, 63, 64, 4096, i32::MAX as u32, u32::MAX, u32::MAX - 500];
        for value in values.into_iter().chain([old.wrapping_add(1), old.wrapping_add(8), old.wrapping_sub(1)]) {
            let what = format!("{value} at byte {at}");
            let mut image = world.before.clone();
            image[at..at + 4].copy_from_slice(&value.to_be_bytes());
            let device = MemoryDevice::from_bytes(image.clone());
            let Ok(mut header) = Header::load(&device) else { continue };
            // Removed keyslots are wiped, whatever comes then.
            let is_clean = !header.needs_repair();
            match header.convert_to_luks2() {
                Ok(()) => {
                    drop(header);
                    let image = device.into_bytes();
                    assert!(header::is_whole(&image) && image[DATA..] == world.before[DATA..], "{what}");
                    converted += 1;
                }
                Err(error) => {
                    let stated =
                        matches!(error, Error::NoRoom(_) | Error::UnsupportedHeader(_) | Error::DeviceTooSmall { .. });
                    assert!(stated, "{what}: {error:?}");
                    drop(header);
                    assert!(!is_clean || device.into_bytes() == image, "{what}: {error}");
                    refused += 1;
                }
            }
        }
    }
    println!("hostile numbers: {converted} headers converted, {refused} refused");
    assert!(converted > 10 && refused > 10, "{converted} {refused}");
}

#[test]
fn nothing_else_is_converted() -> Result<()> {
    // LUKS2 stays as it is.
    let options = FormatOptions::new().keyslot(cost()).data_offset(1 << 20);
    let device = shared(vec![0; 2 << 20]);
    drop(Volume::format(device.clone(), Protector::Passphrase(b"pw"), &options)?);
    let before = device.bytes();
    Header::load(&device)?.convert_to_luks2()?;
    assert!(device.bytes() == before);

    // A volume that is open for reading.
    let world = World::new(DekAlgorithm::Aes128Xts, &[0]);
    let device = shared(world.before.clone());
    let volume = Volume::open(device.clone(), Credential::Passphrase(b"0"), &OpenOptions::new().read_only(true))?;
    assert!(matches!(volume.header().convert_to_luks2(), Err(Error::ReadOnly)));

    // A header that somebody else has changed.
    let mut header = Header::load(&device)?;
    Header::load(&device)?.convert_to_luks2()?;
    let mut old = Header::load(&device)?;
    old.set_label("somebody's", "")?;
    // It is converted, so that there is nothing to do.
    header.convert_to_luks2()?;
    assert_eq!((header.format(), &*header.label()), (HeaderFormat::Luks(LuksVersion::Luks2), "somebody's"));
    let device = shared(world.before.clone());
    let mut header = Header::load(&device)?;
    let volume = Volume::open(device.clone(), Credential::Passphrase(b"0"), &OpenOptions::new())?;
    volume.add_protector(Protector::Passphrase(b"1"), &cost())?;
    assert!(matches!(header.convert_to_luks2(), Err(Error::Busy { .. })));
    // The backup of before doesn't fit any more.
    let backup = volume.header().backup()?;
    volume.header().convert_to_luks2()?;
    volume.header().remove_protector(ProtectorId::Keyslot(0))?;
    assert!(matches!(Header::restore(&device, &backup), Err(Error::OtherHeader(_))));
    drop(volume);
    // But by force, and then it opens the volume again.
    Header::hazmat_restore(&device, &backup)?;
    assert!(holds_plain(&Volume::open(device, Credential::Passphrase(b"0"), &OpenOptions::new())?));
    Ok(())
}
