//! TLS with a CA of one's own, and certificates of clients.

use std::fs;
use std::path::Path;

use atrest::managed::store::Store;
use atrest_store_postgres::{PostgresOptions, PostgresStore};

use crate::peers::{peer, run, text};
use crate::server::{Postgres, own};

/// Makes a CA, and certificates of it for this machine and for the user `postgres`.
fn certificates(openssl: &str, folder: &Path) {
    let file = |name: &str| text(&folder.join(name)).to_owned();
    let new = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"];
    for name in ["ca", "other"] {
        let subject = format!("/CN={name}");
        let more = ["-subj", &subject, "-keyout", &file(&format!("{name}.key")), "-out", &file(&format!("{name}.pem"))];
        run(openssl, &[&new[..], &more].concat());
    }
    for (name, alternative) in [("server", "IP:127.0.0.1"), ("postgres", "DNS:client")] {
        let (subject, names) = (format!("/CN={name}"), format!("subjectAltName={alternative}"));
        let more = ["-CA", &file("ca.pem"), "-CAkey", &file("ca.key"), "-addext", "basicConstraints=critical,CA:FALSE"];
        let out = [
            "-subj",
            &subject,
            "-addext",
            &names,
            "-keyout",
            &file(&format!("{name}.key")),
            "-out",
            &file(&format!("{name}.pem")),
        ];
        run(openssl, &[&new[..], &more, &out].concat());
    }
}

#[test]
fn tls_needs_the_own_ca_and_shows_the_clients_certificate() {
    let Some(openssl) = peer("openssl", &["version"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    own(folder.path());
    certificates(&openssl, folder.path());
    let setting = |name: &str, file: &str| format!("{name}={}", folder.path().join(file).display());
    for name in ["server.key", "server.pem", "ca.pem"] {
        own(&folder.path().join(name));
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let rules = folder.path().join("hba");
    fs::write(&rules, "hostssl all all 127.0.0.1/32 cert\nlocal all all trust\n").unwrap();
    own(&rules);
    let settings = [
        "ssl=on".to_owned(),
        setting("ssl_key_file", "server.key"),
        setting("ssl_cert_file", "server.pem"),
        setting("ssl_ca_file", "ca.pem"),
        setting("hba_file", "hba"),
    ];
    let Some(server) = Postgres::start_with(&settings.each_ref().map(String::as_str)) else { return };
    let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
    let plain = PostgresOptions::new(&server.address()).unwrap().without_standby();
    let plain = plain.deadline(std::time::Duration::from_secs(4));
    let trusting = plain.clone().root_certificates(read("ca.pem"));
    let shown = trusting.clone().client_certificate(read("postgres.pem"), read("postgres.key"));
    let store = PostgresStore::open(&shown).unwrap();
    assert!(store.get(&["a"]).unwrap()[0].is_none());
    let encrypted =
        "SELECT bool_and(ssl) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE application_name = 'atrest'";
    let sockets = text(server.folder()).to_owned();
    let port = server.port.to_string();
    assert_eq!(run("psql", &["-X", "-At", "-h", &sockets, "-p", &port, "-U", "postgres", "-c", encrypted]).trim(), "t");

    let refused = |what: &str, options: &PostgresOptions, why: &str| {
        let error = format!("{:#}", PostgresStore::open(options).unwrap_err());
        assert!(error.contains(why), "{what}: {error}");
    };
    refused("no TLS", &plain, "pg_hba");
    refused("no certificate", &trusting, "28000");
    refused("another CA", &shown.clone().root_certificates(read("other.pem")), "certificate");
    refused("another key", &trusting.clone().client_certificate(read("postgres.pem"), read("ca.key")), "key");
    let address = server.address().replace("127.0.0.1", "localhost");
    let other = PostgresOptions::new(&address).unwrap().without_standby().root_certificates(read("ca.pem"));
    refused("another name", &other.deadline(std::time::Duration::from_secs(4)), "certificate");
}
