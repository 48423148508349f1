//! Data that `cryptsetup` encrypts in user space, and its unfinished reencryptions.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use atrest::volume::{Header, ProtectorId};
use atrest::{Error, FormatOptions, MemoryDevice, OpenOptions, SectorSize};
use serde_json::Value;

use crate::Cells;
use crate::common::{header, python};
use crate::image::{CHEAP_PBKDF2, Image, cheap_pbkdf2, dek, have_cryptsetup, noise};
use crate::models::{Start, dissect};

const SIZE: usize = 1 << 20;

fn reencrypt(image: &Image, args: &[&str]) {
    let (key, path) = (image.key("one"), image.path());
    image.cryptsetup(&[&["reencrypt", "-q", "--key-file", &key][..], args, &[&path]].concat());
}

fn holds(image: &Image, plain: &[u8]) {
    image.ours("one", |volume| {
        let mut read = vec![0; plain.len()];
        volume.read_at(0, &mut read).unwrap();
        assert!(read == plain, "other data came out");
    });
}

#[test]
fn data_that_cryptsetup_encrypts_in_place() {
    let (true, Some(python)) = (have_cryptsetup(), python("dissect.fve.luks")) else { return };
    let mut cells = Cells::of("data of cryptsetup");
    for (sector_size, bits, cipher) in [
        ("512", "512", "aes-xts-plain64"),
        ("4096", "512", "aes-xts-plain64"),
        ("512", "256", "aes-xts-plain64"),
        ("4096", "256", "aes-xts-plain64"),
        ("2048", "512", "aes-xts-plain"),
        ("512", "256", "aes-cbc-essiv:sha256"),
        ("4096", "128", "aes-cbc-plain64"),
    ] {
        let what = format!("{cipher} {bits} {sector_size}");
        let image = Image::blank(0);
        let plain = noise(SIZE, 20);
        image.edit(|bytes| {
            *bytes = plain.clone();
            bytes.resize(SIZE + (32 << 20), 0);
        });
        let how =
            ["--encrypt", "--type", "luks2", "--reduce-device-size", "32M", "--cipher", cipher, "--key-size", bits];
        reencrypt(&image, &[&how[..], &["--sector-size", sector_size], &CHEAP_PBKDF2].concat());
        holds(&image, &plain);
        image.ours("one", |volume| {
            assert_eq!(volume.sector_size().bytes().to_string(), sector_size, "{what}");
            assert_eq!(volume.cipher().name(), cipher, "{what}");
        });
        cells.we_read();
        let changed = noise(SIZE, 21);
        image.ours("one", |volume| volume.write_at(0, &changed).unwrap());
        if cipher == "aes-xts-plain64" {
            let start = Start { header: image.path(), data: image.path(), passphrase: "one".into(), len: SIZE };
            assert!(dissect(&python, &[start])[0] == changed, "{what}");
            cells.they_read();
        }
        // `cryptsetup` decrypts our writes.
        let header = image.file("exported");
        let decrypt = ["--decrypt", "--force-offline-reencrypt", "--header", &header];
        reencrypt(&image, &decrypt);
        assert!(image.bytes()[..SIZE] == changed, "{what}");
        cells.they_read();
    }
    cells.print();
}

/// A volume of ours with data.
fn volume(plain: &[u8], sector_size: SectorSize) -> Image {
    let image = Image::blank((16 << 20) + plain.len() as u64);
    image.format("one", FormatOptions::new().sector_size(sector_size).keyslot(cheap_pbkdf2()));
    image.ours("one", |volume| volume.write_at(0, plain).unwrap());
    image
}

/// The parts of the data that are already in their final state, by the letter of section 3.3 of the specification.
fn progress(root: &Value) -> (u64, u64) {
    let segments = root["segments"].as_object().unwrap();
    let flag = |segment: &Value, flag: &str| {
        segment["flags"].as_array().is_some_and(|flags| flags.iter().any(|found| found == flag))
    };
    let digest_of = |id: &str| {
        let digests = root["digests"].as_object().unwrap();
        let proves = |digest: &&Value| digest["segments"].as_array().unwrap().iter().any(|segment| segment == id);
        digests.values().find(proves).map(|digest| digest["salt"].clone())
    };
    let last = segments.iter().find(|(_, segment)| flag(segment, "backup-final")).unwrap().0;
    let (mut done, mut all) = (0, 0);
    for (id, segment) in segments {
        if ["backup-final", "backup-previous", "backup-moved-segment"].iter().any(|name| flag(segment, name)) {
            continue;
        }
        let Some(size) = segment["size"].as_str().and_then(|size| size.parse::<u64>().ok()) else { continue };
        all += size;
        if digest_of(id) == digest_of(last) && !flag(segment, "in-reencryption") {
            done += size;
        }
    }
    (done, all)
}

