//! A host of virtual machines: which disks are attached to which machine.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atrest::managed::{
    DiskFolder, DiskService, KnownVaults, NewDisk, OpenDisk, ResourceKind, ResourceName, ServiceOptions,
};
use atrest::{Error, KeyVault, NotInherited, OwningProcess, Result, SectorSize};
use rustix::fs::OFlags;

use crate::buffer::Buffer;
use crate::cache::CacheOptions;
use crate::disk::{ReadOnly, io};
use crate::maintenance::Maintenance;
use crate::serve::{Serve, Served};
use crate::temporary::TemporaryDisk;
use crate::{Cache, Disk};

/// As much of an image is copied at once.
const PIECE: usize = 1 << 20;

/// The region and the subscription recorded for temporary disks, which have neither.
const LOCAL: &str = "host";

/// Options of a host, beside its service.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use atrest::managed::DiskService;
/// use atrest_host::{Host, HostOptions, VhostUser};
/// # fn start(service: Arc<DiskService>, platform: Arc<dyn atrest::KeyVault>) -> atrest::Result<()> {
/// let host = Host::new(service, HostOptions::new("/var/lib/host", platform, "platform"))?;
/// host.attach("vm1", "os", &VhostUser::new("/run/vm1-os.sock"))?;
/// # Ok(())
/// # }
/// ```
pub struct HostOptions {
    folder: PathBuf,
    platform: Arc<dyn KeyVault>,
    platform_key: String,
    maintenance: Option<Duration>,
}

impl HostOptions {
    /// The host's own folder, for temporary disks and caches, and the platform's vault with the name of the key that protects them.
    pub fn new(folder: impl Into<PathBuf>, platform: Arc<dyn KeyVault>, platform_key: impl Into<String>) -> Self {
        let maintenance = Some(Duration::from_secs(60));
        HostOptions { folder: folder.into(), platform, platform_key: platform_key.into(), maintenance }
    }

    /// How often a thread of the host calls [`DiskService::maintain`], so that keys that were revoked are wiped in time. The
    /// default is a minute. `None`: the caller does that, for the service and by [`Host::maintain`].
    pub fn maintenance(mut self, interval: Option<Duration>) -> Self {
        self.maintenance = interval;
        self
    }
}

/// Options of a temporary disk.
#[derive(Debug, Clone)]
pub struct NewTemporary {
    name: String,
    size: u64,
    sector_size: SectorSize,
    kept: bool,
    image: Option<PathBuf>,
}

impl NewTemporary {
    /// A disk of `size` bytes in sectors of 512 bytes. Its DEK is fresh, and only in this process's locked memory: the disk is
    /// gone when the machine stops, and when the process ends for any reason.
    pub fn new(name: impl Into<String>, size: u64) -> Self {
        NewTemporary { name: name.into(), size, sector_size: SectorSize::B512, kept: false, image: None }
    }

    /// The sector size.
    pub fn sector_size(mut self, sector_size: SectorSize) -> Self {
        self.sector_size = sector_size;
        self
    }

    /// Keeps it when the process ends before the machine stops, so that the host can restart under its machines: the DEK lies
    /// beside the disk, wrapped by the platform's key. To attach it again is to name the same machine and disk.
    pub fn kept(mut self, kept: bool) -> Self {
        self.kept = kept;
        self
    }

    /// Begins with a copy of an image, such as that of an operating system: the disk is an ephemeral OS disk then. The rest of
    /// it reads as noise.
    pub fn image(mut self, path: impl Into<PathBuf>) -> Self {
        self.image = Some(path.into());
        self
    }
}

/// A disk that is attached to a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attachment {
    /// The machine.
    pub machine: String,
    /// The disk.
    pub disk: String,
    /// Whether it is a temporary one.
    pub temporary: bool,
    /// Whether its key may not be used, so that the machine's requests fail, as far as is known without asking the vault.
    pub suspended: bool,
}

/// A host of virtual machines. Attached disks are encrypted here (53): all data that leaves the host for the storage, and all
/// that lies on its own disks, is ciphertext. No CPU of a guest takes part in it (59). A forked child can't use its parent's
/// host, and detaches nothing when it drops it.
pub struct Host {
    owner: OwningProcess,
    service: Arc<DiskService>,
    /// The disks that a machine has while it runs: a service of its own, in the host's folder, under the platform's key.
    local: Arc<DiskService>,
    folder: PathBuf,
    caches: PathBuf,
    machines: Mutex<Machines>,
    _maintenance: Option<NotInherited<Maintenance>>,
}

/// The disks of all machines.
type Machines = BTreeMap<String, BTreeMap<String, Slot>>;

/// The place of a disk of a machine.
struct Slot {
    /// Whether it may only be read; `None` for a temporary one.
    read_only: Option<bool>,
    /// `None` while it is being attached.
    attached: Option<Attached>,
}

