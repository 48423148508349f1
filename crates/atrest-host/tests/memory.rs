//! The keys of a cache lie in locked memory alone, and nowhere once they are gone.
#![cfg(target_os = "linux")]

#[path = "../../../tests/common/maps.rs"]
mod maps;

use std::sync::Arc;

use atrest::key::hkdf_sha256;
use atrest::{BlockDevice, MemoryDevice, Secret};
use atrest_host::cache::{CacheMode, CacheOptions, CachePlace};
use atrest_host::{Cache, Disk, HazmatPlain};
use maps::{Mapping, hmac_states, holding, mappings};

/// The content of a core dump. A build without optimisation leaves copies of everything on stacks, so there the one of this thread
/// isn't searched.
fn dumped(mapping: &&Mapping) -> bool {
    let here = 0;
    let is_stack = cfg!(debug_assertions) && (mapping.start..mapping.end).contains(&((&raw const here).addr() as u64));
    mapping.own && !mapping.has("dd") && !mapping.name.starts_with("[v") && !is_stack
}

#[test]
fn no_key_of_a_cache_would_be_in_a_core() {
    for mode in [CacheMode::ReadOnly, CacheMode::WriteThrough, CacheMode::WriteBack] {
        let disk = Arc::new(HazmatPlain(MemoryDevice::new(64 * 4096)));
        let file = Arc::new(MemoryDevice::new(256 * 4096));
        let place = CachePlace::Device(file.clone());
        let secret = Secret::random(32).unwrap();
        let cache = Cache::attach(disk, Arc::new(secret.clone()), place, &CacheOptions::new(mode, 256 * 4096)).unwrap();
        let mut sectors = vec![1; 8 * 4096];
        cache.write_at(0, &mut sectors).unwrap();
        cache.flush().unwrap();
        for _ in 0..3 {
            cache.read_at(0, &mut sectors).unwrap();
        }
        // As docs/formats/host-cache.md derives them.
        let mut salt = [0; 32];
        file.read_at(40, &mut salt).unwrap();
        let lent = hkdf_sha256(&secret, b"", b"atrest host cache of a volume v1 host cache", 32).unwrap();
        let [data, blocks, records] = [("data", 64), ("blocks", 32), ("records", 32)].map(|(part, len)| {
            hkdf_sha256(&lent, &salt, format!("atrest host cache v1 {part}").as_bytes(), len).unwrap()
        });
        let states = [&blocks, &records].map(|key| hmac_states(key.expose().try_into().unwrap()));
        let all = mappings();
        let kept = || all.iter().filter(|mapping| mapping.own && mapping.has("dd"));
        for state in states.iter().flat_map(|states| &states[..2]) {
            assert!(
                holding(state, kept()).len() > 2,
                "{mode:?}: the states lie with the secrets, and the search finds them"
            );
        }
        let looked_for: Vec<&Secret> =
            states.iter().flatten().chain([&secret, &lent, &data, &blocks, &records]).collect();
        for key in &looked_for {
            assert_eq!(holding(key, all.iter().filter(dumped)), Vec::<String>::new(), "{mode:?}: in use");
        }
        cache.detach().unwrap();
        drop(cache);
        let all = mappings();
        for key in &looked_for {
            assert_eq!(holding(key, all.iter().filter(dumped)), Vec::<String>::new(), "{mode:?}: detached");
        }
        for state in states.iter().flatten() {
            let kept = holding(state, all.iter().filter(|mapping| mapping.own && mapping.has("dd")));
            assert_eq!(kept.len(), 2, "{mode:?}: what was dropped isn't wiped");
        }
    }
}
