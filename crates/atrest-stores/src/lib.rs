//! Places for disks by URL, for programs whose configuration names them.
//!
//! ```
//! use atrest_stores::backend;
//! # let folder = tempfile::tempdir().unwrap();
//! # let url = &format!("file:{}", folder.path().display());
//!
//! let backend = backend(url)?; // such as file:/srv/disks
//! assert!(backend.list("any region")?.is_empty());
//! # Ok::<(), atrest::Error>(())
//! ```
//!
//! The scheme names the kind of place. Each is a crate of its own, and a feature of this one: see [`schemes`].
//!
//! [`FleetStore`] does the same for the store of a disk service's records: a file, or an engine that many hosts share.

mod fleet;

use std::sync::Arc;

use atrest::managed::{DiskBackend, DiskFolder};
use atrest::{Error, Result};

pub use fleet::{FleetStore, FleetStoreOptions, fleet_schemes};

/// Opens a place for disks.
///
/// | URL | feature | place |
/// |---|---|---|
/// | `file:FOLDER[?direct]` | | a folder, which exists; with `direct`, past the page cache |
/// | `nbd://HOST[:PORT]/EXPORT`, `nbd+unix:///EXPORT?socket=PATH`, `nbds://…` | `nbd`, `nbd-tls` | exports, with `{id}` in their name |
/// | `rbd:POOL[/NAMESPACE][?conf=PATH&user=ID]` | `rbd` | images of Ceph |
/// | `azblob:https://ACCOUNT.blob.core.windows.net/CONTAINER[/PREFIX]` | `azblob` | page blobs |
/// | `s3:https://ENDPOINT/BUCKET[/PREFIX][?region=REGION]` | `s3` | objects |
///
/// # Errors
/// [`Error::InvalidOption`] for a scheme that is unknown, or whose feature isn't in this build; [`Error::NotFound`] for a
/// folder; errors of the place.
pub fn backend(url: &str) -> Result<Arc<dyn DiskBackend>> {
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    match scheme {
        "file" => folder(url).map(|folder| Arc::new(folder) as _),
        #[cfg(feature = "nbd")]
        "nbd" | "nbd+unix" => Ok(Arc::new(atrest_nbd::NbdBackend::from_url(url)?)),
        #[cfg(feature = "nbd-tls")]
        "nbds" | "nbds+unix" => Ok(Arc::new(atrest_nbd::NbdBackend::from_url(url)?)),
        #[cfg(feature = "rbd")]
        "rbd" => Ok(Arc::new(atrest_rbd::RbdBackend::from_url(url)?)),
        #[cfg(feature = "azblob")]
        "azblob" => Ok(Arc::new(atrest_azblob::PageBlobBackend::from_url(url)?)),
        #[cfg(feature = "s3")]
        "s3" => Ok(Arc::new(atrest_s3::S3Backend::from_url(url)?)),
        _ => {
            // Not the URL: it may contain a password.
            let known = ALL.iter().find(|(known, ..)| *known == scheme);
            let why = match known {
                Some((scheme, feature, _)) => format!("this build has no {scheme}:, which is the feature {feature}"),
                None => "a place for disks is a URL that begins with one of".into(),
            };
            Err(Error::InvalidOption(format!("{why}; it has {}", schemes().collect::<Vec<_>>().join(" "))))
        }
    }
}

/// All schemes, with their features, and whether this build has them.
const ALL: [(&str, &str, bool); 8] = [
    ("file", "", true),
    ("nbd", "nbd", cfg!(feature = "nbd")),
    ("nbd+unix", "nbd", cfg!(feature = "nbd")),
    ("nbds", "nbd-tls", cfg!(feature = "nbd-tls")),
    ("nbds+unix", "nbd-tls", cfg!(feature = "nbd-tls")),
    ("rbd", "rbd", cfg!(feature = "rbd")),
    ("azblob", "azblob", cfg!(feature = "azblob")),
    ("s3", "s3", cfg!(feature = "s3")),
];

/// The schemes that this build has, with their colon.
pub fn schemes() -> impl Iterator<Item = String> {
    ALL.into_iter().filter(|(.., is_here)| *is_here).map(|(scheme, ..)| format!("{scheme}:"))
}

/// The folder of `file:FOLDER`; an empty authority may stand before it (RFC 8089).
fn folder(url: &str) -> Result<DiskFolder> {
    let rest = url.strip_prefix("file:").unwrap_or(url);
    let (path, query) = rest.rsplit_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
    let path = match path.strip_prefix("//") {
        Some(absolute) if absolute.starts_with('/') => absolute,
        Some(_) => {
            return Err(Error::InvalidOption("a folder on another host can't be opened: write file:/FOLDER".into()));
        }
        None => path,
    };
    let direct = match query {
        None => false,
        Some("direct") => true,
        Some(_) => return Err(Error::InvalidOption("the only option of file: is direct".into())),
    };
    if !std::path::Path::new(path).is_dir() {
        return Err(Error::NotFound { what: "folder for disks", path: path.into() });
    }
    Ok(DiskFolder::new(path).direct_io(direct))
}
