//! Header contents of other programs that the library doesn't need: a volume opens all the same, and rewriting the
//! header keeps every byte of them.

use std::fs;

use crate::common::device::reopen;
use crate::common::header;
use crate::common::{cryptsetup, run, run_any, text};
use atrest::key::{HashAlgorithm, Kdf};
use atrest::volume::Priority;
use atrest::volume::{Header, KeyslotOptions, ProtectorId};
use atrest::{Credential, Error, FileDevice, OpenOptions, Protector, Result, Volume};
use serde_json::json;

const PBKDF2: [&str; 4] = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
const CHEAP: Kdf = Kdf::Pbkdf2 { hash: HashAlgorithm::Sha256, iterations: 1000 };

/// A volume of cryptsetup's in a folder.
struct Image {
    cryptsetup: String,
    folder: tempfile::TempDir,
    passphrase: &'static [u8],
}

impl Image {
    fn new(passphrase: &'static [u8], how: &[&str]) -> Option<Self> {
        let image = Image { cryptsetup: cryptsetup()?, folder: tempfile::tempdir().unwrap(), passphrase };
        fs::write(image.path("with"), passphrase).unwrap();
        fs::File::create(image.path("image")).unwrap().set_len(20 << 20).unwrap();
        let (with, path) = (image.path("with"), image.path("image"));
        run(&image.cryptsetup, &[&["luksFormat", "-q", "--key-file", &with], how, &[&path]].concat());
        Some(image)
    }

    fn path(&self, name: &str) -> String {
        text(&self.folder.path().join(name)).to_owned()
    }

    fn open_with(&self, credential: Credential<'_>) -> Result<Volume<FileDevice>> {
        Volume::open(reopen(|| FileDevice::open(self.path("image"))).unwrap(), credential, &OpenOptions::new())
    }

    fn open(&self) -> Result<Volume<FileDevice>> {
        self.open_with(Credential::Passphrase(self.passphrase))
    }

    fn cryptsetup_opens(&self) -> bool {
        let (with, path) = (self.path("with"), self.path("image"));
        run_any(&self.cryptsetup, &["open", "--test-passphrase", "--key-file", &with, &path]).status.success()
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.path("image")).unwrap()
    }

    fn write(&self, bytes: &[u8]) {
        fs::write(self.path("image"), bytes).unwrap();
    }
}

#[test]
fn an_empty_passphrase_opens_what_others_made_and_makes_nothing() {
    for how in [&["--type", "luks2"][..], &["--type", "luks1"]] {
        let how = if how[1] == "luks2" { [how, &PBKDF2].concat() } else { [how, &PBKDF2[2..]].concat() };
        let Some(image) = Image::new(b"", &how) else { return };
        assert!(image.cryptsetup_opens());
        drop(image.open_with(Credential::KeyFile(image.path("with").as_ref())).unwrap());
        assert!(matches!(image.open_with(Credential::Passphrase(b"x")), Err(Error::WrongPassphrase)));
        let volume = image.open().unwrap();
        let cheap = KeyslotOptions::new().kdf(CHEAP);
        let with = image.path("with");
        for protector in [Protector::Passphrase(b""), Protector::KeyFile(with.as_ref())] {
            for made in [
                volume.add_protector(protector, &cheap).map(drop),
                volume.change_keyslot(0, protector, &cheap).map(drop),
            ] {
                assert!(matches!(&made, Err(Error::InvalidOption(text)) if text.contains("0 bytes")), "{made:?}");
            }
        }
        // An empty passphrase becomes a real one.
        volume.change_keyslot(0, Protector::Passphrase(b"not empty"), &cheap).unwrap();
        drop(volume);
        assert!(image.open().is_err());
        image.open_with(Credential::Passphrase(b"not empty")).unwrap();
    }
}

