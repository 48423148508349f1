//! URLs that are stores of fleets, and others; on real servers where the build has their engines.

use atrest::Error;
use atrest_stores::{FleetStore, FleetStoreOptions, fleet_schemes};

fn refused(url: &str) -> String {
    let error = FleetStore::from_url(url, &FleetStoreOptions::new()).err().unwrap_or_else(|| panic!("{url}"));
    assert!(matches!(error, Error::InvalidOption(_)), "{url}: {error}");
    let text = error.to_string();
    assert!(!text.contains("s3cret"), "{text}");
    text
}

#[test]
fn a_file_is_a_store_of_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet.redb");
    for url in [format!("file:{}", path.display()), format!("file://{}", path.display())] {
        let store = FleetStore::from_url(&url, &FleetStoreOptions::new()).unwrap();
        assert!(matches!(&store, FleetStore::File(found) if *found == path) && !store.is_shared());
        // To look at a store makes none.
        assert!(matches!(store.existing().map(drop), Err(Error::NotFound { .. })));
        assert!(matches!(store.check(), Err(Error::NotFound { .. })));
    }
    assert!(!path.exists());
    let store = FleetStore::from_url(&format!("file:{}", path.display()), &FleetStoreOptions::new()).unwrap();
    let held = store.records().unwrap();
    assert!(matches!(store.records().map(drop), Err(Error::Busy { .. })));
    drop(held);
    assert!(store.check().unwrap().is_sound());
}

#[test]
fn what_is_no_store_is_refused_and_not_repeated() {
    for url in ["", "file:", "fleet.redb", "mysql://s3cret@host/x", "file://host/s3cret", "FILE:/s3cret"] {
        refused(url);
    }
    for (scheme, feature) in
        [("postgres", "postgres"), ("postgresql", "postgres"), ("etcd", "etcd"), ("etcd+http", "etcd")]
    {
        if !fleet_schemes().any(|known| known == format!("{scheme}:")) {
            let why = refused(&format!("{scheme}://s3cret"));
            assert!(why.contains(&format!("the feature {feature}")), "{why}");
        }
    }
}

/// A pipe would hang whoever opens a store.
#[cfg(any(feature = "postgres", feature = "etcd"))]
#[test]
fn a_pipe_in_place_of_a_file_that_a_url_names_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    for (url, names) in [
        ("postgres://disks@127.0.0.1:1/disks", &["password-file", "sslrootcert", "sslcert", "sslkey"][..]),
        ("etcd+http://disks@127.0.0.1:1", &["password-file", "ca", "cert", "key"]),
    ] {
        let scheme = &url[..=url.find(':').unwrap()];
        for name in names.iter().filter(|_| fleet_schemes().any(|known| known == scheme)) {
            let url = format!("{url}?{name}={}", path.display());
            let (done, waiting) = std::sync::mpsc::channel();
            std::thread::spawn(move || done.send(FleetStore::from_url(&url, &FleetStoreOptions::new()).err()));
            let error = waiting.recv_timeout(std::time::Duration::from_secs(20)).expect("it waits").unwrap();
            let text = format!("{error:#}");
            assert!(
                text.contains(path.to_str().unwrap()) && text.contains("it is a pipe (FIFO), not a file"),
                "{name}: {text}"
            );
        }
    }
}

#[cfg(feature = "postgres")]
#[test]
fn a_url_of_postgresql_has_no_password_and_no_half_of_a_certificate() {
    for url in [
        "postgres://disks:s3cret@db/disks",
        "postgres://db/disks?password=s3cret",
        "postgres:///?user=a&password=s3cret",
        // Passwords with a character that ends the hosts, or the address: the engine takes all before the @ as the user's password.
        "postgres://disks:pa/s3cret@db/disks",
        "postgres://disks:s3cret/ss@db/disks",
        "postgres://disks:pa?s3cret@db/disks",
        "postgres://disks:pa#s3cret@db/disks",
        "postgres://disks:s3cret@pa@db/disks",
        "postgres://disks@of:s3cret@db/disks",
    ] {
        assert!(refused(url).contains("PGPASSWORD"), "{url}");
    }
    refused("postgres://db/disks?standby=s3cret");
    refused("postgres://db/disks?migrate=s3cret");
    refused("postgres://db/disks?deadline=s3cret");
    refused("postgres://db/disks?schema=a&schema=s3cret");
    refused("postgres://db/disks?no_such_parameter=s3cret");
    refused("postgres://db/disks?s3cret");
    refused("postgres://db/disks?s3cret=x");
    refused("postgres://db:s3cret/disks");
    refused("postgres://disks@of:s3cret/x@db/disks");
    refused("postgres://db/disks?schema=%zs3cret");
    refused("postgres://db/disks?sslmode=disable");
    let missing = FleetStore::from_url("postgres://db/d?sslrootcert=/no/such", &FleetStoreOptions::new()).unwrap_err();
    assert!(matches!(missing, Error::Io { .. }) && missing.to_string().contains("/no/such"), "{missing}");
}

