//! Disks of Azure Disk Encryption, whose secret was copied into a vault file. The service itself was not tried.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use atrest::managed::{AdoptOptions, DiskBackend, DiskFolder, DiskService, KnownVaults, NewDisk, ServiceOptions};
use atrest::vault::{FileVault, Unlock};
use atrest::{BlockDevice, Credential, Error, Result};

use crate::common::{Place, by_peer, peer};

pub const VAULT: &str = "https://contoso.vault.azure.net";

/// Where [`copied_secret`] has put it.
pub const SECRET: &str = "https://contoso.vault.azure.net/secrets/disk-1/1";
/// What names the secret, and the vault file that has it.
pub const FROM: [&str; 6] = ["--secret", SECRET, "--copied-to", "copied.vault", "--copied-to-key-file", "copied.key"];

/// Makes a passphrase as the extension does, in the file `LinuxPassPhraseFileName`, and its secret in the vault file `copied.vault`.
pub fn copied_secret(place: &Place) {
    let options = ["--vault-key-file", "copied.key", "--id", VAULT];
    place.ok(&[&["vault", "init", "copied.vault"], &options[..]].concat());
    let passphrase: String = (0..172).map(|i| char::from(b'a' + (i * 7 % 26) as u8)).collect();
    place.write("LinuxPassPhraseFileName", &passphrase);
    // The secret holds it in base64.
    let mut encode = Command::new("sh");
    place.prepare(&mut encode);
    assert!(encode.args(["-c", "base64 -w 0 < LinuxPassPhraseFileName > value"]).status().unwrap().success());
    let set = [
        "secret",
        "set",
        "disk-1",
        "--vault",
        "copied.vault",
        "--vault-key-file",
        "copied.key",
        "--from",
        "file:value",
    ];
    let tag = ["--tag", "DiskEncryptionKeyFileName=LinuxPassPhraseFileName"];
    place.ok(&[&set[..], &tag].concat());
}

/// A disk as the extension makes it, by cryptsetup, with its secret.
pub fn place() -> Option<Place> {
    if !peer("cryptsetup") {
        return None;
    }
    let place = Place::with_vault();
    copied_secret(&place);
    let mut make = Command::new("sh");
    place.prepare(&mut make);
    let script = "truncate -s 24M disk && cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 \
        disk LinuxPassPhraseFileName";
    assert!(make.args(["-c", script]).status().unwrap().success());
    Some(place)
}

#[test]
fn a_disk_whose_secret_was_copied_comes_under_a_key_of_a_vault() {
    let Some(place) = place() else { return };
    let run = |more: &[&str]| place.json("take-over", &[&["take-over", "disk"], &FROM[..], more].concat());
    let checked = run(&["--check"]);
    assert_eq!((&checked["taken"], &checked["bytes"]), (&false.into(), &(8 << 20).into()));
    let taken = run(&[]);
    assert_eq!((&taken["taken"], taken["left"].as_array().unwrap().len()), (&true.into(), 0));
    assert!(taken["removed"].to_string().contains("keyslot 0"), "{taken}");
    place.ok(&["check", "disk", "--unlock"]);
    let with_file = ["check", "disk", "--unlock", "--key-file", "LinuxPassPhraseFileName"];
    place.run(&with_file).failed(4, "");
    // Once more, it does nothing.
    assert_eq!(run(&[])["removed"].as_array().unwrap().len(), 0);
}

/// There is no room for a header of LUKS2, and nothing has happened. What to do differs.
#[test]
fn a_header_that_cannot_be_converted_is_refused_with_what_to_do() {
    let Some(place) = place() else { return };
    let format = |more: &[&str]| {
        let args = ["luksFormat", "-q", "--type", "luks1", "--pbkdf-force-iterations", "1000"];
        by_peer(&place, "cryptsetup", &[&args[..], more, &["disk", "LinuxPassPhraseFileName"]].concat());
    };
    let take = [&["take-over", "disk", "--convert"], &FROM[..]].concat();
    let refused = |args: &[&str], said: &str| {
        let before = place.read("disk");
        place.run(args).failed(8, said);
        assert!(place.read("disk") == before, "{said}");
    };
    // The data begins where the keyslots of LUKS1 end.
    format(&["--align-payload", "8"]);
    refused(&take, "copy the data to a new volume");
    // Each keyslot moves by way of an unused one.
    format(&[]);
    for i in 0..7 {
        place.write("another", format!("passphrase {i}"));
        let add = ["luksAddKey", "-q", "--pbkdf-force-iterations", "1000", "--key-file", "LinuxPassPhraseFileName"];
        by_peer(&place, "cryptsetup", &[&add[..], &["disk", "another"]].concat());
    }
    refused(&take, "all 8 keyslots are taken");
    by_peer(&place, "cryptsetup", &["luksKillSlot", "-q", "disk", "7"]);
    assert_eq!(place.json("take-over", &take)["taken"], true);
    // The header of an OS disk is a file of its own, which can grow.
    format(&["--header", "osluksheader"]);
    let apart = [&take[..], &["--header", "osluksheader"]].concat();
    let before = place.read("osluksheader");
    refused(&apart, "`truncate -s 32M osluksheader`");
    assert!(place.read("osluksheader") == before);
    std::fs::File::options().write(true).open(place.path("osluksheader")).unwrap().set_len(32 << 20).unwrap();
    assert_eq!(place.json("take-over", &apart)["taken"], true);
    place.ok(&["check", "disk", "--header", "osluksheader", "--unlock"]);
}

