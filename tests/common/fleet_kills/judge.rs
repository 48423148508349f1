//! Looks at everything, while no service runs: by a service of its own, which has to wait until the others' leases have run out.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use atrest::key::KeyId;
use atrest::managed::store::Store;
use atrest::managed::{DiskService, NewCopy, OpenDisk, ResourceKind, ResourceName};
use atrest::vault::VersionChange;
use atrest::{Error, FileVault, Result};

use super::files::tell;
use super::model::Model;
use super::service::{read, value};
use super::{BLOCKS, HOSTS, KEY, PLATFORM, Place, SET};

pub struct Judge<'j> {
    pub place: &'j Place,
    pub vault: &'j FileVault,
    pub model: &'j Mutex<Model>,
    pub lease: Duration,
}

const KINDS: [ResourceKind; 3] = [ResourceKind::Disk, ResourceKind::Snapshot, ResourceKind::Image];

impl Judge<'_> {
    pub fn open(&self, store: Arc<dyn Store>, run: &str) -> Result<DiskService> {
        self.place.service(store, HOSTS, run, self.lease)
    }

    /// Everything is there that was acknowledged, and nothing else. All is moved to a new version of the key, and opens when the
    /// others are disabled. `versions` gets that one.
    pub fn judge(&self, open: impl Fn() -> Arc<dyn Store>, round: u64, versions: &mut Vec<KeyId>) {
        let run = format!("judge.{round}");
        let service = self.open(open(), &run).unwrap();
        let began = Instant::now();
        let names = |kind| -> BTreeSet<String> { service.names(kind).unwrap().into_iter().collect() };
        let (disks, snapshots) = (names(ResourceKind::Disk), names(ResourceKind::Snapshot));
        // Each kind of work waits until nobody else has the device.
        let patient = |what: &str, act: &mut dyn FnMut() -> Result<()>| loop {
            service.maintain();
            match act() {
                Ok(()) => return,
                Err(Error::Busy { .. }) if began.elapsed() < 4 * self.lease + Duration::from_secs(30) => {
                    std::thread::sleep(Duration::from_millis(200));
                }
                Err(e) => panic!("{what}: {e:?}"),
            }
        };
        for name in &disks {
            patient(name, &mut || look(&service, &run, name));
        }
        {
            let model = self.model.lock().unwrap();
            let lost = |name: &&String| !disks.contains(*name) && model.disks[*name].must_be();
            assert_eq!(model.disks.keys().filter(lost).collect::<Vec<_>>(), [""; 0], "disks were lost");
            let lost = |name: &&String| !snapshots.contains(*name) && model.snapshots[*name].presence.must_be();
            assert_eq!(model.snapshots.keys().filter(lost).collect::<Vec<_>>(), [""; 0], "snapshots were lost");
            let gone = disks.iter().filter(|name| model.disks.get(*name).is_none_or(|disk| disk.must_not_be()));
            assert_eq!(gone.collect::<Vec<_>>(), [""; 0], "disks that were deleted, or never made");
        }
        for name in &snapshots {
            patient(name, &mut || self.with_copy(&service, name, |disk| self.compare(name, disk)));
        }
        let key = self.vault.rotate_key(KEY).unwrap();
        versions.push(key.clone());
        service.clear_rotation_error(SET).unwrap();
        patient("rotating", &mut || service.rotate_set(SET, &|_| {}).map(drop));
        let set = service.encryption_set(SET).unwrap();
        assert_eq!((&set.active_key, &set.previous_keys[..]), (&key, &[][..]));
        self.disable(versions, key.version());
        self.vault.rotate_key(PLATFORM).unwrap();
        patient("rotating the platform's key", &mut || service.rotate_platform(&|_| {}).map(drop));
        assert!(service.report_platform().unwrap().finished);
        self.disable_former(PLATFORM);
        for name in service.reencrypting().unwrap() {
            patient(&name, &mut || loop {
                if service.reencrypt_step(&name, 1 << 20)?.is_finished() {
                    return Ok(());
                }
            });
        }
        // Devices that nobody has any more are removed once their makers are lost.
        let orphans = || service.orphans("north").unwrap();
        let devices = || std::fs::read_dir(self.place.disks()).unwrap().count();
        let known = KINDS.map(|kind| service.names(kind).unwrap().len()).iter().sum::<usize>();
        while devices() != known && began.elapsed() < 4 * self.lease + Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(200));
            service.maintain();
        }
        assert_eq!((orphans(), devices()), (Vec::new(), known), "devices without a resource");
        assert!(service.check().unwrap().is_sound());
        drop(service);
        // All opens by the latest version alone, and nothing that was known of the others is left.
        let run = format!("judge.{round}.again");
        let service = self.open(open(), &run).unwrap();
        for name in &disks {
            look(&service, &run, name).unwrap_or_else(|e| panic!("{name} under the latest version: {e:?}"));
        }
        for name in &snapshots {
            self.with_copy(&service, name, |disk| self.compare(name, disk)).unwrap();
        }
    }

    /// Disables all versions of the key before one.
    pub fn disable(&self, versions: &mut Vec<KeyId>, before: &str) {
        let Some(at) = versions.iter().position(|key| key.version() == before) else { return };
        for key in versions.drain(..at) {
            self.vault.set_version(&key, VersionChange::new().enabled(false)).unwrap();
        }
    }

    /// Disables all versions of a key but the latest.
    fn disable_former(&self, key: &str) {
        let key = self.vault.keys().unwrap().into_iter().find(|known| known.name == key).unwrap();
        let former = key.versions.split_last().unwrap().1.iter().filter(|version| version.enabled);
        former.for_each(|version| self.vault.set_version(&version.id, VersionChange::new().enabled(false)).unwrap());
    }

    /// Passes a disk that is made of a snapshot, and removes it.
    fn with_copy(&self, service: &DiskService, name: &str, act: impl Fn(&OpenDisk)) -> Result<()> {
        let copy = NewCopy::new("copy").region("north").subscription("one");
        service.create_disk_from(&ResourceName::snapshot(name), &copy, &|_| {})?;
        act(&service.open_disk("copy")?);
        service.delete(&ResourceName::disk("copy"))
    }

    fn compare(&self, name: &str, disk: &OpenDisk) {
        let model = self.model.lock().unwrap();
        let snapshot = &model.snapshots[name];
        for (block, may) in (0..).zip(&snapshot.may) {
            let found = value(disk, block).unwrap();
            if let Some(may) = may {
                let is_right = found.is_some_and(|found| may.contains(&found));
                assert!(is_right, "{name} of {} has {found:?} in block {block}, and not one of {may:?}", snapshot.disk);
            }
        }
    }
}

/// Opens a disk, and tells what it holds.
fn look(service: &DiskService, run: &str, name: &str) -> Result<()> {
    let disk = service.open_disk(name)?;
    tell(&format!("held {run} {name}"));
    (0..BLOCKS).for_each(|block| read(run, &disk, name, block));
    Ok(())
}
