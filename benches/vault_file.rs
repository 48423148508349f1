//! Wraps and unwraps by a vault file with few and many keys, on one and two threads, with its log.
//!
//! `cargo bench -p atrest-benches --bench vault_file`. It prints a table. The first column of ratios compares with the vault
//! of one key in the same run, so that a slow machine doesn't count.

use std::path::Path;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use base64ct::{Base64, Encoding};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use atrest::Secret;
use atrest::key::{KeyVault, WrappedDek};
use atrest::vault::{FileVault, Unlock};

const KEYS: [usize; 4] = [1, 100, 1000, 10_000];
const ROUND: Duration = Duration::from_millis(400);
const ROUNDS: usize = 5;

/// A vault of `keys` keys. To make them one by one would take minutes, because each change writes the whole file.
fn vault_of(folder: &Path, keys: usize) -> FileVault {
    let (path, key_file) = (folder.join(format!("{keys}.vault")), folder.join(format!("{keys}.key")));
    FileVault::generate_key_file(&key_file).unwrap();
    let vault = FileVault::create(&path, Unlock::KeyFile(&key_file)).unwrap();
    vault.create_key("key-0").unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let end = text.trim_end().rfind('\n').unwrap();
    let mut body: serde_json::Value = serde_json::from_str(&text[..end]).unwrap();
    let salt = Base64::decode_vec(body["root"]["salt"].as_str().unwrap()).unwrap();
    let records = body["keys"].as_array_mut().unwrap();
    for number in 1..keys {
        let mut record = records[0].clone();
        record["name"] = format!("key-{number}").into();
        records.push(record);
    }
    body["generation"] = 3.into();
    let mut text = serde_json::to_vec_pretty(&body).unwrap();
    text.push(b'\n');
    let mut mac_key = [0; 32];
    let (_, root) = Hkdf::<Sha256>::extract(Some(&salt), &std::fs::read(&key_file).unwrap());
    root.expand(b"atrest vault mac v1", &mut mac_key).unwrap();
    let mac = Hmac::<Sha256>::new_from_slice(&mac_key).unwrap().chain_update(&text).finalize().into_bytes();
    let (sha256, mac) = (Base64::encode_string(&Sha256::digest(&text)), Base64::encode_string(&mac));
    text.extend(format!("{{\"sha256\":\"{sha256}\",\"mac\":\"{mac}\"}}\n").bytes());
    std::fs::write(&path, text).unwrap();
    vault
}

/// How long this thread has had a CPU, in seconds. Where the system doesn't tell: the time since `start`.
fn cpu(start: Instant) -> f64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    nanos.map_or(start.elapsed().as_secs_f64(), |nanos| nanos / 1e9)
}

/// What one call takes of a CPU, in microseconds: the least of some rounds' means. Other programs then count for less.
fn micros(mut act: impl FnMut()) -> f64 {
    let mut round = || {
        let (start, mut calls) = (Instant::now(), 0);
        let before = cpu(start);
        while start.elapsed() < ROUND {
            act();
            calls += 1;
        }
        (cpu(start) - before) * 1e6 / f64::from(calls)
    };
    (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
}

/// Unwraps a second by some threads together: the most of some rounds.
fn rate(vault: &FileVault, wrapped: &WrappedDek, threads: usize) -> f64 {
    let round = || {
        let start = Instant::now();
        let calls = thread::scope(|scope| {
            let count = || {
                let mut calls = 0u32;
                while start.elapsed() < ROUND {
                    vault.unwrap(wrapped).unwrap().unwrap();
                    calls += 1;
                }
                calls
            };
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(count)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<u32>()
        });
        f64::from(calls) / start.elapsed().as_secs_f64()
    };
    (0..ROUNDS).map(|_| round()).fold(0.0, f64::max)
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let dek = Secret::random(64).unwrap();
    println!(
        "{:>7} {:>9} {:>6} {:>10} {:>6} {:>13} {:>9} {:>8} {:>8}",
        "keys", "wrap us", "ratio", "unwrap us", "ratio", "2 threads /s", "synced/s", "2 thr.", "16 thr."
    );
    let mut first = None;
    for keys in KEYS {
        let vault = vault_of(folder.path(), keys);
        let key = format!("key-{}", keys / 2);
        let wrapped = vault.wrap(&key, &dek).unwrap();
        // What was written just now is read again at each use for a while.
        sleep(Duration::from_millis(2500));
        let wrap = micros(|| drop(vault.wrap(&key, &dek).unwrap()));
        let unwrap = micros(|| drop(vault.unwrap(&wrapped).unwrap()));
        let both = rate(&vault, &wrapped, 2);
        let synced = vault.clone().with_synced_uses(true);
        let synced = [1, 2, 16].map(|threads| rate(&synced, &wrapped, threads));
        let (one_wrap, one_unwrap) = *first.get_or_insert((wrap, unwrap));
        println!(
            "{keys:>7} {wrap:>9.1} {:>6.2} {unwrap:>10.1} {:>6.2} {both:>13.0} {:>9.0} {:>8.0} {:>8.0}",
            wrap / one_wrap,
            unwrap / one_unwrap,
            synced[0],
            synced[1],
            synced[2]
        );
    }
}
