//! A forked child leaves its parent's blobs and leases alone, and opens its own.

use atrest::managed::DiskBackend;
use atrest::{BlockDevice, Error};
use atrest_azblob::Lease;

use crate::fork::{failed_of, forked, in_child, so};
use crate::server::{Azurite, options};

const ID: &str = "2f4a3a3e-74b9-4a0e-9d3d-1f3f6f1d5a01";

#[test]
fn a_child_releases_no_lease_of_its_parent() {
    let Some(azurite) = Azurite::start() else { return };
    for lease in [Lease::Renewed(15), Lease::Infinite] {
        let backend = atrest_azblob::PageBlobBackend::new(&azurite.url(), options().lease(lease)).unwrap();
        let name = format!("{lease:?}").to_ascii_lowercase().replace(['(', ')'], "");
        let device = backend.create_blob(&name, 1 << 20).unwrap();
        device.write_at(0, &[1; 4096]).unwrap();
        let image = backend.open_image("north", &name).unwrap();
        let mut device = Some(device);

        let ended = in_child(|| {
            let parents = device.take().unwrap();
            so!(forked(parents.size()) && forked(image.size()));
            so!(forked(parents.write_at(0, &[2; 4096])));
            so!(forked(parents.write_zeroes(0, 4096)));
            so!(forked(parents.discard(0, 4096)));
            so!(forked(parents.read_at(0, &mut [0; 4096])) && forked(image.read_at(0, &mut [0; 4096])));
            so!(forked(parents.set_size(4096)));
            so!(forked(parents.sync()));
            so!(forked(backend.create_blob("another", 4096)) && forked(backend.open_blob(&name)));
            so!(forked(backend.remove("north", ID)) && forked(backend.list("north")));
            drop(parents);
            // A client of its own finds the lease held.
            let own = azurite.backend();
            so!(matches!(own.open_blob(&name), Err(Error::Busy { .. })));
            so!(own.create_blob(&format!("{name}-own"), 4096).is_ok_and(|own| own.write_at(0, &[3; 512]).is_ok()));
            Ok(())
        });
        assert_eq!(ended, 0, "the child");

        let device = device.unwrap();
        let mut found = [0; 4096];
        device.read_at(0, &mut found).unwrap();
        assert_eq!(found, [1; 4096]);
        device.write_at(0, &[4; 4096]).unwrap();
        assert!(matches!(azurite.backend().open_blob(&name), Err(Error::Busy { .. })));
        drop(device);
        drop(azurite.backend().open_blob(&name).unwrap());
    }
}

#[test]
fn no_child_hangs_in_what_a_thread_of_its_parent_held() {
    let Some(azurite) = Azurite::start() else { return };
    let device = &azurite.backend().create_blob("busy", 1 << 20).unwrap();
    let busy = [0, 1, 2].map(|at| move || device.write_at(at * 4096, &[7; 4096]).unwrap());
    let failed = failed_of(50, &busy.each_ref().map(|busy| busy as _), || {
        so!(forked(device.write_at(0, &[8; 4096])) && forked(device.set_size(4096)));
        Ok(())
    });
    assert_eq!(failed, 0, "of 50 children");
}
