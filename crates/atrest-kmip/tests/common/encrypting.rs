//! Checks for each server that encrypts by AES-GCM.

use std::path::Path;

use atrest::KeyVault as _;
use atrest::key::WrapAlgorithm;
use atrest_kmip::{KmipOptions, KmipVault, KmipVersion};

use crate::conformance;

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Wraps by each of these versions, and by a URL with the version that it names, `by_url`. The owner of the keys decrypts by another
/// library. `options` are those of the client, whose certificates are in `folder`.
pub fn wraps_by_aes_gcm(
    versions: &[KmipVersion],
    by_url: &str,
    folder: &Path,
    port: u16,
    options: &dyn Fn() -> KmipOptions,
    owner: &dyn Fn(&str) -> String,
) {
    let uid = owner("create disks");
    for version in versions {
        let vault = KmipVault::new(options().version(*version)).unwrap();
        let wrapped = vault.wrap("disks", &conformance::dek()).unwrap();
        assert_eq!(wrapped.kek.to_string(), format!("kmip://127.0.0.1:{port}/keys/disks/{uid}"));
        assert_eq!(wrapped.algorithm, WrapAlgorithm::Opaque);
        // The owner takes the key out, and decrypts by another library.
        let (magic, rest) = wrapped.bytes.split_at(4);
        let ((nonce, rest), tag) = (rest.split_at(12), &rest[12..28]);
        assert_eq!(magic, b"KMI\x01");
        let plain = owner(&format!("gcm {uid} {} {} {} {}", wrapped.kek, hex(nonce), hex(&rest[16..]), hex(tag)));
        assert_eq!(plain, hex(conformance::DEK));
        conformance::wraps_and_unwraps(&vault, "disks");
    }
    // The same by a URL.
    let file = |name: &str| folder.join(name).display().to_string();
    let (ca, cert, key) = (file("ca.pem"), file("client.pem"), file("client.key"));
    let url = format!("kmip://127.0.0.1:{port}?ca={ca}&cert={cert}&key={key}&version={by_url}");
    let opened = atrest_kmip::open(&url).unwrap();
    let wrapped = opened.wrap("disks", &conformance::dek()).unwrap();
    let vault = KmipVault::new(options()).unwrap();
    assert_eq!(vault.unwrap(&wrapped).unwrap().unwrap(), conformance::dek());
}
