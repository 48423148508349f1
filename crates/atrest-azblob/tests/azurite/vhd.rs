//! Fixed VHDs, which QEMU reads and writes.

use atrest::managed::DiskBackend;
use atrest::{BlockDevice, Error};
use atrest_azblob::PageBlobBackend;
use atrest_http::Method;

use crate::peers::{peer, run, text};
use crate::server::{Azurite, options};

const ID: &str = "2f4a3a3e-74b9-4a0e-9d3d-1f3f6f1d5a01";
/// No multiple of a cylinder.
const SIZE: u64 = (5 << 20) + 1536;

fn content() -> Vec<u8> {
    (0..SIZE / 8).flat_map(|n| (n * 0x9E37_79B9).to_le_bytes()).collect()
}

fn vhds(azurite: &Azurite) -> PageBlobBackend {
    PageBlobBackend::new(&azurite.url(), options().vhd(true)).unwrap()
}

#[test]
fn qemu_reads_a_vhd_that_was_written_here() {
    let Some(azurite) = Azurite::start() else { return };
    let Some(qemu) = peer("qemu-img", &["--version"]) else { return };
    let backend = vhds(&azurite);
    let device = backend.create("north", ID, SIZE).unwrap();
    assert_eq!(device.size().unwrap(), SIZE);
    device.write_at(0, &content()).unwrap();
    // The footer is no part of the device.
    assert!(device.write_at(SIZE, &[0; 512]).is_err() && device.set_size(1 << 20).is_err());
    drop(device);
    assert_eq!(backend.list("north").unwrap(), [ID]);

    let folder = tempfile::tempdir().unwrap();
    let (vhd, raw) = (folder.path().join("disk.vhd"), folder.path().join("disk.raw"));
    std::fs::write(&vhd, azurite.request(Method::Get, &format!("disks/vm/{ID}.vhd"), "", &[]).body).unwrap();
    let info = run(&qemu, &["info", "-f", "vpc", "--output=json", text(&vhd)]);
    assert!(info.replace(' ', "").contains(&format!("\"virtual-size\":{SIZE},")), "{info}");
    run(&qemu, &["convert", "-f", "vpc", "-O", "raw", text(&vhd), text(&raw)]);
    assert!(std::fs::read(&raw).unwrap() == content());

    let device = backend.open("north", ID).unwrap();
    let mut found = vec![0; SIZE as usize];
    device.read_at(0, &mut found).unwrap();
    assert!(found == content());
}

#[test]
fn a_vhd_that_qemu_wrote_is_read_here() {
    let Some(azurite) = Azurite::start() else { return };
    let Some(qemu) = peer("qemu-img", &["--version"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (vhd, raw) = (folder.path().join("disk.vhd"), folder.path().join("disk.raw"));
    std::fs::write(&raw, content()).unwrap();
    let fixed = "subformat=fixed,force_size=on";
    run(&qemu, &["convert", "-f", "raw", "-O", "vpc", "-o", fixed, text(&raw), text(&vhd)]);
    let bytes = std::fs::read(&vhd).unwrap();
    let blob = azurite.backend().create_blob("vm/qemu.vhd", bytes.len() as u64).unwrap();
    blob.write_at(0, &bytes).unwrap();
    drop(blob);
    let device = vhds(&azurite).open_blob("vm/qemu.vhd").unwrap();
    assert_eq!(device.size().unwrap(), SIZE);
    let mut found = vec![0; SIZE as usize];
    device.read_at(0, &mut found).unwrap();
    assert!(found == content());
}

#[test]
fn what_is_no_vhd_is_not_opened_as_one() {
    let Some(azurite) = Azurite::start() else { return };
    drop(azurite.backend().create_blob("raw", 1 << 20).unwrap());
    let error = vhds(&azurite).open_blob("raw").err().unwrap();
    assert!(matches!(&error, Error::Io { .. }) && format!("{error:#}").contains("footer"), "{error:#}");
    // It isn't held after that.
    drop(azurite.backend().open_blob("raw").unwrap());
}
