//! A volume as a file, by FUSE.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::{Child, Stdio};

use rustix::process::Signal;

use crate::common::{Place, by_peer, conforms, ended, peer, started, stop};
use crate::documents::{blocks, commands, document};

/// Mounts the image in `dir`, unless nobody may mount here.
pub fn mount(place: &Place, image: &str, args: &[&str]) -> Option<Child> {
    fs::create_dir_all(place.path("dir")).unwrap();
    let mut command = place.command(&[&["mount", image, "dir"], args, &["--json"]].concat());
    let (mut child, line) = started(command.stderr(Stdio::piped()));
    if line.is_empty() {
        let mut said = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
        child.wait().unwrap();
        assert!(said.contains("fuse") || said.contains("Operation not permitted"), "{said}");
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "SKIPPED mounting: nobody may mount here: {said}");
        return None;
    }
    conforms("mount", serde_json::from_str(&line).unwrap());
    Some(child)
}

#[test]
fn the_file_is_read_and_written_at_every_byte() {
    let place = Place::with_vault();
    let mut plain = place.encrypted("a.luks", 1 << 20);
    let Some(child) = mount(&place, "a.luks", &[]) else { return };
    assert_eq!(place.read("dir/volume"), plain);
    let names: Vec<_> = fs::read_dir(place.path("dir")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["volume"]);
    let file = File::options().read(true).write(true).open(place.path("dir/volume")).unwrap();
    for (offset, len) in [(0, 1), (511, 2), (1000, 5000), ((1 << 20) - 3, 3)] {
        let bytes = vec![0x5a; len];
        file.write_all_at(&bytes, offset as u64).unwrap();
        plain[offset..offset + len].copy_from_slice(&bytes);
    }
    file.sync_all().unwrap();
    assert!(file.write_all_at(&[1], 1 << 20).is_err(), "it does not grow");
    assert!(file.set_len(4096).is_err());
    drop(file);
    assert_eq!(place.read("dir/volume"), plain);
    assert_eq!(stop(child, Signal::TERM), Some(0));
    assert_eq!(fs::read_dir(place.path("dir")).unwrap().count(), 0, "it is unmounted");
    place.ok(&["decrypt", "a.luks", "b.img"]);
    assert!(place.read("b.img") == plain);
}

#[test]
fn a_file_system_is_made_in_it_and_checked() {
    if !peer("qemu-img") || std::process::Command::new("mke2fs").arg("-V").output().is_err() {
        return;
    }
    let place = Place::with_vault();
    place.ok(&["format", "a.luks", "--size", "16M"]);
    let Some(mut child) = mount(&place, "a.luks", &[]) else { return };
    by_peer(&place, "mke2fs", &["-q", "-F", "-t", "ext4", "dir/volume"]);
    by_peer(&place, "e2fsck", &["-f", "-n", "dir/volume"]);
    // Somebody else unmounts it.
    by_peer(&place, "fusermount3", &["-u", "dir"]);
    assert_eq!(ended(&mut child), Some(0));
    place.ok(&["decrypt", "a.luks", "b.img"]);
    by_peer(&place, "e2fsck", &["-f", "-n", "b.img"]);
}

#[test]
fn for_reading_nothing_is_written() {
    let place = Place::with_vault();
    place.encrypted("a.luks", 1 << 20);
    let before = place.read("a.luks");
    let Some(child) = mount(&place, "a.luks", &["--read-only"]) else { return };
    assert!(File::options().write(true).open(place.path("dir/volume")).is_err());
    // A file that is open doesn't keep it from ending.
    let held = File::open(place.path("dir/volume")).unwrap();
    assert_eq!(stop(child, Signal::INT), Some(130));
    drop(held);
    assert_eq!(place.read("a.luks"), before);
}

#[test]
fn the_lines_of_the_manual_run() {
    let place = Place::with_vault();
    place.encrypted("a.luks", 4096);
    let Some(child) = mount(&place, "a.luks", &[]) else { return };
    stop(child, Signal::TERM);
    place.encrypted("disk.luks", 1 << 20);
    let mut script = String::from("set -eu\n");
    let mut count = 0;
    for command in blocks(&document("docs/cli.md"), "```console mount").iter().flat_map(|block| commands(block)) {
        script += &format!("{command}\n");
        if command.ends_with('&') {
            script += "for i in $(seq 1200); do [ -e plain/volume ] && break; sleep 0.05; done\n";
        }
        count += 1;
    }
    assert!(count > 2, "{count}");
    let ran = place.shell(&script);
    assert_eq!(ran.status, 0, "{}{}", ran.text(), ran.stderr);
}
