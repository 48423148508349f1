//! What errors say where people were misled: the cause, and what to do next. Each is a situation that somebody was in.

use std::time::{Duration, Instant};

use crate::common::header;
use crate::common::keyslots::cost;
use crate::common::volumes::{image, look, options};
use atrest::key::{HashAlgorithm, Kdf, KdfLimits};
use atrest::volume::KeyslotOptions;
use atrest::volume::{LuksVersion, Priority};
use atrest::{Credential, Error, FormatOptions, MemoryDevice, OpenOptions, Protector, Volume};

fn luks1() -> Vec<u8> {
    let keyslot = KeyslotOptions::new().kdf(Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 1000 });
    let options = FormatOptions::new().version(LuksVersion::Luks1).keyslot(keyslot);
    Volume::format(MemoryDevice::new(4 << 20), Protector::Passphrase(b"first"), &options)
        .unwrap()
        .into_device()
        .into_bytes()
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
    for (bytes, found) in [(vec![0; 1 << 20], "zeros"), (vec![0xA5; 1 << 20], "bytes that no signature")] {
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
    let limits = KdfLimits { max_pbkdf2_iterations: 1000, ..KdfLimits::default() };
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
    let within = |ms| KdfLimits { max_total: Duration::from_millis(ms), ..KdfLimits::default() };
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
        // 11 GiB in all, of which the machine needs none before it refuses.
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
        let began = Instant::now();
        says(&open(bytes, &OpenOptions::new()), &["keyslot 0", seconds, "10.0s", "KdfLimits::max_total"], &["wrong"]);
        assert!(began.elapsed() < Duration::from_secs(1));
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
    assert!(matches!(error, Error::DeviceTooSmall { needed, size } if needed > 16 << 20 && size == 10 << 20));
    says(&error, &["data_offset", "hazmat_allow_truncated"], &["was it"]);
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
            (|json| json["segments"]["0"]["encryption"] = "serpent-xts-plain64".into()) as fn(&mut serde_json::Value),
            "serpent",
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
