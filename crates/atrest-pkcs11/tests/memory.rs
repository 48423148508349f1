//! No copy of a DEK stays in this process, but for those that the library makes.
#![cfg(target_os = "linux")]

mod common;
#[path = "../../../tests/common/traces.rs"]
mod traces;

use atrest::{KeyVault, Secret};
use atrest_pkcs11::Pkcs11Vault;
use common::softhsm;
use cryptoki::object::Attribute;
use traces::copies;

#[test]
fn no_copy_of_a_dek_stays() {
    let Some(hsm) = softhsm("no_copy_of_a_dek_stays") else { return };
    hsm.token("t").aes("t", "disks", "01");
    hsm.aes("t", "gcm", "01");
    hsm.admin("t").set("gcm", 1, &[Attribute::Wrap(false), Attribute::Unwrap(false)]);
    hsm.tool("t", &["--keypairgen", "--key-type", "rsa:2048", "--usage-decrypt", "--label", "rsa", "--id", "01"]);
    let vault = Pkcs11Vault::new(hsm.options("t").encrypt_mechanisms(true).allow_sha1(true)).unwrap();
    for key in ["disks", "gcm", "rsa"] {
        let dek = Secret::random(32).unwrap();
        let inverted: [u8; 32] = std::array::from_fn(|i| !dek.expose()[i]);
        assert_eq!(copies(&inverted, true), 1, "the search finds what is there");
        let wrapped = vault.wrap(key, &dek).unwrap();
        let again = vault.unwrap(&wrapped).unwrap().unwrap();
        assert!(again == dek);
        assert_eq!(copies(&inverted, true), 2, "{key}: the two that this test has");
        drop((dek, again));
        assert_eq!(copies(&inverted, true), 0, "{key}");
    }
}