/// Without taking it over: the disk stays as it is, and the guest's.
#[test]
fn a_disk_opens_by_its_secret_for_any_command() {
    let Some(place) = place() else { return };
    let before = place.read("disk");
    let secret = format!("{VAULT}/secrets/disk-1/1");
    let from = ["--secret", &secret, "--copied-to", "copied.vault", "--copied-to-key-file", "copied.key"];
    place.ok(&[&["decrypt", "disk", "plain"], &from[..]].concat());
    place.ok(&["decrypt", "disk", "same", "--key-file", "LinuxPassPhraseFileName"]);
    assert!(place.read("plain") == place.read("same") && place.read("plain").len() == 8 << 20);
    place.ok(&[&["check", "disk", "--unlock"], &from[..]].concat());
    let both = [&["check", "disk", "--unlock", "--key-file", "LinuxPassPhraseFileName"], &from[..]].concat();
    place.run(&both).failed(2, "one way to open the volume");
    assert!(place.read("disk") == before);
    // It is held for writing, and its header lies apart.
    place.write("header", &before[..16 << 20]);
    place.write("data", &before);
    let apart = ["protector", "add", "data", "--header", "header", "--new-key-file", "value", "--iter-time", "10"];
    place.ok(&[&apart[..], &from].concat());
    assert!(place.read("data") == before);
    place.ok(&["check", "data", "--header", "header", "--unlock", "--key-file", "value"]);
}

/// The version of the secret that a URL names.
pub fn version(url: &str) -> u32 {
    url.rsplit('/').next().unwrap().parse().unwrap()
}

/// The secrets of the vault file, as the program lists them.
fn versions(place: &Place) -> usize {
    let ls = ["secret", "ls", "--vault", "copied.vault", "--vault-key-file", "copied.key"];
    place.json("secret ls", &ls)["secrets"][0]["versions"].as_array().unwrap().len()
}

pub fn opens_by(place: &Place, secret: &str) -> bool {
    let from = ["--secret", secret, "--copied-to", "copied.vault", "--copied-to-key-file", "copied.key"];
    // Not `check`, which says no as long as a copy of the header is that of a killed write.
    place.run(&[&["info", "disk", "--unlock"], &from[..]].concat()).status == 0
}

pub const FAST: [&str; 4] = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];

/// The disk stays the guest's, by cryptsetup, which opens it by the bytes of the new version's value.
#[test]
fn a_disk_gets_a_new_passphrase_in_its_secret() {
    let Some(place) = place() else { return };
    let replace = [&["replace-secret", "disk"], &FROM[..], &FAST].concat();
    let replaced = place.json("replace-secret", &replace);
    let secret = replaced["secret"].as_str().unwrap();
    assert_eq!((version(secret), versions(&place)), (2, 2));
    assert!(opens_by(&place, secret) && !opens_by(&place, SECRET));
    let get = "atrest secret get disk-1 --vault copied.vault --vault-key-file copied.key | base64 -d > passphrase
        [ $(wc -c < passphrase) = 172 ] && cryptsetup open --test-passphrase --key-file passphrase disk
        ! cryptsetup open --test-passphrase --key-file LinuxPassPhraseFileName disk 2> /dev/null
        atrest secret ls --vault copied.vault --vault-key-file copied.key --json > secrets";
    let ran = place.shell(&format!("set -e\n{get}"));
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let listed: serde_json::Value = serde_json::from_slice(&place.read("secrets")).unwrap();
    let of_both = listed["secrets"][0]["versions"].as_array().unwrap();
    assert_eq!(of_both[0]["tags"], of_both[1]["tags"]);
    // The same once more is a call after a kill: nothing is made, and nothing changes.
    let before = place.read("disk");
    assert_eq!(place.json("replace-secret", &replace)["secret"], secret);
    assert!(versions(&place) == 2 && place.read("disk") == before);
    // From the new version on, there is another.
    let next = ["replace-secret", "disk", "--secret", secret];
    let text = place.ok(&[&next[..], &FROM[2..], &FAST].concat());
    assert!(text.contains("/secrets/disk-1/3") && text.contains("settings of the virtual machine"), "{text}");

    // What isn't right makes no version. The oldest one would be that of a killed call, too.
    assert!(place.json("replace-secret", &replace)["secret"].as_str().unwrap().ends_with("/3"));
    place.write("other", "another disk");
    by_peer(
        &place,
        "cryptsetup",
        &["luksFormat", "-q", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "disk", "other"],
    );
    let ran = place.run(&[&next[..2], &["--secret", &format!("{VAULT}/secrets/disk-1/3")], &FROM[2..], &FAST].concat());
    ran.failed(4, "disk");
    place.run(&["replace-secret", "disk"]).failed(2, "--secret URL or --token");
    let without = ["replace-secret", "disk", "--secret", "https://contoso.vault.azure.net/secrets/disk-1"];
    place.run(&[&without[..], &FROM[2..]].concat()).failed(2, "name the version");
    place.run(&[&["replace-secret", "none"], &FROM[..]].concat()).failed(3, "none");
    assert_eq!(versions(&place), 3);
}