#[cfg(feature = "etcd")]
#[test]
fn a_url_of_etcd_has_no_password_and_plain_http_stays_here() {
    for url in [
        "etcd://root:s3cret@e1",
        "etcd://e1?password=s3cret",
        // Passwords with a character that ends the hosts, or the address.
        "etcd://root:s3cret$/ss@e1",
        "etcd://root:s3cret$?x@e1",
        "etcd://root:pa/s3cret@e1",
        "etcd://root:s3cret#x@e1",
        "etcd://root@of:s3cret@e1",
    ] {
        assert!(refused(url).contains("ETCDCTL_PASSWORD"), "{url}");
    }
    for url in [
        "etcd:e1",
        "etcd://",
        "etcd://e1,,e2",
        "etcd://root:s3cret",
        "etcd://e1,root:s3cret",
        "etcd://[::1]:s3cret",
        "etcd://e1:",
        "etcd://root@of:s3cret/x@e1",
        "etcd://e1?s3cret=1",
        "etcd+http://e1.example",
    ] {
        refused(url);
    }
    let certificate = tempfile::NamedTempFile::new().unwrap();
    assert!(refused(&format!("etcd://e1?cert={}", certificate.path().display())).contains("belong together"));
    // A user without a password.
    if std::env::var_os("ETCDCTL_PASSWORD").is_none() {
        refused("etcd://root@e1");
    }
}

#[cfg(all(unix, feature = "etcd", feature = "postgres"))]
#[path = "../../../tests/common/peers.rs"]
mod peers;
#[cfg(all(unix, feature = "etcd", feature = "postgres"))]
#[path = "../../../tests/common/servers.rs"]
mod servers;

/// From a file to PostgreSQL, on to etcd, and back to a file: the records are the same.
#[cfg(all(unix, feature = "etcd", feature = "postgres"))]
#[test]
fn records_move_between_all_engines_and_back() {
    use atrest::Secret;
    use atrest::managed::{
        DiskFolder, DiskService, FleetView, HostOptions, KnownVaults, NewDisk, ResourceName, ServiceOptions,
    };
    use atrest::vault::{FileVault, KdfCost, Unlock};
    use std::sync::Arc;

    let peer = |program: &str| peers::peer(program, &["--version"]).is_some();
    let (Some(database), Some(cluster)) = (servers::postgres(peer), servers::etcd(peer)) else { return };
    let folder = tempfile::tempdir().unwrap();
    let cheap = KdfCost::new(64, 1, 1);
    let vault = FileVault::create_with_cost(folder.path().join("vault"), Unlock::Passphrase(b"p"), cheap).unwrap();
    vault.create_key("platform").unwrap();
    let options = || {
        let backend = Arc::new(DiskFolder::new(folder.path()));
        ServiceOptions::new(backend, Arc::new(KnownVaults::new()), Arc::new(vault.clone()), "platform")
    };
    let host = HostOptions::new("one");
    let told = |service: &DiskService| -> Vec<String> {
        (0..70).map(|n| service.resource(&ResourceName::disk(format!("d{n}"))).unwrap().to_json()).collect()
    };
    let secrets =
        FleetStoreOptions::new().secrets(|name| Ok((name == "PGPASSWORD").then(|| Secret::copy_from(b"secret"))));
    let open = |url: String| FleetStore::from_url(&url, &secrets).unwrap();
    let file = |name: &str| open(format!("file:{}", folder.path().join(name).display()));
    let password = folder.path().join("password");
    std::fs::write(&password, "secret\n").unwrap();

    let address = format!("postgres://postgres@127.0.0.1:{}/postgres?standby=none&schema=of_disks", database.port);
    let (first, last) = (file("first.redb"), file("last.redb"));
    let in_database = open(address.clone());
    let in_cluster = open(format!("etcd+http://127.0.0.1:{}/fleets/north", cluster.port));
    let service = first.open_service(&host, options()).unwrap();
    for n in 0..70 {
        let disk = NewDisk::new(format!("d{n}"), 64 << 10).region("north").subscription("one");
        service.create_disk(&disk).unwrap();
    }
    let before = told(&service);
    drop(service);
    let count = first.copy_to(&in_database).unwrap();
    assert!(count >= 140, "{count}");
    assert!(matches!(first.copy_to(&in_database), Err(Error::Io { .. })), "it was moved");
    let service = in_database.open_service(&host, options()).unwrap();
    assert_eq!(told(&service), before);
    let view = FleetView::new(in_database.records().unwrap());
    assert_eq!(view.hosts().unwrap()[0].name, "one");
    let held = service.open_disk("d3").unwrap();
    assert_eq!(view.attachments(None, 10).unwrap()[0].resource, Some(ResourceName::disk("d3")));
    assert!(matches!(in_database.copy_to(&in_cluster), Err(Error::Busy { .. })), "a host has it open");
    drop((held, service));
    assert!(in_database.check().unwrap().is_sound());
    in_database.copy_to(&in_cluster).unwrap();
    let service = in_cluster.open_service(&host, options()).unwrap();
    assert_eq!(told(&service), before);
    drop(service);
    in_cluster.copy_to(&last).unwrap();
    assert!(last.check().unwrap().is_sound());
    let service = last.open_service(&host, options()).unwrap();
    assert_eq!(told(&service), before);

    // By a file with the password, by a wrong one, and by none. The process has none.
    let by = |more: &str| FleetStore::from_url(&format!("{address}&deadline=4{more}"), &FleetStoreOptions::new());
    by(&format!("&password-file={}", password.display())).unwrap();
    std::fs::write(&password, "wrong-s3cret").unwrap();
    let error = by(&format!("&password-file={}", password.display())).unwrap_err();
    assert!(!format!("{error:#}").contains("s3cret"), "{error:#}");
    if std::env::var_os("PGPASSWORD").is_none() {
        by("").unwrap_err();
    }
}
