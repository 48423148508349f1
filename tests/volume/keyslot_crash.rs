//! Crashes of operations on keyslots, tokens and labels. After each, untouched credentials open the volume, a touched
//! one is as before or as after, and the next open leaves nothing half-done.
//!
//! The allowed states once the volume was opened again: after `change_keyslot`, the old passphrase, the new one, or
//! both; after all others, the state before or after. After `erase`, also that nothing opens and `Header::repair` has
//! work to do; after `restore`, any state that repeating `restore` repairs.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::common::device::{Op, TestDevice, crash_images};
use crate::common::keyslots::{KEEP, Kind, NEW, World, area, cost, described, left_over, remove};
use crate::common::volumes::{holds_plain, shared};
use crate::common::{cryptsetup, header, run_within};
use atrest::volume::Priority;
use atrest::volume::{Header, ProtectorId};
use atrest::{BlockDevice, Credential, Error, Protector, Result, Volume};
use sha2::{Digest, Sha256};

/// The number of sectors of a write that are tried one by one.
const PLACES: usize = 8;
/// The approximate number of images of one operation to try.
const MOST: usize = 16;
const SECOND: usize = 3;

/// The images that crashes leave, without duplicates: all of settled states and about `most` others. Also their number.
fn images(before: &[u8], log: &[Op], most: usize) -> (Vec<(String, Vec<u8>)>, usize) {
    let written = log.iter().filter_map(|op| match op {
        Op::Write { offset, bytes } => Some(*offset as usize..*offset as usize + bytes.len()),
        _ => None,
    });
    let written: HashSet<Range<usize>> = written.collect();
    let mut written: Vec<Range<usize>> = written.into_iter().collect();
    written.sort_by_key(|range| (range.start, range.end));
    let mut seen = HashSet::new();
    let mut number = |image: &[u8]| {
        let parts = written.iter().map(|range| &image[range.clone()]);
        seen.insert(parts.fold(Sha256::new(), Digest::chain_update).finalize())
    };
    let mut fresh = Vec::new();
    crash_images(before, log, PLACES, |_, image| fresh.push(number(&image)));
    let count = fresh.iter().filter(|fresh| **fresh).count();
    let step = count.div_ceil(most).max(1);
    let (mut images, mut nth, mut at) = (Vec::new(), 0, 0);
    crash_images(before, log, PLACES, |what, image| {
        if fresh[at] {
            // Settled states, and some of the torn ones.
            if nth % step == 0 || what.ends_with("all kept") {
                images.push((what.to_owned(), image));
            }
            nth += 1;
        }
        at += 1;
    });
    (images, count)
}

/// Opens the image that a crash left by an untouched passphrase, and checks all properties that must hold then.
fn recovers(
    world: &World,
    what: &str,
    image: &[u8],
    gone: &[(u32, Range<usize>, &[u8])],
) -> (String, Vec<u8>, Vec<Op>) {
    let device = shared(image.to_vec());
    let volume = world.open(&device, Credential::Passphrase(KEEP)).unwrap_or_else(|e| panic!("{what}: {e:?}"));
    assert!(holds_plain(&volume), "{what}: the data is gone");
    drop(volume);
    let (log, image) = (device.take_log(), device.bytes());
    let header = Header::load(&device).unwrap();
    assert!(!header.needs_repair(), "{what}: not repaired");
    assert!(world.kind.is_luks1() || header::is_whole(&image), "{what}: the copies differ");
    for (id, area, was) in gone {
        let there = header.keyslots().iter().any(|keyslot| keyslot.id == *id);
        assert!(there || !left_over(area.clone(), was, &image), "{what}: key material of keyslot {id} is left");
    }
    drop(header);
    world.check_ways_in(what, &device);
    (described(&device), image, log)
}

