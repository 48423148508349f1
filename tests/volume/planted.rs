//! A volume that an attacker made under their own DEK and put in place of another is detected.

use std::sync::{Arc, Mutex};

use crate::common::{hex, peer, run, vault_at};
use atrest::key::WrappedDek;
use atrest::vault::{FileVault, KeyOperation, VaultIdentity};
use atrest::{
    Credential, Dek, DekAlgorithm, Envelope, Error, FilePrefix, Fingerprint, FormatOptions, KeyVault, MemoryDevice,
    OpenOptions, Protector, Secret, Volume,
};

const UUID: [u8; 16] = [7; 16];
const CONTEXT: &[u8] = b"disk-17";

fn volume(vault: &dyn KeyVault, key: &str) -> Volume<MemoryDevice> {
    let options = FormatOptions::new().data_offset(1 << 20).uuid(UUID).context(CONTEXT);
    Volume::format(MemoryDevice::new(2 << 20), Protector::Vault(vault, key), &options).unwrap()
}

/// A vault with a key for disks and an attacker's key. The attacker may only wrap, under either.
fn two_keys(folder: &tempfile::TempDir) -> FileVault {
    let vault = vault_at(&folder.path().join("keys.vault"));
    vault.create_key("others").unwrap();
    vault.grant("attacker", &[KeyOperation::Get, KeyOperation::WrapKey]).unwrap();
    vault
}

/// The attacker's own program. It may wrap, and knows the keys that it wrapped.
struct Attacker {
    vault: VaultIdentity,
    wrapped: Mutex<Vec<(Vec<u8>, Secret)>>,
}

impl Attacker {
    fn new(vault: &FileVault) -> Self {
        Attacker { vault: vault.as_identity("attacker"), wrapped: Mutex::default() }
    }
}

impl KeyVault for Attacker {
    fn id(&self) -> &str {
        self.vault.id()
    }

    fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek, Error> {
        let wrapped = self.vault.wrap(key, dek)?;
        self.wrapped.lock().unwrap().push((wrapped.bytes.clone(), dek.clone()));
        Ok(wrapped)
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>, Error> {
        assert!(self.vault.unwrap(wrapped).is_err(), "it may not");
        let known = self.wrapped.lock().unwrap();
        Ok(known.iter().find(|(bytes, _)| *bytes == wrapped.bytes).map(|(_, dek)| dek.clone()))
    }
}

fn refused<T>(answer: Result<T, Error>, by: fn(&Error) -> bool) {
    match answer {
        Err(e) => assert!(by(&e), "{e:?}"),
        Ok(_) => panic!("it was opened"),
    }
}

fn by_fingerprint(error: &Error) -> bool {
    matches!(error, Error::OtherDek)
}

fn by_key(error: &Error) -> bool {
    matches!(error, Error::OtherKey { .. })
}

#[test]
fn a_planted_volume_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let vault = two_keys(&folder);
    let owners = volume(&vault, "disks");
    let kept: Fingerprint = owners.fingerprint().unwrap().to_string().parse().unwrap();
    let strict = || OpenOptions::new().context(CONTEXT).expect(kept);

    // An attacker that may only wrap, under the same key or another one of the vault.
    for key in ["disks", "others"] {
        let planted = volume(&Attacker::new(&vault), key);
        let uuid = planted.uuid();
        assert_eq!(uuid, owners.uuid());
        let before = planted.into_device().into_bytes();
        let device = Arc::new(MemoryDevice::from_bytes(before.clone()));
        let trusting = Volume::open(device.clone(), Credential::Vault(&vault), &OpenOptions::new().context(CONTEXT));
        assert_eq!(trusting.unwrap().uuid(), uuid, "nothing on the disk tells it");

        refused(Volume::open(device.clone(), Credential::Vault(&vault), &strict()), by_fingerprint);
        let under = OpenOptions::new().context(CONTEXT).expect_key("disks");
        match Volume::open(device.clone(), Credential::Vault(&vault), &under) {
            Ok(_) => assert_eq!(key, "disks"),
            Err(e) => assert!(by_key(&e) && key == "others" && e.to_string().contains("others"), "{e}"),
        }
        assert!(Arc::into_inner(device).unwrap().into_bytes() == before, "a refusal writes nothing");
    }

