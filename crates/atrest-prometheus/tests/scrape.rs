//! The metrics that a scraper reads of a service, and that `docs/metrics.md` lists them.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use atrest::managed::store::{Fault, MemoryStore};
use atrest::managed::{
    DiskFolder, DiskService, HostOptions, KnownVaults, METRICS, MetricKind, NewDisk, NewSet, ServiceOptions,
};
use atrest::vault::{FileVault, KdfCost, KeyOperation, Unlock, VaultOptions, VersionChange};
use atrest::{Error, KeyVault, ManualClock};
use atrest_prometheus::Endpoint;

fn get(address: SocketAddr, path: &str) -> String {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.write_all(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

/// The samples of a page, by name with labels in the order in which they are written.
fn scrape(address: SocketAddr) -> BTreeMap<String, f64> {
    let answer = get(address, "/metrics");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("text/plain; version=0.0.4"), "{head}");
    let samples = body.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    samples
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.into(), value.parse().unwrap()))
        .collect()
}

/// The name of a metric without labels, and without what a histogram appends.
fn family(sample: &str) -> &str {
    let name = sample.split('{').next().unwrap();
    let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
    histogram.filter(|name| name.ends_with("_seconds")).unwrap_or(name)
}

/// The rows of the list in the documentation: names, kinds, and the labels' names.
fn documented() -> BTreeMap<String, (String, Vec<String>)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `atrest_"));
    let rows = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>()).filter(|cells| cells.len() == 6);
    let rows = rows.map(|cells| {
        let labels = cells[3].split("; ").filter_map(|label| label.strip_prefix('`')?.split_once("`: "));
        let labels: Vec<String> = labels.map(|(name, _)| name.to_owned()).collect();
        (format!("atrest_{}", cells[0].trim_end_matches('`')), (cells[1].to_owned(), labels))
    });
    rows.collect()
}

/// Sends a byte now and then, until the other end has enough.
fn trickle(address: SocketAddr) {
    let mut connection = TcpStream::connect(address).unwrap();
    // The first byte after the other end has closed is taken, and the next one fails.
    let sent = (0..100).take_while(|_| {
        std::thread::sleep(Duration::from_millis(200));
        connection.write_all(b"G").is_ok()
    });
    assert!(sent.count() < 60, "nobody cut it off");
}

