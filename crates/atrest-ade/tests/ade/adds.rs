//! The first passphrase of a disk that has none.

use std::sync::Arc;

use atrest::volume::{Header, KeyslotOptions};
use atrest::{Credential, Error, FileDevice, OpenOptions, Secret, Volume};
use atrest_ade::{
    AdeToken, Disk, FILE_NAME, Kek, SecretStore, SecretUrl, Source, TOKEN, Tags, TokenPassphrase, Vaults, add_secret,
    add_token, generate_passphrase, open, replace_secret,
};

use crate::device::{TestDevice, crash_images};
use crate::memory::{ID, MemoryKek, MemorySecrets};
use crate::peers::{self, run, text};
use crate::volumes::{KEK, cheap, holds_content, is_tried, luks_format, small, token};

const OWN: &[u8] = b"an administrator's own passphrase";

fn url() -> SecretUrl {
    format!("{ID}/secrets/disk-1").parse().unwrap()
}

fn volume(device: &Arc<TestDevice>) -> Volume<Arc<TestDevice>> {
    Volume::open(device.clone(), Credential::Passphrase(OWN), &OpenOptions::new()).unwrap()
}

fn opens(device: &Arc<TestDevice>, source: &Source, vaults: Vaults<'_>) -> bool {
    open(&Disk::new(device.clone()), source, vaults, &OpenOptions::new()).is_ok_and(|volume| holds_content(&volume))
}

fn versions(secrets: &MemorySecrets) -> usize {
    secrets.get("disk-1", None).map_or(0, |found| found.version.parse::<usize>().unwrap() + 1)
}

#[test]
fn a_disk_gets_its_first_secret_and_a_killed_call_is_finished_by_another() {
    for algorithm in [None, Some("RSA-OAEP-256"), Some("RSA1_5")] {
        let secrets = MemorySecrets::default();
        let tags = Tags::new(algorithm.map(|algorithm| Kek::new(KEK, algorithm).unwrap()), FILE_NAME, "vm-1");
        let vaults = Vaults { secrets: &[&secrets], keks: &[&MemoryKek] };
        let device = small(&Secret::copy_from(OWN), &[]);
        let before = device.bytes();
        let add = |device: &Arc<TestDevice>| {
            add_secret(&volume(device), &url(), &tags, vaults, &cheap()).unwrap().to_string()
        };
        let made = add(&device);
        let log = device.take_log();
        let source = Source::Secret { url: made.parse().unwrap(), kek: None };
        assert!(opens(&device, &source, vaults) && holds_content(&volume(&device)), "{made}");
        assert_eq!(Header::load(&*device).unwrap().keyslots().len(), 2);
        // The vault's tags hold all that the extension's host writes, and the volume's UUID.
        let found = secrets.get("disk-1", None).unwrap();
        let mut said = found.tags.clone();
        let uuid = said.remove("VolumeUUID").unwrap();
        assert_eq!((said, uuid.as_str()), (tags.to_map(), Header::load(&*device).unwrap().uuid()));
        if algorithm.is_none() {
            // 172 characters of base64, in base64.
            assert_eq!(found.value.len(), 232);
        }
        // Once more, it does nothing.
        let same = device.bytes();
        assert!(add(&device) == made && versions(&secrets) == 1 && device.bytes() == same);
        if algorithm != Some("RSA-OAEP-256") {
            continue;
        }
        // The vault has it before anything is written.
        let (mut with, mut without, mut seen) = (0, 0, 0);
        let count = crash_images(&before, &log, 2, |what, image| {
            if !is_tried(what, &mut seen, 20) {
                return;
            }
            let device = Arc::new(TestDevice::new(image));
            assert!(holds_content(&volume(&device)), "{what}");
            match opens(&device, &source, vaults) {
                true => with += 1,
                false => without += 1,
            }
            assert!(add(&device) == made && opens(&device, &source, vaults), "{what}");
            assert!(versions(&secrets) == 1 && Header::load(&*device).unwrap().keyslots().len() == 2, "{what}");
        });
        println!("{count} crash points, of which some are tried: {with} opened by the secret, {without} not yet");
        assert!(with > 0 && without > 0 && count > 50, "{count}");
    }
}

