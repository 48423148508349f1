//! The fake, compared with what Microsoft's own library sends and takes: `pip install azure-keyvault-keys azure-identity`.
//!
//! The fake complains of its requests by the same rules as of this crate's. So this is as near to the real service as it gets here.

use atrest::KeyVault;
use atrest::key::{WrapAlgorithm, WrappedDek};
use atrest_kms::{AzureKeyVault, AzureOptions};

use crate::conformance::{self, dek};
use crate::fake::{certificate, trusting, unhex};
use crate::peers::{peer, pipe, python};
use crate::server::{Fake, ID, application};

#[test]
fn the_makers_library_gets_along_with_the_fake_and_with_this_crate() {
    let Some(openssl) = peer("openssl", &["version"]) else { return };
    let Some(python) = python("azure.keyvault.keys, azure.identity, msal") else { return };
    let folder = tempfile::tempdir().unwrap();
    let [ca, key] = certificate(&openssl, folder.path(), "fake");
    let Some(fake) = Fake::start_tls([&ca, &key]) else { return };
    fake.tell(r#"{"op":"new","key":"aes","kind":"AES"}"#);
    let pem = std::fs::read_to_string(&ca).unwrap().replace('\n', "\\n");
    fake.tell(&format!(r#"{{"op":"state","certificate":"{pem}"}}"#));
    let options = AzureOptions::new(ID, application(&fake.address())).endpoint(fake.address());
    let vault = AzureKeyVault::new(&options.http(trusting(&ca))).unwrap();
    let wrapped = ["disks", "aes"].map(|name| vault.wrap(name, &dek()).unwrap());
    let input = wrapped.each_ref().map(|wrapped| atrest_http::hex(&wrapped.bytes)).join("\n");
    // The library takes a vault's address from the names of its keys.
    fake.tell(&format!(r#"{{"op":"state","name":"{}"}}"#, fake.address()));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/azure/sdk.py");
    let output = pipe(&python, &[script, &fake.address(), &ca, &ca, &key], input.as_bytes());
    fake.tell(&format!(r#"{{"op":"state","name":"{ID}"}}"#));
    let lines: Vec<_> = std::str::from_utf8(&output).unwrap().lines().map(unhex).collect();
    assert_eq!([&lines[0][..], &lines[2]], [conformance::DEK, conformance::DEK]);
    let [rsa, aes] = wrapped;
    assert_eq!([rsa.algorithm, aes.algorithm], [WrapAlgorithm::RsaOaep256, WrapAlgorithm::Aes256Kw]);
    let found = vault.unwrap(&WrappedDek::new(rsa.kek, rsa.algorithm, lines[1].clone())).unwrap().unwrap();
    assert_eq!(found.expose(), b"a DEK that another library wraps");
}
