//! A disk service from the shell: sets, disks, snapshots, and the report.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::common::{Place, by_peer, conforms, peer};

/// A platform's vault with the keys `floor` and `disks`, and a place for disks.
pub fn place() -> Place {
    let mut place = Place::new();
    let options = ["--region", "north", "--tenant", "contoso", "--purge-protection", "--key", "floor"];
    place.ok(&[&["vault", "init", "keys.vault", "--vault-key-file", "root.key"], &options[..]].concat());
    std::fs::create_dir(place.path("disks")).unwrap();
    for (name, value) in [
        ("ATREST_VAULT", "keys.vault"),
        ("ATREST_VAULT_KEY_FILE", "root.key"),
        ("ATREST_FLEET_DISKS", "file:disks"),
        ("ATREST_FLEET_KEY", "floor"),
    ] {
        place.set(name, value);
    }
    place.ok(&["key", "create", "disks"]);
    place
}

pub const WHERE: [&str; 4] = ["--region", "north", "--subscription", "contoso"];

/// Makes the set `one`, which may use its key; returns the key's URL.
fn make_set(place: &Place) -> String {
    let key = place.json("key show", &["key", "show", "disks"])["versions"][0]["id"].as_str().unwrap().to_owned();
    let create = ["fleet", "set", "create", "one", "--key", &key, "--tenant", "contoso"];
    let set = place.json("fleet set create", &[&create, &WHERE[..]].concat());
    place.ok(&["grant", set["identity"].as_str().unwrap()]);
    key
}

#[test]
fn disks_of_a_set_are_made_written_copied_rotated_and_reported() {
    let place = place();
    make_set(&place);
    let plain = place.image("disk.img", 3 << 20);
    let create = ["fleet", "disk", "create", "web", "--size", "4M", "--set", "one"];
    let disk = place.json("fleet disk create", &[&create, &WHERE[..]].concat());
    assert_eq!((&disk["size"], &disk["set"]), (&(4 << 20).into(), &"one".into()));
    place.run(&["fleet", "disk", "write", "web", "disk.img"]).failed(8, "will be overwritten");
    place.json("fleet disk write", &["fleet", "disk", "write", "web", "disk.img", "-y"]);
    place.json("fleet disk create", &[&["fleet", "disk", "create", "floor", "--size", "1M"], &WHERE[..]].concat());
    place.json("fleet snapshot create", &["fleet", "snapshot", "create", "monday", "--disk", "web", "--incremental"]);
    let copy = ["fleet", "disk", "create", "copy", "--from", "snapshot:monday", "--set", "one"];
    place.json("fleet disk create", &[&copy, &WHERE[..]].concat());
    assert_eq!(place.json("fleet disk ls", &["fleet", "disk", "ls"])["resources"].as_array().unwrap().len(), 3);
    let report = place.json("fleet report", &["fleet", "report"]);
    assert_eq!((&report["finished"], report["resources"].as_array().unwrap().len()), (&true.into(), 4));

    place.ok(&["key", "rotate", "disks"]);
    let rotated = place.json("fleet set rotate", &["fleet", "set", "rotate", "one"]);
    assert_eq!(rotated["moved"], 3);
    place.ok(&["key", "disable", "disks", "1"]);
    let set = place.json("fleet set show", &["fleet", "set", "show", "one"]);
    assert!(set["active_key"].as_str().unwrap().ends_with("/disks/2"));
    place.ok(&["key", "rotate", "floor"]);
    assert_eq!(place.json("fleet rotate-platform", &["fleet", "rotate-platform"])["moved"], 1);

    // A disk is a LUKS2 volume, which its id is the context of.
    let id = disk["id"].as_str().unwrap();
    let file = format!("disks/{id}.disk");
    place.ok(&["verify", &file, "--context", id, "--against", "disk.img"]);
    assert!(!place.read(&file).windows(64).any(|window| window == &plain[..64]));

    if peer("qemu-img") {
        let mut command = place.command(&["fleet", "disk", "serve", "copy", "--nbd", "copy.sock", "--json"]);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        conforms("fleet disk serve", serde_json::from_str(&line).unwrap());
        by_peer(&place, "qemu-img", &["convert", "-O", "raw", "nbd+unix:///?socket=copy.sock", "copy.img"]);
        assert_eq!(place.read("copy.img")[..plain.len()], plain);
        // The store is one process's.
        place.run(&["fleet", "report"]).failed(7, "fleet.redb");
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }

    place.json("fleet disk resize", &["fleet", "disk", "resize", "floor", "--size", "2M"]);
    place.json("fleet disk put-into-set", &["fleet", "disk", "put-into-set", "floor", "one"]);
    place.json("fleet snapshot rm", &["fleet", "snapshot", "rm", "monday", "-y"]);
    place.run(&["fleet", "disk", "rm", "web"]).failed(8, "with all its data");
    place.run(&["fleet", "set", "rm", "one", "-y"]).failed(8, "still has disks");
    for disk in ["web", "copy", "floor"] {
        place.json("fleet disk rm", &["fleet", "disk", "rm", disk, "-y"]);
    }
    place.json("fleet set rm", &["fleet", "set", "rm", "one", "-y"]);
    assert_eq!(std::fs::read_dir(place.path("disks")).unwrap().count(), 0);
    place.json("fleet backup", &["fleet", "backup", "fleet.copy"]);
    place.json("fleet check", &["fleet", "--store", "fleet.copy", "check"]);
}

