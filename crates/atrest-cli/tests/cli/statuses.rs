//! Every exit status of the manual, from every cause that it names there. Those of signals are in `obstacles`.

use std::fs::{self, File};

use crate::common::{CHEAP, Place};
use crate::documents::document;

/// The statuses that a row of the manual's table begins with.
fn of_the_manual() -> Vec<u8> {
    let text = document("docs/cli.md");
    let (_, section) = text.split_once("## Exit statuses").unwrap();
    let rows = section.lines().take_while(|line| !line.starts_with("## "));
    rows.filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok()).collect()
}

/// A volume `a.luks` under the key `disks` and the passphrase in the file `word`.
fn place() -> Place {
    let place = Place::with_vault();
    place.encrypted("a.luks", 1 << 20);
    place.write("word", "correct horse");
    place.write("other", "another horse");
    place.ok(&[&["protector", "add", "a.luks", "--new-key-file", "word"], &CHEAP[..]].concat());
    place
}

#[test]
fn the_manual_and_the_help_name_the_same_statuses() {
    assert_eq!(of_the_manual(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 130]);
    let help = Place::new().ok(&["--help"]);
    let (_, statuses) = help.split_once("Exit statuses: ").unwrap();
    for status in of_the_manual() {
        assert!(statuses.split([' ', ',', '\n']).any(|word| word == status.to_string()), "{status}: {statuses}");
    }
}

#[test]
fn a_difference_is_1() {
    let place = place();
    place.ok(&["verify", "a.luks", "--against", "plain.img"]);
    let mut other = place.read("plain.img");
    other[70_000] ^= 1;
    place.write("other.img", &other);
    place.run(&["verify", "a.luks", "--against", "other.img"]).failed(1, "from byte 70000 on");
    place.write("longer.img", [&other[..], &[0; 512]].concat());
    assert_eq!(place.run(&["verify", "a.luks", "--against", "longer.img"]).status, 1);
}

#[test]
fn what_was_typed_wrongly_is_2() {
    let place = place();
    for (args, said) in [
        (&["info", "a.luks", "--nonsense"][..], "--nonsense"),
        (&["key", "create", "no/name"], "a key's name is"),
        (&["format", "b.luks", "--size", "some"], "some"),
        (&["format", "b.luks", "--size", "64M", "--sector-size", "700"], "512, 1024, 2048 or 4096"),
        (&["encrypt", "plain.img", "b.luks", "--cipher", "rot13"], "rot13"),
        (&["resize", "a.luks", "--size", "1000", "-y"], "multiple of"),
        (&["info", "a.luks", "--unlock", "--fingerprint", "12"], "64 hexadecimal digits"),
        (&["info", "a.luks", "--unlock", "--passphrase-from", "hunter2"], "never given as an argument"),
        (&["protector", "add", "a.luks"], "no terminal"),
        (&["secret", "set", "own", "hunter2"], "never given as an argument"),
        (&["secret", "set", "own", "--from", "hunter2"], "never given as an argument"),
        // What is something else than a file or a device.
        (&["info", "."], "it is a folder"),
        (&["check", "/dev/null"], "not a file"),
        (&["vault", "info", "."], "it is a folder"),
        (&["rotate", "."], "1 of 1"),
        (&["key", "import", "own", "--from", "word"], "16, 24 or 32 bytes"),
        (&["encrypt", "plain.img", "b.luks", "--vault", "nonsense://x", "--key", "disks"], "file:"),
    ] {
        let ran = place.run(args);
        ran.failed(2, said);
        assert!(!ran.stderr.contains("hunter2"), "{}", ran.stderr);
    }
    assert!(place.run(&["rotate", "."]).text().contains("--all looks through it"));
    place.write("dek", crate::common::noise(47));
    let plain = ["decrypt", "plain.img", "b.img", "--plain", "--dek-file", "dek"];
    place.run(&plain).failed(2, "");
    place.write("dek", crate::common::noise(64));
    place.run(&[&plain[..], &["--offset", "36028797018963968"]].concat()).failed(2, "too large");
    assert!(!place.files().iter().any(|name| name.starts_with("b.")), "{:?}", place.files());
}

