//! Maps of written chunks that somebody without the keys has changed, and what another program makes of them.

use atrest::{Credential, Error, FormatOptions, OpenOptions, Protector, Volume, hazmat};
use serde_json::{Value, json};

use crate::common::device::TestDevice;
use crate::common::keyslots::cost;
use crate::common::peers::{cryptsetup, run, run_any};
use crate::common::vaults::MemoryVault;
use crate::common::volumes::shared;
use crate::common::{header, python};
use crate::written::{CHUNK, content, format, formatted, noisy, open};

const PAGE: usize = 4096;
const SIZE: usize = 8 * CHUNK;
const MIB: usize = 1 << 20;
/// Where the two copies of the only page are.
const COPIES: [usize; 2] = [MIB - 2 * PAGE, MIB - PAGE];

/// Volumes of which one chunk more was written and synced each time.
fn history() -> (MemoryVault, Vec<Vec<u8>>) {
    let (vault, volume) = formatted(SIZE);
    let states = (0..5).map(|n| {
        volume.write_at((n * CHUNK) as u64 + 1024, &[n as u8 + 1; 512]).unwrap();
        volume.sync().unwrap();
        volume.device().bytes()
    });
    (vault, states.collect())
}

/// What the volume of a state holds.
fn model(state: usize) -> Vec<u8> {
    let mut bytes = vec![0; SIZE];
    (0..=state).for_each(|n| bytes[n * CHUNK + 1024..n * CHUNK + 1536].fill(n as u8 + 1));
    bytes
}

fn is_damaged<T>(opened: atrest::Result<T>) -> bool {
    matches!(opened, Err(Error::DamagedMap(_)))
}

#[test]
fn one_damaged_copy_of_a_page_costs_nothing_and_is_repaired() {
    let (vault, states) = history();
    for copy in COPIES {
        for at in (0..PAGE).step_by(97).chain([PAGE - 1]) {
            let mut bytes = states[4].clone();
            bytes[copy + at] ^= 0x10;
            let read_only = OpenOptions::new().read_only(true);
            let volume = open(TestDevice::new(bytes.clone()), &vault, read_only).unwrap();
            assert!(content(&volume) == model(4), "{at}");
            volume.sync().unwrap();
            assert!(volume.into_device().bytes() == bytes, "a volume opened for reading was written");
            let volume = open(shared(bytes), &vault, OpenOptions::new()).unwrap();
            assert!(content(&volume) == model(4));
            // Each copy is whole again: the other may be lost now.
            let mut bytes = volume.device().bytes();
            bytes[COPIES[0] + COPIES[1] - copy..][..PAGE].fill(0);
            assert!(content(&open(TestDevice::new(bytes), &vault, OpenOptions::new()).unwrap()) == model(4));
        }
    }
}

#[test]
fn two_damaged_copies_are_refused_by_name_and_rescued_on_request() {
    let (vault, states) = history();
    let mut bytes = states[4].clone();
    COPIES.iter().for_each(|copy| bytes[copy + 100] ^= 1);
    let refused = open(TestDevice::new(bytes.clone()), &vault, OpenOptions::new());
    let text = refused.map(drop).unwrap_err().to_string();
    assert!(text.contains("hazmat_ignore_written_map") && text.contains("page 0"), "{text}");
    let options = OpenOptions::new().hazmat_ignore_written_map(true);
    let volume = open(TestDevice::new(bytes.clone()), &vault, options).unwrap();
    assert!(volume.is_read_only());
    assert!(matches!(volume.write_at(0, &[0; 512]), Err(Error::ReadOnly)));
    let (held, model) = (content(&volume), model(4));
    // The written chunks are there from end to end, and the others are noise.
    assert!(held[..5 * CHUNK] == model[..5 * CHUNK] && held[5 * CHUNK..] != model[5 * CHUNK..]);
    assert_eq!(volume.into_device().bytes(), bytes, "nothing was written");
}

