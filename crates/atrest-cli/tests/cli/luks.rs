//! The same files, by `cryptsetup`.

use crate::common::{CHEAP, Place, by_peer, peer};

fn place() -> Option<Place> {
    if !peer("cryptsetup") {
        return None;
    }
    let place = Place::new();
    place.write("one", "first");
    place.write("two", "second");
    Some(place)
}

const FAST: [&str; 4] = ["--pbkdf-force-iterations", "4", "--pbkdf-memory", "32"];

#[test]
fn what_we_make_cryptsetup_opens_and_shows_alike() {
    let Some(place) = place() else { return };
    place.image("plain.img", 1 << 20);
    let pbkdf2 = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
    let forms: [&[&str]; 4] = [
        &CHEAP,
        &[
            "--sector-size",
            "4096",
            "--cipher",
            "aes-128-xts",
            "--label",
            "data",
            CHEAP[0],
            CHEAP[1],
            CHEAP[2],
            CHEAP[3],
        ],
        &pbkdf2,
        &["--luks1", pbkdf2[0], pbkdf2[1], pbkdf2[2], pbkdf2[3]],
    ];
    for form in forms {
        place.ok(&[&["encrypt", "plain.img", "a.luks", "--key-file", "one", "-y"], form].concat());
        by_peer(&place, "cryptsetup", &["open", "--test-passphrase", "--key-file", "one", "a.luks"]);
        let theirs = by_peer(&place, "cryptsetup", &["luksDump", "a.luks"]);
        let ours = place.ok(&["dump", "a.luks"]);
        assert!(ours.starts_with(theirs.trim_end()), "{form:?}:\n{ours}\n{theirs}");
        assert!(ours.contains("Ways in:"));
        place.json("dump", &["dump", "a.luks"]);
        let uuid = by_peer(&place, "cryptsetup", &["luksUUID", "a.luks"]);
        assert_eq!(place.json("info", &["info", "a.luks"])["uuid"], uuid.trim());
    }
}

#[test]
fn what_cryptsetup_makes_we_open_change_and_keep_readable_for_it() {
    let Some(place) = place() else { return };
    place.write("a.luks", vec![0; 20 << 20]);
    let format = ["luksFormat", "-q", "--type", "luks2", "--key-file", "one", "a.luks"];
    by_peer(&place, "cryptsetup", &[&format, &FAST[..]].concat());
    place.ok(&["info", "a.luks", "--unlock", "--key-file", "one"]);
    let add = ["protector", "add", "a.luks", "--key-file", "one", "--new-key-file", "two"];
    place.ok(&[&add, &CHEAP[..]].concat());
    by_peer(&place, "cryptsetup", &["open", "--test-passphrase", "--key-file", "two", "a.luks"]);
    place.ok(&["protector", "rm", "a.luks", "keyslot:0", "-y"]);
    place.run(&["info", "a.luks", "--unlock", "--key-file", "one"]).failed(4, "wrong");
    by_peer(
        &place,
        "cryptsetup",
        &["luksAddKey", "--key-file", "two", FAST[0], FAST[1], FAST[2], FAST[3], "a.luks", "one"],
    );
    place.ok(&["info", "a.luks", "--unlock", "--key-file", "one"]);

    // Backups of either restore in the other.
    place.ok(&["header", "backup", "a.luks", "ours.header"]);
    by_peer(&place, "cryptsetup", &["luksHeaderBackup", "a.luks", "--header-backup-file", "theirs.header"]);
    assert_eq!(place.read("ours.header"), place.read("theirs.header"));
    by_peer(&place, "cryptsetup", &["luksErase", "-q", "a.luks"]);
    place.ok(&["header", "restore", "a.luks", "theirs.header", "-y"]);
    place.ok(&["header", "erase", "a.luks", "-y"]);
    by_peer(&place, "cryptsetup", &["luksHeaderRestore", "-q", "a.luks", "--header-backup-file", "ours.header"]);
    by_peer(&place, "cryptsetup", &["open", "--test-passphrase", "--key-file", "one", "a.luks"]);
}

#[test]
fn data_that_cryptsetup_encrypted_is_decrypted() {
    let Some(place) = place() else { return };
    let plain = place.image("a.luks", 4 << 20);
    let file = std::fs::File::options().write(true).open(place.path("a.luks")).unwrap();
    file.set_len(36 << 20).unwrap();
    let encrypt =
        ["reencrypt", "-q", "--encrypt", "--type", "luks2", "--reduce-device-size", "32M", "--key-file", "one"];
    by_peer(&place, "cryptsetup", &[&encrypt, &FAST[..], &["a.luks"]].concat());
    place.ok(&["decrypt", "a.luks", "b.img", "--key-file", "one"]);
    assert_eq!(place.read("b.img")[..plain.len()], plain);
}

#[test]
fn data_that_we_reencrypted_cryptsetup_decrypts() {
    let Some(place) = place() else { return };
    let plain = place.image("plain.img", 4 << 20);
    place.ok(&[&["encrypt", "plain.img", "a.data", "--header", "a.header", "--key-file", "one"], &CHEAP[..]].concat());
    let anew = ["reencrypt", "a.data", "--header", "a.header", "--key-file", "one", "--cipher", "aes-128-xts", "-y"];
    let done = place.json("reencrypt", &[&anew, &CHEAP[..]].concat());
    assert_eq!(done["bytes"], plain.len());
    place.ok(&["verify", "a.data", "--header", "a.header", "--key-file", "one", "--against", "plain.img"]);
    let decrypt =
        ["reencrypt", "-q", "--decrypt", "--force-offline-reencrypt", "--header", "a.header", "--key-file", "one"];
    by_peer(&place, "cryptsetup", &[&decrypt, &["a.data"][..]].concat());
    assert_eq!(place.read("a.data"), plain);
}

#[test]
fn a_weak_cipher_is_told_of() {
    if !peer("cryptsetup") {
        return;
    }
    let place = Place::new();
    place.write("key", "secret");
    for (cipher, is_weak) in [("aes-cbc-plain64", true), ("aes-xts-plain64", false)] {
        std::fs::File::create(place.path("a.luks")).unwrap().set_len(4 << 20).unwrap();
        let format = ["luksFormat", "-q", "--type", "luks1", "--pbkdf-force-iterations", "1000", "--cipher", cipher];
        by_peer(&place, "cryptsetup", &[&format[..], &["--key-file", "key", "a.luks"]].concat());
        let info = place.json("info", &["info", "a.luks", "--unlock", "--key-file", "key"]);
        assert_eq!(info["unlocked"]["weakness"].is_string(), is_weak, "{info}");
        let ran = place.run(&["decrypt", "a.luks", "a.img", "-y", "--key-file", "key"]);
        assert_eq!((ran.status, ran.stderr.contains("warning: a.luks is encrypted with aes-cbc")), (0, is_weak));
    }
}