/// The next call takes the secret that a killed one has made, and a replacement goes on from there.
#[test]
fn a_secret_that_no_keyslot_has_yet_is_taken_up() {
    let secrets = MemorySecrets::default();
    let tags = Tags::new(None, FILE_NAME, "vm-1");
    let vaults = Vaults { secrets: &[&secrets], keks: &[] };
    let device = small(&Secret::copy_from(OWN), &[]);
    let mut all = tags.to_map();
    all.insert("VolumeUUID".into(), Header::load(&*device).unwrap().uuid().into());
    let passphrase = generate_passphrase().unwrap();
    secrets.set("disk-1", &atrest_ade::seal(&passphrase, None, &[]).unwrap(), &all).unwrap();
    let made = add_secret(&volume(&device), &url(), &tags, vaults, &cheap()).unwrap();
    // The name of the file is that of the extension, unless another is given.
    let mut unnamed = tags.clone();
    unnamed.file_name = None;
    assert_eq!(add_secret(&volume(&device), &url(), &unnamed, vaults, &cheap()).unwrap(), made);
    assert_eq!(versions(&secrets), 1);
    let by = |passphrase: &Secret| {
        Volume::open(device.clone(), Credential::Passphrase(passphrase.expose()), &OpenOptions::new()).is_ok()
    };
    assert!(by(&passphrase));
    let options = atrest_ade::ReplaceOptions::new().keyslot(cheap());
    let next = replace_secret(&Disk::new(device.clone()), &made, None, vaults, &options).unwrap();
    assert!(!by(&passphrase) && opens(&device, &Source::Secret { url: next, kek: None }, vaults));
    assert_eq!(secrets.get("disk-1", None).unwrap().tags, all);
}

#[test]
fn a_secret_of_another_disk_and_a_volume_that_takes_none_are_refused_and_nothing_is_made() {
    let secrets = MemorySecrets::default();
    let tags = Tags::new(None, FILE_NAME, "vm-1");
    let vaults = Vaults { secrets: &[&secrets], keks: &[] };
    let device = small(&Secret::copy_from(OWN), &[]);
    let before = device.bytes();
    let add = |url: String| add_secret(&volume(&device), &url.parse().unwrap(), &tags, vaults, &cheap());
    assert!(matches!(add(format!("{ID}/secrets/disk-1/1")), Err(Error::InvalidOption(_))));
    assert!(matches!(add("https://other/secrets/disk-1".into()), Err(Error::NotThisVault { .. })));
    let wrapped = Tags::new(Some(Kek::new(KEK, "RSA-OAEP").unwrap()), FILE_NAME, "vm-1");
    let refused = add_secret(&volume(&device), &url(), &wrapped, vaults, &cheap()).unwrap_err();
    assert!(matches!(refused, Error::NotThisVault { .. }), "{refused}");
    let read_only = OpenOptions::new().read_only(true);
    let read_only = Volume::open(device.clone(), Credential::Passphrase(OWN), &read_only).unwrap();
    assert!(matches!(add_secret(&read_only, &url(), &tags, vaults, &cheap()), Err(Error::ReadOnly)));
    assert!(matches!(
        add_token(&read_only, &token(TokenPassphrase::default()), vaults, &cheap()),
        Err(Error::ReadOnly)
    ));
    assert_eq!(versions(&secrets), 0);
    // Without an answer nothing is known, and nothing is made.
    secrets.is_down.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(matches!(add(format!("{ID}/secrets/disk-1")), Err(Error::Vault(_))));
    secrets.is_down.store(false, std::sync::atomic::Ordering::Relaxed);
    // Two machines' disks with one name for their secrets.
    let value = atrest_ade::seal(&generate_passphrase().unwrap(), None, &[]).unwrap();
    for of_other in [tags.to_map(), Tags::new(None, FILE_NAME, "vm-2").to_map()] {
        secrets.set("disk-1", &value, &of_other).unwrap();
        let refused = add(format!("{ID}/secrets/disk-1")).unwrap_err();
        assert!(matches!(&refused, Error::ResourceExists(text) if text.contains("another disk's")), "{refused}");
    }
    assert!(versions(&secrets) == 2 && device.bytes() == before);
}

/// The token that the extension reads: the first of its type.
fn first_token(device: &Arc<TestDevice>) -> Option<AdeToken> {
    let tokens = Header::load(&**device).unwrap().tokens();
    tokens.iter().find(|token| token.kind == TOKEN).map(|token| AdeToken::read(&token.json_bytes).unwrap())
}

