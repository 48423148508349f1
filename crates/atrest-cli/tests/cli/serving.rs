//! Volumes served to clients.

use std::process::{Child, Stdio};

use rustix::process::Signal;

use crate::common::{Place, by_peer, conforms, peer, started, stop};

/// Starts to serve, and waits until clients can come.
pub fn serve(place: &Place, args: &[&str]) -> (Child, String) {
    let mut command = place.command(&[&["serve"], args, &["--json"]].concat());
    started(command.stderr(Stdio::null()))
}

#[test]
fn nbd_clients_read_and_write_it() {
    if !peer("qemu-img") {
        return;
    }
    let place = Place::with_vault();
    let plain = place.encrypted("a.luks", 1 << 20);
    let (child, line) = serve(&place, &["a.luks", "--nbd", "a.sock"]);
    let serving = conforms("serve", serde_json::from_str(&line).unwrap());
    assert_eq!((&serving["protocol"], &serving["size"]), (&"nbd".into(), &plain.len().into()));
    by_peer(&place, "qemu-img", &["convert", "-O", "raw", "nbd+unix:///?socket=a.sock", "copy.img"]);
    assert_eq!(place.read("copy.img"), plain);
    by_peer(
        &place,
        "qemu-io",
        &["-f", "raw", "-c", "write -P 0x5a 4096 4096", "-c", "flush", "nbd+unix:///?socket=a.sock"],
    );
    // Nobody else may have it meanwhile.
    place.run(&["decrypt", "a.luks", "b.img"]).failed(7, "a.luks");
    assert_eq!(stop(child, Signal::TERM), Some(0));
    place.ok(&["decrypt", "a.luks", "b.img"]);
    let read = place.read("b.img");
    assert!(read[4096..8192].iter().all(|byte| *byte == 0x5a));
    assert_eq!((&read[..4096], &read[8192..]), (&plain[..4096], &plain[8192..]));
    assert!(!place.path("a.sock").exists(), "the socket is gone");
}

#[test]
fn for_reading_nothing_is_written() {
    if !peer("qemu-img") {
        return;
    }
    let place = Place::with_vault();
    let plain = place.encrypted("a.luks", 1 << 20);
    let before = place.read("a.luks");
    let (child, line) = serve(&place, &["a.luks", "--nbd", "a.sock", "--read-only"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap()["read_only"], true);
    by_peer(&place, "qemu-img", &["convert", "-O", "raw", "nbd+unix:///?socket=a.sock", "copy.img"]);
    assert_eq!(place.read("copy.img"), plain);
    let mut write = std::process::Command::new("qemu-io");
    write.args(["-f", "raw", "-c", "write 0 4096", "nbd+unix:///?socket=a.sock"]).current_dir(place.root());
    assert!(!write.output().unwrap().status.success());
    assert_eq!(stop(child, Signal::INT), Some(130));
    assert_eq!(place.read("a.luks"), before);
}

#[test]
fn a_volume_is_encrypted_from_and_kept_on_an_nbd_server() {
    let place = Place::with_vault();
    let plain = place.encrypted("a.luks", 1 << 20);
    let (child, _) = serve(&place, &["a.luks", "--nbd", "a.sock"]);
    let url = format!("nbd+unix:///?socket={}", place.path("a.sock").display());
    // An image from there; and a volume on it, inside of the other.
    place.ok(&["encrypt", &url, "b.luks", "--verify"]);
    place.ok(&["decrypt", "b.luks", "b.img"]);
    assert_eq!(place.read("b.img"), plain);
    place.image("small.img", 4096);
    place.ok(&["encrypt", "small.img", &url, "--data-offset", "0", "--header", "c.header", "-y"]);
    place.ok(&["verify", &url, "--header", "c.header", "--against", "small.img"]);
    assert_eq!(stop(child, Signal::TERM), Some(0));
}

#[test]
fn a_socket_in_use_is_busy_and_vhost_user_listens() {
    let place = Place::with_vault();
    place.encrypted("a.luks", 4096);
    place.encrypted("b.luks", 4096);
    let (child, line) = serve(&place, &["a.luks", "--vhost-user", "a.sock", "--queues", "2"]);
    assert_eq!(conforms("serve", serde_json::from_str(&line).unwrap())["protocol"], "vhost-user-blk");
    place.run(&["serve", "b.luks", "--vhost-user", "a.sock"]).failed(7, "a.sock");
    place.run(&["serve", "b.luks"]).failed(2, "--nbd");
    assert_eq!(stop(child, Signal::TERM), Some(0));
}

/// What is served is shown in a guest, by `atrest-host`'s tests: few machines have the driver.
#[cfg(feature = "ublk")]
#[test]
fn without_its_driver_ublk_is_refused_before_a_passphrase_is_asked_for() {
    let place = Place::with_vault();
    place.encrypted("a.luks", 4096);
    place.run(&["serve", "a.luks", "--ublk", "--nbd", "a.sock"]).failed(2, "--nbd");
    if std::path::Path::new("/dev/ublk-control").exists() {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), "SKIPPED the refusal of ublk: this machine has its driver");
        return;
    }
    place.run(&["serve", "a.luks", "--ublk"]).failed(3, "modprobe ublk_drv");
    // Even where there is no way to open the volume.
    place.run(&["serve", "not-there.luks", "--ublk"]).failed(3, "/dev/ublk-control");
}

#[test]
fn qemu_takes_the_lines_that_are_printed_for_it() {
    use std::io::Write;
    if !std::process::Command::new("qemu-system-x86_64").arg("--version").output().is_ok_and(|ran| ran.status.success())
    {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED qemu_takes_the_lines_that_are_printed_for_it: no qemu-system-x86_64 here"
        );
        return;
    }
    let mut place = Place::with_vault();
    place.encrypted("my disk.luks", 1 << 20);
    let folder = place.root().display().to_string();
    place.set("XDG_RUNTIME_DIR", &folder);
    for form in [&["--memory", "64M"][..], &["--memory", "64M", "--nbd"]] {
        let lines = place.json("qemu", &[&["qemu", "my disk.luks"], form].concat());
        let [serve, qemu] = ["serve", "qemu"].map(|name| lines[name].as_str().unwrap().to_owned());
        // It has connected to the disk when it takes commands.
        let script = format!(
            "{serve} & trap 'kill $!' EXIT; for i in $(seq 1200); do [ -S atrest-my-disk.sock ] && break; sleep 0.05; done\n\
             echo quit | timeout 60 {qemu} -nodefaults -display none -monitor stdio -S"
        );
        let ran = place.shell(&script);
        assert_eq!(ran.status, 0, "{form:?}: {}{}", ran.text(), ran.stderr);
    }
}
