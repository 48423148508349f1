//! Damaged headers: one copy repairs the other.

use crate::common::device::{Op, TestDevice};
use crate::common::header::{self, COPY, JSON};
use crate::common::volumes::{DATA, holds_plain, image, look, open, shared};
use crate::common::{cryptsetup, run_any, text};
use atrest::{Credential, Error, MemoryDevice, OpenOptions, Volume};

/// A way to damage a copy that lies at the beginning of some bytes.
type Damage = (&'static str, fn(&mut [u8]));

const DAMAGES: [Damage; 8] = [
    ("no magic", |copy| copy[0] ^= 1),
    ("another version", |copy| copy[7] = 3),
    ("a flipped bit of the checksum", |copy| copy[450] ^= 1),
    ("a flipped bit of the JSON", |copy| copy[JSON + 40] ^= 1),
    ("zeros", |copy| copy[..COPY].fill(0)),
    ("ones", |copy| copy[..COPY].fill(0xFF)),
    ("torn", |copy| copy[512..COPY].fill(0)),
    ("another size", |copy| copy[8..16].copy_from_slice(&0x8000u64.to_be_bytes())),
];

#[test]
fn a_damaged_copy_is_repaired_from_the_other() {
    let (vault, image) = image();
    for which in 0..2 {
        for (name, damage) in DAMAGES {
            let mut damaged = image.clone();
            damage(&mut damaged[which * COPY..2 * COPY]);
            // A reader changes nothing.
            let device = shared(damaged.clone());
            let options = OpenOptions::new().read_only(true);
            let volume = Volume::open(device.clone(), Credential::Vault(&vault), &options).unwrap();
            assert!(holds_plain(&volume), "{name}");
            assert!(device.bytes() == damaged && !device.take_log().iter().any(|op| matches!(op, Op::Write { .. })));
            // A writer repairs first.
            let volume = open(device.clone(), &vault).unwrap();
            assert!(holds_plain(&volume), "{name}");
            let repaired = device.bytes();
            assert!(header::is_whole(&repaired), "{name}, copy {which}");
            assert!(repaired[2 * COPY..] == image[2 * COPY..]);
            let other = 1 - which;
            assert!(header::copy(&repaired, other) == header::copy(&image, other), "the intact copy was written");
            // A repaired copy has a new salt (section 2.1), for every kind of damage to the old one.
            assert_ne!(header::copy(&repaired, which)[104..168], header::copy(&image, which)[104..168], "{name}");
        }
    }
}

#[test]
fn an_older_copy_is_replaced_by_the_newer() {
    let (vault, old) = image();
    vault.rotate();
    let device = shared(old.clone());
    open(device.clone(), &vault).unwrap().rotate_kek(&vault).unwrap();
    let new = device.bytes();
    assert_eq!(header::seqid(&new, 0), header::seqid(&old, 0) + 1);
    for which in 0..2 {
        let mut mixed = new.clone();
        mixed[which * COPY..(which + 1) * COPY].copy_from_slice(header::copy(&old, which));
        let device = shared(mixed);
        let volume = open(device.clone(), &vault).unwrap();
        assert_eq!(volume.keks()[0].version(), "2", "the older of two copies was taken");
        assert!(header::is_whole(&device.bytes()));
        assert_eq!(header::json(&device.bytes(), which), header::json(&new, 0));
    }
}

#[test]
fn no_corruption_of_a_byte_of_one_copy_is_noticed_by_who_opens() {
    let (vault, image) = image();
    let used = JSON + header::copy(&image, 0)[JSON..].iter().position(|&byte| byte == 0).unwrap();
    let device = shared(image);
    let options = OpenOptions::new().read_only(true);
    for at in (0..512).chain(JSON..used + 2) {
        device.edit(|bytes| bytes[at] ^= 0x5A);
        let volume = Volume::open(device.clone(), Credential::Vault(&vault), &options);
        let volume = volume.unwrap_or_else(|e| panic!("byte {at}: {e}"));
        assert_eq!(volume.keks()[0].version(), "1");
        device.edit(|bytes| bytes[at] ^= 0x5A);
    }
}

#[test]
fn two_damaged_copies_are_refused_and_both_are_named() {
    let (vault, image) = image();
    for (first, damage_first) in DAMAGES {
        for (second, damage_second) in DAMAGES {
            let mut damaged = image.clone();
            damage_first(&mut damaged);
            damage_second(&mut damaged[COPY..2 * COPY]);
            let error = look(damaged, &vault).unwrap_err();
            let without_magic = |name: &str| ["no magic", "zeros", "ones"].contains(&name);
            match &error {
                Error::NotLuks { .. } => assert!(without_magic(first) && without_magic(second), "{first}, {second}"),
                Error::InvalidHeader(text) => {
                    assert!(text.contains("primary copy: ") && text.contains("secondary copy: "), "{text}");
                }
                _ => panic!("{first}, {second}: {error:?}"),
            }
        }
    }
}

#[test]
fn a_copy_is_only_taken_from_where_it_says_that_it_is() {
    let (vault, image) = image();
    // The secondary is moved to another place where one could be, and the primary is gone.
    let mut moved = image.clone();
    moved[..2 * COPY].fill(0);
    moved[0x8000..0x8000 + COPY].copy_from_slice(header::copy(&image, 1));
    let error = look(moved, &vault).unwrap_err();
    assert!(matches!(&error, Error::InvalidHeader(text) if text.contains("offset")), "{error:?}");
    // The primary in the place of the secondary, and the other way round.
    let mut swapped = image.clone();
    swapped[..COPY].copy_from_slice(header::copy(&image, 1));
    swapped[COPY..2 * COPY].copy_from_slice(header::copy(&image, 0));
    assert!(matches!(look(swapped, &vault), Err(Error::NotLuks { .. })));
}

#[test]
fn json_that_is_not_sound_is_refused_with_its_defect() {
    let (vault, image) = image();
    let cases: [(&str, &[u8], &str); 6] = [
        ("not JSON", b"hello", "JSON is not sound"),
        ("no object", b"[]", "JSON is not sound"),
        ("nothing", b"", "JSON is not sound"),
        ("an empty object", b"{}", "config"),
        ("no end", &[b' '; COPY - JSON], "does not end"),
        ("a second text", b"{}\0{}", "after the end"),
    ];
    for (name, json, says) in cases {
        let mut broken = image.clone();
        for which in 0..2 {
            header::edit_copy(&mut broken, which, |copy| {
                copy[JSON..].fill(0);
                copy[JSON..JSON + json.len()].copy_from_slice(json);
            });
        }
        let error = look(broken, &vault).unwrap_err();
        assert!(matches!(&error, Error::InvalidHeader(text) if text.contains(says)), "{name}: {error:?}");
    }
    // Nested deeper than any stack.
    let mut deep = image;
    for which in 0..2 {
        header::edit_copy(&mut deep, which, |copy| copy[JSON..COPY - 1].fill(b'['));
    }
    assert!(matches!(look(deep, &vault), Err(Error::InvalidHeader(_))));
}

#[test]
fn cryptsetup_finds_nothing_to_repair_in_what_was_repaired() {
    let Some(cryptsetup) = cryptsetup() else { return };
    let (vault, image) = image();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let finds_fault = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let output = run_any(&cryptsetup, &["--debug", "luksDump", text(&path)]);
        let dump = String::from_utf8(output.stdout).unwrap();
        ["checksum error", "requires recovery", "recovery failed"].iter().any(|fault| dump.contains(fault))
            || dump.matches("# LUKS2 header version 2 of size 16384 bytes").count() != 2
            || !output.status.success()
    };
    for which in 0..2 {
        for (name, damage) in DAMAGES {
            let mut damaged = image.clone();
            damage(&mut damaged[which * COPY..2 * COPY]);
            let volume = open(MemoryDevice::from_bytes(damaged.clone()), &vault).unwrap();
            assert!(!finds_fault(&volume.into_device().into_bytes()), "{name}, copy {which}");
            assert!(finds_fault(&damaged), "{name}, copy {which}: cryptsetup is content with the damage");
        }
    }
}

#[test]
fn opening_a_sound_volume_writes_nothing_and_reads_no_data() {
    let (vault, image) = image();
    let device = TestDevice::new(image);
    let volume = open(device, &vault).unwrap();
    for op in volume.device().take_log() {
        assert!(matches!(op, Op::Read { offset, len } if offset as usize + len <= DATA), "{op:?}");
    }
}

#[test]
fn a_luks1_header_is_not_repaired_into_luks2() {
    let (vault, mut image) = image();
    // A possible remainder of a conversion to LUKS1: the second copy is still whole.
    image[7] = 1;
    let device = shared(image.clone());
    let error = open(device.clone(), &vault).unwrap_err();
    assert!(matches!(&error, Error::UnsupportedHeader(what) if what.contains("LUKS1")), "{error:?}");
    assert!(device.bytes() == image);
}
