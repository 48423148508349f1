//! No copy of a KEK, of a DEK or of an authorisation value stays in this process.
#![cfg(target_os = "linux")]

mod common;
#[path = "../../../tests/common/traces.rs"]
mod traces;

use atrest::{KeyVault, Secret};
use atrest_tpm::{TpmAuth, TpmVault};
use common::Swtpm;

/// A build without optimisation leaves copies of everything on the stack, so there that isn't searched.
fn copies(inverted: &[u8; 32]) -> usize {
    traces::copies(inverted, !cfg!(debug_assertions))
}

fn inverted(secret: &Secret) -> [u8; 32] {
    std::array::from_fn(|i| !secret.expose()[i])
}

#[test]
fn no_copy_of_a_secret_stays() {
    let Some(tpm) = Swtpm::new() else { return };
    let [kek, mut auth, dek] = [(); 3].map(|()| Secret::random(32).unwrap());
    // Visible characters, since tpm2-tools leave line breaks out.
    auth.expose_mut().iter_mut().for_each(|byte| *byte = b'a' + *byte % 26);
    let looked_for = [&kek, &auth, &dek].map(inverted);
    // tpm2-tools seal a KEK that is known here.
    std::fs::write(tpm.path("kek"), kek.expose()).unwrap();
    std::fs::write(tpm.path("auth"), auth.expose()).unwrap();
    tpm.parent();
    tpm.tool("tpm2_create -Q -C parent.ctx -g sha256 -i kek -p file:auth -u key.pub -r key.priv");
    assert_eq!(looked_for.each_ref().map(copies), [1; 3], "the search finds what is there");
    drop((kek, auth));
    {
        let vault = TpmVault::new(tpm.options().auth(TpmAuth::File(tpm.path("auth")))).unwrap();
        let read = |name: &str| std::fs::read(tpm.path(name)).unwrap();
        vault.import_key("disks", &read("key.pub"), &read("key.priv"), None).unwrap();
        let wrapped = vault.wrap("disks", &dek).unwrap();
        let again = vault.unwrap(&wrapped).unwrap().unwrap();
        assert!(again == dek);
        assert_eq!(looked_for.each_ref().map(copies), [0, 0, 2], "the two that this test has");
        // A key that is made and sealed here.
        vault.create_key("disks", Some("sha256:0".parse().unwrap())).unwrap();
    }
    drop(dek);
    assert_eq!(looked_for.each_ref().map(copies), [0; 3]);
}
