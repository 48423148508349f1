//! Promises of SECURITY.md that no other test covers, and that the tests which it names exist.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::vaults::MemoryVault;
use crate::common::{PASSPHRASE, header, hex};
use atrest::vault::{FileVault, Unlock};
use atrest::volume::Header;
use atrest::{Dek, DekAlgorithm, FormatOptions, MemoryDevice, Protector, Volume, hazmat};
use base64ct::{Base64, Encoding};

const DATA: usize = 1 << 20;
const SIZE: usize = 64 << 10;

fn text() -> Vec<u8> {
    b"What is written here is on no disk in this form. ".iter().copied().cycle().take(SIZE).collect()
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Whether a key, or eight bytes of it, occurs anywhere, in bytes or as text.
fn holds_key(bytes: &[u8], key: &[u8]) -> bool {
    let raw = key.windows(8).any(|part| holds(bytes, part));
    let encoded = Base64::encode_string(key);
    raw || holds(bytes, &hex(key).as_bytes()[..32]) || holds(bytes, &encoded.as_bytes()[..24])
}

#[test]
fn a_volume_shows_neither_its_data_nor_its_key_and_has_a_key_of_its_own() {
    let vault = MemoryVault::new("memory:one");
    let made: Vec<(Vec<u8>, Vec<u8>)> = (0..2)
        .map(|_| {
            // The default setting.
            let options = FormatOptions::new().data_offset(DATA as u64);
            let device = MemoryDevice::new(DATA + SIZE);
            let volume = Volume::format(device, Protector::Vault(&vault, "disks"), &options).unwrap();
            assert_eq!(volume.dek().algorithm(), DekAlgorithm::Aes256Xts);
            volume.write_at(0, &text()).unwrap();
            let key = hazmat::dek_bytes(&volume.dek()).expose().to_vec();
            (volume.into_device().into_bytes(), key)
        })
        .collect();
    for (image, key) in &made {
        let json = header::json(image, 0);
        assert_eq!(json["segments"]["0"]["encryption"], "aes-xts-plain64");
        let token = &json["tokens"]["0"];
        assert_eq!((&token["key_size"], &token["algorithm"]), (&64.into(), &"A256KW".into()));
        assert_eq!(json["keyslots"].as_object().unwrap().len(), 0, "there is a passphrase to guess");
        assert!(!holds(image, &text()[..12]), "the data can be read");
        assert!(!holds_key(image, key), "the key can be read");
    }
    assert_ne!(made[0].1, made[1].1);
    // The same data in two volumes is not the same on their disks.
    assert!(made[0].0[DATA..].chunks(16).zip(made[1].0[DATA..].chunks(16)).all(|(one, other)| one != other));
}

#[test]
fn passphrases_are_stretched_as_said_unless_told_otherwise() {
    let options = FormatOptions::new().data_offset(DATA as u64);
    let volume = Volume::format(MemoryDevice::new(2 * DATA), Protector::Passphrase(PASSPHRASE), &options).unwrap();
    let device = volume.into_device();
    let keyslots = Header::load(&device).unwrap().keyslots();
    assert_eq!((keyslots.len(), keyslots[0].kdf.as_str()), (1, "argon2id"));
    // The amount depends on the machine: up to 1 GiB, and at least the minimum of other programs.
    assert!((32 << 10..=1 << 20).contains(&keyslots[0].memory_kib), "{} KiB", keyslots[0].memory_kib);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.vault");
    FileVault::create(&path, Unlock::Passphrase(PASSPHRASE)).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    for line in ["\"kdf\": \"argon2id\"", "\"memory_kib\": 65536", "\"passes\": 3"] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
}

#[test]
fn only_one_source_file_asks_for_random_bytes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let asking: Vec<PathBuf> = sources(&folder)
        .into_iter()
        .filter(|path| {
            let text = fs::read_to_string(path).unwrap();
            ["getrandom", "OsRng", "thread_rng", "/dev/urandom", "rand::"].iter().any(|name| text.contains(name))
        })
        .map(|path| path.strip_prefix(&folder).unwrap().to_owned())
        .collect();
    assert_eq!(asking, [Path::new("random.rs")]);
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
    found
}

