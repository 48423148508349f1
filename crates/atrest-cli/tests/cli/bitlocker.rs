//! BitLocker volumes that the program makes, changes and erases, as other programs see them.

use rustix::process::Signal;

use crate::common::{Place, by_peer, noise, peer, python, stop};
use crate::serving::serve;

/// The bytes of the image, which aren't whole sectors of 4096.
const LEN: usize = 900_000;

/// A volume `win.img` of `plain.img`, with a password in `word`, a recovery password in `recovery` and a startup key in `key.bek`.
fn encrypted(more: &[&str]) -> (Place, Vec<u8>) {
    let place = Place::new();
    let plain = place.image("plain.img", LEN);
    place.write("word", "secret");
    let ways =
        ["--passphrase-from", "file:word", "--new-recovery-password", "recovery", "--new-startup-key", "key.bek"];
    let answer = place
        .json("encrypt", &[&["encrypt", "plain.img", "win.img", "--bitlocker", "--verify"][..], &ways, more].concat());
    assert_eq!(
        (&answer["volume"]["format"], &answer["volume"]["key"]),
        (&"BitLocker".into(), &serde_json::Value::Null)
    );
    (place, plain)
}

fn kinds(place: &Place, image: &str) -> Vec<String> {
    let listed = place.json("protector ls", &["protector", "ls", image]);
    let all = listed["keyslots"].as_array().unwrap();
    all.iter().map(|keyslot| keyslot["kind"].as_str().unwrap().to_owned()).collect()
}

/// Has dissect read a whole volume, and cryptsetup find what opens it.
pub fn judged(place: &Place, image: &str, plain: &[u8], ways: &[(&str, &str, &str)]) {
    let (has_dissect, has_cryptsetup) = (python("dissect.fve"), peer("cryptsetup"));
    for (kind, secret, key_file) in ways {
        if has_dissect {
            let script = "
import sys
from dissect.fve.bde import BDE
volume = BDE(open(sys.argv[1], 'rb'))
kind, secret = sys.argv[2:4]
if kind == 'password': volume.unlock_with_passphrase(open(secret).read().strip())
elif kind == 'recovery': volume.unlock_with_recovery_password(open(secret).read().strip())
else: volume.unlock_with_bek(open(secret, 'rb'))
open('read', 'wb').write(volume.open().read(int(sys.argv[4])))";
            by_peer(place, "python3", &["-c", script, image, kind, secret, &plain.len().to_string()]);
            assert!(place.read("read") == plain, "dissect reads something else by the {kind}");
        }
        if has_cryptsetup {
            by_peer(
                place,
                "cryptsetup",
                &["open", "--type", "bitlk", "--test-passphrase", "--key-file", key_file, image],
            );
        }
    }
}

