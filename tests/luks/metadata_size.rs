//! The room for JSON in a header: the error when it is full, and how to give a volume more.

use std::fs::{self, File};

use crate::common::device::reopen;
use crate::common::keyslots::cost;
use crate::common::vaults::MemoryVault;
use crate::common::volumes::{holds_plain, image, image_with, open, options, shared};
use crate::common::{cryptsetup, run, text};
use atrest::volume::Header;
use atrest::{BlockDevice, Credential, Error, FileDevice, FormatOptions, MemoryDevice, OpenOptions, Protector, Volume};

const KIB: u64 = 1024;

fn token(len: usize) -> String {
    format!(r#"{{"type":"x","keyslots":[],"data":"{}"}}"#, "x".repeat(len))
}

/// Puts in the largest token that there is room for, to a hundred bytes.
fn fill<D: BlockDevice>(volume: &Volume<D>) {
    let fits = |len: &usize| volume.header().import_token(token(*len)).is_ok();
    assert!((8_000..12_000).rev().step_by(100).any(|len| fits(&len)));
}

fn is_full<T: std::fmt::Debug>(result: Result<T, Error>) {
    match result {
        Err(Error::NoRoom(text)) => assert!(text.contains("12287") && text.contains("metadata_size"), "{text}"),
        other => panic!("{other:?}"),
    }
}

/// systemd and others keep tokens of kilobytes. If these leave no room, the error says so, and nothing is written.
#[test]
fn a_header_that_is_full_says_so_and_stays_as_it_is() {
    let (vault, image) = image();
    let device = shared(image);
    let volume = open(device.clone(), &vault).unwrap();
    fill(&volume);
    let before = device.bytes();
    is_full(volume.header().import_token(token(2000)));
    is_full(Header::load(&device).unwrap().import_token(token(2000)));
    let other = MemoryVault::new("memory:another");
    is_full(volume.add_protector(Protector::Vault(&other, "disks"), &cost()));
    assert!(device.bytes() == before && holds_plain(&open(shared(before), &vault).unwrap()));
    // The header can still be changed.
    let tokens = volume.header().tokens();
    let large = tokens.iter().find(|token| token.kind == "x").unwrap();
    volume.header().remove_protector(atrest::volume::ProtectorId::Token(large.id)).unwrap();
    volume.header().set_label("again", "").unwrap();
    assert!(holds_plain(&open(device, &vault).unwrap()));
}

/// No key of the volume is written to an area that no header names.
#[test]
fn a_keyslot_that_has_no_room_is_not_written() {
    let (vault, image) = image();
    let device = shared(image);
    let volume = open(device.clone(), &vault).unwrap();
    fill(&volume);
    let before = device.bytes();
    is_full(volume.add_protector(Protector::Passphrase(b"second"), &cost()));
    assert!(device.bytes() == before);
}

#[test]
fn a_volume_may_have_more_room_and_cryptsetup_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let (path, dump) = (folder.path().join("volume"), folder.path().join("token"));
    for kib in [16, 32, 256, 4096] {
        let options = FormatOptions::new().metadata_size(kib * KIB).keyslot(cost());
        File::create(&path).unwrap().set_len(20 << 20).unwrap();
        let device = reopen(|| FileDevice::open(&path)).unwrap();
        let volume = Volume::format(device, Protector::Passphrase(b"first"), &options).unwrap();
        assert_eq!(volume.header().metadata_size(), kib * KIB);
        assert_eq!(volume.data_offset(), 16 << 20);
        // The largest size with room, except for a kilobyte or two for the rest.
        let len = (kib * KIB) as usize - 4096 - 2500;
        let id = volume.header().import_token(token(len)).unwrap();
        volume.add_protector(Protector::Passphrase(b"second"), &cost()).map(drop).unwrap();
        drop(volume);
        let volume = Volume::open(
            reopen(|| FileDevice::open(&path)).unwrap(),
            Credential::Passphrase(b"second"),
            &OpenOptions::new().read_only(true),
        );
        assert!(volume.unwrap().header().tokens()[0].json.len() > len);

        let Some(cryptsetup) = cryptsetup() else { continue };
        let said = run(&cryptsetup, &["luksDump", text(&path)]);
        assert!(said.contains(&format!("{} [bytes]", kib * KIB)), "{said}");
        run(&cryptsetup, &["token", "export", "--token-id", &id.to_string(), "--json-file", text(&dump), text(&path)]);
        assert!(fs::read(&dump).unwrap().len() > len);
        fs::write(&dump, "second").unwrap();
        run(&cryptsetup, &["open", "--test-passphrase", "--key-file", text(&dump), text(&path)]);
    }
}

#[test]
fn each_copy_of_a_larger_header_is_repaired_from_the_other() {
    const SIZE: usize = 64 << 10;
    let (vault, image) = image_with(&options().metadata_size(SIZE as u64));
    for which in 0..2 {
        let mut damaged = image.clone();
        damaged[which * SIZE..(which + 1) * SIZE].fill(0);
        let device = shared(damaged);
        assert!(holds_plain(&open(device.clone(), &vault).unwrap()));
        assert!(device.bytes()[..6] == *b"LUKS\xba\xbe" && device.bytes()[SIZE..SIZE + 6] == *b"SKUL\xba\xbe");
        assert!(!Header::load(&device).unwrap().needs_repair());
    }
}

#[test]
fn sizes_that_the_format_has_not_are_refused() {
    let format = |options: &FormatOptions| {
        Volume::format(MemoryDevice::new(20 << 20), Protector::Passphrase(b"first"), &options.clone().keyslot(cost()))
    };
    let luks1 = FormatOptions::new().version(atrest::volume::LuksVersion::Luks1);
    for options in [
        FormatOptions::new().metadata_size(0),
        FormatOptions::new().metadata_size(4096),
        FormatOptions::new().metadata_size(48 * KIB),
        FormatOptions::new().metadata_size(8 << 20),
        luks1.metadata_size(32 * KIB),
    ] {
        assert!(matches!(format(&options), Err(Error::InvalidOption(_))));
    }
    // Sizes that leave no room for a keyslot before the data.
    assert!(matches!(format(&options().metadata_size(512 * KIB)), Err(Error::NoRoom(_))));
    assert!(matches!(format(&options().metadata_size(1024 * KIB)), Err(Error::InvalidOption(_))));
    format(&options().metadata_size(256 * KIB)).unwrap();
}
