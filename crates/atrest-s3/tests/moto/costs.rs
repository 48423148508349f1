//! How many requests each call takes: the table of costs in `docs/storage/s3.md`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use atrest::BlockDevice;
use atrest_s3::S3Backend;

use crate::proxy::{Fate, Proxy};
use crate::server::{ID, Moto, options};

#[test]
fn calls_take_as_many_requests_as_the_documentation_says() {
    let Some(moto) = Moto::start() else { return };
    let proxy = Proxy::before(moto.port);
    let seen = Arc::new(Mutex::new(BTreeMap::<String, usize>::new()));
    let count = seen.clone();
    proxy.rule(move |head| {
        *count.lock().unwrap().entry(head.method.clone()).or_default() += 1;
        Fate::Forward
    });
    // Attempts that are slow on a busy machine aren't repeated; signs of life are far apart.
    let options = options().http(Default::default()).lock_seconds(3600);
    let backend = S3Backend::new(&Moto::url_at(proxy.port), options).unwrap();
    let took = || {
        let taken = std::mem::take(&mut *seen.lock().unwrap());
        let of = |method| taken.get(method).copied().unwrap_or(0);
        (of("GET"), of("PUT"))
    };
    // A thread deletes replaced objects.
    let deleted = |expected: usize| {
        let began = Instant::now();
        while seen.lock().unwrap().get("DELETE").copied().unwrap_or(0) < expected {
            assert!(began.elapsed() < Duration::from_secs(60), "too few objects were deleted");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(seen.lock().unwrap().get("DELETE").copied().unwrap_or(0), expected);
    };

    // Three pages of the manifest.
    let device = backend.create_disk(ID, 600 << 20).unwrap();
    assert_eq!(took(), (1, 2), "new disk");
    device.write_at(0, &[1; 4096]).unwrap();
    device.read_at(0, &mut [0; 4096]).unwrap();
    assert_eq!(took(), (0, 0), "write, and read from memory");
    device.sync().unwrap();
    assert_eq!(took(), (0, 3), "sync of a new chunk");
    device.write_at(0, &[2; 4096]).unwrap();
    device.sync().unwrap();
    deleted(2);
    assert_eq!(took(), (1, 3), "sync of a part of a chunk");
    device.write_at(0, &vec![3; 64 << 10]).unwrap();
    device.write_at(300 << 20, &vec![3; 64 << 10]).unwrap();
    device.sync().unwrap();
    deleted(2);
    assert_eq!(took(), (0, 5), "sync of two whole chunks in two pages");
    device.sync().unwrap();
    assert_eq!(took(), (0, 0), "sync of nothing");
    device.read_at((64 << 10) - 4096, &mut [0; 8192]).unwrap();
    assert_eq!(took(), (1, 0), "read of a chunk, and of one that is zeros");
    device.close().unwrap();
    assert_eq!(took(), (0, 1), "close");
    let device = backend.open_disk(ID).unwrap();
    assert_eq!(took(), (3, 2), "open");
    device.read_at(0, &mut [0; 4096]).unwrap();
    device.read_at(0, &mut [0; 4096]).unwrap();
    assert_eq!(took(), (3, 0), "reads, the first with a page of the manifest");
}
