//! The kernel's report on the memory that keys lie in, and a check that they lie nowhere else.

#![cfg(all(feature = "std", target_os = "linux"))]

mod common;

use std::fs;
use std::sync::{Mutex, MutexGuard, PoisonError};

use atrest::cipher::{CipherSpec, DmCipher, KernelKind};
use atrest::{
    Credential, Dek, DekAlgorithm, MemoryDevice, OpenOptions, Protector, Secret, SectorCipher, SectorSize, SectorUnit,
    Volume,
};
use common::vault_at;

/// A mapping of this process, from /proc/self/smaps.
#[derive(Debug)]
struct Mapping {
    start: u64,
    end: u64,
    /// Memory of this process alone that is written to. The rest is parts of files.
    own: bool,
    name: String,
    /// The two-letter flags: `lo` for locked, `dd` for kept out of core dumps, `wf` for zeros in a child.
    flags: Vec<String>,
}

impl Mapping {
    fn has(&self, flag: &str) -> bool {
        self.flags.iter().any(|has| has == flag)
    }
}

fn mappings() -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in fs::read_to_string("/proc/self/smaps").unwrap().lines() {
        if let Some(flags) = line.strip_prefix("VmFlags:") {
            mappings.last_mut().unwrap().flags = flags.split_whitespace().map(Into::into).collect();
            continue;
        }
        let fields: Vec<&str> = line.split_whitespace().collect();
        let Some((start, end)) = fields[0].split_once('-') else { continue };
        let address = |text| u64::from_str_radix(text, 16).unwrap();
        let name = fields.get(5).copied().unwrap_or_default().to_owned();
        mappings.push(Mapping {
            start: address(start),
            end: address(end),
            own: fields[1].starts_with("rw-p") && matches!(name.as_str(), "" | "[heap]" | "[stack]"),
            name,
            flags: Vec::new(),
        });
    }
    mappings
}

/// One test at a time looks at memory, and nothing changes it meanwhile.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The mappings in which 16 bytes of a key, at a multiple of 8, were found. It is read where it lies: a copy would be
/// found as well.
fn holding<'a>(key: &Secret, mappings: impl Iterator<Item = &'a Mapping>) -> Vec<String> {
    let parts: Vec<*const u64> = key.expose().chunks_exact(16).map(|part| part.as_ptr().cast()).collect();
    let mut found = Vec::new();
    for mapping in mappings {
        for at in (mapping.start..mapping.end - 8).step_by(8) {
            let at = std::ptr::with_exposed_provenance::<u64>(at as usize);
            // SAFETY: the kernel says that the mapping can be read. It belongs to this process alone, and no other
            // thread runs that could end it. Keys are aligned to 64 bytes. Any bytes there are valid.
            let same = |part: &&*const u64| unsafe {
                at.read_volatile() == part.read_volatile() && at.add(1).read_volatile() == part.add(1).read_volatile()
            };
            if parts.iter().any(|part| same(&part)) {
                found.push(format!("{at:?} in {mapping:?}"));
            }
        }
    }
    found
}

/// The content of a core dump. A build without optimisation leaves copies of everything on stacks, so there only the
/// heap is searched.
fn dumped(mapping: &&Mapping) -> bool {
    let heap_only = cfg!(debug_assertions);
    mapping.own && !mapping.has("dd") && !mapping.name.starts_with("[v") && (!heap_only || mapping.name == "[heap]")
}

#[test]
fn no_key_of_an_open_volume_would_be_in_a_core() {
    let _alone = alone();
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
    let _alone = alone();
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
fn what_is_said_of_the_memory_is_what_the_kernel_says() {
    let _alone = alone();
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
    let _alone = alone();
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
