//! Requests that time out, and that the server gets later.

use std::time::Duration;

use atrest::BlockDevice;
use atrest_azblob::PageBlobBackend;

use crate::proxy::{Fate, Head, Proxy};
use crate::server::{Azurite, options};

fn is_put_page(head: &Head) -> bool {
    head.target.contains("comp=page")
}

fn is_resize(head: &Head) -> bool {
    head.header("x-ms-blob-content-length").is_some() && head.target.contains("comp=properties")
}

fn page(byte: u8) -> Vec<u8> {
    vec![byte; 4096]
}

fn read(device: &dyn BlockDevice) -> Vec<u8> {
    let mut found = page(0);
    device.read_at(8192, &mut found).unwrap();
    found
}

#[test]
fn a_late_write_does_not_overtake_a_newer_one() {
    let Some(azurite) = Azurite::start() else { return };
    let proxy = Proxy::before(azurite.port);
    let backend = PageBlobBackend::new(&Azurite::url_at(proxy.port), options()).unwrap();
    let device = backend.create_blob("late", 1 << 20).unwrap();

    // The first attempt is late. The second one is done, and so is a newer write.
    proxy.first(1, Fate::Late, is_put_page);
    device.write_at(8192, &page(1)).unwrap();
    device.write_at(8192, &page(2)).unwrap();
    assert_eq!(proxy.release(), [412]);
    assert_eq!(read(&device), page(2));

    // Clearing pages is a write, too.
    proxy.first(1, Fate::Late, is_put_page);
    device.write_zeroes(8192, 4096).unwrap();
    device.write_at(8192, &page(3)).unwrap();
    assert_eq!(proxy.release(), [412]);
    assert_eq!(read(&device), page(3));
}

#[test]
fn a_late_write_that_failed_does_not_overtake_a_newer_one() {
    let Some(azurite) = Azurite::start() else { return };
    let proxy = Proxy::before(azurite.port);
    let device = azurite.impatient(proxy.port, "late", Duration::from_secs(4));

    proxy.rule(|head| if is_put_page(head) { Fate::Late } else { Fate::Forward });
    let error = device.write_at(8192, &page(1)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut, "{error}");
    proxy.rule(|_| Fate::Forward);
    device.write_at(8192, &page(2)).unwrap();
    let late = proxy.release();
    assert!(!late.is_empty() && late.iter().all(|status| *status == 412), "{late:?}");
    assert_eq!(read(&device), page(2));
}

#[test]
fn without_the_fence_it_would() {
    // The premise of the tests above: the server has no other reason to refuse the late request.
    let Some(azurite) = Azurite::start() else { return };
    let proxy = Proxy::before(azurite.port);
    let device = azurite.impatient(proxy.port, "late", Duration::from_millis(700));
    while device.write_at(8192, &page(2)).is_err() {}
    proxy.rule(|head| if is_put_page(head) { Fate::Late } else { Fate::Forward });
    device.write_at(8192, &page(1)).unwrap_err();
    assert_eq!(proxy.release(), [201]);
    drop(device);
    assert_eq!(read(&azurite.backend().open_blob("late").unwrap()), page(1));
}

#[test]
fn a_late_change_of_the_size_is_refused() {
    let Some(azurite) = Azurite::start() else { return };
    let proxy = Proxy::before(azurite.port);
    let device = azurite.impatient(proxy.port, "late", Duration::from_secs(4));

    proxy.first(1, Fate::Late, is_resize);
    device.set_size(1 << 16).unwrap();
    device.set_size(1 << 21).unwrap();
    device.write_at(1 << 20, &page(7)).unwrap();
    assert_eq!(proxy.release(), [412]);
    assert_eq!(device.size().unwrap(), 1 << 21);

    // One that failed is looked at when the size matters again.
    proxy.rule(|head| if is_resize(head) { Fate::Late } else { Fate::Forward });
    device.set_size(1 << 16).unwrap_err();
    proxy.rule(|_| Fate::Forward);
    assert_eq!(device.size().unwrap(), 1 << 21);
    let late = proxy.release();
    assert!(!late.is_empty() && late.iter().all(|status| *status == 412), "{late:?}");
    let mut found = page(0);
    device.read_at(1 << 20, &mut found).unwrap();
    assert_eq!(found, page(7));
}

#[test]
fn a_late_raise_of_the_number_does_not_lower_it() {
    let Some(azurite) = Azurite::start() else { return };
    let proxy = Proxy::before(azurite.port);
    let backend = PageBlobBackend::new(&Azurite::url_at(proxy.port), options()).unwrap();
    let device = backend.create_blob("late", 1 << 20).unwrap();
    let (mut writes, mut raises) = (1, 1);
    proxy.rule(move |head| {
        let is_raise = head.header("x-ms-sequence-number-action").is_some();
        if is_put_page(head) && writes > 0 {
            writes -= 1;
            return Fate::Late;
        }
        if is_raise && raises > 0 {
            raises -= 1;
            return Fate::Late;
        }
        Fate::Forward
    });
    device.write_at(8192, &page(1)).unwrap();
    // Raise it once more.
    proxy.first(1, Fate::SilenceAfter, is_put_page);
    device.write_at(8192, &page(2)).unwrap();
    assert_eq!(proxy.release(), [412, 200]);
    device.write_at(8192, &page(3)).unwrap();
    assert_eq!(read(&device), page(3));
}

#[test]
fn a_blob_whose_making_was_answered_late_is_ours() {
    let Some(azurite) = Azurite::start() else { return };
    let proxy = Proxy::before(azurite.port);
    let backend = PageBlobBackend::new(&Azurite::url_at(proxy.port), options()).unwrap();
    for (name, fate) in [("a", Fate::SilenceAfter), ("b", Fate::ResetAfter), ("c", Fate::Cut(20)), ("d", Fate::Reset)] {
        proxy.first(1, fate, |head| head.header("x-ms-blob-type").is_some());
        backend.create_blob(name, 1 << 20).unwrap();
        let again = backend.create_blob(name, 1 << 20);
        assert!(matches!(again, Err(atrest::Error::AlreadyExists { .. })));
    }
}
