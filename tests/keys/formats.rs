//! Compares docs/formats.md and docs/formats with the library, and with a second implementation written from it.

use std::fs;
use std::path::Path;

use crate::common::markdown::Markdown;
use crate::common::{PASSPHRASE, pipe, python, run, text, unhex, vault_at};
use serde_json::Value;
use sha2::{Digest, Sha256};

use atrest::key::{HashAlgorithm, Kdf, KeyKind, KeyVault};
use atrest::vault::{FileVault, KdfCost, KeyOperation, KeyOrigin, Unlock, VaultOptions};
use atrest::{Credential, Dek, DekAlgorithm, Envelope, Error, FileDevice, FilePrefix, FormatOptions, MemoryDevice};
use atrest::{OpenOptions, Protector, Secret, SectorSize, SectorUnit, Volume, hazmat};

const BLOCKS: [&str; 15] = [
    "envelope",
    "file-prefix",
    "file-data",
    "file-sectors",
    "binary-header",
    "token",
    "metadata",
    "mac-input",
    "sector",
    "written-token",
    "written-page",
    "vault",
    "audit",
    "passphrase-vault",
    "pbkdf2-vault",
];

/// The texts with examples, in the order of the index.
const TEXTS: [&str; 6] = [
    "docs/formats.md",
    "docs/formats/envelope.md",
    "docs/formats/file.md",
    "docs/formats/volume-example.md",
    "docs/formats/written-map.md",
    "docs/formats/vault.md",
];

/// The examples as the texts have them.
struct Examples {
    texts: [Markdown; TEXTS.len()],
    folder: tempfile::TempDir,
}

impl Examples {
    fn read() -> Self {
        Examples { texts: TEXTS.map(Markdown::read), folder: tempfile::tempdir().unwrap() }
    }

    fn block(&self, name: &str) -> &str {
        let text = self.texts.iter().find(|text| text.names("example").iter().any(|found| found == name));
        text.unwrap_or_else(|| panic!("no example {name}")).block("example", name)
    }

    fn input(&self, name: &str) -> &str {
        let line = self.block("inputs").lines().find(|line| line.split_whitespace().next() == Some(name));
        line.unwrap_or_else(|| panic!("no input {name}"))[name.len()..].trim()
    }

    /// The bytes of a dump: the offset, two spaces, up to 16 bytes; `*` for zeros; the length at the end.
    fn bytes(&self, name: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut zeros = false;
        for line in self.block(name).lines() {
            if line == "*" {
                zeros = true;
                continue;
            }
            let offset = usize::from_str_radix(&line[..4], 16).unwrap();
            if zeros {
                bytes.resize(offset, 0);
                zeros = false;
            }
            assert_eq!(offset, bytes.len(), "{name}: {line}");
            if let Some(digits) = line.get(6..53) {
                bytes.extend(unhex(&digits.replace(' ', "")));
            }
        }
        bytes
    }

    /// The vault of the text, opened with the root key file of the text.
    fn vault(&self) -> FileVault {
        let (vault, key) = (self.folder.path().join("keys.vault"), self.folder.path().join("root.key"));
        fs::write(&vault, self.block("vault")).unwrap();
        fs::write(self.folder.path().join("keys.vault.audit"), self.block("audit")).unwrap();
        fs::write(&key, unhex(self.input("key-file"))).unwrap();
        FileVault::open(&vault, Unlock::KeyFile(&key)).unwrap()
    }

    /// The volume of the text: its header, put together from the pieces, and a sector of noise in place of the first.
    fn volume(&self) -> Vec<u8> {
        let (primary, metadata) = (self.bytes("binary-header"), self.block("metadata").trim_end());
        assert_eq!(primary.len(), 512);
        let mut image = vec![0; (1 << 20) + 8192];
        image[..512].copy_from_slice(&primary);
        image[4096..4096 + metadata.len()].copy_from_slice(metadata.as_bytes());
        let sector = self.bytes("sector");
        image[0x10_1000..0x10_1000 + sector.len()].copy_from_slice(&sector);
        image
    }
}

