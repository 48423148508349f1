//! Secrets of a vault file, and the keyslot that tokens name.

use crate::common::{Place, peer};

#[test]
fn a_secret_goes_through_its_life() {
    let place = Place::with_vault();
    place.write("word", "what opens the guest\n");
    let set = ["secret", "set", "guest", "--from", "file:word", "--tag", "MachineName=vm-1", "--tag", "empty="];
    let made = place.json("secret set", &set);
    assert_eq!(made["secrets"][0]["versions"][0]["tags"]["MachineName"], "vm-1");
    // One newline at the end of a source is left out, and a value is printed as it is.
    assert_eq!(place.run(&["secret", "get", "guest"]).stdout, b"what opens the guest");
    place.ok(&["secret", "set", "guest", "--from", "command:printf another"]);
    assert_eq!(place.run(&["secret", "get", "guest"]).stdout, b"another");
    assert_eq!(place.run(&["secret", "get", "guest", "1"]).stdout, b"what opens the guest");
    place.run(&["secret", "get", "guest", "3"]).failed(3, "version 3");
    place.run(&["secret", "get", "nobody"]).failed(3, "nobody");

    place.json("secret disable", &["secret", "disable", "guest"]);
    place.run(&["secret", "get", "guest"]).failed(5, "disabled");
    place.json("secret enable", &["secret", "enable", "guest", "2"]);
    let listed = place.ok(&["secret", "ls"]);
    assert!(listed.contains("MachineName=vm-1") && !listed.contains("another"), "{listed}");

    place.run(&["secret", "delete", "guest"]).failed(8, "--yes");
    place.json("secret delete", &["secret", "delete", "guest", "--yes"]);
    place.run(&["secret", "get", "guest"]).failed(5, "deleted");
    place.json("secret ls --deleted", &["secret", "ls", "--deleted"]);
    place.json("secret recover", &["secret", "recover", "guest"]);
    place.ok(&["secret", "delete", "guest", "-y"]);
    place.run(&["secret", "purge", "other", "-y"]).failed(3, "no deleted secret");
    place.json("secret purge", &["secret", "purge", "guest", "-y"]);
    place.run(&["secret", "recover", "guest"]).failed(3, "guest");
    // Never as an argument: neither accepted nor repeated.
    let ran = place.run(&["secret", "set", "guest", "--from", "hunter2"]);
    ran.failed(2, "never given as an argument");
    assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    assert!(place.ok(&["audit"]).contains("secrets/guest"));
}

#[test]
fn cryptsetup_knows_the_keyslot_of_the_tokens() {
    if !peer("cryptsetup") {
        return;
    }
    let place = Place::with_vault();
    place.ok(&["format", "a.luks", "--size", "32M"]);
    let bound = place.json("protector bind", &["protector", "bind", "a.luks"]);
    assert_eq!(bound["added"], "keyslot:0");
    let again = place.json("protector bind", &["protector", "bind", "a.luks"]);
    assert_eq!(again["keyslots"].as_array().unwrap().len(), 1);
    let mut dump = std::process::Command::new("cryptsetup");
    place.prepare(&mut dump);
    let dump = dump.args(["luksDump", "--dump-json-metadata", "a.luks"]).output().unwrap();
    let dump: serde_json::Value = serde_json::from_slice(&dump.stdout).unwrap();
    assert_eq!(dump["tokens"]["0"]["keyslots"][0], "0");
    // It is no way in of its own.
    place.run(&["protector", "rm", "a.luks", "token:0", "--yes"]).failed(8, "last");
    place.ok(&["protector", "rm", "a.luks", "keyslot:0", "--yes"]);
    place.ok(&["check", "a.luks", "--unlock"]);

    // No vault opens this one.
    place.write("word", "correct horse\n");
    place.ok(&["format", "b.luks", "--size", "32M", "--passphrase-from", "file:word", "--iter-time", "100"]);
    place.run(&["protector", "bind", "b.luks", "--passphrase-from", "file:word"]).failed(3, "no vault opens");
}
