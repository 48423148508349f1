//! SoftHSM 2 as the token, and pkcs11-tool as the one who administers it.

mod common;
#[path = "../../../tests/common/conformance.rs"]
mod conformance;

use atrest::key::{WrapAlgorithm, wrap};
use atrest::{KeyVault, Secret};

use common::softhsm;

const KEK: [u8; 32] = *b"\x01\x23\x45\x67\x89\xab\xcd\xef0123456789abcdefghijklmn";

#[test]
fn wraps_as_rfc_3394_has_it() {
    let Some(hsm) = softhsm("wraps_as_rfc_3394_has_it") else { return };
    hsm.token("t");
    // A key whose bytes are known here, so that the token's answer can be compared.
    let file = hsm.folder.join("kek");
    std::fs::write(&file, KEK).unwrap();
    let write = ["--write-object", file.to_str().unwrap(), "--type", "secrkey", "--key-type", "AES:32"];
    hsm.tool("t", &[&write[..], &["--usage-wrap", "--label", "disks", "--id", "0a"]].concat());

    let vault = hsm.vault("t");
    for len in [32, 64] {
        let dek = Secret::random(len).unwrap();
        let wrapped = vault.wrap("disks", &dek).unwrap();
        assert_eq!(wrapped.kek.to_string(), "pkcs11:token=t/keys/disks/0a");
        assert_eq!(wrapped.algorithm, WrapAlgorithm::Aes256Kw);
        let mut room = vec![0; len + 8];
        assert_eq!(wrapped.bytes, wrap::aes_kw_wrap(&KEK, dek.expose(), &mut room).unwrap());
        assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), dek);
        conformance::refuses_altered(&vault, &wrapped);
    }
}

#[test]
fn volumes_and_rotation() {
    let Some(hsm) = softhsm("volumes_and_rotation") else { return };
    hsm.token("t").aes("t", "disks", "01");
    let vault = hsm.vault("t");
    conformance::wraps_and_unwraps(&vault, "disks");
    conformance::rotates(&vault, "disks", &|| hsm.aes("t", "disks", "02"));
    // As a number, 0103 is more than ff.
    conformance::serves_a_volume(&vault, "disks", &|| hsm.aes("t", "disks", "0103"));
    hsm.aes("t", "disks", "ff");
    assert_eq!(vault.wrap("disks", &conformance::dek()).unwrap().kek.version(), "0103");
}