#[test]
fn names_of_hashes_are_taken_as_cryptsetup_takes_them() {
    for typed in ["SHA512", "Sha256", "sha-256", "sha2-256", "SHA2-512", "SHA-1"] {
        for version in ["luks2", "luks1"] {
            let kdf = if version == "luks2" { &PBKDF2[..] } else { &PBKDF2[2..] };
            let how = [&["--type", version, "--hash", typed], kdf].concat();
            let Some(image) = Image::new(b"a passphrase", &how) else { return };
            assert!(image.cryptsetup_opens());
            let before = image.bytes();
            let volume = image.open().unwrap_or_else(|e| panic!("{version} {typed}: {e}"));
            if version == "luks2" {
                assert_eq!(header::json(&before, 0)["digests"]["0"]["hash"], typed);
                Header::load(volume.device()).unwrap().set_label("new", "").unwrap();
                assert_eq!(header::json(&image.bytes(), 0), header::json(&before, 0));
            } else if typed != "SHA-1" {
                let hash = if typed.contains("512") { HashAlgorithm::Sha512 } else { HashAlgorithm::Sha256 };
                let options = KeyslotOptions::new().kdf(Kdf::Pbkdf2 { hash, iterations: 1000 });
                volume.add_protector(Protector::Passphrase(b"second"), &options).unwrap();
                assert_eq!(image.bytes()[..208], before[..208], "{typed}");
            }
            // It holds a lock on its file, for which cryptsetup waits.
            drop(volume);
            assert!(image.cryptsetup_opens());
        }
    }
}

/// QEMU writes the hash that libvirt's `<ivgen name='plain64' hash='sha256'/>` names, and ignores it, as dm-crypt does.
#[test]
fn a_hash_behind_plain64_means_nothing() {
    if cryptsetup().is_none() || run_any("qemu-img", &["--version"]).status.code() != Some(0) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (path, secret) = (folder.path().join("image"), folder.path().join("with"));
    fs::write(&secret, "pw").unwrap();
    let object = format!("secret,id=s,file={}", text(&secret));
    let options = "key-secret=s,cipher-mode=xts,ivgen-alg=plain64,ivgen-hash-alg=sha256,iter-time=10";
    run("qemu-img", &["create", "-f", "luks", "--object", &object, "-o", options, text(&path), "4M"]);
    let before = fs::read(&path).unwrap();
    assert!(before[40..72].starts_with(b"xts-plain64:sha256\0"));
    // The same data under the mode without a hash.
    let mut without = before.clone();
    without[51..58].fill(0);
    let plain = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let device = reopen(|| FileDevice::open(&path)).unwrap();
        let volume = Volume::open(device, Credential::Passphrase(b"pw"), &OpenOptions::new()).unwrap();
        let mut data = vec![0; 4096];
        volume.read_at(0, &mut data).unwrap();
        (data, volume)
    };
    let (wanted, _) = plain(&without);
    let (data, volume) = plain(&before);
    assert_eq!(data, wanted);
    let cheap = KeyslotOptions::new().kdf(CHEAP);
    volume.add_protector(Protector::Passphrase(b"second"), &cheap).unwrap();
    assert_eq!(fs::read(&path).unwrap()[..208], before[..208]);
}

#[test]
fn labels_are_bytes() {
    let how = [&["--type", "luks2", "--label", "caf\u{e9}"][..], &PBKDF2].concat();
    let Some(image) = Image::new(b"a passphrase", &how) else { return };
    let mut bytes = image.bytes();
    for which in 0..2 {
        header::edit_copy(&mut bytes, which, |copy| {
            copy[24..72].fill(0);
            copy[24..28].copy_from_slice(b"caf\xe9");
            copy[208..256].fill(b'x');
        });
    }
    image.write(&bytes);
    assert!(image.cryptsetup_opens());
    let volume = image.open().unwrap();
    volume.header().set_priority(0, Priority::Prefer).unwrap();
    let after = image.bytes();
    assert_ne!(header::seqid(&after, 0), header::seqid(&bytes, 0));
    for which in 0..2 {
        let (old, new) = (header::copy(&bytes, which), header::copy(&after, which));
        assert_eq!((&new[24..72], &new[208..256]), (&old[24..72], &old[208..256]));
    }
    let header = volume.header();
    assert_eq!((header.label_bytes(), header.subsystem_bytes()), (&b"caf\xe9"[..], &[b'x'; 47][..]));
    assert_eq!(header.label(), "caf\u{fffd}");
}

