//! TLS with a CA of one's own, and certificates of clients.

use std::fs;
use std::path::Path;

use atrest::managed::store::Store;
use atrest_store_etcd::{EtcdStore, Hidden, HttpOptions};

use crate::peers::{peer, run, text};
use crate::server::Etcd;

/// Makes a CA, another, and certificates of the first for this machine and for a client.
fn certificates(openssl: &str, folder: &Path) {
    let file = |name: &str| text(&folder.join(name)).to_owned();
    let new = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"];
    for name in ["ca", "other"] {
        let subject = format!("/CN={name}");
        let more = ["-subj", &subject, "-keyout", &file(&format!("{name}.key")), "-out", &file(&format!("{name}.pem"))];
        run(openssl, &[&new[..], &more].concat());
    }
    for (name, names) in [("server", "IP:127.0.0.1"), ("disks", "DNS:client")] {
        let (subject, names) = (format!("/CN={name}"), format!("subjectAltName={names}"));
        let more = ["-CA", &file("ca.pem"), "-CAkey", &file("ca.key"), "-addext", "basicConstraints=critical,CA:FALSE"];
        let (key, pem) = (file(&format!("{name}.key")), file(&format!("{name}.pem")));
        let usage = ["-addext", "extendedKeyUsage=serverAuth,clientAuth"];
        let out = ["-subj", &subject, "-addext", &names, "-keyout", &key, "-out", &pem];
        run(openssl, &[&new[..], &more, &usage, &out].concat());
    }
}

#[test]
fn tls_needs_the_own_ca_and_shows_the_clients_certificate() {
    let Some(openssl) = peer("openssl", &["version"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    certificates(&openssl, folder.path());
    let file = |name: &str| text(&folder.path().join(name)).to_owned();
    let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
    let key = |name: &str| Hidden::new(fs::read_to_string(folder.path().join(name)).unwrap());
    let arguments = ["--cert-file", &file("server.pem"), "--key-file", &file("server.key")];
    let demands = ["--client-cert-auth", "--trusted-ca-file", &file("ca.pem")];
    let arguments: Vec<String> = arguments.iter().chain(&demands).map(|&argument| argument.to_owned()).collect();
    let trusting = HttpOptions::new().root_certificates(read("ca.pem"));
    let shown = trusting.clone().client_certificate(read("disks.pem"), key("disks.key"));
    let Some(etcd) = Etcd::start_with(1, "https", shown.clone(), &arguments) else { return };
    let open =
        |http: HttpOptions| EtcdStore::open(&etcd.options(0).deadline(std::time::Duration::from_secs(8)).http(http));
    assert!(open(shown).unwrap().get(&["a"]).unwrap()[0].is_none());
    let refused = |what: &str, http: HttpOptions, why: &str| {
        let error = format!("{:#}", open(http).unwrap_err());
        assert!(error.to_lowercase().contains(why), "{what}: {error}");
    };
    refused("no certificate", trusting.clone(), "certificate");
    refused("another CA", HttpOptions::new().root_certificates(read("other.pem")), "certificate");
    refused("the world's CAs", HttpOptions::new(), "certificate");
    let own = trusting.client_certificate(read("other.pem"), key("other.key"));
    refused("a certificate of another CA", own, "certificate");
}
