//! A set of managed disks on sealed keys. By itself: a program that another thread starts has the locks of this one's files for a
//! moment, and a disk looks busy then.

mod common;
#[path = "../../../tests/common/conformance.rs"]
mod conformance;
#[allow(dead_code)] // this test program uses a part
#[path = "../../../tests/common/vaults.rs"]
mod vaults;

use std::sync::Arc;

use atrest::KeyVault;
use atrest::managed::{KnownVaults, VaultDescription};
use atrest_tpm::TpmVault;

use common::Swtpm;
use conformance::SetWorld;
use vaults::MemoryVault;

#[test]
fn a_set_of_disks() {
    let Some(tpm) = Swtpm::new() else { return };
    let vault = TpmVault::new(tpm.options_with_auth()).unwrap();
    let kek = vault.create_key("disks", Some("sha256:16".parse().unwrap())).unwrap();
    let vaults = KnownVaults::new();
    let description = VaultDescription::new("north", "contoso").soft_delete(true).purge_protection(true);
    vaults.add(Arc::new(vault.clone()), description).unwrap();
    conformance::serves_a_set(&SetWorld {
        directory: Arc::new(vaults),
        id: vault.id(),
        key: "disks",
        platform: Arc::new(MemoryVault::new("platform")),
        revoke: &|| vault.set_enabled(&kek, false).unwrap(),
        restore: &|| vault.set_enabled(&kek, true).unwrap(),
        stop: &|| tpm.kill(),
        start: &|| tpm.start(),
    });
}
