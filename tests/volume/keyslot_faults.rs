//! Operations on keyslots with devices whose reads, writes and syncs fail, and from many threads at once.

use std::sync::Arc;

use crate::common::device::Call;
use crate::common::header;
use crate::common::keyslots::{KEEP, Kind, NEW, World, area, cost, described, left_over, remove};
use crate::common::volumes::{holds_plain, plain, shared};
use atrest::volume::Priority;
use atrest::volume::{Header, ProtectorId};
use atrest::{BlockDevice, Credential, Error, Protector, Result, Volume};

type AnyVolume = Volume<Arc<dyn BlockDevice>>;
type Operation<'a> = (&'a str, &'a dyn Fn(&World, &AnyVolume) -> Result<()>);

const LUKS1: [Operation<'static>; 3] = [
    ("add_protector", &|world, volume| {
        volume.add_protector(Protector::Passphrase(NEW), &cost().id(world.kind.ids()[2])).map(drop)
    }),
    ("remove_protector", &|world, volume| remove(volume, ProtectorId::Keyslot(world.kind.ids()[1]))),
    ("erase", &|_, volume| volume.header().erase()),
];
const LUKS2: [Operation<'static>; 5] = [
    ("add_protector (vault)", &|world, volume| {
        volume.add_protector(Protector::Vault(&world.vault, "disks"), &cost()).map(drop)
    }),
    ("remove_protector (token)", &|_, volume| remove(volume, ProtectorId::Token(0))),
    ("set_priority", &|_, volume| volume.header().set_priority(1, Priority::Prefer)),
    ("set_label", &|_, volume| volume.header().set_label("another", "")),
    ("rotate_kek", &|world, volume| volume.rotate_kek(&world.vault).map(drop)),
];

#[test]
fn what_failed_can_be_done_again() {
    // One of each version, and one of them detached, takes long enough.
    for kind in [Kind::ALL[0], Kind::ALL[3]] {
        let world = World::new(kind);
        world.vault.rotate();
        let more: &[Operation<'_>] = if kind.is_luks1() { &[] } else { &LUKS2 };
        for (name, act) in LUKS1.iter().chain(more) {
            let mut faults = 0;
            for (call, lose) in [(Call::Read, false), (Call::Write, false), (Call::Sync, false), (Call::Sync, true)] {
                for n in 0.. {
                    let what = format!("{name} of {kind:?}, {call:?} {n}");
                    let device = shared(world.before.clone());
                    let volume = world.volume(&device);
                    device.fail(call, n, lose);
                    let result = act(&world, &volume);
                    if device.heal() {
                        result.unwrap();
                        break;
                    }
                    faults += 1;
                    let error = result.expect_err("a fault of the device was swallowed");
                    assert!(
                        matches!(&error, Error::Io { source, .. } if source.to_string().contains("was to fail")),
                        "{what}: {error:?}"
                    );
                    assert!(holds_plain(&volume), "{what}");
                    volume.write_at(0, &plain()).unwrap();
                    // Whatever the failed operation left, a repair in between must not mix it with the volume's own
                    // state.
                    if n % 2 == 1 && volume.header().needs_repair() {
                        volume.header().repair().unwrap_or_else(|e| panic!("{what}, repair: {e:?}"));
                        assert!(
                            kind.is_luks1() || header::is_whole(&device.bytes()),
                            "{what}: repaired to two different copies"
                        );
                    }
                    match act(&world, &volume) {
                        // It was done as far as the device allows.
                        Ok(()) | Err(Error::NoSuchProtector(_)) => {}
                        // LUKS1 has one header, and the device's content counts.
                        Err(Error::NoRoom(_)) if kind.is_luks1() => {
                            let ids: Vec<u32> = volume.header().keyslots().iter().map(|keyslot| keyslot.id).collect();
                            assert_eq!(ids, kind.ids(), "{what}");
                        }
                        Err(e) => panic!("{what}, again: {e:?}"),
                    }
                    let image = device.bytes();
                    assert!(kind.is_luks1() || header::is_whole(&image), "{what}");
                    assert!(!Header::load(&device).unwrap().needs_repair(), "{what}");
                    if *name != "add_protector"
                        && (name.starts_with("remove_protector (t") || ["erase", "remove_protector"].contains(name))
                    {
                        let gone = area(&world.before, kind.ids()[1]);
                        assert!(
                            name.contains("token") || !left_over(gone, &world.before, &image),
                            "{what}: key material is left"
                        );
                    }
                    if *name != "erase" {
                        assert!(holds_plain(&world.open(&device, Credential::Passphrase(KEEP)).unwrap()), "{what}");
                        world.check_ways_in(&what, &device);
                    }
                }
            }
            println!("{name} of {kind:?}: {faults} faults, each done again");
            assert!(faults > 4, "{name} of {kind:?}");
        }
    }
}

#[test]
fn threads_that_change_and_use_one_volume_do_not_hurt_each_other() {
    for kind in Kind::ALL {
        let world = World::new(kind);
        let device = shared(world.before.clone());
        let volume = world.volume(&device);
        std::thread::scope(|scope| {
            for first in [2, 3] {
                let volume = &volume;
                scope.spawn(move || {
                    for _ in 0..3 {
                        let id = volume.add_protector(Protector::Passphrase(NEW), &cost().id(first)).unwrap();
                        assert_eq!(id, ProtectorId::Keyslot(first));
                        remove(volume, id).unwrap();
                    }
                });
            }
            if !kind.is_luks1() {
                let (volume, vault) = (&volume, &world.vault);
                scope.spawn(move || {
                    for _ in 0..6 {
                        vault.rotate();
                        volume.rotate_kek(vault).unwrap();
                    }
                });
            }
            scope.spawn(|| {
                for _ in 0..40 {
                    volume.write_at(0, &plain()).unwrap();
                    assert!(holds_plain(&volume));
                    volume.sync().unwrap();
                    assert!(volume.header().keyslots().len() >= 2);
                }
            });
        });
        drop(volume);
        assert!(!Header::load(&device).unwrap().needs_repair());
        assert_eq!(Header::load(&device).unwrap().keyslots().len(), 2, "{}", described(&device));
        world.check_ways_in("after the threads", &device);
    }
}

#[test]
fn a_removal_that_failed_does_not_let_the_last_way_in_go() {
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_luks1()) {
        let world = World::new(kind);
        let old = kind.ids()[1];
        let device = shared(world.before.clone());
        let volume = world.volume(&device);
        // The header is written, and can't be read back.
        device.fail(Call::Sync, 0, false);
        remove(&volume, ProtectorId::Keyslot(old)).unwrap_err();
        assert!(matches!(remove(&volume, ProtectorId::Keyslot(0)), Err(Error::LastProtector)));
        remove(&volume, ProtectorId::Keyslot(old)).unwrap();
        assert!(!left_over(area(&world.before, old), &world.before, &device.bytes()));
    }
}

