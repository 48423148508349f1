//! Keyslots and tokens of a header, read and edited. cryptsetup made the headers and judges the edits.

use crate::common::header::{self, COPY, JSON};
use crate::common::{cryptsetup, run, run_any, text};
use atrest::Error;
use atrest::luks::{
    Area, BINARY_HEADER, Keyslot, KeyslotKdf, KeyslotKind, Metadata, NewMetadata, PassphraseKeyslot, Priority,
    SegmentSize, VolumeKeyDigest, WIPING_TYPE,
};
use serde_json::{Value, json};

const PBKDF2: [&str; 4] = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
const ARGON2: [&str; 6] = ["--pbkdf", "argon2id", "--pbkdf-force-iterations", "4", "--pbkdf-memory", "32"];
const AREA: u64 = 258_048;

/// A device of cryptsetup's: passphrases `pw0` (pbkdf2), `pw1` (argon2id) and `pw2` (argon2i) in slots 0 to 2.
struct Device {
    cryptsetup: String,
    folder: tempfile::TempDir,
}

impl Device {
    fn new() -> Option<Self> {
        let device = Device { cryptsetup: cryptsetup()?, folder: tempfile::tempdir().unwrap() };
        for name in ["pw0", "pw1", "pw2", "pw3"] {
            std::fs::write(device.folder.path().join(name), name).unwrap();
        }
        std::fs::File::create(device.path("image")).unwrap().set_len(20 << 20).unwrap();
        let (image, pw0, key) = (device.path("image"), device.path("pw0"), device.path("key"));
        std::fs::write(&key, [[7; 32], [8; 32]].concat()).unwrap();
        let args = ["luksFormat", "-q", "--type", "luks2", "--key-size", "512", "--volume-key-file", &key];
        run(&device.cryptsetup, &[&args[..], &PBKDF2, &["--key-file", &pw0, &image]].concat());
        let add = |kdf: &[&str], file: &str| {
            let args = ["luksAddKey", "-q", "--key-file", &pw0, &image, &device.path(file)];
            run(&device.cryptsetup, &[&args[..], kdf].concat());
        };
        add(&ARGON2, "pw1");
        add(&["--pbkdf", "argon2i", "--pbkdf-force-iterations", "5", "--pbkdf-memory", "64"], "pw2");
        Some(device)
    }

    fn path(&self, name: &str) -> String {
        text(&self.folder.path().join(name)).to_owned()
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.path("image")).unwrap()
    }

    fn metadata(&self) -> Metadata {
        read(&self.bytes())
    }

    /// Writes edited metadata into both copies.
    fn store(&self, metadata: &Metadata) {
        let mut image = self.bytes();
        let area = metadata.encode(COPY as u64).unwrap();
        for which in 0..2 {
            header::edit_copy(&mut image, which, |copy| copy[JSON..].copy_from_slice(&area));
        }
        std::fs::write(self.path("image"), image).unwrap();
    }

    fn opens(&self, passphrase: &str) -> bool {
        let (file, image) = (self.path(passphrase), self.path("image"));
        run_any(&self.cryptsetup, &["open", "--test-passphrase", "--key-file", &file, &image]).status.success()
    }

    /// Runs a command of cryptsetup's on the image.
    fn run(&self, args: &[&str]) -> String {
        run(&self.cryptsetup, &[args, &[&self.path("image")]].concat())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.run(&["luksDump", "--dump-json-metadata"])).unwrap()
    }
}

fn read(image: &[u8]) -> Metadata {
    Metadata::parse(&header::copy(image, 0)[BINARY_HEADER..], COPY as u64).unwrap()
}

fn passphrase(keyslot: &Keyslot) -> &PassphraseKeyslot {
    let KeyslotKind::Passphrase(slot) = &keyslot.kind else { panic!("{keyslot:?}") };
    slot
}

