//! Leases, and devices that lose them.

use std::io::ErrorKind;

use atrest::managed::DiskBackend;
use atrest::{BlockDevice, Error};
use atrest_azblob::{Lease, PageBlobBackend};
use atrest_http::Method;

use crate::server::{Azurite, options};

const ID: &str = "2f4a3a3e-74b9-4a0e-9d3d-1f3f6f1d5a01";

/// Takes a blob by force, as another host does.
pub fn break_lease(azurite: &Azurite, blob: &str) {
    let headers = [("x-ms-lease-action", "break"), ("x-ms-lease-break-period", "0")];
    let answer = azurite.request(Method::Put, &format!("disks/{blob}"), "comp=lease", &headers);
    assert_eq!(answer.status, 202);
}

fn assert_fenced(device: &dyn BlockDevice) {
    for _ in 0..2 {
        let mut bytes = vec![0; 4096];
        let errors = [
            device.write_at(0, &bytes).unwrap_err(),
            device.write_zeroes(0, 4096).unwrap_err(),
            device.read_at(0, &mut bytes).unwrap_err(),
            device.set_size(4096).unwrap_err(),
            device.sync().unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::StaleNetworkFileHandle, "{error}");
        }
    }
}

#[test]
fn who_lost_the_lease_never_writes_again() {
    let Some(azurite) = Azurite::start() else { return };
    for lease in [Lease::Renewed(15), Lease::Infinite] {
        let backend = PageBlobBackend::new(&azurite.url(), options().lease(lease)).unwrap();
        let name = format!("{lease:?}").to_ascii_lowercase().replace(['(', ')'], "");
        let first = backend.create_blob(&name, 1 << 20).unwrap();
        first.write_at(0, &[1; 4096]).unwrap();
        assert!(matches!(backend.open_blob(&name), Err(Error::Busy { .. })));

        break_lease(&azurite, &name);
        let second = azurite.backend().open_blob(&name).unwrap();
        assert_fenced(&first);
        second.write_at(0, &[2; 4096]).unwrap();
        // Nor when nobody holds the blob any more.
        drop(second);
        assert_fenced(&first);
        drop(first);
        let third = azurite.backend().open_blob(&name).unwrap();
        let mut found = vec![0; 4096];
        third.read_at(0, &mut found).unwrap();
        assert_eq!(found, [2; 4096]);
    }
}

#[test]
fn a_lease_that_was_broken_and_that_nobody_took_is_lost_too() {
    let Some(azurite) = Azurite::start() else { return };
    let backend = azurite.backend();
    let device = backend.create_blob("broken", 1 << 20).unwrap();
    break_lease(&azurite, "broken");
    assert_eq!(device.write_at(0, &[1; 4096]).unwrap_err().kind(), ErrorKind::StaleNetworkFileHandle);
    assert_fenced(&device);
}

#[test]
fn a_blob_with_snapshots_is_not_removed() {
    let Some(azurite) = Azurite::start() else { return };
    let backend = azurite.backend();
    drop(backend.create("north", ID, 1 << 20).unwrap());
    let path = format!("disks/vm/{ID}.disk");
    let snapshot = azurite.request(Method::Put, &path, "comp=snapshot", &[]);
    let snapshot = snapshot.header("x-ms-snapshot").unwrap().to_owned();
    let error = backend.remove("north", ID).unwrap_err();
    assert!(format!("{error:#}").contains("snapshots"), "{error:#}");
    assert_eq!(backend.list("north").unwrap(), [ID]);
    let encoded = atrest_http::encode_query(&snapshot);
    let deleted = azurite.request(Method::Delete, &path, &format!("snapshot={encoded}"), &[]);
    assert!(deleted.is_success());
    backend.remove("north", ID).unwrap();
    assert!(backend.list("north").unwrap().is_empty());
}

#[test]
fn a_blob_that_is_open_is_removed_by_its_own_process_only() {
    let Some(azurite) = Azurite::start() else { return };
    let backend = azurite.backend();
    let device = backend.create("north", ID, 1 << 20).unwrap();
    assert!(matches!(azurite.backend().remove("north", ID), Err(Error::Busy { .. })));
    backend.remove("north", ID).unwrap();
    assert_fenced(&*device);
    backend.remove("north", ID).unwrap();
    assert!(matches!(backend.open("north", ID), Err(Error::NotFound { .. })));
}
