//! What errors say where people were misled: the cause, and what to do next. Each is a situation that somebody was in.

#![cfg(feature = "std")]

mod common;

use atrest::key::{HashAlgorithm, Kdf, KdfLimits};
use atrest::luks::{LuksVersion, Priority};
use atrest::volume::KeyslotOptions;
use atrest::{Credential, Error, FormatOptions, MemoryDevice, OpenOptions, Protector, Volume};
use common::header;
use common::keyslots::cost;
use common::volumes::{image, look, options};

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