#[test]
fn a_killed_replacement_of_a_secret_is_finished_by_the_same_command() {
    let Some(place) = place() else { return };
    let replace = [&["replace-secret", "disk"], &FROM[..], &FAST].concat();
    let (disk, vault) = (place.read("disk"), place.read("copied.vault"));
    let whole = Instant::now();
    place.ok(&replace);
    let took = whole.elapsed();
    let (mut old, mut new) = (0, 0);
    for part in 0..12 {
        place.write("disk", &disk);
        // Its log goes on, and stays.
        place.write("copied.vault", &vault);
        let _ = std::fs::remove_file(place.path("copied.vault.bak"));
        let mut child = place.command(&replace).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(took * part / 8);
        child.kill().unwrap();
        child.wait().unwrap();
        let newest = format!("{VAULT}/secrets/disk-1/{}", versions(&place));
        let (by_old, by_new) = (opens_by(&place, SECRET), opens_by(&place, &newest));
        assert!(by_old || by_new, "killed after {part} of 11 parts, with {newest}");
        (old, new) = (old + u32::from(by_old), new + u32::from(by_new));
        let replaced = place.json("replace-secret", &replace);
        let secret = replaced["secret"].as_str().unwrap();
        assert!(versions(&place) == 2 && opens_by(&place, secret) && !opens_by(&place, SECRET));
    }
    assert!(old > 0 && new > 0, "{old} opened by the old one, {new} by the new one");
}

#[test]
fn a_disk_gets_a_new_passphrase_in_its_token() {
    let Some(place) = place() else { return };
    let passphrase = String::from_utf8(place.read("LinuxPassPhraseFileName")).unwrap();
    // As the extension writes it; this one isn't wrapped.
    let token = serde_json::json!({
        "version": "1.0", "type": "Azure_Disk_Encryption", "keyslots": [], "KekVaultResourceId": null,
        "KeyEncryptionKeyURL": null, "KeyVaultResourceId": "vault", "KeyVaultURL": VAULT, "AttestationURL": null,
        "PassphraseName": "LUKSPassword", "Passphrase": passphrase,
    });
    place.write("token", token.to_string());
    by_peer(&place, "cryptsetup", &["token", "import", "--token-id", "5", "--json-file", "token", "disk"]);
    let copied = ["--copied-to", "copied.vault", "--copied-to-key-file", "copied.key"];
    let replace = [&["replace-secret", "disk", "--token"], &copied[..], &FAST].concat();
    assert!(place.json("replace-secret", &replace)["secret"].is_null());
    place.run(&["check", "disk", "--unlock", "--key-file", "LinuxPassPhraseFileName"]).failed(4, "");
    let ways = place.json("protector ls", &["protector", "ls", "disk"]);
    let tokens = ways["tokens"].as_array().unwrap();
    assert_eq!((tokens.len(), ways["keyslots"].as_array().unwrap().len()), (1, 1), "{ways}");
    assert_eq!(tokens[0]["kind"], "Azure_Disk_Encryption");
    let id = tokens[0]["id"].to_string();
    let now = by_peer(&place, "cryptsetup", &["token", "export", "--token-id", &id, "disk"]);
    let now: serde_json::Value = serde_json::from_str(&now).unwrap();
    let new = now["Passphrase"].as_str().unwrap();
    assert!(new != passphrase && new.len() == 172 && now["KeyVaultResourceId"] == "vault");
    place.write("new", new);
    by_peer(&place, "cryptsetup", &["open", "--test-passphrase", "--key-file", "new", "disk"]);
    place.ok(&[&["check", "disk", "--unlock", "--token"], &copied[..]].concat());
    // Without one, there is nothing to replace.
    place.write("bare", place.read("disk"));
    by_peer(&place, "cryptsetup", &["token", "remove", "--token-id", &id, "bare"]);
    let ran = place.run(&[&["replace-secret", "bare", "--token"], &copied[..]].concat());
    ran.failed(4, "no token of Azure Disk Encryption");
}

