//! Other contents that `cryptsetup` writes into a header: we read them, and keep them when we change something else.

use std::fs;

use atrest::volume::{Header, ProtectorId};
use atrest::volume::{LuksVersion, Priority};
use atrest::{Credential, Error, FormatOptions, MemoryDevice, OpenOptions, Protector};
use serde_json::{Value, json};

use crate::Cells;
use crate::common::{header, run_any};
use crate::image::{CHEAP_ARGON2, CHEAP_PBKDF2, Image, cheap_argon2, cheap_pbkdf2, have_cryptsetup, noise};

fn luks_format(image: &Image, more: &[&str]) {
    let (key, path) = (image.key("one"), image.path());
    let args = ["luksFormat", "-q", "--type", "luks2", "--key-file", &key, &path];
    image.cryptsetup(&[&args[..], &CHEAP_PBKDF2, more].concat());
}

/// The metadata, as `cryptsetup` reads it.
fn metadata(image: &Image) -> Value {
    serde_json::from_str(&image.cryptsetup(&["luksDump", "--dump-json-metadata", &image.header()])).unwrap()
}

/// We add a keyslot and take another one away, and both sides agree about it.
fn edits(image: &Image, what: &str) {
    image.ours("one", |volume| {
        let id = volume.add_protector(Protector::Passphrase(b"ours"), &cheap_argon2()).unwrap();
        let gone = volume.add_protector(Protector::Passphrase(b"gone"), &cheap_pbkdf2()).unwrap();
        assert_ne!(id, gone);
        volume.header().remove_protector(gone).unwrap();
    });
    assert!(image.theirs("ours") && image.theirs("one") && !image.theirs("gone"), "{what}");
}

#[test]
fn sizes_offsets_and_names_of_every_kind() {
    if !have_cryptsetup() {
        return;
    }
    let mut cells = Cells::of("sizes, offsets, names");
    for (more, header_size, keyslots_size, offset) in [
        (&["--luks2-metadata-size", "16k", "--luks2-keyslots-size", "768k"][..], 16 << 10, 768 << 10, None),
        (&["--luks2-metadata-size", "32k"], 32 << 10, (16 << 20) - (64 << 10), None),
        (&["--luks2-metadata-size", "64k", "--luks2-keyslots-size", "1m"], 64 << 10, 1 << 20, None),
        (&["--luks2-metadata-size", "128k", "--luks2-keyslots-size", "4m"], 128 << 10, 4 << 20, None),
        (&["--luks2-metadata-size", "256k"], 256 << 10, (16 << 20) - (512 << 10), None),
        (&["--luks2-metadata-size", "512k", "--luks2-keyslots-size", "2m"], 512 << 10, 2 << 20, None),
        (&["--luks2-metadata-size", "1m", "--luks2-keyslots-size", "1m"], 1 << 20, 1 << 20, None),
        (&["--luks2-metadata-size", "2m", "--luks2-keyslots-size", "8m"], 2 << 20, 8 << 20, None),
        (&["--luks2-metadata-size", "4m"], 4 << 20, 8 << 20, None),
        (&["--offset", "65536"], 16 << 10, (32 << 20) - (32 << 10), Some(32 << 20)),
        (&["--offset", "32776"], 16 << 10, (16 << 20) - (28 << 10), Some(32776 * 512)),
        (&["--offset", "2048", "--luks2-keyslots-size", "1015808"], 16 << 10, 1015808, Some(1 << 20)),
    ] {
        let what = more.join(" ");
        let image = Image::blank(36 << 20);
        luks_format(&image, &[more, &["--label", "a label", "--subsystem", "a subsystem"]].concat());
        let theirs = metadata(&image);
        let uuid = image.uuid();
        let (size, data) = image.ours("one", |volume| {
            let header = volume.header();
            assert_eq!(
                (&*header.label(), &*header.subsystem(), header.uuid()),
                ("a label", "a subsystem", &*uuid),
                "{what}"
            );
            (header.size(), header.segments()[0].offset)
        });
        assert_eq!(theirs["config"]["keyslots_size"], json!(keyslots_size.to_string()), "{what}");
        assert_eq!(size, 2 * header_size + keyslots_size, "{what}");
        assert_eq!(theirs["segments"]["0"]["offset"], json!(data.to_string()), "{what}");
        assert!(offset.is_none_or(|offset| offset == data), "{what}: {data}");
        cells.we_read();
        edits(&image, &what);
        cells.they_read();
        image.with_our_header(|header| header.set_label("another", "").unwrap());
        let dump = image.cryptsetup(&["luksDump", &image.path()]);
        assert!(dump.contains("another") && dump.contains("(no subsystem)"), "{what}: {dump}");
        cells.they_read();
    }
    cells.print();
}

