//! `rotate`: volumes move to the newest version of their key, one or all of them.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::block_devices::Loop;
use crate::common::{CHEAP, Place, Ran, conforms, noise, stop};

/// The answer of a run that may have failed.
fn answer(ran: &Ran) -> Value {
    conforms("rotate", serde_json::from_slice(&ran.stdout).unwrap())
}

/// What an answer says of each volume: its path, the number of its key's version, and whether it was moved.
fn told(answer: &Value) -> Vec<(&str, Option<&str>, bool)> {
    let version = |moved: &'_ Value| moved["key"].as_str().map(|key| key.rsplit('/').next().unwrap().to_owned());
    let all = answer["volumes"].as_array().unwrap().iter();
    all.map(|moved| {
        let key = version(moved).map(|version| match version.as_str() {
            "1" => "1",
            "2" => "2",
            "3" => "3",
            other => panic!("{other}"),
        });
        (moved["device"].as_str().unwrap(), key, moved["moved"].as_bool().unwrap())
    })
    .collect()
}

#[test]
fn a_second_run_changes_nothing_and_a_dry_one_only_tells() {
    let place = Place::with_vault();
    place.encrypted("a.luks", 4096);
    place.ok(&["key", "rotate", "disks"]);
    let before = place.read("a.luks");
    let dry = place.json("rotate", &["rotate", "a.luks", "--dry-run"]);
    assert_eq!(told(&dry), [("a.luks", Some("1"), false)]);
    assert!(dry["volumes"][0]["newest"].as_str().unwrap().ends_with("/keys/disks/2"));
    assert!(place.ok(&["rotate", "a.luks", "--dry-run"]).contains("would move to"));
    assert!(place.read("a.luks") == before, "a dry run has written");

    let moved = place.json("rotate", &["rotate", "a.luks"]);
    assert_eq!(told(&moved), [("a.luks", Some("2"), true)]);
    let after = place.read("a.luks");
    assert!(after != before);
    for args in [&["rotate", "a.luks"][..], &["rotate", "a.luks", "--dry-run"], &["rotate", "--all", "."]] {
        let again = place.json("rotate", args);
        assert_eq!(told(&again)[0].1.zip(Some(told(&again)[0].2)), Some(("2", false)), "{again}");
        assert!(place.ok(args).contains("already"));
    }
    assert!(place.read("a.luks") == after, "a second run has written");
    // Where the newest version may not be used, the one before it is that by which the vault wraps.
    place.ok(&["key", "disable", "disks", "2"]);
    place.run(&["rotate", "a.luks"]).failed(5, "1 of 1");
    // An identity that may not ask which version is the newest wraps all the same.
    place.ok(&["key", "enable", "disks", "2"]);
    place.ok(&["key", "rotate", "disks"]);
    place.ok(&["grant", "alice", "wrapKey", "unwrapKey"]);
    let blind = place.json("rotate", &["rotate", "a.luks", "--as", "alice"]);
    assert_eq!(told(&blind), [("a.luks", Some("3"), true)]);
    assert!(blind["volumes"][0]["newest"].is_null());
}

