//! The behaviour of a device.

use std::io::ErrorKind;
use std::time::Duration;

use atrest::managed::DiskBackend;
use atrest::{BlockDevice, Error};
use atrest_azblob::{Credential, PageBlobBackend, PageBlobOptions};
use atrest_http::{Hidden, Method};

use crate::proxy::{Fate, Proxy};
use crate::server::{Azurite, options, sas};

fn read(device: &dyn BlockDevice, offset: u64, len: usize) -> Vec<u8> {
    let mut found = vec![0xEE; len];
    device.read_at(offset, &mut found).unwrap();
    found
}

#[test]
fn large_and_small_transfers_holes_and_sizes() {
    let Some(azurite) = Azurite::start() else { return };
    let backend = azurite.backend();
    let device = backend.create_blob("device", 24 << 20).unwrap();
    assert!(read(&device, 0, 24 << 20).iter().all(|byte| *byte == 0));

    // Larger than a request, and across its borders.
    let data: Vec<u8> = (0..13u32 << 18).flat_map(|n| n.to_le_bytes()[..4].to_vec()).collect();
    device.write_at(512, &data).unwrap();
    assert!(read(&device, 512, data.len()) == data);
    device.write_zeroes(1 << 20, 9 << 20).unwrap();
    device.discard(12 << 20, 1 << 20).unwrap();
    assert!(read(&device, 1 << 20, 9 << 20).iter().all(|byte| *byte == 0));
    assert!(read(&device, 512, (1 << 20) - 512) == data[..(1 << 20) - 512]);
    assert!(read(&device, 10 << 20, 1 << 20) == data[(10 << 20) - 512..(11 << 20) - 512]);

    device.set_size(1 << 20).unwrap();
    device.set_size(2 << 20).unwrap();
    assert_eq!(device.size().unwrap(), 2 << 20);
    assert!(read(&device, 1 << 20, 1 << 20).iter().all(|byte| *byte == 0));
    assert!(read(&device, 512, 4096) == data[..4096]);

    // Impossible requests.
    let error = |result: std::io::Result<()>| result.unwrap_err().kind();
    assert_eq!(error(device.read_at(2 << 20, &mut [0; 512])), ErrorKind::UnexpectedEof);
    assert_eq!(error(device.write_at(2 << 20, &[0; 512])), ErrorKind::WriteZero);
    assert_eq!(error(device.write_at(u64::MAX - 511, &[0; 512])), ErrorKind::WriteZero);
    assert_eq!(error(device.write_at(1, &[0; 512])), ErrorKind::InvalidInput);
    assert_eq!(error(device.set_size(1000)), ErrorKind::InvalidInput);
    assert_eq!(error(device.set_size(1 << 60)), ErrorKind::InvalidInput);
    device.write_at(0, &[]).unwrap();
    device.read_at(2 << 20, &mut []).unwrap();
    device.discard(5, 100).unwrap();
}