#[test]
fn a_store_is_checked_copied_and_moved_without_a_vault() {
    let place = place();
    make_set(&place);
    place.ok(&[&["fleet", "disk", "create", "web", "--size", "1M", "--set", "one"], &WHERE[..]].concat());
    let disks = place.ok(&["fleet", "disk", "ls", "--json"]);
    let bare = ["--vault", "no-such-vault"];
    let json = |name: &str, args: &[&str]| place.json(name, &[args, &bare[..]].concat());
    assert_eq!(json("fleet store check", &["fleet", "store", "check"])["sound"], true);
    json("fleet store backup", &["fleet", "store", "backup", "copy.redb"]);
    place.run(&["fleet", "store", "backup", "copy.redb"]).failed(8, "copy.redb");
    let copied = json("fleet store copy", &["fleet", "store", "copy", "file:copy.redb", "moved.redb"]);
    assert!(copied["records"].as_u64().unwrap() >= 4, "{copied}");
    assert_eq!(place.ok(&["fleet", "disk", "ls", "--json", "--store", "file:moved.redb"]), disks);
    // What is there isn't overwritten, and nothing is made of what isn't.
    place.run(&["fleet", "store", "copy", "fleet.redb", "moved.redb"]).failed(2, "empty");
    place.run(&["fleet", "store", "copy", "none.redb", "new.redb"]).failed(3, "none.redb");
    place.run(&["fleet", "store", "check", "--store", "none.redb"]).failed(3, "none.redb");
    place.run(&["fleet", "store", "backup", "new.redb", "--store", "none.redb"]).failed(3, "none.redb");
    assert!(!place.files().iter().any(|name| name.starts_with("none") || name.starts_with("new")));
    place.run(&["fleet", "hosts"]).failed(2, "only a store that hosts share");
    place.run(&["fleet", "attachments"]).failed(2, "only a store that hosts share");
    let mut bytes = place.read("moved.redb");
    let at = bytes.windows(7).rposition(|window| window == b"contoso").unwrap();
    bytes[at] ^= 1;
    place.write("moved.redb", bytes);
    place.run(&["fleet", "store", "check", "--store", "moved.redb"]).failed(6, "damaged");
    // A URL's password is neither taken nor shown.
    for url in ["mysql://root:s3cret@host/x", "postgres://root:s3cret@host/x", "etcd://root:s3cret@host"] {
        for args in [["fleet", "store", "check", "--store", url], ["fleet", "disk", "ls", "--store", url]] {
            let ran = place.run(&args);
            assert!(ran.status == 2 && !ran.stderr.contains("s3cret"), "{}", ran.stderr);
        }
    }
}

#[test]
fn a_key_that_is_taken_away_stops_its_disks() {
    let place = place();
    let key = place.json("key show", &["key", "show", "disks"])["versions"][0]["id"].as_str().unwrap().to_owned();
    let create = ["fleet", "set", "create", "one", "--key", &key, "--tenant", "contoso"];
    let made = place.run(&[&create, &WHERE[..]].concat());
    assert_eq!(made.status, 0, "{}", made.stderr);
    let identity =
        place.json("fleet set show", &["fleet", "set", "show", "one"])["identity"].as_str().unwrap().to_owned();
    assert!(made.stderr.contains(&format!("atrest grant {identity}")), "{}", made.stderr);
    let disk =
        ["fleet", "disk", "create", "web", "--size", "1M", "--set", "one", WHERE[0], WHERE[1], WHERE[2], WHERE[3]];
    place.run(&disk).failed(5, "grant");
    place.ok(&["grant", &identity]);
    place.ok(&disk);
    place.image("disk.img", 4096);
    place.ok(&["key", "disable", "disks"]);
    place.run(&["fleet", "disk", "write", "web", "disk.img", "-y"]).failed(5, "disabled");
    place.run(&["fleet", "disk", "show", "none"]).failed(3, "none");
    place
        .run(&[
            "fleet", "set", "create", "two", "--key", "nonsense", "--tenant", "t", WHERE[0], WHERE[1], WHERE[2],
            WHERE[3],
        ])
        .failed(2, "VAULT/keys/NAME/VERSION");
}
