//! The first passphrase of Azure Disk Encryption, for volumes that it doesn't know. The service itself was not tried.

use std::process::Stdio;
use std::time::Instant;

use crate::common::{Place, by_peer};
use crate::taking_over::{FAST, SECRET, VAULT, opens_by, place, version};

/// A volume of cryptsetup that Azure knows nothing of, in `disk`, by the key file `own`.
fn unknown_to_azure() -> Option<Place> {
    let place = place()?;
    place.write("own", "an administrator's");
    let format = ["luksFormat", "-q", "--type", "luks2", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
    by_peer(&place, "cryptsetup", &[&format[..], &["disk", "own"]].concat());
    Some(place)
}

const COPIED: [&str; 4] = ["--copied-to", "copied.vault", "--copied-to-key-file", "copied.key"];
const FIRST: &str = "https://contoso.vault.azure.net/secrets/disk-9";

/// The version in the vault file, its value decoded, opens it for cryptsetup.
#[test]
fn a_volume_gets_its_first_secret() {
    let Some(place) = unknown_to_azure() else { return };
    let tags = ["--machine", "vm-9", "--file-name", "LinuxPassPhraseFileName_1_0"];
    let add = [&["add-secret", "disk", "--key-file", "own", "--secret", FIRST], &COPIED[..], &tags, &FAST].concat();
    let added = place.json("add-secret", &add);
    let secret = added["secret"].as_str().unwrap();
    assert!(version(secret) == 1 && opens_by(&place, secret));
    let get = "atrest secret get disk-9 --vault copied.vault --vault-key-file copied.key | base64 -d > passphrase
        [ $(wc -c < passphrase) = 172 ] && [ $(base64 -d < passphrase | wc -c) = 127 ]
        cryptsetup open --test-passphrase --key-file passphrase disk
        cryptsetup open --test-passphrase --key-file own disk
        atrest secret ls --vault copied.vault --vault-key-file copied.key --json > secrets
        cryptsetup luksUUID disk > uuid";
    let ran = place.shell(&format!("set -e\n{get}"));
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let listed: serde_json::Value = serde_json::from_slice(&place.read("secrets")).unwrap();
    let of_disk = listed["secrets"].as_array().unwrap().iter().find(|secret| secret["name"] == "disk-9").unwrap();
    let uuid = String::from_utf8(place.read("uuid")).unwrap();
    let expected = serde_json::json!({
        "DiskEncryptionKeyFileName": "LinuxPassPhraseFileName_1_0", "MachineName": "vm-9", "VolumeUUID": uuid.trim(),
    });
    assert_eq!(of_disk["versions"][0]["tags"], expected);
    // Once more, it does nothing; and then it is a disk of Azure Disk Encryption as others are.
    let before = place.read("disk");
    assert!(place.ok(&add).contains("disk-9/1") && place.read("disk") == before);
    let replaced =
        place.json("replace-secret", &[&["replace-secret", "disk", "--secret", secret], &COPIED[..], &FAST].concat());
    assert_eq!(version(replaced["secret"].as_str().unwrap()), 2);
    let taken = ["take-over", "disk", "--secret", replaced["secret"].as_str().unwrap()];
    let taken = place.json("take-over", &[&taken[..], &COPIED].concat());
    assert!(taken["removed"].as_array().unwrap().len() == 1 && taken["left"].as_array().unwrap().len() == 1);

    // What isn't right changes nothing.
    let before = (place.read("disk"), place.read("copied.vault"));
    let run = |more: &[&str]| place.run(&[&["add-secret", "disk"], more, &COPIED, &FAST].concat());
    place.run(&["add-secret", "disk", "--key-file", "own"]).failed(2, "--secret URL or --token");
    run(&["--key-file", "own"]).failed(2, "--secret");
    run(&["--key-file", "value", "--secret", FIRST]).failed(4, "disk");
    run(&["--key-file", "own", "--dek-file", "own", "--secret", FIRST]).failed(2, "one way to open the volume");
    run(&["--key-file", "own", "--secret", SECRET]).failed(2, "without a version");
    run(&["--key-file", "own", "--token"]).failed(2, "--kek");
    run(&["--key-file", "own", "--secret", SECRET.strip_suffix("/1").unwrap()]).failed(8, "another disk's");
    // The same name with other tags.
    run(&["--key-file", "own", "--secret", FIRST, "--machine", "vm-8"]).failed(8, "Name another secret");
    run(&["--key-file", "own", "--secret", "https://fabrikam.vault.azure.net/secrets/x"]).failed(4, "fabrikam");
    assert!(before.0 == place.read("disk") && before.1 == place.read("copied.vault"));
}

#[test]
fn a_killed_first_secret_is_finished_by_the_same_command() {
    let Some(place) = unknown_to_azure() else { return };
    killed(&place, &["--key-file", "own"], &FAST, || {
        by_peer(&place, "cryptsetup", &["open", "--test-passphrase", "--key-file", "own", "disk"]);
    });
}

/// Kills `add-secret` of `disk`, with these arguments more, at twelve instants. `disk` opens by `own` after each, and by its secret after
/// the same command once more.
pub fn killed(place: &Place, own: &[&str], more: &[&str], judged: impl Fn()) {
    let add = [&["add-secret", "disk", "--secret", FIRST], own, &COPIED, more].concat();
    let (disk, vault) = (place.read("disk"), place.read("copied.vault"));
    let whole = Instant::now();
    place.ok(&add);
    let took = whole.elapsed();
    let first = format!("{FIRST}/1");
    let (mut not_yet, mut already) = (0, 0);
    for part in 0..12 {
        place.write("disk", &disk);
        // Its log goes on, and stays.
        place.write("copied.vault", &vault);
        let _ = std::fs::remove_file(place.path("copied.vault.bak"));
        let mut child = place.command(&add).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(took * part / 8);
        child.kill().unwrap();
        child.wait().unwrap();
        place.ok(&[&["info", "disk", "--unlock"], own].concat());
        match opens_by(place, &first) {
            true => already += 1,
            false => not_yet += 1,
        }
        assert_eq!(place.json("add-secret", &add)["secret"], first, "killed after {part} of 11 parts");
        assert!(opens_by(place, &first));
        judged();
    }
    assert!(not_yet > 0 && already > 0, "{not_yet} were opened later, {already} at once");
}

/// By a key of the vault file, which wraps by RSA-OAEP-256, as a secret and in a token.
#[cfg(feature = "rsa")]
#[test]
fn a_volume_gets_its_first_passphrase_wrapped_by_a_key() {
    let Some(place) = unknown_to_azure() else { return };
    let create =
        ["key", "create", "keks", "--kind", "rsa-2048", "--vault", "copied.vault", "--vault-key-file", "copied.key"];
    let created = place.json("key create", &create);
    let kek = format!("{VAULT}/keys/keks/{}", created["versions"][0]["version"].as_str().unwrap());
    let by = ["--kek", &kek, "--algorithm", "RSA-OAEP-256"];
    fn add<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&["add-secret", "disk", "--key-file", "own"], more, &COPIED, &FAST].concat()
    }
    let secret = place.json("add-secret", &add(&[&["--secret", FIRST], &by[..]].concat()));
    let secret = secret["secret"].as_str().unwrap();
    // Its tags name the key.
    assert!(opens_by(&place, secret));
    let value = place.ok(&["secret", "get", "disk-9", "--vault", "copied.vault", "--vault-key-file", "copied.key"]);
    // 256 bytes in base64url.
    assert_eq!(value.trim().len(), 342);
    let token =
        ["--token", "--kek", &kek, "--vault-resource", "/subscriptions/s", "--attestation-url", "https://attest"];
    assert!(place.json("add-secret", &add(&token))["secret"].is_null());
    place.ok(&[&["check", "disk", "--unlock", "--token"], &COPIED[..]].concat());
    let dump = by_peer(&place, "cryptsetup", &["luksDump", "disk"]);
    let id = dump.lines().find_map(|line| line.trim().strip_suffix(": Azure_Disk_Encryption")).unwrap().to_owned();
    let exported = by_peer(&place, "cryptsetup", &["token", "export", "--token-id", &id, "disk"]);
    let exported: serde_json::Value = serde_json::from_str(&exported).unwrap();
    let said = |name: &str| exported[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        (said("KeyEncryptionKeyURL"), said("KeyVaultURL"), said("PassphraseName")),
        (kek.clone(), VAULT.into(), "LUKSPasswordProtector".into())
    );
    assert_eq!(
        (said("KeyVaultResourceId").as_str(), said("AttestationURL").as_str()),
        ("/subscriptions/s", "https://attest")
    );
    // Once more, it does nothing. Another key isn't the token's.
    let before = place.read("disk");
    place.ok(&add(&token));
    let other = format!("{VAULT}/keys/other/1");
    place.run(&add(&["--token", "--kek", &other])).failed(8, "already");
    assert!(place.read("disk") == before);
}
