//! The behaviour of a device.

use std::io::ErrorKind;
use std::time::Duration;

use atrest::managed::DiskBackend;
use atrest::{BlockDevice, Error};
use atrest_http::Hidden;
use atrest_s3::{AccessKey, Credential, S3Backend, S3Options};

use crate::proxy::{Fate, Proxy};
use crate::server::{ID, Moto, OTHER, options};

fn read(device: &dyn BlockDevice, offset: u64, len: usize) -> Vec<u8> {
    let mut found = vec![0xEE; len];
    device.read_at(offset, &mut found).unwrap();
    found
}

/// Where what has a place in the manifest.
const SIZE: u64 = 600 << 20;

#[test]
fn writes_are_read_at_once_and_kept_by_a_sync() {
    let Some(moto) = Moto::start() else { return };
    let backend = moto.backend();
    let device = backend.create_disk(ID, SIZE).unwrap();
    // In three pages of the manifest, across chunks, and at the end.
    let places = [0, 512, (64 << 10) - 512, 300 << 20, SIZE - 4096];
    let data = |n: u8| (0..4096u32).map(|at| (at as u8) ^ n).collect::<Vec<_>>();
    for (n, place) in (1..).zip(places) {
        device.write_at(place, &data(n)).unwrap();
        assert!(read(&device, place, 4096) == data(n));
    }
    device.sync().unwrap();
    device.write_at(8192, &data(9)).unwrap();
    assert!(read(&device, 8192, 4096) == data(9));
    drop(device);

    let device = backend.open_disk(ID).unwrap();
    assert!(read(&device, 300 << 20, 4096) == data(4) && read(&device, SIZE - 4096, 4096) == data(5));
    assert!(read(&device, 0, 512) == data(1)[..512] && read(&device, 512, 4096) == data(2));
    // Unsynced writes are gone.
    assert!(read(&device, 8192, 4096).iter().all(|byte| *byte == 0));
    // A part of a chunk that is there already.
    device.write_at(1024, &[7; 512]).unwrap();
    device.sync().unwrap();
    let mut expected = data(2);
    expected[512..1024].fill(7);
    assert!(read(&device, 512, 4096) == expected);
    device.close().unwrap();
    // A root, a lock, three pages, and a chunk for each place, of which the first three share two.
    assert_eq!(moto.keys().len(), 2 + 3 + 4);
}

#[test]
fn zeros_cost_nothing_and_sizes_change() {
    let Some(moto) = Moto::start() else { return };
    let backend = moto.backend();
    let device = backend.create_disk(ID, 4 << 20).unwrap();
    let data: Vec<u8> = (0..1u32 << 20).flat_map(u32::to_le_bytes).collect();
    device.write_at(0, &data).unwrap();
    device.sync().unwrap();
    device.write_zeroes(1000 * 512, 1 << 20).unwrap();
    device.discard(3 << 20, 100 << 10).unwrap();
    let mut expected = data.clone();
    expected[1000 * 512..(1000 * 512) + (1 << 20)].fill(0);
    // A whole chunk; the part of the next one stays.
    expected[3 << 20..(3 << 20) + (64 << 10)].fill(0);
    assert!(read(&device, 0, 4 << 20) == expected);
    device.sync().unwrap();
    assert!(read(&device, 0, 4 << 20) == expected);

    let small = (1 << 20) + 1536;
    device.set_size(small).unwrap();
    device.set_size(400 << 20).unwrap();
    expected.truncate(small as usize);
    expected.resize(4 << 20, 0);
    assert!(read(&device, 0, 4 << 20) == expected);
    device.write_at(2 << 20, &[1; 512]).unwrap();
    expected[2 << 20..(2 << 20) + 512].fill(1);
    device.close().unwrap();
    let device = backend.open_disk(ID).unwrap();
    assert_eq!(device.size().unwrap(), 400 << 20);
    assert!(read(&device, 0, 4 << 20) == expected);
    device.set_size(0).unwrap();
    device.close().unwrap();
    assert_eq!(moto.keys().len(), 2);

    let device = backend.open_disk(ID).unwrap();
    let error = |result: std::io::Result<()>| result.unwrap_err().kind();
    assert_eq!(error(device.read_at(0, &mut [0; 512])), ErrorKind::UnexpectedEof);
    assert_eq!(error(device.write_at(0, &[0; 512])), ErrorKind::WriteZero);
    assert_eq!(error(device.write_at(u64::MAX - 511, &[0; 512])), ErrorKind::WriteZero);
    assert_eq!(error(device.write_at(1, &[0; 512])), ErrorKind::InvalidInput);
    assert_eq!(error(device.set_size(1000)), ErrorKind::InvalidInput);
    assert_eq!(error(device.set_size(1 << 60)), ErrorKind::InvalidInput);
    device.write_at(0, &[]).unwrap();
    device.read_at(0, &mut []).unwrap();
    device.set_size(4096).unwrap();
    device.read_at(512, &mut []).unwrap();
}

