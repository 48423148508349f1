//! A rehearsal of disasters: store, vaults and disks are backed up at one time, life goes on, and each is restored to that time,
//! singly and together. What is detected and what is lost is as the table in docs/operate.md says.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use atrest::managed::{
    DiskFolder, DiskService, KnownVaults, NewDisk, NewSet, NewSnapshot, RebuildSources, ResourceKind, ResourceName,
    ServiceOptions, StoreCheck, rebuild,
};
use atrest::vault::{FileVault, KdfCost, KeyOperation, Unlock, VaultOptions};
use atrest::{EncryptionType, Error, KeyVault};

const SIZE: u64 = 256 << 10;

/// An installation in one folder: `store`, `vaults` and `disks`.
struct Site {
    folder: tempfile::TempDir,
}

/// What is restored to the time of the backup.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Store,
    Vaults,
    Disks,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Part::Store => "store",
            Part::Vaults => "vaults",
            Part::Disks => "disks",
        }
    }
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &to)
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

impl Site {
    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn vault(&self, name: &str) -> FileVault {
        FileVault::open(self.at("vaults").join(name), Unlock::Passphrase(b"p")).unwrap()
    }

    fn service(&self) -> DiskService {
        DiskService::open(self.at("store").join("fleet.redb"), self.options()).unwrap()
    }

    fn options(&self) -> ServiceOptions {
        let vaults = Arc::new(KnownVaults::new());
        vaults.add_file(self.vault("contoso")).unwrap();
        let platform = Arc::new(self.vault("platform"));
        let backend = Arc::new(DiskFolder::new(self.at("disks")));
        ServiceOptions::new(backend, vaults, platform, "disks")
    }

    /// All parts in another folder, of which `service.backup` makes the store's.
    fn back_up(&self) {
        let service = self.service();
        fs::create_dir_all(self.at("backup/store")).unwrap();
        service.backup(self.at("backup/store/fleet.redb")).unwrap();
        drop(service);
        for part in ["vaults", "disks"] {
            copy_all(&self.at(part), &self.at("backup").join(part));
        }
    }

    /// Another site like this, with these parts from the backup.
    fn restored(&self, parts: &[Part]) -> Site {
        let site = Site { folder: tempfile::tempdir().unwrap() };
        for part in [Part::Store, Part::Vaults, Part::Disks] {
            let from = if parts.contains(&part) { self.at("backup") } else { self.folder.path().into() };
            copy_all(&from.join(part.name()), &site.at(part.name()));
        }
        site
    }
}

fn disk(name: &str, set: Option<&str>) -> NewDisk {
    NewDisk::new(name, SIZE).region("north").subscription("one").encryption_set(set).sector_size(4096)
}

fn fill(service: &DiskService, name: &str, with: u8) {
    let open = service.open_disk(name).unwrap();
    open.write_at(0, &vec![with; open.size() as usize]).unwrap();
    open.sync().unwrap();
}

