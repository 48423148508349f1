//! Encryption where the data lies, and stops in between.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::common::{CHEAP, Place, conforms};

#[test]
fn a_file_is_encrypted_where_it_lies() {
    let place = Place::with_vault();
    let plain = place.image("disk.img", 2 << 20);
    let args = ["encrypt", "--in-place", "disk.img", "--grow", "--data-offset", "1M"];
    place.run(&args).failed(8, "Have a backup");
    assert_eq!(place.read("disk.img"), plain, "nothing was done");
    place.json("encrypt --in-place", &[&args[..], &["-y"]].concat());
    place.ok(&["decrypt", "disk.img", "out.img"]);
    assert_eq!(place.read("out.img")[..plain.len()], plain);
    // It isn't encrypted twice.
    place.run(&[&args[..], &["-y"]].concat()).failed(7, "--resume");
    place.run(&["encrypt", "--in-place", "disk.img", "--resume"]).failed(8, "nothing is under way");
}

#[test]
fn a_header_apart_leaves_the_data_in_its_place() {
    let place = Place::with_vault();
    let plain = place.image("disk.img", 1 << 20);
    place.run(&["encrypt", "--in-place", "disk.img", "-y"]).failed(2, "--header FILE");
    place.ok(&["encrypt", "--in-place", "disk.img", "--header", "disk.header", "-y"]);
    assert_eq!(place.read("disk.img").len(), plain.len());
    assert_ne!(place.read("disk.img"), plain);
    place.ok(&["decrypt", "disk.img", "out.img", "--header", "disk.header"]);
    assert_eq!(place.read("out.img"), plain);
}

/// Encrypts in place, and is stopped by one signal after the other, each so many milliseconds after it has begun. Returns how often it was.
fn stops_in_place(place: &Place, args: &[&str], wait: u64) -> usize {
    let mut stops = 0;
    for (round, signal) in [Signal::INT, Signal::KILL, Signal::TERM, Signal::INT].into_iter().enumerate() {
        let more: &[&str] = if round == 0 { &[] } else { &["--resume"] };
        let mut command = place.command(&[args, more].concat());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let start = Instant::now();
        // The header is in its place once it has begun.
        while !place.path("disk.header").exists() && start.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(wait));
        let _ = kill_process(Pid::from_child(&child), signal);
        let mut stderr = String::new();
        std::io::Read::read_to_string(child.stderr.as_mut().unwrap(), &mut stderr).unwrap();
        let status = child.wait().unwrap();
        if status.success() {
            break;
        }
        stops += 1;
        // The first had begun. A later one may have been stopped before it went on, where there is nothing to say.
        if signal == Signal::INT && (round == 0 || !stderr.is_empty()) {
            assert_eq!(status.code(), Some(130));
            assert!(stderr.contains("--resume"), "{stderr}");
        }
    }
    stops
}

#[test]
fn ctrl_c_and_a_kill_leave_what_can_be_finished() {
    let place = Place::with_vault();
    let args = ["encrypt", "--in-place", "disk.img", "--header", "disk.header", "-y"];
    let (mut plain, mut stops) = (Vec::new(), 0);
    // On a busy machine the first run may be over before it hears the signal: another disk gets it sooner.
    for wait in [150, 40, 10, 0] {
        let _ = fs::remove_file(place.path("disk.header"));
        plain = place.image("disk.img", 256 << 20);
        stops = stops_in_place(&place, &args, wait);
        if stops > 0 {
            break;
        }
    }
    assert!(stops > 0, "it was never stopped");
    // Half-way, nothing reads a part of it as if it were all, and the way on is named.
    let refused = place.run(&["decrypt", "disk.img", "x.img", "--header", "disk.header"]);
    if refused.status != 0 {
        refused.failed(6, "--resume");
        assert!(!place.path("x.img").exists());
        let info = place.run(&["info", "disk.img", "--header", "disk.header", "--unlock", "--json"]);
        // A zone that was being rewritten when it was killed is finished first.
        if info.status != 0 {
            info.failed(6, "--resume");
        } else {
            let info = conforms("info", serde_json::from_slice(&info.stdout).unwrap());
            assert!(info["unlocked"]["reencrypted"].as_u64().unwrap() < plain.len() as u64);
        }
    }
    let rest = place.run(&[&args[..], &["--resume"]].concat());
    assert!(rest.status == 0 || rest.stderr.contains("nothing is under way"), "{}", rest.stderr);
    let compared = place.run(&["decrypt", "disk.img", "-", "--header", "disk.header"]);
    assert!(compared.stdout == plain, "the data differs");
}

#[test]
fn a_volume_is_encrypted_anew_under_another_passphrase() {
    let place = Place::new();
    place.write("one", "first");
    place.write("two", "second");
    place.image("plain.img", 1 << 20);
    let made = place.json("encrypt", &[&["encrypt", "plain.img", "a.luks", "--key-file", "one"], &CHEAP[..]].concat());
    let args = ["reencrypt", "a.luks", "--key-file", "one", "--new-key-file", "two", "--sector-size", "4096"];
    place.run(&[&args, &CHEAP[..]].concat()).failed(8, "Have a backup");
    let done = place.json("reencrypt", &[&args, &CHEAP[..], &["-y"]].concat());
    assert_eq!(done["volume"]["sector_size"], 4096);
    assert_ne!(done["volume"]["fingerprint"], made["volume"]["fingerprint"]);
    place.run(&["info", "a.luks", "--unlock", "--key-file", "one"]).failed(4, "wrong");
    place.ok(&["verify", "a.luks", "--key-file", "two", "--against", "plain.img"]);
    place.run(&["reencrypt", "a.luks", "--resume", "--key-file", "two"]).failed(8, "nothing is under way");
}
