//! Managed disks on the exports of NBD servers.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use atrest::managed::DiskBackend;
use atrest::{BlockDevice, Error, Result, TooSmall};

use crate::device::NbdDevice;
use crate::held::is_held;
use crate::keeper::refused;
use crate::link::Place;
use crate::options::NbdOptions;
use crate::socket::Patience;
use crate::url::{Address, Target};

/// The length in bytes of the place at a disk's start that holds the header with its key material.
const HEADER: u64 = 16 << 20;

/// The placeholder for the id in a URL.
const ID: &str = "{id}";

/// Makes exports, and removes them: NBD itself has no messages for that.
pub trait ExportMaker: Send + Sync {
    /// Makes an export of at least `size` bytes, all of them zeros. When this returns, the server has it.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] if there is one for this id; [`Error::Io`].
    fn make(&self, region: &str, id: &str, size: u64) -> Result<()>;

    /// Removes an export with its data, if it exists.
    ///
    /// # Errors
    /// [`Error::Io`].
    fn remove(&self, region: &str, id: &str) -> Result<()>;
}

/// Managed disks on NBD servers: each disk is an export, whose URL is made from the disk's id. All regions share the servers.
///
/// NBD has no message that makes or removes an export. So either the exports exist beforehand, one for each id that the service
/// will use, all zeros; or an [`ExportMaker`] makes them when they are needed.
///
/// - [`create`](DiskBackend::create) opens the export, which has to be large enough, and blank where a header would be. The
///   data behind it isn't checked.
/// - [`remove`](DiskBackend::remove) overwrites the header with zeros, so that the data can't be decrypted any more, and
///   discards the rest. The export is then blank and can be reused, unless the maker removes it.
/// - [`list`](DiskBackend::list) asks the server for its exports, or looks for sockets in their folder. Without a maker, a blank
///   export counts as free.
///
/// ```no_run
/// use atrest_nbd::{NbdBackend, NbdOptions};
///
/// // nbdkit -U /run/nbd.sock file dir=/srv/disks
/// let backend = NbdBackend::from_url("nbd+unix:///{id}?socket=/run/nbd.sock")?;
/// // A qemu-nbd for each disk.
/// let each = NbdBackend::from_url_with("nbd+unix:///?socket=/run/disks/{id}.sock", &NbdOptions::new().connections(1))?;
/// # Ok::<(), atrest::Error>(())
/// ```
#[derive(Clone)]
pub struct NbdBackend {
    template: Target,
    options: NbdOptions,
    maker: Option<Arc<dyn ExportMaker>>,
}

impl std::fmt::Debug for NbdBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NbdBackend").field("template", &self.template).finish_non_exhaustive()
    }
}

impl NbdBackend {
    /// Exports whose URL has the disk's id in place of `{id}`: in the name of the export, or in the path of a Unix socket.
    ///
    /// # Errors
    /// [`Error::InvalidOption`].
    pub fn from_url(url: &str) -> Result<Self> {
        Self::from_url_with(url, &NbdOptions::new())
    }

    /// As [`from_url`](Self::from_url), with options for each device.
    ///
    /// # Errors
    /// As [`from_url`](Self::from_url).
    pub fn from_url_with(url: &str, options: &NbdOptions) -> Result<Self> {
        let template = Target::parse(url)?;
        let in_path = match &template.address {
            Address::Unix(path) => path.to_string_lossy().matches(ID).count(),
            Address::Tcp { .. } => 0,
        };
        if template.export.matches(ID).count() + in_path != 1 {
            let text = format!("{url:?} has to have {ID} once, in the name of the export or the path of the socket");
            return Err(Error::InvalidOption(text));
        }
        // Invalid options are reported now.
        Place::new(template.clone(), options)?;
        Ok(NbdBackend { template, options: options.clone().read_only(false), maker: None })
    }

    /// Has exports made when they are needed.
    pub fn maker(mut self, maker: Arc<dyn ExportMaker>) -> Self {
        self.maker = Some(maker);
        self
    }

    fn target(&self, id: &str) -> Result<Target> {
        if uuid::Uuid::try_parse(id).is_err() {
            return Err(Error::InvalidOption(format!("{id:?} can't be the id of a disk: it isn't a UUID")));
        }
        let mut target = self.template.clone();
        target.export = target.export.replace(ID, id);
        if let Address::Unix(path) = &mut target.address {
            *path = path.to_string_lossy().replace(ID, id).into();
        }
        Ok(target)
    }

    fn device(&self, id: &str) -> Result<NbdDevice> {
        NbdDevice::of(self.target(id)?, &self.options)
    }

