//! The ciphers and hashes of old volumes, formatted by `cryptsetup` and filled by OpenSSL.

use atrest::cipher::CipherSpec;
use atrest::volume::Header;
use atrest::{Error, MemoryDevice, OpenOptions, Protector};

use crate::Cells;
use crate::common::python;
use crate::image::{CHEAP_PBKDF2, Image, cheap_pbkdf2, dek, have_cryptsetup, noise};
use crate::models::{Run, decrypt, encrypt};

const LEN: usize = 32 << 10;

/// The format, the cipher, the bits of its key, the hash and the sector size.
type Kind = (&'static str, &'static str, u32, &'static str, u32);

/// Other block ciphers need the kernel's crypto API, so the tests of the guest have them.
fn kinds() -> Vec<Kind> {
    let mut kinds = vec![
        ("luks1", "aes-cbc-essiv:sha256", 128, "sha1", 512),
        ("luks1", "aes-cbc-essiv:sha256", 192, "sha256", 512),
        ("luks1", "aes-cbc-essiv:sha256", 256, "sha512", 512),
        ("luks1", "aes-cbc-plain64", 128, "sha512", 512),
        ("luks1", "aes-cbc-plain64", 192, "sha1", 512),
        ("luks1", "aes-cbc-plain64", 256, "sha256", 512),
        ("luks1", "aes-xts-plain", 256, "sha1", 512),
        ("luks1", "aes-xts-plain", 512, "sha512", 512),
        ("luks1", "aes-xts-plain64", 256, "sha1", 512),
        ("luks1", "aes-xts-plain64", 512, "sha512", 512),
        ("luks2", "aes-cbc-essiv:sha256", 128, "sha1", 512),
        ("luks2", "aes-cbc-essiv:sha256", 256, "sha512", 4096),
        ("luks2", "aes-cbc-plain64", 192, "sha256", 512),
        ("luks2", "aes-cbc-plain64", 256, "sha1", 2048),
        ("luks2", "aes-xts-plain", 256, "sha512", 512),
        ("luks2", "aes-xts-plain", 512, "sha1", 1024),
        ("luks2", "aes-xts-plain64", 256, "sha1", 1024),
        ("luks2", "aes-xts-plain64", 512, "sha512", 2048),
        ("luks1", "aes-cbc-plain", 128, "sha1", 512),
        ("luks1", "aes-cbc-plain", 256, "sha224", 512),
        ("luks1", "aes-xts-benbi", 256, "sha384", 512),
        ("luks1", "aes-xts-essiv:sha256", 512, "sha1", 512),
        ("luks1", "aes-cbc-benbi", 192, "sha256", 512),
        ("luks2", "aes-cbc-plain", 256, "sha384", 512),
        ("luks2", "aes-cbc-plain", 128, "sha224", 4096),
        ("luks2", "aes-xts-plain64be", 512, "sha256", 4096),
        ("luks2", "aes-cbc-plain64be", 128, "sha256", 512),
        ("luks2", "aes-cbc-benbi", 256, "sha256", 4096),
        ("luks2", "aes-xts-benbi", 512, "sha512", 2048),
        ("luks2", "aes-xts-essiv:sha256", 256, "sha384", 4096),
    ];
    if cfg!(feature = "legacy") {
        kinds.extend([
            ("luks1", "aes-xts-plain64", 256, "ripemd160", 512),
            ("luks1", "aes-cbc-plain", 256, "whirlpool", 512),
            ("luks1", "aes-xts-plain64", 512, "sha3-256", 512),
            ("luks2", "aes-xts-plain64", 512, "sha3-224", 512),
            ("luks2", "aes-xts-plain64", 512, "sha3-384", 512),
            ("luks2", "aes-xts-plain64", 512, "sha3-512", 512),
            ("luks2", "aes-xts-plain64", 512, "blake2b-512", 512),
            ("luks2", "aes-xts-plain64", 512, "blake2s-256", 512),
            ("luks2", "aes-xts-plain64", 512, "sm3", 512),
        ]);
    }
    kinds
}

#[test]
fn old_ciphers_and_hashes_of_cryptsetup() {
    let (true, Some(python)) = (have_cryptsetup(), python("cryptography")) else { return };
    let mut cells = Cells::of("ciphers and hashes");
    let (theirs, ours) = (noise(LEN, 4), noise(LEN, 5));
    let mut made = Vec::new();
    for (kind, cipher, bits, hash, sector_size) in kinds() {
        let what = format!("{kind} {cipher} {bits} {hash} {sector_size}");
        let image = Image::with_header(false);
        let (key, path, bits) = (image.key("one"), image.path(), bits.to_string());
        let size = sector_size.to_string();
        let mut args = vec!["luksFormat", "-q", "--type", kind, "--cipher", cipher, "--key-size", &bits];
        args.extend(["--hash", hash, "--key-file", &key]);
        if kind == "luks2" {
            args.extend(["--sector-size", &size]);
        }
        args.extend(CHEAP_PBKDF2);
        args.push(&path);
        image.cryptsetup(&args);
        let run = image.ours("one", |volume| {
            assert_eq!(volume.cipher().name(), cipher, "{what}");
            assert_eq!(volume.sector_size().bytes(), sector_size, "{what}");
            let keyslot = &volume.header().keyslots()[0];
            assert_eq!((&*keyslot.hash, &*keyslot.af_hash), (hash, hash), "{what}");
            Run {
                path: path.clone(),
                offset: volume.data_offset(),
                len: LEN,
                key: dek(&volume.dek()),
                cipher: cipher.into(),
                sector_size: sector_size.into(),
                first: 0,
            }
        });
        assert_eq!(run.key, image.their_dek("one"), "{what}");
        assert!(!image.opens("two"), "{what}");
        cells.we_read();
        // A LUKS1 header names one hash for all its keyslots. Nothing new takes an old one.
        let cost = if kind == "luks1" { cost_of(hash) } else { cheap_pbkdf2() };
        image.ours("one", |volume| volume.add_protector(Protector::Passphrase(b"two"), &cost).unwrap());
        assert!(image.theirs("two"), "{what}");
        cells.they_read();
        made.push((what, image, run));
    }
    let runs: Vec<_> = made.iter().map(|(.., run)| (run.clone(), &theirs[..])).collect();
    encrypt(&python, &runs);
    for (what, image, _) in &made {
        image.ours("one", |volume| {
            let mut read = vec![0; LEN];
            volume.read_at(0, &mut read).unwrap();
            assert!(read == theirs, "{what}");
            volume.write_at(0, &ours).unwrap();
        });
        cells.we_read();
    }
    let runs: Vec<Run> = made.iter().map(|(.., run)| run.clone()).collect();
    for (read, (what, ..)) in decrypt(&python, &runs).iter().zip(&made) {
        assert!(*read == ours, "{what}");
        cells.they_read();
    }
    cells.print();
}

fn cost_of(hash: &str) -> atrest::volume::KeyslotOptions {
    use atrest::key::{HashAlgorithm, Kdf};
    let hash = HashAlgorithm::from_name(hash).unwrap();
    cheap_pbkdf2().kdf(Kdf::Pbkdf2 { hash, iterations: 1000 })
}

/// Volumes of ECB can be read, and are not written.
#[test]
fn ecb_opens_for_reading() {
    let (true, Some(python)) = (have_cryptsetup(), python("cryptography")) else { return };
    for (kind, bits) in [("luks1", "256"), ("luks1", "128"), ("luks2", "192"), ("luks2", "256")] {
        let image = Image::with_header(false);
        let (key, path) = (image.key("one"), image.path());
        let args = ["luksFormat", "-q", "--type", kind, "--cipher", "aes-ecb", "--key-size", bits, "--key-file", &key];
        image.cryptsetup(&[&args[..], &CHEAP_PBKDF2, &[&path]].concat());
        let (theirs, dek) = (noise(LEN, 6), image.their_dek("one"));
        let offset = image.ours("one", |volume| volume.data_offset());
        let run = Run { path, offset, len: LEN, key: dek, cipher: "aes-ecb".into(), sector_size: 512, first: 0 };
        encrypt(&python, &[(run, &theirs)]);
        image.ours("one", |volume| {
            assert_eq!((volume.cipher(), volume.is_read_only()), (CipherSpec::AesEcb, true));
            let mut read = vec![0; LEN];
            volume.read_at(0, &mut read).unwrap();
            assert!(read == theirs, "{kind}");
            assert!(matches!(volume.write_at(0, &theirs), Err(Error::ReadOnly)));
            let added = volume.add_protector(Protector::Passphrase(b"two"), &cheap_pbkdf2());
            assert!(matches!(added, Err(Error::ReadOnly)));
        });
    }
}

#[test]
fn ciphers_that_are_refused_are_named_with_the_reason() {
    if !have_cryptsetup() {
        return;
    }
    for kind in ["luks1", "luks2"] {
        let cipher = "aes-ctr-plain64";
        let image = Image::with_header(false);
        let (key, path) = (image.key("one"), image.path());
        let args =
            ["luksFormat", "-q", "--type", kind, "--cipher", cipher, "--key-size", "256", "--key-file", &key, &path];
        image.cryptsetup(&[&args[..], &CHEAP_PBKDF2].concat());
        let error = image.refused("one", OpenOptions::new());
        let named = |what: &String| what.contains(cipher) && what.contains("which is not known");
        assert!(matches!(&error, Error::UnsupportedHeader(what) if named(what)), "{kind} {cipher}: {error}");
        if kind == "luks2" {
            let device = MemoryDevice::from_bytes(image.bytes());
            assert_eq!(Header::load(&device).unwrap().segments()[0].cipher, cipher);
        }
    }
}