#[test]
fn a_scraper_reads_what_happened() {
    let endpoint = Endpoint::bind("127.0.0.1:0").unwrap();
    let address = endpoint.address();
    assert!(Endpoint::bind("127.0.0.1:0").is_err(), "a process has one recorder");
    // Clients that never end their request are cut off, and others are answered meanwhile.
    let slow: Vec<_> = (0..3).map(|_| std::thread::spawn(move || trickle(address))).collect();
    assert!(get(address, "/metrics").starts_with("HTTP/1.1 503 "));
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(1_700_000_000));
    let cost = KdfCost::new(64, 1, 1);
    let vault = |name: &str| {
        let options = VaultOptions::new().kdf_cost(cost).region("north").tenant("contoso").purge_protection(true);
        let vault = FileVault::create_with(folder.path().join(name), Unlock::Passphrase(b"a test's"), &options);
        vault.unwrap().with_clock(clock.clone())
    };
    let (platform, contoso) = (vault("platform"), vault("contoso"));
    platform.create_key("disks").unwrap();
    let key = contoso.create_key("disks").unwrap();
    let id = contoso.as_identity("").id().to_owned();
    let vaults = KnownVaults::new();
    vaults.add_file(contoso.clone()).unwrap();
    std::fs::create_dir(folder.path().join("disks")).unwrap();
    let disks = DiskFolder::new(folder.path().join("disks"));
    let options =
        ServiceOptions::new(Arc::new(disks), Arc::new(vaults), Arc::new(platform), "disks").clock(clock.clone());
    let store = MemoryStore::new();
    let host = HostOptions::new("host").lease(Duration::from_secs(60)).renews_by_itself(false);
    let service = Arc::new(DiskService::open_shared(Arc::new(store.clone()), &host, options).unwrap());
    endpoint.serve(&service);

    let set = NewSet::new("set", key).region("north").subscription("one").tenant("contoso");
    let set = service.create_set(&set).unwrap();
    contoso.grant(&set.identity, &[KeyOperation::Get, KeyOperation::WrapKey, KeyOperation::UnwrapKey]).unwrap();
    for name in ["a", "b", "c"] {
        let disk = NewDisk::new(name, 64 << 10).region("north").subscription("one").encryption_set(Some("set"));
        service.create_disk(&disk).unwrap();
    }
    let open = service.open_disk("a").unwrap();
    let mut sector = [0; 512];
    open.read_at(0, &mut sector).unwrap();
    let second = contoso.rotate_key("disks").unwrap();
    assert_eq!(service.rotate_set("set", &|_| ()).unwrap().rewrapped, 3);
    service.maintain();

    let now = scrape(address);
    let at = |now: &BTreeMap<String, f64>, sample: &str| {
        now.get(sample).copied().unwrap_or_else(|| panic!("{sample}: {now:#?}"))
    };
    for (sample, value) in [
        ("atrest_disks_open", 1.0),
        ("atrest_disks_suspended", 0.0),
        ("atrest_attachments", 1.0),
        ("atrest_hosts", 1.0),
        ("atrest_host_lost", 0.0),
        ("atrest_host_lease_seconds", 60.0),
        ("atrest_rotations_running", 0.0),
        ("atrest_rotated_total", 3.0),
        (r#"atrest_rotations_total{outcome="finished"}"#, 1.0),
        (r#"atrest_rotations_total{outcome="failed"}"#, 0.0),
        (r#"atrest_io_refused_total{reason="key_revoked"}"#, 0.0),
        (r#"atrest_key_leases{state="revoked"}"#, 0.0),
    ] {
        assert_eq!(at(&now, sample), value, "{sample}");
    }
    assert!(at(&now, r#"atrest_key_leases{state="valid"}"#) >= 1.0);
    let wraps = |now: &BTreeMap<String, f64>, outcome: &str| {
        let wraps = now.iter().filter(|(name, _)| name.starts_with("atrest_vault_call_seconds_count"));
        let wraps = wraps.filter(|(name, _)| name.contains(&format!("\"{id}\"")) && name.contains("\"wrap\""));
        wraps.filter(|(name, _)| name.contains(&format!("\"{outcome}\""))).map(|(_, count)| count).sum::<f64>()
    };
    // Each disk was wrapped when it was made, and again; and the key was tried out.
    assert_eq!((wraps(&now, "ok"), wraps(&now, "refused")), (7.0, 0.0), "{now:#?}");
    assert!(
        now.keys().any(|name| name.starts_with("atrest_store_call_seconds_bucket") && name.contains("le=\"0.001\""))
    );

    // Metrics without a recorder are the same.
    let json: serde_json::Value = serde_json::from_str(&service.metrics().to_json()).unwrap();
    assert_eq!((&json["rotations"]["moved"], &json["host"]["attachments"]), (&3.into(), &1.into()));
    let wrapped =
        json["vault_calls"].as_array().unwrap().iter().filter(|of| of["vault"] == *id && of["operation"] == "wrap");
    assert_eq!(wrapped.map(|of| of["times"]["count"].as_u64().unwrap()).sum::<u64>(), 7);

    // The key is disabled; and the store doesn't answer, so that the lease of the host runs out.
    contoso.set_version(&second, VersionChange::new().enabled(false)).unwrap();
    clock.advance(Duration::from_secs(3600));
    service.renew_host_lease().unwrap();
    service.maintain();
    for _ in 0..2 {
        assert!(matches!(open.read_at(0, &mut sector), Err(Error::DiskSuspended { .. })));
    }
    store.set_faults(|_| Some(Fault::Before));
    clock.advance(Duration::from_secs(60));
    assert!(service.renew_host_lease().is_err());
    for _ in 0..3 {
        assert!(open.write_at(0, &sector).is_err());
    }
    let now = scrape(address);
    for (sample, value) in [
        (r#"atrest_io_refused_total{reason="key_revoked"}"#, 2.0),
        (r#"atrest_io_refused_total{reason="host_lease_ended"}"#, 3.0),
        (r#"atrest_host_renewals_total{outcome="failed"}"#, 1.0),
        (r#"atrest_key_leases{state="revoked"}"#, 1.0),
        ("atrest_disks_suspended", 1.0),
        ("atrest_host_lease_seconds", 0.0),
    ] {
        assert_eq!(at(&now, sample), value, "{sample}");
    }
    // A page twice says the same: counts aren't told twice.
    assert_eq!(at(&scrape(address), r#"atrest_io_refused_total{reason="host_lease_ended"}"#), 3.0);

    // The documentation lists what there is, with its labels.
    let documented = documented();
    let kind = |kind| match kind {
        MetricKind::Gauge => "gauge",
        MetricKind::Counter => "counter",
        MetricKind::Histogram => "histogram",
        other => panic!("{other:?}"),
    };
    let listed: BTreeMap<_, _> = documented.iter().map(|(name, (kind, _))| (name.as_str(), kind.as_str())).collect();
    assert_eq!(listed, METRICS.iter().map(|(name, of, _)| (*name, kind(*of))).collect());
    for sample in now.keys() {
        let (_, labels) = &documented[family(sample)];
        let found = sample.split_once('{').map_or("", |(_, labels)| labels.trim_end_matches('}'));
        let found = found.split("\",").filter_map(|label| label.split_once('=')).map(|(name, _)| name);
        let found: Vec<&str> = found.filter(|name| *name != "le").collect();
        assert_eq!(labels, &found, "{sample}");
    }
    for (name, ..) in METRICS {
        assert!(now.keys().any(|sample| family(sample) == name), "{name} was not told");
    }

    assert!(get(address, "/").starts_with("HTTP/1.1 404 "));
    drop((open, service));
    assert!(get(address, "/metrics").starts_with("HTTP/1.1 503 "));
    slow.into_iter().for_each(|client| client.join().unwrap());
}
