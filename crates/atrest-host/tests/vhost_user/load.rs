//! A guest with many requests under way, against a model of its disk.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use super::disk::{SIZE, TestDisk};
use super::machine::*;
use super::{FLUSH, IN, OUT, World};

/// The shape of requests.
#[derive(Clone, Copy)]
pub struct Shape {
    pub sector: u64,
    /// As many are under way.
    pub depth: u16,
    /// The most bytes of one.
    pub most: u64,
}

impl Shape {
    /// Many small ones.
    pub fn small(sector: u64) -> Self {
        Shape { sector, depth: 32, most: 16 << 10 }
    }

    /// The place of a request's data.
    fn place(self, slot: u16) -> u64 {
        DATA + u64::from(slot) * self.most
    }
}

struct Noise(u64);

impl Noise {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

struct Request {
    kind: u32,
    /// The offset on the disk.
    at: usize,
    data: Vec<u8>,
}

/// Has requests under way, until `count` are done, and returns how many have failed. `model` is what the disk holds, and becomes
/// what it is to hold. No two requests are about the same sectors at once, if one writes.
pub fn run(guest: &mut Machine, model: &mut [u8], shape: Shape, count: usize, seed: u64) -> usize {
    let mut noise = Noise(seed);
    let mut under_way: HashMap<u16, Request> = HashMap::new();
    let (mut begun, mut done, mut failed, mut seen) = (0, 0, 0, guest.used());
    while done < count {
        while begun < count && under_way.len() < usize::from(shape.depth) {
            let slot = (0..shape.depth).find(|slot| !under_way.contains_key(slot)).unwrap();
            let request = next(&mut noise, &under_way, model, shape);
            offer(guest, slot, &request, shape);
            under_way.insert(slot, request);
            begun += 1;
        }
        for head in guest.given_back(seen) {
            seen = seen.wrapping_add(1);
            done += 1;
            let slot = head / 3;
            let Request { kind, at, data } = under_way.remove(&slot).expect("each is given back once");
            let status = guest.read(STATUS + u64::from(slot), 1)[0];
            failed += usize::from(status != OK);
            match kind {
                _ if status != OK => assert_eq!(status, IO_ERROR),
                IN => {
                    assert!(guest.read(shape.place(slot), data.len()) == model[at..at + data.len()], "a read at {at}")
                }
                _ => model[at..at + data.len()].copy_from_slice(&data),
            }
        }
    }
    failed
}

fn next(noise: &mut Noise, under_way: &HashMap<u16, Request>, model: &[u8], shape: Shape) -> Request {
    let Shape { sector, most, .. } = shape;
    if noise.below(20) == 0 {
        return Request { kind: FLUSH, at: 0, data: Vec::new() };
    }
    loop {
        let len = sector * (1 + noise.below(most / sector));
        let at = sector * noise.below((model.len() as u64 - len) / sector + 1);
        let kind = if noise.below(2) == 0 { IN } else { OUT };
        let range = at as usize..(at + len) as usize;
        let meets = |other: &Request| {
            let other = other.at..other.at + other.data.len();
            range.start < other.end && other.start < range.end
        };
        if !under_way.values().any(|other| meets(other) && (kind == OUT || other.kind == OUT)) {
            let data = (0..len).map(|_| if kind == OUT { noise.below(256) as u8 } else { 0 }).collect();
            return Request { kind, at: range.start, data };
        }
    }
}

fn offer(guest: &mut Machine, slot: u16, request: &Request, shape: Shape) {
    put(guest, slot, request, shape);
    guest.offer(&[3 * slot]);
}

fn put(guest: &Machine, slot: u16, request: &Request, shape: Shape) {
    let Request { kind, at, data } = request;
    let header = HEADER + 16 * u64::from(slot);
    guest.write(header, &[&kind.to_le_bytes()[..], &[0; 4], &(*at as u64 / 512).to_le_bytes()].concat());
    guest.write(STATUS + u64::from(slot), &[NONE]);
    guest.write(shape.place(slot), data);
    let (head, status) = (3 * slot, (STATUS + u64::from(slot), 1, WRITE, 0));
    let flags = NEXT | if *kind == IN { WRITE } else { 0 };
    let chain = match data.len() {
        0 => vec![(header, 16, NEXT, head + 1), status],
        len => vec![(header, 16, NEXT, head + 1), (shape.place(slot), len as u32, flags, head + 2), status],
    };
    guest.put(TABLE + 16 * u64::from(head), &chain);
}

#[test]
fn many_requests_under_way_are_each_done_once() {
    for deep in [false, true] {
        let world = World::new(TestDisk { deep, ..TestDisk::new() });
        let mut guest = world.boot();
        let mut model = world.disk.content(0, SIZE);
        for seed in 1..4 {
            assert_eq!(run(&mut guest, &mut model, Shape::small(512), 500, seed), 0);
            assert!(world.disk.content(0, SIZE) == model, "the disk after round {seed}");
        }
        assert!(world.disk.flushes.load(Ordering::SeqCst) > 0);
        // A disk that fails fails all of them, and then goes on.
        world.disk.fails.store(true, Ordering::SeqCst);
        assert_eq!(run(&mut guest, &mut model, Shape::small(512), 200, 9), 200);
        world.disk.fails.store(false, Ordering::SeqCst);
        assert_eq!(run(&mut guest, &mut model, Shape::small(512), 200, 10), 0);
        assert!(world.disk.content(0, SIZE) == model);
    }
}

/// The guest is notified of finished requests together, but before a request that takes long: a guest that sleeps until it is
/// notified has all its answers by then.
#[test]
fn a_guest_is_told_of_what_is_done_before_what_takes_long() {
    for (kind, len) in [(OUT, 128 << 10), (FLUSH, 0)].repeat(20) {
        let world = World::new(TestDisk::new());
        let mut guest = world.boot();
        let gate = world.disk.gate.lock().unwrap();
        let read = || Request { kind: IN, at: 0, data: vec![0; 512] };
        // The data of the last are longer than what others have, and behind theirs.
        for (slot, request) in (0..).zip([read(), read(), read(), Request { kind, at: 0, data: vec![1; len] }]) {
            put(&guest, slot, &request, Shape::small(512));
        }
        guest.calls();
        guest.offer(&[0, 3, 6, 9]);
        let begun = std::time::Instant::now();
        let mut seen = 0;
        while seen < 3 {
            assert!(begun.elapsed().as_secs() < 60, "the guest isn't told, and knows of {seen} answers");
            if guest.calls() > 0 {
                seen = guest.used();
            }
            std::thread::yield_now();
        }
        drop(gate);
        guest.wait();
    }
}