#[test]
fn all_volumes_of_a_vault_are_rotated_and_no_others() {
    let place = Place::with_vault();
    fs::create_dir_all(place.path("images/deep/er")).unwrap();
    fs::create_dir(place.path("elsewhere")).unwrap();
    for name in ["images/a.luks", "images/deep/er/b.luks", "elsewhere/c.luks", "elsewhere/d.luks"] {
        place.encrypted(name, 4096);
    }
    place.ok(&["vault", "init", "other.vault", "--vault-key-file", "root.key", "--key", "disks"]);
    place.ok(&["encrypt", "plain.img", "images/other.luks", "--vault", "other.vault"]);
    place.write("word", "other");
    place.ok(&[&["encrypt", "plain.img", "images/word.luks", "--key-file", "word"], &CHEAP[..]].concat());
    place.ok(&["header", "backup", "images/a.luks", "images/a.header"]);
    place.write("images/noise", noise(100_000));
    place.write("images/small", "text");
    // A link to a volume is one, once; a link to a folder isn't followed, and one to nothing or to itself is no error.
    symlink("../elsewhere/c.luks", place.path("images/link-c")).unwrap();
    symlink("a.luks", place.path("images/link-a")).unwrap();
    fs::hard_link(place.path("images/a.luks"), place.path("images/hard-a")).unwrap();
    symlink("../elsewhere", place.path("images/folder")).unwrap();
    symlink("..", place.path("images/deep/up")).unwrap();
    symlink("nothing", place.path("images/nowhere")).unwrap();
    symlink("itself", place.path("images/itself")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, place.path("images/pipe"), 0o600.into()).unwrap();
    place.ok(&["key", "rotate", "disks"]);
    let before: Vec<Vec<u8>> = ["images/other.luks", "images/word.luks", "images/a.header", "images/noise"]
        .map(|name| place.read(name))
        .into();

    let rotated = place.json("rotate", &["rotate", "--all", "images"]);
    let all = told(&rotated);
    assert_eq!(all.len(), 3, "{rotated}");
    assert!(all.iter().all(|(_, version, moved)| (*version, *moved) == (Some("2"), true)), "{rotated}");
    // One of the three names of the first.
    let names: Vec<&str> = all.iter().map(|(name, ..)| *name).collect();
    let is_first = |name: &&str| ["images/a.luks", "images/hard-a", "images/link-a"].contains(name);
    assert!(names.iter().filter(|name| is_first(name)).count() == 1, "{names:?}");
    assert!(names.contains(&"images/deep/er/b.luks") && names.contains(&"images/link-c"), "{names:?}");
    let passed = rotated["passed_over"].as_array().unwrap();
    assert!(passed.len() == 1 && passed[0]["device"] == "images/a.header", "{rotated}");
    assert!(passed[0]["why"].as_str().unwrap().contains("a copy of a header"), "{rotated}");
    let after: Vec<Vec<u8>> = ["images/other.luks", "images/word.luks", "images/a.header", "images/noise"]
        .map(|name| place.read(name))
        .into();
    assert!(before == after, "what isn't this vault's was written");
    // What wasn't in the folders is as it was.
    let rest = place.json("rotate", &["rotate", "--all", "elsewhere", "--dry-run"]);
    assert_eq!(told(&rest), [("elsewhere/c.luks", Some("2"), false), ("elsewhere/d.luks", Some("1"), false)]);
    place.run(&["rotate", "--all", "images/deep/up/none"]).failed(3, "1 of 1");
    fs::create_dir(place.path("empty")).unwrap();
    place.run(&["rotate", "--all", "empty"]).failed(3, "no volume under a key of this vault");
    place.run(&["rotate"]).failed(2, "DEVICES");
}

#[test]
fn what_fails_is_told_at_the_end_and_the_others_are_moved() {
    let place = Place::with_vault();
    for name in ["a.luks", "b.luks", "c.luks", "d.luks", "e.luks"] {
        place.encrypted(name, 4096);
    }
    place.write("word", "other");
    place.ok(&[&["encrypt", "plain.img", "word.luks", "--key-file", "word"], &CHEAP[..]].concat());
    place.ok(&["key", "rotate", "disks"]);
    // One is in use, one is damaged, and one was cut off.
    let held = File::open(place.path("b.luks")).unwrap();
    held.lock().unwrap();
    let mut bad = place.read("c.luks");
    for offset in [300, 0x4000 + 300] {
        bad[offset..offset + 8].fill(0xff);
    }
    place.write("c.luks", bad);
    let len = place.read("d.luks").len() - 512;
    File::options().write(true).open(place.path("d.luks")).unwrap().set_len(len as u64).unwrap();
    // Something else that is in use is no volume, and no error.
    place.write("other", noise(1 << 20));
    let other = File::open(place.path("other")).unwrap();
    other.lock().unwrap();

    let ran = place.run(&["rotate", "--all", ".", "--json"]);
    ran.failed(6, "3 of 5 volumes failed");
    let said = answer(&ran);
    let all = told(&said);
    assert!(all.contains(&("./a.luks", Some("2"), true)) && all.contains(&("./e.luks", Some("2"), true)), "{said}");
    for (name, why) in [("./b.luks", "in use"), ("./c.luks", "header"), ("./d.luks", "were cut off")] {
        let volume = said["volumes"].as_array().unwrap().iter().find(|volume| volume["device"] == name).unwrap();
        let is_cut = name == "./d.luks" && volume["error"].as_str().unwrap().contains("cut off");
        assert!(is_cut || volume["error"].as_str().unwrap().contains(why), "{volume}");
    }
    drop(held);
    let ran = place.run(&["rotate", "--all", ".", "--json"]);
    ran.failed(6, "2 of 5");
    assert!(told(&answer(&ran)).contains(&("./b.luks", Some("2"), true)));

    // Those that are named, too.
    place.ok(&["key", "rotate", "disks"]);
    let ran = place.run(&["rotate", "a.luks", "word.luks", "none.luks", "b.luks", "--json"]);
    ran.failed(4, "2 of 4 volumes");
    assert_eq!(told(&answer(&ran))[3], ("b.luks", Some("3"), true));
}

