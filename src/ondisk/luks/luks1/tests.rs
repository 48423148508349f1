//! Headers written by cryptsetup, our headers read by cryptsetup, and headers with one defect each.

use std::fs;
use std::path::Path;

use zeroize::Zeroizing;

use super::*;
use crate::key::peers::{cryptsetup, run, run_any, text};

const PASSPHRASE: &[u8] = b"correct horse";
const LEN: usize = Luks1Header::LEN;

fn area(bytes: &[u8], header: &Luks1Header, slot: usize) -> std::ops::Range<usize> {
    let offset = header.keyslots[slot].material_offset as usize * SECTOR;
    assert!(offset + header.material(slot).len() <= bytes.len());
    offset..offset + header.material(slot).len()
}

fn opened(bytes: &[u8], header: &Luks1Header, slot: usize, passphrase: &[u8]) -> Secret {
    let area = Zeroizing::new(bytes[area(bytes, header, slot)].to_vec());
    header.material(slot).open(area, &header.kdf(slot), passphrase, &header.keyslots[slot].salt).unwrap()
}

/// The volume key, dumped by cryptsetup.
fn dumped_key(cryptsetup: &str, folder: &Path, passphrase: &[u8]) -> Vec<u8> {
    let [image, with, key] = ["image", "with", "key"].map(|name| folder.join(name));
    fs::write(&with, passphrase).unwrap();
    let _ = fs::remove_file(&key);
    let dump = ["luksDump", "-q", "--dump-volume-key", "--volume-key-file", text(&key)];
    run(cryptsetup, &[&dump[..], &["--key-file", text(&with), text(&image)]].concat());
    fs::read(&key).unwrap()
}

fn does_open(cryptsetup: &str, folder: &Path, passphrase: &[u8]) -> bool {
    let [image, with] = ["image", "with"].map(|name| folder.join(name));
    fs::write(&with, passphrase).unwrap();
    let open = ["open", "--test-passphrase", "--key-file", text(&with), text(&image)];
    run_any(cryptsetup, &open).status.success()
}

const KINDS: [(&str, &str, &str); 8] = [
    ("aes-xts-plain64", "512", "sha256"),
    ("aes-xts-plain64", "256", "sha512"),
    ("aes-xts-plain", "256", "sha1"),
    ("aes-cbc-essiv:sha256", "128", "sha1"),
    ("aes-cbc-essiv:sha256", "192", "sha256"),
    ("aes-cbc-essiv:sha256", "256", "sha512"),
    ("aes-cbc-plain64", "192", "sha1"),
    ("aes-cbc-plain64", "256", "sha256"),
];

#[test]
fn volumes_of_cryptsetup_are_read() {
    let Some(cryptsetup) = cryptsetup() else { return };
    let folder = tempfile::tempdir().unwrap();
    let [image, with, more] = ["image", "with", "more"].map(|name| folder.path().join(name));
    fs::write(&more, "staple").unwrap();
    let cheap = ["--pbkdf-force-iterations", "1000"];
    for (cipher, bits, hash) in KINDS {
        fs::write(&with, PASSPHRASE).unwrap();
        fs::File::create(&image).unwrap().set_len(4 << 20).unwrap();
        let how =
            ["--type", "luks1", "--cipher", cipher, "--key-size", bits, "--hash", hash, "--key-file", text(&with)];
        run(&cryptsetup, &[&["luksFormat", "-q"], &how[..], &cheap, &[text(&image)]].concat());
        let add = ["luksAddKey", "-q", "--key-slot", "5", "--key-file", text(&with), text(&image), text(&more)];
        run(&cryptsetup, &[&add[..], &cheap].concat());

        let bytes = fs::read(&image).unwrap();
        let header = Luks1Header::parse(&bytes).unwrap();
        assert_eq!((header.cipher.name(), header.hash.name()), (cipher, hash));
        assert_eq!(header.key_len * 8, bits.parse::<u32>().unwrap());
        assert_eq!(header.uuid, run(&cryptsetup, &["luksUUID", text(&image)]).trim());
        let active: Vec<usize> = (0..8).filter(|&slot| header.keyslots[slot].active).collect();
        assert_eq!(active, [0, 5]);
        assert!(header.encode() == bytes[..LEN], "{cipher}");

        let key = dumped_key(&cryptsetup, folder.path(), PASSPHRASE);
        for (slot, passphrase) in [(0, PASSPHRASE), (5, b"staple")] {
            let found = opened(&bytes, &header, slot, passphrase);
            assert!(found.expose() == key, "{cipher} {bits} {hash} {slot}");
            header.verify(&found).unwrap();
        }
        let wrong = opened(&bytes, &header, 5, PASSPHRASE);
        assert!(matches!(header.verify(&wrong), Err(Error::WrongKey)));

        // A new header of ours has the same places as cryptsetup's.
        if hash != "sha1" {
            let (key, uuid) = (Secret::copy_from(&key), header.uuid.clone());
            let ours = Luks1Header::new(header.cipher, header.hash, &key, None, false, uuid, 1000).unwrap();
            assert_eq!(ours.payload_offset, header.payload_offset);
            let places = |header: &Luks1Header| header.keyslots.map(|slot| (slot.material_offset, slot.stripes));
            assert_eq!(places(&ours), places(&header));
        }
    }
}

