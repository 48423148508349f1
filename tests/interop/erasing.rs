//! Removed keys and data are really gone: from the image's bytes, and for `cryptsetup`.

use std::collections::HashSet;
use std::ops::Range;

use atrest::volume::LuksVersion;
use atrest::volume::{Header, KeyslotInfo, KeyslotOptions, ProtectorId};
use atrest::{Credential, Error, FormatOptions, OpenOptions, Protector};

use crate::Cells;
use crate::common::vaults::MemoryVault;
use crate::common::{header, run_any};
use crate::image::{CHEAP_PBKDF2, Image, cheap_argon2, cheap_pbkdf2, have_cryptsetup};

const VERSIONS: [(LuksVersion, &str); 2] = [(LuksVersion::Luks1, "luks1"), (LuksVersion::Luks2, "luks2")];

fn cheap(version: LuksVersion) -> KeyslotOptions {
    if version == LuksVersion::Luks1 { cheap_pbkdf2() } else { cheap_argon2() }
}

/// One volume of ours and one of `cryptsetup`, each with the passphrases one, two and three in the keyslots 0, 1 and 2.
fn made(version: LuksVersion, kind: &str) -> [Image; 2] {
    let (ours, theirs) = (Image::with_header(false), Image::with_header(false));
    ours.format("one", FormatOptions::new().version(version).keyslot(cheap(version)));
    let args = ["luksFormat", "-q", "--type", kind, "--key-file", &theirs.key("one"), &theirs.path()];
    theirs.cryptsetup(&[&args[..], &CHEAP_PBKDF2].concat());
    for passphrase in ["two", "three"] {
        let protector = Protector::Passphrase(passphrase.as_bytes());
        ours.ours("one", |volume| volume.add_protector(protector, &cheap(version)).unwrap());
        let add = ["luksAddKey", "-q", "--key-file", &theirs.key("one"), &theirs.path(), &theirs.key(passphrase)];
        theirs.cryptsetup(&[&add[..], &CHEAP_PBKDF2].concat());
    }
    [ours, theirs]
}

fn area(image: &Image, id: u32) -> Range<usize> {
    image.with_our_header(|header| {
        let keyslots: Vec<KeyslotInfo> = header.keyslots();
        let keyslot = keyslots.iter().find(|keyslot| keyslot.id == id).unwrap();
        keyslot.area_offset as usize..(keyslot.area_offset + keyslot.area_size) as usize
    })
}

/// The size of three keyslots and all data in front of them.
const HEADER: usize = 2 << 20;