/// A site with a life: what is in it at the time of the backup, and what becomes of it later.
fn life() -> Site {
    let site = Site { folder: tempfile::tempdir().unwrap() };
    for part in ["store", "vaults", "disks"] {
        fs::create_dir(site.at(part)).unwrap();
    }
    let cheap = KdfCost::new(64, 1, 1);
    for name in ["contoso", "platform"] {
        let options =
            VaultOptions::new().id(&format!("https://{name}.vault.example")).region("north").tenant("contoso");
        let options = options.purge_protection(true).kdf_cost(cheap);
        let vault = FileVault::create_with(site.at("vaults").join(name), Unlock::Passphrase(b"p"), &options).unwrap();
        for key in ["disks", "quiet"] {
            vault.create_key(key).unwrap();
        }
    }
    let customer = site.vault("contoso");
    let service = site.service();
    // One set is rotated later, and the other one isn't.
    for (name, key) in [("set", "disks"), ("quiet", "quiet")] {
        let key = customer.describe(key, None).unwrap().unwrap().id;
        let set = NewSet::new(name, key).region("north").subscription("one").tenant("contoso");
        service.create_set(&set.encryption_type(EncryptionType::CustomerKey)).unwrap();
        customer.grant(&service.encryption_set(name).unwrap().identity, &KeyOperation::ALL).unwrap();
    }
    for name in ["still", "enlarged", "replaced"] {
        service.create_disk(&disk(name, Some("quiet"))).unwrap();
        fill(&service, name, b'a');
    }
    for name in ["written", "deleted", "rekeyed", "grown"] {
        service.create_disk(&disk(name, Some("set"))).unwrap();
    }
    for name in ["floor", "moved"] {
        service.create_disk(&disk(name, None)).unwrap();
    }
    for name in ["written", "deleted", "rekeyed", "grown", "floor", "moved"] {
        fill(&service, name, b'a');
    }
    service.create_snapshot(&NewSnapshot::new("before", "written").incremental(true), &|_| {}).unwrap();
    drop(service);
    site.back_up();
    // A vault tells when its versions were made in seconds, and a later one has to be told from an earlier one.
    std::thread::sleep(std::time::Duration::from_millis(1100));

    let service = site.service();
    for name in ["written", "rekeyed", "grown", "floor", "moved"] {
        fill(&service, name, b'b');
    }
    service.create_snapshot(&NewSnapshot::new("after", "written").incremental(true), &|_| {}).unwrap();
    service.create_disk(&disk("new", Some("set"))).unwrap();
    fill(&service, "new", b'b');
    for name in ["deleted", "replaced"] {
        service.delete(&ResourceName::disk(name)).unwrap();
    }
    service.create_disk(&disk("replaced", Some("quiet"))).unwrap();
    service.resize_disk("enlarged", 2 * SIZE).unwrap();
    for name in ["still", "enlarged", "replaced"] {
        fill(&service, name, b'b');
    }
    service.rekey_disk("rekeyed").unwrap();
    while service.reencrypting().unwrap().contains(&"rekeyed".to_owned()) {
        service.reencrypt_step("rekeyed", 1 << 20).unwrap();
    }
    service.resize_disk("grown", 2 * SIZE).unwrap();
    fill(&service, "grown", b'b');
    service.put_into_set(&ResourceName::disk("moved"), "set").unwrap();
    customer.rotate_key("disks").unwrap();
    site.vault("platform").rotate_key("disks").unwrap();
    service.rotate_set("set", &|_| {}).unwrap();
    service.rotate_platform(&|_| {}).unwrap();
    drop(service);
    site
}

/// An error's kind.
fn kind(error: Error) -> String {
    let text = format!("{error:?}");
    text.split([' ', '(', '{']).next().unwrap().to_owned()
}

/// What becomes of one: the data that it has and its size, or why it doesn't open; and what its report says.
fn outcome(service: &DiskService, name: &ResourceName) -> String {
    let report = service.report(name).map_or_else(kind, |report| format!("{:?}", report.status));
    if name.kind == ResourceKind::Snapshot {
        return report;
    }
    let data = service.open_disk(&name.name).and_then(|open| {
        let mut found = vec![0; open.size() as usize];
        open.read_at(0, &mut found)?;
        assert!(found.iter().all(|byte| *byte == found[0]), "{name}: of two times");
        Ok(format!("{} of {}", char::from(found[0]), found.len() as u64 / SIZE))
    });
    format!("{}, {report}", data.unwrap_or_else(kind))
}

const DISKS: [&str; 10] =
    ["written", "deleted", "rekeyed", "grown", "floor", "moved", "new", "still", "enlarged", "replaced"];

/// Restores these parts, and compares what becomes of each with what is expected, as the table in docs/operate.md has it. Returns the site.
fn rehearsed(parts: &[Part], expected: &[(&str, &str)], orphans: usize) -> (Site, Site) {
    let before = life();
    let site = before.restored(parts);
    let service = site.service();
    let mut found: BTreeMap<&str, String> =
        DISKS.into_iter().map(|name| (name, outcome(&service, &ResourceName::disk(name)))).collect();
    for name in ["before", "after"] {
        found.insert(name, outcome(&service, &ResourceName::snapshot(name)));
    }
    let expected: BTreeMap<&str, String> = expected.iter().map(|(name, what)| (*name, (*what).to_owned())).collect();
    assert_eq!(found, expected);
    // Devices of no record are named, and nothing removes them.
    assert_eq!(service.orphans("north").unwrap().len(), orphans);
    drop(service);
    // The numbers that were written down elsewhere tell that something is older.
    let changes = |site: &Site| StoreCheck::of_file(site.at("store/fleet.redb")).unwrap().changes;
    assert_eq!(changes(&site) < changes(&before), parts.contains(&Part::Store));
    let head = before.vault("contoso").audit_head().unwrap();
    let log = site.vault("contoso").audit().unwrap().including(head);
    assert_eq!(log.into_iter().any(|entry| entry.is_err()), parts.contains(&Part::Vaults));
    (before, site)
}