#[track_caller]
fn refused<T: core::fmt::Debug>(result: atrest::Result<T>, says: &str) {
    let error = result.unwrap_err();
    assert!(matches!(&error, Error::InvalidOption(what) if what.contains(says)), "{error:?} does not say {says:?}");
}

#[test]
fn keyslots_are_read_as_cryptsetup_wrote_them() {
    let Some(device) = Device::new() else { return };
    let metadata = device.metadata();
    let kdfs: Vec<&KeyslotKdf> = metadata.keyslots().iter().map(|slot| &passphrase(slot).kdf).collect();
    let [
        KeyslotKdf::Pbkdf2 { hash, iterations: 1000 },
        KeyslotKdf::Argon2id { time: 4, memory: 32, cpus },
        KeyslotKdf::Argon2i { time: 5, memory: 64, .. },
    ] = &kdfs[..]
    else {
        panic!("{kdfs:?}")
    };
    let json = device.json();
    assert_eq!(hash, "sha256");
    assert_eq!(json["keyslots"]["1"]["kdf"]["cpus"], *cpus);
    for (id, keyslot) in (0..).zip(metadata.keyslots()) {
        assert_eq!((keyslot.id, keyslot.key_size, keyslot.priority), (id, 64, Priority::Normal));
        assert_eq!(keyslot.area, Area { offset: 2 * COPY as u64 + u64::from(id) * AREA, size: AREA });
        let slot = passphrase(keyslot);
        assert_eq!((slot.af_hash.as_str(), slot.stripes, slot.area_key_size), ("sha256", 4000, 64));
        assert_eq!((slot.encryption.as_str(), slot.salt.len()), ("aes-xts-plain64", 32));
    }
    assert_eq!(metadata.digests()[0].keyslots, [0, 1, 2]);
    assert!(metadata.flags().is_empty() && metadata.reencryption().is_none());
    assert_eq!((metadata.free_keyslot_id(), metadata.free_token_id()), (Some(3), Some(0)));
    assert_eq!(Keyslot::area_size(64), 256_000);
}

#[test]
fn a_keyslot_written_anew_is_the_same_to_cryptsetup() {
    let Some(device) = Device::new() else { return };
    let before = device.json();
    let mut metadata = device.metadata();
    let slots = metadata.keyslots().to_vec();
    // Replaced in its place, with the additions of other programs.
    let mut image = device.bytes();
    header::edit_json(&mut image, |json| {
        json["keyslots"]["1"]["note"] = json!("kept");
        json["keyslots"]["1"]["kdf"]["note"] = json!("kept too");
    });
    let mut noted = read(&image);
    noted.set_keyslot(&slots[1], 0).unwrap();
    assert_eq!(noted, read(&image));
    // A KDF of another kind inherits nothing from the one before. The rest stays.
    let mut other = slots[0].clone();
    other.id = 1;
    other.area = slots[1].area;
    noted.set_keyslot(&other, 0).unwrap();
    device.store(&noted);
    let json = device.json();
    assert_eq!(json["keyslots"]["1"]["note"], "kept");
    assert_eq!(json["keyslots"]["1"]["kdf"], json["keyslots"]["0"]["kdf"]);

    // Taken out, and put in anew.
    for slot in &slots {
        metadata.remove_keyslot(slot.id).unwrap();
    }
    assert!(metadata.keyslots().is_empty() && metadata.digests()[0].keyslots.is_empty());
    device.store(&metadata);
    assert!(!device.opens("pw0"));
    for slot in &slots {
        metadata.set_keyslot(slot, 0).unwrap();
    }
    assert_eq!(metadata.keyslots(), slots);
    device.store(&metadata);
    assert_eq!(device.json(), before);
    assert!(device.opens("pw0") && device.opens("pw1") && device.opens("pw2"));
}

