//! LUKS1 converted to LUKS2 in place, by us and by `cryptsetup convert`: the headers say the same, and every passphrase
//! opens both.

use std::fs;

use atrest::volume::{Header, LuksVersion};
use atrest::{Error, FormatOptions, MemoryDevice, OpenOptions};

use crate::Cells;
use crate::common::{header, run_any};
use crate::image::{CHEAP_PBKDF2, Image, cheap_pbkdf2, dek, have_cryptsetup, noise};

/// How much data is compared.
const LEN: usize = 256 << 10;

/// A LUKS1 image of cryptsetup's with data in it.
struct Old {
    image: Image,
    plain: Vec<u8>,
}

impl Old {
    fn new(detached: bool, how: &[&str], keyslots: &[u32]) -> Self {
        let mut image = Image::blank(4 << 20);
        image.detached = detached;
        if detached {
            fs::File::create(image.header()).unwrap().set_len(3 << 20).unwrap();
        }
        let (path, at, key) = (image.path(), image.header(), image.key("0"));
        let mut format = vec!["luksFormat", "-q", "--type", "luks1", "--key-slot", "0", "--key-file", &key];
        format.extend(&CHEAP_PBKDF2[2..]);
        format.extend(how);
        if detached {
            format.extend(["--header", &at]);
        }
        format.push(&path);
        image.cryptsetup(&format);
        for slot in keyslots {
            let (slot, new) = (slot.to_string(), image.key(&slot.to_string()));
            let add = ["luksAddKey", "-q", "--key-slot", &slot, "--key-file", &key];
            image.cryptsetup(&[&add[..], &CHEAP_PBKDF2[2..], &[&at, &new]].concat());
        }
        let plain = noise(LEN, 70);
        image.ours("0", |volume| volume.write_at(0, &plain).unwrap());
        Old { image, plain }
    }

    fn convert(&self) -> Result<(), Error> {
        self.image.with_our_header(|header| header.convert_to_luks2())
    }

    fn they_convert(&self) -> bool {
        run_any("cryptsetup", &["convert", "-q", "--type", "luks2", &self.image.header()]).status.success()
    }

    /// Both copies of the header, and the first byte after its keyslots.
    fn set_header(&self, bytes: &[u8]) {
        fs::write(self.image.header(), bytes).unwrap();
    }
}

/// Converts by both and compares.
fn same(what: &str, old: &Old, keyslots: &[u32], cells: &mut Cells) {
    let image = &old.image;
    let before = image.header_bytes();
    let (uuid, key) = (image.uuid(), image.their_dek("0"));
    assert!(old.they_convert(), "{what}");
    let theirs = image.header_bytes();
    let opens = |step: &str| {
        for slot in [0].iter().chain(keyslots) {
            let passphrase = slot.to_string();
            assert!(image.theirs(&passphrase), "{what}, {step}: cryptsetup, keyslot {slot}");
            assert_eq!(image.keyslot_of(&passphrase), *slot, "{what}, {step}");
        }
        assert!(!image.theirs("none"), "{what}, {step}");
        assert_eq!(image.their_dek("0"), key, "{what}, {step}");
        image.ours("0", |volume| {
            let mut read = vec![0; LEN];
            volume.read_at(0, &mut read).unwrap();
            assert!(read == old.plain, "{what}, {step}: other data came out");
            assert_eq!(dek(&volume.dek()), key, "{what}, {step}");
            assert_eq!(volume.header().format(), LuksVersion::Luks2, "{what}, {step}");
        });
    };
    opens("converted by cryptsetup");
    cells.we_read();
    old.set_header(&before);
    old.convert().unwrap_or_else(|e| panic!("{what}: {e}"));
    let ours = image.header_bytes();
    assert!(header::is_whole(&ours), "{what}");
    assert_eq!(header::json(&ours, 0), header::json(&theirs, 0), "{what}");
    assert_eq!(image.uuid(), uuid, "{what}");
    // The key material is the same to the byte, in the same places; the rest of the places isn't.
    let json = header::json(&theirs, 0);
    let mut end = 2 * header::COPY;
    for (id, keyslot) in json["keyslots"].as_object().unwrap() {
        let number = |name: &str| keyslot["area"][name].as_str().unwrap().parse::<usize>().unwrap();
        let used = keyslot["key_size"].as_u64().unwrap() as usize * 4000;
        let area = number("offset")..number("offset") + used;
        assert!(ours[area.clone()] == theirs[area], "{what}, keyslot {id}");
        end = end.max(number("offset") + number("size"));
    }
    let offset = json["segments"]["0"]["offset"].as_str().unwrap().parse::<usize>().unwrap();
    if !image.detached {
        assert!(ours[offset..] == before[offset..], "{what}: the data was touched");
    }
    opens("converted by us");
    image.cryptsetup(&["luksDump", &image.header()]);
    cells.they_read();
    // A second call has nothing to do.
    old.convert().unwrap();
    assert!(image.header_bytes() == ours, "{what}");
    // What LUKS1 has no place for.
    image.with_our_header(|header| header.set_label("converted", "").unwrap());
    image.cryptsetup(&["config", "--priority", "prefer", "--key-slot", "0", &image.header()]);
    opens("changed by both");
    cells.they_read();
}

