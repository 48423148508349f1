//! Key wrap of a 64-byte DEK under a 32-byte KEK.

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;

use atrest::key::wrap;

fn key_wrap(c: &mut Criterion) {
    let (kek, dek) = ([7; 32], [9; 64]);
    let (mut wrapped, mut padded, mut out) = ([0; 72], [0; 72], [0; 64]);
    wrap::aes_kw_wrap(&kek, &dek, &mut wrapped).unwrap();
    wrap::aes_kwp_wrap(&kek, &dek, &mut padded).unwrap();

    let mut group = c.benchmark_group("key wrap");
    group.bench_function("AES-256-KW wrap", |b| {
        let mut buffer = [0; 72];
        b.iter(|| wrap::aes_kw_wrap(black_box(&kek), black_box(&dek), &mut buffer).map(<[u8]>::len));
    });
    group.bench_function("AES-256-KW unwrap", |b| {
        b.iter(|| wrap::aes_kw_unwrap(black_box(&kek), black_box(&wrapped), &mut out).map(<[u8]>::len));
    });
    group.bench_function("AES-256-KWP wrap", |b| {
        let mut buffer = [0; 72];
        b.iter(|| wrap::aes_kwp_wrap(black_box(&kek), black_box(&dek), &mut buffer).map(<[u8]>::len));
    });
    group.bench_function("AES-256-KWP unwrap", |b| {
        b.iter(|| wrap::aes_kwp_unwrap(black_box(&kek), black_box(&padded), &mut out).map(<[u8]>::len));
    });
    group.finish();
}

criterion_group!(benches, key_wrap);
criterion_main!(benches);
