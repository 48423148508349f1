//! Managed disks on exports.

use std::path::PathBuf;
use std::sync::Arc;

use atrest::managed::{DiskBackend, DiskService, KnownVaults, NewDisk, ResourceName, ServiceOptions};
use atrest::vault::{FileVault, Unlock, VaultOptions};
use atrest::{BlockDevice, Error, Result};
use atrest_nbd::{ExportMaker, NbdBackend, NbdDevice, NbdOptions};

use crate::nbdkit;
use crate::peers::peer;
use crate::servers::{Server, text, uri, zeros};

const IDS: [&str; 2] = ["6b8cd1b4-9a0f-4a4b-9d0b-0a6a3f1e7c01", "6b8cd1b4-9a0f-4a4b-9d0b-0a6a3f1e7c02"];
const SIZE: u64 = 20 << 20;

#[test]
fn exports_are_taken_listed_and_given_back() {
    if !nbdkit() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let disks = folder.path().join("disks");
    std::fs::create_dir(&disks).unwrap();
    for id in IDS {
        zeros(disks.join(format!("vm-{id}.img")), SIZE);
    }
    zeros(disks.join("something-else"), SIZE);
    let socket = folder.path().join("s");
    let _server = Server::nbdkit(&socket, &["file", &format!("dir={}", disks.display())]);
    let backend = NbdBackend::from_url(&uri(&socket, "vm-{id}.img")).unwrap();
    assert!(backend.list("north").unwrap().is_empty(), "blank exports are free");
    let device = backend.create("north", IDS[0], SIZE - 4096).unwrap();
    assert!(matches!(backend.create("north", IDS[0], SIZE), Err(Error::Busy { .. })));
    assert!(matches!(backend.open("north", IDS[0]), Err(Error::Busy { .. })));
    assert!(matches!(backend.create("north", IDS[1], SIZE + 1), Err(Error::DeviceTooSmall { .. })));
    let missing = "6b8cd1b4-9a0f-4a4b-9d0b-0a6a3f1e7c03";
    assert!(matches!(backend.create("north", missing, SIZE), Err(Error::NotFound { .. })));
    assert!(matches!(backend.open("north", missing), Err(Error::NotFound { .. })));
    assert!(matches!(backend.open("north", "../x"), Err(Error::InvalidOption(_))));
    backend.remove("north", missing).unwrap();
    device.write_at(0, &[7; 8192]).unwrap();
    device.write_at(SIZE - 512, &[7; 512]).unwrap();
    device.sync().unwrap();
    assert_eq!(backend.list("north").unwrap(), [IDS[0]], "one that is open");
    drop(device);
    assert_eq!(backend.list("north").unwrap(), [IDS[0]]);
    assert!(matches!(backend.create("north", IDS[0], SIZE), Err(Error::AlreadyExists { .. })));
    drop(backend.open("north", IDS[0]).unwrap());
    backend.remove("north", IDS[0]).unwrap();
    assert!(backend.list("north").unwrap().is_empty());
    assert!(std::fs::read(disks.join(format!("vm-{}.img", IDS[0]))).unwrap().iter().all(|byte| *byte == 0));
    backend.create("north", IDS[0], SIZE).unwrap();
}

#[test]
fn a_socket_for_each_disk() {
    if peer("qemu-nbd", &["--version"]).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = zeros(folder.path().join("disk"), SIZE);
    let socket = folder.path().join(format!("{}.sock", IDS[0]));
    let server = Server::qemu(&socket, &file, &["--discard=unmap"]);
    let url = uri(&folder.path().join("{id}.sock"), "");
    let backend = NbdBackend::from_url_with(&url, &NbdOptions::new().connections(1)).unwrap();
    assert!(backend.list("").unwrap().is_empty());
    backend.create("", IDS[0], SIZE).unwrap().write_at(0, &[7; 512]).unwrap();
    assert_eq!(backend.list("").unwrap(), [IDS[0]]);
    backend.remove("", IDS[0]).unwrap();
    assert!(backend.list("").unwrap().is_empty());
    drop(server);
    let _ = std::fs::remove_file(socket);
    backend.remove("", IDS[0]).unwrap();
}