#[test]
fn the_vault_of_the_text_opens() {
    let examples = Examples::read();
    let vault = examples.vault();
    assert_eq!(vault.id(), format!("urn:uuid:{}", examples.input("vault-uuid")));
    let keys = vault.keys().unwrap();
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].name, "disks");
    let versions: Vec<_> = keys[0].versions.iter().map(|v| (v.id.version(), v.created, v.origin)).collect();
    let created: u64 = examples.input("created").parse().unwrap();
    assert_eq!(versions, [("1", created, KeyOrigin::Generated), ("2", created + 60, KeyOrigin::Imported)]);

    let said = vault.properties().unwrap();
    assert_eq!((said.region.as_deref(), said.tenant.as_deref()), (Some("westeurope"), Some("contoso")));
    assert!(said.purge_protection && !said.refuse_expired && said.retention_days == 90);
    let grants = vault.grants().unwrap();
    assert_eq!((grants[0].identity.as_str(), &*grants[0].operations), ("disk-set-1", &KeyOperation::ALL[..]));
    let entries: Vec<_> = vault.audit().unwrap().map(Result::unwrap).collect();
    let shown: Vec<_> = entries.iter().map(|entry| (entry.operation.as_str(), entry.outcome.as_str())).collect();
    let uses = [("wrapKey", "ok"), ("unwrapKey", "access-denied")];
    assert_eq!(shown, [&[("create", "ok"), ("importVersion", "ok"), ("grant", "ok")][..], &uses].concat());

    // It wraps under the KEK of the text.
    let dek = unhex(examples.input("dek"));
    let wrapped = vault.wrap("disks", &Secret::copy_from(&dek)).unwrap();
    let mut unwrapped = [0; 64];
    atrest::key::wrap::aes_kw_unwrap(&unhex(examples.input("kek-2")), &wrapped.bytes, &mut unwrapped).unwrap();
    assert_eq!(unwrapped[..], dek);

    // A change and its generation.
    assert_eq!(vault.rotate_key("disks").unwrap().version(), "3");
    let text = fs::read_to_string(vault.path()).unwrap();
    assert!(text.contains("\"generation\": 5") && text.contains("\"next_version\": 4"), "{text}");
}

#[test]
fn the_vault_of_the_text_opens_with_its_passphrase_only() {
    let examples = Examples::read();
    let path = examples.folder.path().join("passphrase.vault");
    fs::write(&path, examples.block("passphrase-vault")).unwrap();
    let open = |passphrase: &[u8]| FileVault::open(&path, Unlock::Passphrase(passphrase));
    let vault = open(examples.input("passphrase").as_bytes()).unwrap();
    assert!(vault.keys().unwrap().is_empty());
    assert!(matches!(open(b"correct horse battery stable"), Err(Error::WrongVaultPassphrase)));

    // It is of version 1, and becomes one of version 3.
    let said = vault.properties().unwrap();
    assert_eq!((said.id.as_str(), said.retention_days), (vault.id(), 90));
    assert!(!said.purge_protection && !said.refuse_expired && said.region.is_none());
    assert_eq!(fs::read_to_string(&path).unwrap(), examples.block("passphrase-vault"));
    vault.create_key("disks").unwrap();
    assert!(fs::read_to_string(&path).unwrap().contains("\"version\": 3,\n  \"uuid\""));
    let again = open(examples.input("passphrase").as_bytes()).unwrap();
    assert_eq!((again.id(), again.keys().unwrap().len()), (vault.id(), 1));
    assert_eq!(again.audit().unwrap().map(Result::unwrap).count(), 1);
}

#[test]
fn the_vault_of_the_text_opens_by_pbkdf2() {
    let examples = Examples::read();
    let path = examples.folder.path().join("pbkdf2.vault");
    fs::write(&path, examples.block("pbkdf2-vault")).unwrap();
    let open = |passphrase: &[u8]| FileVault::open(&path, Unlock::Passphrase(passphrase));
    let vault = open(examples.input("passphrase").as_bytes()).unwrap();
    assert!(vault.keys().unwrap().is_empty());
    assert!(matches!(open(b"correct horse battery stable"), Err(Error::WrongVaultPassphrase)));
    vault.create_key("disks").unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"version\": 4,\n  \"uuid\"") && text.contains("\"iterations\": 1000,"), "{text}");
    assert_eq!(open(examples.input("passphrase").as_bytes()).unwrap().keys().unwrap().len(), 1);
}

