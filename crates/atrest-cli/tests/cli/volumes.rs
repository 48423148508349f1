//! Volumes: made, encrypted, decrypted, compared, and their ways in.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

use crate::common::{CHEAP, Place, by_peer, noise, peer, python};

#[test]
fn an_image_is_encrypted_compared_and_decrypted() {
    let place = Place::with_vault();
    // No whole number of sectors.
    let plain = place.image("plain.img", 3 * 1024 * 1024 + 1000);
    let made = place.json("encrypt", &["encrypt", "plain.img", "a.luks", "--verify"]);
    assert_eq!((&made["bytes"], &made["verified"]), (&plain.len().into(), &true.into()));
    assert_eq!(std::fs::metadata(place.path("a.luks")).unwrap().permissions().mode() & 0o777, 0o600);
    place.json("verify", &["verify", "a.luks", "--against", "plain.img"]);
    let decrypted = place.json("decrypt", &["decrypt", "a.luks", "b.img"]);
    assert_eq!(decrypted["bytes"], plain.len().next_multiple_of(512));
    let read = place.read("b.img");
    assert_eq!(read[..plain.len()], plain);
    assert!(read[plain.len()..].iter().all(|byte| *byte == 0), "the rest of the sector is zeros");
    let piped = place.run(&["decrypt", "a.luks", "-"]);
    assert_eq!((piped.status, &piped.stdout), (0, &read));
    assert!(!place.read("a.luks").windows(64).any(|window| window == &plain[..64]));

    // The first of two differences is named, wherever threads found one first.
    let mut other = plain;
    other[2_500_001] ^= 1;
    other[1_000_001] ^= 1;
    place.write("other.img", &other);
    place.run(&["verify", "a.luks", "--against", "other.img"]).failed(1, "from byte 1000001 on");
    place.image("larger.img", 4 << 20);
    place.run(&["verify", "a.luks", "--against", "larger.img"]).failed(1, "bytes of data");
}

#[test]
fn a_sparse_image_stays_sparse() {
    let place = Place::with_vault();
    let image = File::create(place.path("plain.img")).unwrap();
    image.set_len(64 << 20).unwrap();
    image.write_all_at(&noise(100_000), 5_000_000).unwrap();
    image.write_all_at(b"end", (64 << 20) - 3).unwrap();
    let made = place.json("encrypt", &["encrypt", "plain.img", "a.luks", "--sparse", "--verify"]);
    assert!(made["copied"].as_u64().unwrap() < 1 << 20, "{made}");
    let blocks = |name: &str| std::fs::metadata(place.path(name)).unwrap().blocks() * 512;
    assert!(blocks("a.luks") < 24 << 20, "{}", blocks("a.luks"));
    place.ok(&["decrypt", "a.luks", "b.img", "--sparse"]);
    assert_eq!(place.read("b.img"), place.read("plain.img"));
    assert!(blocks("b.img") < 4 << 20, "{}", blocks("b.img"));
}

#[test]
fn a_volume_is_formatted_on_a_new_file_and_asks_before_it_destroys_one() {
    let place = Place::with_vault();
    let args = ["format", "new.img", "--size", "4M", "--label", "data", "--sector-size", "4096"];
    let made = place.json("format", &args);
    assert_eq!((&made["size"], &made["sector_size"]), (&(4 << 20).into(), &4096.into()));
    place.run(&args).failed(8, "there already");
    let asked = place.run(&["format", "new.img"]);
    asked.failed(8, "what it holds is lost");
    let uuid = made["uuid"].as_str().unwrap();
    assert!(asked.stderr.contains(uuid) && asked.stderr.contains("LUKS2") && asked.stderr.contains("data"));
    assert_eq!(place.json("info", &["info", "new.img"])["uuid"], uuid, "nothing was done");
    let again = place.json("format", &["format", "new.img", "--yes"]);
    assert_ne!(again["uuid"], uuid);
    place.run(&["format", "none.img"]).failed(3, "none.img");
}

