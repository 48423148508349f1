//! Encryption and decryption in place: what one side begins, the other finishes.

use std::fs::File;
use std::sync::Arc;

use atrest::volume::Resilience;
use atrest::{Credential, Error, FileDevice, FormatOptions, OpenOptions, Protector, SectorSize, Volume};

use crate::Cells;
use crate::common::python;
use crate::image::{CHEAP_PBKDF2, Image, cheap_pbkdf2, dek, have_cryptsetup, noise};
use crate::models::{Start, dissect};

const MIB: usize = 1 << 20;
const ONE: &[u8] = b"one";

fn reencrypt(image: &Image, args: &[&str]) {
    let (key, path, header) = (image.key("one"), image.path(), image.header());
    let mut all = vec!["reencrypt", "-q", "--force-offline-reencrypt", "--key-file", &key];
    if image.detached {
        all.extend(["--header", &header]);
    }
    all.extend(args);
    all.push(&path);
    image.cryptsetup(&all);
}

/// Opens an image of which a part is plain.
fn partly_plain<R>(image: &Image, f: impl FnOnce(&crate::image::Open) -> R) -> R {
    let refused = image.refused("one", OpenOptions::new());
    assert!(
        matches!(&refused, Error::UnsupportedHeader(text) if text.contains("hazmat_allow_unencrypted")),
        "{refused}"
    );
    let options = OpenOptions::new().hazmat_allow_unencrypted(true);
    image.ours_by(Credential::Passphrase(ONE), options, f).unwrap()
}

fn holds(volume: &crate::image::Open, plain: &[u8]) {
    let mut read = vec![0; plain.len()];
    volume.read_at(0, &mut read).unwrap();
    assert!(read == plain, "other data came out");
}

/// Steps until a part is done, or all; with a write to each end, of which `plain` is told.
fn steps(volume: &crate::image::Open, plain: &mut [u8], count: usize) -> bool {
    holds(volume, plain);
    for step in 0..count {
        for at in [0, plain.len() - 8192] {
            let written = noise(8192, (step + at) as u32 + 1);
            volume.write_at(at as u64, &written).unwrap();
            plain[at..at + 8192].copy_from_slice(&written);
        }
        if volume.reencrypt_step(512 << 10).unwrap().is_finished() {
            holds(volume, plain);
            return true;
        }
    }
    holds(volume, plain);
    false
}

/// An independent reader finds `plain` in a finished volume.
fn they_read(python: &str, image: &Image, plain: &[u8]) {
    let start = Start { header: image.header(), data: image.path(), passphrase: "one".into(), len: plain.len() };
    assert!(dissect(python, &[start])[0] == plain);
    image.ours("one", |volume| holds(volume, plain));
    assert_eq!(image.ours("one", |volume| dek(&volume.dek())), image.their_dek("one"));
}

/// A plain image, with room at its end.
fn plain_image(plain: &[u8], free: usize) -> Image {
    let image = Image::blank(0);
    image.edit(|bytes| {
        *bytes = plain.to_vec();
        bytes.resize(plain.len() + free, 0);
    });
    image
}

/// A plain image, and a blank device for its header.
fn plain_beside(plain: &[u8]) -> Image {
    let mut image = plain_image(plain, 0);
    image.detached = true;
    File::create(image.header()).unwrap().set_len(16 << 20).unwrap();
    image
}

