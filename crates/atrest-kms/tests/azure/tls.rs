//! Certificates.

use atrest::{Error, KeyVault};
use atrest_http::HttpOptions;
use atrest_kms::{AzureKeyVault, AzureOptions};

use crate::conformance::{self, dek};
use crate::fake::{certificate, trusting};
use crate::peers::peer;
use crate::server::{Fake, ID, application};

#[test]
fn a_server_of_another_ca_is_an_outage() {
    let Some(openssl) = peer("openssl", &["version"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let files = certificate(&openssl, folder.path(), "fake");
    let other = certificate(&openssl, folder.path(), "other");
    let Some(fake) = Fake::start_tls([&files[0], &files[1]]) else { return };
    let vault = |http| {
        let options = AzureOptions::new(ID, application(&fake.address())).endpoint(fake.address());
        AzureKeyVault::new(&options.http(http)).unwrap()
    };
    let good = vault(trusting(&files[0]));
    let wrapped = good.wrap("disks", &dek()).unwrap();
    assert_eq!(good.unwrap(&wrapped).unwrap().unwrap().expose(), conformance::DEK);
    for http in [HttpOptions::new(), trusting(&other[0])] {
        for (call, error) in conformance::failures(&vault(http.clone()), &wrapped) {
            assert!(matches!(error, Error::Vault(_)), "{call}: {error:?}");
            let shown = format!("{error:#}");
            // At once: another attempt finds the same certificate.
            assert!(shown.contains("trust the root of its certificate") && !shown.contains("attempts"), "{shown}");
        }
    }
}