#[test]
fn keyslots_to_the_last_one_and_their_priorities() {
    if !have_cryptsetup() {
        return;
    }
    let mut cells = Cells::of("many keyslots, priorities");
    let image = Image::with_header(false);
    luks_format(&image, &[]);
    let path = image.path();
    // By turns.
    for id in 1..32 {
        let name = format!("key {id}");
        if id % 4 != 0 {
            let add = |volume: &crate::image::Open| {
                volume.add_protector(Protector::Passphrase(name.as_bytes()), &cheap_argon2().id(id)).unwrap()
            };
            image.ours_by(Credential::Passphrase(b"one"), OpenOptions::new().keyslot(0), add).unwrap();
        } else {
            let (one, new, slot) = (image.key("one"), image.key(&name), id.to_string());
            let add = ["luksAddKey", "-q", "--key-slot", &slot, "--key-file", &one, &path, &new, "--pbkdf", "argon2id"];
            image.cryptsetup(&[&add[..], &CHEAP_ARGON2].concat());
        }
    }
    for id in [1, 2, 29, 31] {
        assert!(image.theirs(&format!("key {id}")), "{id}");
        cells.they_read();
    }
    for id in [4, 28] {
        let credential = format!("key {id}");
        let named = OpenOptions::new().keyslot(id);
        image.ours_by(Credential::Passphrase(credential.as_bytes()), named, |_| ()).unwrap();
        cells.we_read();
    }
    let full = image.ours("one", |volume| volume.add_protector(Protector::Passphrase(b"more"), &cheap_argon2()));
    assert!(matches!(full, Err(Error::NoRoom(_))));

    for (word, priority) in [("prefer", Priority::Prefer), ("ignore", Priority::Ignore), ("normal", Priority::Normal)] {
        image.cryptsetup(&["config", "--priority", word, "--key-slot", "28", &path]);
        image.with_our_header(|header| {
            assert_eq!(header.keyslots()[28].priority, priority, "{word}");
            header.set_priority(29, priority).unwrap();
        });
        let dump = image.cryptsetup(&["luksDump", &path]);
        let slot = dump.split("\n  29: luks2").nth(1).unwrap().split("AF stripes").next().unwrap();
        assert!(slot.contains(&format!("Priority:   {word}")), "{slot}");
        cells.we_read();
        cells.they_read();
    }
    cells.print();
}

#[test]
fn conversion_to_either_version() {
    if !have_cryptsetup() {
        return;
    }
    let mut cells = Cells::of("convert");
    let plain = noise(8192, 9);
    let holds = |image: &Image, passphrase: &str, version: LuksVersion| {
        image.ours(passphrase, |volume| {
            let mut read = vec![0; plain.len()];
            volume.read_at(0, &mut read).unwrap();
            assert!(read == plain && volume.header().format() == version, "{version}");
        });
    };
    let image = Image::with_header(false);
    let (key, path) = (image.key("one"), image.path());
    let format = ["luksFormat", "-q", "--type", "luks1", "--key-file", &key, &path];
    image.cryptsetup(&[&format[..], &CHEAP_PBKDF2].concat());
    there_and_back(&image, &plain, holds, &mut cells);
    let image = Image::with_header(false);
    image.format("one", FormatOptions::new().version(LuksVersion::Luks1).keyslot(cheap_pbkdf2()));
    there_and_back(&image, &plain, holds, &mut cells);
    cells.print();
}

