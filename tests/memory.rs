//! The kernel's report on the memory that keys lie in, and a check that they lie nowhere else.

#![cfg(all(feature = "std", target_os = "linux"))]

mod common;

use std::process::Command;

use atrest::cipher::{CipherSpec, DmCipher, KernelKind};
use atrest::key::HmacSha256;
use atrest::{
    Credential, Dek, DekAlgorithm, MemoryDevice, OpenOptions, Protector, Secret, SectorCipher, SectorSize, SectorUnit,
    Volume,
};
use common::maps::{Mapping, hmac_states, holding, mappings};
use common::vault_at;

/// Runs a test again in a process of its own, where no other thread ends its memory while that is searched, and says
/// whether this is that process.
fn alone(test: &str) -> bool {
    const ALONE: &str = "ATREST_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let this = std::env::current_exe().unwrap();
    let output = Command::new(this).args([test, "--exact", "--nocapture"]).env(ALONE, "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{}: {text}", output.status);
    false
}

/// The content of a core dump. A build without optimisation leaves copies of everything on stacks, so there only the
/// heap is searched.
fn dumped(mapping: &&Mapping) -> bool {
    let heap_only = cfg!(debug_assertions);
    mapping.own && !mapping.has("dd") && !mapping.name.starts_with("[v") && (!heap_only || mapping.name == "[heap]")
}

#[test]
fn no_key_of_an_open_volume_would_be_in_a_core() {
    if !alone("no_key_of_an_open_volume_would_be_in_a_core") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let vault = vault_at(&folder.path().join("keys.vault"));
    let options = atrest::FormatOptions::new().data_offset(1 << 20);
    let volume = Volume::format(MemoryDevice::new(2 << 20), Protector::Vault(&vault, "disks"), &options).unwrap();
    let device = volume.into_device();
    let volume = Volume::open(device, Credential::Vault(&vault), &OpenOptions::new()).unwrap();
    volume.write_at(0, &[7; 65536]).unwrap();
    volume.read_at(0, &mut [0; 65536]).unwrap();
    let key = atrest::hazmat::dek_bytes(&volume.dek());
    check(&key, volume, "XTS");
}

/// Looks for the key while it is in use, and after.
fn check<T>(key: &Secret, user: T, name: &str) {
    let all = mappings();
    let (kept, parts) = (all.iter().filter(|mapping| mapping.own && mapping.has("dd")), key.len() / 16);
    assert!(holding(key, kept).len() > parts, "{name}: the test sees nothing but the copy that it looks for");
    assert_eq!(holding(key, all.iter().filter(dumped)), Vec::<String>::new(), "{name}: in use");
    drop(user);
    assert_eq!(holding(key, mappings().iter().filter(dumped)), Vec::<String>::new(), "{name}: dropped");
    let kept = mappings();
    let kept = holding(key, kept.iter().filter(|mapping| mapping.own && mapping.has("dd")));
    assert_eq!(kept.len(), parts, "{name}: what was dropped isn't wiped: {kept:?}");
}

#[test]
fn no_expanded_key_would_be_in_a_core() {
    if !alone("no_expanded_key_would_be_in_a_core") {
        return;
    }
    let mut data = vec![0; 2048];
    for algorithm in [DekAlgorithm::Aes256Xts, DekAlgorithm::Aes128Xts] {
        for kind in KernelKind::available() {
            let key = atrest::hazmat::dek_bytes(&Dek::generate(algorithm).unwrap());
            let cipher = SectorCipher::with_kernel(key.expose(), SectorSize::B512, SectorUnit::Sector, kind).unwrap();
            cipher.encrypt(0, &mut data).unwrap();
            check(&key, (cipher, key.clone()), kind.name());
        }
    }
    let dek = Dek::generate(DekAlgorithm::Aes256Ctr).unwrap();
    let key = atrest::hazmat::dek_bytes(&dek);
    let cipher = dek.stream_cipher([0; 16]).unwrap();
    cipher.apply(0, &mut data).unwrap();
    check(&key, (cipher, dek), "CTR");
    for spec in [CipherSpec::AesHctr2Plain64, CipherSpec::AesCbcEssivSha256, CipherSpec::AesXtsPlain64] {
        let key = Secret::random(32).unwrap();
        let cipher = DmCipher::boxed(spec, key.expose(), SectorSize::B512).unwrap();
        cipher.encrypt(0, &mut data).unwrap();
        check(&key, (cipher, key.clone()), spec.name());
    }
}

#[test]
fn no_state_of_a_mac_would_be_in_a_core() {
    if !alone("no_state_of_a_mac_would_be_in_a_core") {
        return;
    }
    let key = Secret::random(32).unwrap();
    let states = hmac_states(key.expose().try_into().unwrap());
    let hmac = HmacSha256::new(key.expose()).unwrap();
    for len in [0, 1, 64, 4096] {
        let mac = hmac.mac(&[&vec![7; len], b"part"]).unwrap();
        assert!(hmac.verify(&[&vec![7; len], b"part"], &mac).unwrap());
    }
    drop(hmac.derive(&[b"a key"]).unwrap());
    let all = mappings();
    let kept = || all.iter().filter(|mapping| mapping.own && mapping.has("dd"));
    for state in &states[..2] {
        assert!(holding(state, kept()).len() > 2, "the state lies with the secrets, and the search finds it");
    }
    for secret in states.iter().chain([&key]) {
        assert_eq!(holding(secret, all.iter().filter(dumped)), Vec::<String>::new(), "in use");
    }
    drop(hmac);
    let all = mappings();
    for secret in states.iter().chain([&key]) {
        assert_eq!(holding(secret, all.iter().filter(dumped)), Vec::<String>::new(), "dropped");
        let kept = holding(secret, all.iter().filter(|mapping| mapping.own && mapping.has("dd")));
        assert_eq!(kept.len(), 2, "what was dropped isn't wiped: {kept:?}");
    }
}

#[test]
fn what_is_said_of_the_memory_is_what_the_kernel_says() {
    if !alone("what_is_said_of_the_memory_is_what_the_kernel_says") {
        return;
    }
    let secrets: Vec<Secret> = [1, 64, 65, 640, 4096, 4097, 100_000].map(|len| Secret::random(len).unwrap()).into();
    let said = atrest::memory_protection();
    let all = mappings();
    for secret in &secrets {
        let (start, end) = (secret.expose().as_ptr() as u64, secret.expose().as_ptr() as u64 + secret.len() as u64);
        let mapping = all.iter().find(|mapping| mapping.start <= start && end <= mapping.end).unwrap();
        assert!(mapping.has("dd") && mapping.has("wf"), "{} bytes: {mapping:?}", secret.len());
        assert!(mapping.has("lo") || !said.is_whole(), "{} bytes: {mapping:?}", secret.len());
    }
    assert!(said.locked + said.unlocked >= 100_000, "{said:?}");
}

#[test]
fn threads_that_have_ended_keep_no_memory_of_secrets() {
    if !alone("threads_that_have_ended_keep_no_memory_of_secrets") {
        return;
    }
    let secrets = || drop((1..=16).map(|units| Secret::zeroed(64 * units)).collect::<Vec<_>>());
    let total = || {
        let memory = atrest::memory_protection();
        memory.locked + memory.unlocked
    };
    std::thread::spawn(secrets).join().unwrap();
    let before = total();
    // A slot of each size would be 8.5 KiB a thread.
    (0..300).for_each(|_| std::thread::spawn(secrets).join().unwrap());
    assert!(total() < before + (300 << 10), "{} of {before}", total());
}
