//! Headers of every kind that cryptsetup can make here: none may be refused as invalid.

use std::fs::File;
use std::path::Path;

use crate::common::{cryptsetup, run, text};
use atrest::luks::{BINARY_HEADER, BinaryHeader, Metadata, Position};
use serde_json::{Map, Value, json};

const FAST: [&str; 6] = ["--pbkdf", "argon2id", "--pbkdf-force-iterations", "4", "--pbkdf-memory", "32"];
const PBKDF2: [&str; 4] = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];

/// Reads both copies of a header and checks that they say the same.
fn accept(name: &str, path: &Path) -> Metadata {
    let image = std::fs::read(path).unwrap();
    let read = |position, offset: usize| {
        let block = image[offset..offset + BINARY_HEADER].try_into().unwrap();
        let binary = BinaryHeader::parse(&block, position, offset as u64).unwrap_or_else(|e| panic!("{name}: {e}"));
        let copy = &image[offset..offset + binary.header_size as usize];
        BinaryHeader::verify(copy).unwrap_or_else(|e| panic!("{name}: {e}"));
        let metadata = Metadata::parse(&copy[BINARY_HEADER..], binary.header_size);
        (binary.header_size as usize, metadata.unwrap_or_else(|e| panic!("{name}: {e}")))
    };
    let (size, primary) = read(Position::Primary, 0);
    let (_, secondary) = read(Position::Secondary, size);
    assert_eq!(primary, secondary, "{name}");
    primary
}

/// A folder with a passphrase, and an image in it.
struct Place(tempfile::TempDir, String);

impl Place {
    fn new(cryptsetup: &str, size: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pw"), "a passphrase").unwrap();
        File::create(folder.path().join("image")).unwrap().set_len(size).unwrap();
        Place(folder, cryptsetup.into())
    }

    fn path(&self, name: &str) -> String {
        text(&self.0.path().join(name)).to_owned()
    }

    /// Runs a command on the image with the passphrase.
    fn run(&self, args: &[&str], kdf: &[&str]) {
        let (key, image) = (self.path("pw"), self.path("image"));
        run(&self.1, &[&args[..1], &["-q", "--key-file", &key], kdf, &args[1..], &[&image]].concat());
    }

    fn accept(&self, name: &str) -> Metadata {
        accept(name, &self.0.path().join("image"))
    }
}

#[test]
fn formatted_headers_of_all_kinds_are_accepted() {
    let Some(cryptsetup) = cryptsetup() else { return };
    let format = ["luksFormat", "--type", "luks2"];
    for more in [
        &["--key-size", "256"][..],
        &["--sector-size", "4096"],
        &["--hash", "sha512"],
        &["--hash", "sha1"],
        &["--cipher", "aes-cbc-essiv:sha256", "--key-size", "256"],
        &["--label", "a label", "--subsystem", "a subsystem"],
        &["--key-slot", "31"],
        &["--luks2-metadata-size", "32k"],
        &["--luks2-metadata-size", "4m"],
        &["--luks2-keyslots-size", "4m"],
        &["--offset", "65536"],
        &["--align-payload", "8192"],
    ] {
        for kdf in [&FAST[..], &PBKDF2] {
            let place = Place::new(&cryptsetup, 40 << 20);
            place.run(&[&format[..], more].concat(), kdf);
            assert_eq!(place.accept(&format!("{more:?}")).keyslots().len(), 1);
        }
    }
    let place = Place::new(&cryptsetup, 40 << 20);
    place.run(&["luksFormat", "--type", "luks2", "--header", &place.path("header")], &FAST);
    accept("detached", &place.0.path().join("header"));
}

#[test]
fn headers_that_lived_are_accepted() {
    let Some(cryptsetup) = cryptsetup() else { return };
    let place = Place::new(&cryptsetup, 40 << 20);
    place.run(&["luksFormat", "--type", "luks2"], &FAST);
    let (image, pw) = (place.path("image"), place.path("pw"));
    std::fs::write(place.path("other"), "another one").unwrap();
    let unbound = ["luksAddKey", "-q", "--key-file", &pw, "--unbound", "--key-size", "72"];
    run(&cryptsetup, &[&unbound[..], &PBKDF2, &[&image, &place.path("other")]].concat());
    run(&cryptsetup, &["token", "add", "--key-description", "k", "--key-slot", "0", &image]);
    run(&cryptsetup, &["config", "--key-slot", "1", "--priority", "prefer", &image]);
    let metadata = place.accept("unbound key");
    assert_eq!((metadata.keyslots()[1].key_size, metadata.token_objects().len()), (9, 1));
    run(&cryptsetup, &["luksErase", "-q", &image]);
    // The one that is bound to nothing stays.
    assert_eq!(place.accept("erased").keyslots().len(), 1);

    for key_size in ["256", "512"] {
        let place = Place::new(&cryptsetup, 40 << 20);
        let format = ["luksFormat", "--type", "luks1", "--pbkdf-force-iterations", "1000", "--key-size", key_size];
        place.run(&format, &[]);
        place.run(&["convert", "--type", "luks2"], &[]);
        assert_eq!(place.accept("converted").keyslots()[0].key_size * 8, key_size.parse::<u32>().unwrap());
    }
}

