//! Error messages in situations that misled people: each names the cause and the next step.

use std::sync::Arc;
use std::time::Duration;

use crate::common::header;
use crate::common::keyslots::cost;
use crate::common::spent::spent;
use crate::common::volumes::{image, look, options};
use atrest::key::{HashAlgorithm, Kdf, KdfLimits};
use atrest::vault::{FileVault, Unlock};
use atrest::volume::KeyslotOptions;
use atrest::volume::{LuksVersion, Priority};
use atrest::{
    Credential, Error, FileDevice, FormatOptions, MemoryDevice, OpenOptions, Protector, SectorSize, TooSmall, Volume,
};

fn luks1() -> Vec<u8> {
    let keyslot = KeyslotOptions::new().kdf(Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 1000 });
    let options = FormatOptions::new().version(LuksVersion::Luks1).keyslot(keyslot);
    Volume::format(MemoryDevice::new(4 << 20), Protector::Passphrase(b"first"), &options)
        .unwrap()
        .into_device()
        .into_bytes()
}

fn luks1_cost() -> KeyslotOptions {
    KeyslotOptions::new().kdf(Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 1000 })
}

fn says(error: &Error, parts: &[&str], never: &[&str]) {
    let text = error.to_string();
    assert!(parts.iter().all(|part| text.contains(part)), "{text}: not {parts:?}");
    assert!(never.iter().all(|part| !text.contains(part)), "{text}: {never:?}");
}

fn open(bytes: Vec<u8>, options: &OpenOptions) -> Error {
    let opened = Volume::open(MemoryDevice::from_bytes(bytes), Credential::Passphrase(b"first"), options);
    opened.map(drop).unwrap_err()
}

#[test]
fn a_device_without_a_header_is_not_to_be_formatted_first() {
    let (vault, _) = image();
    for (bytes, found) in [(vec![0; 1 << 20], "zeros"), (vec![0xA5; 1 << 20], "bytes without a known signature")] {
        let error = look(bytes, &vault).map(drop).unwrap_err();
        says(&error, &["no LUKS header", found, "detached", "backup"], &["format it"]);
    }
}

#[test]
fn a_header_that_was_written_so_is_not_called_damaged() {
    let (vault, mut bytes) = image();
    header::edit_json(&mut bytes, |json| json["config"]["json_size"] = "4096".into());
    let error = look(bytes.clone(), &vault).map(drop).unwrap_err();
    says(&error, &["json_size", "checksum is right"], &["intact LUKS header:"]);
    // And one that is damaged is.
    (bytes[5000], bytes[header::COPY + 5000]) = (1, 1);
    let error = look(bytes, &vault).map(drop).unwrap_err();
    says(&error, &["its checksum does not match"], &["checksum is right"]);
}

#[test]
fn what_a_digest_costs_is_not_blamed_on_keyslots() {
    // mk-digest-iter is at byte 164 (LUKS1 specification, figure 1).
    let mut bytes = luks1();
    bytes[164..168].copy_from_slice(&4_000_000_000u32.to_be_bytes());
    for options in [OpenOptions::new(), OpenOptions::new().keyslot(0)] {
        says(&open(bytes.clone(), &options), &["digest", "4000000000"], &["name it", "keyslot"]);
    }
    let limits = KdfLimits::new().max_pbkdf2_iterations(1000);
    bytes[164..168].copy_from_slice(&9_000u32.to_be_bytes());
    says(
        &open(bytes, &OpenOptions::new().kdf_limits(limits)),
        &["digest", "9000", "max_pbkdf2_iterations"],
        &["name it"],
    );
}

