//! A disk service from the shell: sets, disks, snapshots, and the report.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::common::{Place, by_peer, conforms, noise, peer, started, stop};

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
pub fn make_set(place: &Place) -> String {
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
        let (child, line) = started(&mut command);
        conforms("fleet disk serve", serde_json::from_str(&line).unwrap());
        by_peer(&place, "qemu-img", &["convert", "-O", "raw", "nbd+unix:///?socket=copy.sock", "copy.img"]);
        assert_eq!(place.read("copy.img")[..plain.len()], plain);
        // The store is one process's.
        place.run(&["fleet", "report"]).failed(7, "fleet.redb");
        assert_eq!(stop(child, Signal::TERM), Some(0));
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
    // The old one stays closed, until somebody says that nobody uses the other.
    let old = ["fleet", "--store", "copy.redb"];
    place.run(&[&old[..], &["disk", "ls"]].concat()).failed(9, "`atrest fleet --store STORE store reopen`");
    place.run(&[&old[..], &["store", "reopen"]].concat()).failed(8, "both write the same disks");
    place.run(&[&old[..], &["disk", "ls"]].concat()).failed(9, "moved");
    assert_eq!(json("fleet store reopen", &[&old[..], &["store", "reopen", "-y"]].concat())["sound"], true);
    assert_eq!(place.ok(&[&old[..], &["disk", "ls"]].concat()), place.ok(&["fleet", "disk", "ls"]));
    place.run(&["fleet", "--store", "none.redb", "store", "reopen", "-y"]).failed(3, "none.redb");
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

/// The bytes that a disk reads as, by the volume in its file.
fn content(place: &Place, id: &str) -> Vec<u8> {
    place.ok(&["decrypt", &format!("disks/{id}.disk"), "plain.img", "--context", id, "-y"]);
    place.read("plain.img")
}

fn fingerprint(place: &Place, id: &str) -> String {
    let disk = format!("disks/{id}.disk");
    let info = place.json("info", &["info", &disk, "--unlock", "--context", id]);
    info["unlocked"]["fingerprint"].as_str().unwrap().to_owned()
}

#[test]
fn an_image_has_a_copy_of_each_disk_in_each_region() {
    let place = place();
    make_set(&place);
    let plain = place.image("disk.img", 2 << 20);
    place.ok(&[&["fleet", "disk", "create", "web", "--size", "2M"], &WHERE[..]].concat());
    place.ok(&[&["fleet", "disk", "create", "db", "--size", "1M", "--set", "one"], &WHERE[..]].concat());
    place.ok(&["fleet", "disk", "write", "web", "disk.img", "-y"]);
    let create = ["fleet", "image", "create", "golden", "--disk", "web", "--disk", "db"];
    // Of a disk under a customer's key, a copy is under one, too; and one set, or one for each.
    place.run(&[&create[..], &["--to", "north"]].concat()).failed(8, "name a set for it");
    place.run(&[&create[..], &["--to", "north=one,one,one"]].concat()).failed(2, "--to north=SET,SET");
    place.run(&["fleet", "image", "create", "golden", "--disk", "none", "--to", "north"]).failed(3, "none");
    let made = place.json("fleet image create", &[&create[..], &["--to", "north=,one"]].concat());
    let sets: Vec<_> = made["copies"].as_array().unwrap().iter().map(|copy| copy["set"].clone()).collect();
    assert_eq!(sets, [serde_json::Value::Null, "one".into()]);
    place.run(&[&create[..], &["--to", "north=one"]].concat()).failed(8, "golden");
    let web =
        ["fleet", "image", "create", "web", "--disk", "web", "--to", "north", "--to", "south", "--progress", "json"];
    let progress = place.run(&web).stderr;
    let last: serde_json::Value = serde_json::from_str(progress.lines().last().unwrap()).unwrap();
    assert_eq!((&last["done"], &last["total"]), (&(4 << 20).into(), &(4 << 20).into()));

    let listed = place.json("fleet image ls", &["fleet", "image", "ls"]);
    let of = |image: &serde_json::Value| {
        [image["name"].clone(), image["disks"].clone(), image["regions"].clone(), image["size"].clone()]
    };
    let listed: Vec<_> = listed["images"].as_array().unwrap().iter().map(of).collect();
    let north = serde_json::json!(["north"]);
    assert_eq!(listed[0], ["golden".into(), 2.into(), north, (3 << 20).into()]);
    assert_eq!(listed[1], ["web".into(), 1.into(), serde_json::json!(["north", "south"]), (2 << 20).into()]);
    let copies = place.json("fleet image show", &["fleet", "image", "show", "web"]);
    for copy in copies["copies"].as_array().unwrap() {
        assert_eq!(content(&place, copy["id"].as_str().unwrap()), plain);
    }
    assert_eq!(copies["copies"][1]["name"], "web/south/0");

    let from = ["fleet", "disk", "create", "again", "--from", "image:web/south/0"];
    let again = place.json("fleet disk create", &[&from[..], &WHERE[..]].concat());
    assert_eq!(content(&place, again["id"].as_str().unwrap()), plain);
    for wrong in ["image:web", "image:web/south/x", "image:web/south/0/0", "web"] {
        let from = ["fleet", "disk", "create", "other", "--from", wrong];
        place.run(&[&from[..], &WHERE[..]].concat()).failed(2, "image:NAME/REGION/NUMBER");
    }
    assert_eq!(place.json("fleet report", &["fleet", "report"])["resources"].as_array().unwrap().len(), 7);
    place.run(&["fleet", "image", "rm", "web"]).failed(8, "with its 2 copies");
    assert_eq!(
        place.json("fleet image rm", &["fleet", "image", "rm", "web", "-y"])["images"].as_array().unwrap().len(),
        1
    );
    place.run(&["fleet", "image", "show", "web"]).failed(3, "no image");
}

#[test]
fn a_disks_data_move_to_a_new_key_in_parts() {
    let place = place();
    make_set(&place);
    let plain = place.image("disk.img", 40 << 20);
    let create = ["fleet", "disk", "create", "web", "--size", "40M", "--set", "one"];
    let id = place.json("fleet disk create", &[&create, &WHERE[..]].concat())["id"].as_str().unwrap().to_owned();
    place.ok(&["fleet", "disk", "write", "web", "disk.img", "-y"]);
    let before = fingerprint(&place, &id);
    let rekey = ["fleet", "disk", "rekey", "web"];
    place.run(&[&rekey[..], &["--resume"]].concat()).failed(8, "without --resume it begins");
    place.run(&["fleet", "disk", "rekey", "none"]).failed(3, "none");
    let part = place.json("fleet disk rekey", &[&rekey[..], &["--at-most", "16M"]].concat());
    assert_eq!((&part["finished"], &part["total"]), (&false.into(), &(40 << 20).into()));
    place.run(&rekey).failed(7, "`atrest fleet disk rekey web --resume` goes on");
    // Meanwhile it is a volume that opens, with the same data.
    assert_eq!(content(&place, &id), plain);
    if peer("cryptsetup") {
        let dump = by_peer(&place, "cryptsetup", &["luksDump", &format!("disks/{id}.disk")]);
        assert!(dump.contains("online-reencrypt"), "{dump}");
    }
    let rest = place.json("fleet disk rekey", &[&rekey[..], &["--resume"]].concat());
    assert_eq!((&rest["finished"], &rest["done"]), (&true.into(), &(40 << 20).into()));
    assert_ne!(fingerprint(&place, &id), before);
    assert_eq!(content(&place, &id), plain);
    assert_eq!(place.json("fleet report", &["fleet", "report"])["finished"], true);
}

/// The vault unwraps the data key, and doesn't wrap a new one: nothing begins.
#[test]
fn an_order_that_has_not_begun_is_withdrawn() {
    let place = place();
    make_set(&place);
    let create = ["fleet", "disk", "create", "web", "--size", "4M", "--set", "one"];
    let id = place.json("fleet disk create", &[&create, &WHERE[..]].concat())["id"].as_str().unwrap().to_owned();
    let (before, identity) = (fingerprint(&place, &id), place.json("fleet set show", &["fleet", "set", "show", "one"]));
    let identity = identity["identity"].as_str().unwrap();
    place.ok(&["revoke", identity, "wrapKey"]);
    let [rekey, cancel] = ["--at-most=1M", "--cancel"].map(|option| ["fleet", "disk", "rekey", "web", option]);
    place.run(&cancel).failed(8, "no order");
    place.run(&rekey).failed(5, "wrapKey");
    place.run(&["fleet", "disk", "rekey", "web"]).failed(7, "--resume");
    let withdrawn = place.json("fleet disk rekey", &cancel);
    assert_eq!((&withdrawn["withdrawn"], &withdrawn["total"]), (&true.into(), &(4 << 20).into()));
    assert_eq!(fingerprint(&place, &id), before);
    place.ok(&["grant", identity]);
    place.ok(&rekey);
    place.run(&cancel).failed(8, "can't be withdrawn");
    assert_eq!(place.json("fleet disk rekey", &["fleet", "disk", "rekey", "web", "--resume"])["finished"], true);
    assert_ne!(fingerprint(&place, &id), before);
}

/// Ctrl-C stops between two parts, and tells what goes on.
#[test]
fn an_interrupted_rekey_goes_on() {
    let place = place();
    place.ok(&[&["fleet", "disk", "create", "web", "--size", "256M"], &WHERE[..]].concat());
    let mut command = place.command(&["fleet", "disk", "rekey", "web", "--progress", "json"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    // Once it is under way.
    lines.next().unwrap().unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let said = lines.map(Result::unwrap).last().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(said.contains("the disk can be used, and `atrest fleet disk rekey web --resume` goes on"), "{said}");
    assert_eq!(place.json("fleet disk rekey", &["fleet", "disk", "rekey", "web", "--resume"])["finished"], true);
}

/// Disks on an NBD server's exports, one for each.
#[test]
fn disks_lie_on_an_nbd_server() {
    if !peer("nbdkit") {
        return;
    }
    let mut place = place();
    make_set(&place);
    place.set("ATREST_FLEET_DISKS", "nbd+unix:///{id}?socket=store.sock");
    place.set("XDG_RUNTIME_DIR", "/nonexistent");
    // NBD has no message that makes an export: this plugin has one for each name, in memory, which is the disk's id.
    let plugin = "#!/bin/sh
case $1 in
    list_exports) echo NAMES; ls exports ;;
    open) [ -e exports/$3 ] || truncate -s 64M exports/$3; echo $3 ;;
    get_size) stat -c %s exports/$2 ;;
    pread) dd if=exports/$2 skip=$4 count=$3 iflag=skip_bytes,count_bytes bs=1M status=none ;;
    pwrite) dd of=exports/$2 seek=$4 oflag=seek_bytes conv=notrunc bs=1M status=none ;;
    can_write|can_flush) exit 0 ;;
    flush) sync exports/$2 ;;
    *) exit 2 ;;