#[test]
fn a_blob_is_a_raw_image_and_any_blob_is_an_image() {
    let Some(azurite) = Azurite::start() else { return };
    let backend = azurite.backend();
    let device = backend.create_blob("raw", 1 << 20).unwrap();
    device.write_at(4096, &[7; 4096]).unwrap();
    drop(device);
    let raw = azurite.request(Method::Get, "disks/raw", "", &[]).body;
    assert!(raw.len() == 1 << 20 && raw[4096..8192] == [7; 4096]);

    let image = backend.open_image("north", "raw").unwrap();
    assert!(read(&*image, 0, 1 << 20) == raw);
    assert_eq!(image.write_at(0, &[0; 512]).unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    // Its reads don't mix two states.
    backend.open_blob("raw").unwrap().write_at(0, &[1; 512]).unwrap();
    assert_eq!(image.read_at(0, &mut [0; 512]).unwrap_err().kind(), ErrorKind::InvalidData);

    let block = [("x-ms-blob-type", "BlockBlob")];
    assert!(azurite.request(Method::Put, "disks/block", "", &block).is_success());
    assert_eq!(backend.open_image("north", "block").unwrap().size().unwrap(), 0);
    assert!(matches!(backend.open_blob("block"), Err(Error::Io { .. })));
    assert!(matches!(backend.open_image("north", "none"), Err(Error::NotFound { .. })));
    assert!(matches!(backend.open_image("north", "a/../b"), Err(Error::InvalidOption(_))));
    assert!(matches!(backend.open("north", "../b"), Err(Error::InvalidOption(_))));
}

#[test]
fn a_sas_a_wrong_key_and_a_bearer_token() {
    let Some(azurite) = Azurite::start() else { return };
    let with = |credential| PageBlobBackend::new(&azurite.url(), PageBlobOptions::new(credential)).unwrap();
    let device = with(Credential::sas(&sas("rwdlac")).unwrap()).create_blob("sas", 1 << 20).unwrap();
    device.write_at(0, &[3; 512]).unwrap();
    drop(device);
    // Without a right, and with a wrong key, the error says what to do, and nothing secret.
    let read_only = sas("r");
    let wrong = "c2VjcmV0LXNlY3JldA==";
    for credential in [Credential::sas(&read_only).unwrap(), Credential::shared_key(wrong).unwrap()] {
        let error = format!("{:#}", with(credential).open_blob("sas").err().unwrap());
        assert!(error.contains("403"), "{error}");
        let signature = read_only.split("sig=").nth(1).unwrap();
        assert!(!error.contains(signature) && !error.contains(wrong) && !error.contains("sig="), "{error}");
    }
    // Azurite takes no such tokens by HTTP: this shows only that they are sent.
    let proxy = Proxy::before(azurite.port);
    proxy.record();
    let bearer = Credential::bearer(|| Ok(Hidden::new("the-token")));
    let backend = PageBlobBackend::new(&Azurite::url_at(proxy.port), PageBlobOptions::new(bearer)).unwrap();
    let error = format!("{:?}", backend.open_blob("sas").err().unwrap());
    assert!(!error.contains("the-token"));
    let sent = String::from_utf8_lossy(&proxy.recorded()).to_ascii_lowercase();
    assert!(sent.contains("\r\nauthorization: bearer the-token\r\n"));
    let failing = Credential::bearer(|| Err(std::io::Error::other("no identity")));
    let error = with(failing).open_blob("sas").err().unwrap();
    assert!(format!("{error:#}").contains("no identity"), "{error:#}");
}

#[test]
fn lists_have_pages() {
    let Some(azurite) = Azurite::start() else { return };
    let proxy = Proxy::before(azurite.port);
    let backend = PageBlobBackend::new(&Azurite::url_at(proxy.port), options()).unwrap();
    let ids: Vec<_> = (0..3).map(|n| format!("2f4a3a3e-74b9-4a0e-9d3d-1f3f6f1d5a0{n}")).collect();
    ids.iter().for_each(|id| drop(backend.create("north", id, 4096).unwrap()));
    // The service's pages hold 5000 names. Here each holds one.
    let listed = |next: &str, id: &str| {
        let body = format!(
            "<EnumerationResults><Blobs><Blob><Name>vm/{id}.disk</Name></Blob></Blobs><NextMarker>{next}</NextMarker>\
             </EnumerationResults>"
        );
        let len = body.len();
        Fate::Answer(format!("HTTP/1.1 200 OK\r\ncontent-length: {len}\r\nconnection: close\r\n\r\n{body}"))
    };
    let pages = [listed("m=1", &ids[0]), listed("m=2", &ids[1]), listed("", &ids[2])];
    proxy.rule(move |head| match &head.target {
        target if target.contains("marker=m%3D1") => pages[1].clone(),
        target if target.contains("marker=m%3D2") => pages[2].clone(),
        target if target.contains("comp=list") => pages[0].clone(),
        _ => Fate::Forward,
    });
    assert_eq!(backend.list("north").unwrap(), ids);
    let endless = listed("same", &ids[0]);
    proxy.rule(move |_| endless.clone());
    assert!(backend.list("north").is_err());
}

#[test]
fn hostile_answers_are_errors() {
    let Some(azurite) = Azurite::start() else { return };
    let proxy = Proxy::before(azurite.port);
    let short = Duration::from_millis(700);
    let backend = PageBlobBackend::new(&Azurite::url_at(proxy.port), options().deadline(short)).unwrap();
    drop(azurite.backend().create_blob("other", 1 << 20).unwrap());
    let device = azurite.impatient(proxy.port, "hostile", short);
    while device.write_at(0, &[9; 4096]).is_err() {}
    let body = "x".repeat(512);
    let many = "y".repeat(200_000);
    for answer in [
        format!("HTTP/1.1 206 OK\r\ncontent-length: 512\r\ncontent-range: bytes 512-1023/1048576\r\n\r\n{body}"),
        format!("HTTP/1.1 206 OK\r\ncontent-length: 511\r\ncontent-range: bytes 0-511/1048576\r\n\r\n{}", &body[1..]),
        format!("HTTP/1.1 206 OK\r\ncontent-length: 512\r\n\r\n{body}"),
        format!("HTTP/1.1 200 OK\r\ncontent-length: 512\r\ncontent-range: bytes 0-511/1048576\r\n\r\n{body}"),
        format!("HTTP/1.1 206 OK\r\ncontent-length: 200000\r\ncontent-range: bytes 0-511/1048576\r\n\r\n{many}"),
        "HTTP/1.1 206 OK\r\ncontent-length: 18446744073709551615\r\n\r\n".into(),
        format!("HTTP/1.1 206 OK\r\nx: {many}\r\n\r\n"),
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".into(),
        "HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n".into(),
        "garbage\r\n\r\n".into(),
        "\0".into(),
    ] {
        let shown: String = answer.chars().take(60).collect();
        proxy.rule(move |_| Fate::Answer(answer.clone()));
        let mut found = vec![0; 512];
        assert!(device.read_at(0, &mut found).is_err(), "{shown}");
        let made = backend.open_blob("other");
        assert!(made.is_err(), "{shown}");
    }
    proxy.rule(|_| Fate::Forward);
    drop(device);
    assert_eq!(read(&azurite.backend().open_blob("hostile").unwrap(), 0, 4096), [9; 4096]);
}