struct Attached {
    /// Ends before the disk is closed.
    served: Served,
    kind: Kind,
}

enum Kind {
    Managed { open: OpenDisk, cache: Option<Arc<Cache>> },
    Temporary,
    KeptTemporary(OpenDisk),
}

/// A place that is kept while a disk is being attached: vaults may take their time, and other disks don't wait for them. It is
/// given up if attaching fails.
struct Place<'a> {
    host: &'a Host,
    machine: &'a str,
    disk: &'a str,
    filled: bool,
}

impl Place<'_> {
    fn fill(mut self, attached: Attached) {
        let mut machines = self.host.machines();
        if let Some(slot) = machines.get_mut(self.machine).and_then(|disks| disks.get_mut(self.disk)) {
            slot.attached = Some(attached);
        }
        drop(machines);
        self.filled = true;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.filled {
            let mut machines = self.host.machines();
            if let Some(disks) = machines.get_mut(self.machine) {
                disks.remove(self.disk);
            }
            machines.retain(|_, disks| !disks.is_empty());
        }
    }
}

impl Host {
    /// `service` has the disks that outlive machines.
    ///
    /// # Errors
    /// Errors of [`DiskService::open`], for the service of temporary disks; [`Error::Io`].
    pub fn new(service: Arc<DiskService>, options: HostOptions) -> Result<Self> {
        let HostOptions { folder, platform, platform_key, maintenance } = options;
        let disks = folder.join("temporary");
        let caches = folder.join("caches");
        make_folder(&disks)?;
        make_folder(&caches)?;
        let backend = Arc::new(DiskFolder::new(&disks));
        let local = ServiceOptions::new(backend, Arc::new(KnownVaults::new()), platform, platform_key).discard(true);
        let local = Arc::new(DiskService::open(folder.join("temporary.redb"), local)?);
        let services = [service.clone(), local.clone()];
        let maintenance = maintenance.map(|interval| Maintenance::start(services, interval)).transpose()?;
        let maintenance = maintenance.map(NotInherited::new);
        let owner = OwningProcess::current();
        Ok(Host { owner, service, local, folder: disks, caches, machines: Mutex::default(), _maintenance: maintenance })
    }

    /// The service that has the disks which outlive machines.
    pub fn service(&self) -> &DiskService {
        &self.service
    }

    /// Attaches a disk of the service to a machine, and serves it. The machine sees the first 20 bytes of its name as its
    /// serial number. The disk's record says from now on that it is encrypted at the host.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] for a disk that was ever encrypted in the guest (56); [`Error::Busy`] if it is attached already;
    /// errors of [`DiskService::open_disk`] and [`Serve::serve`].
    pub fn attach(&self, machine: &str, disk: &str, serve: &dyn Serve) -> Result<()> {
        self.attach_managed(machine, disk, serve, false, None)
    }

    /// As [`attach`](Self::attach), for a machine that may only read it. Any number of machines may have it so.
    ///
    /// # Errors
    /// As [`attach`](Self::attach).
    pub fn attach_read_only(&self, machine: &str, disk: &str, serve: &dyn Serve) -> Result<()> {
        self.attach_managed(machine, disk, serve, true, None)
    }

    /// As [`attach`](Self::attach), with a cache in the host's folder, under a key derived from the disk's (53). Blocks that an
    /// earlier process left in the disk's write-back cache are written to the disk first.
    ///
    /// # Errors
    /// As [`attach`](Self::attach); errors of [`Cache::of`].
    pub fn attach_cached(&self, machine: &str, disk: &str, cache: &CacheOptions, serve: &dyn Serve) -> Result<()> {
        self.attach_managed(machine, disk, serve, false, Some(cache))
    }

    /// Writes to a disk all blocks that its write-back cache holds for it. Snapshots, images and copies of its service do so
    /// themselves; a copy of the storage by other means needs this call.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`] if the machine has no such disk; errors of [`Cache::drain`].
    pub fn drain(&self, machine: &str, disk: &str) -> Result<()> {
        self.owner.check()?;
        let machines = self.machines();
        let slot = machines.get(machine).and_then(|disks| disks.get(disk));
        let slot = slot.ok_or_else(|| Error::NoSuchResource(format!("{disk} of the machine {machine}")))?;
        let cache = match slot.attached.as_ref().map(|attached| &attached.kind) {
            Some(Kind::Managed { cache, .. }) => cache.clone(),
            _ => None,
        };
        drop(machines);
        cache.map_or(Ok(()), |cache| cache.drain())
    }