#[test]
fn without_a_disaster_all_is_there() {
    let now = "b of 1, Finished";
    let expected = [
        ("written", now),
        ("deleted", "NoSuchResource, NoSuchResource"),
        ("rekeyed", now),
        ("grown", "b of 2, Finished"),
        ("floor", now),
        ("moved", now),
        ("new", now),
        ("still", now),
        ("enlarged", "b of 2, Finished"),
        ("replaced", now),
        ("before", "Finished"),
        ("after", "Finished"),
    ];
    rehearsed(&[], &expected, 0);
}

/// The data is there. What the store doesn't know any more is told by the report, or doesn't open.
const OLD_STORE: [(&str, &str); 12] = [
    ("written", "b of 1, HeaderChanged"),
    ("deleted", "NotFound, HeaderUnreadable"),
    ("rekeyed", "OtherDek, HeaderChanged"),
    ("grown", "b of 1, HeaderChanged"),
    ("floor", "b of 1, HeaderChanged"),
    ("moved", "NotThisVault, HeaderChanged"),
    ("new", "NoSuchResource, NoSuchResource"),
    ("still", "b of 1, Finished"),
    // It ends where it ended then.
    ("enlarged", "b of 1, Finished"),
    ("replaced", "NotFound, HeaderUnreadable"),
    ("before", "HeaderChanged"),
    ("after", "NoSuchResource"),
];

#[test]
fn the_store_alone_is_restored() {
    let (_, site) = rehearsed(&[Part::Store], &OLD_STORE, 3);
    let service = site.service();
    // A rotation makes the store know the newer key, and names what it can't move: the disk that has another set's key.
    assert!(service.rotate_set("set", &|_| {}).is_err());
    assert!(service.rotate_platform(&|_| {}).is_err());
    assert_eq!(outcome(&service, &ResourceName::disk("written")), "b of 1, Finished");
    assert_eq!(outcome(&service, &ResourceName::disk("floor")), "b of 1, Finished");
    // The report of an open disk says that there is more. The size that it had is given to it again, and all its data with it.
    let beyond = |name: &str| {
        let _open = service.open_disk(name).unwrap();
        service.report(&ResourceName::disk(name)).unwrap().beyond
    };
    assert_eq!((beyond("still"), beyond("enlarged")), (Some(0), Some(SIZE)));
    service.resize_disk("enlarged", 2 * SIZE).unwrap();
    assert_eq!(beyond("enlarged"), Some(0));
    assert_eq!(outcome(&service, &ResourceName::disk("enlarged")), "b of 2, Finished");
}

/// `rebuild` with the old store and all devices brings back what has a header.
#[test]
fn a_store_that_is_too_old_is_rebuilt_from_the_disks() {
    let before = life();
    let site = before.restored(&[Part::Store]);
    let mut sources = RebuildSources::new().store(site.at("store/fleet.redb")).subscription("one");
    for entry in fs::read_dir(site.at("disks")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some(id) = name.strip_suffix(".disk") {
            sources = sources.device("north", id);
        }
    }
    let rebuilt = rebuild(site.at("rebuilt"), &sources, &site.options()).unwrap();
    fs::rename(site.at("rebuilt"), site.at("store/fleet.redb")).unwrap();
    let names = |names: &[ResourceName]| {
        let mut names: Vec<_> = names.iter().map(|name| name.name.clone()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&rebuilt.restored), ["before", "enlarged", "floor", "grown", "still", "written"]);
    assert_eq!(names(&rebuilt.larger), ["enlarged", "grown"]);
    assert_eq!(names(&rebuilt.missing), ["deleted", "replaced"]);
    // The new disk, and the one in the place of another. Without the old store, these are proven, too.
    assert_eq!(rebuilt.named_by_id.len(), 2);
    let reasons: Vec<&str> = rebuilt.unproven.iter().map(|of| of.reason.as_str()).collect();
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    for why in ["\"rekeyed\", but with another DEK", "\"moved\", but of another", "no old store knows its disk"] {
        assert!(reasons.iter().any(|reason| reason.contains(why)), "{why}: {reasons:?}");
    }
    let service = site.service();
    for name in service.names(ResourceKind::Disk).unwrap() {
        assert_eq!(outcome(&service, &ResourceName::disk(&name)), "b of 1, Finished", "{name}");
    }
    // An old record says the size of then; the room and the data are there.
    service.resize_disk("grown", 2 * SIZE).unwrap();
    assert_eq!(outcome(&service, &ResourceName::disk("grown")), "b of 2, Finished");
}

