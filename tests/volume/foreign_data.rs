//! Opening or repairing the remains of a volume doesn't overwrite data that other programs put on the device.

use std::fs::{self, File};
use std::path::Path;

use crate::common::device::TestDevice;
use crate::common::header::{self, COPY};
use crate::common::vaults::MemoryVault;
use crate::common::volumes::{holds_plain, image, look, open, shared};
use crate::common::{cryptsetup, peer, run_any, text};
use atrest::volume::Header;
use atrest::{Credential, Error, FilePrefix, MemoryDevice, OpenOptions, Volume};
use sha2::{Digest, Sha256};

/// A program that puts something on a device, with the name that blkid and this library have for it. `%` is the device.
struct Maker {
    program: &'static str,
    args: &'static str,
    blkid: &'static str,
    says: &'static str,
}

const fn maker(program: &'static str, args: &'static str, blkid: &'static str, says: &'static str) -> Maker {
    Maker { program, args, blkid, says }
}

const MAKERS: [Maker; 18] = [
    maker("mkfs.ext4", "-q -F %", "ext4", "ext4 file system"),
    maker("mkfs.ext2", "-q -F %", "ext2", "ext2, ext3 or ext4 file system"),
    maker("mkswap", "%", "swap", "swap space"),
    maker("mkswap", "-p 65536 %", "swap", "swap space"),
    maker("mkfs.xfs", "-q -f %", "xfs", "XFS file system"),
    maker("mkfs.btrfs", "-q -f %", "btrfs", "Btrfs file system"),
    maker("mkfs.f2fs", "-q -f %", "f2fs", "F2FS file system"),
    maker("mkfs.vfat", "-F 32 %", "vfat", "FAT file system"),
    maker("mkfs.vfat", "-F 16 %", "vfat", "FAT file system"),
    maker("mkfs.exfat", "%", "exfat", "exFAT file system"),
    maker("mkfs.ntfs", "-Q -q -F %", "ntfs", "NTFS file system"),
    maker("mksquashfs", "Cargo.toml % -noappend -quiet -no-progress", "squashfs", "SquashFS file system"),
    maker("mkfs.cramfs", "examples %", "cramfs", "cramfs file system"),
    maker("sgdisk", "-o %", "gpt", "GPT partition table"),
    maker("qemu-img", "create -q -f qcow2 % 512M", "", "qcow2 image"),
    maker("qemu-img", "create -q -f vmdk % 512M", "", "VMDK image"),
    maker("qemu-img", "create -q -f vdi % 512M", "", "VDI image"),
    maker("qemu-img", "create -q -f vhdx % 512M", "", "VHDX image"),
];
/// As much as the greediest of them wants.
const SIZE: u64 = 512 << 20;
/// How much of the start of a device is compared and kept.
const START: usize = 1 << 20;

