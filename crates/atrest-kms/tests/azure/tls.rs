//! Certificates.

use std::path::Path;

use atrest::{Error, KeyVault};
use atrest_http::HttpOptions;
use atrest_kms::{AzureKeyVault, AzureOptions};

use crate::conformance::{self, dek};
use crate::peers::{peer, run, text};
use crate::server::{Fake, ID, application, once};

/// Makes a certificate of this machine that signs itself, and its key. Returns their files.
pub fn certificate(openssl: &str, folder: &Path, name: &str) -> [String; 2] {
    let [key, certificate] = ["key", "pem"].map(|end| folder.join(format!("{name}.{end}")));
    let request = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=fake"];
    let more = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"];
    run(openssl, &[&request[..], &more, &["-keyout", text(&key), "-out", text(&certificate)]].concat());
    [text(&certificate).to_owned(), text(&key).to_owned()]
}

/// Options of HTTP that trust the certificate in this file.
pub fn trusting(file: &str) -> HttpOptions {
    HttpOptions::new().root_certificates(std::fs::read(file).unwrap())
}

#[test]
fn a_server_of_another_ca_is_an_outage() {
    let Some(openssl) = peer("openssl", &["version"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let files = certificate(&openssl, folder.path(), "fake");
    let other = certificate(&openssl, folder.path(), "other");
    let Some(fake) = Fake::start_tls([&files[0], &files[1]], trusting(&files[0])) else { return };
    let vault = |http| {
        let options = AzureOptions::new(ID, application(&fake.address())).endpoint(fake.address());
        AzureKeyVault::new(&options.http(http)).unwrap()
    };
    let good = vault(trusting(&files[0]));
    let wrapped = good.wrap("disks", &dek()).unwrap();
    assert_eq!(good.unwrap(&wrapped).unwrap().unwrap().expose(), conformance::DEK);
    for http in [HttpOptions::new(), trusting(&other[0])] {
        for (call, error) in conformance::failures(&vault(once(http.clone())), &wrapped) {
            assert!(matches!(error, Error::Vault(_)), "{call}: {error:?}");
            let shown = format!("{error:#}");
            assert!(shown.contains("trust the root of its certificate"), "{shown}");
        }
    }
}