#[test]
fn what_is_held_back_is_bounded() {
    let Some(moto) = Moto::start() else { return };
    let proxy = Proxy::before(moto.port);
    let options = options().most_dirty(4 * (64 << 10));
    let backend = S3Backend::new(&Moto::url_at(proxy.port), options).unwrap();
    let device = backend.create_disk(ID, 64 << 20).unwrap();
    let before = proxy.requests();
    for chunk in 0..4u64 {
        device.write_at(chunk << 16, &[chunk as u8 + 1; 512]).unwrap();
        device.write_at((chunk << 16) + 1024, &[chunk as u8 + 1; 512]).unwrap();
    }
    assert_eq!(proxy.requests(), before);
    // The fifth chunk has no room: the others are synced.
    device.write_at(4 << 16, &[5; 512]).unwrap();
    assert!(proxy.requests() >= before + 6);
    drop(device);
    let device = backend.open_disk(ID).unwrap();
    for chunk in 0..5u64 {
        let expected = if chunk < 4 { chunk as u8 + 1 } else { 0 };
        assert_eq!(read(&device, chunk << 16, 512), [expected; 512]);
    }
    // One that is larger than all that may be held back goes through, a piece at a time.
    device.write_at(0, &vec![9; 2 << 20]).unwrap();
    device.sync().unwrap();
    assert!(read(&device, 0, 2 << 20) == vec![9; 2 << 20]);
}

#[test]
fn options_and_ids_have_bounds() {
    let Some(moto) = Moto::start() else { return };
    for bad in [options().chunk_size(1000), options().chunk_size(1 << 15), options().lock_seconds(1)] {
        let backend = S3Backend::new(&moto.url(), bad).unwrap();
        assert!(matches!(backend.create_disk(ID, 1 << 20), Err(Error::InvalidOption(_))));
    }
    let backend = moto.backend();
    assert!(matches!(backend.create_disk("../x", 1 << 20), Err(Error::InvalidOption(_))));
    assert!(matches!(backend.create_disk(ID, 1000), Err(Error::InvalidOption(_))));
    assert!(matches!(backend.open_disk(ID), Err(Error::NotFound { .. })));
    assert!(moto.keys().is_empty());
    let other = moto.url().replace("/disks/", "/nowhere/");
    let error = S3Backend::new(&other, options()).unwrap().create_disk(ID, 1 << 20).err().unwrap();
    assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
}

#[test]
fn lists_have_pages() {
    let Some(moto) = Moto::start() else { return };
    let proxy = Proxy::before(moto.port);
    let backend = S3Backend::new(&Moto::url_at(proxy.port), options()).unwrap();
    // The service's pages hold 1000 names. Here each holds one.
    let listed = |next: &str, id: &str| {
        let more = !next.is_empty();
        let body = format!(
            "<ListBucketResult><IsTruncated>{more}</IsTruncated><CommonPrefixes><Prefix>vm/{id}/</Prefix></CommonPrefixes>\
             <NextContinuationToken>{next}</NextContinuationToken></ListBucketResult>"
        );
        let len = body.len();
        Fate::Answer(format!("HTTP/1.1 200 OK\r\ncontent-length: {len}\r\nconnection: close\r\n\r\n{body}"))
    };
    let pages = [listed("a=", ID), listed("", OTHER)];
    proxy.rule(move |head| {
        assert!(head.target.contains("list-type=2") && head.target.contains("delimiter=%2F"));
        pages[usize::from(head.target.contains("continuation-token=a%3D"))].clone()
    });
    assert_eq!(backend.list("north").unwrap(), [ID, OTHER]);
    let endless = listed("same", ID);
    proxy.rule(move |_| endless.clone());
    assert!(backend.list("north").is_err());
}

