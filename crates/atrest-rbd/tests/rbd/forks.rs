//! A forked child leaves its parent's images and locks alone.

use atrest::{BlockDevice, Error, Protector, Volume};
use atrest_rbd::{Queue, RbdDevice};

use crate::cluster::cluster;
use crate::fast;
use crate::fork::{forked, in_child, so};

#[test]
fn a_child_gives_no_lock_of_its_parent_back() {
    let Some(cluster) = cluster() else { return };
    let _calm = cluster.calm();
    let (image, options) = (cluster.image(16), cluster.options());
    let device = RbdDevice::open(&image, &options).unwrap();
    device.write_at(0, &[1; 4096]).unwrap();
    let mut device = Some(device);
    let ended = in_child(|| {
        let parents = device.take().unwrap();
        so!(forked(parents.size()) && forked(parents.set_size(1 << 20)));
        so!(forked(parents.read_at(0, &mut [0; 4096])) && forked(parents.write_at(0, &[2; 4096])));
        so!(forked(parents.write_zeroes(0, 4096)) && forked(parents.discard(0, 4096)));
        so!(forked(parents.sync()));
        drop(parents);
        Ok(())
    });
    assert_eq!(ended, 0, "the child");
    let device = device.unwrap();
    assert!(matches!(RbdDevice::open(&image, &options), Err(Error::Busy { .. })));
    device.write_at(4096, &[3; 4096]).unwrap();
    device.sync().unwrap();
    let mut found = [0; 8192];
    device.read_at(0, &mut found).unwrap();
    assert_eq!((found[0], found[4096]), (1, 3));
    drop(device);
    drop(RbdDevice::open(&image, &options).unwrap());
}

#[test]
fn a_child_waits_for_no_request_of_its_parents_queue() {
    let Some(cluster) = cluster() else { return };
    let _calm = cluster.calm();
    let device = RbdDevice::open(&cluster.image(64), &cluster.options()).unwrap();
    let volume = Volume::format(device, Protector::Passphrase(b"secret"), &fast(Default::default())).unwrap();
    let mut queue = Queue::new(&volume, volume.device(), 8, 4096).unwrap();
    for n in 0..4 {
        queue.write(n * 4096, 4096, n, |sectors| sectors.fill(n as u8)).unwrap();
    }
    let mut queue = Some(queue);
    let ended = in_child(|| {
        let mut parents = queue.take().unwrap();
        so!(forked(parents.read(0, 4096, 9)) && forked(parents.write(0, 4096, 9, |_| {})));
        let mut all = true;
        let count = parents.wait(9, |done| all &= forked(done.result));
        so!(all && count == 4 && parents.in_flight() == 0 && parents.fd().is_none());
        drop(parents);
        Ok(())
    });
    assert_eq!(ended, 0, "the child");
    let mut queue = queue.unwrap();
    assert_eq!(queue.wait(9, |done| assert!(done.result.is_ok())), 4);
}