#[test]
fn a_conversion_gives_the_header_that_cryptsetup_gives() {
    if !have_cryptsetup() {
        return;
    }
    let mut cells = Cells::of("conversions of LUKS1");
    let all: [(&str, &str, &str); 9] = [
        ("aes-xts-plain64", "512", "sha256"),
        ("aes-xts-plain64", "256", "sha512"),
        ("aes-xts-plain", "512", "sha1"),
        ("aes-xts-plain64", "512", "SHA-512"),
        ("aes-cbc-essiv:sha256", "256", "sha1"),
        ("aes-cbc-essiv:sha256", "128", "sha512"),
        ("aes-cbc-essiv:sha256", "192", "sha256"),
        ("aes-cbc-plain64", "256", "sha256"),
        ("aes-cbc-plain64", "128", "sha1"),
    ];
    // Payload alignments; 4104 and 4097 sectors leave a rest behind the last whole 4096 bytes.
    let layouts: [(&str, &[u32]); 5] =
        [("4096", &[]), ("2048", &[5]), ("2048", &[1, 2, 3, 4, 5, 6]), ("4104", &[2, 7]), ("4097", &[1, 3, 6, 7])];
    for (n, (cipher, bits, hash)) in all.into_iter().enumerate() {
        // Each cipher with two layouts, and each layout with several ciphers; all of them with the first.
        let chosen = layouts.iter().enumerate().filter(|(k, _)| n == 0 || (n + k) % 3 == 0);
        for (_, (alignment, keyslots)) in chosen {
            let what = format!("{cipher} {bits} {hash} {alignment} {keyslots:?}");
            let how = ["--cipher", cipher, "--key-size", bits, "--hash", hash, "--align-payload", alignment];
            same(&what, &Old::new(false, &how, keyslots), keyslots, &mut cells);
        }
    }
    cells.print();
}

#[test]
fn a_conversion_of_a_detached_header_gives_the_header_that_cryptsetup_gives() {
    if !have_cryptsetup() {
        return;
    }
    let mut cells = Cells::of("conversions of detached headers");
    for (keyslots, bits) in [(&[][..], "512"), (&[3, 7], "256")] {
        let how = ["--cipher", "aes-xts-plain64", "--key-size", bits];
        same(&format!("detached {bits}"), &Old::new(true, &how, keyslots), keyslots, &mut cells);
    }
    cells.print();
}

#[test]
fn a_volume_is_converted_while_it_is_open() {
    if !have_cryptsetup() {
        return;
    }
    let old = Old::new(false, &["--align-payload", "4096"], &[4]);
    let more = noise(LEN, 71);
    old.image.ours("4", |volume| {
        volume.header().convert_to_luks2().unwrap();
        assert_eq!(volume.header().format(), LuksVersion::Luks2);
        volume.write_at(LEN as u64, &more).unwrap();
        let new = atrest::Protector::Passphrase(b"new");
        volume.add_protector(new, &cheap_pbkdf2()).unwrap();
    });
    for passphrase in ["0", "4", "new"] {
        assert!(old.image.theirs(passphrase), "{passphrase}");
        old.image.ours(passphrase, |volume| {
            let mut read = vec![0; 2 * LEN];
            volume.read_at(0, &mut read).unwrap();
            assert!(read == [&old.plain[..], &more].concat());
        });
    }
}