/// Each test that SECURITY.md names, as `FILE::TEST`, is there; FILE is below `tests`, or begins with `src/`. Scripts and
/// fuzz targets are named by their path. Each promise names one.
#[test]
fn the_tests_that_security_names_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let security = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let mut named = 0;
    for quoted in security.split('`').skip(1).step_by(2) {
        if ["tests/", "fuzz/"].iter().any(|folder| quoted.starts_with(folder)) {
            assert!(root.join(quoted).exists(), "SECURITY.md names {quoted}, which isn't there");
            continue;
        }
        let Some((file, test)) = quoted.split_once("::") else { continue };
        // Names of types begin with a capital letter: `Volume::fingerprint`.
        if file.starts_with(char::is_uppercase) {
            continue;
        }
        let base = if ["src/", "crates/"].iter().any(|folder| file.starts_with(folder)) {
            root.to_owned()
        } else {
            root.join("tests")
        };
        let path = base.join(format!("{file}.rs"));
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("SECURITY.md names {quoted}: {e}"));
        let declared = text.split_once(&format!("fn {test}("));
        let before = declared.unwrap_or_else(|| panic!("SECURITY.md names {quoted}, which isn't there")).0;
        let above = before.rsplit('\n').skip(1).take_while(|line| !line.trim().is_empty());
        assert!(above.take(4).any(|line| line.trim() == "#[test]"), "SECURITY.md names {quoted}, which is no test");
        named += 1;
    }
    assert!(named > 100, "SECURITY.md names {named} tests");
    for item in security.split("\n- ").skip(1) {
        let item = item.split("\n\n").next().unwrap();
        let promises = item.starts_with("Promised");
        assert!(!promises || item.contains('['), "no test is named by this promise: {item}");
    }
}

/// The files that a disk service keeps hold no key.
#[cfg(feature = "managed")]
#[test]
fn the_store_of_a_service_holds_no_key() {
    use crate::common::world::{VAULT, World, new_disk};
    use atrest::{Credential, OpenOptions};

    let world = World::new();
    let service = world.service();
    world.set(&service, "s", atrest::EncryptionType::CustomerKey);
    service.create_disk(&new_disk("x", Some("s"))).unwrap();
    let device = world.device(&service, "x");
    drop(service);
    let credential = Credential::Vault(&world.customer(VAULT).vault);
    let volume = Volume::open(device, credential, &OpenOptions::new().read_only(true)).unwrap();
    let store = fs::read(world.folder.path().join("store")).unwrap();
    let dek = hazmat::dek_bytes(&volume.dek());
    assert!(!holds_key(&store, dek.expose()));
    // The search finds one that is there.
    assert!(holds_key(hex(dek.expose()).as_bytes(), dek.expose()));
}

/// A copy is made good only while the lease of the key holds.
#[cfg(feature = "managed")]
#[test]
fn a_copy_whose_key_is_taken_away_meanwhile_is_not_made() {
    use std::sync::atomic::Ordering::Relaxed;

    use crate::common::world::{VAULT, World, copy_to, new_disk};
    use atrest::managed::{ResourceKind, ResourceName};

    let world = World::new();
    let service = world.service();
    world.set(&service, "s", atrest::EncryptionType::CustomerKey);
    // Under another key, which stays.
    service.create_disk(&new_disk("x", None)).unwrap();
    service.open_disk("x").unwrap().write_at(0, &text()).unwrap();
    let devices = world.disks.0.lock().unwrap().len();
    // It takes as long as a lease lasts without an answer.
    let revoke = |_| {
        world.customer(VAULT).disabled.store(true, Relaxed);
        world.clock.advance(std::time::Duration::from_secs(3600));
    };
    let copy = service.create_disk_from(&ResourceName::disk("x"), &copy_to("y", Some("s")), &revoke);
    assert!(matches!(&copy, Err(e) if e.is_revocation()), "{copy:?}");
    assert_eq!(service.names(ResourceKind::Disk).unwrap(), ["x"]);
    assert_eq!(world.disks.0.lock().unwrap().len(), devices, "its device is still there");
}

#[test]
fn a_fresh_dek_is_no_earlier_one() {
    let deks: Vec<Vec<u8>> = (0..64)
        .map(|_| hazmat::dek_bytes(&Dek::generate(DekAlgorithm::Aes256Xts).unwrap()).expose().to_vec())
        .collect();
    for (n, dek) in deks.iter().enumerate() {
        assert!(!deks[..n].contains(dek));
    }
}