#[test]
fn an_image_is_encrypted_and_other_programs_read_it() {
    for more in [&["--label", "a disk"][..], &["--cipher", "aes-128-xts", "--sector-size", "4096"]] {
        let (place, plain) = encrypted(more);
        assert_eq!(kinds(&place, "win.img"), ["password", "recovery password", "startup key"]);
        // What a person prints has one line, which cryptsetup would take as it is.
        let recovery = String::from_utf8(place.read("recovery")).unwrap();
        assert_eq!((recovery.len(), recovery.matches('-').count(), recovery.matches('\n').count()), (56, 7, 1));
        place.write("line", recovery.trim());
        let ways = [("password", "word", "word"), ("recovery", "recovery", "line"), ("bek", "key.bek", "key.bek")];
        judged(&place, "win.img", &plain, &ways);
        for way in [
            ["--passphrase-from", "file:word"],
            ["--recovery-password-from", "file:recovery"],
            ["--startup-key", "key.bek"],
        ] {
            place.ok(&[&["decrypt", "win.img", "out.img", "-y"], &way[..]].concat());
            let read = place.read("out.img");
            assert!(read.len() < LEN + (128 << 10) && read[..LEN] == plain, "{way:?}");
            assert!(read[LEN..].iter().all(|byte| *byte == 0), "what follows the image is zeros");
        }
        let info = place.json("info", &["info", "win.img"]);
        assert_eq!(info["label"], if more[0] == "--label" { "a disk" } else { "" });
        // Others of this machine don't read the keys.
        use std::os::unix::fs::PermissionsExt;
        for name in ["recovery", "key.bek", "win.img"] {
            assert_eq!(std::fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        }
        place.run(&["check", "win.img", "--unlock", "--startup-key", "word"]).failed(2, "startup key");
    }
}

#[test]
fn a_volume_is_made_by_each_way_in_alone() {
    let place = Place::new();
    place.write("word", "secret");
    for (i, way) in [
        ["--passphrase-from", "file:word"],
        ["--key-file", "word"],
        ["--new-startup-key", "key.bek"],
        ["--new-recovery-password", "made"],
        ["--new-recovery-password-from", "file:made"],
    ]
    .iter()
    .enumerate()
    {
        let name = format!("{i}.img");
        let made = place.json("format", &[&["format", &name, "--bitlocker", "--size", "2M"], &way[..]].concat());
        assert!((2 << 20..(2 << 20) + (128 << 10)).contains(&made["size"].as_u64().unwrap()), "{made}");
        let kind = ["password", "password", "startup key", "recovery password", "recovery password"][i];
        assert_eq!(kinds(&place, &name), [kind]);
        let text =
            place.ok(&[&["format", &name, "--bitlocker", "-y"], &["--passphrase-from", "file:word"][..]].concat());
        assert!(text.contains("protected by     password"), "{text}");
    }
    // The least that there is.
    place.ok(&["format", "small.img", "--bitlocker", "--size", "1K", "--key-file", "word"]);
    assert_eq!(place.read("small.img").len(), (1 << 20) + 4096);
}

#[test]
fn what_bitlocker_has_not_is_refused_and_leaves_nothing() {
    let place = Place::with_vault();
    place.write("word", "secret");
    let format = ["format", "win.img", "--size", "2M", "--bitlocker"];
    let refused = |more: &[&str], status, said: &str| place.run(&[&format[..], more].concat()).failed(status, said);
    refused(&[], 2, "no place for a vault's key");
    let word = ["--passphrase-from", "file:word"];
    for more in [
        &["--luks1"][..],
        &["--header", "h"],
        &["--context", "c"],
        &["--sparse"],
        &["--data-offset", "1M"],
        &["--iter-time", "10"],
        &["--pbkdf", "pbkdf2"],
    ] {
        refused(&[more, &word].concat(), 2, "cannot be used with");
    }
    refused(&[&["--cipher", "aes-256-hctr2"], &word[..]].concat(), 2, "XTS");
    refused(&[&["--sector-size", "2048"], &word[..]].concat(), 2, "512 or 4096");
    refused(&["--new-recovery-password", "r", "--new-recovery-password-from", "file:word"], 2, "cannot be used with");
    refused(&["--new-recovery-password-from", "file:word"], 2, "group");
    // A key of a vault that is named beside another way, and a second way with a typo: nothing is made.
    refused(&["--new-startup-key", "k", "--key", "disks"], 2, "no place for a vault's key");
    place.write("typo", "000001-000011-000022-720885-051260-432531-011000-597531");
    let second = ["--passphrase-from", "file:word", "--new-recovery-password-from", "file:typo"];
    refused(&[&second[..], &["--new-startup-key", "k"]].concat(), 2, "group 1");
    place.image("there.img", 2 << 20);
    let there = place.read("there.img");
    place.run(&[&["format", "there.img", "--bitlocker", "-y"], &second[..]].concat()).failed(2, "group 1");
    assert!(place.read("there.img") == there, "half a volume was made");
    // Keys that were made just before go with the volume that can't be made.
    place.write("small.img", noise(4096));
    let ran = place.run(&[
        "format",
        "small.img",
        "--bitlocker",
        "-y",
        "--new-startup-key",
        "k",
        "--new-recovery-password",
        "r",
    ]);
    assert_ne!(ran.status, 0);
    let luks = ["format", "luks.img", "--size", "1M", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
    place.ok(&[&luks[..], &["--key-file", "word"]].concat());
    let add = ["protector", "add", "luks.img", "--key-file", "word", "--new-startup-key", "k"];
    assert_ne!(place.run(&add).status, 0);
    for name in ["typo", "there.img", "small.img", "luks.img"] {
        std::fs::remove_file(place.path(name)).unwrap();
    }
    // A key that is there stays, and one that was made just before goes.
    refused(&["--new-recovery-password", "r", "--new-startup-key", "word"], 8, "word");
    refused(&["--new-startup-key", "k", "--new-recovery-password", "word"], 8, "word");
    place.run(&["format", "a.img", "--size", "2M", "--new-startup-key", "k"]).failed(2, "--bitlocker");
    place.image("disk.img", 2 << 20);
    place.run(&["format", "disk.img", "--bitlocker", "--new-startup-key", "k"]).failed(8, "disk.img");
    place.run(&["encrypt", "--in-place", "disk.img", "--bitlocker", "--new-startup-key", "k"]).failed(2, "made anew");
    assert_eq!(place.read("word"), b"secret");
    let files: Vec<String> = place.files().into_iter().filter(|name| !name.starts_with("keys.vault")).collect();
    assert_eq!(files, ["disk.img", "root.key", "word"]);
}

#[test]
fn protectors_are_changed_and_served_volumes_keep_what_is_written() {
    if !peer("qemu-io") {
        return;
    }
    let (place, plain) = encrypted(&[]);
    place.write("new", "another");
    let by = ["--startup-key", "key.bek"];
    let changed = place.json(
        "protector change",
        &[&["protector", "change", "win.img", "keyslot:0", "--new-passphrase-from", "file:new"], &by[..]].concat(),
    );
    assert_eq!(changed["added"], "keyslot:2");
    place.ok(&[&["protector", "add", "win.img", "--new-recovery-password", "second"], &by[..]].concat());
    place.ok(&[&["protector", "rm", "win.img", "keyslot:0", "-y"], &by[..]].concat());
    assert_eq!(kinds(&place, "win.img"), ["startup key", "password", "recovery password"]);
    place.run(&["check", "win.img", "--unlock", "--passphrase-from", "file:word"]).failed(4, "win.img");
    place.run(&["check", "win.img", "--unlock", "--recovery-password-from", "file:recovery"]).failed(4, "win.img");
    place
        .run(&[&["protector", "add", "win.img", "--new-recovery-password", "second"], &by[..]].concat())
        .failed(8, "second");
    place
        .run(&["protector", "add", "win.img", "--new-vault", "no.vault", "--startup-key", "key.bek"])
        .failed(3, "no.vault");

    let (child, _) = serve(&place, &["win.img", "--nbd", "win.sock", "--startup-key", "key.bek"]);
    let write = ["-f", "raw", "-c", "write -P 0x5a 4096 8192", "-c", "flush", "nbd+unix:///?socket=win.sock"];
    by_peer(&place, "qemu-io", &write);
    assert_eq!(stop(child, Signal::TERM), Some(0));
    let mut now = plain;
    now[4096..][..8192].fill(0x5a);
    judged(&place, "win.img", &now, &[("bek", "key.bek", "key.bek"), ("password", "new", "new")]);
}

#[test]
fn an_erased_volume_opens_by_nothing() {
    let (place, _) = encrypted(&[]);
    place.run(&["header", "erase", "win.img"]).failed(8, "win.img");
    let erased = place.json("header erase", &["header", "erase", "win.img", "-y"]);
    assert_eq!(erased["done"], "erased");
    assert!(kinds(&place, "win.img").is_empty());
    for way in [["--startup-key", "key.bek"], ["--passphrase-from", "file:word"]] {
        let ran = place.run(&[&["decrypt", "win.img", "out.img"], &way[..]].concat());
        assert!(ran.status == 3 || ran.status == 4, "{} {}", ran.status, ran.stderr);
    }
    if python("dissect.fve") {
        let script = "from dissect.fve.bde import BDE; print(BDE(open('win.img', 'rb')).has_bek())";
        assert_eq!(by_peer(&place, "python3", &["-c", script]).trim(), "False");
    }
}

/// A wrong secret that nobody typed is tried once: a command that prints it may cost something.
#[test]
fn a_secret_that_was_given_is_tried_once() {
    let (place, _) = encrypted(&[]);
    place.write("other", noise(16));
    for way in ["command:echo x >> tries; cat recovery | tr 0-9 1-90", "command:echo x >> tries; echo 1"] {
        place.run(&["decrypt", "win.img", "out.img", "--recovery-password-from", way]).failed(2, "group");
    }
    assert_eq!(place.read("tries"), b"x\nx\n");
    let word = "command:echo x >> again; printf '000000-000011-000022-720885-051260-432531-011000-597531'";
    place.run(&["decrypt", "win.img", "out.img", "--recovery-password-from", word]).failed(4, "win.img");
    assert_eq!(place.read("again"), b"x\n");
}
