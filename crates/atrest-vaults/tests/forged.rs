//! Forged wrapped keys, and a vault file, whose answers are those of others' vaults.

#[path = "../../../tests/common/conformance.rs"]
mod conformance;

use std::sync::Arc;

use atrest::KeyVault;
use atrest::vault::{FileVault, Unlock};
use conformance::forgeries;

#[test]
fn forged_wrapped_keys_delay_no_honest_disk() {
    let folder = tempfile::tempdir().unwrap();
    let [path, key_file] = ["vault", "key"].map(|name| folder.path().join(name));
    FileVault::generate_key_file(&key_file).unwrap();
    let file = FileVault::create(&path, Unlock::KeyFile(&key_file)).unwrap();
    let others = [file.create_key("disks").unwrap(), file.create_key("tapes").unwrap()];
    file.rotate_key("disks").unwrap();
    let url = format!("file:{}?key-file={}", path.display(), key_file.display());
    let vault = || -> Arc<dyn KeyVault> { atrest_vaults::open(&url).unwrap() };
    forgeries::delay_no_honest_disk(&vault, "disks", &others);
}
