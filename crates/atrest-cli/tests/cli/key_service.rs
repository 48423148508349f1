//! A vault that is a URL: the transit engine of OpenBao.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Place, peer};
use crate::servers::ports::free_port;

struct Bao {
    child: Child,
    address: String,
}

impl Bao {
    fn start() -> Option<Self> {
        if !peer("bao") {
            return None;
        }
        let port = free_port();
        let address = format!("127.0.0.1:{port}");
        let mut command = Command::new("bao");
        command.args(["server", "-dev", "-dev-no-store-token", "-dev-root-token-id=root"]);
        command.arg(format!("-dev-listen-address={address}")).stdin(Stdio::null());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let bao = Bao { child, address };
        let start = Instant::now();
        while !bao.does(&["secrets", "enable", "transit"]) {
            assert!(start.elapsed() < Duration::from_secs(90), "OpenBao does not come up");
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(bao)
    }

    fn does(&self, args: &[&str]) -> bool {
        let mut command = Command::new("bao");
        command.args(args).env("BAO_ADDR", format!("http://{}", self.address)).env("BAO_TOKEN", "root");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }
}

impl Drop for Bao {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_volume_is_under_a_key_of_a_key_service() {
    let Some(bao) = Bao::start() else { return };
    assert!(bao.does(&["write", "-f", "transit/keys/disks"]));
    let mut place = Place::new();
    let plain = place.image("plain.img", 1 << 20);
    let url = format!("vault+http://{}/transit", bao.address);
    place.write("token", "root\n");
    place.set("ATREST_VAULT", &url);
    let token = ["--vault-passphrase-from", "file:token"];
    place.run(&["encrypt", "plain.img", "a.luks"]).failed(2, "--key");
    let encrypt = ["encrypt", "plain.img", "a.luks", "--key", "disks", "--verify"];
    let made = place.json("encrypt", &[&encrypt, &token[..]].concat());
    assert!(made["volume"]["key"].as_str().unwrap().ends_with("/keys/disks/1"), "{made}");
    // Keys are managed by its own tools.
    place.run(&["key", "ls", "--vault", &url]).failed(2, "its own tools");
    assert!(bao.does(&["write", "-f", "transit/keys/disks/rotate"]));
    let rotated = place.json("rotate", &[&["rotate", "a.luks"], &token[..]].concat());
    assert!(rotated["volumes"][0]["key"].as_str().unwrap().ends_with("/keys/disks/2"), "{rotated}");
    place.ok(&[&["decrypt", "a.luks", "b.img"], &token[..]].concat());
    assert_eq!(place.read("b.img"), plain);
    place.write("token", "wrong\n");
    place.run(&[&["decrypt", "a.luks", "c.img"], &token[..]].concat()).failed(5, "");
    place.write("token", "root\n");
    drop(bao);
    // Nobody answers.
    place.run(&[&["decrypt", "a.luks", "c.img"], &token[..]].concat()).failed(5, "");
    assert!(!place.files().iter().any(|name| name.starts_with("c.img")), "{:?}", place.files());
}
