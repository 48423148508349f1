//! How fast a store's device is, for benches against a service that is given by its URL.

#![allow(dead_code)] // each bench uses its part

use std::time::{Duration, Instant};

use atrest::BlockDevice;

/// Writes and reads a device of 64 MiB or more, and prints what it took.
pub fn measure(device: &dyn BlockDevice) {
    const LARGE: usize = 16 << 20;
    const SMALL: usize = 4096;
    let data: Vec<u8> = (0..LARGE as u32 / 4).flat_map(|n| n.wrapping_mul(0x9E37_79B9).to_le_bytes()).collect();
    let mut read = vec![0; LARGE];
    let timed = |work: &mut dyn FnMut()| {
        let began = Instant::now();
        work();
        began.elapsed()
    };
    let rate = |what: &str, took: Duration| {
        println!("{what:32} {:8.1} MB/s", (64 << 20) as f64 / 1e6 / took.as_secs_f64());
    };
    let each = |at: u64| (at * LARGE as u64) % (64 << 20);
    let took = timed(&mut || {
        (0..4).for_each(|at| device.write_at(each(at), &data).unwrap());
        device.sync().unwrap();
    });
    rate("write 64 MiB and sync", took);
    let took = timed(&mut || (0..4).for_each(|at| device.read_at(each(at), &mut read).unwrap()));
    rate("read 64 MiB", took);
    assert!(read == data);

    // At places that have nothing to do with each other.
    let place = |n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % ((64 << 20) / SMALL as u64) * SMALL as u64;
    let median = |what: &str, work: &mut dyn FnMut(u64)| {
        let mut times: Vec<_> = (0..50).map(|n| timed(&mut || work(place(n)))).collect();
        times.sort();
        println!("{what:32} {:8.2} ms, the slowest {:.2} ms", ms(times[25]), ms(times[49]));
    };
    median("read 4 KiB", &mut |at| device.read_at(at, &mut read[..SMALL]).unwrap());
    median("write 4 KiB", &mut |at| device.write_at(at, &data[..SMALL]).unwrap());
    device.sync().unwrap();
    median("write 4 KiB and sync", &mut |at| {
        device.write_at(at, &data[..SMALL]).unwrap();
        device.sync().unwrap();
    });
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The URL of a variable; without one it says what to set.
pub fn url(variable: &str) -> Option<String> {
    let url = std::env::var(variable).ok();
    if url.is_none() {
        println!("set {variable} to the URL of a backend, and the credential's variables, to measure that service");
    }
    url
}
