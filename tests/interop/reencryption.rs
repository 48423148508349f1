//! Data that `cryptsetup` encrypts in user space, and its unfinished reencryptions.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use std::{fs, io};

use atrest::key::KdfLimits;
use atrest::volume::{Header, ProtectorId, ReencryptOptions, Resilience};
use atrest::{
    BlockDevice, Credential, DekAlgorithm, Error, FileDevice, FormatOptions, MemoryDevice, OpenOptions, Protector,
    SectorSize, Volume,
};
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

/// Refused by every verb that changes a header, and not a byte of it changed.
fn header_is_left_alone(image: &Image) {
    let device = MemoryDevice::from_bytes(image.bytes());
    let mut header = Header::load(&device).unwrap();
    assert!(!header.requirements().is_empty());
    let Err(Error::UnsupportedHeader(text)) = header.set_label("x", "") else { panic!("a label was set") };
    assert!(text.contains("--resume-only"), "{text}");
    let removed = header.remove_protector(ProtectorId::Keyslot(0));
    assert!(matches!(removed, Err(Error::UnsupportedHeader(_) | Error::LastProtector)), "{removed:?}");
    assert!(header.import_token(r#"{"type":"x","keyslots":[]}"#).is_err());
    let backup = header.backup().unwrap();
    assert!(matches!(Header::restore(&device, &backup), Err(Error::UnsupportedHeader(_))));
    drop(header);
    assert!(device.into_bytes() == image.bytes());
}

/// Has us finish what `cryptsetup` began, with a write before and after.
fn we_finish(image: &Image, plain: &mut [u8]) {
    let written = noise(64 << 10, 99);
    let sectors = image.ours("one", |volume| {
        let last = plain.len() - written.len();
        volume.write_at(0, &written).unwrap();
        let mut progress = volume.reencrypt_step(128 << 10).unwrap();
        while !progress.is_finished() {
            progress = volume.reencrypt_step(128 << 10).unwrap();
        }
        volume.write_at(last as u64, &written).unwrap();
        assert!(volume.reencryption().is_none());
        volume.sector_size().bytes()
    });
    let last = plain.len() - written.len();
    plain[..written.len()].copy_from_slice(&written);
    plain[last..].copy_from_slice(&written);
    let (new, theirs) = (image.ours("one", |volume| dek(&volume.dek())), image.their_dek("one"));
    assert_eq!(new, theirs, "{sectors}");
    assert!(image.with_our_header(|header| header.requirements().is_empty() && header.keyslots().len() == 1));
    holds(image, plain);
}

/// An independent reader finds `plain`.
fn they_read(python: &str, image: &Image, plain: &[u8]) {
    let start = Start { header: image.path(), data: image.path(), passphrase: "one".into(), len: plain.len() };
    assert!(dissect(python, &[start])[0] == plain);
}

#[test]
fn we_finish_what_cryptsetup_only_began() {
    let (true, Some(python)) = (have_cryptsetup(), python("dissect.fve.luks")) else { return };
    let mut cells = Cells::of("reencryptions begun");
    for (resilience, more) in [
        ("checksum", &[][..]),
        ("journal", &[]),
        ("checksum", &["--sector-size", "4096"]),
        ("journal", &["--sector-size", "2048"]),
        ("checksum", &["--resilience-hash", "sha512"]),
    ] {
        let mut plain = noise(SIZE, 22);
        let image = volume(&plain, SectorSize::B512);
        let old = image.ours("one", |volume| dek(&volume.dek()));
        let how = ["--init-only", "--force-offline-reencrypt", "--resilience", resilience];
        reencrypt(&image, &[&how[..], more, &CHEAP_PBKDF2].concat());
        header_is_left_alone(&image);
        let progress = image.ours("one", |volume| volume.reencryption()).unwrap();
        assert_eq!((progress.done, progress.total), (0, SIZE as u64));
        cells.we_read();
        we_finish(&image, &mut plain);
        assert_ne!(image.ours("one", |volume| dek(&volume.dek())), old, "{resilience}");
        they_read(&python, &image, &plain);
        cells.they_read();
    }
    cells.print();
}

/// The passphrase has to open a keyslot of each key. They share one limit, so that a header can't ask for twice as much.
#[test]
fn the_keyslots_of_both_keys_share_one_limit_of_time() {
    if !have_cryptsetup() {
        return;
    }
    let plain = noise(SIZE, 23);
    let image = volume(&plain, SectorSize::B512);
    reencrypt(&image, &[&["--init-only", "--force-offline-reencrypt"][..], &CHEAP_PBKDF2].concat());
    let open = |micros: u64, options: OpenOptions| {
        let limits = KdfLimits::default().max_total(Duration::from_micros(micros));
        let device = FileDevice::open_read_only(image.path()).unwrap();
        let options = options.read_only(true).kdf_limits(limits);
        Volume::open(device, Credential::Passphrase(b"one"), &options).map(drop)
    };
    // The least limit by which it opens, in microseconds.
    let least = |options: &OpenOptions| {
        let (mut no, mut yes) = (0, 10_000_000);
        open(yes, options.clone()).unwrap();
        while yes - no > 1 {
            let middle = (no + yes) / 2;
            if open(middle, options.clone()).is_ok() { yes = middle } else { no = middle }
        }
        yes
    };
    let both = least(&OpenOptions::new());
    // A keyslot that is named isn't counted: then the limit is for those of the old key.
    let slots = image.with_our_header(|header| header.keyslots().iter().map(|slot| slot.id).collect::<Vec<_>>());
    let named = |id: &&u32| open(10_000_000, OpenOptions::new().keyslot(**id)).is_ok();
    let old = least(&OpenOptions::new().keyslot(*slots.iter().find(named).unwrap()));
    let error = open(both - 1, OpenOptions::new()).unwrap_err().to_string();
    assert!(error.contains("with the keyslots before it") && error.contains("KdfLimits::max_total"), "{error}");
    reencrypt(&image, &["--resume-only", "--force-offline-reencrypt"]);
    let new = least(&OpenOptions::new());
    assert!(old > 1 && new > 1 && both.abs_diff(old + new) <= 2, "{both} us together, of {old} us and {new} us");
}

#[test]
fn what_we_cannot_finish_is_read_or_refused_and_cryptsetup_finishes_it() {
    if !have_cryptsetup() {
        return;
    }
    let mut cells = Cells::of("reencryptions of other kinds");
    let plain = noise(SIZE, 22);
    let image = volume(&plain, SectorSize::B512);
    reencrypt(
        &image,
        &[&["--init-only", "--force-offline-reencrypt", "--resilience", "none"][..], &CHEAP_PBKDF2].concat(),
    );
    holds(&image, &plain);
    let step = image.ours("one", |volume| volume.reencrypt_step(1));
    assert!(matches!(&step, Err(Error::UnsupportedHeader(text)) if text.contains("--resume-only")), "{step:?}");
    cells.we_read();
    reencrypt(&image, &["--resume-only", "--force-offline-reencrypt"]);
    holds(&image, &plain);
    cells.we_read();
    cells.print();
}

/// Without resilience, the header says how far it is only if `cryptsetup` is stopped by a signal that it handles.
#[test]
fn we_finish_what_cryptsetup_was_stopped_in_without_resilience() {
    let (true, Some(python)) = (have_cryptsetup(), python("dissect.fve.luks")) else { return };
    let mut cells = Cells::of("reencryptions without resilience");
    for resilience in [Resilience::Checksum, Resilience::Journal] {
        let mut plain = noise(8 * SIZE, 25);
        let image = volume(&plain, SectorSize::B4096);
        if resilience == Resilience::Checksum {
            assert!(stop_half_way(&image), "it was always faster than we");
        } else {
            let begin = ["--init-only", "--force-offline-reencrypt", "--resilience", "none"];
            reencrypt(&image, &[&begin[..], &CHEAP_PBKDF2].concat());
        }
        image.ours("one", |volume| {
            let before = volume.reencryption().unwrap();
            let step = volume.reencrypt_step(1);
            let names_it = |text: &str| text.contains("hazmat_resume_unprotected") && text.contains("none");
            assert!(matches!(&step, Err(Error::UnsupportedHeader(text)) if names_it(text)), "{step:?}");
            volume.hazmat_resume_unprotected(resilience).unwrap();
            assert_eq!(volume.reencryption().unwrap().done, before.done);
            assert!(matches!(volume.hazmat_resume_unprotected(resilience), Err(Error::InvalidOption(_))));
            assert!(!volume.reencrypt_step(64 << 10).unwrap().is_finished());
        });
        cells.we_read();
        if resilience == Resilience::Checksum {
            we_finish(&image, &mut plain);
        } else {
            reencrypt(&image, &["--resume-only", "--force-offline-reencrypt"]);
        }
        they_read(&python, &image, &plain);
        cells.they_read();
    }
    cells.print();
}

/// Begins a reencryption without resilience, and stops it by SIGTERM when a part is done.
fn stop_half_way(image: &Image) -> bool {
    let whole = image.bytes();
    for wait in [30, 60, 10, 100, 5] {
        let mut command = Command::new("cryptsetup");
        command.args(["reencrypt", "-q", "--force-offline-reencrypt", "--resilience", "none", "--hotzone-size", "4K"]);
        command.args(CHEAP_PBKDF2).args(["--key-file", &image.key("one"), &image.path()]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        let begun = || {
            header::is_intact(&read_start(&image.path()), 0) && {
                header::json(&read_start(&image.path()), 0)["config"]["requirements"].is_object()
            }
        };
        while !begun() && child.try_wait().unwrap().is_none() && start.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(wait));
        let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        child.wait().unwrap();
        let root = header::json(&image.bytes(), newest(image));
        if root["config"]["requirements"].is_object() && progress(&root).0 > 0 {
            return true;
        }
        fs::write(image.path(), &whole).unwrap();
    }
    false
}

#[test]
fn we_finish_what_cryptsetup_was_killed_in() {
    let (true, Some(python)) = (have_cryptsetup(), python("dissect.fve.luks")) else { return };
    let mut cells = Cells::of("reencryptions killed");
    for resilience in ["checksum", "journal"] {
        let mut plain = noise(8 * SIZE, 23);
        let image = volume(&plain, SectorSize::B4096);
        assert!(kill_half_way(&image, resilience), "{resilience}: it was always faster than we");
        let (done, all) = progress(&header::json(&image.bytes(), newest(&image)));
        assert!(0 < done && done < all, "{resilience}: {done} of {all}");
        header_is_left_alone(&image);
        holds(&image, &plain);
        let ours = image.ours("one", |volume| volume.reencryption()).unwrap();
        assert!((done..=done + (64 << 10)).contains(&ours.done), "{resilience}: {ours:?}, not {done}");
        cells.we_read();
        we_finish(&image, &mut plain);
        they_read(&python, &image, &plain);
        cells.they_read();
    }
    cells.print();
}

/// What we begin and are stopped in at many places, `cryptsetup` repairs and finishes.
#[test]
fn cryptsetup_finishes_what_we_were_killed_in() {
    let (true, Some(python)) = (have_cryptsetup(), python("dissect.fve.luks")) else { return };
    let mut cells = Cells::of("reencryptions of ours killed");
    // A zone takes some 16 writes, the beginning some 8: these are places in the beginning, in three zones, and in some the
    // write of the data is torn.
    let places = [3, 6, 9, 12, 15, 16, 17, 18, 19, 20, 23, 26, 31, 35, 36, 37, 41, 50];
    for (first, (resilience, old, new, algorithm)) in [
        (Resilience::Checksum, 512, 512, None),
        (Resilience::Journal, 512, 512, None),
        (Resilience::Checksum, 512, 4096, None),
        (Resilience::Journal, 4096, 512, Some(DekAlgorithm::Aes128Xts)),
        (Resilience::Checksum, 4096, 2048, Some(DekAlgorithm::Aes128Xts)),
    ]
    .into_iter()
    .enumerate()
    {
        let plain = noise(SIZE, 24);
        let start = volume(&plain, SectorSize::new(old).unwrap());
        let whole = start.bytes();
        let options = ReencryptOptions::new().resilience(resilience).keyslot(cheap_pbkdf2());
        let options = options.sector_size(SectorSize::new(new).unwrap());
        let options = algorithm.into_iter().fold(options, ReencryptOptions::dek_algorithm);
        for writes in places.into_iter().skip(first % 3).step_by(3) {
            let device = Stopping::new(whole.clone(), writes);
            let credential = Credential::Passphrase(b"one");
            let volume = Volume::open(device, credential, &OpenOptions::new()).unwrap();
            let begun = volume.begin_reencryption(&[Protector::Passphrase(b"one")], &options);
            let stopped = begun.is_err() || (0..50).any(|_| volume.reencrypt_step(96 << 10).is_err());
            let image = Image::blank(0);
            image.edit(|bytes| *bytes = volume.into_device().into_bytes());
            let has_begun = !image.with_our_header(|header| header.requirements().is_empty());
            if has_begun {
                image.cryptsetup(&["repair", "-q", "--key-file", &image.key("one"), &image.path()]);
                reencrypt(&image, &["--resume-only", "--force-offline-reencrypt"]);
            }
            holds(&image, &plain);
            they_read(&python, &image, &plain);
            assert!(stopped || !has_begun);
            assert_eq!(image.ours("one", |volume| dek(&volume.dek())), image.their_dek("one"));
            cells.they_read();
        }
    }
    cells.print();
}

/// A device that stops in a write: half of it is written, and nothing after it.
pub struct Stopping {
    device: MemoryDevice,
    left: Arc<AtomicUsize>,
}

impl Stopping {
    fn new(bytes: Vec<u8>, writes: usize) -> Self {
        Self::sharing(bytes, &Arc::new(AtomicUsize::new(writes)))
    }

    /// One of several devices that stop after so many writes together.
    pub fn sharing(bytes: Vec<u8>, left: &Arc<AtomicUsize>) -> Self {
        Stopping { device: MemoryDevice::from_bytes(bytes), left: left.clone() }
    }

    fn into_bytes(self) -> Vec<u8> {
        self.device.into_bytes()
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.device.size().unwrap() as usize];
        self.device.read_at(0, &mut bytes).unwrap();
        bytes
    }
}

impl BlockDevice for Stopping {
    fn size(&self) -> io::Result<u64> {
        self.device.size()
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.device.read_at(offset, bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match self.left.load(Relaxed) {
            0 => return Err(io::Error::other("it has stopped")),
            1 => self.device.write_at(offset, &bytes[..bytes.len() / 2 / 4096 * 4096])?,
            _ => self.device.write_at(offset, bytes)?,
        }
        if self.left.fetch_sub(1, Relaxed) == 1 { Err(io::Error::other("it stops")) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
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
