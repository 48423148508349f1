//! Reads, writes, zeros, discards and sizes of a device, compared with a model in memory.

use std::io::{ErrorKind, IoSlice, IoSliceMut};

use atrest::{BlockDevice, MemoryDevice};
use atrest_rbd::RbdDevice;

use crate::cluster::{Cluster, cluster};

const SIZE: u64 = 12 << 20;

/// How many objects hold data of an image.
fn objects(cluster: &Cluster, image: &str) -> usize {
    let info = cluster.rbd(&["info", "--format", "json", image]);
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    let prefix = info["block_name_prefix"].as_str().unwrap();
    let all = crate::ceph::run(cluster.command("rados").args(["-p", "rbd", "ls"]));
    all.lines().filter(|name| name.starts_with(prefix)).count()
}

fn same(device: &RbdDevice, model: &MemoryDevice) {
    let size = model.size().unwrap();
    assert_eq!(device.size().unwrap(), size);
    let (mut found, mut expected) = (vec![1; size as usize], vec![2; size as usize]);
    device.read_at(0, &mut found).unwrap();
    model.read_at(0, &mut expected).unwrap();
    if let Some(at) = (0..size as usize).find(|&at| found[at] != expected[at]) {
        panic!("byte {at} is {}, and should be {}", found[at], expected[at]);
    }
}

#[test]
fn whatever_is_written_zeroed_or_resized_is_read_back() {
    let Some(cluster) = cluster() else { return };
    let _calm = cluster.calm();
    for (piece, depth, steps) in [(1 << 20, 16, 60), (12 << 10, 256, 20), (4096, 3, 10)] {
        let image = cluster.image(SIZE >> 20);
        let device = RbdDevice::open(&image, &cluster.options().piece(piece).depth(depth)).unwrap();
        let model = MemoryDevice::new(SIZE as usize);
        let mut noise = 0x9E37_79B9_7F4A_7C15_u64 ^ piece as u64;
        let mut random = |below: u64| {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            noise % below
        };
        for step in 0..steps {
            let len = [512, 4096, 65536 + 512, 5 << 20][random(4) as usize];
            let offset = random((SIZE - len) / 512) * 512;
            let bytes: Vec<u8> = (0..len).map(|i: u64| (i / 512 * 7 + step) as u8 | 1).collect();
            match random(4) {
                0 => {
                    device.write_zeroes(offset, len).unwrap();
                    model.write_zeroes(offset, len).unwrap();
                }
                1 => {
                    let (head, tail) = bytes.split_at(random(len) as usize);
                    let buffers = [IoSlice::new(head), IoSlice::new(&[]), IoSlice::new(tail)];
                    device.write_vectored_at(offset, &buffers).unwrap();
                    model.write_at(offset, &bytes).unwrap();
                }
                _ => {
                    device.write_at(offset, &bytes).unwrap();
                    model.write_at(offset, &bytes).unwrap();
                }
            }
            let (mut head, mut tail) = (vec![0; random(len) as usize], vec![0; 700]);
            let mut buffers = [IoSliceMut::new(&mut head), IoSliceMut::new(&mut []), IoSliceMut::new(&mut tail)];
            let at = offset.min(SIZE - len - 700);
            device.read_vectored_at(at, &mut buffers).unwrap();
            let mut expected = vec![0; head.len() + 700];
            model.read_at(at, &mut expected).unwrap();
            assert!([head, tail].concat() == expected, "step {step}");
        }
        same(&device, &model);
        for size in [SIZE - (6 << 20) - 512, SIZE + (3 << 20) + 512] {
            device.set_size(size).unwrap();
            model.set_size(size).unwrap();
            same(&device, &model);
        }
        device.sync().unwrap();
        drop(device);
        same(&RbdDevice::open(&image, &cluster.options()).unwrap(), &model);
    }
}

#[test]
fn discards_and_zeros_give_the_room_of_whole_objects_back() {
    let Some(cluster) = cluster() else { return };
    let _calm = cluster.calm();
    let image = cluster.image(64);
    let device = RbdDevice::open(&image, &cluster.options()).unwrap();
    assert_eq!(objects(cluster, &image), 0);
    for at in 0..16 {
        device.write_at(at << 22, &[1; 512]).unwrap();
    }
    assert_eq!(objects(cluster, &image), 16);
    device.discard(0, 16 << 20).unwrap();
    assert_eq!(objects(cluster, &image), 12);
    device.write_zeroes(16 << 20, 16 << 20).unwrap();
    assert_eq!(objects(cluster, &image), 8);
    device.set_size(48 << 20).unwrap();
    assert_eq!(objects(cluster, &image), 4);
    // Parts of an object stay what they are around a discard.
    device.write_at(32 << 20, &[5; 256 << 10]).unwrap();
    device.discard((32 << 20) + 4096, 64 << 10).unwrap();
    let mut bytes = vec![0; 256 << 10];
    device.read_at(32 << 20, &mut bytes).unwrap();
    assert!(bytes[..4096] == [5; 4096] && bytes[68 << 10..].iter().all(|byte| *byte == 5));
}

#[test]
fn what_goes_past_the_end_is_refused_and_nothing_of_it_is_done() {
    let Some(cluster) = cluster() else { return };
    let _calm = cluster.calm();
    let image = cluster.image(8);
    let device = RbdDevice::open(&image, &cluster.options()).unwrap();
    let end = 8 << 20;
    let read = |offset: u64| device.read_at(offset, &mut [0; 1024]).map_err(|e| e.kind());
    let write = |offset: u64| device.write_at(offset, &[1; 1024]).map_err(|e| e.kind());
    for offset in [end - 512, end, u64::MAX - 512, u64::MAX] {
        assert_eq!(read(offset), Err(ErrorKind::UnexpectedEof));
        assert_eq!(write(offset), Err(ErrorKind::WriteZero));
        assert_eq!(device.write_zeroes(offset, 1024).unwrap_err().kind(), ErrorKind::WriteZero);
        assert_eq!(device.discard(offset, 1024).unwrap_err().kind(), ErrorKind::WriteZero);
    }
    assert_eq!(objects(cluster, &image), 0);
    device.read_at(end, &mut []).unwrap();
    device.write_at(end, &[]).unwrap();
    device.write_zeroes(end, 0).unwrap();
    for size in [1 << 62, 1 << 63, u64::MAX] {
        assert_eq!(device.set_size(size).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(device.size().unwrap(), end);
    }
    device.write_at(0, &[1; 512]).unwrap();
}