#[test]
fn data_that_is_shifted_to_make_room_for_the_header() {
    let (true, Some(python)) = (have_cryptsetup(), python("dissect.fve.luks")) else { return };
    let mut cells = Cells::of("encryption that shifts data");
    for (mib, sector_size) in [(5, 512), (3, 4096), (1, 512)] {
        // Data of several zones of 2 MiB, of an odd number, and of less than one.
        let offset = 2 * MIB;
        let options = FormatOptions::new().data_offset(offset as u64).keyslot(cheap_pbkdf2());
        let options = options.sector_size(SectorSize::new(sector_size).unwrap());
        for stop in [0, 1, 99] {
            let mut plain = noise(mib * MIB, 31);
            let image = plain_image(&plain, 2 * offset);
            let begin = || {
                let device = FileDevice::open(image.path()).unwrap();
                Volume::begin_encryption(device, Protector::Passphrase(ONE), &options, 2 * offset as u64)
            };
            assert_eq!(begin().unwrap().size(), plain.len() as u64);
            assert!(matches!(begin(), Err(Error::Busy { .. })), "it was begun twice");
            let finished = stop > 0 && partly_plain(&image, |volume| steps(volume, &mut plain, stop));
            if !finished {
                reencrypt(&image, &["--resume-only"]);
            }
            they_read(&python, &image, &plain);
            // It was moved by whole sectors only.
            let is_plain = |sector: &[u8]| sector == &plain[..512] || sector == &plain[8192..8704];
            assert!(!image.bytes().chunks(512).any(is_plain), "a part is left plain");
            cells.they_read();
        }
        for init in [true, false] {
            let mut plain = noise(mib * MIB, 32);
            let image = plain_image(&plain, 2 * offset);
            let (reduce, size) = (format!("{}M", 2 * offset / MIB), sector_size.to_string());
            let how = [
                "--encrypt",
                "--type",
                "luks2",
                "--reduce-device-size",
                &reduce,
                "--sector-size",
                &size,
                "--init-only",
            ];
            reencrypt(&image, &[&how[..], &CHEAP_PBKDF2].concat());
            if !init {
                partly_plain(&image, |volume| steps(volume, &mut plain, 1));
            }
            let last = image.with_our_header(|header| header.requirements().is_empty());
            assert!(last || partly_plain(&image, |volume| steps(volume, &mut plain, 99)));
            they_read(&python, &image, &plain);
            cells.we_read();
        }
    }
    cells.print();
}

#[test]
fn data_that_is_encrypted_beside_its_header() {
    let (true, Some(python)) = (have_cryptsetup(), python("dissect.fve.luks")) else { return };
    let mut cells = Cells::of("encryption in place");
    for sector_size in [512, 4096] {
        for stop in [0, 1, 99] {
            let mut plain = noise(2 * MIB, 33);
            let image = plain_beside(&plain);
            let options =
                FormatOptions::new().keyslot(cheap_pbkdf2()).sector_size(SectorSize::new(sector_size).unwrap());
            let begin = || {
                let options = options.clone().header(Arc::new(FileDevice::open(image.header()).unwrap()));
                let device = FileDevice::open(image.path()).unwrap();
                Volume::begin_encryption(device, Protector::Passphrase(ONE), &options, 0)
            };
            begin().unwrap();
            assert!(matches!(begin(), Err(Error::Busy { .. })), "it was begun twice");
            let finished = stop > 0 && partly_plain(&image, |volume| steps(volume, &mut plain, stop));
            if !finished {
                reencrypt(&image, &["--resume-only"]);
            }
            they_read(&python, &image, &plain);
            cells.they_read();
        }
        for resilience in ["checksum", "journal"] {
            let mut plain = noise(2 * MIB, 34);
            let image = plain_beside(&plain);
            let size = sector_size.to_string();
            let how =
                ["--encrypt", "--type", "luks2", "--sector-size", &size, "--resilience", resilience, "--init-only"];
            reencrypt(&image, &[&how[..], &CHEAP_PBKDF2].concat());
            assert!(partly_plain(&image, |volume| steps(volume, &mut plain, 99)));
            they_read(&python, &image, &plain);
            cells.we_read();
        }
    }
    cells.print();
}

#[test]
fn data_that_is_decrypted_beside_its_header() {
    if !have_cryptsetup() {
        return;
    }
    let mut cells = Cells::of("decryption in place");
    for resilience in [Resilience::Checksum, Resilience::Journal] {
        for stop in [0, 2, 99] {
            let mut plain = noise(4 * MIB, 35);
            let image = Image::with_header(true);
            image.format("one", FormatOptions::new().keyslot(cheap_pbkdf2()));
            image.ours("one", |volume| {
                volume.write_at(0, &plain).unwrap();
                volume.begin_decryption(resilience).unwrap();
            });
            let finished = stop > 0 && partly_plain(&image, |volume| steps(volume, &mut plain, stop));
            if !finished {
                reencrypt(&image, &["--resume-only"]);
            }
            assert!(image.bytes() == plain);
            cells.they_read();
        }
        let mut plain = noise(4 * MIB, 36);
        let image = Image::with_header(true);
        image.format("one", FormatOptions::new().keyslot(cheap_pbkdf2()));
        image.ours("one", |volume| volume.write_at(0, &plain).unwrap());
        let name = if resilience == Resilience::Checksum { "checksum" } else { "journal" };
        reencrypt(&image, &["--decrypt", "--init-only", "--resilience", name]);
        assert!(partly_plain(&image, |volume| steps(volume, &mut plain, 99)));
        assert!(image.bytes() == plain);
        assert!(!image.theirs("one"), "its header is still there");
        cells.we_read();
    }
    cells.print();
}