impl Maker {
    /// The first bytes of a device that the program has written, or `None` without such a program.
    fn start(&self, path: &Path) -> Option<Vec<u8>> {
        peer("sh", &["-c", &format!("command -v {}", self.program)])?;
        File::create(path).unwrap().set_len(SIZE).unwrap();
        let args: Vec<&str> = self.args.split(' ').map(|arg| if arg == "%" { text(path) } else { arg }).collect();
        let output = run_any(self.program, &args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{} {}: {said}", self.program, self.args);
        if let Some(blkid) = peer("blkid", &["-V"]).filter(|_| !self.blkid.is_empty()) {
            let tag = if self.blkid == "gpt" { "PTTYPE" } else { "TYPE" };
            let found = run_any(&blkid, &["-p", "-o", "value", "-s", tag, text(path)]);
            assert_eq!(String::from_utf8_lossy(&found.stdout).trim(), self.blkid, "{} {}", self.program, self.args);
        }
        let mut bytes = fs::read(path).unwrap();
        bytes.resize(START, 0);
        Some(bytes)
    }
}

/// The device of a volume after another program wrote its first bytes. The second copy of the header is intact, and so
/// is the rest of the device.
fn overwritten(start: &[u8], image: &[u8]) -> Vec<u8> {
    let mut mixed = image.to_vec();
    mixed[..COPY].copy_from_slice(&start[..COPY]);
    // A signature may overlap the keyslots of the header there.
    mixed[2 * COPY..START].copy_from_slice(&start[2 * COPY..START]);
    mixed
}

/// Every write is refused and writes nothing. Reading goes on. Only an explicit request gets the volume back.
fn is_kept(bytes: &[u8], vault: &MemoryVault, says: &str) {
    let named = |result: Result<(), Error>, what: &str| match result {
        Err(Error::ForeignData(found)) => assert!(found.contains(says), "{what}: {found}, not {says}"),
        other => panic!("{what}, {says}: {other:?}"),
    };
    let device = shared(bytes.to_vec());
    assert!(holds_plain(&look(bytes.to_vec(), vault).unwrap()), "{says}");
    named(open(device.clone(), vault).map(drop), "open");
    let mut header = Header::load(&device).unwrap();
    assert!(header.needs_repair());
    named(header.repair().map(drop), "repair");
    named(header.set_label("another", ""), "set_label");
    named(header.import_token(r#"{"type":"x","keyslots":[]}"#).map(drop), "import_token");
    named(header.erase(), "erase");
    named(Header::restore(&device, &header.backup().unwrap()), "restore");
    assert!(device.bytes() == bytes, "{says} was written over");

    let mut header = Header::load(&device).unwrap();
    assert!(header.hazmat_repair().unwrap() && !header.needs_repair());
    assert!(header::is_whole(&device.bytes()));
    assert!(holds_plain(&open(device.clone(), vault).unwrap()));
    let device = shared(bytes.to_vec());
    let options = OpenOptions::new().hazmat_repair(true);
    assert!(holds_plain(&Volume::open(device.clone(), Credential::Vault(vault), &options).unwrap()));
    assert!(header::is_whole(&device.bytes()));
}

#[test]
fn a_copy_of_the_header_is_not_repaired_over_what_another_program_made() {
    let (vault, image) = image();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device");
    for maker in &MAKERS {
        let Some(start) = maker.start(&path) else { continue };
        is_kept(&overwritten(&start, &image), &vault, maker.says);
        // If nothing is left of the volume, the message names the foreign content.
        let error = look([&start[..], &image[START..]].concat(), &vault).unwrap_err();
        let Error::NotLuks { found } = &error else { panic!("{}: {error:?}", maker.says) };
        assert!(found.contains(maker.says), "{found}, not {}", maker.says);
        assert!(error.to_string().contains(maker.says) && !error.to_string().contains("format it"), "{error}");
    }
}

/// Data without a known signature is foreign data, too.
#[test]
fn a_copy_of_the_header_is_not_repaired_over_bytes_that_nobody_knows() {
    let (vault, image) = image();
    let noise: Vec<u8> = (0..COPY as u32 + 512).map(|i| (i.wrapping_mul(2654435761) >> 24) as u8).collect();
    for which in 0..2 {
        for (len, at) in [(COPY, 0), (512, 0), (512, 1024), (1, 0), (512, COPY - 512)] {
            let mut bytes = image.clone();
            let copy = &mut bytes[which * COPY..(which + 1) * COPY];
            copy.fill(0);
            copy[at..at + len].copy_from_slice(&noise[512..512 + len]);
            let says = format!("byte {}", which * COPY);
            is_kept(&bytes, &vault, &says);
        }
        // A text over a header, the rest of which is intact.
        let mut bytes = image.clone();
        let copy = &mut bytes[which * COPY..];
        copy[..512].fill(b' ');
        copy[..17].copy_from_slice(b"#!/bin/sh\nexit 0\n");
        is_kept(&bytes, &vault, "byte");
    }
}

/// A header of a newer version or of another program: its checksum is right, but it can't be read here.
#[test]
fn a_copy_of_the_header_is_not_repaired_over_a_whole_one_that_cannot_be_read() {
    let (vault, image) = image();
    let refused = |copy: &mut [u8]| copy[4096..8192].copy_from_slice(&[&b"{}"[..], &[0; 4094]].concat());
    let newer = |copy: &mut [u8]| {
        let seqid = u64::from_be_bytes(copy[16..24].try_into().unwrap());
        copy[16..24].copy_from_slice(&(seqid + 1).to_be_bytes());
    };
    let another = |copy: &mut [u8]| copy[168..176].copy_from_slice(b"ffffffff");
    for which in 0..2 {
        for (name, says, edit) in [
            (
                "newer",
                "isn't damaged",
                &(|copy: &mut [u8]| (refused(copy), newer(copy))) as &dyn Fn(&mut [u8]) -> ((), ()),
            ),
            ("another volume's", "isn't damaged", &|copy| (refused(copy), another(copy))),
            ("version 3", "its version is 3", &|copy| (copy[7] = 3, ())),
            ("longer", "its size, 6144 bytes", &|copy| (copy[8..16].copy_from_slice(&6144u64.to_be_bytes()), ())),
        ] {
            let mut bytes = image.clone();
            let copy = &mut bytes[which * COPY..(which + 1) * COPY];
            edit(copy);
            let size = if name == "longer" { 6144 } else { COPY };
            header::seal(&mut copy[..size]);
            println!("{name}");
            is_kept(&bytes, &vault, says);
        }
        // Their checksums aren't known here.
        for (says, edit) in [
            ("its version is 3", &(|copy: &mut [u8]| copy[7] = 3) as &dyn Fn(&mut [u8])),
            ("its checksum algorithm is \"sha512\"", &|copy| copy[72..78].copy_from_slice(b"sha512")),
        ] {
            let mut bytes = image.clone();
            let copy = &mut bytes[which * COPY..(which + 1) * COPY];
            edit(copy);
            copy[448..512].fill(7);
            is_kept(&bytes, &vault, says);
        }
    }
}

#[test]
fn what_is_left_of_a_header_is_repaired() {
    let (vault, image) = image();
    for which in 0..2 {
        for (name, damage) in [
            ("wipefs", &(|copy: &mut [u8]| copy[..6].fill(0)) as &dyn Fn(&mut [u8])),
            ("a sector of zeros", &|copy| copy[..512].fill(0)),
            ("a block of zeros", &|copy| copy[..4096].fill(0)),
            ("two blocks of zeros", &|copy| copy[..8192].fill(0)),
            ("a bit of the magic", &|copy| copy[5] ^= 0x80),
            ("noise in the JSON", &|copy| copy[4200..4300].fill(0x01)),
            ("a bit of the version", &|copy| copy[7] ^= 1),
            ("a bit of the checksum's name", &|copy| copy[73] ^= 2),
            ("a bit of the size", &|copy| copy[13] ^= 1),
            ("a first sector that was torn over zeros", &|copy| copy[76..512].fill(0)),
            ("a first sector that was torn over LUKS1's", &|copy| {
                copy[8..512].fill(0);
                copy[8..11].copy_from_slice(b"aes");
                copy[40..51].copy_from_slice(b"xts-plain64");
                copy[72..76].copy_from_slice(b"sha1");
            }),
            ("an older one that can't be read", &|copy| {
                copy[4096..8192].copy_from_slice(&[&b"{}"[..], &[0; 4094]].concat());
                header::seal(copy);
            }),
        ] {
            let mut bytes = image.clone();
            damage(&mut bytes[which * COPY..(which + 1) * COPY]);
            let device = shared(bytes);
            assert!(holds_plain(&open(device.clone(), &vault).unwrap_or_else(|e| panic!("{name}, {which}: {e}"))));
            assert!(header::is_whole(&device.bytes()), "{name}, {which}");
        }
    }
}

/// A file system is made while the volume is open: no change of the header overwrites it.
#[test]
fn a_volume_that_is_open_does_not_write_over_what_came_since() {
    let (vault, image) = image();
    let device = shared(image);
    let volume = open(device.clone(), &vault).unwrap();
    device.edit(|bytes| {
        bytes[..COPY].fill(0);
        bytes[1080..1082].copy_from_slice(b"\x53\xef");
    });
    let before = device.bytes();
    vault.rotate();
    let error = volume.rotate_kek(&vault).unwrap_err();
    assert!(matches!(&error, Error::ForeignData(found) if found.contains("ext4")), "{error:?}");
    assert!(device.bytes() == before);
}

/// The area of a keyslot that a killed process left to be wiped may hold foreign data by now.
#[test]
fn an_area_is_not_wiped_over_what_another_program_made() {
    let (vault, image) = image();
    let device = shared(image);
    let volume = open(device.clone(), &vault).unwrap();
    let id = volume.add_protector(atrest::Protector::Passphrase(b"second"), &crate::common::keyslots::cost()).unwrap();
    assert_eq!(id, atrest::volume::ProtectorId::Keyslot(0));
    drop(volume);
    device.edit(|bytes| {
        header::edit_json(bytes, |json| {
            let keyslot = json["keyslots"]["0"].as_object_mut().unwrap();
            keyslot.retain(|name, _| ["type", "key_size", "area"].contains(&name.as_str()));
            keyslot.insert("type".into(), "atrest-wiping".into());
            json["digests"]["0"]["keyslots"] = serde_json::json!([]);
        });
        bytes[0x1_0040..0x1_0048].copy_from_slice(b"_BHRfS_M");
    });
    let before = device.bytes();
    assert!(holds_plain(&look(before.clone(), &vault).unwrap()));
    let error = open(device.clone(), &vault).unwrap_err();
    assert!(matches!(&error, Error::ForeignData(found) if found.contains("Btrfs")), "{error:?}");
    assert!(device.bytes() == before);
    assert!(Header::load(&device).unwrap().hazmat_repair().unwrap());
    assert_eq!(Header::load(&device).unwrap().keyslots(), []);
}

#[test]
fn a_prefix_is_not_rotated_over_what_is_no_prefix() {
    let vault = MemoryVault::new("memory:one");
    let (prefix, _) = FilePrefix::create(&vault, "disks", b"db").unwrap();
    vault.rotate();
    for which in 0..2 {
        let damaged = |fill: &dyn Fn(&mut [u8])| {
            let mut bytes = prefix.to_bytes();
            fill(&mut bytes[which * 4096..(which + 1) * 4096]);
            bytes
        };
        let device = TestDevice::new(damaged(&|slot| slot[..20].copy_from_slice(b"somebody's own bytes")));
        let before = device.bytes();
        let error = FilePrefix::rotate_kek(&device, &vault, b"db").unwrap_err();
        assert!(matches!(&error, Error::ForeignData(_)), "{error:?}");
        assert!(device.bytes() == before);
        // A copy that a newer version has written, with the checksum of this one or another.
        let sealed = |slot: &mut [u8]| {
            let sum = Sha256::digest(&slot[..4096 - 32]);
            slot[4096 - 32..].copy_from_slice(&sum);
        };
        for fill in [
            &(|slot: &mut [u8]| {
                slot[9] = 2;
                sealed(slot);
            }) as &dyn Fn(&mut [u8]),
            &|slot| (slot[9], slot[4095]) = (2, slot[4095] ^ 1),
            &|slot| {
                // The next generation, with an envelope of another kind.
                (slot[19], slot[36]) = (slot[19] + 1, 0xFF);
                sealed(slot);
            },
        ] {
            let device = TestDevice::new(damaged(fill));
            let before = device.bytes();
            let error = FilePrefix::rotate_kek(&device, &vault, b"db").unwrap_err();
            assert!(matches!(&error, Error::ForeignData(what) if what.contains("isn't damaged")), "{error:?}");
            assert!(device.bytes() == before);
        }
        for fill in [
            &(|slot: &mut [u8]| slot.fill(0)) as &dyn Fn(&mut [u8]),
            &|slot| slot[600] ^= 1,
            &|slot| slot[9] ^= 4,
            &|slot| slot[..512].fill(0),
        ] {
            let device = MemoryDevice::from_bytes(damaged(fill));
            FilePrefix::rotate_kek(&device, &vault, b"db").unwrap();
        }
    }
}

/// The reference implementation on the same device: it refuses and writes nothing.
#[test]
fn cryptsetup_refuses_the_same() {
    let (Some(cryptsetup), Some(_)) = (cryptsetup(), peer("mkfs.ext4", &["-V"])) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (path, key) = (folder.path().join("volume"), folder.path().join("key"));
    fs::write(&key, "pw").unwrap();
    File::create(&path).unwrap().set_len(32 << 20).unwrap();
    let format = ["luksFormat", "-q", "--type", "luks2", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];
    let made = run_any(&cryptsetup, &[&format[..], &["--key-file", text(&key), text(&path)]].concat());
    assert!(made.status.success());
    let mut bytes = fs::read(&path).unwrap();
    let start = MAKERS[0].start(&folder.path().join("ext4")).unwrap();
    bytes[..4096].copy_from_slice(&start[..4096]);
    fs::write(&path, &bytes).unwrap();

    let opened = run_any(&cryptsetup, &["open", "--test-passphrase", "--key-file", text(&key), text(&path)]);
    assert!(!opened.status.success() && String::from_utf8_lossy(&opened.stderr).contains("ambiguous signatures"));
    assert!(fs::read(&path).unwrap() == bytes, "cryptsetup has repaired it");

    let device = shared(bytes.clone());
    let error = Volume::open(device.clone(), Credential::KeyFile(&key), &OpenOptions::new()).unwrap_err();
    assert!(matches!(&error, Error::ForeignData(found) if found.contains("ext4")), "{error:?}");
    assert!(device.bytes() == bytes);
}
