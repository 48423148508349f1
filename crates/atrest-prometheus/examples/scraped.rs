//! A disk service whose metrics Prometheus reads.
//!
//! `cargo run -p atrest-prometheus --example scraped -- 127.0.0.1:9464`, and then `curl http://127.0.0.1:9464/metrics`.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use atrest::managed::{DiskFolder, DiskService, KnownVaults, NewDisk, NewSet, ServiceOptions};
use atrest::vault::{FileVault, KeyOperation, Unlock, VaultOptions};
use atrest_prometheus::Endpoint;

const HELP: &str = "scraped [ADDRESS]

Serves the metrics of a disk service at http://ADDRESS/metrics, until it is stopped. ADDRESS is 127.0.0.1:9464 by default.";

fn main() -> ExitCode {
    let argument = std::env::args_os().nth(1).map(|given| given.to_string_lossy().into_owned());
    if argument.as_deref().is_some_and(|argument| argument.starts_with('-')) {
        // It is fine if nobody reads it.
        let _ = writeln!(io::stdout(), "{HELP}");
        return if argument.as_deref() == Some("--help") { ExitCode::SUCCESS } else { ExitCode::from(2) };
    }
    match serve(&argument.unwrap_or_else(|| "127.0.0.1:9464".into())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("scraped: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(address: &str) -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = Endpoint::bind(address)?;
    writeln!(io::stdout(), "http://{}/metrics", endpoint.address())?;

    let folder = tempfile::tempdir()?;
    let vault = |name: &str| {
        let options = VaultOptions::new().region("north").tenant("contoso").purge_protection(true);
        FileVault::create_with(folder.path().join(name), Unlock::Passphrase(b"an example's"), &options)
    };
    let (platform, contoso) = (vault("platform")?, vault("contoso")?);
    platform.create_key("disks")?;
    let key = contoso.create_key("disks")?;
    let vaults = KnownVaults::new();
    vaults.add_file(contoso.clone())?;
    std::fs::create_dir(folder.path().join("disks"))?;
    let disks = DiskFolder::new(folder.path().join("disks"));
    let options = ServiceOptions::new(Arc::new(disks), Arc::new(vaults), Arc::new(platform), "disks");
    let service = Arc::new(DiskService::open(folder.path().join("fleet.redb"), options)?);
    endpoint.serve(&service);

    let set = NewSet::new("set", key).region("north").subscription("one").tenant("contoso");
    let set = service.create_set(&set)?;
    contoso.grant(&set.identity, &[KeyOperation::Get, KeyOperation::WrapKey, KeyOperation::UnwrapKey])?;
    let disk = NewDisk::new("disk", 1 << 20).region("north").subscription("one").encryption_set(Some("set"));
    service.create_disk(&disk)?;
    let _open = service.open_disk("disk")?;
    // As a service does about once a minute.
    loop {
        service.maintain();
        thread::sleep(Duration::from_secs(60));
    }
}