#[test]
fn priorities_are_those_of_cryptsetup() {
    let Some(device) = Device::new() else { return };
    for (name, priority) in [("prefer", Priority::Prefer), ("ignore", Priority::Ignore), ("normal", Priority::Normal)] {
        device.run(&["config", "--key-slot", "1", "--priority", name]);
        assert_eq!(device.metadata().keyslots()[1].priority, priority);
        let mut metadata = device.metadata();
        metadata.set_priority(2, priority).unwrap();
        device.store(&metadata);
        let json = device.json();
        assert_eq!(json["keyslots"]["2"].get("priority"), json["keyslots"]["1"].get("priority"));
        let mut anew = device.metadata();
        anew.set_keyslot(&metadata.keyslots()[2], 0).unwrap();
        assert_eq!(anew, device.metadata());
        assert_eq!(device.opens("pw2"), priority != Priority::Ignore);
    }
    refused(device.metadata().set_priority(9, Priority::Prefer), "there is no keyslot 9");
}

#[test]
fn a_keyslot_that_is_being_wiped_is_nothing_to_cryptsetup_but_a_taken_area() {
    let Some(device) = Device::new() else { return };
    let mut metadata = device.metadata();
    metadata.add_foreign_token(r#"{"type":"luks2-keyring","keyslots":["1","2"],"key_description":"k"}"#).unwrap();
    let area = metadata.keyslots()[1].area;
    metadata.replace_keyslot_type(1, WIPING_TYPE).unwrap();
    assert_eq!(metadata.keyslots()[1].kind, KeyslotKind::Wiping);
    assert_eq!((metadata.keyslots()[1].area, metadata.keyslots()[1].key_size), (area, 64));
    assert_eq!(
        (&metadata.digests()[0].keyslots[..], &metadata.token_objects()[0].keyslots[..]),
        (&[0, 2][..], &[2][..])
    );
    device.store(&metadata);
    assert!(device.run(&["luksDump"]).contains("1: atrest-wiping (unbound)"));
    assert!(device.opens("pw0") && !device.opens("pw1") && device.opens("pw2"));
    let (pw0, pw3) = (device.path("pw0"), device.path("pw3"));
    let add = ["luksAddKey", "-q", "--key-file", &pw0, &device.path("image"), &pw3];
    run(&device.cryptsetup, &[&add[..], &PBKDF2].concat());
    assert!(device.opens("pw3"));
    let ours = device.metadata();
    assert_eq!(ours.keyslots()[1].kind, KeyslotKind::Wiping);
    assert_eq!(ours.keyslots().iter().map(|slot| slot.id).collect::<Vec<_>>(), [0, 1, 2, 3]);
    run(&device.cryptsetup, &["luksKillSlot", "-q", "--key-file", &pw0, &device.path("image"), "1"]);
    assert_eq!(device.metadata().keyslots().iter().map(|slot| slot.id).collect::<Vec<_>>(), [0, 2, 3]);
    assert!(device.opens("pw0") && device.opens("pw2") && device.opens("pw3"));
}

#[test]
fn the_free_area_is_the_one_that_cryptsetup_takes() {
    let Some(device) = Device::new() else { return };
    let pw0 = device.path("pw0");
    // A gap in the middle, one at the end, and one that is too small.
    for (kill, added, key_bits) in [(Some("1"), 1, "512"), (None, 3, "512"), (None, 4, "256"), (Some("4"), 4, "512")] {
        if let Some(slot) = kill {
            run(&device.cryptsetup, &["luksKillSlot", "-q", "--key-file", &pw0, &device.path("image"), slot]);
        }
        let metadata = device.metadata();
        assert_eq!(metadata.free_keyslot_id(), Some(added));
        let new = ["luksAddKey", "-q", "--key-file", &pw0, "--keyslot-key-size", key_bits, "--keyslot-cipher"];
        let (image, pw3) = (device.path("image"), device.path("pw3"));
        let new = [&new[..], &["aes-xts-plain64", &image, &pw3], &PBKDF2].concat();
        run(&device.cryptsetup, &new);
        let after = device.metadata();
        let slot = after.keyslots().iter().find(|slot| slot.id == added).unwrap();
        assert_eq!(metadata.free_area(slot.area.size), Some(slot.area.offset));
    }
    let metadata = device.metadata();
    let room = (16 << 20) - 2 * COPY as u64;
    let used = 5 * AREA;
    assert_eq!(metadata.free_area(room - used), Some(2 * COPY as u64 + used));
    assert_eq!(metadata.free_area(room - used + 1), None);
    assert_eq!(metadata.free_area(u64::MAX), None);
}

#[test]
fn edits_that_would_make_a_header_invalid_are_refused_and_change_nothing() {
    let Some(device) = Device::new() else { return };
    let mut metadata = device.metadata();
    let before = metadata.clone();
    let slot = metadata.keyslots()[1].clone();
    let with = |edit: &dyn Fn(&mut Keyslot)| {
        let mut slot = slot.clone();
        edit(&mut slot);
        slot
    };
    for (says, slot) in [
        ("\"32\" is no number", with(&|slot| slot.id = 32)),
        ("overlaps", with(&|slot| slot.id = 3)),
        ("overlaps", with(&|slot| slot.area.offset += 4096)),
        ("not within", with(&|slot| slot.area.offset = 0)),
        ("not within", with(&|slot| slot.area.offset = u64::MAX - 511)),
        ("too small", with(&|slot| slot.area.size = 4096)),
        ("its key_size, 0,", with(&|slot| slot.key_size = 0)),
        ("only a passphrase's", with(&|slot| slot.kind = KeyslotKind::Wiping)),
        (
            "its salt has 0 bytes",
            with(&|slot| {
                let KeyslotKind::Passphrase(slot) = &mut slot.kind else { unreachable!() };
                slot.salt.clear();
            }),
        ),
        (
            "stripes",
            with(&|slot| {
                let KeyslotKind::Passphrase(slot) = &mut slot.kind else { unreachable!() };
                slot.stripes = 4001;
            }),
        ),
    ] {
        refused(metadata.set_keyslot(&slot, 0), says);
    }
    refused(metadata.set_keyslot(&slot, 1), "there is no digest 1");
    refused(metadata.remove_keyslot(3), "there is no keyslot 3");
    refused(metadata.replace_keyslot_type(3, WIPING_TYPE), "there is no keyslot 3");
    refused(metadata.replace_keyslot_type(1, "luks2"), "it has no af object");
    refused(metadata.remove_token(0), "there is no token 0");
    for (token, says) in [
        ("", "not sound"),
        ("[]", "no object"),
        (r#"{"type":"x"}"#, "its keyslots is missing"),
        (r#"{"keyslots":[]}"#, "its type is missing"),
        (r#"{"type":"x","keyslots":["9"]}"#, "\"9\" of the keyslots"),
        (r#"{"type":"x","keyslots":[],"keyslots":[]}"#, "occurs twice"),
        (r#"{"type":"atrest","keyslots":[]}"#, "sealed to its header"),
    ] {
        refused(metadata.add_foreign_token(token), says);
    }
    let long = format!(r#"{{"type":"x","keyslots":[],"blob":"{}"}}"#, "A".repeat(COPY - JSON));
    assert!(matches!(metadata.add_foreign_token(&long), Err(Error::NoRoom(what)) if what.contains("has room")));
    assert_eq!(metadata, before);
    // All numbers taken.
    for id in 0..32 {
        assert_eq!(metadata.add_foreign_token(r#"{"type":"x","keyslots":[]}"#).unwrap(), id);
    }
    let full = metadata.add_foreign_token(r#"{"type":"x","keyslots":[]}"#);
    assert!(matches!(full, Err(Error::NoRoom(_))), "{full:?}");
}

#[test]
fn tokens_are_those_of_cryptsetup() {
    let Some(device) = Device::new() else { return };
    let token = r#"{"type":"clevis","keyslots":["1"],"jwe":{"protected":"a/b","x":[1,2.5,null]}}"#;
    let file = device.path("token");
    std::fs::write(&file, token).unwrap();
    device.run(&["token", "import", "--json-file", &file, "--token-id", "3"]);
    let mut metadata = device.metadata();
    assert_eq!(metadata.add_foreign_token(token).unwrap(), 0);
    let [ours, theirs] = &metadata.token_objects()[..] else { panic!() };
    assert_eq!((ours.id, theirs.id, &ours.kind[..], &ours.keyslots[..]), (0, 3, "clevis", &[1][..]));
    assert_eq!(ours.json, theirs.json);
    assert_eq!(ours.json, token.as_bytes());
    device.store(&metadata);
    let exported = device.run(&["token", "export", "--token-id", "0"]);
    assert_eq!(exported.trim(), token);
    // A token whose keyslot is gone stays, as with cryptsetup.
    metadata.remove_keyslot(1).unwrap();
    let kill = ["luksKillSlot", "-q", "--key-file", &device.path("pw0"), &device.path("image"), "1"];
    run(&device.cryptsetup, &kill);
    assert_eq!(metadata, device.metadata());
    metadata.remove_token(3).unwrap();
    device.run(&["token", "remove", "--token-id", "3"]);
    assert_eq!(metadata, device.metadata());
}

#[test]
fn flags_are_those_that_cryptsetup_makes_persistent() {
    let Some(device) = Device::new() else { return };
    let mut image = device.bytes();
    header::edit_json(&mut image, |json| json["config"]["flags"] = json!(["allow-discards", "no-read-workqueue"]));
    std::fs::write(device.path("image"), &image).unwrap();
    assert!(device.run(&["luksDump"]).contains("allow-discards no-read-workqueue"));
    assert_eq!(device.metadata().flags(), ["allow-discards", "no-read-workqueue"]);
}

#[test]
fn a_reencryption_that_was_killed_is_told_with_its_progress() {
    let Some(device) = Device::new() else { return };
    let image = device.path("image");
    // Begun, and nothing done yet: cryptsetup writes its segments and ends.
    let args = ["reencrypt", "-q", "--init-only", "--key-file", &device.path("pw0"), "--key-slot", "0"];
    run(&device.cryptsetup, &[&args[..], &PBKDF2, &["--resilience", "journal", &image]].concat());
    let reencryption = device.metadata().reencryption().unwrap();
    assert_eq!(reencryption.mode.as_deref(), Some("reencrypt"));
    assert_eq!(reencryption.direction.as_deref(), Some("forward"));
    assert_eq!(reencryption.resilience.as_deref(), Some("journal"));
    assert_eq!(reencryption.requirement.as_deref(), Some("online-reencrypt-v2"));
    assert_eq!((reencryption.done, reencryption.total), (Some(0), None));
    // Half-way: the segments as cryptsetup 2.6.1 left them when it was killed.
    let crypt = |offset: u64, size: Value, flags: Option<&str>| {
        let mut segment = json!({
            "type": "crypt", "offset": offset.to_string(), "size": size, "iv_tweak": ((offset - DATA) / 512).to_string(),
            "encryption": "aes-xts-plain64", "sector_size": 4096,
        });
        if let Some(flag) = flags {
            segment["flags"] = json!([flag]);
        }
        segment
    };
    const DATA: u64 = 16 << 20;
    for (last, total) in [(json!("dynamic"), None), (json!("131072"), Some(3_145_728 + 65_536 + 131_072))] {
        let mut half = device.bytes();
        header::edit_json(&mut half, |json| {
            json["segments"] = json!({
                "0": crypt(DATA, json!("3145728"), None),
                "1": crypt(DATA + 3_145_728, json!("65536"), Some("in-reencryption")),
                "2": crypt(DATA + 3_211_264, last.clone(), None),
                "3": crypt(DATA, json!("dynamic"), Some("backup-previous")),
                "4": crypt(DATA, json!("dynamic"), Some("backup-final")),
            });
            json["digests"]["0"]["segments"] = json!(["1", "2", "3"]);
            json["digests"]["1"]["segments"] = json!(["1", "0", "4"]);
        });
        std::fs::write(&image, &half).unwrap();
        device.run(&["luksDump"]);
        let reencryption = device.metadata().reencryption().unwrap();
        assert_eq!((reencryption.done, reencryption.total), (Some(3_145_728), total));
    }
}

#[test]
fn new_metadata_is_what_was_asked_for_and_what_cryptsetup_reads() {
    let digest = || VolumeKeyDigest { hash: "sha256".into(), iterations: 1000, salt: vec![1; 32], digest: vec![2; 32] };
    let new = |offset, detached, keyslots_size| {
        let mut new = NewMetadata::new(COPY as u64, offset, 4096, digest());
        new.detached = detached;
        new.keyslots_size = keyslots_size;
        new
    };
    let default = (16 << 20) - 2 * COPY as u64;
    for (new, room) in [
        (new(16 << 20, false, None), default),
        (new(1 << 20, false, None), (1 << 20) - 32768),
        (new(1 << 20, false, Some(0)), 0),
        (new(16 << 20, false, Some(4096)), 4096),
        (new(1 << 40, false, None), 128 << 20),
        (new(0, true, None), default),
        (new(0, true, Some(1 << 20)), 1 << 20),
        (new(40960 + 512, true, None), 8192),
        (new(1 << 40, true, None), default),
    ] {
        let metadata = Metadata::new(&new).unwrap();
        let area = metadata.encode(COPY as u64).unwrap();
        assert_eq!(Metadata::parse(&area, COPY as u64).unwrap(), metadata);
        assert_eq!(metadata.segments()[0].offset, new.data_offset);
        let end = area.iter().position(|&byte| byte == 0).unwrap();
        let json: Value = serde_json::from_slice(&area[..end]).unwrap();
        assert_eq!(json["config"]["keyslots_size"], room.to_string());
        let Some(device) = Device::new() else { return };
        // cryptsetup wants the whole keyslots area to be there.
        std::fs::OpenOptions::new().write(true).open(device.path("image")).unwrap().set_len(130 << 20).unwrap();
        device.store(&metadata);
        device.run(&["luksDump"]);
    }
    for (new, says) in [
        (new(0, false, None), "within the header"),
        (new(16384, false, None), "within the header"),
        (new(16384, true, None), "within the header"),
        (new((1 << 20) + 1, false, None), "no multiple of 512"),
        (new(1 << 20, false, Some(1 << 20)), "within the header"),
        (new(1 << 20, true, Some(1 << 20)), "within the header"),
        (new(1 << 20, false, Some(4095)), "multiple of 4096"),
        (new(0, true, Some(129 << 20)), "up to 128 MiB"),
        (new(0, true, Some(u64::MAX)), "within the header"),
    ] {
        refused(Metadata::new(&new), says);
    }
    for size in [0, 4096, 0x4001, u64::MAX] {
        let mut new = new(1 << 20, false, None);
        new.header_size = size;
        assert!(matches!(Metadata::new(&new), Err(Error::InvalidOption(_))));
        assert!(Metadata::parse(b"{}\0", size).unwrap_err().contains("none of those"));
    }
    let mut fixed = new(1 << 20, false, None);
    fixed.segment_size = SegmentSize::Bytes(8192);
    fixed.encryption = "aes-cbc-essiv:sha256".into();
    let metadata = Metadata::new(&fixed).unwrap();
    assert_eq!(metadata.segments()[0].size, SegmentSize::Bytes(8192));
    fixed.segment_size = SegmentSize::Bytes(512);
    refused(Metadata::new(&fixed), "no whole number of sectors");
}
