//! Once a process takes approved algorithms only, every other algorithm is refused by name at each entry point, and
//! approved ones still work. The switch is process-wide and permanent, so this program has only one test of it.

#![cfg(feature = "std")]

mod common;

use std::path::Path;
use std::time::Duration;

use atrest::approval::{self, Approval, approved_only, is_approved_only};
use atrest::cipher::{CipherSpec, DmCipher};
use atrest::key::{HashAlgorithm, Kdf, KdfKind, KeyId, KeyVault, WrapAlgorithm, WrappedDek, wrap};
use atrest::vault::{FileVault, KdfCost, Unlock, VaultOptions};
use atrest::volume::KeyslotOptions;
use atrest::{
    Credential, Dek, DekAlgorithm, Envelope, Error, FileDevice, FilePrefix, FormatOptions, MemoryDevice, OpenOptions,
    Protector, Result, Secret, SectorSize, SectorUnit, Volume, self_test,
};
use common::{PASSPHRASE, cryptsetup, run, text, vault_at};

const ARGON2: Kdf = Kdf::Argon2id { memory_kib: 64, passes: 1, lanes: 1 };
const ARGON2I: Kdf = Kdf::Argon2i { memory_kib: 64, passes: 1, lanes: 1 };
const PBKDF2: Kdf = Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 1000 };
const FEW: Kdf = Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 999 };
const PW: &[u8] = b"a passphrase";

/// Claims to wrap by another algorithm than its real one.
struct Claims<'a>(&'a FileVault, WrapAlgorithm);

impl KeyVault for Claims<'_> {
    fn id(&self) -> &str {
        self.0.id()
    }

    fn wrap(&self, key: &str, dek: &Secret) -> Result<WrappedDek> {
        let made = self.0.wrap(key, dek)?;
        Ok(WrappedDek::new(made.kek, self.1, made.bytes))
    }

    fn wrap_version(&self, kek: &KeyId, dek: &Secret) -> Result<WrappedDek> {
        let made = self.0.wrap_version(kek, dek)?;
        Ok(WrappedDek::new(made.kek, self.1, made.bytes))
    }

    fn unwrap(&self, wrapped: &WrappedDek) -> Result<Option<Secret>> {
        self.0.unwrap(&WrappedDek::new(wrapped.kek.clone(), WrapAlgorithm::Aes256Kw, wrapped.bytes.clone()))
    }
}

type Vol = Volume<MemoryDevice>;

fn options() -> FormatOptions {
    FormatOptions::new().data_offset(2 << 20)
}

fn format(protector: Protector<'_>, options: &FormatOptions) -> Result<Vol> {
    Volume::format(MemoryDevice::new(3 << 20), protector, options)
}

fn by_passphrase(kdf: Kdf) -> FormatOptions {
    options().keyslot(KeyslotOptions::new().kdf(kdf))
}

/// A copy of a device's content.
fn copy(device: &MemoryDevice) -> MemoryDevice {
    use atrest::BlockDevice;
    let mut bytes = vec![0; device.size().unwrap() as usize];
    device.read_at(0, &mut bytes).unwrap();
    let copy = MemoryDevice::new(bytes.len());
    copy.write_at(0, &bytes).unwrap();
    copy
}

fn open(device: &MemoryDevice, credential: Credential<'_>) -> Result<Vol> {
    Volume::open(copy(device), credential, &OpenOptions::new())
}

/// A volume that cryptsetup makes, in a file of its own.
fn peers(folder: &Path, name: &str, args: &[&str]) -> Option<std::path::PathBuf> {
    let cryptsetup = cryptsetup()?;
    let (image, key) = (folder.join(name), folder.join("pw"));
    std::fs::write(&key, PW).unwrap();
    std::fs::File::create(&image).unwrap().set_len(20 << 20).unwrap();
    let cost = ["--pbkdf-force-iterations", "1000", "--key-file", text(&key)];
    run(&cryptsetup, &[&["luksFormat", "-q"][..], &cost, args, &[text(&image)]].concat());
    Some(image)
}

