//! Encryption and decryption in place on a device whose calls fail, each in turn. What failed is repeated, or the volume is
//! opened again; either way nothing is lost.

use std::sync::Arc;

use atrest::volume::Resilience;
use atrest::{BlockDevice, Credential, Error, FormatOptions, OpenOptions, Protector, Result, SectorSize, Volume};

use crate::common::device::{Call, TestDevice};
use crate::common::vaults::MemoryVault;
use crate::in_place_crash::{Kind, Part, World};
use crate::reencrypt_faults::{FAULTS, is_the_fault, stride};

/// Other calls are tried here than there, as few of them: the images are larger.
const RARER: usize = 7;
const ZONE: u64 = 40 << 10;

struct Fault {
    call: Call,
    nth: usize,
    loses: bool,
    /// Whether the volume is opened again afterwards.
    again: bool,
}

/// All that isn't closed holds the data.
fn holds(world: &World, what: &str, volume: &Volume<Part>) {
    for (at, wanted) in (0..).step_by(4096).zip(world.plain.chunks(4096)) {
        let mut bytes = vec![0; wanted.len()];
        match volume.read_at(at, &mut bytes) {
            Ok(()) => assert!(bytes == wanted, "{what}: other data at {at}"),
            Err(error) => assert!(matches!(error, Error::Busy { .. }), "{what}: {error:?}"),
        }
    }
}

/// Begins on an open volume, and repeats that once.
fn begin_twice(world: &World, header: &Part, volume: &Volume<Part>, failed: &mut bool) -> Result<()> {
    let begin = || match world.kind {
        Kind::Decrypt(resilience) => volume.begin_decryption(resilience),
        Kind::DecryptOver(resilience) => volume.begin_decryption_beside(Arc::new(header.clone()), resilience),
        Kind::Shift | Kind::Beside => Ok(()),
    };
    match begin() {
        Err(error) if is_the_fault(&error) => {
            *failed = true;
            holds(world, "after a beginning that failed", volume);
            match begin() {
                Err(Error::DeviceNotBlank { .. }) => {
                    header.write_at(0, &vec![0; header.len]).unwrap();
                    begin()
                }
                begun => begun,
            }
        }
        begun => begun,
    }
}

/// Does it all with one fault. Returns whether it happened.
fn survives(world: &World, before: &[u8], fault: &Fault) -> bool {
    let what = format!("{:?}, {:?} {}", world.kind, fault.call, fault.nth);
    let (device, header, data) = world.parts(before.to_vec());
    device.set_atom(if matches!(world.kind, Kind::Decrypt(Resilience::Journal)) { 512 } else { world.sector_bytes() });
    let arm = || device.fail(fault.call, fault.nth, fault.loses);
    let mut failed = false;
    let is_open = matches!(world.kind, Kind::Decrypt(_) | Kind::DecryptOver(_)) && !fault.again;
    let begun = if is_open {
        let options = OpenOptions::new();
        let detached = matches!(world.kind, Kind::Decrypt(_));
        let options = if detached { options.header(Arc::new(header.clone())) } else { options };
        let volume = Volume::open(data.clone(), Credential::Passphrase(b"one"), &options).unwrap();
        arm();
        begin_twice(world, &header, &volume, &mut failed).unwrap_or_else(|e| panic!("{what}: begun again: {e:?}"));
        Some(volume)
    } else {
        arm();
        match world.begin(header.clone(), data.clone()) {
            Ok(volume) => Some(volume),
            Err(error) => {
                assert!(is_the_fault(&error), "{what}: {error:?}");
                failed = true;
                world.resumed(&what, header.clone(), data.clone())
            }
        }
    };
    let mut next = begun;
    let mut steps = 0;
    while let Some(volume) = next.take() {
        steps += 1;
        assert!(steps < 99, "{what}");
        match volume.reencrypt_step(ZONE) {
            Ok(progress) if progress.is_finished() => {
                if device.heal() {
                    return false;
                }
                world.holds(&what, &volume);
            }
            Ok(_) => next = Some(volume),
            Err(error) => {
                assert!(!failed && is_the_fault(&error), "{what}: {error:?}");
                failed = true;
                holds(world, &what, &volume);
                next = if fault.again {
                    drop(volume);
                    world.resumed(&what, header.clone(), data.clone())
                } else {
                    Some(volume)
                };
            }
        }
    }
    if device.heal() {
        return false;
    }
    assert!(failed, "{what}: a fault was swallowed");
    world.check_end(&what, &device.bytes(), before);
    if matches!(world.kind, Kind::Shift | Kind::Beside) {
        world.holds(&what, &world.open(header, data).unwrap());
    }
    true
}

