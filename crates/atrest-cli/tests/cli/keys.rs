//! Vaults, their keys, grants and log.

use crate::common::{CHEAP, Place, conforms};

#[test]
fn a_vault_is_made_shown_checked_copied_and_opened_by_another_key() {
    let place = Place::with_vault();
    let info = place.json("vault info", &["vault", "info"]);
    assert_eq!((&info["keys"], &info["retention_days"]), (&1.into(), &90.into()));
    let listed = place.json("vault ls", &["vault", "ls"]);
    assert_eq!(listed["vaults"][0]["id"], info["id"]);
    assert_eq!(listed["vaults"].as_array().unwrap().len(), 1, "copies and locks are no vaults");
    assert!(listed["vaults"][0]["keys"].is_null(), "it was not opened");

    let backup = place.json("vault backup", &["vault", "backup", "--to", "copy.vault"]);
    assert_eq!(backup["path"], "copy.vault");
    let verified = place.json("vault verify", &["vault", "verify", "copy.vault"]);
    assert_eq!((&verified["keys"], &verified["audit_entries"]), (&1.into(), &1.into()));
    place.run(&["vault", "backup", "--to", "copy.vault"]).failed(8, "exists");

    place.json("vault change-unlock", &["vault", "change-unlock", "--new-vault-key-file", "new.key"]);
    place.run(&["vault", "info"]).failed(4, "does not open the vault");
    place.ok(&["vault", "info", "--vault-key-file", "new.key"]);
    place.ok(&["vault", "info", "copy.vault"]);
}

#[test]
fn a_vault_has_the_options_it_was_made_with() {
    let place = Place::new();
    place.write("word", "correct horse\n");
    let word = ["--vault-passphrase-from", "file:word"];
    let options = ["--id", "urn:example:keys", "--region", "north", "--tenant", "contoso", "--retention-days", "7"];
    let rest = ["--purge-protection", "--refuse-expired", "--key", "disks"];
    let made =
        place.json("vault init", &[&["vault", "init", "keys.vault"], &word[..], &options, &rest, &CHEAP].concat());
    for (name, value) in [("id", "urn:example:keys"), ("region", "north"), ("tenant", "contoso")] {
        assert_eq!(made[name], value);
    }
    assert_eq!((&made["purge_protection"], &made["refuse_expired"]), (&true.into(), &true.into()));
    place.run(&[&["vault", "init", "keys.vault"], &word[..]].concat()).failed(8, "exists");

    // Purge protection holds against --yes.
    let run = |command| place.run(&[&["key", command, "disks", "--vault", "keys.vault", "-y"], &word[..]].concat());
    assert_eq!(run("delete").status, 0);
    run("purge").failed(8, "purge protection");
}

#[test]
fn a_key_goes_through_its_life() {
    let place = Place::with_vault();
    place.json("key create", &["key", "create", "other"]);
    place.run(&["key", "create", "other"]).failed(8, "already");
    let rotated = place.json("key rotate", &["key", "rotate", "disks"]);
    assert_eq!(rotated["versions"].as_array().unwrap().len(), 2);
    let disabled = place.json("key disable", &["key", "disable", "disks", "1"]);
    assert_eq!(
        (&disabled["versions"][0]["enabled"], &disabled["versions"][1]["enabled"]),
        (&false.into(), &true.into())
    );
    place.json("key enable", &["key", "enable", "disks", "1"]);
    let expiring = place.json("key expire", &["key", "expire", "disks", "--at", "2030-01-31T00:00:00Z"]);
    // 2030-01-31, by `date -u -d 2030-01-31 +%s`.
    assert_eq!(expiring["versions"][1]["expires"], 1_896_048_000);
    let never = place.json("key expire", &["key", "expire", "disks", "--at", "never"]);
    assert!(never["versions"][1]["expires"].is_null());
    place.run(&["key", "expire", "disks", "--at", "soon"]).failed(2, "a time is");
    place.run(&["key", "show", "none"]).failed(3, "no key");
    place.run(&["key", "disable", "disks", "7"]).failed(3, "no such version");

    place.run(&["key", "delete", "other"]).failed(8, "say --yes");
    assert_eq!(place.json("key ls", &["key", "ls"])["keys"].as_array().unwrap().len(), 2);
    place.json("key delete", &["key", "delete", "other", "--yes"]);
    assert_eq!(place.json("key ls --deleted", &["key", "ls", "--deleted"])["deleted_keys"][0]["name"], "other");
    place.json("key recover", &["key", "recover", "other"]);
    place.run(&["key", "purge", "other", "--yes"]).failed(3, "no deleted key");
    place.ok(&["key", "delete", "other", "--yes"]);
    place.run(&["key", "purge", "other"]).failed(8, "lost for good");
    let left = place.json("key purge", &["key", "purge", "other", "--yes"]);
    assert!(left["deleted_keys"].as_array().unwrap().is_empty());
}