/// Refused by every verb, and not a byte of it changed.
fn is_left_alone(image: &Image) -> String {
    let error = image.refused("one", OpenOptions::new());
    let Error::UnsupportedHeader(text) = &error else { panic!("{error}") };
    assert!(text.contains("--resume-only"), "{text}");
    let device = MemoryDevice::from_bytes(image.bytes());
    let mut header = Header::load(&device).unwrap();
    assert!(!header.requirements().is_empty());
    assert!(matches!(header.set_label("x", ""), Err(Error::UnsupportedHeader(_))));
    let removed = header.remove_protector(ProtectorId::Keyslot(0));
    assert!(matches!(removed, Err(Error::UnsupportedHeader(_) | Error::LastProtector)), "{removed:?}");
    assert!(header.import_token(r#"{"type":"x","keyslots":[]}"#).is_err());
    let backup = header.backup().unwrap();
    assert!(matches!(Header::restore(&device, &backup), Err(Error::UnsupportedHeader(_))));
    drop(header);
    assert!(device.into_bytes() == image.bytes());
    text.clone()
}

#[test]
fn a_reencryption_that_was_only_begun_is_refused_until_it_is_done() {
    if !have_cryptsetup() {
        return;
    }
    let mut cells = Cells::of("reencryptions begun");
    let plain = noise(SIZE, 22);
    for resilience in ["checksum", "journal", "none"] {
        let image = volume(&plain, SectorSize::B512);
        let old = image.ours("one", |volume| dek(&volume.dek()));
        let how = ["--init-only", "--force-offline-reencrypt", "--resilience", resilience];
        reencrypt(&image, &[&how[..], &CHEAP_PBKDF2].concat());
        let text = is_left_alone(&image);
        assert!(text.contains("0 bytes are done") || text.contains("0 of"), "{text}");
        cells.we_read();
        reencrypt(&image, &["--resume-only", "--force-offline-reencrypt"]);
        holds(&image, &plain);
        let new = image.ours("one", |volume| dek(&volume.dek()));
        assert_ne!(new, old, "{resilience}");
        assert_eq!(new, image.their_dek("one"), "{resilience}");
        cells.we_read();
    }
    // The other start: data that is still to be encrypted.
    let image = Image::blank(0);
    image.edit(|bytes| {
        *bytes = plain.clone();
        bytes.resize(SIZE + (32 << 20), 0);
    });
    let how = ["--encrypt", "--init-only", "--type", "luks2", "--reduce-device-size", "32M"];
    reencrypt(&image, &[&how[..], &CHEAP_PBKDF2].concat());
    let text = is_left_alone(&image);
    assert!(text.contains("encrypt"), "{text}");
    cells.we_read();
    reencrypt(&image, &["--resume-only", "--force-offline-reencrypt"]);
    holds(&image, &plain);
    cells.we_read();
    cells.print();
}

#[test]
fn a_reencryption_that_was_killed_is_refused_with_its_progress() {
    if !have_cryptsetup() {
        return;
    }
    let mut cells = Cells::of("reencryptions killed");
    let plain = noise(8 * SIZE, 23);
    for resilience in ["checksum", "journal"] {
        let image = volume(&plain, SectorSize::B4096);
        assert!(kill_half_way(&image, resilience), "{resilience}: it was always faster than we");
        let (done, all) = progress(&header::json(&image.bytes(), newest(&image)));
        assert!(0 < done && done < all, "{resilience}: {done} of {all}");
        let text = is_left_alone(&image);
        assert!(
            text.contains(&format!("{done} of ")) || text.contains(&format!("{done} bytes are done")),
            "{done}: {text}"
        );
        cells.we_read();
        image.cryptsetup(&["repair", "-q", "--key-file", &image.key("one"), &image.path()]);
        reencrypt(&image, &["--resume-only", "--force-offline-reencrypt"]);
        holds(&image, &plain);
        cells.we_read();
    }
    cells.print();
}

/// The copy with the larger sequence number.
fn newest(image: &Image) -> usize {
    let bytes = image.bytes();
    let intact = |which| header::is_intact(&bytes, which);
    match (intact(0), intact(1)) {
        (true, true) => usize::from(header::seqid(&bytes, 1) > header::seqid(&bytes, 0)),
        (first, _) => usize::from(!first),
    }
}

/// Begins a reencryption and kills it when a part is done.
fn kill_half_way(image: &Image, resilience: &str) -> bool {
    let (key, path) = (image.key("one"), image.path());
    let whole = image.bytes();
    for _ in 0..5 {
        let mut command = Command::new("cryptsetup");
        command.args([
            "reencrypt",
            "-q",
            "--force-offline-reencrypt",
            "--resilience",
            resilience,
            "--hotzone-size",
            "64K",
        ]);
        command.args(CHEAP_PBKDF2).args(["--key-file", &key, &path]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        while child.try_wait().unwrap().is_none() && start.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(2));
            let segments = |bytes: &[u8]| {
                header::is_intact(bytes, 0)
                    && header::is_intact(bytes, 1)
                    && header::json(bytes, 0)["segments"].as_object().is_some_and(|segments| segments.len() >= 5)
            };
            if segments(&read_start(&path)) {
                // SIGKILL.
                child.kill().unwrap();
                break;
            }
        }
        child.wait().unwrap();
        let root = header::json(&image.bytes(), newest(image));
        if root["config"]["requirements"].is_object() {
            let (done, all) = progress(&root);
            if 0 < done && done < all {
                return true;
            }
        }
        fs::write(&path, &whole).unwrap();
    }
    false
}

fn read_start(path: &str) -> Vec<u8> {
    let mut bytes = vec![0; 2 * header::COPY];
    std::os::unix::fs::FileExt::read_exact_at(&fs::File::open(path).unwrap(), &mut bytes, 0).unwrap();
    bytes
}