#[test]
fn an_older_copy_beside_a_newer_one_never_hides_what_was_synced() {
    let (vault, states) = history();
    for [new, old] in [COPIES, [COPIES[1], COPIES[0]]] {
        for before in 0..4 {
            let mut bytes = states[4].clone();
            bytes[old..old + PAGE].copy_from_slice(&states[before][old..old + PAGE]);
            let opened = open(TestDevice::new(bytes.clone()), &vault, OpenOptions::new());
            if before == 3 {
                // As after a crash between the two.
                assert!(content(&opened.unwrap()) == model(4));
            } else {
                assert!(is_damaged(opened), "{before}");
            }
            // A copy of the other is no other copy: it has its place.
            bytes.copy_within(new..new + PAGE, old);
            assert!(content(&open(TestDevice::new(bytes), &vault, OpenOptions::new()).unwrap()) == model(4));
        }
    }
}

#[test]
fn both_older_copies_bring_back_the_older_zeros_and_no_noise() {
    // What SECURITY.md says of it: as with sectors, nothing shows that all of a place was put back.
    let (vault, states) = history();
    let mut bytes = states[4].clone();
    bytes[COPIES[0]..MIB].copy_from_slice(&states[1][COPIES[0]..MIB]);
    let volume = open(TestDevice::new(bytes), &vault, OpenOptions::new()).unwrap();
    assert!(content(&volume) == model(1));
}

#[test]
fn pages_in_another_place_or_of_another_volume_are_refused() {
    // Two pages, each twice.
    let vault = MemoryVault::new("memory:one");
    let options = format().written_map_for(32320 * CHUNK as u64 + 1);
    let volume = Volume::format(noisy(SIZE), Protector::Vault(&vault, "disks"), &options).unwrap();
    let whole = volume.device().bytes();
    let start = MIB - 4 * PAGE;
    for (from, to, is_refused) in [(0, 1, false), (0, 2, false), (1, 0, false), (3, 0, false)] {
        let mut bytes = whole.clone();
        bytes.copy_within(start + from * PAGE..start + (from + 1) * PAGE, start + to * PAGE);
        assert_eq!(is_damaged(open(TestDevice::new(bytes), &vault, OpenOptions::new())), is_refused, "{from} {to}");
    }
    let mut bytes = whole.clone();
    let (first, second) = bytes[start..MIB].split_at_mut(2 * PAGE);
    for copies in [first, second] {
        let (page, next) = copies.split_at_mut(PAGE);
        page.swap_with_slice(next);
    }
    assert!(is_damaged(open(TestDevice::new(bytes), &vault, OpenOptions::new())));

    // Even under the same DEK, and formatted on the same device.
    let dek = hazmat::dek_from_bytes(&[5; 32].iter().chain(&[6; 32]).copied().collect::<Vec<_>>()).unwrap();
    let make = || {
        let options = format().hazmat_dek(&dek).uuid([7; 16]);
        Volume::format(noisy(SIZE), Protector::Vault(&vault, "disks"), &options).unwrap()
    };
    let other = make().into_device().bytes();
    let mut bytes = make().into_device().bytes();
    bytes[COPIES[0]..MIB].copy_from_slice(&other[COPIES[0]..MIB]);
    assert!(is_damaged(open(TestDevice::new(bytes), &vault, OpenOptions::new())));
}