/// Does it all again and again, with each call that is to be tried failing in turn. `i` tells which are.
fn each_fault(i: usize, kind: Kind, sector_size: SectorSize) {
    let world = World::new(kind, sector_size);
    let before = world.before();
    let mut counts = [0; FAULTS.len()];
    for (count, (call, loses, of)) in counts.iter_mut().zip(FAULTS) {
        let stride = stride(of * RARER);
        let mut nth = i % stride;
        while survives(&world, &before, &Fault { call, nth, loses, again: (nth + i) % 2 == 1 }) {
            nth += stride;
            *count += 1;
        }
        assert!(stride > 1 || *count > 0, "{kind:?}: none of {call:?}");
    }
    println!("{kind:?}: {} faults in place survived: {counts:?} of {:?}", counts.iter().sum::<usize>(), FAULTS);
    assert!(counts.iter().sum::<usize>() > 4, "{kind:?}: {counts:?}");
}

#[test]
fn a_fault_of_an_encryption_that_shifts_data_loses_nothing() {
    each_fault(0, Kind::Shift, SectorSize::B4096);
}

#[test]
fn a_fault_of_an_encryption_beside_its_header_loses_nothing() {
    each_fault(1, Kind::Beside, SectorSize::B512);
}

#[test]
fn a_fault_of_a_decryption_loses_nothing() {
    each_fault(2, Kind::Decrypt(Resilience::Checksum), SectorSize::B512);
}

#[test]
fn a_fault_of_a_decryption_with_a_journal_loses_nothing() {
    each_fault(3, Kind::Decrypt(Resilience::Journal), SectorSize::B4096);
}

#[test]
fn a_fault_of_a_decryption_over_its_header_loses_nothing() {
    each_fault(4, Kind::DecryptOver(Resilience::Checksum), SectorSize::B4096);
}

#[test]
fn a_fault_of_a_decryption_over_its_header_with_a_journal_loses_nothing() {
    each_fault(5, Kind::DecryptOver(Resilience::Journal), SectorSize::B512);
}

/// At the start of the device, one copy of the header may be whole before the other is.
#[test]
fn an_encryption_that_failed_while_it_wrote_its_header_is_begun_again() {
    let world = World::new(Kind::Shift, SectorSize::B4096);
    let before = world.before();
    for nth in 0.. {
        let (device, header, data) = world.parts(before.clone());
        device.set_atom(4096);
        device.fail(Call::Write, nth, false);
        let begun = world.begin(header.clone(), data.clone());
        if device.heal() {
            assert!(nth > 5, "{nth}");
            break;
        }
        assert!(is_the_fault(&begun.map(drop).unwrap_err()));
        let what = format!("write {nth}");
        world.holds(&what, &world.resumed(&what, header.clone(), data.clone()).unwrap());
        // And it isn't begun twice.
        assert!(matches!(world.begin(header, data), Err(Error::Busy { .. })), "{what}");
    }
}

/// Without keyslots, the header ends before the room of one does.
#[test]
fn one_under_a_vault_alone_that_failed_is_begun_again() {
    let vault = MemoryVault::new("vault");
    let size = 1 << 20;
    let plain: Vec<u8> = (0..size).map(|i| (i / 4096) as u8).collect();
    let options = FormatOptions::new().data_offset(1 << 20);
    let mut nth = 0;
    loop {
        let mut image = plain.clone();
        image.resize(size + (2 << 20), 0);
        let device = Arc::new(TestDevice::new(image));
        device.fail(Call::Write, nth, false);
        let begin = || Volume::begin_encryption(device.clone(), Protector::Vault(&vault, "disks"), &options, 2 << 20);
        let begun = begin();
        if device.heal() {
            break;
        }
        begun.map(drop).unwrap_err();
        let open = OpenOptions::new().hazmat_allow_unencrypted(true);
        let volume = match begin() {
            Err(Error::Busy { .. }) => Volume::open(device.clone(), Credential::Vault(&vault), &open),
            begun => begun,
        };
        let volume = volume.unwrap_or_else(|e| panic!("write {nth}: {e:?}"));
        let mut found = vec![0; size];
        volume.read_at(0, &mut found).unwrap();
        assert!(found == plain, "write {nth}");
        nth += 1;
    }
    assert!(nth > 5, "{nth}");
}