#[test]
fn a_session_token_is_sent_and_no_secret_is_told() {
    let Some(moto) = Moto::start() else { return };
    let proxy = Proxy::before(moto.port);
    proxy.record();
    let key = AccessKey::new("AKID", Hidden::new("the-secret")).session_token(Hidden::new("the-token"));
    let options = S3Options::new(Credential::access_key(key));
    assert!(!format!("{options:?}").contains("the-"));
    let backend = S3Backend::new(&Moto::url_at(proxy.port), options).unwrap();
    proxy.rule(|_| Fate::Answer("HTTP/1.1 403 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".into()));
    let error = format!("{:?}", backend.create_disk(ID, 1 << 20).err().unwrap());
    assert!(error.contains("PermissionDenied") && !error.contains("the-"), "{error}");
    let sent = String::from_utf8_lossy(&proxy.recorded()).to_ascii_lowercase();
    assert!(sent.contains("x-amz-security-token: the-token\r\n") && !sent.contains("the-secret"));
    assert!(sent.contains("signedheaders=host;if-none-match;x-amz-content-sha256;x-amz-date;x-amz-security-token"));
}

#[test]
fn hostile_answers_are_errors() {
    let Some(moto) = Moto::start() else { return };
    let proxy = Proxy::before(moto.port);
    let device = moto.backend().create_disk(OTHER, 1 << 20).unwrap();
    device.write_at(0, &[9; 4096]).unwrap();
    device.close().unwrap();
    let device = moto.impatient(proxy.port, Duration::from_secs(1));
    let backend = S3Backend::new(&Moto::url_at(proxy.port), options().deadline(Duration::from_millis(500))).unwrap();
    device.write_at(0, &[9; 4096]).unwrap();
    while device.sync().is_err() {}
    let body = "x".repeat(512);
    let many = "y".repeat(2_000_000);
    for answer in [
        format!("HTTP/1.1 206 OK\r\ncontent-length: 512\r\ncontent-range: bytes 512-1023/65536\r\n\r\n{body}"),
        format!("HTTP/1.1 206 OK\r\ncontent-length: 511\r\ncontent-range: bytes 0-511/65536\r\n\r\n{}", &body[1..]),
        format!("HTTP/1.1 200 OK\r\ncontent-length: 512\r\netag: \"a\"\r\n\r\n{body}"),
        format!("HTTP/1.1 206 OK\r\ncontent-length: 2000000\r\ncontent-range: bytes 0-511/65536\r\n\r\n{many}"),
        format!("HTTP/1.1 200 OK\r\ncontent-length: 2000000\r\netag: \"a\"\r\n\r\n{many}"),
        "HTTP/1.1 206 OK\r\ncontent-length: 18446744073709551615\r\n\r\n".into(),
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\netag: \"a\"\r\n\r\n".into(),
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".into(),
        "HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n".into(),
        "HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n".into(),
        "garbage\r\n\r\n".into(),
    ] {
        let shown: String = answer.chars().take(60).collect();
        proxy.rule(move |_| Fate::Answer(answer.clone()));
        assert!(device.read_at(0, &mut [0; 512]).is_err(), "{shown}");
        assert!(backend.open_disk(OTHER).is_err(), "{shown}");
    }
    proxy.rule(|_| Fate::Forward);
    drop(device);
    let device = moto.backend().open_disk(OTHER).unwrap();
    assert_eq!(read(&device, 0, 4096), [9; 4096]);
}