    /// Whether a header could lie there. Nothing else is looked at.
    fn is_blank(&self, id: &str) -> Result<bool> {
        let target = self.target(id)?;
        if is_held(&target) {
            return Ok(false);
        }
        let device = NbdDevice::of(target, &self.options.clone().read_only(true).connections(1))?;
        is_zero(&device, 4096).map_err(|e| failed("looking at", id, e))
    }
}

impl DiskBackend for NbdBackend {
    fn create(&self, region: &str, id: &str, size: u64) -> Result<Arc<dyn BlockDevice>> {
        let target = self.target(id)?;
        if let Some(maker) = &self.maker {
            maker.make(region, id, size)?;
        }
        let device = self.device(id)?;
        if device.is_read_only() {
            return Err(Error::ReadOnly);
        }
        let found = device.size().map_err(|e| failed("looking at", id, e))?;
        if found < size {
            return Err(Error::DeviceTooSmall { what: TooSmall::Disk, needed: size, size: found });
        }
        if !is_zero(&device, HEADER).map_err(|e| failed("looking at", id, e))? {
            return Err(Error::AlreadyExists { what: "disk", path: target.to_string().into() });
        }
        Ok(Arc::new(device))
    }

    fn open(&self, _: &str, id: &str) -> Result<Arc<dyn BlockDevice>> {
        Ok(Arc::new(self.device(id)?))
    }

    /// Overwrites the header and discards the rest; then has the maker take the export away, if there is one. An export that is
    /// open in this process is [`Error::Busy`].
    fn remove(&self, region: &str, id: &str) -> Result<()> {
        let device = match self.device(id) {
            Ok(device) => Some(device),
            Err(Error::NotFound { .. }) => None,
            // This disk had a server of its own, which is gone with it.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        if let Some(device) = device {
            erase(&device).map_err(|e| failed("erasing", id, e))?;
            log::warn!("the header of {} was overwritten: what the export holds can't be decrypted", self.target(id)?);
        }
        self.maker.as_ref().map_or(Ok(()), |maker| maker.remove(region, id))
    }

    fn list(&self, _: &str) -> Result<Vec<String>> {
        let names = match &self.template.address {
            Address::Unix(path) if path.to_string_lossy().contains(ID) => sockets(path)?,
            _ => {
                let place = Place::new(self.template.clone(), &self.options)?;
                let patience = Patience { until: Instant::now() + place.deadline, is_over: &|| false };
                let what = || format!("listing the exports of {}", self.template);
                place.list(patience).map_err(|e| refused(what(), e))?
            }
        };
        let template = match &self.template.address {
            Address::Unix(path) if path.to_string_lossy().contains(ID) => name_of(path),
            _ => self.template.export.clone(),
        };
        let (before, behind) = template.split_once(ID).unwrap_or((&template, ""));
        let mut ids = Vec::new();
        for name in names {
            let id = name.strip_prefix(before).and_then(|rest| rest.strip_suffix(behind));
            let Some(id) = id.filter(|id| uuid::Uuid::try_parse(id).is_ok()) else { continue };
            if self.maker.is_some() || !self.is_blank(id)? {
                ids.push(id.to_owned());
            }
        }
        Ok(ids)
    }
}

/// The names of the files beside a socket.
fn sockets(path: &Path) -> Result<Vec<String>> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let failed = |source| Error::Io { what: format!("listing {}", folder.display()), source };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    Ok(names)
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Whether the first bytes are zeros, by the server's block status or by reading them.
fn is_zero(device: &NbdDevice, most: u64) -> io::Result<bool> {
    let len = most.min(device.size()?);
    if device.is_known_zero(0, len)? {
        return Ok(true);
    }
    let mut bytes = vec![0; (1 << 20).min(len as usize)];
    for at in (0..len).step_by(1 << 20) {
        let bytes = &mut bytes[..(len - at).min(1 << 20) as usize];
        device.read_at(at, bytes)?;
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Makes the disk's data unreadable for ever.
fn erase(device: &NbdDevice) -> io::Result<()> {
    let size = device.size()?;
    let header = HEADER.min(size);
    // Zeros that are written lie where the keys did, as far as the server knows. A hole may leave them where they are.
    let zeros = vec![0; 1 << 20];
    for at in (0..header).step_by(zeros.len()) {
        device.write_at(at, &zeros[..(header - at).min(zeros.len() as u64) as usize])?;
    }
    device.sync()?;
    device.discard(header, size - header)?;
    device.sync()
}

fn failed(doing: &str, id: &str, source: io::Error) -> Error {
    Error::Io { what: format!("{doing} the export of the disk {id}"), source }
}