    /// Makes a disk of the service larger, and notifies the machines that have it: those with vhost-user-blk see it at once, a
    /// client of NBD when it connects again. See [`DiskService::resize_disk`].
    ///
    /// # Errors
    /// Errors of [`DiskService::resize_disk`].
    pub fn resize_disk(&self, disk: &str, size: u64) -> Result<()> {
        self.owner.check()?;
        self.service.resize_disk(disk, size)?;
        let machines = self.machines();
        let slots = machines.values().filter_map(|disks| disks.get(disk));
        for attached in slots.filter(|slot| slot.read_only.is_some()).filter_map(|slot| slot.attached.as_ref()) {
            attached.served.resized();
        }
        Ok(())
    }

    fn attach_managed(
        &self,
        machine: &str,
        disk: &str,
        serve: &dyn Serve,
        read_only: bool,
        cache: Option<&CacheOptions>,
    ) -> Result<()> {
        self.owner.check()?;
        let place = self.take_place(machine, disk, Some(read_only))?;
        self.service.set_host_encryption(disk, true)?;
        let open = self.service.open_disk(disk)?;
        let file = self.caches.join(format!("{disk}.cache"));
        let cache = cache.map(|options| Cache::of(&open, file, options).map(Arc::new)).transpose()?;
        let served: Arc<dyn Disk> = match &cache {
            Some(cache) => cache.clone(),
            None => {
                // Without the cache that has them, writes that were answered would be missing.
                Cache::check_none(&open)?;
                if read_only { Arc::new(ReadOnly(open.clone())) } else { Arc::new(open.clone()) }
            }
        };
        place.fill(Attached { served: serve.serve(served, disk)?, kind: Kind::Managed { open, cache } });
        Ok(())
    }

    /// Makes a temporary disk for a machine, under the platform's key or an ephemeral key that is stored nowhere (53), and
    /// serves it. It is gone when it is detached or the machine stops. One that was kept when the process ended is attached
    /// again unchanged.
    ///
    /// # Errors
    /// [`Error::Busy`] if the machine has a disk of this name; [`Error::InvalidOption`] for an image that is larger than the
    /// disk; [`Error::Io`]; errors of [`DiskService::create_disk`] and [`Serve::serve`].
    pub fn attach_temporary(&self, machine: &str, new: &NewTemporary, serve: &dyn Serve) -> Result<()> {
        self.owner.check()?;
        let place = self.take_place(machine, &new.name, None)?;
        let (disk, kind): (Arc<dyn Disk>, _) = if new.kept {
            let open = self.kept_temporary(&full_name(machine, &new.name), new)?;
            (Arc::new(open.clone()), Kind::KeptTemporary(open))
        } else {
            let disk = TemporaryDisk::new(&self.folder, new.size, new.sector_size)?;
            fill(&disk, new.image.as_deref())?;
            (Arc::new(disk), Kind::Temporary)
        };
        place.fill(Attached { served: serve.serve(disk, &new.name)?, kind });
        Ok(())
    }

    fn kept_temporary(&self, full_name: &str, new: &NewTemporary) -> Result<OpenDisk> {
        let name = ResourceName::disk(full_name);
        match self.local.resource(&name) {
            // The mark says that the image was copied to its end.
            Ok(found) if found.host_encrypted => return self.local.open_disk(full_name),
            Ok(_) => self.local.delete(&name)?,
            Err(Error::NoSuchResource(_)) => {}
            Err(error) => return Err(error),
        }
        let disk = NewDisk::new(full_name, new.size).sector_size(new.sector_size.bytes());
        self.local.create_disk(&disk.region(LOCAL).subscription(LOCAL))?;
        let open = self.local.open_disk(full_name)?;
        fill(&open, new.image.as_deref())?;
        self.local.set_host_encryption(full_name, true)?;
        Ok(open)
    }