/// The example of the text as it was when version 1 was the only one.
#[test]
fn a_vault_of_version_1_unwraps_and_becomes_one_of_version_3() {
    let examples = Examples::read();
    let key = examples.folder.path().join("root.key");
    let path = examples.folder.path().join("old.vault");
    fs::write(&path, include_str!("../vectors/vault-version-1.txt")).unwrap();
    fs::write(&key, unhex(examples.input("key-file"))).unwrap();
    let envelope = Envelope::from_bytes(&examples.bytes("envelope")).unwrap();
    let unseals = |vault: &FileVault| {
        let dek = envelope.unseal(vault, examples.input("context").as_bytes()).unwrap();
        assert_eq!(hazmat::dek_bytes(&dek).expose(), unhex(examples.input("dek")));
    };
    let vault = FileVault::open(&path, Unlock::KeyFile(&key)).unwrap();
    let described = vault.describe("disks", None).unwrap().unwrap();
    assert_eq!((described.id.version(), described.kind, described.enabled), ("2", KeyKind::Aes256, true));
    unseals(&vault);
    assert_eq!(fs::read_to_string(&path).unwrap(), include_str!("../vectors/vault-version-1.txt"));
    assert_eq!(vault.rotate_key("disks").unwrap().version(), "3");
    let vault = FileVault::open(&path, Unlock::KeyFile(&key)).unwrap();
    unseals(&vault);
    let versions: Vec<_> = vault.keys().unwrap()[0].versions.iter().map(|v| v.id.version().to_owned()).collect();
    assert_eq!(versions, ["1", "2", "3"]);
    // `get`, `unwrapKey`, `rotate`, `unwrapKey`: the log begins before the file is of version 3.
    assert_eq!(vault.audit().unwrap().map(Result::unwrap).count(), 4);
}

/// The example of the text from the time when version 2 was the latest, and its log.
#[test]
fn a_vault_of_version_2_unwraps_and_becomes_one_of_version_3() {
    let examples = Examples::read();
    let (key, path) = (examples.folder.path().join("root.key"), examples.folder.path().join("old.vault"));
    fs::write(&path, include_str!("../vectors/vault-version-2.txt")).unwrap();
    fs::write(path.with_extension("vault.audit"), include_str!("../vectors/vault-version-2-audit.txt")).unwrap();
    fs::write(&key, unhex(examples.input("key-file"))).unwrap();
    let vault = FileVault::open(&path, Unlock::KeyFile(&key)).unwrap();
    let envelope = Envelope::from_bytes(&examples.bytes("envelope")).unwrap();
    let dek = envelope.unseal(&vault, examples.input("context").as_bytes()).unwrap();
    assert_eq!(hazmat::dek_bytes(&dek).expose(), unhex(examples.input("dek")));
    assert_eq!(fs::read_to_string(&path).unwrap(), include_str!("../vectors/vault-version-2.txt"));
    assert!(vault.properties().unwrap().purge_protection);
    assert_eq!(vault.rotate_key("disks").unwrap().version(), "3");
    assert!(fs::read_to_string(&path).unwrap().contains("\"version\": 3,\n  \"uuid\""));
    let vault = FileVault::open(&path, Unlock::KeyFile(&key)).unwrap();
    assert_eq!(vault.keys().unwrap()[0].versions.len(), 3);
    let entries: Vec<_> = vault.audit().unwrap().map(Result::unwrap).collect();
    assert_eq!((entries.len(), entries[6].operation.as_str()), (7, "rotate"));
}

#[test]
fn the_envelope_of_the_text_opens() {
    let examples = Examples::read();
    let bytes = examples.bytes("envelope");
    let envelope = Envelope::from_bytes(&bytes).unwrap();
    assert_eq!(envelope.kek().to_string(), format!("urn:uuid:{}/keys/disks/2", examples.input("vault-uuid")));
    let dek = envelope.unseal(&examples.vault(), examples.input("context").as_bytes()).unwrap();
    assert_eq!(hazmat::dek_bytes(&dek).expose(), unhex(examples.input("dek")));
    assert_eq!(envelope.to_bytes(), bytes);
    // AES-KW has no nonce, so that the library makes the very bytes of the text.
    let again = Envelope::seal(&dek, &examples.vault(), "disks", examples.input("context").as_bytes()).unwrap();
    assert_eq!(again.to_bytes(), bytes);
}

