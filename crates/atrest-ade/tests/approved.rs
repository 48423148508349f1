//! Where approved algorithms only are taken, no passphrase is wrapped or unwrapped by another one. The switch is of the whole process
//! and for good, so this program has one test.

#[path = "ade/memory.rs"]
mod memory;

use std::sync::Arc;

use atrest::approval::approved_only;
use atrest::key::{HashAlgorithm, Kdf};
use atrest::volume::KeyslotOptions;
use atrest::{Error, FormatOptions, MemoryDevice, Protector, Secret, Volume};
use atrest_ade::{Disk, Kek, SecretStore, Source, Tags, Vaults, credential, seal};
use memory::{ID, MemoryKek, MemorySecrets};

#[test]
fn wraps_that_are_not_approved_are_refused() {
    let passphrase = Secret::copy_from(b"correct horse battery staple");
    let kdf = Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 1000 };
    let options = FormatOptions::new().data_offset(1 << 20).keyslot(KeyslotOptions::new().kdf(kdf));
    let device = MemoryDevice::new(2 << 20);
    let volume = Volume::format(device, Protector::Passphrase(passphrase.expose()), &options).unwrap();
    let disk = Disk::new(Arc::new(volume.into_device()));
    let secrets = MemorySecrets::default();
    let keks: &[&dyn atrest_ade::KeyEncryptionKeys] = &[&MemoryKek];
    let vaults = Vaults { secrets: &[&secrets], keks };
    let kek = |algorithm| Kek::new(&format!("{ID}/keys/ade/0123456789abcdef0123456789abcdef"), algorithm).unwrap();
    let sources = ["RSA-OAEP-256", "RSA-OAEP", "RSA1_5"].map(|algorithm| {
        let value = seal(&passphrase, Some(&kek(algorithm)), keks).unwrap();
        let tags = Tags::new(Some(kek(algorithm)), "LinuxPassPhraseFileName", "vm-1").to_map();
        let version = secrets.set("disk-1", &value, &tags).unwrap();
        (algorithm, Source::Secret { url: format!("{ID}/secrets/disk-1/{version}").parse().unwrap(), kek: None })
    });
    for (algorithm, source) in &sources {
        assert!(credential(&disk, source, vaults).is_ok(), "{algorithm}");
    }

    approved_only();
    for (algorithm, source) in &sources {
        let opened = credential(&disk, source, vaults).map(drop);
        let sealed = seal(&passphrase, Some(&kek(algorithm)), keks).map(drop);
        for result in [opened, sealed] {
            match (*algorithm, result) {
                ("RSA-OAEP-256", Ok(())) => {}
                ("RSA-OAEP", Err(Error::NotApproved { algorithm: "RSA-OAEP with SHA-1", .. })) => {}
                ("RSA1_5", Err(Error::NotApproved { algorithm: "RSA1_5", .. })) => {}
                (_, other) => panic!("{algorithm}: {other:?}"),
            }
        }
    }
}