#[test]
fn what_is_not_there_is_3() {
    let place = place();
    for (args, said) in [
        (&["info", "none.luks"][..], "none.luks"),
        (&["vault", "info", "none.vault"], "none.vault"),
        (&["vault", "info", "--vault-key-file", "none.key"], "none.key"),
        (&["check", "a.luks", "--unlock", "--key-file", "none.key"], "none.key"),
        (&["check", "a.luks", "--header", "none.header"], "none.header"),
        (&["header", "restore", "a.luks", "none.header", "-y"], "none.header"),
        (&["rotate", "none.luks"], "1 of 1"),
        // A key.
        (&["encrypt", "plain.img", "b.luks", "--key", "typo"], "`atrest key ls` shows the keys"),
        (&["key", "rotate", "typo"], "typo"),
        (&["key", "delete", "typo", "-y"], "typo"),
        (
            &[
                "protector",
                "add",
                "a.luks",
                "--new-vault",
                "keys.vault",
                "--new-vault-key-file",
                "root.key",
                "--new-key",
                "typo",
            ],
            "typo",
        ),
        // A way in.
        (&["protector", "rm", "a.luks", "keyslot:9", "-y"], "keyslot:9"),
        (&["protector", "change", "a.luks", "keyslot:9", "--new-key-file", "other"], "keyslot 9"),
        (&["check", "a.luks", "--unlock", "--key-file", "word", "--keyslot", "9"], "no keyslot 9"),
    ] {
        place.run(args).failed(3, said);
    }
    // The key of the volume was destroyed, which no longer is a state of a key.
    place.ok(&["key", "create", "more"]);
    place.ok(&["encrypt", "plain.img", "b.luks", "--key", "more"]);
    place.ok(&["key", "delete", "more", "-y"]);
    place.run(&["check", "b.luks", "--unlock"]).failed(5, "recover");
    place.ok(&["key", "purge", "more", "-y"]);
    place.run(&["check", "b.luks", "--unlock"]).failed(3, "no key");
    place.run(&["secret", "get", "none"]).failed(3, "none");
    let create = ["fleet", "disk", "create", "web", "--size", "1M", "--region", "north", "--subscription", "one"];
    fs::create_dir(place.path("disks")).unwrap();
    let at = ["--disks", "file:disks", "--platform-key", "disks"];
    // A store that isn't there is no empty one, of which all would be well.
    for command in
        [&["report"][..], &["check"], &["backup", "copy"], &["disk", "ls"], &["set", "ls"], &["rotate-platform"]]
    {
        place.run(&[&["fleet"], command, &at[..]].concat()).failed(3, "fleet.redb: there is no store here");
        assert!(!place.path("fleet.redb").exists() && !place.path("copy").exists());
    }
    place.ok(&[&create[..], &at].concat());
    place.run(&[&["fleet", "disk", "show", "none"], &at[..]].concat()).failed(3, "none");
}

#[test]
fn a_credential_that_does_not_open_it_is_4() {
    let place = place();
    place.ok(&["vault", "init", "other.vault", "--vault-key-file", "root.key", "--key", "disks"]);
    place.write("other.key", crate::common::noise(64));
    for (args, said) in [
        (&["check", "a.luks", "--unlock", "--key-file", "other"][..], "wrong"),
        (&["check", "a.luks", "--unlock", "--passphrase-from", "file:other"], "wrong"),
        (&["vault", "info", "--vault-key-file", "other.key"], "does not open the vault"),
        (&["check", "a.luks", "--unlock", "--vault", "other.vault"], "did not wrap the key"),
    ] {
        place.run(args).failed(4, said);
    }
    place.encrypted("b.luks", 4096);
    place.run(&["check", "b.luks", "--unlock", "--key-file", "word"]).failed(4, "takes another credential");
    place.write("dek", crate::common::noise(64));
    place.run(&["check", "a.luks", "--unlock", "--dek-file", "dek"]).failed(4, "not the key of this volume");
}

#[test]
fn a_key_that_may_not_be_used_is_5() {
    let place = place();
    let open = ["check", "a.luks", "--unlock"];
    place.ok(&["key", "disable", "disks"]);
    place.run(&open).failed(5, "disabled");
    place.ok(&["key", "enable", "disks"]);
    place.ok(&["key", "delete", "disks", "-y"]);
    place.run(&open).failed(5, "recover");
    place.ok(&["key", "recover", "disks"]);
    place.run(&[&open[..], &["--as", "nobody"]].concat()).failed(5, "grant");
    place.ok(&open);
    let strict = ["--vault-key-file", "root.key", "--refuse-expired", "--key", "disks"];
    place.ok(&[&["vault", "init", "strict.vault"], &strict[..]].concat());
    place.ok(&["encrypt", "plain.img", "b.luks", "--vault", "strict.vault"]);
    place.ok(&["key", "expire", "disks", "--at", "2020-01-31T00:00:00Z", "--vault", "strict.vault"]);
    place.run(&["check", "b.luks", "--unlock", "--vault", "strict.vault"]).failed(5, "expired");
}

#[test]
fn what_is_damaged_or_something_else_is_6() {
    let place = place();
    let volume = place.read("a.luks");
    for len in [0, 100, 512, 4096, 20_000] {
        place.write("short.luks", &volume[..len]);
        assert_eq!(place.run(&["info", "short.luks"]).status, 6, "{len} bytes");
    }
    // The header is whole, and the data was cut off.
    place.write("cut.luks", &volume[..volume.len() - 4096]);
    place.run(&["check", "cut.luks", "--unlock"]).failed(6, "--allow-truncated");
    place.run(&["decrypt", "cut.luks", "cut.img"]).failed(6, "--allow-truncated");
    place.run(&["rotate", "cut.luks"]).failed(6, "1 of 1");
    place.run(&["info", "plain.img"]).failed(6, "no LUKS header");
    // Both copies of the header.
    let mut bad = volume.clone();
    for offset in [300, 0x4000 + 300] {
        bad[offset..offset + 8].fill(0xff);
    }
    place.write("bad.luks", &bad);
    place.run(&["check", "bad.luks"]).failed(6, "bad.luks");
    place.write("text", "no vault\n");
    place.run(&["vault", "info", "text"]).failed(6, "not a vault file");
    let mut vault = place.read("keys.vault");
    let at = vault.len() / 2;
    vault[at] ^= 1;
    fs::remove_file(place.path("keys.vault.bak")).unwrap();
    place.write("keys.vault", &vault);
    place.run(&["vault", "info"]).failed(6, "damaged");
}

