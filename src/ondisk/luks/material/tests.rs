//! Keyslots of cryptsetup opened by us, and our keyslots opened by cryptsetup.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use base64ct::{Base64, Encoding};
use serde_json::Value;
use zeroize::Zeroizing;

use super::*;
use crate::key::peers::{cryptsetup, run, run_any, text};
use crate::ondisk::luks::VolumeKeyDigest;

const PASSPHRASE: &[u8] = b"correct horse";
const ARGON2: [&str; 6] = ["--pbkdf-force-iterations", "4", "--pbkdf-memory", "100", "--pbkdf-parallel", "2"];

struct Keyslot {
    material: Material,
    kdf: Kdf,
    salt: Vec<u8>,
    offset: usize,
}

fn number(value: &Value) -> usize {
    value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap() as usize
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// Keyslot 0, from cryptsetup's JSON dump of a header.
fn keyslot(cryptsetup: &str, image: &Path) -> Keyslot {
    let json = run(cryptsetup, &["luksDump", "--dump-json-metadata", text(image)]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let slot = &json["keyslots"]["0"];
    let (kdf, area, af) = (&slot["kdf"], &slot["area"], &slot["af"]);
    let hash = |value: &Value| HashAlgorithm::from_name(word(value)).unwrap();
    let cost = |name: &str| number(&kdf[name]) as u32;
    let kdf_of = match word(&kdf["type"]) {
        "pbkdf2" => Kdf::Pbkdf2 { hash: hash(&kdf["hash"]), iterations: cost("iterations") },
        "argon2i" => Kdf::Argon2i { memory_kib: cost("memory"), passes: cost("time"), lanes: cost("cpus") },
        _ => Kdf::Argon2id { memory_kib: cost("memory"), passes: cost("time"), lanes: cost("cpus") },
    };
    let material = Material {
        cipher: CipherSpec::from_name(word(&area["encryption"])).unwrap(),
        area_key_len: number(&area["key_size"]),
        af_hash: hash(&af["hash"]),
        stripes: number(&af["stripes"]) as u32,
        key_len: number(&slot["key_size"]),
    };
    let salt = Base64::decode_vec(word(&kdf["salt"])).unwrap();
    Keyslot { material, kdf: kdf_of, salt, offset: number(&area["offset"]) }
}

/// Digest 0.
fn digest(cryptsetup: &str, image: &Path) -> VolumeKeyDigest {
    let json = run(cryptsetup, &["luksDump", "--dump-json-metadata", text(image)]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let digest = &json["digests"]["0"];
    let bytes = |name: &str| Base64::decode_vec(word(&digest[name])).unwrap();
    let (hash, iterations) = (word(&digest["hash"]).into(), number(&digest["iterations"]) as u32);
    VolumeKeyDigest { hash, iterations, salt: bytes("salt"), digest: bytes("digest") }
}

/// A LUKS2 image made by cryptsetup; returns its volume key.
fn formatted(cryptsetup: &str, folder: &Path, args: &[&str]) -> Vec<u8> {
    let [image, passphrase, key] = ["image", "passphrase", "key"].map(|name| folder.join(name));
    fs::write(&passphrase, PASSPHRASE).unwrap();
    fs::File::create(&image).unwrap().set_len(20 << 20).unwrap();
    let with = ["--key-file", text(&passphrase), text(&image)];
    run(cryptsetup, &[&["luksFormat", "-q", "--type", "luks2"], args, &with].concat());
    let _ = fs::remove_file(&key);
    let dump = ["luksDump", "-q", "--dump-volume-key", "--volume-key-file", text(&key)];
    run(cryptsetup, &[&dump[..], &with].concat());
    fs::read(&key).unwrap()
}

#[test]
fn keyslots_of_cryptsetup_give_the_volume_key_and_ours_open_with_cryptsetup() {
    let Some(cryptsetup) = cryptsetup() else { return };
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    let mut hashes = BTreeSet::new();
    let pbkdf2 = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
    for (args, bits) in [
        (&[&["--pbkdf", "argon2id"], &ARGON2[..]].concat()[..], "512"),
        (&[&["--pbkdf", "argon2id"], &ARGON2[..]].concat(), "256"),
        (&[&["--pbkdf", "argon2i"], &ARGON2[..]].concat(), "512"),
        (&[&["--pbkdf", "argon2i", "--hash", "sha512"], &ARGON2[..]].concat(), "256"),
        (&pbkdf2, "512"),
        (&[&pbkdf2[..], &["--hash", "sha512", "--sector-size", "4096"]].concat(), "256"),
        (&[&pbkdf2[..], &["--hash", "sha1"]].concat(), "512"),
        (
            &[
                &pbkdf2[..],
                &[
                    "--cipher",
                    "aes-cbc-essiv:sha256",
                    "--keyslot-cipher",
                    "aes-cbc-essiv:sha256",
                    "--keyslot-key-size",
                    "192",
                ],
            ]
            .concat(),
            "192",
        ),
        (
            &[
                &pbkdf2[..],
                &["--cipher", "aes-cbc-plain64", "--keyslot-cipher", "aes-cbc-plain64", "--keyslot-key-size", "256"],
            ]
            .concat(),
            "128",
        ),
        (&[&pbkdf2[..], &["--keyslot-cipher", "aes-xts-plain", "--keyslot-key-size", "256"]].concat(), "512"),
    ] {
        let args = [args, &["--key-size", bits]].concat();
        let key = formatted(&cryptsetup, folder.path(), &args);
        let Keyslot { material, kdf, salt, offset } = keyslot(&cryptsetup, &image);
        assert_eq!(material.key_len * 8, bits.parse::<usize>().unwrap());
        let mut bytes = fs::read(&image).unwrap();
        let place = offset..offset + material.len();
        let area = || Zeroizing::new(bytes[place.clone()].to_vec());
        let found = material.open(area(), &kdf, PASSPHRASE, &salt).unwrap();
        assert!(found.expose() == key, "{args:?}");
        let digest = digest(&cryptsetup, &image);
        digest.verify(&found).unwrap();
        hashes.insert(digest.hash.clone());
        // Another passphrase gives another key. Only the digest reveals that it is wrong.
        let other = material.open(area(), &kdf, b"incorrect horse", &salt).unwrap();
        assert!(other.len() == key.len() && other.expose() != key, "{args:?}");
        assert!(matches!(digest.verify(&other), Err(Error::WrongKey)), "{args:?}");

        // The same keyslot under another passphrase, sealed by us.
        let sealed = material.seal(&found, &kdf, b"staple", &salt).unwrap();
        assert_eq!(sealed.len(), material.len());
        bytes[place].copy_from_slice(&sealed);
        fs::write(&image, &bytes).unwrap();
        let staple = folder.path().join("staple");
        fs::write(&staple, "staple").unwrap();
        let open = |with: &str| {
            let result = run_any(&cryptsetup, &["open", "--test-passphrase", "--key-file", with, text(&image)]);
            result.status.success()
        };
        assert!(open(text(&staple)), "{args:?}");
        assert!(!open(text(&folder.path().join("passphrase"))), "{args:?}");
    }
    assert_eq!(hashes.into_iter().collect::<Vec<_>>(), ["sha1", "sha256", "sha512"]);
}

const CHEAP: Kdf = Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 1 };

fn material(key_len: usize, area_key_len: usize, stripes: u32) -> Material {
    let (cipher, af_hash) = (CipherSpec::AesXtsPlain64, HashAlgorithm::Sha256);
    Material { cipher, area_key_len, af_hash, stripes, key_len }
}

#[test]
fn an_area_is_as_long_as_whole_sectors() {
    for (key_len, len) in [(16, 64_000), (24, 96_256), (32, 128_000), (64, 256_000)] {
        assert_eq!(material(key_len, 64, 4000).len(), len);
    }
    assert_eq!(material(usize::MAX, 64, 4000).len(), usize::MAX);
}

#[test]
fn what_does_not_fit_is_an_error() {
    let area = |len| Zeroizing::new(vec![7; len]);
    let fits = material(32, 64, 16);
    fits.open(area(512), &CHEAP, PASSPHRASE, &[1; 32]).unwrap();
    for len in [0, 511, 513, 1024] {
        let error = fits.open(area(len), &CHEAP, PASSPHRASE, &[1; 32]).unwrap_err();
        assert!(matches!(error, Error::LengthMismatch { dst: 512, .. }), "{error}");
    }
    for (unfit, len) in [(material(0, 64, 16), 0), (material(32, 64, 0), 0), (material(32, 40, 16), 512)] {
        let error = unfit.open(area(len), &CHEAP, PASSPHRASE, &[1; 32]).unwrap_err();
        assert!(matches!(error, Error::KeyLength { .. }), "{error}");
    }
    let key = Secret::random(33).unwrap();
    assert!(matches!(fits.seal(&key, &CHEAP, PASSPHRASE, &[1; 32]), Err(Error::KeyLength { len: 33 })));
}
