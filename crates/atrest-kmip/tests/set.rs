//! A set of managed disks on PyKMIP. By itself: a program that another thread starts has the locks of this one's files for a moment,
//! and a disk looks busy then.

mod common;
#[path = "../../../tests/common/conformance.rs"]
mod conformance;
#[allow(dead_code)] // this test program uses a part
#[path = "../../../tests/common/vaults.rs"]
mod vaults;

use std::sync::Arc;

use atrest::KeyVault;
use atrest::managed::{KnownVaults, VaultDescription};

use common::PyKmip;
use conformance::SetWorld;
use vaults::MemoryVault;

#[test]
fn a_set_of_disks() {
    let Some(kmip) = PyKmip::new() else { return };
    let uid = kmip.owner("create disks");
    let vaults = KnownVaults::new();
    let vault = kmip.vault();
    let description = VaultDescription::new("north", "contoso").soft_delete(true).purge_protection(true);
    vaults.add(Arc::new(vault.clone()), description).unwrap();
    let platform = MemoryVault::new("platform");
    conformance::serves_a_set(&SetWorld {
        directory: Arc::new(vaults),
        id: vault.id(),
        key: "disks",
        platform: Arc::new(platform),
        revoke: &|| drop(kmip.owner(&format!("state {uid} DEACTIVATED"))),
        restore: &|| drop(kmip.owner(&format!("state {uid} ACTIVE"))),
        stop: &|| kmip.kill(),
        start: &|| kmip.start(),
    });
}