fn refused<T>(door: &str, algorithm: &str, result: Result<T>) {
    match result {
        Err(e @ Error::NotApproved { .. }) => {
            assert!(e.to_string().starts_with(&format!("{algorithm} is not approved (")), "{door}: {e}");
        }
        Err(e) => panic!("{door}: {e}"),
        Ok(_) => panic!("{door}: it isn't refused"),
    }
}

#[test]
fn each_algorithm_that_is_not_approved_is_refused_at_each_door() {
    // Behaviour 10
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let passphrase_vault = vault_at(&at("passphrase.vault"));
    FileVault::generate_key_file(at("root")).unwrap();
    let (root, key_file) = (at("root"), VaultOptions::new());
    let vault = FileVault::create_with(at("keys.vault"), Unlock::KeyFile(&root), &key_file).unwrap();
    vault.create_key("disks").unwrap();
    let by_vault = Protector::Vault(&vault, "disks");
    let key: [u8; 64] = core::array::from_fn(|i| i as u8);

    // Objects that exist already.
    let xts = format(by_vault, &options()).unwrap();
    let hctr2 = format(by_vault, &options().dek_algorithm(DekAlgorithm::Aes256Hctr2)).unwrap();
    let argon2 = format(Protector::Passphrase(PW), &by_passphrase(ARGON2)).unwrap();
    let argon2i = format(Protector::Passphrase(PW), &by_passphrase(ARGON2I)).unwrap();
    let few = format(Protector::Passphrase(PW), &by_passphrase(FEW)).unwrap();
    // Two protectors. The first is refused.
    let both = format(Protector::Passphrase(b"another"), &by_passphrase(ARGON2)).unwrap();
    both.add_protector(Protector::Passphrase(PW), &KeyslotOptions::new().kdf(PBKDF2)).unwrap();
    let oaep = Claims(&vault, WrapAlgorithm::RsaOaep);
    let rsa15 = Claims(&vault, WrapAlgorithm::Rsa15);
    let opaque = Claims(&vault, WrapAlgorithm::Opaque);
    let by_oaep = format(Protector::Vault(&oaep, "disks"), &options()).unwrap();
    let dek = Dek::generate(DekAlgorithm::Aes256Xts).unwrap();
    let envelopes = [&oaep, &rsa15].map(|vault| Envelope::seal(&dek, vault, "disks", b"7").unwrap());
    let (prefix, _) = FilePrefix::create(&oaep, "disks", b"7").unwrap();
    let dm = |spec, key: &[u8]| DmCipher::boxed(spec, key, SectorSize::B512);
    let ciphers = [
        ("AES-CBC", dm(CipherSpec::AesCbcEssivSha256, &key[..32]).unwrap()),
        ("AES-CBC", dm(CipherSpec::AesCbcPlain64, &key[..16]).unwrap()),
        ("AES-HCTR2", dm(CipherSpec::AesHctr2Plain64, &key[..32]).unwrap()),
        ("aes-xts-plain", dm(CipherSpec::AesXtsPlain, &key).unwrap()),
        ("AES-CBC", dm(CipherSpec::AesCbcPlain, &key[..32]).unwrap()),
        ("aes-ecb", dm(CipherSpec::AesEcb, &key[..32]).unwrap()),
        ("aes-xts-benbi", dm(CipherSpec::from_name("aes-xts-benbi").unwrap(), &key).unwrap()),
        #[cfg(feature = "legacy")]
        ("serpent-xts-plain64", dm(CipherSpec::from_name("serpent-xts-plain64").unwrap(), &key).unwrap()),
        #[cfg(feature = "legacy")]
        ("AES-192-XTS", dm(CipherSpec::AesXtsPlain64, &key[..48]).unwrap()),
    ];
    let luks1 = ["--type", "luks1"];
    let luks2 = ["--type", "luks2", "--pbkdf", "pbkdf2"];
    let old = |name: &str, more: &[&str]| peers(folder.path(), name, more);
    let old = [
        ("PBKDF2-HMAC-SHA-1", old("luks1-sha1", &[&luks1[..], &["--hash", "sha1"]].concat())),
        ("PBKDF2-HMAC-SHA-1", old("luks2-sha1", &[&luks2[..], &["--hash", "sha1"]].concat())),
        (
            "AES-CBC",
            old("essiv", &[&luks1[..], &["--hash", "sha256", "-c", "aes-cbc-essiv:sha256", "-s", "256"]].concat()),
        ),
        ("AES-CBC", old("cbc", &[&luks2[..], &["-c", "aes-cbc-plain64", "-s", "256"]].concat())),
        (
            "aes-xts-plain",
            old("plain", &[&luks1[..], &["--hash", "sha256", "-c", "aes-xts-plain", "-s", "512"]].concat()),
        ),
    ];
    let peers_volume = |image: &Path| {
        Volume::open(FileDevice::open(image)?, Credential::Passphrase(PW), &OpenOptions::new().read_only(true))
    };

    // The indicator announces the refusals.
    let isnt = |what: &str, approval: Approval| match approval {
        Approval::NotApproved { algorithm, .. } => assert_eq!(algorithm, what),
        other => panic!("{what}: {other:?}"),
    };
    for (volume, algorithm) in
        [(&hctr2, "AES-HCTR2"), (&argon2, "Argon2id"), (&argon2i, "Argon2i"), (&few, "PBKDF2"), (&both, "Argon2id")]
    {
        isnt(algorithm, volume.approval());
    }
    isnt("RSA-OAEP with SHA-1", by_oaep.approval());
    isnt("RSA-OAEP with SHA-1", prefix.approval());
    isnt("RSA1_5", envelopes[1].approval());
    assert_eq!(xts.approval(), Approval::Approved);
    assert!(!open(both.device(), Credential::Passphrase(PW)).unwrap().approval().is_approved());
    assert_eq!(format(Protector::Vault(&opaque, "disks"), &options()).unwrap().approval(), Approval::Elsewhere);
    for (algorithm, cipher) in &ciphers {
        isnt(algorithm, cipher.approval());
    }
    for (algorithm, image) in &old {
        let Some(image) = image else { continue };
        isnt(algorithm, peers_volume(image).unwrap().approval());
    }
    isnt("Argon2id", approval::observe(|| FileVault::open(at("passphrase.vault"), Unlock::Passphrase(PASSPHRASE))).1);
    let moved = vault_at(&at("moved.vault"));
    moved.change_unlock(Unlock::Passphrase(PASSPHRASE), Some(PBKDF2)).unwrap();
    let by_moved = format(Protector::Vault(&moved, "disks"), &options()).unwrap();
    assert!(approval::observe(|| FileVault::open(at("keys.vault"), Unlock::KeyFile(&root))).1.is_approved());

    assert!(!is_approved_only());
    approved_only();
    assert!(is_approved_only());

    // New volumes.
    let hctr2_options = options().dek_algorithm(DekAlgorithm::Aes256Hctr2);
    refused("format", "AES-HCTR2", format(by_vault, &hctr2_options));
    refused("format", "Argon2id", format(Protector::Passphrase(PW), &by_passphrase(ARGON2)));
    refused("format", "Argon2i", format(Protector::Passphrase(PW), &by_passphrase(ARGON2I)));
    refused("format", "PBKDF2", format(Protector::Passphrase(PW), &by_passphrase(FEW)));
    refused("format", "RSA-OAEP with SHA-1", format(Protector::Vault(&oaep, "disks"), &options()));
    refused("format", "RSA1_5", format(Protector::Vault(&rsa15, "disks"), &options()));
    // Volumes that exist.
    refused("open", "AES-HCTR2", open(hctr2.device(), Credential::Vault(&vault)));
    refused("open", "Argon2id", open(argon2.device(), Credential::Passphrase(PW)));
    refused("open", "Argon2i", open(argon2i.device(), Credential::Passphrase(PW)));
    refused("open", "PBKDF2", open(few.device(), Credential::Passphrase(PW)));
    refused("open", "Argon2id", open(both.device(), Credential::Passphrase(b"another")));
    refused("open", "RSA-OAEP with SHA-1", open(by_oaep.device(), Credential::Vault(&oaep)));
    for (algorithm, image) in &old {
        let Some(image) = image else { continue };
        refused(&format!("{image:?}"), algorithm, peers_volume(image));
    }
    // Volumes and ciphers that are open.
    let mut sectors = [0; 1024];
    refused("read", "AES-HCTR2", hctr2.read_at(0, &mut sectors));
    refused("write", "AES-HCTR2", hctr2.write_at(0, &sectors));
    for (algorithm, cipher) in &ciphers {
        refused("encrypt", algorithm, cipher.encrypt(0, &mut sectors));
        refused("decrypt", algorithm, cipher.decrypt(0, &mut sectors));
        refused("encrypt_to", algorithm, cipher.encrypt_to(0, &[1; 1024], &mut sectors));
        refused("decrypt_to", algorithm, cipher.decrypt_to(0, &[1; 1024], &mut sectors));
    }
    assert_eq!(sectors, [0; 1024]);
    refused("add", "Argon2id", xts.add_protector(Protector::Passphrase(PW), &KeyslotOptions::new().kdf(ARGON2)));
    refused("add", "RSA1_5", xts.add_protector(Protector::Vault(&rsa15, "disks"), &KeyslotOptions::new()));
    // Ciphers by themselves, keys, vaults.
    refused("DmCipher", "AES-CBC", dm(CipherSpec::AesCbcEssivSha256, &key[..32]));
    refused("DmCipher", "AES-CBC", dm(CipherSpec::AesCbcPlain64, &key[..24]));
    refused("DmCipher", "AES-HCTR2", dm(CipherSpec::AesHctr2Plain64, &key[..32]));
    refused("DmCipher", "aes-xts-plain", dm(CipherSpec::AesXtsPlain, &key));
    refused("DmCipher", "AES-CBC", dm(CipherSpec::AesCbcPlain, &key[..32]));
    refused("DmCipher", "aes-ecb", dm(CipherSpec::AesEcb, &key[..32]));
    let plain = |hash| atrest::hazmat::plain_dek(DekAlgorithm::Aes256Xts, hash, PW);
    refused("plain_dek", "SHA-224", plain(HashAlgorithm::Sha224));
    #[cfg(feature = "legacy")]
    for (name, hash) in [("RIPEMD-160", HashAlgorithm::Ripemd160), ("SM3", HashAlgorithm::Sm3)] {
        refused("plain_dek", name, plain(hash));
    }
    for (vault, envelope, name) in [(&oaep, &envelopes[0], "RSA-OAEP with SHA-1"), (&rsa15, &envelopes[1], "RSA1_5")] {
        refused("seal", name, Envelope::seal(&dek, vault, "disks", b"7"));
        refused("unseal", name, envelope.unseal(vault, b"7"));
        refused("create", name, FilePrefix::create(vault, "disks", b"7"));
    }
    refused("prefix", "RSA-OAEP with SHA-1", prefix.open(&oaep, b"7"));
    refused("FileVault", "Argon2id", FileVault::open(at("passphrase.vault"), Unlock::Passphrase(PASSPHRASE)));
    let text = FileVault::open(at("passphrase.vault"), Unlock::Passphrase(PASSPHRASE)).unwrap_err().to_string();
    assert!(text.contains("`FileVault::change_unlock` moves"), "{text}");
    let create = |options| FileVault::create_with(at("new.vault"), Unlock::Passphrase(PASSPHRASE), &options);
    refused("FileVault", "Argon2id", create(VaultOptions::new().kdf_cost(KdfCost::default())));
    refused("FileVault", "Argon2id", create(VaultOptions::new().kdf(ARGON2)));
    refused("FileVault", "Argon2id", moved.change_unlock(Unlock::Passphrase(PW), Some(ARGON2)));
    refused("benchmark", "Argon2id", Kdf::benchmark(KdfKind::Argon2id, Duration::from_millis(1), 32 << 10, 1));

    // Everything else goes on, and reports that it is approved.
    let (_, seen) = approval::observe(|| {
        self_test().unwrap();
        drop(passphrase_vault); // its root key is derived already
        // A passphrase is stretched by PBKDF2 unless another KDF is named, and one that was moved to it opens.
        for name in ["made.vault", "changed.vault"] {
            let vault = match name {
                "made.vault" => FileVault::create(at(name), Unlock::Passphrase(PW)),
                _ => FileVault::create(at(name), Unlock::KeyFile(&root)),
            };
            vault.unwrap().change_unlock(Unlock::Passphrase(PASSPHRASE), None).unwrap();
            let text = std::fs::read_to_string(at(name)).unwrap();
            assert!(text.contains("\"kdf\": \"pbkdf2\"") && text.contains("\"iterations\": 600000"), "{text}");
        }
        FileVault::open(at("made.vault"), Unlock::Passphrase(PASSPHRASE)).unwrap();
        let moved = FileVault::open(at("moved.vault"), Unlock::Passphrase(PASSPHRASE)).unwrap();
        assert!(open(by_moved.device(), Credential::Vault(&moved)).is_ok());
        let vault = FileVault::open(at("keys.vault"), Unlock::KeyFile(&root)).unwrap();
        let volume = format(Protector::Vault(&vault, "disks"), &options()).unwrap();
        volume.write_at(0, &[7; 1024]).unwrap();
        let default = KeyslotOptions::new().time(Duration::from_millis(1));
        volume.add_protector(Protector::Passphrase(PW), &default).unwrap();
        for credential in [Credential::Vault(&vault), Credential::Passphrase(PW)] {
            let volume = open(volume.device(), credential).unwrap();
            let mut sectors = [0; 1024];
            volume.read_at(0, &mut sectors).unwrap();
            assert_eq!((sectors, volume.approval()), ([7; 1024], Approval::Approved));
        }
        for hash in [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512] {
            let kdf = Kdf::Pbkdf2 { hash, iterations: 1000 };
            assert_eq!(kdf.approval(), Approval::Approved);
            assert!(format(Protector::Passphrase(PW), &by_passphrase(kdf)).unwrap().approval().is_approved());
        }
        // The keyslot before it is passed over.
        assert!(open(both.device(), Credential::Passphrase(PW)).is_ok());
        let (prefix, stream) = FilePrefix::create(&vault, "disks", b"7").unwrap();
        assert!(prefix.approval().is_approved() && stream.approval().is_approved());
        let envelope = Envelope::seal(&dek, &vault, "disks", b"7").unwrap();
        assert!(envelope.approval().is_approved() && envelope.unseal(&vault, b"7").unwrap() == dek);
        let cipher = dek.sector_cipher(SectorSize::B4096, SectorUnit::Bytes512).unwrap();
        assert!(cipher.approval().is_approved() && cipher.encrypt(0, &mut [0; 4096]).is_ok());
        let mut wrapped = [0; 72];
        wrap::aes_kw_wrap(&key[..32], &key, &mut wrapped).unwrap();
        wrap::aes_kwp_wrap(&key[..32], &key, &mut wrapped).unwrap();
    });
    assert_eq!(seen, Approval::Approved);
    // A vault's work elsewhere is its own responsibility, and is reported as such.
    assert_eq!(format(Protector::Vault(&opaque, "disks"), &options()).unwrap().approval(), Approval::Elsewhere);
}