#[test]
fn a_changed_token_is_refused_with_a_vault_and_with_a_passphrase() {
    let vault = MemoryVault::new("memory:one");
    let by_vault = Volume::format(noisy(SIZE), Protector::Vault(&vault, "disks"), &format()).unwrap();
    // A keyslot takes 256 KiB.
    let by_passphrase = Protector::Passphrase(b"one");
    let by_passphrase = Volume::format(noisy(SIZE), by_passphrase, &format().keyslot(cost())).unwrap();
    for (volume, credential) in [(by_vault, Credential::Vault(&vault)), (by_passphrase, Credential::Passphrase(b"one"))]
    {
        let bytes = volume.into_device().bytes();
        let refused = |what: &str, edit: &dyn Fn(&mut Value)| {
            let mut bytes = bytes.clone();
            header::edit_json(&mut bytes, edit);
            let opened = Volume::open(TestDevice::new(bytes), credential, &OpenOptions::new());
            assert!(matches!(opened, Err(Error::TamperedHeader)), "{what}: {:?}", opened.map(drop));
        };
        for (member, value) in [
            ("offset", json!("1036288")),
            ("chunk_size", json!(8192)),
            ("pages", json!(2)),
            ("salt", json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")),
            ("mac", json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")),
        ] {
            refused(member, &|json| json["tokens"]["31"][member] = value.clone());
        }
        refused("no token", &|json| drop(json["tokens"].as_object_mut().unwrap().remove("31")));
        refused("two tokens", &|json| json["tokens"]["30"] = json["tokens"]["31"].clone());
        refused("no requirement", &|json| drop(json["config"].as_object_mut().unwrap().remove("requirements")));
        for (member, value) in
            [("version", json!(2)), ("chunk_size", json!(512)), ("pages", json!(0)), ("salt", json!(""))]
        {
            let mut bytes = bytes.clone();
            header::edit_json(&mut bytes, |json| json["tokens"]["31"][member] = value.clone());
            let opened = Volume::open(TestDevice::new(bytes), credential, &OpenOptions::new());
            assert!(matches!(opened, Err(Error::InvalidHeader(_))), "{member}");
        }
    }
}

#[test]
fn cryptsetup_refuses_the_requirement() {
    let Some(cryptsetup) = cryptsetup() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (path, key) = (folder.path().join("disk.img"), folder.path().join("key"));
    let (path, key) = (path.to_str().unwrap(), key.to_str().unwrap());
    std::fs::write(key, b"one").unwrap();
    for mapped in [false, true] {
        let options = FormatOptions::new().keyslot(cost());
        let options = if mapped { options.written_map(64 << 10) } else { options };
        let device = TestDevice::new(vec![0; 20 * MIB]);
        let volume = Volume::format(device, Protector::Passphrase(b"one"), &options).unwrap();
        std::fs::write(path, volume.into_device().bytes()).unwrap();
        // It checks a passphrase all the same; but it neither opens the volume nor changes it.
        let dumped = run_any(&cryptsetup, &["luksDump", path]);
        assert_eq!(String::from_utf8_lossy(&dumped.stdout).contains("Requirements"), mapped);
        let changed = run_any(&cryptsetup, &["luksChangeKey", "--batch-mode", "--key-file", key, path, key]);
        assert_eq!(changed.status.success(), !mapped, "{}", String::from_utf8_lossy(&changed.stderr));
    }
}

#[test]
fn another_program_reads_the_map_as_the_formats_say() {
    let Some(python) = python("cryptography.hazmat.primitives.kdf.argon2") else { return };
    let (vault, states) = history();
    let volume = open(TestDevice::new(states[4].clone()), &vault, OpenOptions::new().read_only(true)).unwrap();
    let dek = crate::common::hex(hazmat::dek_bytes(&volume.dek()).expose());
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("disk.img");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/formats.py");
    let read = |bytes: &[u8]| {
        std::fs::write(&image, bytes).unwrap();
        run(&python, &[script, "written-map", image.to_str().unwrap(), &dek])
    };
    assert_eq!(read(&states[4]), "[6] [0, 1, 2, 3, 4]\n");
    assert_eq!(read(&states[1]), "[3] [0, 1]\n");
    // One copy is enough, as here.
    let mut bytes = states[4].clone();
    bytes[COPIES[0] + 2000] ^= 1;
    assert_eq!(read(&bytes), "[6] [0, 1, 2, 3, 4]\n");
}
