//! Storms of writes, with the faults of servers and networks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use atrest::BlockDevice;
use atrest_azblob::{PageBlobBackend, PageBlobDevice};
use rustix::process::Signal;

use crate::proxy::{Fate, Proxy};
use crate::server::{Azurite, options};
use crate::storm::{BLOCK, Model, storm};
use crate::unsynced::Unsynced;

const BLOCKS: u64 = 64;
/// The deadline in the options: no call takes longer, apart from scheduling.
const DEADLINE: Duration = Duration::from_secs(20);
const SLACK: Duration = Duration::from_secs(10);

/// How often each storm rages; more by `ATREST_ROUNDS`.
pub fn rounds() -> u64 {
    std::env::var("ATREST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(2)
}

fn device(backend: &PageBlobBackend, name: &str) -> PageBlobDevice {
    backend.create_blob(name, BLOCKS * BLOCK as u64).unwrap()
}

/// A storm of about so many acknowledged writes, while `trouble` happens.
fn rage(model: &Model, device: &dyn BlockDevice, seed: u64, writes: usize, trouble: impl FnOnce() + Send) {
    let before = model.acknowledged.load(SeqCst);
    let (calm, over) = (AtomicBool::new(false), Instant::now() + Duration::from_secs(240));
    let longest = std::thread::scope(|scope| {
        let calm = &calm;
        scope.spawn(move || {
            trouble();
            calm.store(true, SeqCst);
        });
        storm(model, device, 4, seed, || {
            let enough = model.acknowledged.load(SeqCst) >= before + writes;
            calm.load(SeqCst) && enough || Instant::now() > over
        })
    });
    assert!(longest < DEADLINE + SLACK, "a call took {longest:?}");
    assert!(model.acknowledged.load(SeqCst) >= before + writes, "too few writes went through");
}

#[test]
fn a_network_with_faults() {
    let Some(azurite) = Azurite::start() else { return };
    let proxy = Proxy::before(azurite.port);
    let backend = PageBlobBackend::new(&Azurite::url_at(proxy.port), options()).unwrap();
    let device = device(&backend, "network");
    let model = Model::new(BLOCKS);
    for round in 0..rounds() {
        let noise = AtomicU64::new((round + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        proxy.rule(move |_| {
            let mut next = noise.load(SeqCst);
            next ^= next << 13;
            next ^= next >> 7;
            next ^= next << 17;
            noise.store(next, SeqCst);
            match next % 100 {
                0..=2 => Fate::Reset,
                3..=5 => Fate::ResetAfter,
                6..=8 => Fate::Cut((next / 100 % 300) as usize),
                9..=11 => Fate::Answer(slow_down()),
                12 => Fate::Answer("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".into()),
                13 => Fate::Silence,
                14 => Fate::SilenceAfter,
                15 => Fate::Late,
                _ => Fate::Forward,
            }
        });
        rage(&model, &device, round, 150, || {});
        proxy.rule(|_| Fate::Forward);
        // The next write settles the doubts; then the late requests can come.
        model.write(&device, 0).unwrap();
        proxy.release();
        model.check(&device, false, 512).unwrap();
    }
}

fn slow_down() -> String {
    "HTTP/1.1 503 Slow down\r\nx-ms-error-code: ServerBusy\r\nretry-after: 0\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".into()
}

#[test]
fn a_server_that_stops_and_comes_back() {
    let Some(mut azurite) = Azurite::start() else { return };
    let device = device(&azurite.backend(), "server");
    let model = Model::new(BLOCKS);
    for round in 0..rounds() {
        let azurite = &mut azurite;
        rage(&model, &device, round, 100, || {
            std::thread::sleep(Duration::from_millis(200));
            if round % 2 == 0 {
                // It saves what it has.
                azurite.restart(Signal::TERM);
            } else {
                azurite.signal(Signal::STOP);
                std::thread::sleep(Duration::from_millis(2500));
                azurite.signal(Signal::CONT);
            }
        });
        model.check(&device, false, 512).unwrap();
    }
}

/// Azurite saves which pages a blob has each 5 seconds: killed, it forgets what it acknowledged since. What it then has is an
/// earlier state, with an earlier sequence number and a lease that has run out.
#[test]
fn a_server_that_is_killed_and_forgets() {
    let Some(mut azurite) = Azurite::start() else { return };
    let device = Unsynced(device(&azurite.backend(), "killed"));
    // Until it has saved the blob and its lease, a kill takes both.
    let saved = azurite.folder().join("__azurite_db_blob__.json");
    let known =
        || std::fs::read_to_string(&saved).is_ok_and(|saved| saved.contains("\"killed\"") && saved.contains("leaseId"));
    let over = Instant::now() + Duration::from_secs(60);
    while !known() && Instant::now() < over {
        std::thread::sleep(Duration::from_millis(50));
    }
    let model = Model::new(BLOCKS);
    for round in 0..rounds() {
        let azurite = &mut azurite;
        rage(&model, &device, round, 100, || {
            std::thread::sleep(Duration::from_millis(300));
            azurite.restart(Signal::KILL);
        });
        model.check(&device, true, 512).unwrap();
    }
}