#[test]
fn cryptsetup_reads_headers_of_ours() {
    let Some(cryptsetup) = cryptsetup() else { return };
    let folder = tempfile::tempdir().unwrap();
    for (cipher, bits, hash) in KINDS.into_iter().filter(|(_, _, hash)| *hash != "sha1") {
        let (cipher, hash) = (CipherSpec::from_name(cipher).unwrap(), HashAlgorithm::from_name(hash).unwrap());
        let key = Secret::random(bits.parse::<usize>().unwrap() / 8).unwrap();
        let mut header = Luks1Header::new(cipher, hash, &key, None, false, UUID_TEXT, 1000).unwrap();
        header.verify(&key).unwrap();
        let mut bytes = vec![0; 4 << 20];
        for (slot, passphrase) in [(0, PASSPHRASE), (7, b"staple")] {
            header.keyslots[slot] =
                Luks1Keyslot { active: true, iterations: 1000, salt: [slot as u8; 32], ..header.keyslots[slot] };
            let material = header.material(slot);
            let sealed = material.seal(&key, &header.kdf(slot), passphrase, &header.keyslots[slot].salt).unwrap();
            let place = area(&bytes, &header, slot);
            bytes[place].copy_from_slice(&sealed);
        }
        bytes[..LEN].copy_from_slice(&header.encode());
        assert_eq!(Luks1Header::parse(&bytes).unwrap(), header);
        let image = folder.path().join("image");
        fs::write(&image, &bytes).unwrap();
        run(&cryptsetup, &["isLuks", "--type", "luks1", text(&image)]);
        assert_eq!(run(&cryptsetup, &["luksUUID", text(&image)]).trim(), UUID_TEXT);
        for passphrase in [PASSPHRASE, b"staple"] {
            assert!(dumped_key(&cryptsetup, folder.path(), passphrase) == key.expose(), "{cipher:?}");
        }
        assert!(!does_open(&cryptsetup, folder.path(), b"incorrect horse"));
    }
}

const UUID_TEXT: &str = "5a5a5a5a-5a5a-4a5a-9a5a-5a5a5a5a5a5a";

fn sound() -> Luks1Header {
    let key = Secret::random(64).unwrap();
    let mut header =
        Luks1Header::new(CipherSpec::AesXtsPlain64, HashAlgorithm::Sha256, &key, None, false, UUID_TEXT, 1000).unwrap();
    header.keyslots[2] = Luks1Keyslot { active: true, iterations: 1000, ..header.keyslots[2] };
    header
}

