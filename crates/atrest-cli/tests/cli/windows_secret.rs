//! Disks of Azure Disk Encryption of Windows, whose secret lies in a vault file. The service itself was not tried.

use rustix::process::Signal;

use crate::bitlocker::judged;
use crate::common::{Place, by_peer, peer, stop};
use crate::first_secret::killed;
use crate::fleet;
#[cfg(feature = "mount")]
use crate::mounting::mount;
use crate::serving::serve;
use crate::taking_over::{VAULT, version};

const SECRET: &str = "https://contoso.vault.azure.net/secrets/disk-9";
const NBD: &str = "nbd+unix:///?socket=win.sock";
const COPIED: [&str; 4] = ["--copied-to", "copied.vault", "--copied-to-key-file", "copied.key"];

/// A BitLocker volume `win.img` of `plain.img` with a password in `own`, and an empty vault file in the place of the key vault.
fn place() -> (Place, Vec<u8>) {
    let place = Place::with_vault();
    let plain = make(&place);
    (place, plain)
}

fn make(place: &Place) -> Vec<u8> {
    place.ok(&["vault", "init", "copied.vault", "--vault-key-file", "copied.key", "--id", VAULT]);
    let plain = place.image("plain.img", 1 << 20);
    place.write("own", "an administrator's");
    place.ok(&["encrypt", "plain.img", "win.img", "--bitlocker", "--key-file", "own"]);
    plain
}

fn with<'a>(args: &[&'a str]) -> Vec<&'a str> {
    [args, &COPIED].concat()
}

/// Adds the first secret, wrapped as `by` says.
fn add(place: &Place, by: &[&str]) -> String {
    let tags = ["--machine", "vm-9", "--volume-letter", "F:\\", "--volume-label", "data"];
    let add = with(&[&["add-secret", "win.img", "--key-file", "own", "--secret", SECRET], &tags[..], by].concat());
    let added = place.json("add-secret", &add);
    // Once more, it does nothing.
    let before = (place.read("win.img"), place.read("copied.vault"));
    assert_eq!(place.json("add-secret", &add), added);
    assert!(before == (place.read("win.img"), place.read("copied.vault")));
    added["secret"].as_str().unwrap().to_owned()
}

fn tags(place: &Place, version: &str) -> serde_json::Value {
    let listed =
        place.json("secret ls", &["secret", "ls", "--vault", "copied.vault", "--vault-key-file", "copied.key"]);
    let of_disk = listed["secrets"].as_array().unwrap().iter().find(|secret| secret["name"] == "disk-9").unwrap();
    let versions = of_disk["versions"].as_array().unwrap();
    versions.iter().find(|found| found["version"] == version).unwrap()["tags"].clone()
}

