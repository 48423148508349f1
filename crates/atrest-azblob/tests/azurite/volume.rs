//! Volumes and managed disks on page blobs.

use std::sync::Arc;

use atrest::BlockDevice;
use atrest::managed::DiskBackend;
use atrest_azblob::PageBlobBackend;

use crate::on_store::{format, has_plain, holds_plain, managed, open, planted};
use crate::proxy::Proxy;
use crate::server::{Azurite, options};
use crate::vaults::MemoryVault;

const SIZE: u64 = 40 << 20;

#[test]
fn a_volume_lies_on_a_page_blob_without_a_trace_of_what_it_holds() {
    let Some(azurite) = Azurite::start() else { return };
    let proxy = Proxy::before(azurite.port);
    proxy.record();
    let backend = PageBlobBackend::new(&Azurite::url_at(proxy.port), options()).unwrap();
    let vault = MemoryVault::new("memory:vault");
    format(backend.create_blob("vm/volume.img", SIZE).unwrap(), &vault);
    open(backend.open_blob("vm/volume.img").unwrap(), &vault);
    assert!(proxy.recorded().len() > 1 << 20 && !has_plain(&proxy.recorded()) && !holds_plain(azurite.folder()));

    // Without encryption the text is there, on the wire and in the server's files.
    let plain = backend.create_blob("vm/plain.img", SIZE).unwrap();
    plain.write_at(8192, &planted(4096)).unwrap();
    assert!(has_plain(&proxy.recorded()) && holds_plain(azurite.folder()));
}

#[test]
fn managed_disks_lie_on_page_blobs() {
    let Some(azurite) = Azurite::start() else { return };
    let backend: Arc<dyn DiskBackend> = Arc::new(azurite.backend());
    managed(&backend);
    // Other blobs, and those below other prefixes, aren't disks.
    azurite.backend().create_blob("vm/image.disk", 4096).unwrap();
    azurite.backend().create_blob("other/2f4a3a3e-74b9-4a0e-9d3d-1f3f6f1d5a01.disk", 4096).unwrap();
    assert_eq!(backend.list("north").unwrap().len(), 2);
}