#[test]
fn headers_that_lie_apart_from_their_data_move_too() {
    let place = Place::with_vault();
    let plain = place.image("plain.img", 3 << 20);
    fs::create_dir(place.path("headers")).unwrap();
    place.ok(&["encrypt", "plain.img", "a.data", "--header", "headers/a"]);
    place.ok(&["encrypt", "plain.img", "b.data", "--header", "headers/b", "--sparse"]);
    place.image("small.img", 512);
    place.ok(&["encrypt", "small.img", "small.data", "--header", "headers/small"]);
    place.ok(&["key", "rotate", "disks"]);
    let (a, b) = (place.read("a.data"), place.read("b.data"));
    let ran = place.run(&["rotate", "--all", "headers", "--json"]);
    let moved = ["a", "b", "small"].map(|name| (format!("headers/{name}"), Some("2"), true));
    let moved: Vec<_> = moved.iter().map(|(name, version, moved)| (name.as_str(), *version, *moved)).collect();
    assert_eq!(told(&answer(&ran)), moved, "{}", ran.stderr);
    assert!(place.read("a.data") == a && place.read("b.data") == b);
    place.ok(&["key", "disable", "disks", "1"]);
    for name in ["a", "b"] {
        let (data, header) = (format!("{name}.data"), format!("headers/{name}"));
        place.ok(&["decrypt", &data, &format!("{name}.img"), "--header", &header]);
        assert!(place.read(&format!("{name}.img"))[..plain.len()] == plain, "{name}");
        place.ok(&["check", &data, "--header", &header, "--unlock"]);
        // Written to as before.
        place.ok(&["resize", &data, "--header", &header, "--size", "2M", "--yes"]);
    }
    place.ok(&["verify", "small.data", "--header", "headers/small", "--against", "small.img"]);
}

/// 60 volumes, which a run needs a while for.
fn many(place: &Place) {
    place.image("plain.img", 4096);
    place.ok(&["encrypt", "plain.img", "00.luks", "--data-offset", "1M"]);
    for i in 1..60 {
        fs::copy(place.path("00.luks"), place.path(&format!("{i:02}.luks"))).unwrap();
    }
}

