//! Volumes: made, opened, read and written.

use std::sync::{Arc, Mutex, PoisonError, RwLockReadGuard};

use atrest::volume::BitLockerOptions;
use atrest::{Error, FormatOptions, OpenOptions, Volume as Encrypted};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::buffer::{Source, Target};
use crate::bytes::{self, Sectors};
use crate::cipher::{algorithm, sector_size};
use crate::credential::{Opener, Protection};
use crate::device::{AnyDevice, Place, lend_header};
use crate::error::{freely, raised};
use crate::header::{self, Described, ProtectorNumber};
use crate::options::{FormatChoices, KeyslotChoices, OpenChoices, encryption_type, keyslot, priority};
use crate::records;
use crate::vault::{KeyVault, VaultKey};

type Record = PyResult<Py<PyAny>>;

/// An encrypted device: LUKS2, as cryptsetup makes and opens it.
///
/// Reads and writes are in whole sectors, from many threads at once; `file` gives a file object that takes any byte. A write is
/// on the disk after `sync`, and after `close` or the end of `with`, which sync too.
#[pyclass(frozen, module = "atrest_storage")]
pub struct Volume(Mutex<Option<Arc<Opened>>>);

pub struct Opened {
    pub volume: Encrypted<AnyDevice>,
    pub sectors: Sectors,
}

impl Opened {
    fn shared(&self) -> RwLockReadGuard<'_, ()> {
        self.sectors.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Volume {
    pub fn new(volume: Encrypted<AnyDevice>) -> Self {
        Volume(Mutex::new(Some(Arc::new(Opened { volume, sectors: Sectors::default() }))))
    }

    pub fn opened(&self) -> PyResult<Arc<Opened>> {
        let opened = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        opened.ok_or_else(|| PyValueError::new_err("the volume is closed"))
    }
}

/// Makes a volume by a call of the library, which takes the devices over if it succeeds.
fn made(
    py: Python<'_>,
    device: Place,
    mut options: Option<FormatChoices>,
    call: impl FnOnce(AnyDevice, &FormatOptions) -> atrest::Result<Encrypted<AnyDevice>> + Send,
) -> PyResult<Volume> {
    let header = options.as_mut().and_then(|choices| choices.header.take());
    let volume = lend_header(header, |header| {
        let options = options.map_or_else(|| Ok(FormatOptions::new()), |choices| choices.options(py, header))?;
        device.lend(py, false, |device| freely(py, || call(device, &options)))
    })?;
    Ok(Volume::new(volume))
}

#[pymethods]
impl Volume {
    /// Makes a volume on a device, which is a path or a Device. Only its header is written.
    #[staticmethod]
    #[pyo3(signature = (device, protector, options = None))]
    fn format(py: Python<'_>, device: Place, protector: Protection, options: Option<FormatChoices>) -> PyResult<Self> {
        made(py, device, options, |device, options| Encrypted::format(device, protector.protector()?, options))
    }

    /// Opens a volume on a device, which is a path or a Device, by a credential.
    #[staticmethod]
    #[pyo3(signature = (device, credential, options = None))]
    fn open(py: Python<'_>, device: Place, credential: Opener, mut options: Option<OpenChoices>) -> PyResult<Self> {
        let read_only = options.as_ref().is_some_and(|choices| choices.read_only);
        let header = options.as_mut().and_then(|choices| choices.header.take());
        let opened = lend_header(header, |header| {
            let options = options.map_or_else(|| Ok(OpenOptions::new()), |choices| choices.options(header))?;
            device.lend(py, read_only, |device| {
                freely(py, || Encrypted::open(device, credential.credential()?, &options))
            })
        })?;
        Ok(Volume::new(opened))
    }

    /// Makes a BitLocker volume, which Windows opens. Its data reads as noise until it is written.
    #[staticmethod]
    #[pyo3(signature = (device, protector, *, dek_algorithm = "AES-256-XTS", sector_size = 512, description = "", overwrite = false))]
    fn format_bitlocker(
        py: Python<'_>,
        device: Place,
        protector: Protection,
        dek_algorithm: &str,
        sector_size: u32,
        description: &str,
        overwrite: bool,
    ) -> PyResult<Self> {
        let options = BitLockerOptions::new()
            .dek_algorithm(algorithm(dek_algorithm)?)
            .sector_size(self::sector_size(py, sector_size)?)
            .description(description)
            .overwrite(overwrite);
        let made = device.lend(py, false, |device| {
            freely(py, || Encrypted::format_bitlocker(device, protector.protector()?, &options))
        })?;
        Ok(Volume::new(made))
    }

    /// Begins to encrypt the data of a device in place; `reencrypt` continues it. The header is detached, or the last
    /// `free_at_end` bytes of the device are free and the data moves towards its end.
    #[staticmethod]
    #[pyo3(signature = (device, protector, options = None, *, free_at_end = 0))]
    fn begin_encryption(
        py: Python<'_>,
        device: Place,
        protector: Protection,
        options: Option<FormatChoices>,
        free_at_end: u64,
    ) -> PyResult<Self> {
        made(py, device, options, |device, options| {
            Encrypted::begin_encryption(device, protector.protector()?, options, free_at_end)
        })
    }