fn there_and_back(image: &Image, plain: &[u8], holds: impl Fn(&Image, &str, LuksVersion), cells: &mut Cells) {
    let path = image.path();
    image.ours("one", |volume| volume.write_at(0, plain).unwrap());
    image.cryptsetup(&["convert", "-q", "--type", "luks2", &path]);
    holds(image, "one", LuksVersion::Luks2);
    cells.we_read();
    image.ours("one", |volume| volume.add_protector(Protector::Passphrase(b"two"), &cheap_pbkdf2().id(2)).unwrap());
    assert!(image.theirs("two"));
    cells.they_read();
    // LUKS1 has one cipher and key length for all keyslots' areas; it takes only keyslots that are as its own.
    image.with_our_header(|header| header.remove_protector(ProtectorId::Keyslot(2)).unwrap());
    image.cryptsetup(&["convert", "-q", "--type", "luks1", &path]);
    holds(image, "one", LuksVersion::Luks1);
    cells.we_read();
    image.ours("one", |volume| volume.add_protector(Protector::Passphrase(b"three"), &cheap_pbkdf2()).unwrap());
    assert!(image.theirs("three"));
    cells.they_read();
}

const TPM2: &str = r#"{"type":"systemd-tpm2","keyslots":["1"],"tpm2-blob":"AJ4AIAxRvHsxBQdoSxnYMwUd","tpm2-pcrs":[7,11],
"tpm2-pcr-bank":"sha256","tpm2-primary-alg":"ecc","tpm2-policy-hash":"b3b2d0","tpm2-pin":false,"tpm2_srk":null}"#;
const CLEVIS: &str = r#"{"type":"clevis","keyslots":["1"],"jwe":{"ciphertext":"x","encrypted_key":"","iv":"yF-1","protected":
"eyJhbGciOiJFQ0RILUVTIn0","tag":"b2"},"extra":{"numbers":[1,2.50,1e3,-7,18446744073709551615],"text":"ü\u0001\/"}}"#;