    // The owner's volume opens, and its fingerprint stays through a rotation.
    vault.rotate_key("disks").unwrap();
    owners.rotate_kek(&vault).unwrap();
    let again = Volume::open(owners.into_device(), Credential::Vault(&vault), &strict().expect_key("disks")).unwrap();
    assert_eq!(again.fingerprint().unwrap(), kept);
}

#[test]
fn a_planted_envelope_and_prefix_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let vault = two_keys(&folder);
    let attacker = Attacker::new(&vault);
    let dek = Dek::generate(DekAlgorithm::Aes256Xts).unwrap();
    let kept = dek.fingerprint().unwrap();
    let planted = Dek::generate(DekAlgorithm::Aes256Xts).unwrap();
    let envelope = Envelope::seal(&planted, &attacker, "disks", CONTEXT).unwrap();
    let unsealed = envelope.unseal(&vault, CONTEXT).unwrap();
    refused(kept.check(&unsealed), by_fingerprint);
    kept.check(&Envelope::seal(&dek, &vault, "disks", CONTEXT).unwrap().unseal(&vault, CONTEXT).unwrap()).unwrap();

    let (owners, _) = FilePrefix::create(&vault, "disks", CONTEXT).unwrap();
    let kept = owners.fingerprint(&vault, CONTEXT).unwrap();
    let (planted, _) = FilePrefix::create(&attacker, "disks", CONTEXT).unwrap();
    refused(planted.clone().expect(kept).open(&vault, CONTEXT), by_fingerprint);
    owners.clone().expect(kept).open(&vault, CONTEXT).unwrap();
    // Nor is one rotated, which would wrap the attacker's DEK by the vault itself.
    vault.rotate_key("disks").unwrap();
    let device = MemoryDevice::from_bytes(planted.to_bytes());
    refused(FilePrefix::rotate_kek_expecting(&device, &vault, CONTEXT, kept), by_fingerprint);
    assert_eq!(device.into_bytes(), planted.to_bytes());
    let device = MemoryDevice::from_bytes(owners.to_bytes());
    assert_eq!(FilePrefix::rotate_kek_expecting(&device, &vault, CONTEXT, kept).unwrap().version(), "2");
    FilePrefix::from_bytes(&device.into_bytes()).unwrap().expect(kept).open(&vault, CONTEXT).unwrap();
}

#[test]
fn a_fingerprint_is_what_the_standard_says() {
    let Some(python) = peer("python3", &["-c", "import hashlib, hmac"]) else { return };
    // RFC 5869: extract without a salt, and one block of expand.
    let model = "import hashlib, hmac, sys
key, info = bytes.fromhex(sys.argv[1]), sys.argv[2].encode()
prk = hmac.new(bytes(32), key, hashlib.sha256).digest()
print(hmac.new(prk, info + b'\\x01', hashlib.sha256).hexdigest())";
    for algorithm in [DekAlgorithm::Aes256Xts, DekAlgorithm::Aes128Xts, DekAlgorithm::Aes256Ctr] {
        let key: Vec<u8> = (0..algorithm.key_len() as u8).collect();
        let dek = atrest::hazmat::dek_from_bytes_for(algorithm, &key).unwrap();
        let info = format!("atrest fingerprint v1 {}", algorithm.name());
        let expected = run(&python, &["-c", model, &hex(&key), &info]);
        assert_eq!(dek.fingerprint().unwrap().to_string(), expected.trim(), "{algorithm:?}");
    }
    for wrong in ["", "00", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64), &"é".repeat(32)] {
        assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong:?}");
    }
}