    /// The size in bytes.
    #[getter]
    fn size(&self) -> PyResult<u64> {
        Ok(self.opened()?.volume.size())
    }

    /// The sector size in bytes.
    #[getter]
    fn sector_size(&self) -> PyResult<u32> {
        Ok(self.opened()?.volume.sector_size().bytes())
    }

    /// The first byte of the data on the device.
    #[getter]
    fn data_offset(&self) -> PyResult<u64> {
        Ok(self.opened()?.volume.data_offset())
    }

    /// The cipher in dm-crypt's notation.
    #[getter]
    fn cipher(&self) -> PyResult<&'static str> {
        Ok(self.opened()?.volume.cipher().name())
    }

    /// The UUID.
    #[getter]
    fn uuid(&self, py: Python<'_>) -> PyResult<String> {
        let opened = self.opened()?;
        Ok(py.detach(|| opened.volume.uuid()))
    }

    /// Whether it was opened to be read only.
    #[getter]
    fn is_read_only(&self) -> PyResult<bool> {
        Ok(self.opened()?.volume.is_read_only())
    }

    /// Whether it is closed.
    #[getter]
    fn closed(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// The fingerprint of the DEK, 32 bytes: keep it, and pass it as OpenOptions(expect=...).
    fn fingerprint(&self, py: Python<'_>) -> PyResult<[u8; 32]> {
        let opened = self.opened()?;
        freely(py, || opened.volume.fingerprint()).map(|fingerprint| fingerprint.to_bytes())
    }

    /// How much the volume's key has encrypted.
    fn usage(&self, py: Python<'_>) -> Record {
        records::key_usage(py, self.opened()?.volume.usage())
    }

    /// Reads whole sectors.
    fn read_at<'py>(&self, py: Python<'py>, offset: u64, length: usize) -> PyResult<Bound<'py, PyBytes>> {
        let opened = self.opened()?;
        let size = opened.volume.size();
        // Before any memory is allocated.
        if offset.checked_add(length as u64).is_none_or(|end| end > size) {
            return Err(raised(py, &Error::OutOfBounds { offset, len: length, size }));
        }
        PyBytes::new_with(py, length, |sectors| freely(py, || opened.volume.read_at(offset, sectors)))
    }

    /// Reads whole sectors into a buffer, and fills it.
    fn read_into_at(&self, py: Python<'_>, offset: u64, mut sectors: Target) -> PyResult<()> {
        let (opened, sectors) = (self.opened()?, sectors.bytes());
        freely(py, || opened.volume.read_at(offset, sectors))
    }

    /// Writes whole sectors from a buffer.
    fn write_at(&self, py: Python<'_>, offset: u64, sectors: Source) -> PyResult<()> {
        let (opened, sectors) = (self.opened()?, sectors.bytes());
        freely(py, || {
            let _shared = opened.shared();
            opened.volume.write_at(offset, sectors)
        })
    }

    /// Reads at any byte into a buffer, up to the end of the volume. Returns how many bytes were read.
    fn pread_into(&self, py: Python<'_>, offset: u64, mut target: Target) -> PyResult<usize> {
        let (opened, target) = (self.opened()?, target.bytes());
        freely(py, || bytes::read(&opened.volume, &opened.sectors, offset, target))
    }

    /// Writes at any byte from a buffer, up to the end of the volume. Returns how many bytes were written.
    ///
    /// A part of a sector is read, changed and written. Other writes by this volume don't come between; a crash may leave the
    /// sector old or new.
    fn pwrite(&self, py: Python<'_>, offset: u64, source: Source) -> PyResult<usize> {
        let (opened, source) = (self.opened()?, source.bytes());
        freely(py, || bytes::write(&opened.volume, &opened.sectors, offset, source))
    }

    /// Makes whole sectors zeros.
    fn write_zeroes(&self, py: Python<'_>, offset: u64, length: u64) -> PyResult<()> {
        let opened = self.opened()?;
        freely(py, || {
            let _shared = opened.shared();
            opened.volume.write_zeroes(offset, length)
        })
    }

    /// Tells the device that these whole sectors are unused, if OpenOptions(discard=True) allows it.
    fn discard(&self, py: Python<'_>, offset: u64, length: u64) -> PyResult<()> {
        let opened = self.opened()?;
        freely(py, || {
            let _shared = opened.shared();
            opened.volume.discard(offset, length)
        })
    }

    /// The extents of a range, written or unwritten; unwritten ones read as zeros. Without a map of written chunks, all is written.
    fn extents(&self, py: Python<'_>, offset: u64, length: u64) -> PyResult<Vec<Py<PyAny>>> {
        let opened = self.opened()?;
        let extents: Vec<_> = freely(py, || opened.volume.extents(offset, length).map(Iterator::collect))?;
        records::all(py, extents, records::extent)
    }

    /// Returns when all that was written is on stable storage.
    fn sync(&self, py: Python<'_>) -> PyResult<()> {
        let opened = self.opened()?;
        freely(py, || opened.volume.sync())
    }

    /// Makes the volume as large as its device, or of a size in bytes. Returns the new size.
    #[pyo3(signature = (size = None))]
    fn resize(&self, py: Python<'_>, size: Option<u64>) -> PyResult<u64> {
        let opened = self.opened()?;
        freely(py, || {
            let _alone = opened.sectors.write().unwrap_or_else(PoisonError::into_inner);
            opened.volume.resize(size)
        })
    }

    /// A file object over the volume, at any byte, for io.BufferedRandom. With `closefd` it closes the volume with itself.
    #[pyo3(signature = (*, closefd = false))]
    fn file(own: Bound<'_, Self>, closefd: bool) -> Record {
        let made = records::python(own.py(), "file", "VolumeFile")?.call1((&own, closefd))?;
        Ok(made.unbind())
    }

    /// Syncs the volume, unless it is read-only, and closes it. The device is free once calls in other threads have ended.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let opened = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(opened) = opened else { return Ok(()) };
        freely(py, || {
            if opened.volume.is_read_only() { Ok(()) } else { opened.volume.sync() }.inspect(|()| drop(opened))
        })
    }

    fn __enter__(own: Py<Self>) -> Py<Self> {
        own
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyAny>) -> PyResult<()> {
        self.close(py)
    }

    fn __repr__(&self) -> String {
        match self.opened() {
            Ok(opened) => format!("<Volume {}, {} bytes>", opened.volume.cipher().name(), opened.volume.size()),
            Err(_) => "<Volume, closed>".into(),
        }
    }
}