/// What is under a version of a key that the vault doesn't have any more doesn't open. What wasn't moved to it does.
const OLD_VAULTS: [(&str, &str); 12] = [
    ("written", "DiskSuspended, Finished"),
    ("deleted", "NoSuchResource, NoSuchResource"),
    ("rekeyed", "DiskSuspended, Finished"),
    ("grown", "DiskSuspended, Finished"),
    ("floor", "KeyRefused, Finished"),
    ("moved", "DiskSuspended, Finished"),
    ("new", "DiskSuspended, Finished"),
    ("still", "b of 1, Finished"),
    ("enlarged", "b of 2, Finished"),
    ("replaced", "b of 1, Finished"),
    ("before", "Finished"),
    ("after", "Finished"),
];

#[test]
fn the_vaults_alone_are_restored() {
    let (before, site) = rehearsed(&[Part::Vaults], &OLD_VAULTS, 0);
    // The newer vaults, if they are found again, open all.
    fs::remove_dir_all(site.at("vaults")).unwrap();
    copy_all(&before.at("vaults"), &site.at("vaults"));
    assert_eq!(outcome(&site.service(), &ResourceName::disk("written")), "b of 1, Finished");
}

/// Whoever rotates a key in a restored vault makes a second version of the lost one's name: it opens nothing of it, and says so.
#[test]
fn a_key_that_is_rotated_in_a_restored_vault_opens_nothing_of_the_lost_version() {
    let site = life().restored(&[Part::Vaults]);
    let of_now = site.vault("contoso").rotate_key("disks").unwrap();
    assert!(of_now.to_string().ends_with("/disks/2"));
    let service = site.service();
    for name in ["written", "rekeyed", "grown", "moved", "new"] {
        let opened = service.open_disk(name).map(drop);
        assert!(matches!(opened, Err(Error::UnwrapFailed)), "{name}: {opened:?}");
    }
}

/// A header that changed since is missed by the store: the disk doesn't open. **Where no header changed, nothing shows that data is old.**
const OLD_DISKS: [(&str, &str); 12] = [
    ("written", "OlderHeader, HeaderChanged"),
    ("deleted", "NoSuchResource, NoSuchResource"),
    ("rekeyed", "OlderHeader, HeaderChanged"),
    ("grown", "OlderHeader, HeaderChanged"),
    ("floor", "OlderHeader, HeaderChanged"),
    ("moved", "NotThisVault, HeaderChanged"),
    ("new", "NotFound, HeaderUnreadable"),
    ("still", "a of 1, Finished"),
    ("enlarged", "OutOfBounds, Finished"),
    ("replaced", "NotFound, HeaderUnreadable"),
    ("before", "HeaderChanged"),
    ("after", "HeaderUnreadable"),
];

#[test]
fn the_disks_alone_are_restored() {
    rehearsed(&[Part::Disks], &OLD_DISKS, 2);
}

#[test]
fn the_store_and_the_vaults_are_restored() {
    let mut expected = BTreeMap::from(OLD_STORE);
    for name in ["written", "rekeyed", "grown", "floor"] {
        expected.insert(name, "KeyRefused, HeaderChanged");
    }
    rehearsed(&[Part::Store, Part::Vaults], &Vec::from_iter(expected), 3);
}

#[test]
fn the_vaults_and_the_disks_are_restored() {
    rehearsed(&[Part::Vaults, Part::Disks], &OLD_DISKS, 2);
}

/// All is as it was then, and what came later is lost.
const THEN: [(&str, &str); 12] = [
    ("written", "a of 1, Finished"),
    ("deleted", "a of 1, Finished"),
    ("rekeyed", "a of 1, Finished"),
    ("grown", "a of 1, Finished"),
    ("floor", "a of 1, Finished"),
    ("moved", "a of 1, Finished"),
    ("new", "NoSuchResource, NoSuchResource"),
    ("still", "a of 1, Finished"),
    ("enlarged", "a of 1, Finished"),
    ("replaced", "a of 1, Finished"),
    ("before", "Finished"),
    ("after", "NoSuchResource"),
];

#[test]
fn the_store_and_the_disks_are_restored() {
    rehearsed(&[Part::Store, Part::Disks], &THEN, 0);
}

#[test]
fn all_three_are_restored() {
    let (_, site) = rehearsed(&[Part::Store, Part::Vaults, Part::Disks], &THEN, 0);
    // Life goes on from there.
    let service = site.service();
    site.vault("contoso").rotate_key("disks").unwrap();
    service.rotate_set("set", &|_| {}).unwrap();
    service.create_snapshot(&NewSnapshot::new("again", "written").incremental(true), &|_| {}).unwrap();
    fill(&service, "written", b'c');
    assert_eq!(outcome(&service, &ResourceName::disk("written")), "c of 1, Finished");
}
