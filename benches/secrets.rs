//! Makes and drops a secret, alone and with a million others.

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;

use atrest::Secret;

fn secrets(c: &mut Criterion) {
    let mut group = c.benchmark_group("secrets");
    for others in [0, 1000, 1_000_000] {
        let held: Vec<Secret> = (0..others).map(|_| Secret::zeroed(32)).collect();
        group.bench_function(format!("32 bytes, beside {others}"), |b| b.iter(|| Secret::zeroed(black_box(32))));
        group.bench_function(format!("700 bytes, beside {others}"), |b| b.iter(|| Secret::zeroed(black_box(700))));
        drop(held);
    }
    group.finish();
}

criterion_group!(benches, secrets);
criterion_main!(benches);
