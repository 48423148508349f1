//! A forked child leaves its parent's disks and locks alone, and opens its own.

use atrest::managed::DiskBackend;
use atrest::{BlockDevice, Error};

use crate::fork::{failed_of, forked, in_child, so};
use crate::server::{ID, Moto, OTHER};

#[test]
fn a_child_gives_no_lock_of_its_parent_back() {
    let Some(moto) = Moto::start() else { return };
    let backend = moto.backend();
    let device = backend.create_disk(ID, 1 << 20).unwrap();
    device.write_at(0, &[1; 512]).unwrap();
    device.sync().unwrap();
    device.write_at(512, &[2; 512]).unwrap();
    let (objects, mut device) = (moto.keys(), Some(device));

    let ended = in_child(|| {
        let parents = device.take().unwrap();
        so!(forked(parents.size()));
        so!(forked(parents.write_at(0, &[3; 512])));
        so!(forked(parents.write_zeroes(0, 4096)));
        so!(forked(parents.discard(0, 64 << 10)));
        so!(forked(parents.read_at(0, &mut [0; 512])));
        so!(forked(parents.set_size(4096)));
        so!(forked(parents.sync()));
        so!(forked(parents.collect_orphans()));
        so!(forked(backend.create_disk(OTHER, 4096)) && forked(backend.open_disk(ID)));
        so!(forked(backend.remove("north", ID)) && forked(backend.list("north")));
        so!(forked(parents.close()));
        // A client of its own finds the disk locked.
        let own = moto.backend();
        so!(matches!(own.open_disk(ID), Err(Error::Busy { .. })));
        let made = own.create_disk(OTHER, 64 << 10);
        so!(made.is_ok_and(|own| own.write_at(0, &[3; 512]).is_ok() && own.close().is_ok()));
        Ok(())
    });
    assert_eq!(ended, 0, "the child");

    let of_parent: Vec<_> = moto.keys().into_iter().filter(|key| key.contains(ID)).collect();
    assert_eq!(of_parent, objects, "the child wrote or deleted objects of its parent");
    let device = device.unwrap();
    device.sync().unwrap();
    let mut found = [0; 1024];
    device.read_at(0, &mut found).unwrap();
    assert_eq!((found[0], found[512]), (1, 2));
    assert!(matches!(moto.backend().open_disk(ID), Err(Error::Busy { .. })));
    device.close().unwrap();
    drop(moto.backend().open_disk(ID).unwrap());
}

#[test]
fn no_child_hangs_in_what_a_thread_of_its_parent_held() {
    let Some(moto) = Moto::start() else { return };
    let device = &moto.backend().create_disk(ID, 1 << 20).unwrap();
    let busy = [0, 1, 2].map(|at| {
        move || {
            device.write_at(at * 4096, &[7; 4096]).unwrap();
            device.sync().unwrap();
        }
    });
    let failed = failed_of(50, &busy.each_ref().map(|busy| busy as _), || {
        so!(forked(device.size()) && forked(device.write_at(0, &[8; 512])));
        so!(forked(device.sync()) && forked(device.set_size(4096)));
        Ok(())
    });
    assert_eq!(failed, 0, "of 50 children");
}