#[test]
fn a_disk_gets_its_first_token_and_a_killed_call_is_finished_by_another() {
    let vaults = Vaults { secrets: &[], keks: &[&MemoryKek] };
    let like = token(TokenPassphrase::default());
    let device = small(&Secret::copy_from(OWN), &[]);
    let before = device.bytes();
    let add = |device: &Arc<TestDevice>| add_token(&volume(device), &like, vaults, &cheap());
    add(&device).unwrap();
    let log = device.take_log();
    let is_made = |device: &Arc<TestDevice>, what: &str| {
        let header = Header::load(&**device).unwrap();
        assert!(header.keyslots().len() == 2 && header.tokens().len() == 1, "{what}: {header:?}");
        let made = first_token(device).unwrap();
        assert!(matches!(&made.passphrase, TokenPassphrase::Wrapped(bytes) if bytes.len() == 174), "{what}");
        assert_eq!((&made.kek_url, &made.vault_resource), (&like.kek_url, &like.vault_resource), "{what}");
        assert!(opens(device, &Source::Token, vaults) && holds_content(&volume(device)), "{what}");
    };
    is_made(&device, "whole");
    // Once more, it does nothing.
    let same = device.bytes();
    add(&device).unwrap();
    assert!(device.bytes() == same);
    let mut seen = 0;
    let count = crash_images(&before, &log, 2, |what, image| {
        if !is_tried(what, &mut seen, 20) {
            return;
        }
        let device = Arc::new(TestDevice::new(image));
        assert!(holds_content(&volume(&device)), "{what}");
        assert!(first_token(&device).is_none() || opens(&device, &Source::Token, vaults), "{what}");
        add(&device).unwrap_or_else(|e| panic!("{what}: {e:?}"));
        is_made(&device, what);
    });
    println!("{count} crash points, of which some are tried");
    assert!(count > 100);
    // Another key isn't what it has, and neither is that of a killed call.
    let mut other = token(TokenPassphrase::default());
    other.kek_url = Some(format!("{ID}/keys/other/1"));
    let refused = add_token(&volume(&device), &other, vaults, &cheap()).unwrap_err();
    assert!(matches!(&refused, Error::ResourceExists(text) if text.contains("already")), "{refused}");
    let begun = small(
        &Secret::copy_from(OWN),
        &[String::from_utf8(like.to_json())
            .unwrap()
            .replace("Azure_Disk_Encryption", "Azure_Disk_Encryption_Next")
            .replace("\"Passphrase\":\"\"", "\"Passphrase\":\"AAAA\"")
            .into_bytes()],
    );
    let refused = add_token(&volume(&begun), &other, vaults, &cheap()).unwrap_err();
    assert!(matches!(&refused, Error::ResourceExists(text) if text.contains("killed")), "{refused}");
    let nameless = add_token(&volume(&begun), &AdeToken::default(), vaults, &cheap()).unwrap_err();
    assert!(matches!(nameless, Error::InvalidName(_)), "{nameless}");
}

/// `cryptsetup` makes the volume, and opens it by what is in the vault. LUKS1 has no tokens.
#[test]
fn cryptsetup_opens_a_volume_of_its_own_by_its_first_secret() {
    if peers::cryptsetup().is_none() {
        return;
    }
    for kind in ["luks1", "luks2"] {
        let folder = tempfile::tempdir().unwrap();
        luks_format(folder.path(), &Secret::copy_from(OWN), kind, false);
        let disk = folder.path().join("disk");
        let secrets = MemorySecrets::default();
        let vaults = Vaults { secrets: &[&secrets], keks: &[&MemoryKek] };
        let volume =
            Volume::open(FileDevice::open(&disk).unwrap(), Credential::Passphrase(OWN), &OpenOptions::new()).unwrap();
        let options = if kind == "luks1" { KeyslotOptions::new() } else { cheap() };
        add_secret(&volume, &url(), &Tags::new(None, FILE_NAME, "vm-1"), vaults, &options).unwrap();
        let made = add_token(&volume, &token(TokenPassphrase::default()), vaults, &options);
        drop(volume);
        let file = folder.path().join("value");
        std::fs::write(&file, secrets.get("disk-1", None).unwrap().value.expose()).unwrap();
        let passphrase = folder.path().join("passphrase");
        std::fs::write(&passphrase, run("base64", &["-d", text(&file)])).unwrap();
        run("cryptsetup", &["open", "--test-passphrase", "--key-file", text(&passphrase), text(&disk)]);
        let dump = run("cryptsetup", &["luksDump", text(&disk)]);
        match kind {
            "luks1" => assert!(matches!(made, Err(Error::UnsupportedHeader(_))), "{:?}", made.err()),
            _ => assert!(made.is_ok() && dump.contains("1: Azure_Disk_Encryption\n"), "{dump}"),
        }
    }
}