#[test]
fn the_fingerprint_and_the_context_tell_a_volume_from_another() {
    let place = Place::with_vault();
    place.image("plain.img", 4096);
    let made = place.json("encrypt", &["encrypt", "plain.img", "a.luks", "--context", "disk-1"]);
    let other = place.json("encrypt", &["encrypt", "plain.img", "b.luks"]);
    let fingerprint = made["volume"]["fingerprint"].as_str().unwrap();
    let info = place.json("info", &["info", "a.luks", "--unlock", "--fingerprint", fingerprint, "--context", "disk-1"]);
    assert_eq!(info["unlocked"]["fingerprint"], fingerprint);
    let other = other["volume"]["fingerprint"].as_str().unwrap();
    place.run(&["info", "a.luks", "--unlock", "--fingerprint", other]).failed(8, "data key is not the expected one");
    place.run(&["info", "a.luks", "--unlock", "--context", "disk-2"]).failed(8, "another context");
    place.run(&["info", "a.luks", "--unlock", "--expect-key", "other"]).failed(8, "is expected under the key");
    place.run(&["info", "a.luks", "--unlock", "--fingerprint", "12"]).failed(2, "64 hexadecimal digits");
}

#[test]
fn ways_in_come_change_and_go() {
    let place = Place::with_vault();
    place.encrypted("a.luks", 4096);
    place.write("one", "first");
    place.write("two", "second");
    let added =
        place.json("protector add", &[&["protector", "add", "a.luks", "--new-key-file", "one"], &CHEAP[..]].concat());
    assert_eq!(added["added"], "keyslot:0");
    let by = |file: &str| place.run(&["info", "a.luks", "--unlock", "--key-file", file]).status;
    assert_eq!([by("one"), by("two")], [0, 4]);
    let change = ["protector", "change", "a.luks", "keyslot:0", "--new-key-file", "two"];
    let changed = place.json("protector change", &[&change, &CHEAP[..]].concat());
    assert_eq!([by("one"), by("two")], [4, 0]);
    let id = changed["added"].as_str().unwrap().to_owned();

    place.run(&["protector", "rm", "a.luks", "keyslot:9", "-y"]).failed(3, "keyslot:9");
    place.run(&["protector", "rm", "a.luks", "9", "-y"]).failed(2, "keyslot:NUMBER");
    place.run(&["protector", "rm", "a.luks", "token:0"]).failed(8, "token:0");
    place.json("protector rm", &["protector", "rm", "a.luks", "token:0", "--yes"]);
    place.run(&["info", "a.luks", "--unlock"]).failed(4, "a.luks");
    place.run(&["protector", "rm", "a.luks", &id, "-y"]).failed(8, "the last way into the volume");
    // The vault comes back by the passphrase.
    let vault = ["--new-vault", "keys.vault", "--new-vault-key-file", "root.key", "--new-key", "disks"];
    place.ok(&[&["protector", "add", "a.luks", "--key-file", "two"], &vault[..]].concat());
    let ways = place.json("protector ls", &["protector", "ls", "a.luks"]);
    assert!(ways["tokens"][0]["key"].as_str().unwrap().ends_with("/keys/disks/1"));
    place.ok(&["info", "a.luks", "--unlock"]);
}

