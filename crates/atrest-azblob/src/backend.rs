//! Managed disks as page blobs.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use atrest::managed::DiskBackend;
use atrest::{BlockDevice, Error, Result};
use atrest_http::Method;

use crate::address::check_name;
use crate::device::PageBlobDevice;
use crate::failure::{code, invalid, refused, unexpected};
use crate::held::Held;
use crate::image::Image;
use crate::options::PageBlobOptions;
use crate::service::{Ask, Service};
use crate::{Credential, list};

/// The most that a page of a list may hold.
const LIST: usize = 16 << 20;

/// A container of page blobs, or the part of it below a prefix.
///
/// A disk is the blob `PREFIX/ID.disk`, or `PREFIX/ID.vhd` for fixed VHDs. Regions aren't told apart: give each its own backend.
/// An image is a blob of the container, by its whole name.
pub struct PageBlobBackend {
    service: Arc<Service>,
    options: PageBlobOptions,
    /// The disks that are open in this process, so that they can be removed.
    open: Mutex<HashMap<String, Weak<Held>>>,
}

impl PageBlobBackend {
    /// The backend of `azblob:https://ACCOUNT.blob.core.windows.net/CONTAINER[/PREFIX]`. Where the host is this machine, for an
    /// emulator, it is `azblob:http://127.0.0.1:PORT/ACCOUNT/CONTAINER[/PREFIX]`. Nothing is sent yet; the container must
    /// exist.
    ///
    /// # Errors
    /// [`Error::InvalidOption`] for another URL, or one with credentials.
    pub fn new(url: &str, options: PageBlobOptions) -> Result<Self> {
        let service = Service::new(url, &options).map_err(|e| Error::InvalidOption(e.to_string()))?;
        Ok(PageBlobBackend { service: Arc::new(service), options, open: Mutex::default() })
    }

    /// As [`new`](Self::new), with the credential of the environment: [`Credential::from_environment`].
    ///
    /// # Errors
    /// [`Error::InvalidOption`], also if the environment has no credential.
    pub fn from_url(url: &str) -> Result<Self> {
        let credential = Credential::from_environment().map_err(|e| Error::InvalidOption(e.to_string()))?;
        Self::new(url, PageBlobOptions::new(credential))
    }

    /// Makes a blob of `size` zero bytes, a multiple of 512 up to 8 TiB, by its whole name, and opens it.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`]; [`Error::InvalidOption`]; [`Error::Io`]; [`Error::Forked`].
    pub fn create_blob(&self, blob: &str, size: u64) -> Result<PageBlobDevice> {
        self.service.owner().check()?;
        let made =
            check_name(blob).and_then(|()| PageBlobDevice::create(self.service.clone(), blob, size, &self.options));
        self.remember(blob, made.map_err(|e| error(blob, "making", e))?)
    }

    /// Opens a page blob by its whole name.
    ///
    /// # Errors
    /// [`Error::Busy`] if it is open elsewhere; [`Error::NotFound`]; [`Error::Io`]; [`Error::Forked`].
    pub fn open_blob(&self, blob: &str) -> Result<PageBlobDevice> {
        self.service.owner().check()?;
        let opened = check_name(blob).and_then(|()| PageBlobDevice::open(self.service.clone(), blob, &self.options));
        self.remember(blob, opened.map_err(|e| error(blob, "opening", e))?)
    }