#[test]
fn a_repair_touches_nothing_that_was_changed_since() {
    for kind in Kind::ALL {
        let world = World::new(kind);
        let old = kind.ids()[1];
        let device = shared(world.before.clone());
        let volume = world.volume(&device);
        // Marked, and not wiped: the second write is the area's, or the last of the header's.
        device.fail(Call::Write, if kind.is_luks1() { 1 } else { 6 }, false);
        remove(&volume, ProtectorId::Keyslot(old)).unwrap_err();
        assert!(volume.header().needs_repair());
        // Another program finishes that, and puts a keyslot there.
        world.volume(&device).add_protector(Protector::Passphrase(NEW), &cost().id(kind.ids()[2])).unwrap();
        let now = device.bytes();
        let error = volume.header().repair().unwrap_err();
        assert!(matches!(error, Error::Busy { .. }), "{kind:?}: {error:?}");
        assert!(device.bytes() == now, "{kind:?}: something was written");
    }
}

#[test]
fn a_header_whose_numbers_come_to_an_end_is_refused_before_anything_is_written() {
    let world = World::new(Kind::ALL[0]);
    let [_, old, new] = world.kind.ids();
    let numbered = |image: &[u8], seqid: u64| {
        let mut image = image.to_vec();
        (0..2).for_each(|which| {
            header::edit_copy(&mut image, which, |copy| copy[16..24].copy_from_slice(&seqid.to_be_bytes()));
        });
        shared(image)
    };
    let refused = |what: &str, result: Result<()>| match result {
        Err(Error::UnsupportedHeader(text)) => assert!(text.contains("sequence number"), "{what}: {text}"),
        other => panic!("{what}: {other:?}"),
    };

    // The last number of all: nothing can be changed, and no key is left where no header names it.
    let device = numbered(&world.before, u64::MAX);
    let volume = world.volume(&device);
    let before = device.bytes();
    for (name, act) in LUKS1.iter().chain(&LUKS2) {
        refused(name, act(&world, &volume));
        assert!(device.bytes() == before, "{name} was refused, and wrote");
    }
    let backup = Header::load(&device).unwrap().backup().unwrap();
    refused("restore", Header::restore(&device, &backup));
    assert!(device.bytes() == before, "a restore was refused, and wrote");

    // One before the end: an operation of two changes, the first of which forgets a keyslot, isn't begun.
    let device = numbered(&world.before, u64::MAX - 1);
    let volume = world.volume(&device);
    let before = device.bytes();
    refused("remove", remove(&volume, ProtectorId::Keyslot(old)));
    refused("erase", volume.header().erase());
    assert!(device.bytes() == before, "a keyslot was half removed");
    volume.add_protector(Protector::Passphrase(NEW), &cost().id(new)).unwrap();
    drop(volume);
    world.check_ways_in("numbers at their end", &device);

    // A keyslot that a killed process has left to be wiped can't be forgotten: the volume is for reading only then.
    let device = shared(world.before.clone());
    let volume = world.volume(&device);
    device.fail(Call::Write, 6, false);
    remove(&volume, ProtectorId::Keyslot(old)).unwrap_err();
    drop(volume);
    let device = numbered(&device.bytes(), u64::MAX);
    let before = device.bytes();
    refused("open", world.open(&device, Credential::Passphrase(KEEP)).map(drop));
    assert!(device.bytes() == before, "what could not be finished was begun");
    let options = atrest::OpenOptions::new().read_only(true);
    let look = world.kind.open(device, &world.data, Credential::Passphrase(KEEP), options).unwrap();
    assert!(holds_plain(&look));
}