#[test]
fn a_header_is_copied_erased_brought_back_and_repaired() {
    let place = Place::with_vault();
    let plain = place.encrypted("a.luks", 10_000);
    place.encrypted("b.luks", 10_000);
    place.json("header backup", &["header", "backup", "a.luks", "a.header"]);
    place.run(&["header", "erase", "a.luks"]).failed(8, "All data of a.luks is lost");
    place.json("header erase", &["header", "erase", "a.luks", "--yes"]);
    place.run(&["decrypt", "a.luks", "out.img"]).failed(4, "a.luks");
    place.run(&["header", "restore", "b.luks", "a.header", "-y"]).failed(8, "--force");
    place.ok(&["info", "b.luks", "--unlock"]);
    place.run(&["header", "restore", "a.luks", "plain.img", "-y"]).failed(6, "plain.img");
    place.json("header restore", &["header", "restore", "a.luks", "a.header", "--yes"]);
    place.ok(&["decrypt", "a.luks", "out.img"]);
    assert_eq!(place.read("out.img")[..plain.len()], plain);

    // The second copy of the header is damaged.
    let file = File::options().write(true).open(place.path("a.luks")).unwrap();
    file.write_all_at(&[0xff; 100], 0x4000 + 500).unwrap();
    let damaged = place.run(&["check", "a.luks", "--json"]);
    damaged.failed(6, "--repair");
    place.ok(&["check", "a.luks", "--repair"]);
    let sound = place.json("check", &["check", "a.luks", "--unlock"]);
    assert_eq!((&sound["sound"], &sound["proven"], &sound["repaired"]), (&true.into(), &true.into(), &false.into()));
    // Both are.
    for offset in [0, 0x4000] {
        file.write_all_at(&[0xff; 100], offset + 500).unwrap();
    }
    place.run(&["check", "a.luks"]).failed(6, "a.luks");
    place.ok(&["header", "restore", "a.luks", "a.header", "--force", "-y"]);
    place.ok(&["check", "a.luks", "--unlock"]);
}

#[test]
fn a_detached_header_is_made_and_used() {
    let place = Place::with_vault();
    let plain = place.image("plain.img", 8192);
    place.ok(&["encrypt", "plain.img", "a.data", "--header", "a.header", "--verify"]);
    assert_eq!(std::fs::metadata(place.path("a.data")).unwrap().len(), 8192);
    // A header that is there is not lost without a question.
    let (before, again) = (place.read("a.header"), ["encrypt", "plain.img", "b.data", "--header", "a.header"]);
    place.run(&again).failed(8, "a.header will hold the header; what is in it is lost: a volume of LUKS2");
    assert!(place.read("a.header") == before && !place.path("b.data").exists());
    place.run(&["info", "a.data"]).failed(6, "a.data");
    place.ok(&["info", "a.data", "--header", "a.header", "--unlock"]);
    place.ok(&["check", "a.data", "--header", "a.header", "--unlock"]);
    place.ok(&["decrypt", "a.data", "b.img", "--header", "a.header"]);
    assert_eq!(place.read("b.img"), plain);
}

#[test]
fn a_volume_grows_and_shrinks() {
    let place = Place::with_vault();
    place.encrypted("a.luks", 1 << 20);
    let larger = place.json("resize", &["resize", "a.luks", "--size", "3M"]);
    assert_eq!((&larger["size"], &larger["device_size"]), (&(3 << 20).into(), &(19 << 20).into()));
    place.run(&["resize", "a.luks", "--size", "1M"]).failed(8, "the last 2.0 MiB are lost");
    let smaller = place.json("resize", &["resize", "a.luks", "--size", "1M", "-y"]);
    assert_eq!((&smaller["size"], &smaller["device_size"]), (&(1 << 20).into(), &(17 << 20).into()));
    place.ok(&["verify", "a.luks", "--against", "plain.img"]);
    place.run(&["resize", "a.luks", "--size", "100"]).failed(8, "");
    place.run(&["resize", "a.luks", "--size", "100", "-y"]).failed(2, "multiple of");
}

