//! A day of a disk service: sets, disks of all three types, a rotation, a key that is revoked and restored, snapshots,
//! and the way from a customer's key back to the platform's. `day_in_the_life.c` does the same in C.
//!
//! `cargo run --example day_in_the_life`

use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use atrest::managed::{
    CapabilityTable, DiskFolder, DiskService, KnownVaults, NewCopy, NewDisk, NewSet, NewSnapshot, ResourceName,
    ServiceOptions,
};
use atrest::vault::{FileVault, KeyOperation, Unlock, VaultOptions, VersionChange};
use atrest::{EncryptionType, ManualClock};
use clap::Parser;

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const MORNING: u64 = 1_700_000_000;
const REGION: &str = "north";
const COMPANY: &str = "contoso";

/// Plays a day of a disk service in a temporary folder, and tells of it.
#[derive(Parser)]
#[command(after_help = "Example:\n  cargo run --example day_in_the_life")]
struct Args {}

fn main() -> ExitCode {
    let Args {} = Args::parse();
    match day() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // The reader of the pipe closed it, as `head` does. It wants no more output.
            if e.downcast_ref::<io::Error>().is_none_or(|e| e.kind() != ErrorKind::BrokenPipe) {
                eprintln!("error: {e:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn day() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // A clock set by hand, so that an hour takes no time.
    let clock = Arc::new(ManualClock::new(MORNING));

    step("08:00", "The platform has a vault of its own, and Contoso brings one with a key")?;
    let platform = make_vault(folder.path(), "platform", &clock)?;
    platform.create_key("floor")?;
    let contoso = make_vault(folder.path(), "contoso", &clock)?;
    let first = contoso.create_key("disks")?;
    say(&format!("{first}"))?;

    let vaults = KnownVaults::new();
    vaults.add_file(contoso.clone())?;
    std::fs::create_dir(folder.path().join("disks"))?;
    let service = DiskService::open(
        folder.path().join("fleet.redb"),
        ServiceOptions::new(
            Arc::new(DiskFolder::new(folder.path().join("disks"))),
            Arc::new(vaults),
            Arc::new(platform),
            "floor",
        )
        .clock(clock.clone())
        .parallel(4)
        .rotation_interval(Duration::from_secs(900)),
    )?;

    step("08:10", "Two sets under Contoso's key; its vault grants their identities access")?;
    for (name, encryption_type) in
        [("single", EncryptionType::CustomerKey), ("double", EncryptionType::PlatformAndCustomerKeys)]
    {
        let set = service.create_set(
            &NewSet::new(name, first.clone())
                .region(REGION)
                .subscription(COMPANY)
                .tenant(COMPANY)
                .encryption_type(encryption_type)
                .auto_rotation(true),
        )?;
        contoso.grant(&set.identity, &[KeyOperation::Get, KeyOperation::WrapKey, KeyOperation::UnwrapKey])?;
        say(&format!("{name}: {}", set.identity))?;
    }

    step("08:20", "Three disks: under the platform's key, under Contoso's, under both")?;
    for (name, set) in [("plain", None), ("db", Some("single")), ("vip", Some("double"))] {
        let disk = service.create_disk(
            &NewDisk::new(name, 4 << 20).region(REGION).subscription(COMPANY).sector_size(4096).encryption_set(set),
        )?;
        service.open_disk(name)?.write_at(0, &page(name))?;
        say(&format!("{name}: {}", disk.encryption_type.name()))?;
    }
    let db = service.open_disk("db")?;

    step("09:00", "A snapshot of db before the work begins")?;
    for (name, incremental) in [("db-whole", false), ("db-1", true)] {
        snapshot(&service, name, incremental)?;
    }

    step("10:00", "Contoso rotates its key; the service takes the new version up by itself, db stays open")?;
    let second = contoso.rotate_key("disks")?;
    clock.advance(Duration::from_secs(2 * 3600));
    for (set, rotation) in service.auto_rotate(&|_| {})? {
        let rotation = rotation?;
        assert_eq!(rotation.key, second);
        say(&format!("{set}: {} wrapped anew under version {}", rotation.rewrapped, rotation.key.version()))?;
    }
    contoso.set_version(&first, VersionChange::new().enabled(false))?;
    db.write_at(4096, &page("what came after the rotation"))?;
    snapshot(&service, "db-2", true)?;
    say("version 1 is disabled; db is read and written")?;

    step("12:00", "Contoso disables the key")?;
    contoso.set_version(&second, VersionChange::new().enabled(false))?;
    clock.advance(Duration::from_secs(3600));
    service.maintain();
    let refused = db.read_at(0, &mut [0; 4096]).expect_err("it has no key");
    assert!(db.is_suspended());
    say(&format!("db: {refused}"))?;
    say("plain is under the platform's key, and goes on")?;
    assert_eq!(read(&service, "plain", 0)?, page("plain"));

    step("13:00", "And enables it again: nothing is lost")?;
    contoso.set_version(&second, VersionChange::new().enabled(true))?;
    clock.advance(Duration::from_secs(60));
    for name in ["db", "vip"] {
        assert_eq!(read(&service, name, 0)?, page(name));
    }
    say("db and vip hold what they held")?;

    step("15:00", "db leaves Contoso's key: a copy of it goes under the platform's")?;
    let copies = [("db-copy", ResourceName::disk("db")), ("db-morning", ResourceName::snapshot("db-1"))];
    for (name, source) in copies {
        let (name, region, subscription) = (name, REGION, COMPANY);
        let copy = service.create_disk_from(
            &source,
            &NewCopy::new(name).region(region).subscription(subscription),
            &|_| {},
        )?;
        assert_eq!(read(&service, &copy.name, 0)?, page("db"));
        say(&format!("{} from {source}: {}", copy.name, copy.encryption_type.name()))?;
    }
    assert_eq!(read(&service, "db-copy", 4096)?, page("what came after the rotation"));
    assert_ne!(read(&service, "db-morning", 4096)?, page("what came after the rotation"));

    step("18:00", "What protects what")?;
    for report in service.reports()? {
        let resource = &report.resource;
        let status = serde_json::to_value(report.status)?;
        say(&format!(
            "{:22} {:27} {:9} {}",
            resource.full_name().to_string(),
            resource.encryption_type.name(),
            status.as_str().unwrap_or_default(),
            report.keys.join(", ")
        ))?;
    }
    writeln!(io::stdout(), "\nAnd what each option gives, with how much of it this version has:\n")?;
    for line in CapabilityTable::whole().lines() {
        writeln!(io::stdout(), "{line}")?;
    }
    let uses = contoso.audit()?.count();
    writeln!(io::stdout(), "\nContoso's vault has {uses} lines in its log, a use or a change each.")?;
    Ok(())
}

fn make_vault(folder: &Path, name: &str, clock: &Arc<ManualClock>) -> Result<FileVault> {
    let root = folder.join(format!("{name}.root"));
    FileVault::generate_key_file(&root)?;
    let options = VaultOptions::new()
        .id(&format!("https://{name}.vault.example"))
        .region(REGION)
        .tenant(COMPANY)
        .purge_protection(true);
    let vault = FileVault::create_with(folder.join(format!("{name}.vault")), Unlock::KeyFile(&root), &options)?;
    Ok(vault.with_clock(clock.clone()))
}

fn snapshot(service: &DiskService, name: &str, incremental: bool) -> Result<()> {
    let new = NewSnapshot::new(name, "db").incremental(incremental);
    let made = service.create_snapshot(&new, &|_| {})?;
    say(&format!(
        "{name}: {}, under a key of its own",
        if made.increment.is_some() { "incremental" } else { "whole" }
    ))?;
    Ok(())
}

/// The content of a disk at an offset.
fn read(service: &DiskService, disk: &str, offset: u64) -> Result<Vec<u8>> {
    let mut bytes = vec![0; 4096];
    service.open_disk(disk)?.read_at(offset, &mut bytes)?;
    Ok(bytes)
}

/// A sector with this text.
fn page(text: &str) -> Vec<u8> {
    let mut bytes = format!("{text} was here").into_bytes();
    bytes.resize(4096, b'.');
    bytes
}

fn step(time: &str, title: &str) -> io::Result<()> {
    writeln!(io::stdout(), "\n{time}  {title}")
}

fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "       {line}")
}
