//! Tests of resources open here whose devices another host may have had meanwhile.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::SystemClock;
use crate::managed::records::ResourceName;
use crate::managed::store::MemoryStore;
use crate::managed::{DiskFolder, DiskService, HostOptions, KnownVaults, NewDisk, ServiceOptions};
use crate::vault::{FileVault, KdfCost, Unlock};

/// The folder keeps a second opening out, as any backend may.
#[test]
fn a_device_that_was_elsewhere_is_opened_once() {
    let folder = tempfile::tempdir().unwrap();
    let cheap = KdfCost { memory_kib: 64, passes: 1, lanes: 1 };
    let platform = FileVault::create_with_cost(folder.path().join("v"), Unlock::Passphrase(b"p"), cheap).unwrap();
    platform.create_key("disks").unwrap();
    let backend = Arc::new(DiskFolder::new(folder.path()));
    let options = ServiceOptions::new(backend, Arc::new(KnownVaults::new()), Arc::new(platform), "disks")
        .clock(Arc::new(SystemClock));
    let service = DiskService::open_shared(Arc::new(MemoryStore::new()), &HostOptions::new("one"), options).unwrap();
    service.create_disk(&NewDisk::new("d", 64 << 10).region("north").subscription("one").sector_size(4096)).unwrap();
    let disk = service.open_disk("d").unwrap();
    disk.write_at(0, &[1; 4096]).unwrap();
    let live = service.registry().find(&ResourceName::disk("d")).unwrap();
    // A lease that has ended, and a device that another host had since it was opened.
    let key = "https://vault.example/keys/disks/1".parse().unwrap();
    live.write().lease = Some(live.access.leases.of("set", &key));
    live.attached_as.store(0, Ordering::SeqCst);
    assert!(live.is_suspended());
    let mut read = [0; 4096];
    disk.read_at(0, &mut read).unwrap();
    assert_eq!(read, [1; 4096]);
}