#[test]
fn the_encrypted_file_of_the_text_opens() {
    let examples = Examples::read();
    let slot = examples.bytes("file-prefix");
    assert_eq!(slot.len(), FilePrefix::LEN / 2);
    let prefix = FilePrefix::from_bytes(&slot.repeat(2)).unwrap();
    assert_eq!(prefix.to_bytes(), slot.repeat(2));
    let cipher = prefix.open(&examples.vault(), examples.input("context").as_bytes()).unwrap();
    let mut data = examples.bytes("file-data");
    cipher.apply(0, &mut data).unwrap();
    assert_eq!(data, examples.input("plaintext").as_bytes());
    // That of the text, and not only one that opens.
    let dek = hazmat::dek_from_bytes_for(DekAlgorithm::Aes256Ctr, &unhex(examples.input("file-dek"))).unwrap();
    let nonce = unhex(examples.input("file-nonce")).try_into().unwrap();
    dek.stream_cipher(nonce).unwrap().apply(0, &mut data).unwrap();
    assert_eq!(data, examples.bytes("file-data"));
}

#[test]
fn the_file_of_sectors_of_the_text_opens() {
    let examples = Examples::read();
    let slot = examples.bytes("file-sectors");
    let prefix = FilePrefix::from_bytes(&slot.repeat(2)).unwrap();
    assert_eq!(prefix.to_bytes(), slot.repeat(2));
    let (vault, context) = (examples.vault(), examples.input("context").as_bytes());
    let cipher = prefix.open_sectors(&vault, context, SectorSize::B4096, SectorUnit::Bytes512).unwrap();
    // The DEK belongs to the volume, so sector 8 is the one shown in the text.
    let mut sector = examples.input("plaintext").as_bytes().to_vec();
    sector.resize(4096, 0);
    cipher.encrypt(8, &mut sector).unwrap();
    assert_eq!(sector[..64], examples.bytes("sector")[..]);
}

#[test]
fn the_second_implementation_opens_a_file_of_sectors() {
    let Some(python) = python("cryptography.hazmat.primitives.kdf.argon2") else { return };
    let folder = tempfile::tempdir().unwrap();
    let vault = vault_at(&folder.path().join("keys.vault"));
    let passphrase = format!("pass:{}", str::from_utf8(PASSPHRASE).unwrap());
    let path = folder.path().join("db");
    let plain: Vec<u8> = (0..10 * 4096u32).map(|i| (i / 7) as u8).collect();
    for (size, unit) in [(SectorSize::B512, SectorUnit::Sector), (SectorSize::B4096, SectorUnit::Bytes512)] {
        let mut data = plain.clone();
        let (prefix, cipher) = FilePrefix::create_sectors(&vault, "disks", b"db-7", size, unit).unwrap();
        cipher.encrypt(0, &mut data).unwrap();
        let device = MemoryDevice::from_bytes([prefix.to_bytes(), data].concat());
        vault.rotate_key("disks").unwrap();
        FilePrefix::rotate_kek(&device, &vault, b"db-7").unwrap();
        fs::write(&path, device.into_bytes()).unwrap();
        let size = size.bytes().to_string();
        let args = [&script(), "open-file", text(vault.path()), &passphrase, text(&path), "db-7", &size];
        assert!(pipe(&python, &args, b"") == plain, "sectors of {size}");
    }
}

#[test]
fn the_second_implementation_opens_a_file_of_the_library() {
    let Some(python) = python("cryptography.hazmat.primitives.kdf.argon2") else { return };
    let folder = tempfile::tempdir().unwrap();
    let vault = vault_at(&folder.path().join("keys.vault"));
    let passphrase = format!("pass:{}", str::from_utf8(PASSPHRASE).unwrap());
    let path = folder.path().join("000007.log");
    let plain: Vec<u8> = (0..100_003u32).map(|i| (i / 7) as u8).collect();
    let mut data = plain.clone();
    let (prefix, cipher) = FilePrefix::create(&vault, "disks", b"db-7").unwrap();
    cipher.apply(0, &mut data).unwrap();
    let mut file = [prefix.to_bytes(), data].concat();
    for step in ["made", "rotated", "half rotated"] {
        match step {
            "rotated" => {
                vault.rotate_key("disks").unwrap();
                let device = MemoryDevice::from_bytes(file);
                FilePrefix::rotate_kek(&device, &vault, b"db-7").unwrap();
                file = device.into_bytes();
            }
            "half rotated" => file[100] ^= 1,
            _ => {}
        }
        fs::write(&path, &file).unwrap();
        let args = [&script(), "open-file", text(vault.path()), &passphrase, text(&path), "db-7"];
        assert!(pipe(&python, &args, b"") == plain, "{step}");
    }
}