/// Crashes an operation everywhere. `middle` lists the allowed states besides those before and after.
fn crash(name: &str, world: &World, middle: &[&str], act: impl FnOnce(&Volume<Arc<dyn BlockDevice>>) -> Result<()>) {
    let kind = world.kind;
    let device = shared(world.before.clone());
    let volume = world.volume(&device);
    device.take_log();
    act(&volume).unwrap_or_else(|e| panic!("{name}: {e:?}"));
    drop(volume);
    let log = device.take_log();
    let after = device.bytes();
    let (old_state, new_state) = (described(&TestDevice::new(world.before.clone())), described(&device));
    let mut gone = vec![];
    let [_, old, new] = kind.ids();
    gone.push((old, area(&world.before, old), &world.before[..]));
    // LUKS1 announces the place of a new keyslot. In LUKS2 the remains are useless without the salt.
    if kind.is_luks1() && Header::load(&device).unwrap().keyslots().iter().any(|keyslot| keyslot.id == new) {
        gone.push((new, area(&after, new), &after[..]));
    }
    let (images, count) = images(&world.before, &log, MOST);
    let mut seen = [0; 3];
    let mut second = Vec::new();
    for (what, image) in &images {
        let what = format!("{name} of {kind:?}, {what}");
        let (state, _, repair) = recovers(world, &what, image, &gone);
        match state {
            state if state == old_state => seen[0] += 1,
            state if state == new_state => seen[1] += 1,
            state if middle.iter().any(|middle| state.contains(middle)) => seen[2] += 1,
            state => panic!("{what}: {state}"),
        }
        if repair.iter().any(|op| matches!(op, Op::Write { .. })) {
            second.push((image, repair));
        }
    }
    assert!(seen[0] > 0 && seen[1] > 0 && (seen[2] > 0 || middle.is_empty()), "{name} of {kind:?}: {seen:?}");
    println!("{name} of {kind:?}: {} of {count} crash points survived: {seen:?} before, after, between", images.len());
    let step = second.len().div_ceil(6).max(1);
    let mut again = 0;
    for (image, repair) in second.iter().step_by(step) {
        let (images, _) = self::images(image, repair, SECOND);
        for (what, image) in images {
            recovers(world, &format!("{name} of {kind:?}, then again {what}"), &image, &gone);
            again += 1;
        }
    }
    println!("{name} of {kind:?}: {again} crash points of the recovery survived, of {} of them", second.len());
    peers_accept(world, name, images.iter().map(|(_, image)| image));
}

/// cryptsetup checks some of the images as the crash left them, and opens them by an untouched passphrase.
fn peers_accept<'i>(world: &World, name: &str, images: impl ExactSizeIterator<Item = &'i Vec<u8>>) {
    let Some(cryptsetup) = cryptsetup() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (path, key) = (folder.path().join("image"), folder.path().join("key"));
    std::fs::write(&key, KEEP).unwrap();
    let (path, key) = (path.to_str().unwrap(), key.to_str().unwrap());
    let step = images.len().div_ceil(4);
    for image in images.skip(step / 2).step_by(step) {
        std::fs::write(path, image).unwrap();
        for args in [&["luksDump", path][..], &["open", "--test-passphrase", "--key-file", key, path][..]] {
            let done = run_within(&cryptsetup, args, Duration::from_secs(20));
            assert_eq!(done, Some(true), "{name} of {:?}: cryptsetup {args:?}", world.kind);
        }
    }
}

fn worlds() -> impl Iterator<Item = World> {
    Kind::ALL.into_iter().map(World::new)
}

fn luks2() -> impl Iterator<Item = World> {
    worlds().filter(|world| !world.kind.is_luks1())
}

#[test]
fn a_crash_of_add_protector_adds_it_or_does_not() {
    for world in worlds() {
        let id = world.kind.ids()[2];
        crash("add_protector (passphrase)", &world, &[], |volume| {
            volume.add_protector(Protector::Passphrase(NEW), &cost().id(id)).map(drop)
        });
    }
}

#[test]
fn a_crash_of_adding_or_removing_a_token_does_it_or_does_not() {
    for world in luks2() {
        crash("add_protector (vault)", &world, &[], |volume| {
            volume.add_protector(Protector::Vault(&world.vault, "disks"), &cost()).map(drop)
        });
        crash("remove_protector (token)", &world, &[], |volume| remove(volume, ProtectorId::Token(0)));
    }
}