#[test]
fn templates_that_name_no_disk() {
    for url in ["nbd://h/disk", "nbd://{id}/x", "nbd://h/{id}{id}", "nbd+unix:///{id}?socket=/{id}"] {
        assert!(matches!(NbdBackend::from_url(url), Err(Error::InvalidOption(_))), "{url}");
    }
    for options in [
        NbdOptions::new().connections(0),
        NbdOptions::new().replay_log(1),
        NbdOptions::new().deadline(std::time::Duration::ZERO),
    ] {
        assert!(matches!(NbdBackend::from_url_with("nbd://h/{id}", &options), Err(Error::InvalidOption(_))));
        assert!(matches!(NbdDevice::connect_with("nbd://h/x", &options), Err(Error::InvalidOption(_))));
    }
}

/// Makes files in the folder of nbdkit.
struct Files(PathBuf);

impl ExportMaker for Files {
    fn make(&self, _: &str, id: &str, size: u64) -> Result<()> {
        zeros(self.0.join(id), size);
        Ok(())
    }

    fn remove(&self, _: &str, id: &str) -> Result<()> {
        match std::fs::remove_file(self.0.join(id)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::Io { what: "removing an export".into(), source: e })
            }
            _ => Ok(()),
        }
    }
}

/// A service with disks on nbdkit, which is killed in between.
#[test]
fn managed_disks_on_exports_that_are_made() {
    if !nbdkit() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("disks")).unwrap();
    let arguments = ["file", &format!("dir={}", path("disks").display())];
    let mut server = Server::nbdkit(&path("s"), &arguments);
    let root = path("root");
    FileVault::generate_key_file(&root).unwrap();
    let options = VaultOptions::new().id("platform").region("north").tenant("contoso").purge_protection(true);
    let platform = FileVault::create_with(path("platform"), Unlock::KeyFile(&root), &options).unwrap();
    platform.create_key("disks").unwrap();
    let backend = NbdBackend::from_url(&uri(&path("s"), "{id}")).unwrap().maker(Arc::new(Files(path("disks"))));
    let backend = Arc::new(backend);
    let options =
        ServiceOptions::new(backend.clone(), Arc::new(KnownVaults::new()), Arc::new(platform), "disks").discard(true);
    let service = DiskService::open(path("store"), options).unwrap();
    let new = |name| NewDisk::new(name, 4 << 20).region("north").subscription("one").sector_size(4096);
    service.create_disk(&new("one")).unwrap();
    service.create_disk(&new("two")).unwrap();
    assert_eq!(backend.list("north").unwrap().len(), 2);
    let planted: Vec<u8> = b"nobody but the owner reads this. ".iter().copied().cycle().take(64 << 10).collect();
    {
        let disk = service.open_disk("one").unwrap();
        disk.write_at(8192, &planted).unwrap();
        server.kill();
        server = Server::nbdkit(&path("s"), &arguments);
        disk.sync().unwrap();
        let mut back = vec![0; planted.len()];
        disk.read_at(8192, &mut back).unwrap();
        assert!(back == planted);
        assert!(matches!(backend.open("north", &backend.list("north").unwrap()[0]), Ok(_) | Err(Error::Busy { .. })));
    }
    for entry in std::fs::read_dir(path("disks")).unwrap() {
        let file = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!file.windows(33).any(|window| window == &planted[..33]), "{}", text(folder.path()));
    }
    service.delete(&ResourceName::disk("one")).unwrap();
    assert_eq!(backend.list("north").unwrap().len(), 1);
    let disk = service.open_disk("two").unwrap();
    disk.write_at(0, &planted).unwrap();
    drop(server);
}