#[test]
fn the_volume_of_the_text_opens() {
    let examples = Examples::read();
    let vault = examples.vault();
    let metadata: Value = serde_json::from_str(examples.block("metadata")).unwrap();
    let token: Value = serde_json::from_str(examples.block("token")).unwrap();
    assert_eq!(metadata["tokens"]["0"], token);

    // The text shows one copy of the header: the other is repaired from it.
    let context = examples.input("context").as_bytes();
    let device = MemoryDevice::from_bytes(examples.volume());
    let volume = Volume::open(device, Credential::Vault(&vault), &OpenOptions::new().context(context)).unwrap();
    assert_eq!(hazmat::dek_bytes(&volume.dek()).expose(), unhex(examples.input("dek")));
    assert_eq!(volume.uuid(), examples.input("volume-uuid"));
    assert_eq!((volume.size(), volume.data_offset()), (8192, 1 << 20));
    assert_eq!(volume.sector_size(), SectorSize::B4096);

    // The library encrypts to the bytes of the text.
    let mut sector = examples.input("plaintext").as_bytes().to_vec();
    sector.resize(4096, 0);
    volume.write_at(4096, &sector).unwrap();
    let image = volume.into_device().into_bytes();
    let beginning = examples.bytes("sector");
    assert_eq!(image[0x10_1000..0x10_1000 + beginning.len()], beginning);
    assert_eq!(image[0x4000..0x4006], *b"SKUL\xba\xbe");
    assert_eq!(image[..0x4000], examples.volume()[..0x4000]);
}

#[test]
fn the_library_writes_the_header_of_the_text() {
    let examples = Examples::read();
    let options = FormatOptions::new()
        .data_offset(1 << 20)
        .sector_size(SectorSize::B4096)
        .context(examples.input("context").as_bytes())
        .label("payroll")
        .uuid(unhex(&examples.input("volume-uuid").replace('-', "")).try_into().unwrap());
    let device = MemoryDevice::new((1 << 20) + 8192);
    let image = Volume::format(device, Protector::Vault(&examples.vault(), "disks"), &options)
        .unwrap()
        .into_device()
        .into_bytes();

    let mut header = image[..512].to_vec();
    let mut wanted = examples.bytes("binary-header");
    for random in [104..168, 448..512] {
        // The salt, and the checksum over it.
        header[random.clone()].fill(0);
        wanted[random].fill(0);
    }
    assert_eq!(header, wanted);

    // The JSON is the same to the byte, except for the random parts. Each of these has the same length.
    let end = image[4096..].iter().position(|&byte| byte == 0).unwrap();
    let area = str::from_utf8(&image[4096..4096 + end]).unwrap();
    let metadata: Value = serde_json::from_str(area).unwrap();
    let example: Value = serde_json::from_str(examples.block("metadata")).unwrap();
    let mut text = examples.block("metadata").trim_end().to_owned();
    for pointer in ["/tokens/0/wrapped_dek", "/tokens/0/mac", "/digests/0/salt", "/digests/0/digest"] {
        let value = |metadata: &Value| metadata.pointer(pointer).unwrap().as_str().unwrap().to_owned();
        assert_eq!(value(&example).len(), value(&metadata).len(), "{pointer}");
        text = text.replace(&value(&example), &value(&metadata));
    }
    assert_eq!(area, text);
}

#[test]
fn the_second_implementation_makes_the_examples() {
    let Some(python) = python("cryptography.hazmat.primitives.kdf.argon2") else { return };
    let mut examples = Examples::read();
    let made = examples.folder.path().join("made");
    fs::create_dir(&made).unwrap();
    let script = script();
    run(&python, &[&[&*script, "make", text(&made)][..], &TEXTS].concat());
    let mut named = Vec::new();
    for text in &mut examples.texts {
        for name in text.names("example").into_iter().filter(|name| name != "inputs") {
            let wanted = fs::read_to_string(made.join(format!("{name}.txt"))).unwrap();
            text.expect("example", &name, &wanted);
            named.push(name);
        }
    }
    assert_eq!(named, BLOCKS, "an example that nothing holds against the code");
    for page in fs::read_dir("docs/formats").unwrap() {
        let page = format!("docs/formats/{}", page.unwrap().file_name().to_str().unwrap());
        let has = !Markdown::read(&page).names("example").is_empty();
        assert_eq!(has, TEXTS.contains(&&*page), "{page} has examples that nothing holds against the code, or none");
    }

    // Its volume opens without repair, and both sectors are as written.
    let key = made.join("root.key");
    let vault = FileVault::open(made.join("keys.vault"), Unlock::KeyFile(&key)).unwrap();
    let image = fs::read(made.join("volume.img")).unwrap();
    let device = MemoryDevice::from_bytes(image.clone());
    let volume = Volume::open(device, Credential::Vault(&vault), &OpenOptions::new()).unwrap();
    let mut data = vec![0xff; 8192];
    volume.read_at(0, &mut data).unwrap();
    let plaintext = examples.input("plaintext").as_bytes();
    assert_eq!(&data[4096..4096 + plaintext.len()], plaintext);
    assert!(data[..4096].iter().chain(&data[4096 + plaintext.len()..]).all(|&byte| byte == 0));
    assert!(volume.into_device().into_bytes() == image, "opening changed the header");
}

