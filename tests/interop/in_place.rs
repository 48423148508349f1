//! Encryption and decryption in place: what one side begins, the other finishes.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use atrest::volume::Resilience;
use atrest::{Credential, Error, FileDevice, FormatOptions, OpenOptions, Protector, SectorSize, Volume};

use crate::Cells;
use crate::common::python;
use crate::image::{CHEAP_PBKDF2, Image, cheap_pbkdf2, dek, have_cryptsetup, noise};
use crate::models::{Start, dissect};
use crate::reencryption::Stopping;

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
    steps_of(volume, plain, count, 512 << 10)
}

fn steps_of(volume: &crate::image::Open, plain: &mut [u8], count: usize, budget: u64) -> bool {
    holds(volume, plain);
    for step in 0..count {
        for at in [0, plain.len() - 8192] {
            let written = noise(8192, (step + at) as u32 + 1);
            volume.write_at(at as u64, &written).unwrap();
            plain[at..at + 8192].copy_from_slice(&written);
        }
        if volume.reencrypt_step(budget).unwrap().is_finished() {
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

/// A volume with its header in front, of which the data begins at `offset`.
fn headed(plain: &[u8], offset: usize, sector_size: u32) -> Image {
    let image = Image::blank((plain.len() + offset) as u64);
    let options = FormatOptions::new().data_offset(offset as u64).keyslot(cheap_pbkdf2());
    image.format("one", options.sector_size(SectorSize::new(sector_size).unwrap()));
    image.ours("one", |volume| volume.write_at(0, plain).unwrap());
    image
}

fn is_plain(image: &Image, plain: &[u8]) {
    assert!(image.bytes()[..plain.len()] == *plain, "it isn't plain");
}

/// The size of the data and its offset, its sectors, where it is left to the other side (never, or after so many steps), and
/// whether `cryptsetup` is to move little.
const SHIFTS: [(usize, usize, u32, Resilience, usize, bool); 4] = [
    (2 * MIB + 512, MIB, 512, Resilience::Checksum, 0, false),
    (3 * MIB, 2 * MIB, 4096, Resilience::Journal, 3, true),
    // All of it is moved, and decrypted where it is then.
    (MIB / 2, 2 * MIB, 512, Resilience::Checksum, 0, false),
    (2 * MIB, 16 * MIB, 2048, Resilience::Checksum, 1, true),
];

#[test]
fn data_that_is_decrypted_and_shifted_over_its_header() {
    if !have_cryptsetup() {
        return;
    }
    let mut cells = Cells::of("decryption that shifts data");
    for (len, offset, sector_size, resilience, stop, moves_little) in SHIFTS {
        let step = (len / 8) as u64;
        for stop in [stop, 99] {
            let mut plain = noise(len, 37);
            let mut image = headed(&plain, offset, sector_size);
            File::create(image.file("header")).unwrap().set_len(offset as u64).unwrap();
            let header = image.device("header");
            image.ours("one", |volume| volume.begin_decryption_beside(header, resilience).unwrap());
            assert!(!image.theirs("one"), "its header is still before the data");
            image.detached = true;
            let finished = stop > 0 && partly_plain(&image, |volume| steps_of(volume, &mut plain, stop, step));
            if !finished {
                reencrypt(&image, &["--resume-only"]);
            }
            is_plain(&image, &plain);
            cells.they_read();
        }
        let mut plain = noise(len, 38);
        let mut image = headed(&plain, offset, sector_size);
        image.detached = true;
        let name = if resilience == Resilience::Checksum { "checksum" } else { "journal" };
        let little: &[&str] = if moves_little { &["--hotzone-size", "256K"] } else { &[] };
        reencrypt(&image, &[&["--decrypt", "--init-only", "--resilience", name], little].concat());
        let finished = partly_plain(&image, |volume| steps_of(volume, &mut plain, 1, step));
        assert!(finished || partly_plain(&image, |volume| steps_of(volume, &mut plain, 99, step)));
        is_plain(&image, &plain);
        cells.we_read();
    }
    cells.print();
}

/// Kills `cryptsetup` in a decryption that shifts data, at many places, and so us.
#[test]
fn a_decryption_that_shifts_data_killed_at_many_places() {
    if !have_cryptsetup() {
        return;
    }
    let mut cells = Cells::of("decryption that shifts data, killed");
    let kills = std::env::var("ATREST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(4);
    let plain = noise(2 * MIB, 39);
    let whole = headed(&plain, MIB, 4096).bytes();
    let start = || {
        let mut image = Image::blank(0);
        fs::write(image.path(), &whole).unwrap();
        image.detached = true;
        image
    };
    for nth in 0..kills {
        let mut image = start();
        let name = ["checksum", "journal"][nth % 2];
        let after = decrypt_and_kill(&image, name, nth as u64);
        let options = OpenOptions::new().hazmat_allow_unencrypted(true);
        let opened = image.ours_by(Credential::Passphrase(ONE), options, |volume| {
            holds(volume, &plain);
            if volume.reencryption().is_none() {
                // Killed before it had begun, by its header. It refuses to go on with that.
                volume.begin_decryption_beside(image.device("header"), Resilience::Checksum).unwrap();
            }
            while !volume.reencrypt_step(300 << 10).unwrap().is_finished() {}
        });
        match opened {
            Ok(()) => cells.we_read(),
            // Its header is not whole yet, or it has finished.
            Err(_) if image.bytes().starts_with(b"LUKS") => {
                image.detached = false;
                image.ours("one", |volume| holds(volume, &plain));
                continue;
            }
            Err(e) => println!("after {after:?}: {e}"),
        }
        is_plain(&image, &plain);
    }
    for nth in 0..kills {
        let resilience = [Resilience::Checksum, Resilience::Journal][nth % 2];
        let image = start();
        let left = Arc::new(AtomicUsize::new(12 + nth * 90 / kills));
        let device = Arc::new(Stopping::sharing(whole.clone(), &left));
        let beside = Arc::new(Stopping::sharing(vec![0; MIB], &left));
        let volume = Volume::open(device.clone(), Credential::Passphrase(ONE), &OpenOptions::new()).unwrap();
        let begun = volume.begin_decryption_beside(beside.clone(), resilience);
        let stopped = begun.is_err() || (0..99).any(|_| volume.reencrypt_step(96 << 10).is_err());
        drop(volume);
        fs::write(image.path(), device.bytes()).unwrap();
        fs::write(image.header(), beside.bytes()).unwrap();
        if begun.is_ok() && stopped {
            let (key, header, path) = (image.key("one"), image.header(), image.path());
            image.cryptsetup(&["repair", "-q", "--key-file", &key, "--header", &header, &path]);
            reencrypt(&image, &["--resume-only"]);
            is_plain(&image, &plain);
            cells.they_read();
        }
    }
    cells.print();
}

/// Decrypts with `cryptsetup`, which is killed after a while. Returns how long that was.
fn decrypt_and_kill(image: &Image, resilience: &str, nth: u64) -> Duration {
    let mut command = Command::new("cryptsetup");
    let (key, header, path) = (image.key("one"), image.header(), image.path());
    command.args(["reencrypt", "-q", "--decrypt", "--force-offline-reencrypt", "--hotzone-size", "64K"]);
    command.args(["--resilience", resilience, "--header", &header, "--key-file", &key, &path]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let limit = Instant::now() + Duration::from_secs(30);
    // The header is there early; what follows takes the most time.
    while fs::metadata(image.header()).is_err() && child.try_wait().unwrap().is_none() && Instant::now() < limit {}
    let started = Instant::now();
    std::thread::sleep(Duration::from_millis(nth * 37 % 400));
    // SIGKILL.
    let _ = child.kill();
    child.wait().unwrap();
    started.elapsed()
}