#[test]
fn headers_of_reencryptions_that_were_begun_are_accepted() {
    let Some(cryptsetup) = cryptsetup() else { return };
    for resilience in ["checksum", "journal", "none"] {
        let place = Place::new(&cryptsetup, 40 << 20);
        place.run(&["luksFormat", "--type", "luks2"], &FAST);
        place.run(&["reencrypt", "--init-only", "--key-slot", "0", "--resilience", resilience], &FAST);
        let reencryption = place.accept(resilience).reencryption().unwrap();
        assert_eq!(reencryption.resilience.as_deref(), Some(resilience));
        assert_eq!((reencryption.mode.as_deref(), reencryption.done), (Some("reencrypt"), Some(0)));
    }
    let place = Place::new(&cryptsetup, 40 << 20);
    place.run(&["reencrypt", "--encrypt", "--type", "luks2", "--init-only", "--reduce-device-size", "32M"], &FAST);
    let reencryption = place.accept("encryption").reencryption().unwrap();
    assert_eq!((reencryption.mode.as_deref(), reencryption.direction.as_deref()), (Some("encrypt"), Some("backward")));
    assert_eq!(reencryption.resilience.as_deref(), Some("datashift"));

    let place = Place::new(&cryptsetup, 60 << 20);
    place.run(&["luksFormat", "--type", "luks2"], &FAST);
    let decrypt = ["reencrypt", "--decrypt", "--init-only", "--force-offline-reencrypt", "--header"];
    place.run(&[&decrypt[..], &[&place.path("header")]].concat(), &[]);
    let reencryption = accept("decryption", &place.0.path().join("header")).reencryption().unwrap();
    assert_eq!((reencryption.mode.as_deref(), reencryption.direction.as_deref()), (Some("decrypt"), Some("forward")));
    assert_eq!(reencryption.requirement.as_deref(), Some("online-reencrypt-v3"));
}

/// A segment: its number, type, offset, size and flag.
type Part = (&'static str, &'static str, &'static str, &'static str, Option<&'static str>);

/// Segments as cryptsetup 2.6.1 left them when it was killed, and the segments that the digest names. While data moves,
/// they lie in any order and leave gaps.
#[test]
fn headers_of_reencryptions_that_were_killed_are_accepted() {
    let encrypting: &[Part] = &[
        ("0", "linear", "624951296", "4194304", None),
        ("1", "linear", "4194304", "507510784", None),
        ("2", "crypt", "515899392", "4194304", Some("in-reencryption")),
        ("3", "crypt", "520093696", "104857600", None),
        ("4", "linear", "0", "620756992", Some("backup-previous")),
        ("5", "crypt", "4194304", "dynamic", Some("backup-final")),
        ("6", "linear", "624951296", "4194304", Some("backup-moved-segment")),
    ];
    let decrypting: &[Part] = &[
        ("0", "crypt", "0", "16777216", None),
        ("1", "linear", "16777216", "67108864", None),
        ("2", "linear", "83886080", "16777216", Some("in-reencryption")),
        ("3", "crypt", "117440512", "dynamic", None),
        ("4", "crypt", "16777216", "dynamic", Some("backup-previous")),
        ("5", "linear", "0", "dynamic", Some("backup-final")),
        ("6", "crypt", "0", "16777216", Some("backup-moved-segment")),
    ];
    for (parts, digested, keyslots_size, done, total) in [
        (encrypting, &["5", "2", "3"][..], "4161536", 104_857_600, Some(620_756_992)),
        (decrypting, &["4", "6", "0", "3"], "16744448", 67_108_864, None),
    ] {
        let mut segments = Map::new();
        for (id, kind, offset, size, flag) in parts {
            let mut segment = json!({"type": kind, "offset": offset, "size": size});
            if *kind == "crypt" {
                segment["iv_tweak"] = json!("0");
                segment["encryption"] = json!("aes-xts-plain64");
                segment["sector_size"] = json!(4096);
            }
            if let Some(flag) = flag {
                segment["flags"] = json!([flag]);
            }
            segments.insert((*id).into(), segment);
        }
        let root = json!({
            "keyslots": {},
            "tokens": {},
            "segments": segments,
            "digests": {"0": {
                "type": "pbkdf2", "keyslots": [], "segments": digested, "hash": "sha256", "iterations": 1000,
                "salt": "QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8=",
                "digest": "Hfqx0zzjVSKsOHod+5Wr7xTL9nkrh8iiXwqYgZIswWs=",
            }},
            "config": {
                "json_size": "12288", "keyslots_size": keyslots_size,
                "requirements": {"mandatory": ["online-reencrypt-v3"]},
            },
        });
        let metadata = parse(&root).unwrap();
        let reencryption = metadata.reencryption().unwrap();
        assert_eq!((reencryption.done, reencryption.total), (Some(done), total));
        assert_eq!(metadata.segments().len(), parts.len());
    }
}

fn parse(root: &Value) -> Result<Metadata, String> {
    let mut area = root.to_string().into_bytes();
    area.resize(0x3000, 0);
    Metadata::parse(&area, 0x4000)
}
