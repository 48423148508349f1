//! Images to and from block devices of the kernel, where this user may make loop devices.

use std::process::Command;

use crate::common::{CHEAP, Place, by_peer, peer, peer_that};

/// A loop device over a new file; it goes with this.
pub struct Loop(pub String);

impl Loop {
    pub fn over(place: &Place, name: &str, len: u64) -> Option<Loop> {
        place.write(name, "");
        std::fs::OpenOptions::new().write(true).open(place.path(name)).unwrap().set_len(len).unwrap();
        let made = Command::new("losetup").args(["--find", "--show"]).arg(place.path(name)).output();
        match made {
            Ok(made) if made.status.success() => {
                Some(Loop(String::from_utf8(made.stdout).unwrap().trim_end().to_owned()))
            }
            // A matter of rights, which no package gives.
            made => {
                let why =
                    made.map_or_else(|e| e.to_string(), |made| String::from_utf8_lossy(&made.stderr).into_owned());
                eprintln!("SKIPPED: no loop device can be made here: {why}");
                None
            }
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

#[test]
fn an_image_goes_to_a_block_device_and_back() {
    let place = Place::with_vault();
    let Some(device) = Loop::over(&place, "disk", 40 << 20) else { return };
    let device = device.0.as_str();
    let plain = place.image("disk.img", (8 << 20) + 512);
    // Whatever it holds is named, and kept without a yes.
    if peer_that("mkfs.ext4", &["-V"]) {
        by_peer(&place, "mkfs.ext4", &["-q", device]);
        place.run(&["encrypt", "disk.img", device]).failed(8, "ext4 file system");
        assert_eq!(place.read("disk")[1080..1082], [0x53, 0xef]);
    }
    place.json("encrypt", &["encrypt", "disk.img", device, "--verify", "-y"]);
    place.ok(&["decrypt", device, "back.img"]);
    assert_eq!(place.read("back.img")[..plain.len()], plain);
    assert!(!place.read("disk").windows(64).any(|window| window == &plain[..64]));
    place.run(&["encrypt", "disk.img", device]).failed(8, "a volume of LUKS2");
    place.write("word", "correct horse");
    place.ok(&[&["protector", "add", device, "--new-passphrase-from", "file:word"], &CHEAP[..]].concat());
    if peer("cryptsetup") {
        by_peer(&place, "cryptsetup", &["open", "--test-passphrase", "--key-file", "word", device]);
    }
    // Back onto it, plain, and read from it as an image.
    place.ok(&["encrypt", device, "of-device.luks"]);
    place.ok(&["verify", "of-device.luks", "--against", device]);
}

#[test]
fn what_does_not_fit_or_is_not_there_is_refused() {
    let place = Place::with_vault();
    place.image("disk.img", 8 << 20);
    for made in ["/dev/atrest-no-such-disk", "/dev/../dev/atrest-no-such-disk"] {
        place.run(&["encrypt", "disk.img", made, "-y"]).failed(3, "no such device");
        place.run(&["format", made, "--size", "32M"]).failed(3, "no such device");
        assert!(!std::path::Path::new(made).exists());
    }
    let Some(device) = Loop::over(&place, "disk", 20 << 20) else { return };
    place.run(&["encrypt", "disk.img", &device.0, "-y"]).failed(8, "take a larger device");
    assert!(place.read("disk").iter().all(|byte| *byte == 0));
}