#[test]
fn containers_are_refused_by_name_or_read_through_qemu() {
    let place = Place::with_vault();
    for (name, magic) in [("qcow2", &b"QFI\xfb"[..]), ("VMDK", b"KDMV"), ("VHDX", b"vhdxfile"), ("VHD", b"conectix")] {
        let mut bytes = magic.to_vec();
        bytes.resize(4096, 0);
        place.write("image", bytes);
        let refused = place.run(&["encrypt", "image", "a.luks"]);
        refused.failed(8, "qemu-img convert -O raw image OUT");
        assert!(refused.stderr.contains(&format!("a {name} image")), "{}", refused.stderr);
    }
    let mut fixed = vec![0; 4096];
    fixed.extend_from_slice(b"conectix");
    fixed.resize(4096 + 512, 0);
    place.write("fixed.vhd", fixed);
    place.run(&["encrypt", "fixed.vhd", "a.luks"]).failed(8, "a VHD image");
    place.ok(&["encrypt", "image", "raw.luks", "--src-format", "raw"]);

    if !peer("qemu-img") {
        return;
    }
    let plain = place.image("plain.img", 3 << 20);
    for format in ["qcow2", "vmdk", "vpc", "vhdx"] {
        by_peer(&place, "qemu-img", &["convert", "-O", format, "plain.img", "image"]);
        let made = place.json("encrypt", &["encrypt", "image", "a.luks", "--src-format", format, "--verify", "-y"]);
        // A VHD's size is a whole number of cylinders.
        assert!(made["bytes"].as_u64().unwrap() >= plain.len() as u64, "{format}");
        place.ok(&["verify", "a.luks", "--against", "plain.img"]);
    }
    place.run(&["encrypt", "plain.img", "b.luks", "--src-format", "qcow2"]).failed(8, "did not open it as qcow2");
    assert!(!place.files().iter().any(|name| name.starts_with("b.luks")));
}

#[test]
fn data_without_a_header_is_decrypted() {
    if !python("cryptography") {
        return;
    }
    let place = Place::new();
    let plain = noise(512);
    place.write("plain", &plain);
    place.write("key", noise(64));
    // Sectors 0 and 1 as `cryptsetup open --type plain --key-size 512` numbers them, by OpenSSL.
    let script = "
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
key, data, out = open('key', 'rb').read(), open('plain', 'rb').read(), b''
for n in range(2):
    e = Cipher(algorithms.AES(key), modes.XTS(n.to_bytes(16, 'little'))).encryptor()
    out += e.update(data) + e.finalize()
open('disk', 'wb').write(out)";
    by_peer(&place, "python3", &["-c", script]);
    place.ok(&["decrypt", "disk", "out.img", "--plain", "--dek-file", "key"]);
    assert_eq!(place.read("out.img"), [&plain[..], &plain].concat());
    place.ok(&["decrypt", "disk", "-", "--plain", "--key-file", "key", "--key-size", "512"]);
    place
        .run(&["decrypt", "disk", "x.img", "--plain", "--dek-file", "key", "--cipher", "rot13"])
        .failed(2, "no cipher");
    place.run(&["decrypt", "disk", "x.img", "--cipher", "aes-xts-plain64"]).failed(2, "--plain");
}

#[cfg(feature = "bitlocker")]
#[test]
fn a_bitlocker_volume_is_shown_and_decrypted() {
    use atrest::volume::{BitLockerOptions, RecoveryPassword};
    use atrest::{FileDevice, Protector, Volume};

    let place = Place::new();
    let device = FileDevice::create(place.path("win.img"), 64 << 20).unwrap();
    let password = RecoveryPassword::generate().unwrap();
    let protector = Protector::RecoveryPassword(password.expose());
    let volume = Volume::format_bitlocker(device, protector, &BitLockerOptions::new()).unwrap();
    volume.write_at(1 << 20, &noise(8192)).unwrap();
    volume.sync().unwrap();
    drop(volume);
    place.write("recovery", password.expose());
    let info = place.json("info", &["info", "win.img"]);
    assert_eq!(info["format"], "BitLocker");
    place.ok(&["decrypt", "win.img", "out.img", "--recovery-password-from", "file:recovery"]);
    assert_eq!(place.read("out.img")[1 << 20..][..8192], noise(8192));
    place.write("other", RecoveryPassword::generate().unwrap().expose());
    place.run(&["decrypt", "win.img", "no.img", "--recovery-password-from", "file:other"]).failed(4, "win.img");
    place.run(&["dump", "win.img"]).failed(2, "`atrest info` shows it");
}