esac";
    std::fs::create_dir(place.path("exports")).unwrap();
    place.write("plugin", plugin);
    std::fs::set_permissions(place.path("plugin"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut server = std::process::Command::new("nbdkit");
    server.current_dir(place.root()).args([
        "--foreground",
        "--exit-with-parent",
        "--unix",
        "store.sock",
        "sh",
        "./plugin",
    ]);
    let mut server = server.spawn().unwrap();
    let start = std::time::Instant::now();
    while !place.path("store.sock").exists() {
        assert!(server.try_wait().unwrap().is_none() && start.elapsed().as_secs() < 60, "nbdkit doesn't listen");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let plain = place.image("disk.img", 1 << 20);
    let create = ["fleet", "disk", "create", "web", "--size", "1M", "--set", "one"];
    let made = place.run(&[&create, &WHERE[..], &["--json"]].concat());
    assert_eq!(made.status, 0, "{}", made.stderr);
    place.ok(&["fleet", "disk", "write", "web", "disk.img", "-y"]);
    let disk: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let id = disk["id"].as_str().unwrap();
    place.ok(&["verify", &format!("exports/{id}"), "--context", id, "--against", "disk.img"]);
    assert!(!place.read(&format!("exports/{id}")).windows(64).any(|window| window == &plain[..64]));
    place.set("ATREST_FLEET_DISKS", "nbd+unix:///?socket=store.sock");
    place.run(&["fleet", "report"]).failed(2, "{id}");
    place.set("ATREST_FLEET_DISKS", "gopher:disks");
    place.run(&["fleet", "report"]).failed(2, "file:");
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn an_encrypted_volume_is_adopted_with_its_data() {
    if !peer("cryptsetup") {
        return;
    }
    let place = place();
    make_set(&place);
    let plain = noise(8192);
    let guest = || {
        place.write("guest.key", "of the guest");
        by_peer(&place, "truncate", &["-s", "18M", "guest.img"]);
        let costs = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--key-file", "guest.key"];
        by_peer(&place, "cryptsetup", &[&["luksFormat", "-q", "--type", "luks2"], &costs[..], &["guest.img"]].concat());
        let device = atrest::FileDevice::open(place.path("guest.img")).unwrap();
        let credential = atrest::Credential::Passphrase(b"of the guest");
        let volume = atrest::Volume::open(device, credential, &atrest::OpenOptions::new()).unwrap();
        volume.write_at(0, &plain).unwrap();
        volume.sync().unwrap();
    };
    guest();
    place.write("wrong.key", "wrong");
    fn adopt<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&["fleet", "disk", "adopt", "web", "guest.img", "--set", "one"], &WHERE[..], more].concat()
    }
    place.run(&adopt(&["--key-file", "wrong.key"])).failed(4, "passphrase");
    place.run(&adopt(&["--key-file", "guest.key", "--guest-encrypted"])).failed(8, "re-encryption");
    let made = place.json("fleet disk adopt", &adopt(&["--key-file", "guest.key", "--guest-encrypted", "--reencrypt"]));
    assert_eq!((made["set"].as_str(), made["size"].as_u64()), (Some("one"), Some(2 << 20)));
    assert!(!place.path("guest.img").exists());
    let file = format!("disks/{}.disk", made["id"].as_str().unwrap());
    let dump = by_peer(&place, "cryptsetup", &["luksDump", &file]);
    assert!(dump.contains("0: atrest") && !dump.contains("0: luks2"), "{dump}");
    place.run(&["check", &file, "--unlock", "--key-file", "guest.key"]).failed(4, "keyslot");
    place.ok(&["decrypt", &file, "out.img"]);
    assert_eq!(place.read("out.img")[..8192], plain);
}

/// Ctrl-C stops its re-encryption between two parts, and tells what goes on.
#[test]
fn an_interrupted_adoption_goes_on() {
    if !peer("cryptsetup") {
        return;
    }
    let place = place();
    place.write("guest.key", "of the guest");
    by_peer(&place, "truncate", &["-s", "272M", "guest.img"]);
    let costs = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--key-file", "guest.key"];
    by_peer(&place, "cryptsetup", &[&["luksFormat", "-q", "--type", "luks2"], &costs[..], &["guest.img"]].concat());
    let how = ["--key-file", "guest.key", "--guest-encrypted", "--reencrypt", "--progress", "json"];
    let adopt = [&["fleet", "disk", "adopt", "web", "guest.img"], &WHERE[..], &how].concat();
    let mut child = place.command(&adopt).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    // Once it is under way.
    lines.next().unwrap().unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let said = lines.map(Result::unwrap).last().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let goes_on = "`atrest fleet disk rekey web --resume` goes on";
    assert!(said.contains("the disk can be used, and") && said.contains(goes_on), "{said}");
    place.run(&adopt).failed(8, goes_on);
    assert_eq!(place.json("fleet disk rekey", &["fleet", "disk", "rekey", "web", "--resume"])["finished"], true);
}