#[test]
fn a_defect_is_named_by_its_field() {
    let block = sound().encode();
    Luks1Header::parse(&block).unwrap();
    let slot = |index: usize| KEYSLOT + index * KEYSLOT_LEN;
    let nul_less = [b'a'; 40];
    let be = u32::to_be_bytes;
    let cases: [(&str, usize, &[u8]); 22] = [
        ("magic", 0, b"SKUL"),
        ("version is 2", 6, &[0, 2]),
        ("cipher-name", CIPHER_NAME.0, &nul_less[..32]),
        ("cipher-name", CIPHER_NAME.0, b"a\ns"),
        ("cipher-mode", CIPHER_MODE.0, &nul_less[..32]),
        ("hash-spec", HASH_SPEC.0, &[0xFF]),
        ("key-bytes, 40", KEY_BYTES, &be(40)),
        ("key-bytes, 4294967295", KEY_BYTES, &be(u32::MAX)),
        ("payload-offset, 100", PAYLOAD_OFFSET, &be(100)),
        ("payload-offset, 4035", PAYLOAD_OFFSET, &be(4035)),
        ("mk-digest-iter", MK_DIGEST_ITER, &be(0)),
        ("uuid", UUID.0, &nul_less),
        ("uuid", UUID.0, b"\x1b[2J"),
        ("key-slot-1: active, 0x0", slot(0), &be(0)),
        ("key-slot-8: active, 0xdeae", slot(7), &be(0xDEAE)),
        ("key-slot-3: iterations", slot(2) + ITERATIONS, &be(0)),
        ("key-slot-4: stripes, 3999", slot(3) + STRIPES_AT, &be(3999)),
        ("key-slot-4: stripes, 0", slot(3) + STRIPES_AT, &be(0)),
        ("key-slot-1: key-material-offset, 1, is within", slot(0) + MATERIAL_OFFSET, &be(1)),
        ("key-slot-5: key-material-offset, 4294967295", slot(4) + MATERIAL_OFFSET, &be(u32::MAX)),
        ("key-slot-2: key-material-offset, 507, makes it overlap key-slot-1", slot(1) + MATERIAL_OFFSET, &be(507)),
        ("key-slot-8: key-material-offset, 8, makes it overlap key-slot-1", slot(7) + MATERIAL_OFFSET, &be(8)),
    ];
    for (name, at, bytes) in cases {
        let mut block = block;
        block[at..at + bytes.len()].copy_from_slice(bytes);
        match Luks1Header::parse(&block) {
            Err(Invalid(text)) => assert!(text.contains(name), "{name}: {text}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    for (name, at, bytes) in [
        ("\"aria-xts-plain64\"", CIPHER_NAME.0, &b"aria\0\0\0"[..]),
        ("\"aes-ctr\"", CIPHER_MODE.0, b"ctr\0"),
        ("\"cipher_null-xts-plain64\"", CIPHER_NAME.0, b"cipher_null"),
        ("\"tiger\"", HASH_SPEC.0, b"tiger\0\0\0\0"),
    ] {
        let mut block = block;
        block[at..at + bytes.len()].copy_from_slice(bytes);
        match Luks1Header::parse(&block) {
            Err(Unsupported(text)) => assert!(text.contains(name), "{name}: {text}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    assert!(matches!(Luks1Header::parse(&block[..LEN - 1]), Err(Invalid(_))));
    assert!(matches!(Luks1Header::parse(&[]), Err(Invalid(_))));
}

#[test]
fn a_detached_header_and_an_unused_keyslot_may_say_what_they_like() {
    let mut header = sound();
    header.payload_offset = 0;
    header.keyslots[1].iterations = u32::MAX;
    assert_eq!(Luks1Header::parse(&header.encode()).unwrap(), header);
}

#[test]
fn a_digest_over_the_ceiling_is_refused_before_it_is_computed() {
    let header = Luks1Header { digest_iterations: u32::MAX, ..sound() };
    let error = header.verify(&Secret::random(64).unwrap()).unwrap_err();
    assert!(matches!(&error, Error::UnsupportedHeader(text) if text.contains("4294967295")), "{error}");
}

#[test]
fn options_of_a_new_header_have_bounds() {
    let key = Secret::random(64).unwrap();
    let new = |hash, offset, detached, uuid: &str, iterations| {
        Luks1Header::new(CipherSpec::AesXtsPlain64, hash, &key, offset, detached, uuid, iterations)
    };
    let hash = HashAlgorithm::Sha256;
    assert_eq!(new(hash, None, true, UUID_TEXT, 1000).unwrap().payload_offset, 0);
    assert_eq!(new(hash, Some(4036), false, UUID_TEXT, 1000).unwrap().payload_offset, 4036);
    for refused in [
        new(HashAlgorithm::Sha1, None, false, UUID_TEXT, 1000),
        new(hash, Some(0), false, UUID_TEXT, 1000),
        new(hash, Some(4035), false, UUID_TEXT, 1000),
        new(hash, Some(8), true, UUID_TEXT, 1000),
        new(hash, None, false, &"a".repeat(40), 1000),
        new(hash, None, false, "a\nb", 1000),
        new(hash, None, false, UUID_TEXT, 0),
        new(hash, None, false, UUID_TEXT, u32::MAX),
    ] {
        assert!(matches!(refused, Err(Error::InvalidOption(_))), "{refused:?}");
    }
    let long = Luks1Header::new(CipherSpec::AesCbcPlain64, hash, &key, None, false, UUID_TEXT, 1000);
    assert!(matches!(long, Err(Error::KeyLength { len: 64 })));
}