#[cfg(feature = "bitlocker")]
#[test]
fn a_bitlocker_volume_gets_a_startup_key_and_is_suspended_and_resumed() {
    use atrest::volume::{BitLockerOptions, RecoveryPassword};
    use atrest::{FileDevice, Protector, Volume};

    let place = Place::new();
    let device = FileDevice::create(place.path("win.img"), 4 << 20).unwrap();
    let passphrase = Protector::Passphrase(b"secret");
    drop(Volume::format_bitlocker(device, passphrase, &BitLockerOptions::new()).unwrap());
    place.write("word", "secret");
    fn with<'a>(args: &[&'a str]) -> Vec<&'a str> {
        [args, &["--passphrase-from", "file:word"]].concat()
    }
    let kinds = |answer: &serde_json::Value| -> Vec<String> {
        let all = answer["keyslots"].as_array().unwrap();
        all.iter().map(|keyslot| keyslot["kind"].as_str().unwrap().to_owned()).collect()
    };
    let added = place.json("protector add", &with(&["protector", "add", "win.img", "--new-startup-key", "key.bek"]));
    assert_eq!(
        (added["added"].as_str(), kinds(&added)),
        (Some("keyslot:1"), vec!["password".into(), "startup key".into()])
    );
    // A file that is there stays, and the volume as it is.
    place.run(&with(&["protector", "add", "win.img", "--new-startup-key", "key.bek"])).failed(8, "key.bek");
    place.run(&with(&["protector", "add", "win.img", "--new-startup-key", "no/key.bek"])).failed(3, "no");
    let both = with(&["protector", "add", "win.img", "--new-startup-key", "b.bek", "--new-key-file", "word"]);
    place.run(&both).failed(2, "one new way");
    assert!(!place.path("b.bek").exists());
    place.write("recovery", RecoveryPassword::generate().unwrap().expose());
    place.ok(&with(&["protector", "add", "win.img", "--new-recovery-password-from", "file:recovery"]));
    std::fs::create_dir(place.path("stick")).unwrap();
    place.ok(&with(&["protector", "add", "win.img", "--new-startup-key", "stick"]));
    let name = std::fs::read_dir(place.path("stick")).unwrap().next().unwrap().unwrap().file_name();
    let name = format!("stick/{}", name.to_str().unwrap());
    assert!(name.ends_with(".BEK") && name.len() == 46, "{name}");
    for by in [["--startup-key", "key.bek"], ["--startup-key", &name], ["--recovery-password-from", "file:recovery"]] {
        place.ok(&[&["check", "win.img", "--unlock"], &by[..]].concat());
    }

    place.run(&["check", "win.img", "--unlock", "--clear-key"]).failed(4, "clear key");
    place.run(&with(&["protector", "suspend", "win.img"])).failed(8, "in the clear");
    let suspended = place.json("protector suspend", &with(&["protector", "suspend", "win.img", "--yes"]));
    assert_eq!(suspended["added"], "keyslot:4");
    place.ok(&["check", "win.img", "--unlock", "--clear-key"]);
    let resumed = place.json("protector resume", &["protector", "resume", "win.img", "--clear-key"]);
    assert_eq!(kinds(&resumed), ["password", "startup key", "recovery password", "startup key"]);
    let again = place.run(&with(&["protector", "resume", "win.img"]));
    assert!(again.status == 0 && again.stderr.contains("not suspended"), "{}", again.stderr);

    // One is removed, by what opens the volume.
    let left = place.json("protector rm", &with(&["protector", "rm", "win.img", "keyslot:1", "--yes"]));
    assert_eq!(kinds(&left), ["password", "recovery password", "startup key"]);
    place.run(&["check", "win.img", "--unlock", "--startup-key", "key.bek"]).failed(4, "win.img");
    place.run(&with(&["protector", "rm", "win.img", "keyslot:7", "--yes"])).failed(3, "keyslot:7");
}