#[test]
fn a_crash_of_binding_tokens_or_removing_a_bound_one_does_it_or_does_not() {
    for mut world in luks2() {
        crash("bind_tokens", &world, &[], |volume| volume.bind_tokens().map(drop));
        let device = shared(world.before.clone());
        let keyslot = world.volume(&device).bind_tokens().unwrap();
        world.before = device.bytes();
        crash("remove_protector (bound keyslot)", &world, &[], |volume| remove(volume, ProtectorId::Keyslot(keyslot)));
        crash("remove_protector (bound token)", &world, &[], |volume| remove(volume, ProtectorId::Token(0)));
    }
}

#[test]
fn a_crash_of_change_keyslot_leaves_the_old_one_the_new_one_or_both() {
    for world in worlds() {
        let [_, old, new] = world.kind.ids();
        let name = if world.kind.is_luks1() { "luks1" } else { "luks2" };
        let both = format!(r#""{old}:{name}", "{new}:{name}""#);
        crash("change_keyslot", &world, &[&both], |volume| {
            volume.change_keyslot(old, Protector::Passphrase(NEW), &cost().id(new)).map(drop)
        });
    }
}

#[test]
fn a_crash_of_remove_protector_leaves_the_keyslot_or_nothing_of_it() {
    for world in worlds() {
        let old = world.kind.ids()[1];
        crash("remove_protector (keyslot)", &world, &[], |volume| remove(volume, ProtectorId::Keyslot(old)));
    }
}

#[test]
fn a_crash_of_small_changes_makes_them_or_does_not() {
    for world in luks2() {
        crash("set_priority", &world, &[], |volume| volume.header().set_priority(1, Priority::Prefer));
        crash("set_label", &world, &[], |volume| volume.header().set_label("another", "of another"));
        let token = r#"{"type":"another","keyslots":["0"]}"#;
        crash("import_token", &world, &[], |volume| volume.header().import_token(token).map(drop));
        world.vault.rotate();
        crash("rotate_kek", &world, &[], |volume| volume.rotate_kek(&world.vault).map(drop));
    }
}

#[test]
fn a_crash_of_format_by_passphrase_leaves_a_volume_or_something_to_format_again() {
    for kind in Kind::ALL {
        let device = shared(vec![0; kind.device_size()]);
        let blank = device.bytes();
        let volume = match kind.detached {
            true => {
                let options = kind.format_options().header(device.clone());
                Volume::format(
                    Arc::new(TestDevice::new(vec![0; 2 << 20])) as Arc<dyn BlockDevice>,
                    Protector::Passphrase(KEEP),
                    &options,
                )
            }
            false => Volume::format(device.clone() as _, Protector::Passphrase(KEEP), &kind.format_options()),
        };
        drop(volume.unwrap());
        let (images, count) = images(&blank, &device.take_log(), MOST);
        let data = vec![0; 2 << 20];
        let (mut opened, mut refused) = (0, 0);
        for (what, image) in &images {
            let what = format!("format of {kind:?}, {what}");
            let device = shared(image.clone());
            match kind.open(device.clone(), &data, Credential::Passphrase(KEEP), Default::default()) {
                Ok(_) => opened += 1,
                Err(Error::NotLuks { .. } | Error::InvalidHeader(_) | Error::NoSuchProtector(_)) => {
                    refused += 1;
                    if refused % 16 == 1 {
                        let device = shared(image.clone());
                        let again = kind.format_options().overwrite(true);
                        let again = if kind.detached { again.header(device.clone()) } else { again };
                        let on: Arc<dyn BlockDevice> =
                            if kind.detached { Arc::new(TestDevice::new(data.clone())) } else { device.clone() };
                        Volume::format(on, Protector::Passphrase(KEEP), &again)
                            .unwrap_or_else(|e| panic!("{what}: {e:?}"));
                        kind.open(device, &data, Credential::Passphrase(KEEP), Default::default()).unwrap();
                    }
                }
                Err(error) => panic!("{what}: {error:?}"),
            }
        }
        assert!(opened > 0 && refused > 0, "{opened} {refused}");
        println!("format of {kind:?}: {} of {count} crash points survived: {opened} opened", images.len());
    }
}

#[test]
fn a_crash_of_erase_leaves_the_volume_or_nothing() {
    for world in worlds() {
        let kind = world.kind;
        let device = shared(world.before.clone());
        Header::load(&device).unwrap().erase().unwrap();
        let log = device.take_log();
        let gone: Vec<_> = kind.ids()[..2].iter().map(|id| area(&world.before, *id)).collect();
        let is_erased = |image: &[u8], what: &str| {
            let header = TestDevice::new(image.to_vec());
            let header = Header::load(&header).unwrap();
            assert!(header.keyslots().is_empty() && header.tokens().is_empty() && !header.needs_repair(), "{what}");
            for area in &gone {
                assert!(!left_over(area.clone(), &world.before, image), "{what}: key material is left");
            }
        };
        is_erased(&device.bytes(), "all of it");
        let (images, count) = images(&world.before, &log, MOST);
        let (mut opened, mut again) = (0, 0);
        let nothing_opens = |device: &Arc<TestDevice>, what: &str| {
            let error = world.open(device, Credential::Passphrase(KEEP)).map(drop).unwrap_err();
            assert!(matches!(error, Error::NoSuchProtector(_)), "{what}: {error:?}");
            assert!(kind.is_luks1() || world.open(device, Credential::Vault(&world.vault)).is_err(), "{what}");
        };
        for (what, image) in &images {
            let what = format!("erase of {kind:?}, {what}");
            let device = shared(image.clone());
            if world.open(&device, Credential::Passphrase(KEEP)).is_ok() {
                world.check_ways_in(&what, &device);
                opened += 1;
                continue;
            }
            nothing_opens(&device, &what);
            // Either of both finishes it, also when it crashes too.
            device.take_log();
            let before = device.bytes();
            Header::load(&device).unwrap().repair().unwrap();
            is_erased(&device.bytes(), &what);
            if again < 8 {
                for (crash, image) in self::images(&before, &device.take_log(), 4).0 {
                    let device = shared(image);
                    Header::load(&device).unwrap().erase().unwrap();
                    is_erased(&device.bytes(), &format!("{what}, then again {crash}"));
                    again += 1;
                }
            }
        }
        assert!(opened > 0 && again > 0);
        println!(
            "erase of {kind:?}: {} of {count} crash points survived, {opened} before it, {again} again",
            images.len()
        );
    }
}

#[test]
fn a_crash_of_repair_loses_nothing() {
    for world in worlds() {
        let kind = world.kind;
        let old = kind.ids()[1];
        // A keyslot that is marked and not wiped, and of LUKS2 a copy that is damaged too.
        let device = shared(world.before.clone());
        let volume = world.volume(&device);
        device.take_log();
        remove(&volume, ProtectorId::Keyslot(old)).unwrap();
        drop(volume);
        let place = area(&world.before, old);
        let log = device.take_log();
        let wiped = log.iter().position(|op| matches!(op, Op::Write { offset, .. } if *offset as usize == place.start));
        let device = shared(world.before.clone());
        for op in &log[..wiped.unwrap()] {
            if let Op::Write { offset, bytes } = op {
                device.write_at(*offset, bytes).unwrap();
            }
        }
        if !kind.is_luks1() {
            device.edit(|bytes| bytes[600..6000].fill(0x77));
        }
        let before = device.bytes();
        device.take_log();
        assert!(Header::load(&device).unwrap().repair().unwrap());
        let (images, count) = images(&before, &device.take_log(), MOST);
        for (what, image) in &images {
            recovers(&world, &format!("repair of {kind:?}, {what}"), image, &[(old, place.clone(), &world.before)]);
        }
        println!("repair of {kind:?}: {} of {count} crash points survived", images.len());
    }
}

#[test]
fn a_crash_of_restore_is_made_good_by_another() {
    for world in worlds() {
        let kind = world.kind;
        let device = shared(world.before.clone());
        let backup = Header::load(&device).unwrap().backup().unwrap();
        let volume = world.volume(&device);
        remove(&volume, ProtectorId::Keyslot(kind.ids()[1])).unwrap();
        volume.add_protector(Protector::Passphrase(NEW), &cost().id(kind.ids()[2])).unwrap();
        drop(volume);
        // The copy that must not be touched first differs between the cases.
        for damaged in [None, Some(0), Some(1)].into_iter().filter(|which| which.is_none() || !kind.is_luks1()) {
            let device = shared(device.bytes());
            device.edit(|bytes| damaged.map_or((), |which| bytes[which * header::COPY + 600..][..6000].fill(0x77)));
            let before = device.bytes();
            device.take_log();
            Header::restore(&device, &backup).unwrap();
            let (images, count) = images(&before, &device.take_log(), 16);
            for (what, image) in &images {
                let what = format!("restore of {kind:?}, {what}");
                let device = shared(image.clone());
                Header::restore(&device, &backup).unwrap_or_else(|e| panic!("{what}: {e:?}"));
                let wanted = described(&TestDevice::new(world.before.clone()));
                assert_eq!(recovers(&world, &what, &device.bytes(), &[]).0, wanted, "{what}");
            }
            println!("restore of {kind:?}: {} of {count} crash points survived", images.len());
        }
    }
}

#[test]
fn backups_are_those_of_cryptsetup_and_of_this_volume_key() {
    let Some(cryptsetup) = cryptsetup() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for world in worlds().filter(|world| !world.kind.detached) {
        let (image, backup) = (path("image"), path(&format!("backup-{}", world.kind.version)));
        std::fs::write(&image, &world.before).unwrap();
        crate::common::run(&cryptsetup, &["luksHeaderBackup", "-q", &image, "--header-backup-file", &backup]);
        let theirs = std::fs::read(&backup).unwrap();
        let device = shared(world.before.clone());
        let ours = Header::load(&device).unwrap().backup().unwrap();
        assert!(ours == theirs, "{:?}: {} and {} bytes", world.kind, ours.len(), theirs.len());
        remove(&world.volume(&device), ProtectorId::Keyslot(world.kind.ids()[1])).unwrap();
        Header::restore(&device, &theirs).unwrap();
        world.check_ways_in("restored", &device);
        // The same UUID, but encrypted anew: the data would be lost for good.
        let uuid = [7; 16];
        let other = |device: Arc<TestDevice>| {
            Volume::format(device, Protector::Passphrase(KEEP), &world.kind.format_options().uuid(uuid)).unwrap();
        };
        let devices = [shared(vec![0; world.before.len()]), shared(vec![0; world.before.len()])];
        devices.iter().for_each(|device| other(device.clone()));
        let backup = Header::load(&devices[0]).unwrap().backup().unwrap();
        let error = Header::restore(&devices[1], &backup).unwrap_err();
        assert!(matches!(&error, Error::OtherHeader(what) if what.contains("volume key")), "{error:?}");
    }
}

#[test]
fn headers_of_luks1_that_claim_too_much_are_refused() {
    /// As large as a header says.
    struct Huge(TestDevice);
    impl BlockDevice for Huge {
        fn size(&self) -> std::io::Result<u64> {
            Ok(1 << 50)
        }
        fn read_at(&self, offset: u64, bytes: &mut [u8]) -> std::io::Result<()> {
            self.0.read_at(offset, bytes)
        }
        fn write_at(&self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
            self.0.write_at(offset, bytes)
        }
        fn sync(&self) -> std::io::Result<()> {
            self.0.sync()
        }
    }
    let mut image = World::new(Kind::ALL[2]).before;
    image[104..108].fill(0); // payload-offset
    let device = shared(image.clone());
    let error = Kind::ALL[2].open(device.clone(), &[], Credential::Passphrase(KEEP), Default::default()).map(drop);
    assert!(matches!(&error, Err(Error::UnsupportedHeader(what)) if what.contains("detached")), "{error:?}");
    assert!(device.bytes() == image);
    image[208 + 7 * 48 + 40..][..4].copy_from_slice(&0xF000_0000u32.to_be_bytes()); // key-material-offset
    let device = Huge(TestDevice::new(image));
    let error = Header::load(&device).unwrap().backup().map(drop);
    assert!(matches!(&error, Err(Error::InvalidHeader(what)) if what.contains("too far")), "{error:?}");
}