#[test]
fn a_killed_run_is_finished_by_the_next() {
    let place = Place::with_vault();
    many(&place);
    let versions = |args: &[&str]| -> Vec<String> {
        let dry = place.json("rotate", args);
        told(&dry).iter().map(|(_, version, _)| version.unwrap().to_owned()).collect()
    };
    let mut were_killed = 0;
    for (version, signal) in [("2", Signal::KILL), ("3", Signal::INT)] {
        place.ok(&["key", "rotate", "disks"]);
        let mut command = place.command(&["rotate", "--all", ".", "--json"]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        // Until some are under the new version.
        let last = |name: &str| place.json("info", &["info", name])["tokens"][0]["key"].as_str().unwrap().to_owned();
        // By the bytes: who opened it would hold it against the run.
        let wanted = format!("/keys/disks/{version}\"");
        while !place.read("05.luks").windows(wanted.len()).any(|window| window == wanted.as_bytes()) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let status = stop(child, signal);
        assert_eq!(status, if signal == Signal::INT { Some(130) } else { None });
        let reached = versions(&["rotate", "--all", ".", "--dry-run"]);
        were_killed += usize::from(reached.iter().any(|found| found != version));
        assert!(reached.len() == 60 && reached[..5].iter().all(|found| found == version), "{reached:?}");
        let rest = place.json("rotate", &["rotate", "--all", "."]);
        let moved = told(&rest).iter().filter(|(_, _, moved)| *moved).count();
        assert_eq!(moved, reached.iter().filter(|found| *found != version).count());
        assert!(versions(&["rotate", "--all", ".", "--dry-run"]).iter().all(|found| found == version));
        assert!(last("59.luks").ends_with(version));
    }
    assert!(were_killed > 0, "each run was over before it was killed");
    for number in ["1", "2"] {
        place.ok(&["key", "disable", "disks", number]);
    }
    for name in ["00.luks", "07.luks", "59.luks"] {
        place.ok(&["verify", name, "--against", "plain.img"]);
    }
}

/// What Ctrl-C has left out is told.
#[test]
fn who_is_stopped_hears_what_was_not_reached() {
    let place = Place::with_vault();
    many(&place);
    // A run may be over before it hears the signal on a busy machine, and is tried again then.
    for version in 2..10 {
        place.ok(&["key", "rotate", "disks"]);
        let script = format!(
            "set -m
            atrest rotate --all . --json > said 2> error & pid=$!
            until grep -q 'keys/disks/{version}\"' 02.luks; do :; done
            kill -INT $pid; wait $pid"
        );
        let ran = place.shell(&script);
        let said = conforms("rotate", serde_json::from_slice(&place.read("said")).unwrap());
        let volumes = said["volumes"].as_array().unwrap();
        let missed = volumes.iter().filter(|volume| volume["error"] == "it was not reached").count();
        if missed == 0 {
            continue;
        }
        let error = String::from_utf8(place.read("error")).unwrap();
        assert_eq!(ran.status, 130, "{error}");
        // Three were reached for certain: the third is what was waited for.
        assert!(missed <= 57 && volumes.len() == 60, "{missed}: {said}");
        assert!(error.contains("the same command goes on"), "{error}");
        return;
    }
    panic!("each run was over before it was stopped");
}

#[test]
fn a_disk_of_a_fleet_is_left_to_the_fleet() {
    let mut place = Place::with_vault();
    fs::create_dir(place.path("disks")).unwrap();
    place.set("ATREST_FLEET_DISKS", "file:disks");
    place.set("ATREST_FLEET_KEY", "disks");
    let made = place.json(
        "fleet disk create",
        &["fleet", "disk", "create", "web", "--size", "1M", "--region", "north", "--subscription", "one"],
    );
    // A volume of somebody's with such a name is no disk of a fleet.
    let id = made["id"].as_str().unwrap();
    let mine = format!("disks/{}.disk", id.replace(|c: char| c.is_ascii_digit(), "0"));
    place.encrypted(&mine, 4096);
    place.ok(&["key", "rotate", "disks"]);
    let rotated = place.json("rotate", &["rotate", "--all", "disks"]);
    assert_eq!(told(&rotated), [(mine.as_str(), Some("2"), true)]);
    let passed = &rotated["passed_over"][0];
    assert_eq!(passed["device"], format!("disks/{id}.disk"));
    assert!(passed["why"].as_str().unwrap().contains("fleet rotate-platform"), "{rotated}");
    assert_eq!(place.json("fleet rotate-platform", &["fleet", "rotate-platform"])["moved"], 1);
    place.ok(&["fleet", "report"]);
}

#[test]
fn the_block_devices_of_the_machine_are_found() {
    let place = Place::with_vault();
    let Some(device) = Loop::over(&place, "disk", 24 << 20) else { return };
    place.image("plain.img", 4096);
    place.ok(&["encrypt", "plain.img", &device.0, "-y"]);
    place.ok(&["key", "rotate", "disks"]);
    // Another device of the machine may be out of reach.
    let ran = place.run(&["rotate", "--all", "--json"]);
    let said = answer(&ran);
    assert!(told(&said).contains(&(device.0.as_str(), Some("2"), true)), "{said}");
    place.ok(&["key", "disable", "disks", "1"]);
    place.ok(&["check", &device.0, "--unlock"]);
    // In a folder of links to devices, as `/dev/disk` has them.
    place.ok(&["key", "rotate", "disks"]);
    fs::create_dir(place.path("by-id")).unwrap();
    symlink(&device.0, place.path("by-id/one")).unwrap();
    symlink(&device.0, place.path("by-id/two")).unwrap();
    let said = place.json("rotate", &["rotate", "--all", "by-id"]);
    assert!(matches!(told(&said)[..], [(_, Some("3"), true)]), "{said}");
}
