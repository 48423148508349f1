//! LUKS1 by QEMU, with data, in both directions.

use std::fs;
use std::path::Path;

use atrest::key::DekAlgorithm;
use atrest::volume::LuksVersion;
use atrest::{FormatOptions, Protector};

use crate::Cells;
use crate::common::{peer, run};
use crate::image::{Image, cheap_pbkdf2, noise};

const LEN: usize = 1 << 20;

fn have_qemu() -> bool {
    peer("qemu-img", &["--version"]).is_some() && peer("qemu-io", &["--version"]).is_some()
}

fn secret(image: &Image, id: &str, passphrase: &str) -> String {
    format!("secret,id={id},file={}", image.key(passphrase))
}

fn luks(image: &Image) -> String {
    format!("driver=luks,file.filename={},key-secret=s", image.path())
}

/// The whole volume as QEMU reads it.
fn convert_out(image: &Image, passphrase: &str) -> Vec<u8> {
    let out = image.file("out");
    let object = secret(image, "s", passphrase);
    run("qemu-img", &["convert", "--object", &object, "--image-opts", &luks(image), "-O", "raw", &out]);
    fs::read(out).unwrap()
}

fn read(image: &Image, passphrase: &str) -> Vec<u8> {
    image.ours(passphrase, |volume| {
        let mut read = vec![0; volume.size() as usize];
        volume.read_at(0, &mut read).unwrap();
        read
    })
}

/// QEMU 10 measures its PBKDF2 for seconds and ignores `iter-time`. It ends by an assertion if the key has 192 bits,
/// since its keyslots are no whole number of sectors then.
#[test]
fn qemu_makes_volumes_that_we_read_and_write() {
    if !have_qemu() {
        return;
    }
    let mut cells = Cells::of("volumes of QEMU");
    for (cipher, mode, iv, hash, ours) in [
        ("aes-256", "xts", "plain64", "sha256", "aes-xts-plain64"),
        ("aes-128", "xts", "plain64", "sha1", "aes-xts-plain64"),
        ("aes-256", "xts", "plain", "sha512", "aes-xts-plain"),
        ("aes-128", "cbc", "essiv,ivgen-hash-alg=sha256", "sha256", "aes-cbc-essiv:sha256"),
        ("aes-256", "cbc", "essiv,ivgen-hash-alg=sha256", "sha1", "aes-cbc-essiv:sha256"),
        ("aes-128", "cbc", "plain64", "sha512", "aes-cbc-plain64"),
        ("aes-256", "cbc", "plain64", "sha256", "aes-cbc-plain64"),
    ] {
        let what = format!("{cipher} {mode} {iv} {hash}");
        let image = Image::blank(0);
        let (plain, object, path) = (noise(LEN, 6), secret(&image, "s", "one"), image.path());
        let raw = image.file("plain");
        fs::write(&raw, &plain).unwrap();
        let options =
            format!("key-secret=s,iter-time=10,cipher-alg={cipher},cipher-mode={mode},ivgen-alg={iv},hash-alg={hash}");
        run("qemu-img", &["convert", "--object", &object, "-f", "raw", "-O", "luks", "-o", &options, &raw, &path]);
        assert!(read(&image, "one") == plain, "{what}");
        assert!(!image.opens("two"), "{what}");
        image.ours("one", |volume| assert_eq!(volume.cipher().name(), ours, "{what}"));
        cells.we_read();

        let changed = noise(LEN, 7);
        image.ours("one", |volume| volume.write_at(0, &changed).unwrap());
        assert!(convert_out(&image, "one") == changed, "{what}");
        cells.they_read();
    }
    cells.print();
}

#[test]
fn qemu_reads_and_writes_volumes_of_ours() {
    if !have_qemu() {
        return;
    }
    let mut cells = Cells::of("volumes of ours in QEMU");
    for (algorithm, offset) in
        [(DekAlgorithm::Aes256Xts, None), (DekAlgorithm::Aes128Xts, None), (DekAlgorithm::Aes128Xts, Some(4 << 20))]
    {
        let at = offset.unwrap_or(2 << 20);
        let image = Image::blank(at + LEN as u64);
        let options = FormatOptions::new().version(LuksVersion::Luks1).dek_algorithm(algorithm).keyslot(cheap_pbkdf2());
        let options = if let Some(offset) = offset { options.data_offset(offset) } else { options };
        image.format("one", options);
        let mut plain = noise(LEN, 8);
        image.ours("one", |volume| {
            volume.write_at(0, &plain).unwrap();
            volume.add_protector(Protector::Passphrase(b"two"), &cheap_pbkdf2().id(6)).unwrap();
        });
        for passphrase in ["one", "two"] {
            assert!(convert_out(&image, passphrase) == plain, "{algorithm:?} {passphrase}");
            cells.they_read();
        }
        let object = secret(&image, "s", "two");
        run("qemu-io", &["--object", &object, "-c", "write -P 0x5a 4096 8192", "--image-opts", &luks(&image)]);
        plain[4096..][..8192].fill(0x5a);
        assert!(read(&image, "one") == plain, "{algorithm:?}");
        cells.we_read();

        // QEMU takes a keyslot away, and one that it adds is ours to open.
        let [two, old, new] = [("s", "two"), ("old", "one"), ("new", "three")].map(|(id, key)| secret(&image, id, key));
        assert!(Path::new(&image.key("three")).exists());
        let amend = |options: &str| {
            let objects = ["--object", &two, "--object", &old, "--object", &new];
            run("qemu-img", &[&["amend"][..], &objects, &["-o", options, "--image-opts", &luks(&image)]].concat());
        };
        amend("state=inactive,old-secret=old");
        assert!(!image.opens("one") && image.opens("two"), "{algorithm:?}");
        cells.we_read();
        amend("state=active,new-secret=new,iter-time=10");
        assert!(image.opens("three"), "{algorithm:?}");
        cells.we_read();
        assert!(read(&image, "three") == plain, "{algorithm:?}");
    }
    cells.print();
}