#[test]
fn what_somebody_else_has_is_7() {
    let place = place();
    let volume = File::open(place.path("a.luks")).unwrap();
    volume.lock().unwrap();
    for command in ["info", "dump", "check", "decrypt", "serve", "rotate", "resize"] {
        let more: &[&str] = match command {
            "decrypt" => &["b.img"],
            "serve" => &["--nbd", "a.sock"],
            "resize" => &["--size", "4M"],
            _ => &[],
        };
        place
            .run(&[&[command, "a.luks"], more].concat())
            .failed(7, if command == "rotate" { "1 of 1" } else { "a.luks" });
    }
    let vault = File::create(place.path("keys.vault.lock")).unwrap();
    vault.lock().unwrap();
    place.run(&["key", "create", "more"]).failed(7, "keys.vault");
    // Sockets are tried in `serving`.
}

#[test]
fn what_would_destroy_or_is_another_is_8() {
    let place = place();
    for (args, said) in [
        (&["header", "erase", "a.luks"][..], "--yes"),
        (&["key", "delete", "disks"], "--yes"),
        (&["encrypt", "plain.img", "a.luks"], "a volume of LUKS2"),
        (&["key", "create", "disks"], "already"),
        (&["vault", "init", "keys.vault", "--vault-key-file", "root.key"], "exists"),
        (&["check", "a.luks", "--unlock", "--context", "disk-2"], "another context"),
        (&["check", "a.luks", "--unlock", "--expect-key", "other"], "is expected under the key"),
    ] {
        place.run(args).failed(8, said);
    }
    // There is no room for a header.
    place.write("small.img", [0; 4096]);
    place.run(&["format", "small.img", "-y"]).failed(8, "take a larger one");
    assert!(place.read("small.img") == [0; 4096]);
}

/// What has no room isn't damaged, and stays as it is. A volume or a copy that was cut off is.
#[test]
fn what_has_no_room_is_8_and_what_was_cut_off_is_6() {
    let place = place();
    place.ok(&["header", "backup", "a.luks", "a.header"]);
    let volume = place.read("a.luks");
    for (name, content) in [
        ("empty.img", Vec::new()),
        ("zeros.img", vec![0; 4096]),
        ("noise.img", crate::common::noise(1 << 20)),
        // A header whose device was cut off within it.
        ("cut.img", volume[..8 << 20].to_vec()),
        ("tiny.img", volume[..20_000].to_vec()),
    ] {
        place.write(name, &content);
        place.run(&["header", "restore", name, "a.header", "--force", "-y"]).failed(8, "Nothing was written");
        assert!(place.read(name) == content, "{name}");
    }
    for name in ["cut.img", "tiny.img"] {
        place.run(&["header", "restore", name, "a.header", "-y"]).failed(8, "name the device that the copy is of");
    }
    for len in [20_000, 8 << 20, (16 << 20) - 1] {
        place.write("short.header", &volume[..len]);
        for force in [&[][..], &["--force"]] {
            let restore = [&["header", "restore", "a.luks", "short.header", "-y"], force].concat();
            place.run(&restore).failed(6, "it was cut off; take another copy");
        }
    }
    assert!(place.read("a.luks") == volume);
    // Where a volume is made.
    place.write("small.img", vec![0; 1 << 20]);
    for args in [
        &["format", "small.img", "-y"][..],
        &["encrypt", "plain.img", "b.data", "--header", "small.img", "-y"],
        &["encrypt", "--in-place", "plain.img", "--header", "small.img", "-y"],
        &["encrypt", "--in-place", "plain.img", "--free-at-end", "32M", "-y"],
        &["format", "plain.img", "--header", "small.img", "-y"],
    ] {
        let ran = place.run(args);
        ran.failed(8, "take a larger one");
        assert!(!ran.stderr.contains("cut off"), "{}", ran.stderr);
    }
    assert!(place.read("small.img") == [0; 1 << 20] && !place.path("b.data").exists());
    place.ok(&["verify", "a.luks", "--against", "plain.img"]);
}

#[test]
fn what_the_system_refuses_is_9() {
    let place = place();
    place.shell("exec atrest info a.luks > /dev/full").failed(9, "standard output");
    place.run(&["check", "a.luks", "--unlock", "--passphrase-from", "command:exit 3"]).failed(9, "exit status: 3");
    let small = "trap '' XFSZ; ulimit -f 2048; exec atrest format new.luks --size 32M";
    place.shell(small).failed(9, "File too large");
    assert!(!place.files().iter().any(|name| name.starts_with("new.luks")), "{:?}", place.files());
}