#[test]
fn all_keyslots_together_have_a_ceiling_that_is_named() {
    // Each takes 1 ms and a little by the measure of `Kdf::cost`: 1 us a pass over 1 KiB.
    let slot = |n: u32| KeyslotOptions::new().id(n).kdf(Kdf::Argon2id { memory_kib: 1000, passes: 1, lanes: 1 });
    let volume = Volume::format(MemoryDevice::new(2 << 20), Protector::Passphrase(b"0"), &options().keyslot(slot(0)));
    let volume = volume.unwrap();
    for n in 1..3 {
        volume.add_protector(Protector::Passphrase(n.to_string().as_bytes()), &slot(n)).unwrap();
    }
    let bytes = volume.into_device().into_bytes();
    let open = |passphrase: &[u8], options: &OpenOptions| {
        Volume::open(MemoryDevice::from_bytes(bytes.clone()), Credential::Passphrase(passphrase), options).map(drop)
    };
    let within = |ms| KdfLimits::new().max_total(Duration::from_millis(ms));
    // For two of them there is enough.
    let two = OpenOptions::new().kdf_limits(within(3));
    open(b"0", &two).unwrap();
    open(b"1", &two).unwrap();
    let error = open(b"2", &two).unwrap_err();
    says(&error, &["keyslot 2", "not tried", "KdfLimits::max_total", "`keyslot`"], &["keyslot 1"]);
    open(b"2", &OpenOptions::new().kdf_limits(within(4))).unwrap();
    open(b"2", &two.clone().keyslot(2)).unwrap();
    open(b"2", &OpenOptions::new()).unwrap();
    assert!(matches!(open(b"3", &OpenOptions::new()), Err(Error::WrongPassphrase)));
}

#[test]
fn a_header_asks_for_ten_seconds_at_most() {
    let volume = Volume::format(MemoryDevice::new(2 << 20), Protector::Passphrase(b"0"), &options().keyslot(cost()));
    let sound = volume.unwrap().into_device().into_bytes();
    for (kdf, seconds) in [
        // 11 GiB in all. The machine needs none of it before the refusal.
        (serde_json::json!({"type": "argon2id", "memory": 1 << 20, "time": 11, "cpus": 4}), "11.5s"),
        (serde_json::json!({"type": "pbkdf2", "hash": "sha512", "iterations": 20_000_000}), "12.0s"),
        (serde_json::json!({"type": "pbkdf2", "hash": "sha256", "iterations": 40_000_000}), "12.0s"),
    ] {
        let mut bytes = sound.clone();
        header::edit_json(&mut bytes, |json| {
            let salt = json["keyslots"]["0"]["kdf"]["salt"].clone();
            json["keyslots"]["0"]["kdf"] = kdf.clone();
            json["keyslots"]["0"]["kdf"]["salt"] = salt;
        });
        let began = spent();
        says(&open(bytes, &OpenOptions::new()), &["keyslot 0", seconds, "10.0s", "KdfLimits::max_total"], &["wrong"]);
        assert!(spent() - began < Duration::from_secs(1));
    }
    // And no keyslot is made that would not open.
    let dear = KeyslotOptions::new().kdf(Kdf::Argon2id { memory_kib: 1 << 20, passes: 11, lanes: 4 });
    let error = Volume::format(MemoryDevice::new(2 << 20), Protector::Passphrase(b"0"), &options().keyslot(dear));
    says(&error.map(drop).unwrap_err(), &["11.5s", "10.0s", "would not open"], &[]);
}

#[test]
fn a_keyslot_that_is_ignored_is_mentioned() {
    let format = options().keyslot(cost());
    let volume = Volume::format(MemoryDevice::new(2 << 20), Protector::Passphrase(b"first"), &format).unwrap();
    volume.header().set_priority(0, Priority::Ignore).unwrap();
    let bytes = volume.into_device().into_bytes();
    let error = open(bytes.clone(), &OpenOptions::new());
    assert!(matches!(error, Error::NoSuchProtector(_)));
    says(&error, &["keyslot 0", "ignore", "`keyslot`"], &["another credential"]);
    let named = OpenOptions::new().keyslot(0);
    Volume::open(MemoryDevice::from_bytes(bytes), Credential::Passphrase(b"first"), &named).unwrap();
}

#[test]
fn a_new_volume_on_a_small_device_is_told_which_option_helps() {
    let format = |options: FormatOptions| {
        Volume::format(MemoryDevice::new(10 << 20), Protector::Passphrase(b"first"), &options.keyslot(cost()))
    };
    let error = format(FormatOptions::new()).map(drop).unwrap_err();
    assert!(
        matches!(error, Error::DeviceTooSmall { what: TooSmall::NewVolume, needed, size } if needed > 16 << 20 && size == 10 << 20)
    );
    says(&error, &["data_offset", "`header`"], &["was it", "hazmat_allow_truncated"]);
    format(options()).unwrap();
}

