//! Volumes and managed disks on S3.

use std::sync::Arc;

use atrest::BlockDevice;
use atrest::managed::DiskBackend;
use atrest_http::Method;
use atrest_s3::S3Backend;

use crate::on_store::{format, has_plain, managed, open, planted};
use crate::proxy::Proxy;
use crate::server::{ID, Moto, OTHER, options};
use crate::vaults::MemoryVault;

const SIZE: u64 = 40 << 20;

#[test]
fn a_volume_lies_on_objects_without_a_trace_of_what_it_holds() {
    let Some(moto) = Moto::start() else { return };
    let proxy = Proxy::before(moto.port);
    proxy.record();
    let backend = S3Backend::new(&Moto::url_at(proxy.port), options()).unwrap();
    let vault = MemoryVault::new("memory:vault");
    format(backend.create_disk(ID, SIZE).unwrap(), &vault);
    open(backend.open_disk(ID).unwrap(), &vault);
    let stored = |moto: &Moto| {
        let get = |key: String| moto.request(Method::Get, &format!("/disks/{key}")).body;
        moto.keys().into_iter().map(get).collect::<Vec<_>>()
    };
    let any = |objects: Vec<Vec<u8>>| objects.iter().any(|object| has_plain(object));
    assert!(proxy.recorded().len() > 1 << 20 && !has_plain(&proxy.recorded()) && !any(stored(&moto)));

    // Without encryption the text is there, on the wire and in the objects.
    let plain = backend.create_disk(OTHER, SIZE).unwrap();
    plain.write_at(8192, &planted(4096)).unwrap();
    plain.sync().unwrap();
    assert!(has_plain(&proxy.recorded()) && any(stored(&moto)));
}

#[test]
fn managed_disks_lie_on_objects() {
    let Some(moto) = Moto::start() else { return };
    let backend: Arc<dyn DiskBackend> = Arc::new(moto.backend());
    managed(&backend);
    // Other objects aren't disks.
    assert!(moto.request(Method::Put, "/disks/vm/notes/readme").is_success());
    assert!(moto.request(Method::Put, "/disks/vm/2f4a3a3e-74b9-4a0e-9d3d-1f3f6f1d5a09").is_success());
    assert_eq!(backend.list("north").unwrap().len(), 2);
}
