//! Data without a header: numbered as dm-crypt, SPDK and ubiblk do, by a model over OpenSSL.

use rustix::process::Signal;

use crate::common::{Place, by_peer, noise, peer, python, stop};
use crate::serving::serve;

const SECTOR: usize = 4096;
const SECTORS: usize = 8;
/// The first byte of the data, and the number of its first sector in units of 512 bytes.
const OFFSET: usize = 1024;
const SKIP: usize = 80;

/// A `disk` with the data of `plain` at [`OFFSET`], whose sectors have the tweaks that a line of Python makes of their number `n`.
fn disk(tweak: &str) -> (Place, Vec<u8>) {
    let place = Place::new();
    let plain = place.image("plain", SECTORS * SECTOR);
    place.write("key", noise(64));
    let script = format!(
        "
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
key, data, out = open('key', 'rb').read(), open('plain', 'rb').read(), bytes({OFFSET})
for n in range({SECTORS}):
    e = Cipher(algorithms.AES(key), modes.XTS({tweak})).encryptor()
    out += e.update(data[n * {SECTOR}:][:{SECTOR}]) + e.finalize()
open('disk', 'wb').write(out + bytes(512))"
    );
    by_peer(&place, "python3", &["-c", &script]);
    (place, plain)
}

fn options(more: &[&'static str]) -> Vec<&'static str> {
    let all = ["--plain", "--dek-file", "key", "--plain-sector-size", "4096", "--offset", "2", "--plain-size", "32K"];
    [&all[..], more].concat()
}

#[test]
fn each_numbering_is_read() {
    if !python("cryptography") {
        return;
    }
    for (tweak, more) in [
        ("(80 + 8 * n).to_bytes(16, 'little')", &["--skip", "80"][..]),
        ("(10 + n).to_bytes(16, 'little')", &["--skip", "80", "--iv-large-sectors"]),
        ("bytes(8) + n.to_bytes(8, 'little')", &["--upper-half"]),
    ] {
        assert_eq!((OFFSET, SKIP), (2 * 512, 80));
        let (place, plain) = disk(tweak);
        let args = options(more);
        place.ok(&[&["decrypt", "disk", "out.img"], &args[..]].concat());
        assert!(place.read("out.img") == plain, "{more:?}");
        place.ok(&[&["verify", "disk", "--against", "plain"], &args[..]].concat());
        place.write("other", &noise(SECTORS * SECTOR + 1)[1..]);
        place.run(&[&["verify", "disk", "--against", "other"], &args[..]].concat()).failed(1, "differ");
    }
    let (place, _) = disk("bytes(16)");
    let both = [&["decrypt", "disk", "x.img"], &options(&["--upper-half", "--iv-large-sectors"])[..]].concat();
    place.run(&both).failed(2, "cannot be used with");
    place.run(&["decrypt", "disk", "x.img", "--upper-half"]).failed(2, "--plain");
}

/// Nothing but the fingerprint proves the key.
#[test]
fn what_only_a_header_could_tell_is_refused_and_the_fingerprint_is_compared() {
    let place = Place::new();
    place.image("disk", SECTORS * SECTOR);
    place.write("key", noise(64));
    place.write("other", &noise(65)[1..]);
    let serve = ["decrypt", "disk", "out.img", "--plain", "--dek-file", "key"];
    let key: [u8; 64] = place.read("key").try_into().unwrap();
    let dek = atrest::hazmat::dek_from_bytes_for(atrest::DekAlgorithm::Aes256Xts, &key).unwrap();
    let fingerprint = dek.fingerprint().unwrap().to_string();
    place.ok(&[&serve[..], &["--fingerprint", &fingerprint]].concat());
    std::fs::remove_file(place.path("out.img")).unwrap();
    let wrong = ["decrypt", "disk", "out.img", "--plain", "--dek-file", "other", "--fingerprint", &fingerprint];
    let ran = place.run(&wrong);
    assert!(ran.status != 0 && !place.path("out.img").exists(), "{}", ran.stderr);
    place.run(&[&serve[..], &["--fingerprint", "abc"]].concat()).failed(2, "64 hex");
    for more in [
        ["--header", "disk"],
        ["--context", "c"],
        ["--expect-key", "k"],
        ["--keyslot", "0"],
        ["--key-file", "key"],
        #[cfg(feature = "bitlocker")]
        ["--startup-key", "key"],
    ] {
        let ran = place.run(&[&serve[..], &more].concat());
        assert_eq!(ran.status, 2, "{more:?}: {}", ran.stderr);
        assert!(!place.path("out.img").exists(), "{more:?}");
    }
    #[cfg(feature = "kms")]
    for more in [&["--token"][..], &["--secret", "https://contoso.vault.azure.net/secrets/disk-1/1"]] {
        place.run(&[&serve[..], more].concat()).failed(2, "--plain");
    }
}

#[test]
fn what_is_served_is_written_where_it_lies_once_somebody_says_so() {
    if !python("cryptography") || !peer("qemu-io") {
        return;
    }
    let (place, plain) = disk("bytes(8) + n.to_bytes(8, 'little')");
    let before = place.read("disk");
    let args = options(&["--upper-half"]);
    let to_serve = [&["disk", "--nbd", "disk.sock"], &args[..]].concat();
    place.run(&[&["serve"], &to_serve[..]].concat()).failed(8, "has no header");
    let url = "nbd+unix:///?socket=disk.sock";
    let (child, line) = serve(&place, &[&to_serve[..], &["--read-only"]].concat());
    assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap()["size"], 32 << 10);
    by_peer(&place, "qemu-img", &["convert", "-O", "raw", url, "copy.img"]);
    assert!(place.read("copy.img") == plain);
    assert_eq!(stop(child, Signal::TERM), Some(0));
    assert!(place.read("disk") == before);
    let (child, _) = serve(&place, &[&to_serve[..], &["--yes"]].concat());
    by_peer(&place, "qemu-io", &["-f", "raw", "-c", "write -P 0x5a 4096 4096", "-c", "flush", url]);
    assert_eq!(stop(child, Signal::TERM), Some(0));
    let after = place.read("disk");
    let sector = OFFSET + SECTOR..OFFSET + 2 * SECTOR;
    assert!(after[..sector.start] == before[..sector.start] && after[sector.end..] == before[sector.end..]);
    place.ok(&[&["decrypt", "disk", "out.img"], &args[..]].concat());
    assert!(place.read("out.img")[SECTOR..2 * SECTOR].iter().all(|byte| *byte == 0x5a));
}
