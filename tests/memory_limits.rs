//! If the system lets a process lock little or no memory, secrets still work. The library reports it on request, and
//! refuses if the caller demands locked memory.

#![cfg(all(feature = "std", target_os = "linux"))]

mod common;

use std::process::Command;

use atrest::{Credential, Error, FormatOptions, MemoryDevice, OpenOptions, Protector, Secret, Volume};
use common::{peer, vault_at};

/// Runs itself with as many KiB of locked memory.
#[test]
fn what_cannot_be_locked_is_told_and_can_be_refused() {
    const LIMIT: &str = "ATREST_TEST_MEMLOCK_KIB";
    if let Ok(limit) = std::env::var(LIMIT) {
        return with_limit(limit.parse().unwrap());
    }
    // Root may lock any amount, so the program gives up that right.
    let root = is_root();
    if root && peer("setpriv", &["--version"]).is_none() {
        return;
    }
    let give_up = if root { "setpriv --bounding-set -ipc_lock --inh-caps -ipc_lock" } else { "" };
    for limit in ["0", "64"] {
        let this = std::env::current_exe().unwrap();
        let script = format!(
            "ulimit -l {limit} && exec {give_up} \"$0\" --exact what_cannot_be_locked_is_told_and_can_be_refused"
        );
        let output = Command::new("sh").args(["-c", &script]).arg(&this).env(LIMIT, limit).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{limit} KiB: {text}");
        assert!(text.contains("1 passed"), "{limit} KiB: {text}");
    }
}

fn is_root() -> bool {
    std::fs::read_to_string("/proc/self/status").unwrap().lines().any(|line| line.starts_with("Uid:\t0\t"))
}

fn with_limit(kib: u64) {
    let folder = tempfile::tempdir().unwrap();
    let vault = vault_at(&folder.path().join("keys.vault"));
    let options = FormatOptions::new().data_offset(1 << 20);
    let volume = Volume::format(MemoryDevice::new(2 << 20), Protector::Vault(&vault, "disks"), &options).unwrap();
    volume.write_at(0, &[7; 4096]).unwrap();
    let device = volume.into_device();
    let fill: Vec<Secret> = (0..2000).map(|_| Secret::random(64).unwrap()).collect();
    let memory = atrest::memory_protection();
    assert!(memory.locked <= kib << 10, "{memory:?}");
    assert!(memory.unlocked > 0 && !memory.is_whole(), "{memory:?}");

    assert!(matches!(memory.require(), Err(Error::MemoryNotLocked { unlocked }) if unlocked == memory.unlocked));
    let strict = OpenOptions::new().require_locked_memory(true);
    match Volume::open(device, Credential::Vault(&vault), &strict) {
        Err(e @ Error::MemoryNotLocked { .. }) => assert!(e.to_string().contains("RLIMIT_MEMLOCK"), "{e}"),
        Err(e) => panic!("{e}"),
        Ok(_) => panic!("it was opened"),
    }
    #[cfg(feature = "managed")]
    a_service_can_refuse();
    drop(fill);
}

#[cfg(feature = "managed")]
fn a_service_can_refuse() {
    use common::world::{World, new_disk};

    let mut world = World::new();
    world.service().create_disk(&new_disk("d", None)).unwrap();
    world.require_locked_memory = true;
    let service = world.service();
    assert!(matches!(service.open_disk("d"), Err(Error::MemoryNotLocked { .. })));
    assert!(matches!(service.create_disk(&new_disk("e", None)), Err(Error::MemoryNotLocked { .. })));
}