#[test]
fn the_newline_of_a_key_file_is_mentioned() {
    let volume =
        Volume::format(MemoryDevice::new(2 << 20), Protector::Passphrase(b"first"), &options().keyslot(cost()))
            .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, "first\n").unwrap();
    let error = Volume::open(volume.into_device(), Credential::KeyFile(&path), &OpenOptions::new()).unwrap_err();
    assert!(matches!(error, Error::WrongPassphrase));
    says(&error, &["newline"], &["vault"]);
}

#[test]
fn what_another_program_opens_is_told() {
    for (edit, found) in [
        (
            (|json| json["segments"]["0"]["encryption"] = "aria-xts-plain64".into()) as fn(&mut serde_json::Value),
            "aria",
        ),
        (|json| json["segments"]["0"]["type"] = "hw-opal".into(), "hw-opal"),
        (
            |json| {
                json["segments"]["0"]["integrity"] = serde_json::json!({"type": "hmac(sha256)", "journal_encryption": "none", "journal_integrity": "none"})
            },
            "integrity",
        ),
        (|json| json["config"]["requirements"] = serde_json::json!({"mandatory": ["opal"]}), "opal"),
    ] {
        let (vault, mut bytes) = image();
        header::edit_json(&mut bytes, edit);
        let error = look(bytes, &vault).map(drop).unwrap_err();
        assert!(matches!(error, Error::UnsupportedHeader(_)), "{error:?}");
        says(&error, &[found, "cryptsetup"], &[]);
    }
}

#[test]
fn how_small_a_device_may_be_is_told_and_true() {
    let format = |options: &FormatOptions, size: u64| {
        Volume::format(MemoryDevice::new(size as usize), Protector::Passphrase(b"first"), options).map(drop)
    };
    for (version, default, least) in [(LuksVersion::Luks2, 16, 1), (LuksVersion::Luks1, 2, 2)] {
        let made = FormatOptions::new().version(version).sector_size(SectorSize::B512).keyslot(luks1_cost());
        for (options, at) in [(made.clone(), default), (made.clone().data_offset(least << 20), least)] {
            let smallest = (at << 20) + 512;
            let error = format(&options, smallest - 1).unwrap_err();
            assert!(
                matches!(error, Error::DeviceTooSmall { needed, .. } if needed == smallest),
                "{version:?}: {error:?}"
            );
            let bytes = smallest.to_string();
            says(&error, &[&bytes, "`data_offset`", "16 MiB", "1 MiB (LUKS1: 2 MiB)", "detached `header`"], &[]);
            format(&options, smallest).unwrap();
        }
        let less = made.clone().data_offset((least - 1) << 20);
        says(&format(&less, 1 << 20).unwrap_err(), &["from 1 (LUKS1: 2) to 128 MiB", "detached header"], &[]);
        // With the header elsewhere, a sector is enough.
        let detached = made.data_offset(0).header(Arc::new(MemoryDevice::new(16 << 20)));
        format(&detached, 512).unwrap();
    }
}

#[test]
fn a_file_that_is_no_volume_is_named_and_not_to_be_formatted() {
    let (vault, _) = image();
    for (bytes, found) in [
        (b"Dear Anna,\n".to_vec(), "text"),
        (b"Dear Anna,\n".repeat(10_000), "text"),
        (vec![0; 512], "zeros"),
        (b"QFI\xfb\0\0\0\x03".to_vec(), "qcow2"),
        (vec![0xA5; 700], "bytes without a known signature"),
    ] {
        let error = look(bytes, &vault).map(drop).unwrap_err();
        assert!(matches!(error, Error::NotLuks { .. }), "{error:?}");
        says(&error, &["no LUKS header", found, "right device"], &["format it", "data_offset", "truncated"]);
    }
    // The beginning of a header is one that was cut off.
    let (_, bytes) = image();
    let error = look(bytes[..4096].to_vec(), &vault).map(drop).unwrap_err();
    assert!(matches!(error, Error::DeviceTooSmall { .. }), "{error:?}");
}