#[test]
fn the_second_implementation_opens_what_the_library_makes() {
    let Some(python) = python("cryptography.hazmat.primitives.kdf.argon2") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let by_passphrase = vault_at(&path("passphrase.vault"));
    FileVault::generate_key_file(path("root.key")).unwrap();
    let cost = KdfCost::default();
    let by_file = FileVault::create_with_cost(path("file.vault"), Unlock::KeyFile(&path("root.key")), cost).unwrap();
    by_file.create_key("disks").unwrap();
    let passphrase = format!("pass:{}", str::from_utf8(PASSPHRASE).unwrap());
    let pbkdf2 = VaultOptions::new().kdf(Kdf::Pbkdf2 { hash: HashAlgorithm::Sha512, iterations: 1000 });
    let by_pbkdf2 = FileVault::create_with(path("pbkdf2.vault"), Unlock::Passphrase(PASSPHRASE), &pbkdf2).unwrap();
    by_pbkdf2.create_key("disks").unwrap();
    // Its log began under another root.
    let changed = FileVault::create_with(path("changed.vault"), Unlock::KeyFile(&path("root.key")), &pbkdf2).unwrap();
    changed.create_key("disks").unwrap();
    let cheap = Kdf::Argon2id { memory_kib: 64, passes: 1, lanes: 1 };
    changed.change_unlock(Unlock::Passphrase(PASSPHRASE), Some(cheap)).unwrap();

    for (vault, key) in [
        (&by_passphrase, passphrase.as_str()),
        (&by_file, text(&path("root.key"))),
        (&by_pbkdf2, &passphrase),
        (&changed, &passphrase),
    ] {
        for (number, (algorithm, sector_size)) in [
            (DekAlgorithm::Aes256Xts, 512),
            (DekAlgorithm::Aes256Xts, 4096),
            (DekAlgorithm::Aes128Xts, 512),
            (DekAlgorithm::Aes128Xts, 2048),
        ]
        .into_iter()
        .enumerate()
        {
            let (envelope, image) = (path("envelope"), path(&format!("{number}.img")));
            let _ = fs::remove_file(&image);
            let dek = Dek::generate(algorithm).unwrap();
            fs::write(&envelope, Envelope::seal(&dek, vault, "disks", b"disk-17").unwrap().to_bytes()).unwrap();
            let options = FormatOptions::new()
                .data_offset(1 << 20)
                .dek_algorithm(algorithm)
                .sector_size(SectorSize::new(sector_size).unwrap())
                .context(b"disk-18");
            // The end of the device is no whole sector.
            let device = FileDevice::create(&image, (1 << 20) + 3 * 4096 + 100).unwrap();
            let volume = Volume::format(device, Protector::Vault(vault, "disks"), &options).unwrap();
            let data: Vec<u8> = (0..volume.size()).map(|i| (i / 7) as u8).collect();
            volume.write_at(0, &data).unwrap();
            if number % 2 == 1 {
                vault.rotate_key("disks").unwrap();
                volume.rotate_kek(vault).unwrap();
            }
            let volume_dek = hazmat::dek_bytes(&volume.dek());
            drop(volume);

            let args = [&script(), "open", text(vault.path()), key, text(&envelope), "disk-17", text(&image)];
            let printed = run(&python, &args);
            let wanted = format!(
                "envelope {}\nvolume {} {} {}\n",
                hex(hazmat::dek_bytes(&dek).expose()),
                hex(volume_dek.expose()),
                hex(b"disk-18"),
                hex(&Sha256::digest(&data)),
            );
            assert_eq!(printed, wanted);
        }
    }
}

fn script() -> String {
    text(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats.py")).to_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