#[test]
fn what_is_missing_is_named() {
    let Some(place) = place() else { return };
    place.run(&["take-over", "disk"]).failed(2, "--secret");
    let copied = ["--copied-to", "copied.vault", "--copied-to-key-file", "copied.key"];
    // What would be ignored.
    let check = ["check", "disk", "--unlock"];
    for more in
        [&copied[..], &["--kek", "https://contoso.vault.azure.net/keys/k/1"], &["--kek-vault", VAULT], &["--managed"]]
    {
        place.run(&[&check[..], &["--key-file", "value"], more].concat()).failed(2, "--secret");
    }
    let secret = ["--secret", "https://contoso.vault.azure.net/secrets/disk-1/1"];
    for more in [
        ["--key-file", "value"],
        ["--dek-file", "value"],
        #[cfg(feature = "bitlocker")]
        ["--startup-key", "value"],
        #[cfg(feature = "bitlocker")]
        ["--recovery-password-from", "file:value"],
    ] {
        place.run(&[&check[..], &secret, &copied, &more].concat()).failed(2, "one way");
    }
    let other = ["take-over", "disk", "--secret", "https://contoso.vault.azure.net/secrets/disk-2/1"];
    place.run(&[&other[..], &copied].concat()).failed(3, "disk-2");
    let elsewhere = ["take-over", "disk", "--secret", "https://fabrikam.vault.azure.net/secrets/disk-1/1"];
    let ran = place.run(&[&elsewhere[..], &copied].concat());
    assert!(ran.status != 0 && ran.stderr.contains("fabrikam"), "{}", ran.stderr);
}

/// A place for disks which a kill ends right after it has moved an image.
struct Killed(Arc<dyn DiskBackend>);

impl DiskBackend for Killed {
    fn create(&self, region: &str, id: &str, size: u64) -> Result<Arc<dyn BlockDevice>> {
        self.0.create(region, id, size)
    }

    fn open(&self, region: &str, id: &str) -> Result<Arc<dyn BlockDevice>> {
        self.0.open(region, id)
    }

    fn open_image(&self, region: &str, image: &str) -> Result<Arc<dyn BlockDevice>> {
        self.0.open_image(region, image)
    }

    fn adopt_image(&self, region: &str, id: &str, image: &str, size: u64) -> Result<Arc<dyn BlockDevice>> {
        self.0.adopt_image(region, id, image, size)?;
        Err(Error::Io { what: "moving".into(), source: std::io::ErrorKind::Interrupted.into() })
    }

    fn remove(&self, region: &str, id: &str) -> Result<()> {
        self.0.remove(region, id)
    }
}

/// Begins to make an image the disk `web`, and is killed once the image was moved. The platform's key is `key`.
pub fn half_adopt(place: &Place, backend: Arc<dyn DiskBackend>, image: &str, key: &str) {
    let vault = FileVault::open(place.path("keys.vault"), Unlock::KeyFile(&place.path("root.key"))).unwrap();
    let options = ServiceOptions::new(Arc::new(Killed(backend)), Arc::new(KnownVaults::new()), Arc::new(vault), key);
    let service = DiskService::open(place.path("fleet.redb"), options).unwrap();
    let new = NewDisk::new("web", 0).region("north").subscription("contoso");
    let passphrase = place.read("LinuxPassPhraseFileName");
    let how = AdoptOptions::new().guest_encrypted(true);
    service.adopt_disk(&new, image, Credential::Passphrase(&passphrase), &how).unwrap_err();
}

#[test]
fn a_killed_adoption_of_a_disk_goes_on_by_the_same_command() {
    let Some(place) = place() else { return };
    let disk = place.path("disk").into_os_string().into_string().unwrap();
    let disks = format!("file:{}", place.root().display());
    half_adopt(&place, Arc::new(DiskFolder::new(place.root())), &disk, "disks");
    assert!(!place.path("disk").exists());

    let at = ["--disks", &disks, "--region", "north", "--subscription", "contoso"];
    let adopted = place.json("fleet disk adopt", &[&["fleet", "disk", "adopt", "web", &disk], &at[..], &FROM].concat());
    let file = format!("{}.disk", adopted["id"].as_str().unwrap());
    place.run(&["check", &file, "--unlock", "--key-file", "LinuxPassPhraseFileName"]).failed(4, "keyslot");
    place.ok(&["check", &file, "--unlock"]);
}