/// The header: ways in, labels, backups.
#[pymethods]
impl Volume {
    /// The content of the header.
    fn header(&self, py: Python<'_>) -> Record {
        let opened = self.opened()?;
        py.detach(|| Described::of(&opened.volume.header())).record(py)
    }

    /// A backup of the header: anyone who holds it and a credential can open the volume, even if that credential was removed since.
    fn header_backup<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let opened = self.opened()?;
        let backup = freely(py, || opened.volume.header().backup())?;
        Ok(PyBytes::new(py, &backup))
    }

    /// Adds another way into the volume.
    #[pyo3(signature = (protector, options = None))]
    fn add_protector(&self, py: Python<'_>, protector: Protection, options: Option<KeyslotChoices>) -> Record {
        let (opened, options) = (self.opened()?, keyslot(options)?);
        let id = freely(py, || opened.volume.add_protector(protector.protector()?, &options))?;
        header::protector_id(py, id)
    }

    /// Removes a way into the volume. The last one can't be removed.
    fn remove_protector(&self, py: Python<'_>, id: ProtectorNumber) -> PyResult<()> {
        let (opened, id) = (self.opened()?, id.id()?);
        freely(py, || opened.volume.header().remove_protector(id))
    }

    /// Replaces the passphrase of a keyslot. Returns the number of the new one.
    #[pyo3(signature = (id, protector, options = None))]
    fn change_keyslot(
        &self,
        py: Python<'_>,
        id: u32,
        protector: Protection,
        options: Option<KeyslotChoices>,
    ) -> PyResult<u32> {
        let (opened, options) = (self.opened()?, keyslot(options)?);
        freely(py, || opened.volume.change_keyslot(id, protector.protector()?, &options))
    }

    /// Resumes the protection of a BitLocker volume: removes its clear keys. Returns whether there was one.
    fn resume_protection(&self, py: Python<'_>) -> PyResult<bool> {
        let opened = self.opened()?;
        freely(py, || opened.volume.resume_protection())
    }

    /// Sets when a keyslot is tried: `ignore`, `normal` or `prefer`.
    fn set_priority(&self, py: Python<'_>, keyslot: u32, priority: &str) -> PyResult<()> {
        let (opened, priority) = (self.opened()?, self::priority(priority)?);
        freely(py, || opened.volume.header().set_priority(keyslot, priority))
    }

    /// Sets both labels.
    #[pyo3(signature = (label, subsystem = ""))]
    fn set_label(&self, py: Python<'_>, label: &str, subsystem: &str) -> PyResult<()> {
        let opened = self.opened()?;
        freely(py, || opened.volume.header().set_label(label, subsystem))
    }

    /// Has the vault wrap the DEK again, under the latest version of the key that wraps it now. No sector is touched.
    fn rotate_kek(&self, py: Python<'_>, vault: &KeyVault) -> Record {
        let opened = self.opened()?;
        let id = freely(py, || opened.volume.rotate_kek(&*vault.vault))?;
        records::key_id(py, &id)
    }

    /// Replaces all keys of vaults by one.
    #[pyo3(signature = (key, encryption_type = "customer-key"))]
    fn replace_keks(&self, py: Python<'_>, key: &VaultKey, encryption_type: &str) -> Record {
        let (opened, encryption_type) = (self.opened()?, self::encryption_type(encryption_type)?);
        let id = freely(py, || opened.volume.replace_keks(&*key.vault, &key.name, encryption_type))?;
        records::key_id(py, &id)
    }

    /// The keys of vaults that wrap the DEK.
    fn keks(&self, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
        let opened = self.opened()?;
        let keks = py.detach(|| opened.volume.keks());
        records::all(py, &keks, records::key_id)
    }
}