/// No piece of the old content is left anywhere in the header, neither in its place nor moved.
fn is_gone(before: &[u8], after: &[u8], area: Range<usize>) {
    let windows: HashSet<&[u8]> = after[..HEADER].chunks(16).collect();
    for piece in before[area].chunks(16).filter(|piece| piece.iter().any(|&byte| byte != 0)) {
        assert!(!windows.contains(piece), "16 bytes of an area are left");
    }
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn a_keyslot_taken_away_leaves_nothing() {
    if !have_cryptsetup() {
        return;
    }
    let mut cells = Cells::of("removal");
    for (version, kind) in VERSIONS {
        for image in made(version, kind) {
            let (before, gone, stays) = (image.bytes(), area(&image, 1), area(&image, 2));
            let salt = salt(&image, 1);
            image.with_our_header(|header| header.remove_protector(ProtectorId::Keyslot(1)).unwrap());
            let after = image.bytes();
            is_gone(&before, &after, gone);
            assert!(before[stays.clone()] == after[stays], "{kind}: another keyslot was touched");
            assert!(!contains(&after[..1 << 20], salt.as_bytes()), "{kind}: its salt is left");
            assert!(image.theirs("one") && !image.theirs("two") && image.theirs("three"), "{kind}");
            let dump = image.cryptsetup(&["luksDump", &image.path()]);
            assert!(dump.contains("Key Slot 1: DISABLED") || !dump.contains("\n  1: luks2"), "{kind}: {dump}");
            cells.they_read();

            let (before, gone) = (image.bytes(), area(&image, 2));
            let new = image.ours("one", |volume| {
                volume.change_keyslot(2, Protector::Passphrase(b"four"), &cheap(version)).unwrap()
            });
            assert_ne!(new, 2, "{kind}");
            is_gone(&before, &image.bytes(), gone);
            assert!(image.theirs("four") && !image.theirs("three"), "{kind}");
            cells.they_read();
        }
    }
    cells.print();
}

/// The salt of a keyslot, as it stands in a header of LUKS2; something that is nowhere for LUKS1.
fn salt(image: &Image, id: u32) -> String {
    let bytes = image.bytes();
    if bytes[7] == 1 {
        return "no text of a header".into();
    }
    header::json(&bytes, 0)["keyslots"][id.to_string()]["kdf"]["salt"].as_str().unwrap().to_owned()
}

#[test]
fn an_erased_volume_has_no_way_in() {
    if !have_cryptsetup() {
        return;
    }
    let mut cells = Cells::of("erasing");
    for (version, kind) in VERSIONS {
        for image in made(version, kind) {
            let dek = image.their_dek("one");
            let before = image.bytes();
            let areas: Vec<_> = (0..3).map(|id| area(&image, id)).collect();
            image.with_our_header(|header| header.erase().unwrap());
            let after = image.bytes();
            areas.into_iter().for_each(|area| is_gone(&before, &after, area));
            assert!(!contains(&after[..HEADER], &dek), "{kind}");
            for passphrase in ["one", "two", "three"] {
                assert!(!image.theirs(passphrase), "{kind} {passphrase}");
                let error = image.refused(passphrase, OpenOptions::new());
                assert!(matches!(error, Error::NoSuchProtector(_)), "{kind} {passphrase}: {error}");
            }
            image.cryptsetup(&["isLuks", "--type", kind, &image.path()]);
            let dump = image.cryptsetup(&["luksDump", &image.path()]);
            let slots = dump.matches("ENABLED").count() + dump.matches(": luks2").count();
            assert_eq!(slots, 0, "{kind}: {dump}");
            cells.they_read();
            // A holder of the key still gets in, and can add another protector.
            if version == LuksVersion::Luks2 {
                std::fs::write(image.file("dek"), &dek).unwrap();
                let (file, path) = (image.file("dek"), image.path());
                let bits = (dek.len() * 8).to_string();
                let open = ["open", "--test-passphrase", "--volume-key-file", &file, "--key-size", &bits, &path];
                assert!(run_any("cryptsetup", &open).status.success(), "{kind}");
            }
        }
        // An erased header of `cryptsetup` doesn't open for us.
        for image in made(version, kind) {
            image.cryptsetup(&["luksErase", "-q", &image.path()]);
            let error = image.refused("one", OpenOptions::new());
            assert!(matches!(error, Error::NoSuchProtector(_)), "{kind}: {error}");
            cells.we_read();
        }
    }
    cells.print();
}

#[test]
fn an_erased_token_is_nowhere_in_the_header() {
    if !have_cryptsetup() {
        return;
    }
    let mut cells = Cells::of("tokens taken away");
    let vault = MemoryVault::new("memory:one");
    for erase in [false, true] {
        let [image, _] = made(LuksVersion::Luks2, "luks2");
        image.ours("one", |volume| volume.add_protector(Protector::Vault(&vault, "disks"), &cheap_argon2()).unwrap());
        assert!(image.theirs("one"));
        image.ours_by(Credential::Vault(&vault), OpenOptions::new(), |_| ()).unwrap();
        let token = header::json(&image.bytes(), 0)["tokens"]["0"].clone();
        // Each piece of text that is long enough not to occur elsewhere by chance.
        let texts: Vec<String> = strings(&token).into_iter().filter(|text| text.len() >= 40).collect();
        assert!(!texts.is_empty(), "{token}");
        image.with_our_header(|header: &mut Header<'_>| {
            if erase { header.erase().unwrap() } else { header.remove_protector(ProtectorId::Token(0)).unwrap() }
        });
        let after = image.bytes();
        for text in texts {
            assert!(!contains(&after[..32 << 10], text.as_bytes()), "{text}");
        }
        assert!(image.ours_by(Credential::Vault(&vault), OpenOptions::new(), |_| ()).is_err());
        let export = run_any("cryptsetup", &["token", "export", "--token-id", "0", &image.path()]);
        assert!(!export.status.success());
        assert_eq!(image.theirs("one"), !erase);
        cells.they_read();
    }
    cells.print();
}

fn strings(value: &serde_json::Value) -> Vec<String> {
    match value {
        serde_json::Value::String(text) => vec![text.clone()],
        serde_json::Value::Array(all) => all.iter().flat_map(strings).collect(),
        serde_json::Value::Object(all) => all.values().flat_map(strings).collect(),
        _ => Vec::new(),
    }
}
