//! How many requests each call takes: the table of costs in `docs/storage/page-blobs.md`.

use atrest::BlockDevice;
use atrest_azblob::{Lease, PageBlobBackend};

use crate::proxy::{Fate, Proxy};
use crate::server::{Azurite, options};

#[test]
fn calls_take_as_many_requests_as_the_documentation_says() {
    let Some(azurite) = Azurite::start() else { return };
    let proxy = Proxy::before(azurite.port);
    // Attempts that are slow on a busy machine aren't repeated; a lease that isn't renewed counts nothing.
    let options = options().http(Default::default()).lease(Lease::Infinite);
    let backend = PageBlobBackend::new(&Azurite::url_at(proxy.port), options.clone()).unwrap();
    let vhds = PageBlobBackend::new(&Azurite::url_at(proxy.port), options.vhd(true)).unwrap();
    let mut before = 0;
    let mut took = || {
        let now = proxy.requests();
        std::mem::replace(&mut before, now).abs_diff(now)
    };

    let device = backend.create_blob("raw", 16 << 20).unwrap();
    assert_eq!(took(), 3, "new disk");
    device.write_at(0, &[1; 4096]).unwrap();
    device.read_at(0, &mut [0; 4096]).unwrap();
    assert_eq!(took(), 2, "write and read");
    device.write_at(0, &vec![1; 9 << 20]).unwrap();
    assert_eq!(took(), 3, "write of 9 MiB");
    device.write_zeroes(0, 16 << 20).unwrap();
    device.discard(0, 16 << 20).unwrap();
    assert_eq!(took(), 2, "zeros and discard");
    device.sync().unwrap();
    device.size().unwrap();
    assert_eq!(took(), 0, "sync");
    device.set_size(17 << 20).unwrap();
    assert_eq!(took(), 3, "size");
    proxy.first(1, Fate::ResetAfter, |_| true);
    device.write_at(0, &[2; 4096]).unwrap();
    assert_eq!(took(), 3, "a write that is unknown, a raise, the write again");
    drop(device);
    assert_eq!(took(), 1, "close");
    drop(backend.open_blob("raw").unwrap());
    assert_eq!(took(), 2 + 1, "open");
    drop(vhds.create_blob("vhd", 1 << 20).unwrap());
    assert_eq!(took(), 4 + 1, "new VHD");
    drop(vhds.open_blob("vhd").unwrap());
    assert_eq!(took(), 3 + 1, "open VHD");
}
