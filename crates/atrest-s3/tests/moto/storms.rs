//! Storms of writes, with the faults of servers and networks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use atrest::BlockDevice;
use atrest_s3::S3Backend;
use rustix::process::Signal;

use crate::proxy::{Fate, Proxy};
use crate::server::{ID, Moto, options};
use crate::storm::{BLOCK, Model, storm};

const BLOCKS: u64 = 128;
/// The deadline in the options: no call takes longer, apart from scheduling.
const DEADLINE: Duration = Duration::from_secs(20);
const SLACK: Duration = Duration::from_secs(10);

/// How often each storm rages; more by `ATREST_ROUNDS`.
pub fn rounds() -> u64 {
    std::env::var("ATREST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(2)
}

/// A storm until there are so many syncs, while `trouble` happens.
fn rage(model: &Model, device: &dyn BlockDevice, seed: u64, syncs: usize, trouble: impl FnOnce() + Send) {
    let before = model.synced.load(SeqCst);
    let (calm, over) = (AtomicBool::new(false), Instant::now() + Duration::from_secs(240));
    let longest = std::thread::scope(|scope| {
        let calm = &calm;
        scope.spawn(move || {
            trouble();
            calm.store(true, SeqCst);
        });
        storm(model, device, 4, seed, || {
            let enough = model.synced.load(SeqCst) >= before + syncs;
            calm.load(SeqCst) && enough || Instant::now() > over
        })
    });
    assert!(longest < DEADLINE + SLACK, "a call took {longest:?}");
    assert!(model.synced.load(SeqCst) >= before + syncs, "too few syncs went through");
}

#[test]
fn a_network_with_faults() {
    let Some(moto) = Moto::start() else { return };
    let proxy = Proxy::before(moto.port);
    // Little is held back: writes commit, too.
    let options = options().most_dirty(3 * (64 << 10)).take_over(true);
    let backend = S3Backend::new(&Moto::url_at(proxy.port), options).unwrap();
    let mut device = backend.create_disk(ID, BLOCKS * BLOCK as u64).unwrap();
    let model = Model::new(BLOCKS);
    for round in 0..rounds() {
        let noise = AtomicU64::new((round + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        proxy.rule(move |_| {
            let mut next = noise.load(SeqCst);
            next ^= next << 13;
            next ^= next >> 7;
            next ^= next << 17;
            noise.store(next, SeqCst);
            match next % 200 {
                0..=2 => Fate::Reset,
                3..=5 => Fate::ResetAfter,
                6..=8 => Fate::Cut((next / 200 % 300) as usize),
                9..=11 => Fate::Answer(
                    "HTTP/1.1 503 Slow down\r\nretry-after: 0\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".into(),
                ),
                12 => Fate::Answer("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".into()),
                13 => Fate::Silence,
                14 => Fate::SilenceAfter,
                15 => Fate::Late,
                _ => Fate::Forward,
            }
        });
        rage(&model, &device, round, 8, || {});
        proxy.rule(|_| Fate::Forward);
        model.check(&device, false, BLOCK).unwrap();
        if round % 2 == 0 {
            model.sync(&device).unwrap();
        }
        proxy.release();
        model.check(&device, false, BLOCK).unwrap();
        // As after a crash: what wasn't synced may be gone.
        drop(device);
        device = backend.open_disk(ID).unwrap();
        model.check(&device, true, BLOCK).unwrap();
        model.settle(&device);
    }
}

#[test]
fn a_server_that_is_silent_for_a_while() {
    let Some(moto) = Moto::start() else { return };
    let backend = moto.backend();
    let device = backend.create_disk(ID, BLOCKS * BLOCK as u64).unwrap();
    let model = Model::new(BLOCKS);
    for round in 0..rounds() {
        rage(&model, &device, round, 6, || {
            std::thread::sleep(Duration::from_millis(200));
            moto.signal(Signal::STOP);
            std::thread::sleep(Duration::from_millis(1500));
            moto.signal(Signal::CONT);
        });
        model.check(&device, false, BLOCK).unwrap();
    }
    model.sync(&device).unwrap();
    drop(device);
    model.check(&backend.open_disk(ID).unwrap(), true, BLOCK).unwrap();
}