#[test]
fn requirements_that_ask_for_nothing_are_none() {
    let how = [&["--type", "luks2"][..], &PBKDF2].concat();
    let Some(image) = Image::new(b"a passphrase", &how) else { return };
    let mut bytes = image.bytes();
    header::edit_json(&mut bytes, |json| json["config"]["requirements"] = json!({}));
    image.write(&bytes);
    assert!(image.cryptsetup_opens());
    let volume = image.open().unwrap();
    let id = volume.add_protector(Protector::Passphrase(b"second"), &KeyslotOptions::new().kdf(CHEAP)).unwrap();
    assert_eq!(id, ProtectorId::Keyslot(1));
    assert_eq!(header::json(&image.bytes(), 0)["config"]["requirements"], json!({}));
}

/// The content of a token belongs to its program. cryptsetup takes each of these, and returns it.
#[test]
fn tokens_of_others_are_carried_byte_for_byte() {
    let tokens: [&[u8]; 7] = [
        b"{\"type\":\"x\",\"keyslots\":[\"0\"],\"name\":\"caf\xe9\"}",
        br#"{"type":"x","keyslots":["0"],"n":NaN}"#,
        br#"{"type":"x","keyslots":["0"],"n":1e400}"#,
        br#"{"type":"x","keyslots":["0"],"s":"a\u0000b"}"#,
        br#"{"type":"x","keyslots":["0","0"]}"#,
        br#"{"type":"x","keyslots":["0"],"n":0.1234567890123456789012345}"#,
        br#"{"type":"x","keyslots":["0"],"mac":{"a":-Infinity,"kdf":[[],{"type":1}]}}"#,
    ];
    let how = [&["--type", "luks2"][..], &PBKDF2].concat();
    let Some(image) = Image::new(b"a passphrase", &how) else { return };
    let (file, path) = (image.path("token"), image.path("image"));
    for (id, token) in tokens.iter().enumerate() {
        fs::write(&file, token).unwrap();
        run(&image.cryptsetup, &["token", "import", "--token-id", &id.to_string(), "--json-file", &file, &path]);
    }
    let exported = |id: usize| {
        let _ = fs::remove_file(&file);
        run(&image.cryptsetup, &["token", "export", "--token-id", &id.to_string(), "--json-file", &file, &path]);
        fs::read(&file).unwrap()
    };
    let before: Vec<Vec<u8>> = (0..tokens.len()).map(exported).collect();
    let area = |image: &[u8], which| {
        let area = &header::copy(image, which)[header::JSON..];
        area[..area.iter().position(|&byte| byte == 0).unwrap()].to_vec()
    };
    let old = area(&image.bytes(), 0);

    let volume = image.open().unwrap();
    volume.header().set_label("new", "").unwrap();
    // The metadata was not changed, so all its bytes are the same.
    assert_eq!([area(&image.bytes(), 0), area(&image.bytes(), 1)], [old.clone(), old]);
    let cheap = KeyslotOptions::new().kdf(CHEAP);
    volume.add_protector(Protector::Passphrase(b"second"), &cheap).unwrap();
    volume.header().set_priority(1, Priority::Prefer).unwrap();
    volume.header().remove_protector(ProtectorId::Keyslot(1)).unwrap();
    drop(volume);
    assert_eq!((0..tokens.len()).map(exported).collect::<Vec<_>>(), before);
    assert!(image.cryptsetup_opens());

    // Objects bound to a removed keyslot are unbound from it, and from it alone.
    let volume = image.open().unwrap();
    let id = volume.change_keyslot(0, Protector::Passphrase(b"third"), &cheap).unwrap();
    drop(volume);
    assert_eq!(id, 1);
    for (id, token) in before.iter().enumerate() {
        let unbound = String::from_utf8_lossy(token).replace("[\"0\"]", "[]").replace("[\"0\",\"0\"]", "[]");
        assert_eq!(String::from_utf8_lossy(&exported(id)), unbound);
    }
}