    /// Keeps the place of a disk that is going to be attached. `read_only` is `None` for a temporary one.
    fn take_place<'a>(&'a self, machine: &'a str, disk: &'a str, read_only: Option<bool>) -> Result<Place<'a>> {
        let mut machines = self.machines();
        for (other, disks) in machines.iter() {
            let Some(slot) = disks.get(disk) else { continue };
            let both_read = read_only == Some(true) && slot.read_only == Some(true);
            let both_managed = read_only.is_some() && slot.read_only.is_some();
            if other == machine || (both_managed && !both_read) {
                return Err(Error::Busy { what: format!("the disk {disk} of the machine {other}") });
            }
        }
        let slot = Slot { read_only, attached: None };
        machines.entry(machine.to_owned()).or_default().insert(disk.to_owned(), slot);
        Ok(Place { host: self, machine, disk, filled: false })
    }

    /// Stops serving a disk, once the requests under way are done. A temporary disk is then gone.
    ///
    /// # Errors
    /// [`Error::NoSuchResource`] if the machine has no such disk; [`Error::Busy`] while it is being attached; errors of
    /// [`DiskService::delete`].
    pub fn detach(&self, machine: &str, disk: &str) -> Result<()> {
        self.owner.check()?;
        let mut machines = self.machines();
        let slot = machines.get_mut(machine).and_then(|disks| disks.get_mut(disk));
        let slot = slot.ok_or_else(|| Error::NoSuchResource(format!("{disk} of the machine {machine}")))?;
        let busy = || Error::Busy { what: format!("the disk {disk}, which is being attached,") };
        let attached = slot.attached.take().ok_or_else(busy)?;
        drop(machines);
        // The place is given up once the disk is no longer served.
        let _place = Place { host: self, machine, disk, filled: false };
        self.end(machine, disk, attached)
    }

    /// Detaches all disks of a machine, which has stopped. Its temporary disks are then gone, including those that were kept
    /// when an earlier process ended and weren't attached since.
    ///
    /// # Errors
    /// The first error of [`detach`](Self::detach); the other disks are detached all the same.
    pub fn stop(&self, machine: &str) -> Result<()> {
        self.owner.check()?;
        let disks: Vec<String> =
            self.machines().get(machine).into_iter().flat_map(|disks| disks.keys().cloned()).collect();
        let ended = disks.iter().map(|disk| self.detach(machine, disk)).fold(Ok(()), Result::and);
        let kept =
            self.local.names(ResourceKind::Disk)?.into_iter().filter(|name| name.starts_with(&full_name(machine, "")));
        kept.map(|name| self.local.delete(&ResourceName::disk(name))).fold(ended, Result::and)
    }

    fn end(&self, machine: &str, disk: &str, attached: Attached) -> Result<()> {
        let Attached { served, kind } = attached;
        served.stop();
        match kind {
            // Waiting writes of a cache go to the disk. If the disk can't be reached, they stay for the next attachment.
            Kind::Managed { cache: Some(cache), .. } => cache.detach(),
            Kind::KeptTemporary(open) => {
                drop(open);
                self.local.delete(&ResourceName::disk(full_name(machine, disk)))
            }
            Kind::Managed { .. } | Kind::Temporary => Ok(()),
        }
    }

    /// The attached disks, by machine and disk. A forked child has none.
    pub fn attachments(&self) -> Vec<Attachment> {
        if !self.owner.is_current() {
            return Vec::new();
        }
        let machines = self.machines();
        let all =
            machines.iter().flat_map(|(machine, disks)| disks.iter().map(move |(disk, slot)| (machine, disk, slot)));
        all.filter_map(|(machine, disk, slot)| {
            let suspended = match &slot.attached.as_ref()?.kind {
                Kind::Managed { open, .. } | Kind::KeptTemporary(open) => open.is_suspended(),
                Kind::Temporary => false,
            };
            let temporary = slot.read_only.is_none();
            Some(Attachment { machine: machine.clone(), disk: disk.clone(), temporary, suspended })
        })
        .collect()
    }

    /// Wipes the keys that may not be used any more: [`DiskService::maintain`] for the host's own service. Only a caller that
    /// turned [`HostOptions::maintenance`] off needs it.
    pub fn maintain(&self) {
        if self.owner.is_current() {
            self.local.maintain();
        }
    }

    /// The map is valid even if a thread panicked while it was locked.
    fn machines(&self) -> MutexGuard<'_, Machines> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of a kept temporary disk: no two pairs of machine and disk have the same.
fn full_name(machine: &str, disk: &str) -> String {
    format!("{}.{machine}.{disk}", machine.len())
}

/// Copies an image to the start of a disk.
fn fill(disk: &impl Disk, image: Option<&Path>) -> Result<()> {
    let Some(path) = image else { return Ok(()) };
    let failed = |e| io(format!("reading the image {}", path.display()), e);
    // Opening a pipe waits for a writer.
    let file = File::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path);
    let file = file.map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() {
        return Err(Error::InvalidOption(format!("the image {} is no plain file", path.display())));
    }
    let len = found.len();
    if len > disk.size() {
        let text = "is larger than the disk that it is for; make the disk larger";
        return Err(Error::InvalidOption(format!("the image {} {text}", path.display())));
    }
    let mut buffer = Buffer::new(PIECE);
    for at in (0..len).step_by(PIECE) {
        let now = (len - at).min(PIECE as u64) as usize;
        // The last sector may be longer than the rest of the image. It is padded with zeros.
        let sectors = buffer.of(now.next_multiple_of(disk.sector_size() as usize));
        sectors[now..].fill(0);
        file.read_exact_at(&mut sectors[..now], at).map_err(failed)?;
        disk.write_at(at, sectors)?;
    }
    disk.flush()
}

/// Makes a folder for this user alone, if it isn't there.
fn make_folder(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|e| io(format!("making the folder {}", path.display()), e))
}
