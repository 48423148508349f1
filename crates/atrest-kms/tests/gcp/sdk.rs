//! The fake, compared with what Google's own library sends and takes: `pip install google-cloud-kms requests`.
//!
//! The fake complains of its requests by the same rules as of this crate's. So this is as near to the real service as it gets here.

use atrest::KeyVault;
use atrest::key::WrappedDek;
use atrest_http::hex;
use atrest_kms::{GcpKms, GcpOptions, GoogleIdentity};

use crate::conformance::{self, dek};
use crate::fake::{certificate, trusting, unhex};
use crate::peers::{peer, pipe, python};
use crate::server::{Fake, RING};

#[test]
fn the_makers_library_gets_along_with_the_fake_and_with_this_crate() {
    let Some(openssl) = peer("openssl", &["version"]) else { return };
    let Some(python) = python("google.cloud.kms_v1, google.auth.identity_pool, requests") else { return };
    let folder = tempfile::tempdir().unwrap();
    let [ca, key] = certificate(&openssl, folder.path(), "fake");
    let Some(fake) = Fake::start_tls([&ca, &key]) else { return };
    let options = GcpOptions::new(RING, GoogleIdentity::machine(Some(&fake.address()))).endpoint(fake.address());
    let vault = GcpKms::new(&options.http(trusting(&ca))).unwrap();
    let wrapped = vault.wrap("disks", &dek()).unwrap();
    // The data to which this crate binds a DEK is part of its format: it may never change.
    let input = format!("{}\n{}\n{}\n", fake.account(), hex(&wrapped.bytes), hex(b"atrest dek 1 disks 1"));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gcp/sdk.py");
    let output = pipe(&python, &[script, &fake.port.to_string(), &ca], input.as_bytes());
    let lines: Vec<_> = std::str::from_utf8(&output).unwrap().lines().map(unhex).collect();
    assert_eq!(lines[0], conformance::DEK);
    let theirs = WrappedDek::new(wrapped.kek, wrapped.algorithm, lines[1].clone());
    assert_eq!(vault.unwrap(&theirs).unwrap().unwrap().expose(), b"a DEK that another library wraps");
}