#[test]
fn a_keyslot_of_an_unknown_kdf_keeps_nobody_from_the_others() {
    let how = [&["--type", "luks2"][..], &PBKDF2].concat();
    let Some(image) = Image::new(b"a passphrase", &how) else { return };
    let volume = image.open().unwrap();
    volume.add_protector(Protector::Passphrase(b"second"), &KeyslotOptions::new().kdf(CHEAP)).unwrap();
    drop(volume);
    let mut bytes = image.bytes();
    header::edit_json(&mut bytes, |json| {
        json["keyslots"]["0"]["kdf"] = json!({"type": "balloon", "space": 7, "note": null});
    });
    image.write(&bytes);
    let volume = image.open_with(Credential::Passphrase(b"second")).unwrap();
    assert_eq!(volume.header().keyslots()[0].kdf, "balloon");
    volume.header().set_priority(1, Priority::Prefer).unwrap();
    drop(volume);
    let kdf = header::json(&image.bytes(), 0)["keyslots"]["0"]["kdf"].clone();
    assert_eq!(kdf, json!({"type": "balloon", "space": 7, "note": null}));
    // It may belong to the unknown one; this can't be known.
    let refused = image.open_with(Credential::Passphrase(b"a passphrase")).unwrap_err().to_string();
    assert!(refused.contains("keyslot 0 has the key derivation \"balloon\""), "{refused}");
}

#[test]
fn a_backup_of_a_header_proves_a_passphrase_alone() {
    for version in ["luks2", "luks1"] {
        let kdf = if version == "luks2" { &PBKDF2[..] } else { &PBKDF2[2..] };
        let Some(image) = Image::new(b"a passphrase", &[&["--type", version], kdf].concat()) else { return };
        let (path, backup) = (image.path("image"), image.path("backup"));
        run(&image.cryptsetup, &["luksHeaderBackup", "--header-backup-file", &backup, &path]);
        // Only the backup is left.
        let fingerprint = image.open().unwrap().fingerprint().unwrap();
        fs::remove_file(&path).unwrap();
        let before = fs::read(&backup).unwrap();
        let device = reopen(|| FileDevice::open_read_only(&backup)).unwrap();
        let header = Header::load(&device).unwrap();
        let options = OpenOptions::new();
        let dek = header.unlock(Credential::Passphrase(b"a passphrase"), &options).unwrap();
        assert_eq!(dek.fingerprint().unwrap(), fingerprint, "{version}");
        header.unlock(Credential::Dek(&dek), &options.clone().expect(fingerprint)).unwrap();
        let wrong = header.unlock(Credential::Passphrase(b"another"), &options);
        assert!(matches!(wrong, Err(Error::WrongPassphrase)), "{version}: {wrong:?}");
        let bound = header.unlock(Credential::Passphrase(b"a passphrase"), &options.context(b"disk-17"));
        assert!(matches!(bound, Err(Error::ContextMismatch)), "{version}: {bound:?}");
        assert!(fs::read(&backup).unwrap() == before, "{version}");
    }
}

#[test]
fn a_token_in_latin_1_goes_from_header_to_header() {
    let Some(image) = Image::new(b"a passphrase", &PBKDF2) else { return };
    let token = b"{\"type\":\"x\",\"keyslots\":[\"0\"],\"label\":\"caf\xe9\"}";
    let mut device = reopen(|| FileDevice::open(image.path("image"))).unwrap();
    let id = Header::load(&device).unwrap().import_token(token).unwrap();
    drop(device);
    assert!(image.bytes().windows(token.len()).any(|bytes| bytes == token));
    assert!(image.cryptsetup_opens());
    device = reopen(|| FileDevice::open(image.path("image"))).unwrap();
    let mut header = Header::load(&device).unwrap();
    let info = header.tokens().into_iter().find(|token| token.id == id).unwrap();
    assert_eq!(info.json_bytes, token);
    assert!(info.json.contains("caf\u{fffd}"));
    header.remove_protector(ProtectorId::Token(id)).unwrap();
    assert!(!image.bytes().windows(token.len()).any(|bytes| bytes == token));
    assert_eq!(header.import_token(&info.json_bytes).unwrap(), id);
    assert!(image.bytes().windows(token.len()).any(|bytes| bytes == token));
}