    fn remember(&self, blob: &str, device: PageBlobDevice) -> Result<PageBlobDevice> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, held| held.strong_count() > 0);
        open.insert(blob.into(), Arc::downgrade(&device.held));
        Ok(device)
    }

    fn blob(&self, id: &str) -> Result<String> {
        // An id is a UUID: it can't change the path.
        uuid::Uuid::try_parse(id).map_err(|_| Error::InvalidOption(format!("{id:?} isn't the id of a disk")))?;
        Ok(format!("{}{id}{}", self.service.address.prefix, self.suffix()))
    }

    fn suffix(&self) -> &'static str {
        if self.options.vhd { ".vhd" } else { ".disk" }
    }

    fn remove_blob(&self, blob: &str) -> io::Result<()> {
        let own = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(blob).and_then(Weak::upgrade);
        if let Some(own) = own.filter(|own| own.check().is_ok()) {
            return own.delete();
        }
        // Snapshots aren't named: the service refuses to delete a blob that has some.
        let answer = self.service.call(self.service.deadline(), &Ask::new(Method::Delete, Some(blob))).answer?;
        match (answer.status, code(&answer)) {
            (200..=299, _) | (404, "BlobNotFound") => Ok(()),
            _ => Err(refused(&answer)),
        }
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let (mut names, mut marker) = (Vec::new(), None::<String>);
        loop {
            let prefix = self.service.address.prefix.as_str();
            let mut ask = Ask::new(Method::Get, None).query("restype", "container").query("comp", "list");
            if !prefix.is_empty() {
                ask = ask.query("prefix", prefix);
            }
            if let Some(marker) = &marker {
                ask = ask.query("marker", marker);
            }
            ask.most = LIST;
            let page = list::parse(&self.service.ask(self.service.deadline(), &ask)?.body)?;
            names.extend(page.names);
            match page.next {
                None => return Ok(names),
                Some(next) if Some(&next) == marker.as_ref() => {
                    return Err(unexpected("the service's list of blobs doesn't end"));
                }
                next => marker = next,
            }
            if names.len() > 10_000_000 {
                return Err(invalid(
                    "the container has more than 10 million blobs below the prefix; take another prefix",
                ));
            }
        }
    }
}

impl DiskBackend for PageBlobBackend {
    fn create(&self, _: &str, id: &str, size: u64) -> Result<Arc<dyn BlockDevice>> {
        Ok(Arc::new(self.create_blob(&self.blob(id)?, size)?))
    }

    fn open(&self, _: &str, id: &str) -> Result<Arc<dyn BlockDevice>> {
        Ok(Arc::new(self.open_blob(&self.blob(id)?)?))
    }

    fn open_image(&self, _: &str, image: &str) -> Result<Arc<dyn BlockDevice>> {
        self.service.owner().check()?;
        let opened = check_name(image).and_then(|()| Image::open(self.service.clone(), image, self.options.parallel));
        Ok(Arc::new(opened.map_err(|e| error(image, "opening", e))?))
    }

    /// Its users get errors from then on. A blob with snapshots isn't removed: that is an error.
    fn remove(&self, _: &str, id: &str) -> Result<()> {
        self.service.owner().check()?;
        let blob = self.blob(id)?;
        self.remove_blob(&blob).map_err(|e| error(&blob, "removing", e))
    }

    fn list(&self, _: &str) -> Result<Vec<String>> {
        self.service.owner().check()?;
        let names = self.names().map_err(|source| Error::Io { what: "listing the container".into(), source })?;
        let id = |name: String| {
            let id = name.strip_prefix(&self.service.address.prefix)?.strip_suffix(self.suffix())?;
            uuid::Uuid::try_parse(id).is_ok().then(|| id.to_owned())
        };
        Ok(names.into_iter().filter_map(id).collect())
    }
}

fn error(blob: &str, doing: &str, source: io::Error) -> Error {
    match source.kind() {
        io::ErrorKind::AlreadyExists => Error::AlreadyExists { what: "page blob", path: blob.into() },
        io::ErrorKind::NotFound => Error::NotFound { what: "page blob", path: blob.into() },
        io::ErrorKind::ResourceBusy => Error::Busy { what: format!("the page blob {blob}") },
        io::ErrorKind::InvalidInput => Error::InvalidOption(source.to_string()),
        _ => Error::Io { what: format!("{doing} the page blob {blob}"), source },
    }
}