#[test]
fn an_imported_key_is_the_callers_own() {
    let place = Place::with_vault();
    place.write("own.key", [7; 32]);
    let key = place.json("key import", &["key", "import", "own", "--from", "own.key"]);
    assert_eq!(key["versions"][0]["origin"], "imported");
    let key = place.json("key import", &["key", "import", "disks", "--from", "own.key", "--new-version"]);
    assert_eq!(key["versions"][1]["origin"], "imported");
    place.write("short.key", [7; 5]);
    place.run(&["key", "import", "short", "--from", "short.key"]).failed(2, "32 bytes");
    place.run(&["key", "import", "none", "--from", "none.key"]).failed(3, "none.key");
}

#[test]
fn grants_are_given_and_taken_and_an_identity_is_held_to_them() {
    let place = Place::with_vault();
    let granted = place.json("grant", &["grant", "alice", "get", "unwrapKey"]);
    assert_eq!(granted["grants"][0]["operations"], serde_json::json!(["get", "unwrapKey"]));
    place.image("plain.img", 4096);
    let as_alice = ["encrypt", "plain.img", "a.luks", "--key", "disks", "--as", "alice"];
    place.run(&as_alice).failed(5, "wrapKey");
    assert!(!place.files().iter().any(|name| name.starts_with("a.luks")), "{:?}", place.files());
    place.ok(&["grant", "alice"]);
    place.ok(&as_alice);
    place.json("revoke", &["revoke", "alice", "unwrapKey"]);
    place.run(&["decrypt", "a.luks", "b.img", "--as", "alice"]).failed(5, "unwrapKey");
    let left = place.json("revoke", &["revoke", "alice"]);
    assert!(left["grants"].as_array().unwrap().is_empty());
    place.ok(&["decrypt", "a.luks", "b.img"]);
}

#[test]
fn the_log_tells_of_every_use_and_a_change_of_it_is_found() {
    let place = Place::with_vault();
    place.encrypted("a.luks", 4096);
    let lines = place.ok(&["audit", "--json"]);
    let entries: Vec<_> = lines.lines().map(|line| conforms("audit", serde_json::from_str(line).unwrap())).collect();
    let operations: Vec<&str> = entries.iter().map(|entry| entry["operation"].as_str().unwrap()).collect();
    assert_eq!(operations, ["create", "wrapKey", "unwrapKey"], "the vault checks what it wraps");
    let checked = place.json("audit --verify", &["audit", "--verify"]);
    assert_eq!(checked["entries"], 3);
    let head = checked["head"].as_str().unwrap();
    place.ok(&["audit", "--verify", "--including", head]);
    assert_eq!(place.ok(&["audit", "--since", "2100-01-01"]), "");
    assert_eq!(place.ok(&["audit", "--since", "1h"]).lines().count(), 3);

    let log = String::from_utf8(place.read("keys.vault.audit")).unwrap();
    let without: Vec<&str> = log.lines().enumerate().filter(|(i, _)| *i != 1).map(|(_, line)| line).collect();
    place.write("keys.vault.audit", without.join("\n") + "\n");
    place.run(&["audit", "--verify"]).failed(6, "damaged");
    place.run(&["vault", "verify"]).failed(6, "does not follow");
}

#[test]
fn a_volume_follows_the_key_that_protects_it() {
    let place = Place::with_vault();
    place.encrypted("a.luks", 4096);
    place.ok(&["key", "rotate", "disks"]);
    let rotated = place.json("rotate", &["rotate", "a.luks"]);
    assert!(rotated["volumes"][0]["key"].as_str().unwrap().ends_with("/keys/disks/2"));
    place.ok(&["key", "disable", "disks", "1"]);
    place.ok(&["decrypt", "a.luks", "b.img"]);
    assert_eq!(place.read("b.img"), place.read("plain.img"));
    place.ok(&["key", "disable", "disks", "2"]);
    place.run(&["decrypt", "a.luks", "c.img"]).failed(5, "disabled");
    place.ok(&["key", "enable", "disks", "2"]);
    place.ok(&["key", "delete", "disks", "-y"]);
    place.run(&["decrypt", "a.luks", "c.img"]).failed(5, "deleted");
}