#[test]
fn tokens_flags_and_members_of_others_are_kept() {
    if !have_cryptsetup() {
        return;
    }
    let mut cells = Cells::of("tokens, flags, unknown members");
    let image = Image::with_header(false);
    luks_format(&image, &[]);
    let (one, path, json) = (image.key("one"), image.path(), image.file("token"));
    let add = ["luksAddKey", "-q", "--key-slot", "1", "--key-file", &one, &path, &image.key("two")];
    image.cryptsetup(&[&add[..], &CHEAP_PBKDF2].concat());
    for (id, token) in [("0", TPM2), ("3", CLEVIS)] {
        fs::write(&json, token).unwrap();
        image.cryptsetup(&["token", "import", "--token-id", id, "--json-file", &json, &path]);
    }
    // Keys that belong to nothing but themselves.
    let unbound =
        ["luksAddKey", "-q", "--unbound", "--key-size", "256", "--key-slot", "7", &path, &image.key("unbound")];
    image.cryptsetup(&[&unbound[..], &CHEAP_PBKDF2].concat());
    image.edit(|bytes| {
        header::edit_json(bytes, |root| {
            root["config"]["flags"] = json!(["allow-discards", "same-cpu-crypt", "a-flag-of-tomorrow"]);
            root["config"]["of_others"] = json!({"deep": [{"a": null}, true]});
            root["keyslots"]["0"]["of_others"] = json!("kept");
            root["keyslots"]["0"]["kdf"]["of_others"] = json!(17);
            root["segments"]["0"]["of_others"] = json!([]);
            root["digests"]["0"]["of_others"] = json!({});
            root["of_others"] = json!({"x": "y"});
        })
    });
    let before = metadata(&image);
    assert_eq!(before["of_others"], json!({"x": "y"}), "cryptsetup shows what it doesn't know");

    image.with_our_header(|header| {
        let tokens = header.tokens();
        assert_eq!(
            tokens.iter().map(|token| (token.id, &*token.kind)).collect::<Vec<_>>(),
            [(0, "systemd-tpm2"), (3, "clevis")]
        );
        assert_eq!(tokens[1].keyslots, [1]);
        let same: Value = serde_json::from_str(&tokens[1].json).unwrap();
        assert_eq!(same, serde_json::from_str::<Value>(CLEVIS).unwrap());
        let unbound = header.keyslots().into_iter().find(|keyslot| keyslot.id == 7).unwrap();
        assert_eq!((unbound.key_bits, unbound.kdf.as_str()), (256, "pbkdf2"));
        assert_ne!(unbound.digests, [0]);
    });
    cells.we_read();
    assert!(image.opens("one") && image.opens("two"));
    let other_key = image.ours_by(Credential::Passphrase(b"unbound"), OpenOptions::new(), |_| ());
    assert!(matches!(other_key, Err(Error::WrongPassphrase)), "a key of something else opened the data");
    cells.we_read();

    edits(&image, "with tokens");
    image.with_our_header(|header| header.set_priority(1, Priority::Prefer).unwrap());
    let mut expected = before.clone();
    let after = metadata(&image);
    expected["keyslots"]["1"]["priority"] = json!(2);
    expected["keyslots"]["2"] = after["keyslots"]["2"].clone();
    expected["digests"]["0"]["keyslots"] = json!(["0", "1", "2"]);
    assert_eq!(after, expected);
    let key = ["open", "--test-passphrase", "--unbound", "--key-slot", "7", "--key-file", &image.key("unbound"), &path];
    assert!(run_any("cryptsetup", &key).status.success());
    cells.they_read();

    // Ours to `cryptsetup`, and an end of one.
    let id = image.with_our_header(|header| header.import_token(CLEVIS).unwrap());
    let exported = image.cryptsetup(&["token", "export", "--token-id", &id.to_string(), &path]);
    assert_eq!(serde_json::from_str::<Value>(&exported).unwrap(), serde_json::from_str::<Value>(CLEVIS).unwrap());
    cells.they_read();
    image.with_our_header(|header| header.remove_protector(ProtectorId::Token(id)).unwrap());
    assert_eq!(metadata(&image), expected);
    cells.they_read();
    // A keyslot is removed, and so is its mention in tokens. The tokens stay.
    image.with_our_header(|header| header.remove_protector(ProtectorId::Keyslot(1)).unwrap());
    let left = metadata(&image);
    assert_eq!((&left["tokens"]["0"]["keyslots"], &left["tokens"]["3"]["keyslots"]), (&json!([]), &json!([])));
    assert_eq!(left["tokens"]["0"]["tpm2-pcrs"], json!([7, 11]));
    cells.they_read();
    cells.print();
}

#[test]
fn persistent_flags_of_cryptsetup_are_read() {
    if !have_cryptsetup() {
        return;
    }
    // `open --persistent` needs device-mapper, so its output can't be had here. The flags are as it writes them.
    let image = Image::with_header(false);
    luks_format(&image, &["--sector-size", "1024"]);
    let flags = json!(["allow-discards", "no-read-workqueue"]);
    image.edit(|bytes| header::edit_json(bytes, |root| root["config"]["flags"] = flags.clone()));
    image.ours("one", |volume| volume.add_protector(Protector::Passphrase(b"two"), &cheap_argon2()).unwrap());
    assert_eq!(metadata(&image)["config"]["flags"], flags);
    let dump = image.cryptsetup(&["luksDump", &image.path()]);
    assert!(dump.contains("allow-discards no-read-workqueue"), "{dump}");
    let device = MemoryDevice::from_bytes(image.bytes());
    assert_eq!(Header::load(&device).unwrap().segments()[0].sector_size, 1024);
}