#[test]
fn a_volume_gets_its_startup_key_as_a_secret_and_opens_by_it_for_any_command() {
    let (place, plain) = place();
    let first = add(&place, &[]);
    assert_eq!(version(&first), 1);
    let said = tags(&place, "1");
    let file = said["DiskEncryptionKeyFileName"].as_str().unwrap();
    let uuid = place.json("info", &["info", "win.img"])["uuid"].clone();
    let expected = serde_json::json!({
        "DiskEncryptionKeyFileName": file, "MachineName": "vm-9", "VolumeLabel": "data", "VolumeLetter": "F:\\", "VolumeUUID": uuid,
    });
    assert_eq!(said, expected);
    // The value is the file, which other programs open it by.
    let get = format!(
        "atrest secret get disk-9 --vault copied.vault --vault-key-file copied.key | base64 -d > {file} && wc -c < {file}"
    );
    assert_eq!(place.shell(&get).text().trim(), "156");
    judged(&place, "win.img", &plain, &[("bek", file, file)]);
    // Read, written and verified by the secret.
    let by = with(&["--secret", &first]);
    let run = |args: &[&str]| place.ok(&[args, &by[..]].concat());
    run(&["check", "win.img", "--unlock"]);
    run(&["decrypt", "win.img", "out.img"]);
    assert!(place.read("out.img")[..plain.len()] == plain);
    if peer("qemu-io") {
        let (child, _) = serve(&place, &[&["win.img", "--nbd", "win.sock"], &by[..]].concat());
        let write = ["-f", "raw", "-c", "write -P 0x5a 4096 4096", "-c", "flush", NBD];
        by_peer(&place, "qemu-io", &write);
        assert_eq!(stop(child, Signal::TERM), Some(0));
        let mut now = plain.clone();
        now[4096..8192].fill(0x5a);
        judged(&place, "win.img", &now, &[("bek", file, file)]);
    }

    let replace = with(&["replace-secret", "win.img", "--secret", &first]);
    let replaced = place.json("replace-secret", &replace);
    let second = replaced["secret"].as_str().unwrap();
    assert_eq!((version(second), place.json("replace-secret", &replace)["secret"].as_str()), (2, Some(second)));
    assert!(tags(&place, "2")["DiskEncryptionKeyFileName"] != *file);
    place
        .run(&[&["check", "win.img", "--unlock"], &by[..]].concat())
        .failed(4, "this startup key is for the protector {");
    place.ok(&with(&["check", "win.img", "--unlock", "--secret", second]));
    place.ok(&["check", "win.img", "--unlock", "--key-file", "own"]);

    // What isn't right changes nothing.
    let before = (place.read("win.img"), place.read("copied.vault"));
    let refused = |args: &[&str], status, said: &str| place.run(&with(args)).failed(status, said);
    let again = ["add-secret", "win.img", "--key-file", "own", "--secret"];
    refused(&[&again[..], &[SECRET, "--machine", "vm-8"]].concat(), 8, "Name another secret");
    refused(&[&again[..], &[SECRET, "--file-name", "LinuxPassPhraseFileName"]].concat(), 2, "name none");
    let token = ["add-secret", "win.img", "--key-file", "own", "--token", "--kek"];
    refused(&[&token[..], &["https://contoso.vault.azure.net/keys/k/1"]].concat(), 6, "take a secret");
    assert!(before == (place.read("win.img"), place.read("copied.vault")));
}

#[test]
fn secrets_of_linux_and_of_windows_are_told_apart() {
    let (place, _) = place();
    let set = |name: &str, value: &str, file: &str| {
        place.write("value", value);
        let tag = format!("DiskEncryptionKeyFileName={file}");
        let options =
            ["--vault", "copied.vault", "--vault-key-file", "copied.key", "--from", "file:value", "--tag", &tag];
        place.ok(&[&["secret", "set", name], &options[..]].concat());
        format!("{VAULT}/secrets/{name}")
    };
    let check = |image: &str, secret: &str| place.run(&with(&["check", image, "--unlock", "--secret", secret]));
    // "passphrase" in base64.
    let linux = set("linux", "cGFzc3BocmFzZQ==", "LinuxPassPhraseFileName");
    check("win.img", &linux).failed(4, "as Windows has it");
    let cut = set("cut", "nAAAAAEAAAAwAAAA", "EF7B2F5A-50C6-4637-9F13-7F599C12F85C.BEK");
    check("win.img", &cut).failed(2, "not a startup key of BitLocker (.BEK)");
    let windows = add(&place, &[]);
    place.encrypted("linux.img", 1 << 20);
    check("linux.img", &windows).failed(4, "of a BitLocker volume of Windows");
}

#[test]
fn a_killed_first_startup_key_is_finished_by_the_same_command() {
    let (place, plain) = place();
    place.ok(&["protector", "add", "win.img", "--key-file", "own", "--new-startup-key", "own.bek"]);
    std::fs::rename(place.path("win.img"), place.path("disk")).unwrap();
    let own = ["--startup-key", "own.bek"];
    killed(&place, &own, &[], || {
        place.ok(&[&["decrypt", "disk", "out.img"], &own[..]].concat());
        assert!(place.read("out.img")[..plain.len()] == plain);
        std::fs::remove_file(place.path("out.img")).unwrap();
    });
    judged(&place, "disk", &plain, &[("bek", "own.bek", "own.bek")]);
}

