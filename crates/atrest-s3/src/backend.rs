//! Managed disks on S3.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use atrest::managed::DiskBackend;
use atrest::{BlockDevice, Error, Result};
use atrest_http::fan_out;

use crate::Credential;
use crate::bucket::Bucket;
use crate::device::S3Device;
use crate::disk::{Disk, LOCK, ROOT};
use crate::failure::invalid;
use crate::lock::Lock;
use crate::options::S3Options;

/// A bucket of disks, or the part of it below a prefix.
///
/// A disk is all objects below `PREFIX/ID/`. Regions of managed disks aren't told apart: give each its own backend.
pub struct S3Backend {
    bucket: Arc<Bucket>,
    options: S3Options,
    /// The disks that are open in this process, so that they can be removed.
    open: Mutex<HashMap<String, Weak<Disk>>>,
}

impl S3Backend {
    /// The backend of `s3:https://ENDPOINT/BUCKET[/PREFIX][?region=REGION]`. Nothing is sent yet; the bucket must exist.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for another URL, or one with credentials.
    pub fn new(url: &str, options: S3Options) -> Result<Self> {
        let bucket = Bucket::new(url, &options).map_err(|e| Error::InvalidOption(e.to_string()))?;
        Ok(S3Backend { bucket: Arc::new(bucket), options, open: Mutex::default() })
    }

    /// As [`new`](Self::new), with the credential of the environment: [`Credential::from_environment`].
    ///
    /// # Errors
    /// [`Error::InvalidOption`], also if the environment has no credential.
    pub fn from_url(url: &str) -> Result<Self> {
        let credential = Credential::from_environment().map_err(|e| Error::InvalidOption(e.to_string()))?;
        Self::new(url, S3Options::new(credential))
    }

    /// Makes a disk of `size` zero bytes, a multiple of 512, and opens it. `id` is a UUID.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`]; [`Error::InvalidOption`]; [`Error::Io`]; [`Error::Forked`].
    pub fn create_disk(&self, id: &str, size: u64) -> Result<S3Device> {
        self.bucket.owner().check()?;
        let folder = self.folder(id)?;
        let made = S3Device::create(self.bucket.clone(), folder.clone(), size, &self.options);
        self.remember(&folder, made.map_err(|e| error(&folder, "making", e))?)
    }

    /// Opens a disk.
    ///
    /// # Errors
    /// [`Error::Busy`] if it is open elsewhere; [`Error::NotFound`]; [`Error::Io`]; [`Error::Forked`].
    pub fn open_disk(&self, id: &str) -> Result<S3Device> {
        self.bucket.owner().check()?;
        let folder = self.folder(id)?;
        let opened = S3Device::open(self.bucket.clone(), folder.clone(), &self.options);
        self.remember(&folder, opened.map_err(|e| error(&folder, "opening", e))?)
    }

    fn remember(&self, folder: &str, device: S3Device) -> Result<S3Device> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, disk| disk.strong_count() > 0);
        open.insert(folder.into(), Arc::downgrade(&device.disk));
        Ok(device)
    }

    fn folder(&self, id: &str) -> Result<String> {
        // An id is a UUID: it can't change the path.
        uuid::Uuid::try_parse(id).map_err(|_| Error::InvalidOption(format!("{id:?} isn't the id of a disk")))?;
        Ok(format!("{}{id}/", self.bucket.address.prefix))
    }

    fn remove_folder(&self, folder: &str) -> io::Result<()> {
        let own = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(folder).and_then(Weak::upgrade);
        match own.filter(|own| own.check().is_ok()) {
            Some(own) => drop(own.lose("it was removed")),
            // A host that has it open keeps it.
            None => {
                let (deadline, key) = (self.bucket.deadline(), format!("{folder}{LOCK}"));
                if !self.options.take_over && Lock::is_held(&self.bucket, deadline, &key)? {
                    return Err(io::ErrorKind::ResourceBusy.into());
                }
            }
        }
        // The root goes first, so that a half-removed disk can't be opened. The object by which a list finds the disk goes last.
        self.bucket.delete(self.bucket.deadline(), &format!("{folder}{ROOT}"))?;
        self.bucket.list(folder, false, |keys| {
            fan_out(keys, self.options.parallel, |key| self.bucket.delete(self.bucket.deadline(), &key))
        })
    }

    fn ids(&self) -> io::Result<Vec<String>> {
        let (prefix, mut ids) = (&self.bucket.address.prefix, Vec::new());
        self.bucket.list(prefix, true, |folders| {
            let id = |folder: &String| {
                let id = folder.strip_prefix(prefix.as_str())?.strip_suffix('/')?;
                uuid::Uuid::try_parse(id).is_ok().then(|| id.to_owned())
            };
            ids.extend(folders.iter().filter_map(id));
            if ids.len() > 10_000_000 {
                return Err(invalid("more than 10 million disks lie below the prefix; take another prefix"));
            }
            Ok(())
        })?;
        Ok(ids)
    }
}

impl DiskBackend for S3Backend {
    fn create(&self, _: &str, id: &str, size: u64) -> Result<Arc<dyn BlockDevice>> {
        Ok(Arc::new(self.create_disk(id, size)?))
    }

    fn open(&self, _: &str, id: &str) -> Result<Arc<dyn BlockDevice>> {
        Ok(Arc::new(self.open_disk(id)?))
    }

    /// Its users in this process get errors from then on. One that another host has open isn't removed: [`Error::Busy`].
    fn remove(&self, _: &str, id: &str) -> Result<()> {
        self.bucket.owner().check()?;
        let folder = self.folder(id)?;
        self.remove_folder(&folder).map_err(|e| error(&folder, "removing", e))
    }

    fn list(&self, _: &str) -> Result<Vec<String>> {
        self.bucket.owner().check()?;
        self.ids().map_err(|source| Error::Io { what: "listing the bucket".into(), source })
    }
}

fn error(folder: &str, doing: &str, source: io::Error) -> Error {
    let folder = folder.trim_end_matches('/');
    match source.kind() {
        io::ErrorKind::AlreadyExists => Error::AlreadyExists { what: "disk", path: folder.into() },
        io::ErrorKind::NotFound => Error::NotFound { what: "disk", path: folder.into() },
        io::ErrorKind::ResourceBusy => Error::Busy { what: format!("the disk {folder}") },
        io::ErrorKind::InvalidInput => Error::InvalidOption(source.to_string()),
        _ => Error::Io { what: format!("{doing} the disk {folder}"), source },
    }
}