/// What is refused by both, with nothing changed.
#[test]
fn what_cryptsetup_does_not_convert_we_do_not_convert() {
    if !have_cryptsetup() {
        return;
    }
    let refused = |what: &str, old: &Old| {
        let before = old.image.header_bytes();
        let error = old.convert().expect_err(what);
        assert!(old.image.header_bytes() == before, "{what}: what was refused was changed");
        assert!(!old.they_convert(), "{what}");
        assert!(old.image.theirs("0") && old.image.opens("0"), "{what}");
        error
    };
    // The data begins directly after the keyslots, as old versions and `qemu-img` made it.
    let tight = Old::new(false, &["--align-payload", "8"], &[]);
    let error = refused("tight", &tight);
    assert!(matches!(&error, Error::NoRoom(text) if text.contains("new volume")), "{error:?}");
    // 28 KiB more are needed. With 8 sectors less they aren't there.
    let tight = Old::new(false, &["--align-payload", "4088"], &[]);
    assert!(matches!(refused("8 sectors too few", &tight), Error::NoRoom(_)));

    // luksmeta's metadata follow the last keyslot.
    let luksmeta = Old::new(false, &[], &[]);
    luksmeta.image.edit(|bytes| bytes[4096 + 8 * 258_048..][..8].copy_from_slice(b"LUKSMETA"));
    let error = refused("luksmeta", &luksmeta);
    assert!(matches!(&error, Error::ForeignData(text) if text.contains("luksmeta")), "{error:?}");

    // The first keyslot elsewhere.
    let moved = Old::new(false, &["--key-size", "256"], &[]);
    moved.image.edit(|bytes| {
        let area = bytes[4096..4096 + 128_000].to_vec();
        bytes[1_200_128..1_200_128 + 128_000].copy_from_slice(&area);
        bytes[248..252].copy_from_slice(&(1_200_128u32 / 512).to_be_bytes());
    });
    let error = refused("moved", &moved);
    assert!(matches!(&error, Error::UnsupportedHeader(text) if text.contains("keyslots aren't where")));
}

/// A backup ends with its keyslots. cryptsetup makes its file longer.
#[test]
fn a_backup_has_no_room() {
    if !have_cryptsetup() {
        return;
    }
    let old = Old::new(false, &[], &[]);
    let backup = old.image.with_our_header(|header| header.backup().unwrap());
    let device = MemoryDevice::from_bytes(backup.clone());
    let error = Header::load(&device).unwrap().convert_to_luks2().unwrap_err();
    assert!(matches!(error, Error::DeviceTooSmall { needed: 2_097_152, size: 2_068_480, .. }), "{error:?}");
    assert!(device.into_bytes() == backup);
}

/// cryptsetup moves them all at once, so that a power cut in between takes them.
#[test]
fn a_keyslot_must_be_unused() {
    if !have_cryptsetup() {
        return;
    }
    let old = Old::new(false, &[], &[1, 2, 3, 4, 5, 6, 7]);
    let before = old.image.header_bytes();
    let error = old.convert().unwrap_err();
    assert!(matches!(&error, Error::NoRoom(text) if text.contains("remove one")), "{error:?}");
    assert!(old.image.header_bytes() == before);
    old.image.cryptsetup(&["luksKillSlot", "-q", "--key-file", &old.image.key("0"), &old.image.path(), "3"]);
    same("seven keyslots", &old, &[1, 2, 4, 5, 6, 7], &mut Cells::of("seven keyslots"));
}

/// cryptsetup refuses data behind more than 128 MiB, because the room for keyslots would be larger than LUKS2 allows.
/// A smaller room will do.
#[test]
fn data_far_behind_the_header() {
    if !have_cryptsetup() {
        return;
    }
    let image = Image::blank(132 << 20);
    let key = image.key("0");
    let format = ["luksFormat", "-q", "--type", "luks1", "--align-payload", "266240", "--key-file", &key];
    image.cryptsetup(&[&format[..], &CHEAP_PBKDF2[2..], &[&image.path()]].concat());
    image.with_our_header(|header| header.convert_to_luks2().unwrap());
    assert!(image.theirs("0") && image.opens("0"));
    let json = header::json(&image.bytes(), 0);
    assert_eq!(json["config"]["keyslots_size"], (128 << 20).to_string());
    assert_eq!(json["segments"]["0"]["offset"], (130 << 20).to_string());
}

/// Our own LUKS1 volumes.
#[test]
fn our_volumes_of_luks1_are_converted_by_both() {
    if !have_cryptsetup() {
        return;
    }
    let image = Image::blank(4 << 20);
    let key = image.format("0", FormatOptions::new().version(LuksVersion::Luks1).keyslot(cheap_pbkdf2()));
    let plain = noise(LEN, 72);
    image.ours("0", |volume| volume.write_at(0, &plain).unwrap());
    assert_eq!(image.their_dek("0"), key);
    same("ours", &Old { image, plain }, &[], &mut Cells::of("our LUKS1"));
}

/// Without keyslots, as after `luksErase`, there is nothing to move.
#[test]
fn a_header_without_keyslots() {
    if !have_cryptsetup() {
        return;
    }
    let old = Old::new(false, &[], &[2]);
    old.image.cryptsetup(&["luksErase", "-q", &old.image.path()]);
    let device = MemoryDevice::from_bytes(old.image.bytes());
    Header::load(&device).unwrap().convert_to_luks2().unwrap();
    assert!(old.they_convert());
    assert_eq!(header::json(&device.into_bytes(), 0), header::json(&old.image.bytes(), 0));
    assert!(matches!(old.image.refused("0", OpenOptions::new()), Error::NoSuchProtector(_)));
}