#[cfg(feature = "mount")]
#[test]
fn a_volume_is_mounted_by_its_secret() {
    let (place, plain) = place();
    let secret = add(&place, &[]);
    let Some(child) = mount(&place, "win.img", &with(&["--secret", &secret])) else { return };
    let mut now = place.read("dir/volume");
    assert!(now[..plain.len()] == plain);
    let file = std::fs::File::options().write(true).open(place.path("dir/volume")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0x5a; 3000], 5001).unwrap();
    file.sync_all().unwrap();
    drop(file);
    now[5001..8001].fill(0x5a);
    assert_eq!(stop(child, Signal::TERM), Some(0));
    place.ok(&["decrypt", "win.img", "out.img", "--key-file", "own"]);
    assert!(place.read("out.img") == now);
}

/// The data comes under a vault's key by a copy that is plain nowhere but in memory and in a socket.
#[test]
fn a_disk_of_windows_is_copied_into_a_volume_under_a_vaults_key() {
    let (place, plain) = place();
    let secret = add(&place, &[]);
    let from = with(&["--secret", &secret]);
    let take = [&["take-over", "win.img"], &from[..]].concat();
    let size = place.json("take-over", &[&take[..], &["--check"]].concat())["bytes"].as_u64().unwrap();
    place.run(&take).failed(6, "copy its data into a new volume or disk under that key");
    let (child, _) = serve(&place, &[&["win.img", "--nbd", "win.sock", "--read-only"], &from[..]].concat());
    place.ok(&["encrypt", NBD, "new.luks", "--verify"]);
    assert_eq!(stop(child, Signal::TERM), Some(0));
    place.ok(&["decrypt", "new.luks", "out.img"]);
    let read = place.read("out.img");
    assert!(read.len() as u64 == size && read[..plain.len()] == plain);
}

/// The same into a disk of a set, at the host.
#[test]
fn a_disk_of_windows_is_copied_into_a_disk_of_a_set() {
    let place = fleet::place();
    fleet::make_set(&place);
    let plain = make(&place);
    let secret = add(&place, &[]);
    let from = with(&["--secret", &secret]);
    let adopt = ["fleet", "disk", "adopt", "web", "win.img", "--set", "one", "--reencrypt"];
    let before = place.read("win.img");
    place.run(&[&adopt[..], &fleet::WHERE, &from].concat()).failed(6, "convert or copy it first");
    assert!(place.read("win.img") == before);
    let checked = place.json("take-over", &[&["take-over", "win.img", "--check"], &from[..]].concat());
    let size = checked["bytes"].to_string();
    let create = ["fleet", "disk", "create", "web", "--size", &size, "--set", "one"];
    let id = place.json("fleet disk create", &[&create[..], &fleet::WHERE].concat())["id"].as_str().unwrap().to_owned();
    let (child, _) = serve(&place, &[&["win.img", "--nbd", "win.sock", "--read-only"], &from[..]].concat());
    place.json("fleet disk write", &["fleet", "disk", "write", "web", NBD, "-y"]);
    assert_eq!(stop(child, Signal::TERM), Some(0));
    place.ok(&["decrypt", &format!("disks/{id}.disk"), "out.img", "--context", &id]);
    assert!(place.read("out.img")[..plain.len()] == plain);
    assert_eq!(place.json("fleet report", &["fleet", "report"])["finished"], true);
}

/// By a key of the vault file, which wraps by RSA-OAEP-256.
#[cfg(feature = "rsa")]
#[test]
fn a_startup_key_is_wrapped_by_a_key() {
    let (place, plain) = place();
    let create =
        ["key", "create", "keks", "--kind", "rsa-2048", "--vault", "copied.vault", "--vault-key-file", "copied.key"];
    let created = place.json("key create", &create);
    let kek = format!("{VAULT}/keys/keks/{}", created["versions"][0]["version"].as_str().unwrap());
    let first = add(&place, &["--kek", &kek, "--algorithm", "RSA-OAEP-256"]);
    // 256 bytes in base64url.
    let value = place.ok(&["secret", "get", "disk-9", "--vault", "copied.vault", "--vault-key-file", "copied.key"]);
    assert_eq!(
        (value.trim().len(), tags(&place, "1")["DiskEncryptionKeyEncryptionKeyURL"].as_str()),
        (342, Some(&*kek))
    );
    let replaced = place.json("replace-secret", &with(&["replace-secret", "win.img", "--secret", &first]));
    place.ok(&with(&["decrypt", "win.img", "out.img", "--secret", replaced["secret"].as_str().unwrap()]));
    assert!(place.read("out.img")[..plain.len()] == plain);
}