#[test]
fn a_vault_and_a_volume_each_tell_of_a_wrong_passphrase_in_own_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.vault");
    crate::common::vault_at(&path);
    let error = FileVault::open(&path, Unlock::Passphrase(b"wrong")).map(drop).unwrap_err();
    assert!(matches!(error, Error::WrongVaultPassphrase));
    says(&error, &["vault", "passphrase or root key file"], &["keyslot", "volume"]);
    let volume = Volume::format(MemoryDevice::new(2 << 20), Protector::Passphrase(b"1"), &options().keyslot(cost()));
    let error = open(volume.unwrap().into_device().into_bytes(), &OpenOptions::new());
    assert!(matches!(error, Error::WrongPassphrase));
    says(&error, &["passphrase or key file", "wrong"], &["vault"]);
}

#[test]
fn a_letter_is_no_damaged_vault() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letter");
    for text in ["Dear Anna,", "Dear Anna,\nsee you\n", "{\"to\": \"Anna\"}\n", "{\n  \"to\": 1\n}\n{}\n", "\n"] {
        std::fs::write(&path, text).unwrap();
        let error = FileVault::open(&path, Unlock::Passphrase(b"wrong")).map(drop).unwrap_err();
        says(&error, &["letter", "not a vault file", "check the path"], &["damaged", "torn", "copy"]);
    }
}

#[test]
fn a_token_that_finds_no_room_leaves_the_header_as_it_is() {
    let volume =
        Volume::format(MemoryDevice::new(2 << 20), Protector::Passphrase(b"first"), &options().keyslot(cost()));
    let volume = volume.unwrap();
    let token = format!(r#"{{"type":"ours","keyslots":[],"note":"{}"}}"#, "x".repeat(20_000));
    let error = volume.header().import_token(&token).map(drop).unwrap_err();
    assert!(matches!(error, Error::NoRoom(_)), "{error:?}");
    says(
        &error,
        &["no room", "`metadata_size`", "remove a token"],
        &["damaged", "broken", "invalid", "no LUKS header"],
    );
    let bytes = volume.into_device().into_bytes();
    let opened = Volume::open(MemoryDevice::from_bytes(bytes), Credential::Passphrase(b"first"), &OpenOptions::new());
    assert!(!opened.unwrap().header().needs_repair());
    // And that is the way out.
    let larger = options().keyslot(cost()).metadata_size(64 << 10);
    let volume = Volume::format(MemoryDevice::new(2 << 20), Protector::Passphrase(b"first"), &larger).unwrap();
    volume.header().import_token(&token).unwrap();
}

#[test]
fn what_is_not_there_or_is_there_already_is_told_by_kind_and_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (key, vault, disk) = (path("root.key"), path("keys.vault"), path("disk.img"));
    let create = || FileVault::create(&vault, Unlock::KeyFile(&key)).map(drop);
    let missing = |error: Error, name: &str| {
        assert!(matches!(&error, Error::NotFound { path: found, .. } if *found == path(name)), "{error:?}");
        says(&error, &["there is no", name], &[]);
    };
    missing(create().unwrap_err(), "root.key");
    missing(FileVault::open(&vault, Unlock::KeyFile(&key)).map(drop).unwrap_err(), "keys.vault");
    missing(FileDevice::open(&disk).unwrap_err(), "disk.img");
    missing(FileDevice::open_read_only(&disk).unwrap_err(), "disk.img");
    missing(FileDevice::create(path("none/disk.img"), 512).unwrap_err(), "none");
    FileVault::generate_key_file(&key).unwrap();
    create().unwrap();
    FileDevice::create(&disk, 512).unwrap();
    for (again, name) in [
        (FileVault::generate_key_file(&key).unwrap_err(), "root.key"),
        (create().unwrap_err(), "keys.vault"),
        (FileDevice::create(&disk, 512).map(drop).unwrap_err(), "disk.img"),
    ] {
        assert!(matches!(&again, Error::AlreadyExists { path: found, .. } if found.ends_with(name)), "{again:?}");
        says(&again, &[name, "exists already", "another path"], &[]);
    }
}
