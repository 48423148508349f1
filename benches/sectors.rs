//! The sector engine: runs of sectors in place, 256 KiB a call, compared with `xts-mode` doing the same work; and the
//! stream engine.
//!
//! Buffers begin at a random page offset in each round, so that no figure depends on one lucky alignment. Only compare
//! figures of one run: machines and their load differ.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use proptest::prelude::RngExt;
use std::hint::black_box;
use xts_mode::{Xts128, get_tweak_default};

use aes::cipher::KeyInit;
use atrest::{SectorCipher, SectorSize, SectorUnit, StreamCipher};

const TOTAL: usize = 256 << 10;
const PAGE: usize = 4096;

fn sectors(c: &mut Criterion) {
    let key: [u8; 64] = core::array::from_fn(|i| i as u8);
    let peer =
        Xts128::new(aes::Aes256::new_from_slice(&key[..32]).unwrap(), aes::Aes256::new_from_slice(&key[32..]).unwrap());
    let mut memory = vec![0u8; TOTAL + 2 * PAGE];
    let start = memory.as_ptr().align_offset(PAGE);
    let mut random = proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha);
    let mut offset = move || start + random.random_range(0..PAGE / 16) * 16;

    for direction in ["encrypt", "decrypt"] {
        let mut group = c.benchmark_group(format!("AES-256-XTS {direction}"));
        group.throughput(Throughput::Bytes(TOTAL as u64));
        for size in [512, 4096, 65_536] {
            let cipher = SectorCipher::new(&key, SectorSize::new(size).unwrap(), SectorUnit::Sector).unwrap();
            group.bench_function(BenchmarkId::new("atrest", size), |b| {
                let at = offset();
                let buffer = &mut memory[at..at + TOTAL];
                match direction {
                    "encrypt" => b.iter(|| cipher.encrypt(black_box(7), black_box(&mut *buffer))),
                    _ => b.iter(|| cipher.decrypt(black_box(7), black_box(&mut *buffer))),
                }
            });
            group.bench_function(BenchmarkId::new("xts-mode", size), |b| {
                let at = offset();
                let buffer = &mut memory[at..at + TOTAL];
                let size = size as usize;
                match direction {
                    "encrypt" => b.iter(|| peer.encrypt_area(black_box(&mut *buffer), size, 7, get_tweak_default)),
                    _ => b.iter(|| peer.decrypt_area(black_box(&mut *buffer), size, 7, get_tweak_default)),
                }
            });
        }
        group.finish();
    }

    let mut group = c.benchmark_group("AES-256-XTS one sector a call");
    for size in [512, 4096] {
        let cipher = SectorCipher::new(&key, SectorSize::new(size).unwrap(), SectorUnit::Sector).unwrap();
        group.throughput(Throughput::Bytes(u64::from(size)));
        group.bench_function(BenchmarkId::new("atrest", size), |b| {
            let at = offset();
            let buffer = &mut memory[at..at + size as usize];
            b.iter(|| cipher.encrypt(black_box(7), black_box(&mut *buffer)));
        });
    }
    group.finish();

    c.bench_function("key set-up AES-256-XTS", |b| {
        b.iter(|| SectorCipher::new(black_box(&key), SectorSize::B4096, SectorUnit::Bytes512))
    });
}

/// Pieces of a stream that don't begin at a block.
fn streams(c: &mut Criterion) {
    let cipher = StreamCipher::new(&[7; 32], [9; 16]).unwrap();
    let mut memory = vec![0u8; TOTAL];
    let mut group = c.benchmark_group("AES-256-CTR in place");
    for len in [64, 512, 4096, TOTAL] {
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::new("atrest", len), |b| {
            let buffer = &mut memory[..len];
            b.iter(|| cipher.apply(black_box(12_345), black_box(&mut *buffer)));
        });
    }
    group.finish();
}

criterion_group!(benches, sectors, streams);
criterion_main!(benches);
